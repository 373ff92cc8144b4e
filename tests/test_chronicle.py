"""The seed of a run: given by the environment, or told in one line that it is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chronicle import SEED_VARIABLE, drawn_seed

CHECKOUT = Path(__file__).resolve().parents[1]


def test_the_environment_gives_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEED_VARIABLE, "10775")
    assert drawn_seed() == 10775
    monkeypatch.delenv(SEED_VARIABLE)
    assert len({drawn_seed() for _ in range(9)}) > 1


def test_a_seed_that_is_none_ends_the_run_in_one_line() -> None:
    """Before anything is started, and not as a fault of some test."""
    for seed in ("abc", "-1", "9" * 5000, "１２"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", "--collect-only", "tests/test_chronicle.py"],
            env=os.environ | {SEED_VARIABLE: seed},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        [line] = done.stderr.strip().splitlines()
        assert line.startswith(
            f"ERROR: {SEED_VARIABLE}: 须为至多 18 位的整数 must be a whole number"
        )
        assert (done.returncode, done.stdout) == (pytest.ExitCode.USAGE_ERROR, "")
