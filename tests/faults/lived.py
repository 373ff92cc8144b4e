"""A disturbed year, and everything that is looked at when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from cli.verify import verify_installation
from sandbox.installation import Installation
from sandbox.outcomes import Outcomes
from sandbox.rest import lags, reasons
from sandbox.run import Plan, Run
from sandbox.stuck import stuck_cases
from tests.chronicle import CHRONICLE, drawn_seed
from tests.demo.conftest import hosted
from tests.demo.log import Log
from tests.faults.disturbances import Disturber, Struck
from tests.faults.evidence import Acknowledged, Books, Topics, held_rows, read_topics

SESSION_TIMEOUT_MS: Final = 2_000
LEASE_SECONDS: Final = 1.0
SHORT_LEASES: Final[dict[str, Any]] = {
    "session_timeout_ms": SESSION_TIMEOUT_MS,
    "lease_seconds": LEASE_SECONDS,
}
# A frozen broker or a full disk is waited for; more than this is a hang.
PATIENCE_SECONDS: Final = 180.0

Ordeal = Callable[[Disturber], Awaitable[None]]


@dataclass
class Lived:
    """The year is over, its processes still run."""

    run: Run
    struck: Sequence[Struck]
    acknowledged: Acknowledged
    topics: Topics
    log: Log
    outcomes: Mapping[int, Mapping[str, Any]]
    restless: Sequence[str]
    lag: Mapping[str, int]
    stuck: Sequence[str]
    differences: Sequence[str]
    held: Mapping[str, Sequence[tuple[str, str]]]
    books: Books


@contextmanager
def lived_through(
    name: str, plan: Plan, installation: Installation, ordeal: Ordeal
) -> Iterator[Lived]:
    """Live the year with its faults; ``ordeal`` is the whole of it."""
    seed = drawn_seed()
    acknowledged = Acknowledged()
    disturbers: list[Disturber] = []

    async def life(run: Run) -> None:
        run.year.rest.patience_seconds = PATIENCE_SECONDS
        run.client.retry_seconds = PATIENCE_SECONDS
        run.client.on_acknowledged = acknowledged.take
        disturber = Disturber(run, Random(f"{seed}|{name}"))
        disturbers.append(disturber)
        await ordeal(disturber)

    CHRONICLE.append(f"{name}: seed {seed}, of {plan.households} households of seed {plan.seed}")
    print(CHRONICLE[-1])
    try:
        with hosted(plan, installation, life) as host:
            statuses = host.ask(host.run.year.rest.look())
            yield _looked_at(host.run, disturbers[0], acknowledged, statuses)
    finally:
        for disturber in disturbers:
            CHRONICLE.extend(
                f"  {each.day} {each.what}: {each.whom}"
                + (f" ({each.evidence})" if each.evidence else "")
                for each in disturber.struck
            )


def _looked_at(run: Run, disturber: Disturber, acknowledged: Acknowledged, statuses: Any) -> Lived:
    own, prefix = run.installation.infrastructure, run.installation.prefix
    report = asyncio.run(verify_installation(own.postgres_url, own.kafka_bootstrap, prefix))
    topics = asyncio.run(read_topics(own.kafka_bootstrap, prefix))
    log = topics.log(prefix)
    books = Books.of(run.installation.folder / "bank")
    repeats = sum(topics.repeats.values())
    told = (
        f"  {acknowledged.commands} commands acknowledged with {len(acknowledged.facts)} facts; "
        f"{len(log.facts)} facts in Kafka, {repeats} repeated; {len(books.credits)} credits"
    )
    CHRONICLE.append(told)
    return Lived(
        run=run,
        struck=disturber.struck,
        acknowledged=acknowledged,
        topics=topics,
        log=log,
        outcomes=outcomes_by_number(run, log),
        restless=[str(why) for why in reasons(statuses, str(statuses["intake"]["today"]))],
        lag=lags(statuses),
        stuck=[str(case) for case in asyncio.run(stuck_cases(own.postgres_url))],
        differences=[str(difference) for difference in report.differences],
        held=asyncio.run(held_rows(own.postgres_url)),
        books=books,
    )


def outcomes_by_number(run: Run, log: Log) -> Mapping[int, Mapping[str, Any]]:
    """What became of each household, by its number."""
    outcomes = Outcomes()
    for told in sorted(log.facts, key=lambda t: (t.recorded.stream, t.recorded.version)):
        outcomes.take(told.name, told.data)
    return outcomes.by_number(run.story.number_by_case)
