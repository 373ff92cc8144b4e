"""The journey of a case, from submission to confirmed payout, through everything that is real.

Six services, the bank and the issuer in their own processes, PostgreSQL and Kafka, staff commands
over HTTP with tokens, notices of five days with a business day every two seconds. Cases come in at
a steady rate; after the warm-up, what is paid within the measured seconds is counted, in the log
itself. There is no limit to put beside it but the aim: a hundred cases a second.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.history import grow
from bench.offices import Offices, straight, windows
from bench.options import Options
from bench.processes import Cost, costs, difference, servers
from bench.report import Result
from sandbox.client import Client
from sandbox.fate import Rates
from sandbox.founding import announce_parameters, credit_fund, found_world
from sandbox.households import Household
from sandbox.installation import INSTALLER, SERVICES, SUBSCRIBER, Installation
from sandbox.look_on import own_databases
from sandbox.rest import Rest
from sandbox.run import fresh_folder
from sandbox.world import World, build_world
from sandbox.year import opening, working_days

YEAR: Final = 2025
AIM_CASES_A_SECOND: Final = 100
NOTHING_GOES_WRONG: Final = Rates(0, 0, 0, 0, 0, 0)
# What a service takes when nothing else is said (shared/settings.py).
GATHER_MS: Final = 60
IDLE_SECONDS: Final = 5.0
# The stores are made longer while everything stands still, and days pass before it is measured.
STANDING_SECONDS: Final = 5.0
SETTLING_DAYS: Final = 10
FOLDER: Final = Path(__file__).resolve().parents[1] / ".bangfu" / "journey"


@dataclass
class Arrivals:
    """Households that come at a steady rate, drawn before the clock starts."""

    rate: float
    unions: Sequence[str]
    waiting: Mapping[str, Sequence[Household]]
    seen: dict[str, int] = field(default_factory=dict)
    began: float = 0.0

    @classmethod
    def draw(cls, world: World, count: int, rate: float) -> Arrivals:
        """The same households for the same count."""
        waiting: dict[str, list[Household]] = {}
        for number in range(1, count + 1):
            each = straight(1, number, YEAR, world)
            waiting.setdefault(each.organisation, []).append(each)
        return cls(rate, windows(world), waiting)

    def at(self, union: str) -> Sequence[Household]:
        """Who has come to this window since it last looked."""
        all_ = self.waiting.get(union, ())
        due = int((time.monotonic() - self.began) * self.rate / len(self.unions))
        seen = self.seen.get(union, 0)
        self.seen[union] = max(seen, min(len(all_), due))
        return all_[seen : self.seen[union]]

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[None]:
        """Nobody comes meanwhile, and nobody has come who would have."""
        stopped = time.monotonic()
        yield
        self.began += time.monotonic() - stopped


@dataclass
class Window:
    """The measured seconds: real time at both ends, and what had been done and spent by then."""

    began_at: float
    ended_at: float
    commands: int
    facts_grown: int
    before: Mapping[str, Cost]
    after: Mapping[str, Cost]

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at


async def run(options: Options) -> Result:
    """One journey on the given servers."""
    folder = fresh_folder(FOLDER)
    own = own_databases(options.infrastructure, folder.name)
    installation = Installation(
        folder,
        own,
        prefix=f"{folder.name}.",
        rates=NOTHING_GOES_WRONG,
        gather_ms=GATHER_MS,
        instances=options.instances,
    )
    world = build_world()
    installation.instant = opening(date(YEAR, 1, 2))
    installation.set_people([INSTALLER, {"subject": SUBSCRIBER, "client": True}, *world.people()])
    await installation.prepare()
    try:
        for name in installation.process_names:
            installation.start(name)
        await installation.wait_until_ready(installation.process_names)
        client = Client(installation.urls(), installation.secret)
        try:
            await _found(client, world)
            return await _measured(options, installation, client, world)
        finally:
            await client.close()
    finally:
        installation.stop()


async def _found(client: Client, world: World) -> None:
    rest, today = Rest(client), f"{YEAR}-01-02"
    await found_world(client, world)
    await rest.wait(today)
    await announce_parameters(client)
    await credit_fund(client, 1_000_000)
    await rest.wait(today)


async def _measured(
    options: Options, installation: Installation, client: Client, world: World
) -> Result:
    seconds = options.warm_up_seconds + options.seconds
    if options.history > 1:
        seconds += STANDING_SECONDS + SETTLING_DAYS * options.day_seconds
    arrivals = Arrivals.draw(world, int(options.rate * seconds) + len(windows(world)), options.rate)
    offices = Offices(client, world, arrivals.at)
    pids = {name: process.pid for name, process in installation.processes.items()}
    pids |= servers(os.getpid()) | {"driver": os.getpid()}
    idle = await _idle(pids)
    arrivals.began = time.monotonic()
    running = [
        asyncio.ensure_future(_days(installation, options.day_seconds, offices.at_work)),
        asyncio.ensure_future(offices.work(options.day_seconds)),
    ]
    url = installation.infrastructure.postgres_url
    watching = asyncio.ensure_future(_watch(options, offices, arrivals, pids, url))
    try:
        done, _ = await asyncio.wait([*running, watching], return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
        window = watching.result()
    finally:
        for each in (*running, watching):
            each.cancel()
        await asyncio.gather(*running, watching, return_exceptions=True)
    counted = await _counted(url, window)
    return _result(options, window, idle, counted, offices)


async def _watch(
    options: Options, offices: Offices, arrivals: Arrivals, pids: Mapping[str, int], url: str
) -> Window:
    await asyncio.sleep(options.warm_up_seconds)
    grown = 0
    if options.history > 1:
        offices.at_work.clear()
        async with arrivals.standing_still():
            await asyncio.sleep(STANDING_SECONDS)
            grown = await grow(url, SERVICES, options.history)
        offices.at_work.set()
        await asyncio.sleep(SETTLING_DAYS * options.day_seconds)
    began_at, commands, before = time.time(), offices.commands.total(), costs(pids)
    await asyncio.sleep(options.seconds)
    done = offices.commands.total() - commands
    return Window(began_at, time.time(), done, grown, before, costs(pids))


async def _idle(pids: Mapping[str, int]) -> Mapping[str, float]:
    """Processor seconds a second of each part while nothing is asked of it."""
    before = costs(pids)
    await asyncio.sleep(IDLE_SECONDS)
    spent = difference(before, costs(pids))
    return {name: seconds / IDLE_SECONDS for name, seconds in spent.items()}


async def _days(installation: Installation, day_seconds: float, at_work: asyncio.Event) -> None:
    for day in working_days(YEAR):
        await at_work.wait()
        installation.set_clock(opening(day))
        await asyncio.sleep(day_seconds)
    raise RuntimeError("the year is over before the bench is")


_WAITS: Final = """
    SELECT extract(epoch FROM min(e.stored_at) - c.stored_at)::float8 * 1000 AS ms
    FROM {effect}.facts e JOIN {cause}.facts c
        ON c.fact_id = e.envelope::json->>'causationid'
    WHERE e.stored_at BETWEEN to_timestamp($1) AND to_timestamp($2)
    GROUP BY c.fact_id, c.stored_at
