"""How long a service rests between two batches (docs/decisions/0034-throughput.md)."""

from __future__ import annotations

import pytest

from shared.pace import LONGEST_REST_SECONDS, rest_seconds


@pytest.mark.parametrize(
    ("took_seconds", "gather_seconds", "rests_seconds"),
    [
        pytest.param(
            0.005, 0.060, 0.055, id="little to do: batches begin the gathering time apart"
        ),
        pytest.param(0.050, 0.060, 0.100, id="much to do: twice as long as the batch took"),
        pytest.param(9.0, 0.060, LONGEST_REST_SECONDS, id="a batch that waited for a database"),
        pytest.param(0.050, 0.0, 0.0, id="nothing is to gather"),
    ],
)
def test_rest_grows_with_the_work(
    took_seconds: float, gather_seconds: float, rests_seconds: float
) -> None:
    assert rest_seconds(took_seconds, gather_seconds) == pytest.approx(rests_seconds)
