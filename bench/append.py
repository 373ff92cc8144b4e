"""Append: one fact a write, and ten, by sixteen writers.

Ours is everything between a decision and an acknowledged commit: the fact's model, its canonical
bytes, envelope, hash, and the store's own write. The limit is asyncpg alone, on the same tables
with the same indexes, calling the same function with bytes that were ready before, on a connection
of the writer's own. Beside it stands a plain INSERT of the same bytes, which asks for no version
before it and carries nothing else: what the function itself costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from bench.log import SERVICE, TODAY, Log, case_ids, chained, new_log
from bench.options import Options
from bench.report import Result
from bench.rounds import COLUMNS, Arm, Measure, Rates, alternate
from shared.fact import Head
from shared.room import Condition, View
from shared.write import Shown, Write

STREAM_FACTS: Final = 100
SIZES: Final = {"one": 1, "ten": 10}
OURS, LIMIT, INSERTED, WHOLE = "ours", "limit", "insert", "whole"
FACT_COLUMNS: Final = "stream, version, fact_id, type, subject, envelope, data, hash, traceparent"
INSERT: Final = (
    f"INSERT INTO {SERVICE}.facts ({FACT_COLUMNS}) SELECT * FROM unnest($1::text[], $2::int[],"  # noqa: S608 - names of this file
    " $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])"
)
CALL: Final = f"SELECT {SERVICE}.write_facts('{{}}'::jsonb, $1, $2, $3, $4, $5, $6, $7, $8, $9)"


def shares(options: Options) -> list[list[str]]:
    """The cases of each writer, in whose streams nobody else writes."""
    ids = case_ids(max(options.facts // STREAM_FACTS, options.writers))
    return [ids[index :: options.writers] for index in range(options.writers)]


def total(options: Options) -> int:
    return sum(map(len, shares(options))) * STREAM_FACTS


def ours(log: Log, options: Options, size: int) -> Arm:
    """Each writer knows the heads of its streams, as a desk's cache does."""

    async def turn(ids: Sequence[str]) -> None:
        for case_id in ids:
            head = Head()
            while head.version < STREAM_FACTS:
                facts = chained(case_id, head, size)
                await log.store.write(Write(facts=facts))
                head = facts[-1].head

    async def arm() -> Measure:
        turns = [turn(ids) for ids in shares(options)]
        return await log.meter.measure(asyncio.gather(*turns), total(options))

    return arm


def ready(ids: Sequence[str], size: int) -> list[tuple[Any, ...]]:
    """The nine columns of each write, as ours would have made them."""
    found: list[tuple[Any, ...]] = []
    for case_id in ids:
        facts = chained(case_id, Head(), STREAM_FACTS)
        writes = (Write(facts=facts[at : at + size]) for at in range(0, STREAM_FACTS, size))
        found.extend(write.arguments()[1:] for write in writes)
    return found


def raw(
    log: Log,
    connections: Sequence[asyncpg.Connection],
    options: Options,
    size: int,
    statement: str,
) -> Arm:
    """One prepared statement with ready bytes, by each writer on a connection of its own."""

    async def turn(connection: asyncpg.Connection, writes: Sequence[tuple[Any, ...]]) -> None:
        prepared = await connection.prepare(statement)
        for write in writes:
            await prepared.fetchval(*write)

    async def arm() -> Measure:
        stocks = [ready(ids, size) for ids in shares(options)]
        turns = [turn(c, stock) for c, stock in zip(connections, stocks, strict=True)]
        return await log.meter.measure(asyncio.gather(*turns), total(options))

    return arm


def whole(log: Log, options: Options) -> Arm:
    """All that a command stores: its fact, a guard row, a read model's row and its key."""

    async def turn(index: int, ids: Sequence[str]) -> None:
        guard = f"fund-{index}"
        for case_id in ids:
            head = Head()
            stream = f"award-{case_id}"
            shown: Shown = {}
            while head.version < STREAM_FACTS:
                [fact] = chained(case_id, head, 1)
                view = View("case", case_id, {"granted": fact.version}, "city", "", "open", TODAY)
                write = Write(facts=[fact], guard_deltas={guard: 1})
                write.conditions.append(Condition(guard, minimum=0))
                shown = write.show(stream, case_id, [view], shown)
                write.command = {
                    "key": fact.fact_id,
                    "body_mac": fact.hash,
                    "stream": stream,
                    "first_version": fact.version,
                    "last_version": fact.version,
                    "fact_ids": fact.fact_id,
                }
                await log.store.write(write)
                head = fact.head

    async def arm() -> Measure:
        turns = [turn(index, ids) for index, ids in enumerate(shares(options))]
        return await log.meter.measure(asyncio.gather(*turns), total(options))

    return arm


async def run(options: Options) -> Result:
    found: dict[str, Rates] = {}
    async with (
        new_log(options.infrastructure.postgres_url, options.writers) as log,
        log.raw(options.writers) as connections,
    ):
        for name, size in SIZES.items():
            arms = {
                OURS: ours(log, options, size),
                LIMIT: raw(log, connections, options, size, CALL),
                INSERTED: raw(log, connections, options, size, INSERT),
            }
            if size == 1:
                arms[WHOLE] = whole(log, options)
            found[name] = await alternate(arms, options.rounds)
    return _result(found)


def _result(found: dict[str, Rates]) -> Result:
    figures: dict[str, float] = {}
    rows: list[list[str]] = []
    for name, rates in found.items():
        figures |= rates.figures(f"{name}_")
        figures[f"{name}_to_insert"] = rates.ratio(OURS, INSERTED)
        figures[f"{name}_limit_to_insert"] = rates.ratio(LIMIT, INSERTED)
        rows += [rates.row(f"{name} · {arm}", arm, LIMIT) for arm in rates.by_arm]
    return Result(
        "append",
        "追加 append, facts a second",
        figures,
        {name: rates.ratio(OURS, LIMIT) for name, rates in found.items()},
        COLUMNS,
        rows,
        (
            "ours: model, canonical bytes, hash, envelope, EventStore.write",
            "limit: write_facts with ready bytes · insert: prepared INSERT with ready bytes",
            "whole: one fact with guard row, read model and key",
        ),
    )
