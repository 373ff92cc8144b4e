"""Every process is killed once while a year is lived, and nothing is lost, doubled or changed.

Kill -9 without warning, at a drawn day and, mostly, in the middle of a wave: while a command to
that very service is on its way, or its facts are still being relayed and heard. It is started again
at once, or after a while in which the others work on without it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any, Final

import pytest

from cli.verify import verify_installation
from deploy.infrastructure import Infrastructure
from sandbox.installation import SERVICES
from sandbox.rest import reasons
from sandbox.run import Plan, Run
from sandbox.stuck import stuck_cases
from sandbox.year import working_days
from tests.demo import invariants
from tests.demo.conftest import Demo, hosted, outcomes_of, own_installation
from tests.demo.log import Log, read_log

HOUSEHOLDS: Final = 60
VICTIMS: Final = (*SERVICES, "bank")
SESSION_TIMEOUT_MS: Final = 2_000
LEASE_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.001
# A service that nobody commands on its day is killed after this, in whatever it does.
PATIENCE_SECONDS: Final = 5.0
LONGEST_DELAY_SECONDS: Final = 0.15
LONGEST_ABSENCE_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Blow:
    """Who dies on which day, how long after a command was sent there, and for how long."""

    victim: str
    day: date
    delay_seconds: float
    absence_seconds: float


def drawn_blows(year: int, seed: int) -> list[Blow]:
    """One for each process, on days that are far enough apart to recover from one by one."""
    draw = Random(f"{seed}|kills")
    days = list(working_days(year))[20:-40]
    room = len(days) // len(VICTIMS)
    victims = draw.sample(VICTIMS, len(VICTIMS))
    return [
        Blow(
            victim,
            days[place * room + draw.randrange(room)],
            draw.uniform(0, LONGEST_DELAY_SECONDS),
            draw.choice((0.0, draw.uniform(0, LONGEST_ABSENCE_SECONDS))),
        )
        for place, victim in enumerate(victims)
    ]


@dataclass
class Killer:
    """Strikes as drawn, beside the year that is being lived."""

    run: Run
    blows: list[Blow]
    struck: list[tuple[str, date, bool]] = field(default_factory=list)
    _today: date = date.min
    _dawn: asyncio.Event = field(default_factory=asyncio.Event)

    def before_day(self, day: date) -> None:
        self._today = day
        self._dawn.set()

    async def strike_all(self) -> None:
        for blow in sorted(self.blows, key=lambda each: each.day):
            await self._strike(blow)

    async def _strike(self, blow: Blow) -> None:
        while self._today < blow.day:
            self._dawn.clear()
            await self._dawn.wait()
        # The bank is told by payout what to do; the network is asked by everybody's hearing.
        watched = "payout" if blow.victim == "bank" else blow.victim
        in_wave = await self._command_to(watched)
        await asyncio.sleep(blow.delay_seconds)
        self.run.installation.kill(blow.victim)
        self.struck.append((blow.victim, self._today, in_wave))
        await asyncio.sleep(blow.absence_seconds)
        self.run.installation.start(blow.victim)

    async def _command_to(self, service: str) -> bool:
        """Until the next command is sent there; False if none is for a while."""
        commands = self.run.client.commands
        before = commands[service]
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while commands[service] == before:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True


@dataclass
class Disturbed:
    """The year with its seven deaths."""

    run: Run
    struck: list[tuple[str, date, bool]]
    log: Log
    outcomes: dict[int, dict[str, Any]]
    restless: list[str]
    stuck: list[str]
    differences: list[str]


@pytest.fixture(scope="module")
def disturbed(infrastructure: Infrastructure) -> Iterator[Disturbed]:
    """Sixty households through 2025, seed 1, everybody killed once."""
    killers: list[Killer] = []

    async def life(run: Run) -> None:
        killer = Killer(run, drawn_blows(run.plan.year, run.plan.seed))
        killers.append(killer)
        striking = asyncio.create_task(killer.strike_all())
        await run.live(killer.before_day)
        await striking
        # Should the last of them have been struck when the year was over, it comes to rest first.
        await run.year.rest.wait(f"{run.plan.year}-12-31")

    settings = {"session_timeout_ms": SESSION_TIMEOUT_MS, "lease_seconds": LEASE_SECONDS}
    with own_installation(infrastructure, **settings) as installation:
        with hosted(Plan(HOUSEHOLDS), installation, life) as host:
            own = installation.infrastructure
            statuses = host.ask(host.run.year.rest.look())
            report = asyncio.run(
                verify_installation(own.postgres_url, own.kafka_bootstrap, installation.prefix)
            )
            yield Disturbed(
                host.run,
                killers[0].struck,
                asyncio.run(read_log(own.kafka_bootstrap, installation.prefix)),
                host.ask(outcomes_of(host.run)),
                [str(reason) for reason in reasons(statuses, str(statuses["intake"]["today"]))],
                [str(case) for case in asyncio.run(stuck_cases(own.postgres_url))],
                [str(difference) for difference in report.differences],
            )


def test_everybody_was_killed_once_and_most_in_mid_wave(disturbed: Disturbed) -> None:
    """Six services, each with its relay, its hearing and its timers, and the bank."""
    assert Counter(victim for victim, _, _ in disturbed.struck) == Counter(VICTIMS)
    assert sum(in_wave for _, _, in_wave in disturbed.struck) >= len(VICTIMS) - 2


def test_nothing_is_stuck_held_or_behind(disturbed: Disturbed) -> None:
    """Everybody caught up."""
    assert disturbed.restless == []
    assert disturbed.stuck == []


def test_verification_finds_no_difference(disturbed: Disturbed) -> None:
    """Kafka, stores, read models, guard rows and ledger agree in spite of it."""
    assert disturbed.differences == []


def test_nothing_was_paid_twice(disturbed: Disturbed) -> None:
    """One execution per award and instalment, by our facts and by the bank's own books (P3)."""
    for case in disturbed.log.cases.values():
        assert list(invariants.paid_twice(case)) == []
    books = disturbed.run.installation.folder / "bank" / "bank.sqlite"
    with closing(sqlite3.connect(f"file:{books}?mode=ro", uri=True)) as connection:
        paid = connection.execute(
            "SELECT end_to_end_id, amount_fen FROM payments WHERE state = 'confirmed'"
        ).fetchall()
    issued = {told.data["payout_id"]: told.data for told in disturbed.log.named("PayoutIssued")}
    confirmed = [
        (issued[told.data["payout_id"]]["end_to_end_id"], told.data["amount_fen"])
        for told in disturbed.log.named("PayoutConfirmed")
    ]
    assert confirmed
    assert sorted(paid) == sorted(confirmed)


def test_the_outcomes_are_those_of_an_undisturbed_year(demo: Demo, disturbed: Disturbed) -> None:
    """Household by household: stage, reason, class, awards and payments to the fen.

    The undisturbed year is the shared demo's: what becomes of a household depends on the seed and
    its number, and not on how many others there are.
    """
    differing = {
        number: (disturbed.outcomes[number], demo.outcomes[number])
        for number in range(1, HOUSEHOLDS + 1)
        if disturbed.outcomes[number] != demo.outcomes[number]
    }
    assert differing == {}
