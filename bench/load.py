"""Load: a stream of a hundred facts, by sixteen at once, each fact's envelope and data as a dict.

Ours is the event store's load, through its pool. The limit is asyncpg alone: a prepared SELECT by
stream on a connection of the reader's own, and the same two parses of each row. A figure beside
them is the limit without the parses: rows as they come.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import asyncpg

from bench.log import SERVICE, Log, case_ids, fill, new_log
from bench.options import Options
from bench.reading import LIMIT, OURS, ROWS, STREAM_FACTS, parsed, result_of
from bench.report import Result
from bench.rounds import Arm, Measure, alternate
from shared.event_store import FACT_COLUMNS

TITLE: Final = "载入百条之流 load a stream of 100, streams a second"
SELECT: Final = (
    f"SELECT {FACT_COLUMNS} FROM {SERVICE}.facts"  # noqa: S608 - names of this file
    " WHERE stream = $1 AND version > 0 ORDER BY version"
)

Reader = Callable[[str], Coroutine[Any, Any, int]]


def side_by_side(log: Log, readers: Sequence[Reader], streams: Sequence[str], loads: int) -> Arm:
    """So many loads of streams in turn, shared among the readers; loads a second."""

    async def turn(read: Reader, mine: Sequence[str]) -> None:
        for stream in mine:
            found = await read(stream)
            assert found == STREAM_FACTS, found

    async def arm() -> Measure:
        asked = list(itertools.islice(itertools.cycle(streams), loads))
        turns = [turn(read, asked[index :: len(readers)]) for index, read in enumerate(readers)]
        return await log.meter.measure(asyncio.gather(*turns), loads)

    return arm


def ours(log: Log) -> Reader:
    async def read(stream: str) -> int:
        facts = (await log.store.load_many({stream: 0}))[stream]
        kept = [(fact.attributes, fact.document) for fact in facts]
        return len(kept)

    return read


def limit(prepared: Any) -> Reader:
    async def read(stream: str) -> int:
        rows = await prepared.fetch(stream)
        return len(parsed(rows))

    return read


def untouched(prepared: Any) -> Reader:
    async def read(stream: str) -> int:
        return len(await prepared.fetch(stream))

    return read


async def _prepared(connections: Sequence[asyncpg.Connection]) -> list[Any]:
    return [await connection.prepare(SELECT) for connection in connections]


async def run(options: Options) -> Result:
    loads = max(1, options.facts // STREAM_FACTS) * 5
    async with (
        new_log(options.infrastructure.postgres_url, options.writers) as log,
        log.raw(options.writers) as connections,
    ):
        cases = case_ids(max(2, options.facts // STREAM_FACTS))
        await fill(log, cases, STREAM_FACTS)
        streams = [f"award-{case}" for case in cases]
        prepared = await _prepared(connections)
        arms = {
            OURS: side_by_side(log, [ours(log)] * options.writers, streams, loads),
            LIMIT: side_by_side(log, [limit(each) for each in prepared], streams, loads),
            ROWS: side_by_side(log, [untouched(each) for each in prepared], streams, loads),
        }
        rates = await alternate(arms, options.rounds)
    return result_of("load", TITLE, rates, "EventStore.load_many")
