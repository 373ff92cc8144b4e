"""What is done to a running installation, and when: on a drawn day, at a moment of its own.

They fall into a day's wave, while commands are on their way and facts are relayed and heard.
"""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any, Final

from sandbox.run import Run
from sandbox.year import working_days

LOOK_SECONDS: Final = 0.001
# A service that nobody commands on its day is struck after this, in whatever it does.
PATIENCE_SECONDS: Final = 5.0
LONGEST_DELAY_SECONDS: Final = 0.15


@dataclass(frozen=True)
class Struck:
    """What was done to whom, and what proves that it hit."""

    day: date
    what: str
    whom: str
    evidence: str = ""


@dataclass
class Disturber:
    """Does the disturbances of each day, beside the year that is being lived."""

    run: Run
    draw: Random
    struck: list[Struck] = field(default_factory=list)
    today: date = date.min
    # One hand at a time on each process.
    turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def live(self, disturbances: Sequence[Disturbance]) -> None:
        """The whole year with all of it, then until everything is at rest."""
        by_day: dict[date, list[Disturbance]] = defaultdict(list)
        for each in disturbances:
            by_day[each.day].append(each)
        last = date.min
        for day in working_days(self.run.plan.year):
            self.today = last = day
            for each in by_day.get(day, ()):
                task = asyncio.create_task(each.act(self))
                self._tasks.append(task)
            await self.run.year.live(day)
            for task in [task for task in self._tasks if task.done()]:
                task.result()
                self._tasks.remove(task)
        for task in self._tasks:
            await task
        # Should the last of them have struck when the year was over, it comes to rest first.
        await self.run.year.rest.wait(last.isoformat())

    def note(self, what: str, whom: str, evidence: str = "") -> None:
        self.struck.append(Struck(self.today, what, whom, evidence))

    async def in_wave(self, service: str) -> str:
        """Until a moment after the next command is sent there; says so, or that none was."""
        commands = self.run.client.commands
        before = commands[service]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while commands[service] == before:
            if loop.time() > deadline:
                return "no command to it just then"
            await asyncio.sleep(LOOK_SECONDS)
        delay = self.draw.uniform(0, LONGEST_DELAY_SECONDS)
        await asyncio.sleep(delay)
        return f"{delay * 1000:.0f} ms after a command to it"

    async def kill(self, process: str, evidence: str, absence_seconds: float = 0.0) -> None:
        """Kill -9, and start it again after a while."""
        async with self.turns[process]:
            await self.kill_in_turn(process, evidence, absence_seconds)

    async def kill_in_turn(self, process: str, evidence: str, absence_seconds: float = 0.0) -> None:
        """The same, by whoever has the turn already."""
        self.run.installation.kill(process)
        self.note("killed", process, evidence)
        await asyncio.sleep(absence_seconds)
        self.run.installation.start(process)

    def signal(self, process: str, number: signal.Signals) -> None:
        """Freeze or wake a process."""
        self.run.installation.processes[process].send_signal(number)


@dataclass(frozen=True)
class Disturbance:
    """One of them, with its day."""

    day: date
    act: Callable[[Disturber], Coroutine[Any, Any, None]]


def spread(year: int, count: int, draw: Random) -> list[date]:
    """So many days with work to do, far enough apart to recover from one by one."""
    days = list(working_days(year))[15:-40]
    room = len(days) // count
    return [days[place * room + draw.randrange(room)] for place in range(count)]
