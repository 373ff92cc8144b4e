"""How long a service rests between two batches (docs/decisions/0034-throughput.md)."""

from __future__ import annotations

import pytest

from shared.pace import LONGEST_REST_SECONDS, RESTS_FOR_LATENESS, Pace


def test_batches_begin_the_gathering_time_apart() -> None:
    pace = Pace(0.060)
    assert pace.rest_seconds(0.005) == pytest.approx(0.055)
    assert pace.rest_seconds(0.090) == 0


def test_who_wakes_late_rests_for_longer_and_for_so_long_at_most() -> None:
    pace = Pace(0.060)
    rests = []
    for late_seconds in (0.0, 0.010, 0.010, 0.010, 5.0):
        pace.woke(late_seconds)
        rests.append(pace.rest_seconds(0.060))
    assert rests == sorted(rests)
    assert rests[0] == 0
    assert 0 < rests[1] < rests[3] < RESTS_FOR_LATENESS * 0.010
    assert rests[4] == LONGEST_REST_SECONDS


def test_it_is_forgotten_once_there_is_time_again() -> None:
    pace = Pace(0.060)
    pace.woke(0.050)
    for _ in range(40):
        pace.woke(-0.001)
    assert pace.rest_seconds(0.060) == pytest.approx(0, abs=1e-4)


async def test_where_nothing_is_to_gather_nobody_rests() -> None:
    pace = Pace(0.0)
    pace.woke(1.0)
    assert pace.rest_seconds(0.010) == 0
    await pace.rest(0.010)
