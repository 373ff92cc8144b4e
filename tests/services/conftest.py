"""Network, notice and training as processes, once for the HTTP tests of these three rooms."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

import pytest

from deploy.infrastructure import Infrastructure
from sandbox.client import Client
from sandbox.installation import Installation
from sandbox.world import Organisation, World, person
from shared.clock import BUSINESS_ZONE
from shared.keys import KeyStore
from shared.sealed import Category, seal
from tests.services.eligibility.neighbours import Neighbours
from tests.services.serving import installed, open_rooms, until

PROCESSES = ("issuer", "network", "notice", "training")
OPENING = datetime(2025, 3, 3, 9, tzinfo=BUSINESS_ZONE)

WORLD = World(
    (
        Organisation("city", "federation", "样例市总工会", None),
        Organisation("county-east", "centre", "样例市东县总工会帮扶中心", "city"),
        Organisation("county-west", "centre", "样例市西县总工会帮扶中心", "city"),
        Organisation("station-1", "station", "样例1街道帮扶工作站", "county-east"),
        Organisation("station-9", "station", "样例9街道帮扶工作站", "county-west"),
        Organisation("union-1-1", "union", "样例1街道第1厂工会", "station-1"),
    )
)


@dataclass(frozen=True)
class Rooms:
    """The running rooms; a client belongs to one loop, so each test makes its own."""

    installation: Installation

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        urls = {name: self.installation.url(name) for name in PROCESSES}
        made = Client(urls, self.installation.secret)
        try:
            yield made
        finally:
            await made.close()

    def neighbours(self) -> Neighbours:
        made = self.installation
        return Neighbours(made.infrastructure.kafka_bootstrap, made.prefix, made.partitions)

    def go_to(self, day: date) -> None:
        """The business day that the processes see from now on."""
        self.installation.set_clock(OPENING.replace(year=day.year, month=day.month, day=day.day))

    async def sealed_name(self, name: str, person_id: str) -> str:
        """A name as intake would have sealed it."""
        environment = self.installation.environments["intake"]
        master = base64.b64decode(self.installation.master_key)
        keys = await KeyStore.connect(environment["BANGFU_KEYS_URL"], master)
        try:
            pair = (person_id, Category.IDENTITY)
            return seal(name, (await keys.ensure([pair]))[pair], "fact", "members[0].name")
        finally:
            await keys.close()


@pytest.fixture(scope="session")
def rooms(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rooms]:
    """The three rooms, with a small federation founded over HTTP."""
    folder = tmp_path_factory.mktemp("rooms")
    with installed(infrastructure, folder, OPENING) as installation:
        started = Rooms(installation)
        asyncio.run(_start(started))
        yield started


async def _start(rooms: Rooms) -> None:
    await open_rooms(rooms.installation, PROCESSES, WORLD, ["nobody"])
    async with rooms.client() as client:
        last = WORLD.organisations[-1]
        someone = person(last.organisation, last.offices[-1])
        for service in ("notice", "training"):
            await until(partial(client.get, someone, service, "/work"))
