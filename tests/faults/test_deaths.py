"""Everybody is killed again and again in a year, and nothing is lost, doubled or changed.

Kill -9 without warning, mostly in the middle of a wave: while a command to that very process is on
its way, or its facts are still being relayed and heard; several at once on some days. Two relays
die in the middle of a batch, and two consumers between their commit and the offsets in Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import partial
from random import Random
from typing import Final

import pytest

from deploy.infrastructure import Infrastructure
from sandbox.installation import SERVICES
from sandbox.run import Plan
from tests.demo.conftest import own_installation
from tests.faults.afterwards import AfterAYear
from tests.faults.conftest import MOST_HOUSEHOLDS
from tests.faults.disturbances import Disturbance, Disturber, spread
from tests.faults.freezing import killed_between_commits, killed_in_mid_batch
from tests.faults.lived import SHORT_LEASES, Lived, lived_through

VICTIMS: Final = (*SERVICES, "bank", "issuer")
DEATHS_EACH: Final = 3
LONGEST_ABSENCE_SECONDS: Final = 2.0
# The bank is told by payout what to do, and everybody's tokens are asked of the issuer.
WATCHED: Final = {"bank": "payout", "issuer": "intake"}


async def killed(disturber: Disturber, *, victim: str, absence_seconds: float) -> None:
    """One death, at a moment of the wave."""
    when = await disturber.in_wave(WATCHED.get(victim, victim))
    await disturber.kill(victim, when, absence_seconds)


def drawn_deaths(year: int, draw: Random) -> list[Disturbance]:
    """Each dies so often; from one to three on the same day."""
    order = [victim for _ in range(DEATHS_EACH) for victim in draw.sample(VICTIMS, len(VICTIMS))]
    groups: list[list[str]] = []
    while order:
        count = draw.randint(1, 3)
        groups.append(order[:count])
        order = order[count:]
    windows = [
        partial(killed_in_mid_batch, service="intake"),
        partial(killed_in_mid_batch, service="payout"),
        partial(killed_between_commits, service="eligibility"),
        partial(killed_between_commits, service="notice"),
    ]
    days = spread(year, len(groups) + len(windows), draw)
    draw.shuffle(days)
    hunts = [window(day) for window, day in zip(windows, days, strict=False)]
    return [*hunts, *_deaths(groups, days[len(windows) :], draw)]


def _deaths(groups: list[list[str]], days: list[date], draw: Random) -> Iterator[Disturbance]:
    for day, victims in zip(days, groups, strict=True):
        for victim in victims:
            absence = draw.choice((0.0, draw.uniform(0, LONGEST_ABSENCE_SECONDS)))
            yield Disturbance(day, partial(killed, victim=victim, absence_seconds=absence))


@pytest.fixture(scope="module")
def lived(infrastructure: Infrastructure) -> Iterator[Lived]:
    """Sixty households through 2025."""
    plan = Plan(MOST_HOUSEHOLDS)

    async def ordeal(disturber: Disturber) -> None:
        await disturber.live(drawn_deaths(plan.year, disturber.draw))

    with own_installation(infrastructure, **SHORT_LEASES) as installation:
        with lived_through("deaths", plan, installation, ordeal) as year:
            yield year


class TestAfterDeaths(AfterAYear):
    """The same promises as ever."""

    def test_everybody_was_killed_so_often(self, lived: Lived) -> None:
        """At least twenty-five deaths, most of them while somebody waited for an answer."""
        deaths = Counter(each.whom for each in lived.struck)
        assert all(deaths[victim] >= DEATHS_EACH for victim in VICTIMS), deaths
        assert deaths.total() >= 25
        in_wave = [each for each in lived.struck if "no command" not in each.evidence]
        assert len(in_wave) > deaths.total() / 2

    def test_two_relays_died_in_mid_batch(self, lived: Lived) -> None:
        """With records in Kafka that their checkpoint did not know of."""
        hit = [each.whom for each in lived.struck if "relay_in_mid_batch" in each.evidence]
        assert sorted(hit) == ["intake", "payout"]

    def test_two_consumers_died_between_commit_and_offsets(self, lived: Lived) -> None:
        """With effects stored that Kafka was not told of."""
        hit = [each.whom for each in lived.struck if "consumer_between_commits" in each.evidence]
        assert sorted(hit) == ["eligibility", "notice"]
