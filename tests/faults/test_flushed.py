"""What somebody was told outlives a database that ends without a word, though flushes are shared.

The server writes its own log out by itself only after ten seconds here, so a commit that waited
for nobody is seen by all, and gone if the server ends at once: who reads it plainly shows that.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import orjson
import pytest

from cli.heads import stored_heads
from deploy.infrastructure import create_database
from deploy.native.postgres import Postgres
from shared.event_store import WRITE_ARGUMENTS, EventStore
from shared.migrations import role_name, role_url
from shared.pools import Connections
from shared.tail import read_after_mark
from tests.connections import connected
from tests.shared.outbox_rows import PASSWORDS, SERVICE, columns, make_log

SLOW_TO_FLUSH = {"wal_writer_delay": "10s", "autovacuum": "off", "shared_buffers": "64MB"}
OFFICE = "east"
KEY = "a-key"


class Server:
    """One server and one log on it."""

    def __init__(self, folder: Path) -> None:
        self._postgres = Postgres(folder, SLOW_TO_FLUSH)
        self.start()
        self.url = ""

    def start(self) -> None:
        for _ in self._postgres.starting():
            time.sleep(0.02)

    async def fresh_log(self, name: str) -> None:
        self.url = create_database(self._postgres.admin_url, name)
        await make_log(self.url)

    def role(self, kind: Literal["worker", "api"]) -> str:
        password = PASSWORDS.worker if kind == "worker" else PASSWORDS.api
        return role_url(self.url, role_name(self.url, SERVICE, kind), password)

    def end_at_once(self) -> None:
        """As when the machine fails; then it recovers."""
        process = self._postgres.process
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        process.wait(20)
        self.start()

    def remove(self) -> None:
        self._postgres.stop(keep_data=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("slow-to-flush")
    made = Server(folder)
    yield made
    made.remove()
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[EventStore]:
    worker = Connections(server.role("worker"), 1)
    office = Connections(server.role("api"), 1)
    try:
        yield EventStore(SERVICE, worker, office)
    finally:
        worker.terminate()
        office.terminate()


async def write_without_waiting(server: Server) -> None:
    """A command's first fact and its key, committed and not on disk."""
    command = {"key": KEY, "body_mac": "", "stream": "case-one", "fact_ids": "one-1"}
    command |= {"first_version": "1", "last_version": "1"}
    scope = {"subject": "one", "from_day": "2025-01-01", "organisations": [OFFICE]}
    row = {"kind": "office", "key": "one-1", "document": "{}", "moves": False}
    rest = {"command": command, "scopes": [scope], "reference": [row]}
    async with connected(server.role("worker")) as connection, connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")
        await connection.fetchval(
            f"SELECT {SERVICE}.write_facts({WRITE_ARGUMENTS})",
            orjson.dumps(rest).decode(),
            *columns([("one", 1)]),
        )


async def plainly(server: Server) -> bool:
    async with connected(server.url) as connection:
        return bool(await connection.fetch(f"SELECT FROM {SERVICE}.facts"))


async def by_the_relay(server: Server) -> bool:
    async with connected(server.role("worker")) as connection:
        return bool((await read_after_mark(connection, SERVICE, "facts", 0)).rows)


async def by_who_decides(server: Server) -> bool:
    async with opened(server) as store:
        return bool((await store.load_many({"case-one": 0}))["case-one"])


async def by_who_decides_on_several(server: Server) -> bool:
    async with opened(server) as store:
        return bool((await store.load_many({"case-one": 0, "case-two": 0}))["case-one"])


async def by_who_copies_the_tree(server: Server) -> bool:
    async with opened(server) as store:
        return await store.reference_rows() != []


async def by_an_office(server: Server) -> bool:
    async with opened(server) as store:
        return bool(await store.office_load("case-one", 0, [OFFICE]))


async def by_who_repeats(server: Server) -> bool:
    async with opened(server) as store:
        return await store.command(KEY) is not None


async def by_who_keeps_heads(server: Server) -> bool:
    return [head async for head in stored_heads(server.url, (SERVICE,))] != []


Reader = Callable[[Server], Awaitable[bool]]


@pytest.mark.parametrize(
    ("read", "is_kept"),
    [
        (plainly, False),
        (by_the_relay, True),
        (by_who_decides, True),
        (by_who_decides_on_several, True),
        (by_who_copies_the_tree, True),
        (by_an_office, True),
        (by_who_repeats, True),
        (by_who_keeps_heads, True),
    ],
)
async def test_what_was_told_outlives_the_server(
    server: Server, read: Reader, is_kept: bool
) -> None:
    await server.fresh_log(f"told_{read.__name__}")
    await write_without_waiting(server)
    assert await read(server), "a commit is seen, whether or not it is on disk"
    server.end_at_once()
    async with connected(server.url) as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM {SERVICE}.facts") == int(is_kept)
        for table in ("commands", "reference"):
            count = await connection.fetchval(f"SELECT count(*) FROM {SERVICE}.{table}")
            assert count == int(is_kept)


async def test_many_writes_are_all_kept_once_they_are_answered(server: Server) -> None:
    """Also where the last of them was refused before it wrote a word."""
    await server.fresh_log("many")
    names = ("first", "second", "beyond")
    scopes = [{"subject": n, "from_day": "2025-01-01", "organisations": [OFFICE]} for n in names]
    scopes[-1]["organisations"] = ["west"]
    async with connected(server.role("worker")) as connection:
        await connection.fetchval(
            f"SELECT {SERVICE}.write_facts({WRITE_ARGUMENTS})",
            orjson.dumps({"scopes": scopes}).decode(),
            *columns([(name, 1) for name in names]),
        )
    places = ", ".join(f"${number}" for number in range(1, 13))
    async with connected(server.role("api")) as connection:
        errors = await connection.fetchval(
            f"CALL {SERVICE}.write_each({places}, NULL)",
            [OFFICE],
            ["{}"] * len(names),
            [1] * len(names),
            *columns([(name, 2) for name in names]),
        )
    assert [error.strip() for error in errors] == ["", "", "BF005"]
    server.end_at_once()
    async with connected(server.url) as connection:
        rows = await connection.fetch(f"SELECT fact_id FROM {SERVICE}.facts WHERE version = 2")
    assert {row["fact_id"] for row in rows} == {"first-2", "second-2"}
