"""One installation for all tests in this folder: everything started, no household yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from deploy.infrastructure import Infrastructure
from sandbox.installation import CHECKOUT
from sandbox.run import Plan, Run
from tests.demo.conftest import own_installation
from tests.demo.host import Host
from tests.services.intake.running import HANDLER, submission

# A bound, not a measure: a command that hangs is what it finds.
COMMAND_SECONDS = 150


@pytest.fixture(scope="package")
def duty(infrastructure: Infrastructure) -> Iterator[Host]:
    """A federation with its offices, parameters and funds, and all its processes."""

    async def nobody_lives(_run: Run) -> None:
        pass

    with own_installation(infrastructure) as installation:
        host = Host(Plan(households=0), installation, nobody_lives)
        try:
            host.begin()
            installation.write_environment()
            yield host
        finally:
            host.end()


def environment_of(host: Host) -> dict[str, str]:
    """What the file `environment` sets for an operator who sources it."""
    path = host.installation.folder / "environment"
    shell = ["bash", "-c", f'. "{path}" && env -0']
    told = subprocess.run(shell, capture_output=True, check=True, text=True).stdout
    pairs = (line.partition("=") for line in told.split("\0") if line)
    return {name: value for name, _, value in pairs if name.startswith("BANGFU_")}


def bangfu(*words: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The command line as an operator types it."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("BANGFU_")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", *words],
        env={**known, "PYTHONPATH": str(CHECKOUT), **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )


@pytest.fixture(scope="package")
def case_id(duty: Host) -> str:
    """A submitted case of union-1-1, made up."""

    async def submit() -> str:
        client = duty.run.client
        told = await client.post(HANDLER, "intake", "/cases", submission(1))
        subject: str = told["subject"]
        return subject

    return duty.ask(submit())
