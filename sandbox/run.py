"""One run of the sandbox on real servers: start, found, live through a year, look at the result.

The demo, the tests and the fault drills use the same run; only what they do with it differs.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from sandbox.client import Client
from sandbox.founding import announce_parameters, credit_fund, found_world, open_classes
from sandbox.households import Household, household
from sandbox.installation import INSTALLER, SUBSCRIBER, Installation
from sandbox.story import Story
from sandbox.world import World, build_world
from sandbox.year import FIRST_DAY, Progress, Year, opening

SPARE_PLACES: Final = 10
FOUNDING_SECONDS: Final = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to simulate."""

    households: int = 200
    year: int = 2025
    seed: int = 1


@dataclass
class Run:
    """A started installation with its story; ``live`` takes it through the year."""

    plan: Plan
    installation: Installation
    client: Client
    story: Story
    year: Year

    async def live(self, before_day: Callable[[date], None] = lambda _day: None) -> None:
        """From the first working day to the last, then until all is at rest."""
        await self.year.run(self.plan.year, before_day)


def _nothing_said(_text: str) -> None:
    """For those who need no progress in words."""


@asynccontextmanager
async def started(
    plan: Plan,
    installation: Installation,
    *,
    show: Callable[[Progress], None] = lambda _progress: None,
    say: Say = _nothing_said,
    keep: bool = False,
    simulated: bool = True,
) -> AsyncIterator[Run]:
    """Prepare and start everything, found the federation, and stop it again unless kept.

    Without ``simulated`` business time is the real one, and no classes of a year are opened.
    """
    world = build_world()
    if simulated:
        installation.instant = opening(date(plan.year, *FIRST_DAY))
    installation.seed = plan.seed
    people: list[str | Mapping[str, object]] = [
        INSTALLER,
        {"subject": SUBSCRIBER, "client": True},
        *world.people(),
    ]
    installation.seed = plan.seed
    installation.folder.mkdir(parents=True, exist_ok=True)
    installation.set_people(people)
    say("建库、建主题 schemas and topics")
    await installation.prepare()
    client: Client | None = None
    try:
        say("启动服务 services")
        for name in installation.process_names:
            installation.start(name)
            if installation.detached:
                # At once, so that whatever happens next, they can be found and stopped.
                installation.record()
        await installation.wait_until_ready(installation.process_names)
        client = Client(installation.urls(), installation.secret)
        story = Story(plan.seed, _households(plan, world))
        year = Year(installation, client, story, show)
        say("设立组织、公布参数 organisations and parameters")
        await _found(plan, client, world, year, story)
        yield Run(plan, installation, client, story, year)
    finally:
        if client is not None:
            await client.close()
        if keep:
            installation.record()
        else:
            installation.stop()


def _households(plan: Plan, world: World) -> dict[int, Household]:
    return {
        number: household(plan.seed, number, plan.year, world)
        for number in range(1, plan.households + 1)
    }


async def _found(plan: Plan, client: Client, world: World, year: Year, story: Story) -> None:
    """What a federation sets up before its windows open; at rest before the first day.

    Everything starts at once just now, so it gets longer than a day does later.
    """
    patience_seconds = year.rest.patience_seconds
    year.rest.patience_seconds = max(patience_seconds, FOUNDING_SECONDS)
    today = str((await year.rest.look())["intake"]["today"])
    await found_world(client, world)
    await year.rest.wait(today)
    await announce_parameters(client)
    await credit_fund(client, max(1, plan.households))
    if plan.households:
        story.terms = await open_classes(client, plan.year, plan.households + SPARE_PLACES)
    await year.rest.wait(today)
    year.rest.patience_seconds = patience_seconds


def fresh_folder(base: Path) -> Path:
    """A folder of this run's own, named by its start; a second run in that second waits for it."""
    while True:
        folder = base / time.strftime("%Y%m%d-%H%M%S")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            time.sleep(0.2)
        else:
            return folder
