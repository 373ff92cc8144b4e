"""The year: working days one after the other, each only when the one before has come to rest."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sandbox.client import Client
from sandbox.households import Household
from sandbox.installation import SERVICES, Installation
from sandbox.rest import Rest
from sandbox.staff import Staff
from sandbox.story import Story
from shared.calendar import BusinessCalendar

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
OPENING: Final = time(9, 0)
FIRST_DAY: Final = (1, 2)
LAST_DAY: Final = (12, 31)


def opening(day: date) -> datetime:
    """The instant at which a simulated day is worked."""
    return datetime.combine(day, OPENING, SHANGHAI)


@dataclass
class Progress:
    """What a watcher is shown."""

    day: date
    stages: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    items: int = 0

    @property
    def facts(self) -> int:
        return sum(
            int(self.statuses[name]["last_position"]) for name in self.statuses if name in SERVICES
        )


class Year:
    """Runs the story's calendar on an installation."""

    def __init__(
        self,
        installation: Installation,
        client: Client,
        story: Story,
        show: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        self._installation = installation
        self._client = client
        self._story = story
        self._staff = Staff(client, story)
        self._show = show
        self.rest = Rest(client)
        self._looked_at: tuple[int, ...] = ()
        self._seen: list[Any] = []
        self._applications: dict[date, list[Household]] = defaultdict(list)
        for household in story.households.values():
            self._applications[household.applied_on].append(household)

    async def run(self, year: int, before_day: Callable[[date], None] = lambda _day: None) -> None:
        """From the first working day to the last; ``before_day`` may disturb (a kill)."""
        for day in working_days(year):
            before_day(day)
            await self.live(day)

    async def live(self, day: date) -> None:
        """One working day, from its opening until all is at rest."""
        self._installation.set_clock(opening(day))
        await self.rest.wait(day.isoformat())
        overviews = await self._overviews()
        work = {name: overview["work"] for name, overview in zip(SERVICES, overviews, strict=True)}
        items = await self._morning(day, work)
        statuses = await self.rest.wait(day.isoformat()) if items else self.rest.latest
        stages = overviews[SERVICES.index("intake")]["stages"]
        self._show(Progress(day, stages, statuses, items))

    async def _overviews(self) -> list[Any]:
        """What waits where; looked up again only if any service has stated something since."""
        stated = tuple(self.rest.latest[name]["last_position"] for name in SERVICES)
        if stated != self._looked_at:
            self._looked_at = stated
            self._seen = await asyncio.gather(
                *(self._client.open(name, "/overview") for name in SERVICES)
            )
        return self._seen

    async def _morning(self, day: date, work: Mapping[str, Mapping[str, int]]) -> int:
        """One wave: the work lists as they were this morning, the diary, and who comes in."""
        new = [
            household
            for applied_on in sorted(d for d in self._applications if d <= day)
            for household in self._applications.pop(applied_on)
        ]
        errands = self._story.due(day)
        done = await self._staff.wave(day, work)
        await asyncio.gather(
            *(errand() for errand in errands), *(self._staff.submit(h) for h in new)
        )
        return done + len(errands) + len(new)


def working_days(year: int) -> Iterator[date]:
    """The working days of the sandbox's year."""
    calendar = BusinessCalendar()
    day, last = date(year, *FIRST_DAY), date(year, *LAST_DAY)
    while day <= last:
        if calendar.is_working_day(day):
            yield day
        day += timedelta(days=1)
