"""Order without gaps: a reader that follows a table while many write to it."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from shared.tail import Tail, read_after_mark
from tests.conftest import FreshDatabases
from tests.connections import connected
from tests.shared.outbox_rows import SERVICE, make_log, write

WRITERS = 16
FACTS = 20_000
Reader = Callable[[asyncpg.Connection, int], Awaitable[tuple[list[int], int]]]


async def write_facts(url: str, name: int, counts: list[int]) -> None:
    """One writer: mostly single facts, now and then ten, now and then slow to commit."""
    chance = random.Random(name)
    async with connected(url) as connection:
        version, stream = 0, f"s{name}"
        while counts[name] < FACTS // WRITERS:
            size = min(chance.choice((1, 1, 1, 1, 10)), FACTS // WRITERS - counts[name])
            rows = [(stream, version + n) for n in range(1, size + 1)]
            async with connection.transaction():
                await write(connection, rows)
                if chance.random() < 0.02:
                    await asyncio.sleep(0.01)
            version += size
            counts[name] += size


async def follow(url: str, read: Reader, wrote: asyncio.Event) -> list[int]:
    """All positions that a reader sees, up to a last look after the last write."""
    seen: list[int] = []
    cursor = 0
    async with connected(url) as connection:
        while True:
            last_look = wrote.is_set()
            positions, cursor = await read(connection, cursor)
            seen += positions
            if last_look and not positions:
                return seen


async def below_the_mark(connection: asyncpg.Connection, cursor: int) -> tuple[list[int], int]:
    chunk = await read_after_mark(connection, SERVICE, "facts", cursor)
    return [row["position"] for row in chunk.rows], chunk.cursor


async def naive(connection: asyncpg.Connection, cursor: int) -> tuple[list[int], int]:
    rows = await connection.fetch(
        f"SELECT position FROM {SERVICE}.facts WHERE position > $1 ORDER BY position LIMIT 1000",
        cursor,
    )
    return [row["position"] for row in rows], rows[-1]["position"] if rows else cursor


async def test_a_reader_below_the_mark_skips_and_doubles_nothing(
    fresh_databases: FreshDatabases,
) -> None:
    """Sixteen writers, 20,000 facts, followed while they come: each is read once, in order.

    The same run shows that this test would notice: a naive reader beside it skips facts.
    """
    url = await make_log(fresh_databases.postgres_url)
    wrote, counts = asyncio.Event(), [0] * WRITERS
    good = asyncio.create_task(follow(url, below_the_mark, wrote))
    bad = asyncio.create_task(follow(url, naive, wrote))
    await asyncio.gather(*(write_facts(url, name, counts) for name in range(WRITERS)))
    wrote.set()
    seen, seen_by_naive = await good, await bad
    async with connected(url) as connection:
        stored = await connection.fetch(f"SELECT position FROM {SERVICE}.facts ORDER BY position")
    assert len(stored) == FACTS
    assert seen == [row["position"] for row in stored]
    assert max(Counter(seen_by_naive).values()) == 1
    print(f"the naive reader skipped {FACTS - len(seen_by_naive)} of {FACTS} facts")
    assert len(seen_by_naive) < FACTS, "the naive reader skipped nothing: the test proves nothing"


async def test_an_open_transaction_stops_the_mark_and_is_named(
    fresh_databases: FreshDatabases,
) -> None:
    """The mark waits below a writer that has drawn a position, and tells its process id."""
    url = await make_log(fresh_databases.postgres_url)
    async with connected(url) as slow, connected(url) as quick, connected(url) as reader:
        transaction = slow.transaction()
        await transaction.start()
        await write(slow, [("slow", 1)])
        await write(quick, [("quick", 1)])
        tail = await Tail.open(reader, SERVICE, "facts")
        moving = asyncio.create_task(tail.advance())
        await asyncio.sleep(0.3)
        assert not moving.done()
        assert tail.blocking_pid == slow.get_server_pid()
        assert tail.blocked_since is not None
        # Who comes later does not make it wait for longer.
        later = quick.transaction()
        await later.start()
        await write(quick, [("later", 1)])
        await transaction.commit()
        assert await asyncio.wait_for(moving, 1) == 2
        await later.rollback()
        chunk = await tail.read(0)
        assert [row["subject"] for row in chunk.rows] == ["slow", "quick"]


async def test_positions_lost_with_failed_writes_do_not_stop_the_cursor(
    fresh_databases: FreshDatabases,
) -> None:
    """A rolled back write leaves a hole; the mark passes it, and so does the cursor."""
    url = await make_log(fresh_databases.postgres_url)
    async with connected(url) as writer, connected(url) as reader:
        await write(writer, [("a", 1)])
        with pytest.raises(asyncpg.UniqueViolationError):
            await write(writer, [("a", 1)])
        tail = await Tail.open(reader, SERVICE, "facts")
        assert await tail.advance() == 2
        first = await tail.read(0)
        assert (len(first.rows), first.cursor) == (1, 1)
        rest = await tail.read(first.cursor)
        assert (rest.rows, rest.cursor) == ([], 2)


async def test_a_chunk_is_bounded_in_rows_and_bytes(fresh_databases: FreshDatabases) -> None:
    """Memory does not follow the size of what waits; one large row still passes."""
    url = await make_log(fresh_databases.postgres_url)
    async with connected(url) as connection:
        await write(connection, [(f"s{n}", 1) for n in range(10)], padding=10_000)
        tail = await Tail.open(connection, SERVICE, "facts")
        await tail.advance()
        assert len((await tail.read(0, limit=3)).rows) == 3
        assert len((await tail.read(0, largest_bytes=25_000)).rows) == 3
        assert len((await tail.read(0, largest_bytes=1)).rows) == 1


async def test_a_table_is_named_plainly(fresh_databases: FreshDatabases) -> None:
    """Names go into statements as they are, so nothing that needs quotes is taken."""
    async with connected(fresh_databases.postgres_url) as connection:
        with pytest.raises(ValueError, match="plain"):
            await Tail.open(connection, SERVICE, 'facts"; DROP TABLE facts')
