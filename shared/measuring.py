"""The gauges of one process, set once a second to how things stand.

What an operator watches (docs/operating.md) is told here and by the counters beside the work.
A relay's gauges are those of the process that holds the lease: the others know no positions.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from shared.arrival import REASONS
from shared.bus import answers
from shared.health import passes
from shared.identity import TOKEN_FAULTS
from shared.publisher import ALARM_KINDS, OutboxStatus
from shared.telemetry import (
    APPENDED_FACTS,
    CONFLICTS,
    CONSUMER_LAG,
    CONTENDED,
    DENIALS,
    FUTURE_FACTS,
    HEARD_FACTS,
    HELD_RECORDS,
    HELD_RELEASED,
    HELD_SECONDS,
    MARK_AGE_SECONDS,
    OUTGOING,
    REACHABLE,
    READY,
    REFUSED_REACTIONS,
    REFUSED_TOKENS,
    RELAY_ALARM,
    RELAY_BEHIND_SECONDS,
    RELAY_HOLDER,
    RELAY_LAG,
    SILENT_SECONDS,
    TIMERS_STUCK,
    UNANSWERED_SECONDS,
)

if TYPE_CHECKING:
    from shared.service import Parts

METRICS_SECONDS: Final = 1.0
# Each question is a connection, so it is asked less often.
KAFKA_SECONDS: Final = 10.0
SERVER_ANSWER_SECONDS: Final = 2.0
COMPONENTS: Final = ("hearing", "relay", "timers")


class Measuring:
    """Sets the gauges of one process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._name = parts.room.name
        self._asked_at = -KAFKA_SECONDS
        self._database_answers = True
        # A counter that is first seen at 1 has not risen: each starts where it can be seen.
        for counter in (APPENDED_FACTS, CONFLICTS, CONTENDED, DENIALS, FUTURE_FACTS, HEARD_FACTS):
            counter.labels(self._name)
        REFUSED_REACTIONS.labels(self._name, "", "")
        for reason in TOKEN_FAULTS:
            REFUSED_TOKENS.labels(self._name, reason)

    async def run(self) -> None:
        """Until cancelled."""
        self._parts.progress.work("timers")
        while True:
            self.tell()
            await self._ask_database()
            if monotonic() - self._asked_at >= KAFKA_SECONDS:
                self._asked_at = monotonic()
                await self._ask_kafka()
            await asyncio.sleep(METRICS_SECONDS)

    def tell(self) -> None:
        """Set the gauges from memory."""
        parts, name = self._parts, self._name
        relay = parts.relay.status()
        RELAY_HOLDER.labels(name).set(relay.is_holder)
        for outbox in relay.outboxes:
            self._tell_outbox(outbox, relay.is_holder)
        behind = parts.listening.lag() if parts.listening else {}
        for topic, lag in behind.items():
            CONSUMER_LAG.labels(name, topic).set(lag)
        hearing = parts.hearing
        for reason in REASONS:
            HELD_RECORDS.labels(name, reason).set(hearing.held_by_reason.get(reason, 0))
            HELD_SECONDS.labels(name, reason).set(hearing.oldest_seconds_by_reason.get(reason, 0))
        HELD_RELEASED.labels(name).set(hearing.released)
        TIMERS_STUCK.labels(name).set(len(parts.timers.stuck))
        for what, waiting in parts.outgoing.items():
            OUTGOING.labels(name, what).set(waiting())
        for what, seconds in parts.unanswered.items():
            UNANSWERED_SECONDS.labels(name, what).set(seconds())
        # What it can't store while the database is away no new process would store either.
        hears = any(behind.values()) and self._database_answers
        parts.progress.work("hearing", waiting=hears)
        parts.progress.work("relay", waiting=relay.has_work())
        silent = parts.progress.silent_seconds()
        for component in {*COMPONENTS, *silent}:
            SILENT_SECONDS.labels(name, component).set(silent.get(component, 0.0))

    def _tell_outbox(self, outbox: OutboxStatus, is_holder: bool) -> None:
        named = (self._name, outbox.table)
        RELAY_LAG.labels(*named).set(outbox.seen - outbox.published if is_holder else 0)
        RELAY_BEHIND_SECONDS.labels(*named).set(outbox.behind_seconds if is_holder else 0)
        MARK_AGE_SECONDS.labels(*named).set(outbox.blocked_seconds if is_holder else 0)
        for kind in ALARM_KINDS:
            RELAY_ALARM.labels(*named, kind).set(is_holder and outbox.alarm == kind)

    async def _ask_database(self) -> None:
        checks = self._parts.checks()
        passed = dict(zip(checks, await asyncio.gather(*map(passes, checks.values())), strict=True))
        READY.labels(self._name).set(all(answer == "ok" for answer in passed.values()))
        self._database_answers = passed["database"] == "ok"
        REACHABLE.labels(self._name, "database").set(self._database_answers)

    async def _ask_kafka(self) -> None:
        kafka = await answers(self._parts.settings.kafka_bootstrap, SERVER_ANSWER_SECONDS)
        REACHABLE.labels(self._name, "kafka").set(kafka)
