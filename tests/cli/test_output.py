"""What is printed may not be taken: the line says so, and blames neither database nor Kafka."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from cli.failures import failed
from sandbox.installation import CHECKOUT
from tests.cli.test_command_line import NOWHERE

FULL: Final = Path("/dev/full")
# What each prints before it has asked any server, and as what module.
PRINTS: Final = (
    ("cli", "status"),
    ("cli", "decide ."),
    ("cli", "--help"),
    ("cli", "heads --help"),
    ("cli", ""),
    ("cli", "erasures"),
    ("sandbox.demo", "--help"),
    ("sandbox.down", "--help"),
    ("sandbox.token", "--help"),
    ("sandbox.up", "--help"),
    ("bench", "--help"),
)


def ended(module: str, words: str, output: int, errors: int | None = None) -> tuple[int, str]:
    """The exit status and standard error of a command whose standard output is this."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, *words.split()],
        env={**os.environ, **NOWHERE, "PYTHONPATH": str(CHECKOUT)},
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE if errors is None else errors,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr or ""


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(("module", "words"), PRINTS, ids=str)
def test_a_full_standard_output_is_told_as_that(module: str, words: str, tmp_path: Path) -> None:
    """Whether it shows while something is written, or when Python lets go of the last of it."""
    if words == "decide .":
        (tmp_path / "none.json").write_text("[]")
        words = f"decide {tmp_path / 'none.json'}"
    with FULL.open("w") as full:
        status, told = ended(module, words, full.fileno())
        assert (status, told.count("\n")) == (2, 1), told
        assert told.startswith("标准输出 standard output: 磁盘已满 "), told


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_where_nothing_can_be_said_either_the_status_says_it() -> None:
    """As `bangfu … > list 2>&1` on a full disk."""
    with FULL.open("w") as full:
        assert ended("cli", "--help", full.fileno(), full.fileno())[0] == 2


@pytest.mark.parametrize(("module", "words"), PRINTS[::3], ids=str)
def test_whoever_reads_and_has_seen_enough_is_told_nothing(
    module: str, words: str, tmp_path: Path
) -> None:
    """As with `| head`: a pipe that nobody reads any more."""
    if words == "decide .":
        (tmp_path / "none.json").write_text("[]")
        words = f"decide {tmp_path / 'none.json'}"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        status, told = ended(module, words, writing)
    finally:
        os.close(writing)
    assert (status, told) == (1, "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO])
def test_what_this_machine_refuses_is_no_servers_fault(number: int) -> None:
    """Nor is it a traceback: somebody can make room, or allow more open files."""
    line = failed(OSError(number, os.strerror(number)))
    assert line is not None
    assert "BANGFU_" not in line
    assert "操作系统" in line
