"""One demo of two hundred households for all tests in this folder.

It runs once, on databases, topics and a folder of its own, and stays up until the last of these
tests has looked at it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from deploy.infrastructure import Infrastructure, create_database, drop_database
from sandbox.installation import Installation
from sandbox.outcomes import read_outcomes
from sandbox.run import Plan, Run
from tests.conftest import servers_folder
from tests.demo.host import Host, Life
from tests.demo.log import Log, read_log
from tests.demo.mischief import make_mischief
from tests.demo.undisturbed import OUTCOMES

HOUSEHOLDS: Final = 200


@contextmanager
def own_installation(infrastructure: Infrastructure, **settings: Any) -> Iterator[Installation]:
    """An installation on databases, topics and a folder that nobody else uses."""
    name = f"demo_{secrets.token_hex(4)}"
    own = Infrastructure(
        create_database(infrastructure.postgres_url, name),
        create_database(infrastructure.keys_url, f"{name}_keys"),
        infrastructure.kafka_bootstrap,
    )
    folder = servers_folder() / name
    yield Installation(folder, own, prefix=f"{name}.", **settings)
    for database in (name, f"{name}_keys"):
        drop_database(infrastructure.postgres_url, database)


@contextmanager
def hosted(plan: Plan, installation: Installation, life: Life) -> Iterator[Host]:
    """A run that was lived and is still up; its folder stays if something went wrong."""
    host = Host(plan, installation, life)
    try:
        host.begin()
        yield host
    finally:
        host.end()


@dataclass
class Demo:
    """A year that was lived, still running, and what was seen of it."""

    host: Host
    # The bytes of every refusal that people of the sandbox were given.
    refusals: list[bytes]
    log: Log
    outcomes: dict[int, dict[str, Any]]
    answers: list[Any] = field(default_factory=list)

    @property
    def run(self) -> Run:
        return self.host.run

    @property
    def installation(self) -> Installation:
        return self.host.installation

    @property
    def postgres_url(self) -> str:
        return self.installation.infrastructure.postgres_url


async def outcomes_of(run: Run) -> dict[int, dict[str, Any]]:
    """What became of each household, by its number."""
    installation = run.installation
    bootstrap = installation.infrastructure.kafka_bootstrap
    outcomes = await read_outcomes(bootstrap, installation.prefix)
    return outcomes.by_number(run.story.number_by_case)


@pytest.fixture(scope="package")
def demo(infrastructure: Infrastructure) -> Iterator[Demo]:
    """Two hundred households through 2025, with seed 1, and then some mischief."""
    refusals: list[bytes] = []
    answers: list[Any] = []

    async def life(run: Run) -> None:
        run.client.on_refusal = refusals.append
        await run.live()
        answers.extend(await make_mischief(run))

    with own_installation(infrastructure) as installation:
        with hosted(Plan(HOUSEHOLDS), installation, life) as host:
            bootstrap = infrastructure.kafka_bootstrap
            log = asyncio.run(read_log(bootstrap, installation.prefix))
            outcomes = host.ask(outcomes_of(host.run))
            OUTCOMES[host.plan.seed] = outcomes
            yield Demo(host, refusals, log, outcomes, answers)
