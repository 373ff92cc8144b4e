"""Timers: due work is derived from facts, and done when the business day has come.

A timer is a row of the ``timer`` read model, so it exists exactly as long as the state asks for
it; the stream's version makes its effect happen once, whoever fires it and however late.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from math import inf
from time import monotonic
from typing import Final

import structlog

from shared.clock import FileClock
from shared.desk import Desk
from shared.event_store import Clash, Conflict, DueTimer, is_passing
from shared.room import Refusal
from shared.telemetry import CONFLICTS, Progress
from shared.workspace import Cause, Missing, Workspace
from shared.write import Write

log = structlog.get_logger()

# Between two rounds at least, however much is written; and how long a moved clock goes unseen.
PAUSE_SECONDS: Final = 0.02
SIMULATED_DAY_SECONDS: Final = 0.03
REAL_DAY_SECONDS: Final = 1.0
# For rows that another process has added; whoever decides looks for them anyway.
REFERENCE_SECONDS: Final = 1.0
# Also without being woken: another instance may have set a timer and died before it fired it.
LOOK_AGAIN_SECONDS: Final = 2.0
FAULT_PAUSE_SECONDS: Final = 0.5
MOST_AT_ONCE: Final = 200
TIMER_MODEL: Final = "timer"
# A unique index of the room's may say no because of a race; saying it this often it means it, until
# another stream gives way: so it is tried again, now and then.
MOST_CLASHES: Final = 5
CLASHED_AGAIN_SECONDS: Final = 60.0

Name = tuple[str, str]
# What a refusal was decided on: stream version, business day, reference rows. While all of it
# stands, a repeat would be refused again.
Ground = tuple[int, date, tuple[int, int]]


class TimerFailed(Exception):
    """One timer's command raised: a fault of data or program, for decisions do no I/O."""

    def __init__(self, item: DueTimer, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.item = item


class Timers:
    """Fires what has fallen due in one service."""

    def __init__(self, desk: Desk, progress: Progress) -> None:
        self._desk = desk
        self._progress = progress
        self._woken = asyncio.Event()
        self._woken.set()
        simulated = isinstance(desk.clock, FileClock)
        self._day_seconds = SIMULATED_DAY_SECONDS if simulated else REAL_DAY_SECONDS
        self._looked_at = 0.0
        self._looked_on = date.min
        # The day on which nothing more was due: what "at rest" means for a simulated calendar.
        self.rested_on: date | None = None
        # Due, but without effect when last fired: shown, and fired again on new ground only.
        self.stuck: dict[Name, Ground] = {}
        self._clashes: Counter[Name] = Counter()
        # When those that clash are tried again, on whatever ground.
        self._again_at: dict[Name, float] = {}

    def wake(self, write: Write) -> None:
        """Own facts were written: look, if they set a timer that is due already.

        Or if one is stuck, for they may be its new ground. A timer for a later day is found when
        that day comes, and most writes set none.
        """
        is_due = any(
            row["due_on"] and row["due_on"] <= self._looked_on for row in write.rows_of(TIMER_MODEL)
        )
        if is_due or self.stuck:
            self.rested_on = None
            self._woken.set()

    async def run(self) -> None:
        """Fire due timers until cancelled; late ones are caught up, the oldest first."""
        while True:
            try:
                await self._desk.reference.keep_fresh(REFERENCE_SECONDS)
                today = self._desk.clock.today()
                stale = monotonic() - self._looked_at > LOOK_AGAIN_SECONDS
                if self._woken.is_set() or stale or self.rested_on != today:
                    # In this order: what is written from here on knows what is not looked for.
                    self._looked_on = today
                    self._woken.clear()
                    if await self.fire(today):
                        self._woken.set()
                        self._progress.beat("timers")
                        continue
                    # Written meanwhile: look again, but not after each of a stream of writes.
                    if not self._woken.is_set():
                        self.rested_on = today
                        self._looked_at = monotonic()
                self._progress.beat("timers")
            except Exception as error:
                if not is_passing(error):
                    raise
                self._woken.set()
                # It says that it fails, so it does not hang: a new process would fare no better.
                self._progress.beat("timers")
                log.warning("timers_wait_for_database", error=type(error).__name__)
                await asyncio.sleep(FAULT_PAUSE_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._day_seconds - PAUSE_SECONDS):
                    await self._woken.wait()

    async def fire(self, today: date) -> bool:
        """One round; True if something was due that is not stuck."""
        limit = MOST_AT_ONCE + len(self.stuck)
        due = await self._desk.store.due(today, limit)
        if len(due) < limit:
            known = {(item.stream, item.timer) for item in due}
            self.stuck = {name: ground for name, ground in self.stuck.items() if name in known}
            for name in self._clashes.keys() - known:
                del self._clashes[name]
                self._again_at.pop(name, None)
        mark = self._desk.reference.mark
        todo = [
            item
            for item in due
            if self.stuck.get((item.stream, item.timer)) != (item.version, today, mark)
            or monotonic() >= self._again_at.get((item.stream, item.timer), inf)
        ]
        if not todo:
            return False
        try:
            await self._fire(todo, today)
        except Exception as error:
            if isinstance(error, Conflict):
                CONFLICTS.labels(self._desk.room.name).inc()
                self._desk.forget([item.stream for item in todo])
            elif is_passing(error):
                raise
            await self._fire_each(todo, today)
        return True

    async def _fire_each(self, todo: Sequence[DueTimer], today: date) -> None:
        """Each in a write of its own, so that one that can't be stored keeps none of the others."""
        for item in todo:
            try:
                await self._fire([item], today)
            except Conflict as conflict:
                self._desk.forget([item.stream])
                if isinstance(conflict, Clash):
                    self._count_clash(item, today, str(conflict))
            except Exception as error:
                if is_passing(error):
                    raise
                self._stick(item, item.version, today, type(error).__name__)

    def _count_clash(self, item: DueTimer, today: date, code: str) -> None:
        name = (item.stream, item.timer)
        self._clashes[name] += 1
        if self._clashes[name] >= MOST_CLASHES:
            self._again_at[name] = monotonic() + CLASHED_AGAIN_SECONDS
            self._stick(item, item.version, today, code)

    async def _fire(self, todo: Sequence[DueTimer], today: date) -> None:
        left = list(todo)
        while True:
            try:
                without_effect, workspace = await self._desk.decide_for_good(
                    lambda w, left=left: self._tell_all(w, left)  # type: ignore[misc]  # bound now
                )
                break
            except TimerFailed as failed:
                left = [item for item in left if item is not failed.item]
                self._stick(failed.item, failed.item.version, today, str(failed))
        await self._desk.commit(workspace)
        for item, code in without_effect:
            version = workspace.entries[item.stream].head.version
            # On a newer version than was looked at it was only overtaken: it is due no more, or
            # the next round fires it.
            if version == item.version:
                self._stick(item, version, today, code)

    def _stick(self, item: DueTimer, version: int, today: date, code: str) -> None:
        name = (item.stream, item.timer)
        if name not in self.stuck:
            log.error("timer_stuck", stream=item.stream, timer=item.timer, code=code)
        self.stuck[name] = (version, today, self._desk.reference.mark)

    def _tell_all(
        self, workspace: Workspace, todo: Sequence[DueTimer]
    ) -> list[tuple[DueTimer, str]]:
        """Fire them; those without effect, with the reason."""
        without_effect: list[tuple[DueTimer, str]] = []
        missing = Missing()
        for item in todo:
            try:
                _, identity = self._desk.room.kind_of(item.stream)
                tell = self._desk.room.timers[item.timer](identity, item.due_on)
                answer = workspace.tell(tell, Cause())
            except Missing as needed:
                missing.add(needed)
                continue
            except Exception as error:
                raise TimerFailed(item, error) from error
            if isinstance(answer, Refusal) or not answer.facts:
                code = answer.code if isinstance(answer, Refusal) else "no_effect"
                without_effect.append((item, code))
        if missing:
            raise missing
        return without_effect
