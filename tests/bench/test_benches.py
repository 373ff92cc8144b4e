"""Each bench runs, on a real server, and answers what it promises. Nothing is timed here."""

import importlib
from dataclasses import replace

import orjson
import pytest

from bench import journey
from bench.offices import windows
from bench.options import tiny
from bench.report import line
from deploy.infrastructure import Infrastructure
from sandbox.world import build_world

RATIOS = {
    "append": {"one", "ten"},
    "read": {"read"},
    "load": {"load"},
    "rebuild": {"rebuild"},
    "tail": {"tail"},
}


@pytest.mark.parametrize("name", RATIOS)
async def test_a_bench_answers_a_line_of_json(name: str, infrastructure: Infrastructure) -> None:
    """Its name, figures that are numbers, and a ratio of ours to each limit."""
    result = await importlib.import_module(f"bench.{name}").run(tiny(infrastructure))
    told = orjson.loads(line(result.document()))
    assert told["bench"] == name
    assert told["ratios"].keys() == RATIOS[name]
    assert all(ratio > 0 for ratio in told["ratios"].values())
    assert all(isinstance(figure, int | float) for figure in told["figures"].values())
    assert all(len(row) == len(result.columns) for row in result.rows)
    if name == "tail":
        # The bench's own count, which a reader without the mark does not pass.
        assert result.figures["written"] > 0
        assert (result.figures["skipped"], result.figures["doubled"]) == (0, 0)


async def test_the_journey_tells_what_came_through_and_what_it_cost(
    infrastructure: Infrastructure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few cases on their way through all six services and the bank."""
    monkeypatch.setattr(journey, "IDLE_SECONDS", 0.5)
    options = replace(tiny(infrastructure), history=3)
    result = await journey.run(options)
    figures = result.figures
    assert figures["facts_stored"] > figures["facts_grown"] > 0
    assert figures["submitted"] > 0
    # A window whose cases nobody above it works on would only make the bench look slow.
    assert figures["windows_asking"] == sorted(windows(build_world()))
    assert figures["commands_per_second"] > 0
    assert {"cases_per_second", "next_service_p50_ms", "next_service_p99_ms"} <= figures.keys()
    measured = set(figures["resident_mb_start"])
    assert {"intake", "eligibility", "notice", "payout", "bank", "driver"} <= measured
    assert set(figures["resident_mb_end"]) == measured
    assert result.ratios.keys() == {"of_the_aim"}
