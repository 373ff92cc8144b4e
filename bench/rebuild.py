"""Rebuild: a read model from all facts of a service, compared with what is kept.

Ours is `bangfu rebuild` without its mending: every fact read and folded, the rows that follow put
into a shadow table and compared. The limit is asyncpg alone: the same rows by a cursor, each one's
data parsed, and as many ready rows copied into a temporary table. Facts a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import asyncpg
import orjson

from bench.log import REGISTRY, SERVICE, LineGranted, Log, case_ids, fill, new_log
from bench.options import Options
from bench.report import Result
from bench.rounds import COLUMNS, Arm, Rates, alternate
from shared.fact import Fact, Recorded
from shared.rebuild.derive import COLUMNS as FACT_COLUMNS
from shared.rebuild.service import ROWS_AT_ONCE, rebuild
from shared.room import Room, StreamKind, View

STREAM_FACTS: Final = 20
# A rebuild begins with connecting and preparing, which is not what is asked.
TIMES_THE_FACTS: Final = 5
MODEL: Final = "awards"
OURS, LIMIT = "ours", "limit"
VIEW_COLUMNS: Final = (
    "model",
    "key",
    "stream",
    "subject",
    "organisation",
    "role",
    "status",
    "due_on",
    "document",
)


@dataclass(frozen=True, slots=True)
class Award:
    """What the facts of a case come to."""

    case_id: str
    lines: int = 0
    granted_fen: int = 0
    fund: str = ""


def evolve(state: Award, fact: Fact, _recorded: Recorded) -> Award:
    assert isinstance(fact, LineGranted)
    return replace(
        state,
        lines=state.lines + 1,
        granted_fen=state.granted_fen + fact.granted_fen,
        fund=fact.fund,
    )


def views(state: Award) -> Sequence[View]:
    document = {"lines": state.lines, "granted_fen": state.granted_fen, "fund": state.fund}
    return [View(MODEL, state.case_id, document, status="open")]


ROOM: Final = Room(
    name=SERVICE,
    kinds={
        "award": StreamKind(
            name="award",
            of_case=True,
            initial=Award,
            evolve=evolve,
            acts={},
            holder=lambda _state: None,
            views=views,
        )
    },
    states=REGISTRY,
    reads=REGISTRY,
)


def ours(log: Log, facts: int) -> Arm:
    async def derive() -> None:
        done = await rebuild(ROOM, log.owner_url, [MODEL], mend=False)
        assert done.facts == facts, done
        assert done.is_sound, done

    return lambda: log.meter.measure(derive(), facts)


def limit(log: Log, streams: int, facts: int) -> Arm:
    """Two connections, as ours has."""
    document = '{"fund":"sample-city-2025","granted_fen":210,"lines":20}'
    cases = [f"{number:036d}" for number in range(streams)]
    ready = [(MODEL, c, f"award-{c}", c, "", "", "open", None, document) for c in cases]

    async def work(reading: asyncpg.Connection, writing: asyncpg.Connection) -> None:
        await writing.execute(
            f"CREATE TEMP TABLE ready AS SELECT {', '.join(VIEW_COLUMNS)} FROM {SERVICE}.views"  # noqa: S608 - names of this file
            " WITH NO DATA"
        )
        found = written = 0
        async with reading.transaction(readonly=True):
            cursor = await reading.cursor(
                f"SELECT {FACT_COLUMNS} FROM {SERVICE}.facts ORDER BY stream, version"  # noqa: S608 - as above
            )
            while rows := await cursor.fetch(ROWS_AT_ONCE):
                kept: list[dict[str, Any]] = [orjson.loads(row[4]) for row in rows]
                found += len(kept)
                upto = found * streams // facts
                await writing.copy_records_to_table("ready", records=ready[written:upto])
                written = upto
        assert (found, written) == (facts, streams), (found, written)

    async def both() -> None:
        reading, writing = (
            await asyncpg.connect(log.owner_url),
            await asyncpg.connect(log.owner_url),
        )
        try:
            await work(reading, writing)
        finally:
            await reading.close()
            await writing.close()

    return lambda: log.meter.measure(both(), facts)


async def run(options: Options) -> Result:
    streams = max(1, options.facts * TIMES_THE_FACTS // STREAM_FACTS)
    facts = streams * STREAM_FACTS
    async with new_log(options.infrastructure.postgres_url, 1) as log:
        await fill(log, case_ids(streams), STREAM_FACTS)
        first = await rebuild(ROOM, log.owner_url)
        assert first.facts == facts, first
        arms = {OURS: ours(log, facts), LIMIT: limit(log, streams, facts)}
        return _result(await alternate(arms, options.rounds))


def _result(rates: Rates) -> Result:
    return Result(
        "rebuild",
        "重建读模型 rebuild a read model, facts a second",
        rates.figures(),
        {"rebuild": rates.ratio(OURS, LIMIT)},
        COLUMNS,
        [rates.row(arm, arm, LIMIT) for arm in rates.by_arm],
        (
            "ours: shared.rebuild, read, folded, copied, compared with what is kept",
            "limit: rows by cursor, data parsed by orjson, ready rows copied; nothing compared",
        ),
    )
