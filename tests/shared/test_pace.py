"""How long a service rests between two batches (docs/decisions/0034-throughput.md)."""

from __future__ import annotations

import asyncio
from time import monotonic, sleep

import pytest

from shared.pace import LONGEST_REST_SECONDS, RESTS_FOR_LATENESS, USUAL_LATENESS_SECONDS, Pace


def test_batches_begin_the_gathering_time_apart() -> None:
    pace = Pace(0.060)
    assert pace.gathering_seconds(0.005) == pytest.approx(0.055)
    assert pace.gathering_seconds(0.090) == 0


def test_who_wakes_late_rests_for_longer_and_for_so_long_at_most() -> None:
    pace = Pace(0.060)
    rests = []
    for late_seconds in (0.0, 0.020, 0.020, 0.020, 5.0):
        pace.woke(late_seconds)
        rests.append(pace.stepping_back_seconds())
    assert rests == sorted(rests)
    assert rests[0] == 0
    assert 0 < rests[1] < rests[3] < RESTS_FOR_LATENESS * 0.020
    assert rests[4] == LONGEST_REST_SECONDS


def test_what_is_usual_on_a_quiet_machine_costs_nothing() -> None:
    pace = Pace(0.060)
    for _ in range(40):
        pace.woke(USUAL_LATENESS_SECONDS)
    assert pace.stepping_back_seconds() == pytest.approx(0, abs=1e-6)


def test_it_is_forgotten_once_there_is_time_again() -> None:
    pace = Pace(0.060)
    pace.woke(0.050)
    for _ in range(40):
        pace.woke(-0.001)
    assert pace.stepping_back_seconds() == 0


async def test_where_nothing_is_to_gather_nobody_rests() -> None:
    pace = Pace(0.0)
    pace.woke(1.0)
    assert pace.gathering_seconds(0.010) == pace.stepping_back_seconds() == 0
    await pace.rest(0.010)


async def test_once_there_is_enough_nothing_more_gathers() -> None:
    """Also what came while the batch before it was being taken in."""
    pace, enough = Pace(60.0), asyncio.Event()
    async with asyncio.timeout(30):
        resting = asyncio.create_task(pace.rest(0.0, enough))
        await asyncio.sleep(0)
        enough.set()
        await resting
        await pace.rest(0.0, enough)


async def test_who_steps_back_does_so_even_if_there_is_enough() -> None:
    pace, enough = Pace(60.0), asyncio.Event()
    enough.set()
    pace.woke(0.020)
    seconds, began = pace.stepping_back_seconds(), monotonic()
    await pace.rest(0.0, enough)
    assert seconds > 0
    assert monotonic() - began >= seconds


async def test_who_waits_for_enough_notices_too_that_it_woke_late() -> None:
    """Something else keeps the processor for fifty milliseconds beyond the end of the gathering."""
    pace = Pace(0.020)
    resting = asyncio.create_task(pace.rest(0.0, asyncio.Event()))
    await asyncio.sleep(0.010)
    sleep(0.060)  # noqa: ASYNC251 - to hold the loop up is what it is for
    await resting
    assert pace.late_seconds > 0.005
