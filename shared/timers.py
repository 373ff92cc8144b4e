"""Timers: due work is derived from facts, and done when the business day has come.

A timer is a row of the ``timer`` read model, so it exists exactly as long as the state asks for
it; the stream's version makes its effect happen once, whoever fires it and however late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import asyncpg
import structlog

from shared.desk import Desk
from shared.event_store import Conflict
from shared.room import Refusal, Tell
from shared.telemetry import CONFLICTS, Progress
from shared.workspace import Cause, Workspace

log = structlog.get_logger()

POLL_SECONDS: Final = 0.02
MOST_AT_ONCE: Final = 200


class Timers:
    """Fires what has fallen due in one service."""

    def __init__(self, desk: Desk, progress: Progress) -> None:
        self._desk = desk
        self._progress = progress
        self._woken = True
        # The day on which nothing more was due: what "at rest" means for a simulated calendar.
        self.rested_on: date | None = None
        # A due timer whose command was refused would fire for ever; it is shown instead.
        self.stuck: set[tuple[str, str]] = set()
        # Without effect once: perhaps only overtaken by a command, then the row is gone by now.
        self._doubtful: set[tuple[str, str, date]] = set()

    def wake(self) -> None:
        """Own facts were written: they may have set a timer that is due already."""
        self._woken = True
        self.rested_on = None

    async def run(self) -> None:
        """Fire due timers until cancelled; late ones are caught up, the oldest first."""
        while True:
            try:
                await self._desk.reference.keep_fresh()
                today = self._desk.clock.today()
                if self._woken or self.rested_on != today:
                    self._woken = False
                    if not await self._fire(today) and not self._woken:
                        self.rested_on = today
                    else:
                        self._woken = True
                        continue
                self._progress.beat("timers")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._woken = True
                log.warning("timers_wait_for_database", error=type(error).__name__)
                await asyncio.sleep(0.5)
            await asyncio.sleep(POLL_SECONDS)

    async def _fire(self, today: date) -> bool:
        """True if something was due and is done now."""
        due = [
            item
            for item in await self._desk.store.due(today, MOST_AT_ONCE + len(self.stuck))
            if (item[0], item[2]["timer"]) not in self.stuck
        ]
        if not due:
            return False
        try:
            without_effect, workspace = await self._desk.decide_for_good(
                lambda w: self._tell_all(w, due)
            )
            await self._desk.commit(workspace)
            self._judge(without_effect)
        except Conflict:
            CONFLICTS.labels(self._desk.room.name).inc()
            self._desk.forget([stream for stream, _, _ in due])
        return True

    def _tell_all(
        self, workspace: Workspace, due: Sequence[tuple[str, date, Any]]
    ) -> dict[tuple[str, str, date], str]:
        """Fire them; those without effect, with the reason."""
        without_effect: dict[tuple[str, str, date], str] = {}
        for stream, due_on, document in due:
            _, identity = self._desk.room.kind_of(stream)
            timer = document["timer"]
            tell: Tell = self._desk.room.timers[timer](identity, due_on)
            answer = workspace.tell(tell, Cause())
            if isinstance(answer, Refusal) or not answer.facts:
                code = answer.code if isinstance(answer, Refusal) else "no_effect"
                without_effect[stream, timer, due_on] = code
        return without_effect

    def _judge(self, without_effect: dict[tuple[str, str, date], str]) -> None:
        """Stuck is what was still due at a second look and still had no effect."""
        for (stream, timer, due_on), code in without_effect.items():
            if (stream, timer, due_on) in self._doubtful:
                self.stuck.add((stream, timer))
                log.error("timer_stuck", stream=stream, timer=timer, code=code)
        self._doubtful = set(without_effect)
