"""The pool: as many connections as it may have, none that is spoilt, none lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from shared.event_store import is_passing
from shared.pools import Connections
from tests.conftest import FreshDatabases

PID = "SELECT pg_backend_pid()"
SIZE = 2


@pytest.fixture
async def pool(fresh_databases: FreshDatabases) -> AsyncIterator[Connections]:
    made = Connections(fresh_databases.postgres_url, SIZE, command_timeout=10)
    yield made
    made.terminate()


async def pids(pool: Connections) -> set[int]:
    """All connections that can be had at once, if there are as many as there should be."""
    async with pool.acquire(timeout=20) as one, pool.acquire(timeout=20) as other:
        return {await one.fetchval(PID), await other.fetchval(PID)}


async def test_no_more_than_its_size(pool: Connections) -> None:
    """Ten statements at once on two connections: all are answered."""
    asked = (pool.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.01)") for _ in range(10))
    assert set(await asyncio.gather(*asked)) == await pids(pool)


async def test_who_waits_gets_another_for_one_that_was_spoilt(pool: Connections) -> None:
    async with pool.acquire():
        async with pool.acquire() as spoilt:
            waiting = asyncio.create_task(pool.fetchval(PID))
            await asyncio.sleep(0)
            spoilt.terminate()
        assert await asyncio.wait_for(waiting, 20)


async def test_a_refusal_of_the_server_spoils_nothing(pool: Connections) -> None:
    before = await pids(pool)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await pool.fetchval("SELECT 1 / 0")
    assert await pids(pool) == before


async def test_an_abandoned_statement_takes_its_connection_with_it(pool: Connections) -> None:
    """Nobody gets the connection on which another's statement may still run."""
    before = await pids(pool)
    asked = asyncio.create_task(pool.fetchval("SELECT pg_backend_pid() FROM pg_sleep(5)"))
    await asyncio.sleep(0.1)
    asked.cancel()
    with suppress(asyncio.CancelledError):
        await asked
    after = await pids(pool)
    assert len(after & before) == SIZE - 1
    assert len(after) == SIZE


async def test_an_open_transaction_does_not_come_back(pool: Connections) -> None:
    """What one left open, the next would write into."""
    async with pool.acquire() as connection:
        left = await connection.fetchval(PID)
        await connection.execute("BEGIN")
    assert left not in await pids(pool)


async def test_cut_connections_are_replaced(pool: Connections) -> None:
    """A server that was started anew: the statement after the cut may fail, the next does not."""
    before = await pids(pool)
    async with pool.acquire() as one:
        await one.fetch(
            "SELECT pg_terminate_backend($1)", (before - {await one.fetchval(PID)}).pop()
        )
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await one.fetch("SELECT pg_terminate_backend(pg_backend_pid())")
    await asyncio.sleep(0.1)
    assert not before & await pids(pool)


async def test_who_waited_in_vain_loses_no_connection(pool: Connections) -> None:
    """A waiter is cancelled in the moment in which it is handed a connection."""
    async with pool.acquire(), pool.acquire() as other:
        waiting = asyncio.create_task(pool.fetchval(PID))
        await asyncio.sleep(0)
        assert not waiting.done()
        pid = await other.fetchval(PID)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert pid in await pids(pool)


async def test_a_closed_pool_answers_nobody(pool: Connections) -> None:
    async with pool.acquire(), pool.acquire():
        waiting = asyncio.create_task(pool.fetchval(PID))
        await asyncio.sleep(0)
        pool.terminate()
    for asked in (waiting, pool.fetchval(PID)):
        with pytest.raises(asyncpg.InterfaceError):
            await asked


async def test_a_wrong_address_is_told_and_holds_no_place(fresh_databases: FreshDatabases) -> None:
    pool = Connections(fresh_databases.postgres_url + "_absent", 1, timeout=5)
    for _ in range(3):
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncio.wait_for(pool.fetchval("SELECT 1"), 20)


async def test_a_server_that_can_begin_no_session_may_be_asked_again() -> None:
    """What PostgreSQL says while its disk is full, once it has started again."""
    fields = b"SFATAL\0VFATAL\0CXX000\0Mcould not write init file\0\0"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # whether it speaks TLS
        writer.write(b"N")
        await reader.read(1000)
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        full = Connections(f"postgresql://a:b@127.0.0.1:{port}/c", 1, command_timeout=5)
        with pytest.raises(asyncpg.CannotConnectNowError) as refused:
            await full.fetchval("SELECT 1")
        assert is_passing(refused.value)
        full.terminate()
