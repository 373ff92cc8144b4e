"""An installation of its own for the HTTP tests of some rooms, and how they wait for it."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.infrastructure import Infrastructure, create_database, drop_database
from sandbox.client import Client, RefusedError
from sandbox.founding import found_world
from sandbox.installation import INSTALLER, Installation
from sandbox.world import Organisation, World
from tests.services.eligibility.neighbours import Neighbours

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
    """Running processes; a client belongs to one loop, so each test makes its own."""

    installation: Installation
    processes: tuple[str, ...]

    def client(self) -> Client:
        urls = {name: self.installation.url(name) for name in self.processes}
        return Client(urls, self.installation.secret)

    def neighbours(self) -> Neighbours:
        made = self.installation
        return Neighbours(made.infrastructure.kafka_bootstrap, made.prefix, made.partitions)


@contextmanager
def installed(
    infrastructure: Infrastructure, folder: Path, instant: datetime, **settings: Any
) -> Iterator[Installation]:
    """On databases and topics of its own. Nothing of it runs yet; at the end its processes are
    stopped and its databases dropped."""
    suffix = secrets.token_hex(6)
    names = f"test_{suffix}", f"test_{suffix}_keys"
    own = Infrastructure(
        create_database(infrastructure.postgres_url, names[0]),
        create_database(infrastructure.keys_url, names[1]),
        infrastructure.kafka_bootstrap,
    )
    installation = Installation(
        folder, own, prefix=f"{suffix}.", partitions=2, instant=instant, **settings
    )
    try:
        yield installation
    finally:
        installation.stop()
        drop_database(infrastructure.postgres_url, names[0])
        drop_database(infrastructure.keys_url, names[1])


async def open_rooms(
    installation: Installation,
    processes: Sequence[str],
    world: World,
    further: Sequence[str | dict[str, Any]] = (),
) -> None:
    """Start these processes and found a federation as its own people do, over HTTP.

    ``further`` are people and programs who hold no office in it.
    """
    await installation.prepare()
    installation.set_people([INSTALLER, *world.people(), *further])
    for name in processes:
        installation.start(name)
    await installation.wait_until_ready(processes)
    client = Client({name: installation.url(name) for name in processes}, installation.secret)
    try:
        await found_world(client, world)
    finally:
        await client.close()


async def until_known(look: Callable[[], Awaitable[Any]]) -> None:
    """Wait until a look is not refused any more, whatever it finds."""

    async def known() -> bool:
        await look()
        return True

    await until(known)


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What a look finds, once a heard fact or a timer has had its effect."""
    async with asyncio.timeout(HEARING_SECONDS):
        while True:
            try:
                found = await look()
            except RefusedError:
                found = None
            if found:
                return found
            await asyncio.sleep(0.05)


async def refusal(asked: Awaitable[Any]) -> tuple[int, str]:
    """The status and code with which a service says no."""
    with pytest.raises(RefusedError) as refused:
        await asked
    return refused.value.status, refused.value.code
