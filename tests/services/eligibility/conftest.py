"""Eligibility as its own process, on the real database and broker, once for its HTTP tests."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.infrastructure import Infrastructure, create_database, drop_database
from sandbox.client import Client, RefusedError
from sandbox.founding import announce_parameters, found_world
from sandbox.installation import INSTALLER, Installation
from sandbox.world import Organisation, World, person
from tests.services.eligibility.neighbours import NOON, Neighbours

PROCESSES = ("issuer", "network", "eligibility")
HEARING_SECONDS = 20.0

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


@pytest.fixture(scope="package")
def served(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The network and eligibility, founded and with the shipped parameters announced."""
    suffix = secrets.token_hex(6)
    own = Infrastructure(
        create_database(infrastructure.postgres_url, f"test_{suffix}"),
        create_database(infrastructure.keys_url, f"test_{suffix}_keys"),
        infrastructure.kafka_bootstrap,
    )
    folder: Path = tmp_path_factory.mktemp("eligibility")
    installation = Installation(folder, own, prefix=f"{suffix}.", partitions=2, instant=NOON)
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
    installation.set_people([INSTALLER, *WORLD.people()])
    for name in PROCESSES:
        installation.start(name)
    await installation.wait_until_ready(PROCESSES)
    client = served.client()
    try:
        await found_world(client, WORLD)
        # Offices reach eligibility as heard facts: the one founded last tells that all are there.
        await _until_known(client, person("union-1-1", WORLD.organisations[-1].offices[-1]))
        await announce_parameters(client)
    finally:
        await client.close()


async def _until_known(client: Client, someone: str) -> None:
    async with asyncio.timeout(HEARING_SECONDS):
        while True:
            try:
                await client.get(someone, "eligibility", "/parameters")
            except RefusedError:
                await asyncio.sleep(0.05)
            else:
                return
