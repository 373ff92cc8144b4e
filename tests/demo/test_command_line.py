"""`./run demo` as a person types it: options, report, and the same year from the same seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.infrastructure import Infrastructure
from sandbox.installation import CHECKOUT
from tests.demo.conftest import Demo

HOUSEHOLDS: Final = 30


def run_demo(
    *words: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The module that ``./run demo`` becomes once everything is set up."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "sandbox.demo", *words],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--households", "0"],
        ["--households", "many"],
        ["--households", "1000000"],
        ["--year", "1999"],
        ["--seed", "x"],
        ["--report", "/no/such/folder/report.json"],
        ["--unknown"],
        ["household"],
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_one_line_and_status_2(words: list[str]) -> None:
    """Before anything is started."""
    done = run_demo(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("demo: ")


@pytest.fixture(scope="module")
def report(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Thirty households from the command line, with the report that it wrote."""
    path: Path = tmp_path_factory.mktemp("report") / "report.json"
    done = run_demo(
        *("--households", str(HOUSEHOLDS), "--seed", "1", "--report", str(path)),
        environment=infrastructure.as_environment(),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_report_says_what_came_of_it(report: dict[str, Any]) -> None:
    """Plan, outcomes by household number, facts, money and no fault."""
    assert report["plan"] == {"households": HOUSEHOLDS, "year": 2025, "seed": 1}
    assert sorted(map(int, report["outcomes"])) == list(range(1, HOUSEHOLDS + 1))
    assert report["faults"] == []
    assert report["facts"]["FileRegistered"] > 0
    paid = sum(outcome["paid_fen"] for outcome in report["outcomes"].values())
    assert sum(report["paid_fen"].values()) == paid > 0


def test_the_same_seed_gives_the_same_outcomes_and_amounts(
    demo: Demo, report: dict[str, Any]
) -> None:
    """Another run, of other size, in other processes: each household fares the same."""
    differing = {
        number: (outcome, demo.outcomes[int(number)])
        for number, outcome in report["outcomes"].items()
        if outcome != json.loads(json.dumps(demo.outcomes[int(number)]))
    }
    assert differing == {}
