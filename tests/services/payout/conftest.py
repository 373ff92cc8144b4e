"""Payout and the sandbox's bank as processes, on the real database and broker."""

import asyncio
import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from deploy.infrastructure import Infrastructure, create_database, drop_database
from sandbox.client import Client, RefusedError
from sandbox.fate import Rates
from sandbox.founding import found_world
from sandbox.installation import INSTALLER, SUBSCRIBER, Installation
from sandbox.world import Organisation, World, person
from shared.clock import BUSINESS_ZONE
from shared.keys import KeyStore
from tests.services.eligibility.neighbours import Neighbours

PROCESSES = ("issuer", "network", "payout", "bank")
HEARING_SECONDS = 20.0
OPENING = datetime(2025, 3, 3, 9, tzinfo=BUSINESS_ZONE)
STRANGER = "another-client"

WORLD = World(
    (
        Organisation("city", "federation", "样例市总工会", None),
        Organisation("county-east", "centre", "样例市东县总工会帮扶中心", "city"),
        Organisation("county-west", "centre", "样例市西县总工会帮扶中心", "city"),
        Organisation("station-1", "station", "样例1街道帮扶工作站", "county-east"),
        Organisation("union-1-1", "union", "样例1街道第1厂工会", "station-1"),
    )
)


@dataclass(frozen=True)
class Served:
    """The running installation; a client belongs to one loop, so each test makes its own."""

    installation: Installation

    def client(self) -> Client:
        urls = {name: self.installation.url(name) for name in PROCESSES}
        return Client(urls, self.installation.secret)

    def neighbours(self) -> Neighbours:
        made = self.installation
        return Neighbours(made.infrastructure.kafka_bootstrap, made.prefix, made.partitions)

    async def intake_keys(self) -> KeyStore:
        """The keys as intake reaches them, to seal what a file would carry."""
        environment = self.installation.environments["intake"]
        return await KeyStore.connect(environment["BANGFU_KEYS_URL"], self._master_key())

    def _master_key(self) -> bytes:
        return base64.b64decode(self.installation.master_key)


@pytest.fixture(scope="package")
def served(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The network, payout and the bank; the bank's rates leave every manner some households."""
    suffix = secrets.token_hex(6)
    own = Infrastructure(
        create_database(infrastructure.postgres_url, f"test_{suffix}"),
        create_database(infrastructure.keys_url, f"test_{suffix}_keys"),
        infrastructure.kafka_bootstrap,
    )
    folder: Path = tmp_path_factory.mktemp("payout")
    rates = Rates(
        wrong_account=0.3,
        accepted_first=0.2,
        late=0.2,
        silent=0.2,
        silent_after_accepting=0.2,
        doubled=0.5,
    )
    installation = Installation(
        folder, own, prefix=f"{suffix}.", partitions=2, instant=OPENING, rates=rates
    )
    served = Served(installation)
    try:
        asyncio.run(_start(served))
        yield served
    finally:
        installation.stop()
        drop_database(infrastructure.postgres_url, f"test_{suffix}")
        drop_database(infrastructure.keys_url, f"test_{suffix}_keys")


async def _start(served: Served) -> None:
    installation = served.installation
    await installation.prepare()
    clients = [{"subject": name, "client": True} for name in (SUBSCRIBER, STRANGER)]
    installation.set_people([INSTALLER, *clients, *WORLD.people()])
    for name in PROCESSES:
        installation.start(name)
    await installation.wait_until_ready(PROCESSES)
    client = served.client()
    try:
        await found_world(client, WORLD)
        await _until_known(client, person("union-1-1", WORLD.organisations[-1].offices[-1]))
    finally:
        await client.close()


async def _until_known(client: Client, someone: str) -> None:
    """Offices reach payout as heard facts: the one founded last tells that all are there."""
    async with asyncio.timeout(HEARING_SECONDS):
        while True:
            try:
                await client.get(someone, "payout", "/payouts")
            except RefusedError:
                await asyncio.sleep(0.05)
            else:
                return
