"""Eligibility as its own process, on the real database and broker, once for its HTTP tests."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from deploy.infrastructure import Infrastructure
from sandbox.founding import announce_parameters
from sandbox.world import person
from tests.services.eligibility.neighbours import NOON
from tests.services.serving import WORLD, Served, installed, open_rooms, until_known

PROCESSES = ("issuer", "network", "eligibility")


@pytest.fixture(scope="package")
def served(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The network and eligibility, founded and with the shipped parameters announced."""
    folder = tmp_path_factory.mktemp("eligibility")
    with installed(infrastructure, folder, NOON) as installation:
        served = Served(installation, PROCESSES)
        asyncio.run(_start(served))
        yield served


async def _start(served: Served) -> None:
    await open_rooms(served.installation, PROCESSES, WORLD)
    client = served.client()
    try:
        # Offices reach eligibility as heard facts: the one founded last tells that all are there.
        someone = person("union-1-1", WORLD.organisations[-1].offices[-1])
        await until_known(partial(client.get, someone, "eligibility", "/parameters"))
        await announce_parameters(client)
    finally:
        await client.close()
