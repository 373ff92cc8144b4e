"""Read: the whole log in its order, each fact's envelope and data as a dict.

Ours is the reader of rebuilding and verifying, with another order. The limit is asyncpg alone: a
prepared SELECT by position on one connection, in pages as long as ours (a thousand rows at once
cost it twice as much to parse), and the same two parses of each row. A figure beside them is the
limit without the parses: rows as they come.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from bench.log import SERVICE, Log, case_ids, fill, new_log
from bench.options import Options
from bench.reading import LIMIT, OURS, ROWS, STREAM_FACTS, parsed, result_of
from bench.report import Result
from bench.rounds import Arm, alternate
from shared.event_store import FACT_COLUMNS, all_recorded
from shared.store_reader import PAGE_ROWS, row_pages

TITLE: Final = "按序读日志 read the log in order, facts a second"
IN_ORDER: Final = f"SELECT {FACT_COLUMNS} FROM {SERVICE}.facts ORDER BY position"  # noqa: S608 - names of this file
SELECT: Final = (
    f"SELECT {FACT_COLUMNS}, position"  # noqa: S608 - names of this file
    f" FROM {SERVICE}.facts WHERE position > $1 ORDER BY position LIMIT {PAGE_ROWS}"
)


def ours(log: Log, connection: asyncpg.Connection, facts: int) -> Arm:
    async def read() -> None:
        found = 0
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async for rows in row_pages(connection, IN_ORDER):
                kept = [(fact.attributes, fact.document) for fact in all_recorded(rows)]
                found += len(kept)
        assert found == facts, found

    return lambda: log.meter.measure(read(), facts)


def raw(log: Log, prepared: Any, facts: int, *, parses: bool) -> Arm:
    async def read() -> None:
        found, cursor = 0, 0
        while rows := await prepared.fetch(cursor):
            cursor = rows[-1]["position"]
            kept: list[Any] = rows
            if parses:
                kept = parsed(rows)
            found += len(kept)
        assert found == facts, found

    return lambda: log.meter.measure(read(), facts)


async def run(options: Options) -> Result:
    async with new_log(options.infrastructure.postgres_url, 1) as log, log.raw(2) as [one, other]:
        cases = case_ids(max(1, options.facts // STREAM_FACTS))
        await fill(log, cases, STREAM_FACTS)
        facts = len(cases) * STREAM_FACTS
        prepared = await other.prepare(SELECT)
        arms = {
            OURS: ours(log, one, facts),
            LIMIT: raw(log, prepared, facts, parses=True),
            ROWS: raw(log, prepared, facts, parses=False),
        }
        rates = await alternate(arms, options.rounds)
        return result_of("read", TITLE, rates, "shared.store_reader.row_pages")