"""


@dataclass(frozen=True)
class Counted:
    """Counted in the log, by the real time at which each fact was stored."""

    paid: int
    facts: int
    facts_stored: int
    waits_ms: Sequence[float]


async def _counted(url: str, window: Window) -> Counted:
    connection = await asyncpg.connect(url, command_timeout=300)
    span = (window.began_at, window.ended_at)
    within = "stored_at BETWEEN to_timestamp($1) AND to_timestamp($2)"
    try:
        paid = await connection.fetchval(
            f"SELECT count(*) FROM payout.facts WHERE type LIKE '%.PayoutConfirmed' AND {within}",  # noqa: S608 - names of this file
            *span,
        )
        facts, stored, waits = 0, 0, []
        for effect in SERVICES:
            facts += await connection.fetchval(
                f"SELECT count(*) FROM {effect}.facts WHERE {within}",  # noqa: S608 - as above
                *span,
            )
            stored += await connection.fetchval(f"SELECT count(*) FROM {effect}.facts")  # noqa: S608 - as above
            for cause in SERVICES:
                if cause != effect:
                    rows = await connection.fetch(_WAITS.format(effect=effect, cause=cause), *span)
                    waits += [row["ms"] for row in rows]
    finally:
        await connection.close()
    return Counted(paid, facts, stored, sorted(waits))


def _result(
    options: Options,
    window: Window,
    idle: Mapping[str, float],
    counted: Counted,
    offices: Offices,
) -> Result:
    spent = difference(window.before, window.after)
    a_second = counted.paid / window.seconds
    figures: dict[str, Any] = {
        "cases_per_second": round(a_second, 1),
        "offered_per_second": options.rate,
        "next_service_p50_ms": _at(counted.waits_ms, 0.5),
        "next_service_p99_ms": _at(counted.waits_ms, 0.99),
        "commands_per_second": round(window.commands / window.seconds, 1),
        "facts_per_second": round(counted.facts / window.seconds, 1),
        "submitted": offices.commands["submit"],
        "refused": dict(offices.refused),
        "windows_asking": sorted(offices.windows_asking),
        "instances": options.instances,
        "history": options.history,
        "facts_grown": window.facts_grown,
        "facts_stored": counted.facts_stored,
        "processors_used": round(sum(spent.values()) / window.seconds, 2),
        "processor_ms_a_command": {
            name: round(1000 * s / max(1, window.commands), 2) for name, s in spent.items()
        },
        "idle_processor_ms_a_second": {n: round(1000 * s, 1) for n, s in idle.items()},
        "resident_mb_start": {n: c.resident_bytes >> 20 for n, c in window.before.items()},
        "resident_mb_end": {n: c.resident_bytes >> 20 for n, c in window.after.items()},
    }
    rows = [
        (
            name,
            f"{1000 * spent[name] / max(1, counted.paid):.1f}",
            f"{figures['processor_ms_a_command'][name]:.2f}",
            f"{figures['idle_processor_ms_a_second'][name]:.0f}",
            str(figures["resident_mb_start"][name]),
            str(figures["resident_mb_end"][name]),
        )
        for name in spent
    ]
    return Result(
        name="journey",
        title=f"从申请到到账 Submission to confirmed payout: {a_second:.1f} cases a second",
        figures=figures,
        ratios={"of_the_aim": round(a_second / AIM_CASES_A_SECOND, 3)},
        columns=("process", "ms a case", "ms a command", "idle ms/s", "MB start", "MB end"),
        rows=rows,
        notes=(
            f"offered {options.rate} a second for {window.seconds:.0f} s after "
            f"{options.warm_up_seconds:.0f} s of warm-up, a business day every "
            f"{options.day_seconds} s",
            f"next service: p50 {figures['next_service_p50_ms']} ms, "
            f"p99 {figures['next_service_p99_ms']} ms over {len(counted.waits_ms)} facts",
            f"processors used: {figures['processors_used']}; refused: {figures['refused']}",
        ),
    )


def _at(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[int(share * (len(ordered) - 1))], 1) if ordered else None
