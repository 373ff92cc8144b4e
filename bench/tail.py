"""Tail: a log followed while sixteen write to it. Is anything skipped or doubled?

Ours is the reader below the mark, `shared/tail.py`. The limit is a reader that asks for
`position > cursor` and nothing else: as fast as it can be done, and it skips facts whose writers
drew a lower number and commit later. Writers use ready bytes, and the time runs until the reader
has come to the end. Latency is from the acknowledged commit to the reader that has the fact.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Final

import asyncpg

from bench.append import CALL, ready, shares, total
from bench.log import SERVICE, Log, new_log
from bench.options import Options
from bench.report import Result
from bench.rounds import COLUMNS, Arm, Measure, Rates, alternate
from shared.tail import Tail

OURS, LIMIT = "ours", "limit"
PAGE_ROWS: Final = 1_000
# A relay that found nothing looks again after a pause.
PAUSE_SECONDS: Final = 0.002
NAIVE: Final = (
    f"SELECT * FROM {SERVICE}.facts WHERE position > $1 ORDER BY position LIMIT {PAGE_ROWS}"  # noqa: S608 - names of this file
)

# From a cursor to rows and the next cursor.
Reader = Callable[[int], Awaitable[tuple[Sequence[asyncpg.Record], int]]]


@dataclass
class Followed:
    """What a reader got in all rounds, against what was written."""

    written: int = 0
    skipped: int = 0
    doubled: int = 0
    latencies: list[float] = field(default_factory=list)


async def below_the_mark(connection: asyncpg.Connection) -> Reader:
    tail = await Tail.open(connection, SERVICE, "facts")

    async def read(cursor: int) -> tuple[Sequence[asyncpg.Record], int]:
        if tail.mark <= cursor:
            await tail.advance()
        chunk = await tail.read(cursor, PAGE_ROWS)
        return chunk.rows, chunk.cursor

    return read


async def naive(connection: asyncpg.Connection) -> Reader:
    prepared = await connection.prepare(NAIVE)

    async def read(cursor: int) -> tuple[Sequence[asyncpg.Record], int]:
        rows = await prepared.fetch(cursor)
        return rows, rows[-1]["position"] if rows else cursor

    return read


@dataclass
class Round:
    """One log's growth by so many facts, with one reader behind it."""

    reader: Reader
    cursor: int
    acknowledged: dict[tuple[str, int], float] = field(default_factory=dict)
    seen: list[tuple[str, int, float]] = field(default_factory=list)
    wrote: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(
        self, connection: asyncpg.Connection, writes: Sequence[tuple[Any, ...]]
    ) -> None:
        prepared = await connection.prepare(CALL)
        for write in writes:
            await prepared.fetchval(*write)
            self.acknowledged[write[0][0], write[1][0]] = time.perf_counter()

    async def follow(self) -> None:
        while True:
            is_last_look = self.wrote.is_set()
            rows, self.cursor = await self.reader(self.cursor)
            now = time.perf_counter()
            self.seen += [(row["stream"], row["version"], now) for row in rows]
            if not rows:
                if is_last_look:
                    return
                await asyncio.sleep(PAUSE_SECONDS)

    async def go(
        self, connections: Sequence[asyncpg.Connection], stocks: Sequence[Sequence[Any]]
    ) -> None:
        following = asyncio.create_task(self.follow())
        pairs = zip(connections, stocks, strict=True)
        await asyncio.gather(*(self.write(c, stock) for c, stock in pairs))
        self.wrote.set()
        await following

    def tell(self, followed: Followed) -> None:
        counted = Counter((stream, version) for stream, version, _ in self.seen)
        followed.written += len(self.acknowledged)
        followed.skipped += len(self.acknowledged.keys() - counted.keys())
        followed.doubled += sum(times - 1 for times in counted.values())
        followed.latencies += [
            max(0.0, at - self.acknowledged[stream, version]) * 1_000
            for stream, version, at in self.seen
            if (stream, version) in self.acknowledged
        ]


def arm(
    log: Log,
    connections: Sequence[asyncpg.Connection],
    options: Options,
    reader: Reader,
    followed: Followed,
) -> Arm:
    async def measure() -> Measure:
        stocks = [ready(ids, 1) for ids in shares(options)]
        last = await connections[0].fetchval(f"SELECT max(position) FROM {SERVICE}.facts")  # noqa: S608 - a name of this file
        one = Round(reader, last or 0)
        found = await log.meter.measure(one.go(connections[1:], stocks), total(options))
        one.tell(followed)
        return found

    return measure


async def run(options: Options) -> Result:
    found = {OURS: Followed(), LIMIT: Followed()}
    async with (
        new_log(options.infrastructure.postgres_url, 1) as log,
        log.raw(options.writers + 1) as connections,
        log.raw(1) as [following],
    ):
        readers = {OURS: await below_the_mark(following), LIMIT: await naive(connections[0])}
        arms = {
            name: arm(log, connections, options, reader, found[name])
            for name, reader in readers.items()
        }
        rates = await alternate(arms, options.rounds)
    return _result(rates, found[OURS], found[LIMIT])


def _result(rates: Rates, ours: Followed, unsafe: Followed) -> Result:
    figures = rates.figures() | {
        "written": ours.written,
        "skipped": ours.skipped,
        "doubled": ours.doubled,
        "latency_p50_ms": round(median(ours.latencies), 1),
        "latency_p99_ms": round(quantiles(ours.latencies, n=100)[98], 1),
        "limit_skipped": unsafe.skipped,
        "limit_written": unsafe.written,
    }
    return Result(
        "tail",
        "跟随日志 follow the log, facts a second",
        figures,
        {"tail": rates.ratio(OURS, LIMIT)},
        COLUMNS,
        [rates.row(name, name, LIMIT) for name in rates.by_arm],
        (
            f"ours: below the mark, skipped {ours.skipped}, doubled {ours.doubled}"
            f" of {ours.written:,}; latency p50 {figures['latency_p50_ms']} ms,"
            f" p99 {figures['latency_p99_ms']} ms",
            f"limit: position > cursor, skipped {unsafe.skipped} of {unsafe.written:,}",
        ),
    )
