"""Hearing: what a service does with the facts of others, once each and after their causes.

A batch of records is judged and decided in memory; effects, watermarks, offsets and whatever has
to wait are stored in one write. Waiting for a cause, for a missing version, behind a quarantined
record or for a newer build is one mechanism: the table ``held``, with one drain. The consumer
that brings the records is in ``shared.listening``; the rules are the rooms' own.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import orjson
import structlog

from shared.desk import Desk
from shared.event_store import Conflict
from shared.fact import BORN, BrokenRecord, Recorded, recorded_from_headers
from shared.room import ReferenceRow, Refusal
from shared.telemetry import CONFLICTS, HEARD_FACTS
from shared.workspace import Cause, Missing, Workspace

log = structlog.get_logger()

Headers = Sequence[tuple[str, bytes | None]]

WAITING_FOR_CAUSE: Final = "waiting_for_cause"
WAITING_FOR_VERSION: Final = "waiting_for_version"
WAITING_BEHIND: Final = "waiting_behind_another"
WAITING_FOR_BUILD: Final = "waiting_for_a_newer_build"
UNREADABLE: Final = "quarantined_unreadable"
EFFECT_FAILED: Final = "quarantined_effect_failed"

# What waits by itself and leaves by itself; everything else needs a person.
LEAVES_BY_ITSELF: Final = frozenset(
    (WAITING_FOR_CAUSE, WAITING_FOR_VERSION, WAITING_BEHIND, WAITING_FOR_BUILD)
)
# These keep later records of the same key behind them.
BLOCKS_ITS_KEY: Final = frozenset((UNREADABLE, EFFECT_FAILED, WAITING_FOR_BUILD))


@dataclass
class Arrival:
    """One Kafka record, new or taken back from ``held``, with what is known of it."""

    topic: str
    partition: int
    offset: int
    generation: str
    key: str
    headers: Headers
    value: bytes | None
    held_id: int | None = None
    recorded: Recorded | None = None
    reason: str = ""
    waits_for: str = ""
    released: bool = False
    held_as: tuple[str, str] = ("", "")

    def parse(self) -> None:
        """Read the record; what can't be read is marked, never lost."""
        try:
            named = {name: (text or b"").decode() for name, text in self.headers}
            self.recorded = recorded_from_headers(named, self.value)
            if self.recorded.subject != self.key:
                raise BrokenRecord("key")
        except (BrokenRecord, UnicodeDecodeError) as error:
            self.recorded = None
            self.reason, self.waits_for = UNREADABLE, str(error)[:200]

    def is_birth(self) -> bool:
        return any(name == "ce_type" and text == BORN.encode() for name, text in self.headers)

    def row(self) -> dict[str, Any]:
        packed = [[n, None if t is None else base64.b64encode(t).decode()] for n, t in self.headers]
        return {
            "key": self.key,
            "topic": self.topic,
            "partition": self.partition,
            "record_offset": self.offset,
            "generation": self.generation,
            "headers": base64.b64encode(orjson.dumps(packed)).decode(),
            "value": None if self.value is None else base64.b64encode(self.value).decode(),
            "reason": self.reason,
            "waits_for": self.waits_for,
        }

    @classmethod
    def of_held(cls, row: asyncpg.Record) -> Arrival:
        headers = [
            (name, None if text is None else base64.b64decode(text))
            for name, text in orjson.loads(row["headers"])
        ]
        held = cls(
            row["topic"],
            row["partition"],
            row["record_offset"],
            row["generation"],
            row["key"],
            headers,
            row["value"],
            row["held_id"],
        )
        held.parse()
        held.released = row["released"]
        held.held_as = (row["reason"], row["waits_for"])
        if row["reason"] in (UNREADABLE, EFFECT_FAILED):
            held.reason, held.waits_for = row["reason"], row["waits_for"]
        return held


class EffectFailed(Exception):
    """The effect of one arrival raised; a fault of data or program, for decisions do no I/O."""

    def __init__(self, arrival: Arrival, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.arrival = arrival


@dataclass
class Judged:
    """A batch after its pass: what took effect (or was a repeat), and the marks it led to."""

    done: list[Arrival] = field(default_factory=list)
    left: list[Arrival] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    heard: int = 0


class Hearing:
    """Judges, decides and stores what one service hears."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._room = desk.room
        self._schema = desk.store.schema
        self._heard_kinds = frozenset(k for kinds in self._room.hears.values() for k in kinds)
        self._turn = asyncio.Lock()
        # Position after the last record whose effects are stored, by (topic, partition).
        self.positions: dict[tuple[str, int], int] = {}
        self.held_by_reason: dict[str, int] = {}

    async def take(self, arrivals: Sequence[Arrival]) -> None:
        """Store the effects of a batch, together with its offsets; retried until it is stored."""
        pause = 0.05
        while True:
            try:
                async with self._turn:
                    await self._take_once(arrivals, [])
                return
            except Conflict:
                CONFLICTS.labels(self._room.name).inc()
                continue
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
                log.warning("hearing_waits_for_database", error=type(error).__name__)
            except asyncpg.PostgresError as error:
                if len(arrivals) > 1:
                    # One of them makes the write fail: each alone, so that only that one is held.
                    for arrival in arrivals:
                        await self.take([arrival])
                    return
                if error.sqlstate[:2] not in ("22", "23", "P0"):
                    log.warning("hearing_waits_for_database", error=type(error).__name__)
                elif arrivals:
                    arrivals[0].reason = EFFECT_FAILED
                    arrivals[0].waits_for = f"{type(error).__name__} {error.sqlstate}"
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def sweep(self) -> None:
        """Try what is held once more: its cause may have come by another way."""
        rows = await self._desk.store.worker.fetch(
            f"SELECT reason, released, count(*) AS rows FROM {self._schema}.held "  # noqa: S608 - the schema is the room's own name
            "GROUP BY reason, released"
        )
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["reason"]] = counts.get(row["reason"], 0) + row["rows"]
        self.held_by_reason = counts
        if not any(row["released"] or row["reason"] in LEAVES_BY_ITSELF for row in rows):
            return
        keys = await self._desk.store.worker.fetch(
            f"SELECT DISTINCT key FROM {self._schema}.held LIMIT 500"  # noqa: S608 - as above
        )
        try:
            async with self._turn:
                await self._take_once([], [row["key"] for row in keys])
        except Conflict:
            CONFLICTS.labels(self._room.name).inc()

    async def _take_once(self, arrivals: Sequence[Arrival], keys: Iterable[str]) -> None:
        facts = [a for a in arrivals if not a.is_birth()]
        held = await self._held({a.key for a in facts} | set(keys))
        queue = [*held, *_in_causal_order(facts)]
        marks = await self._watermarks(queue)
        while True:
            try:
                judged, workspace = await self._desk.decide_for_good(
                    lambda w: self._judge(w, queue, marks)
                )
                break
            except EffectFailed as failed:
                log.error("effect_failed", fact=failed.arrival.offset, error=str(failed))
                failed.arrival.reason = EFFECT_FAILED
                failed.arrival.waits_for = str(failed)
                failed.arrival.released = False
        write = workspace.write
        write.watermarks = [
            {"stream": stream, "was": marks.get(stream, 0), "version": version}
            for stream, version in judged.marks.items()
            if version != marks.get(stream, 0)
        ]
        write.unheld = [a.held_id for a in judged.done if a.held_id is not None]
        write.reheld = [
            {"held_id": a.held_id, "reason": a.reason, "waits_for": a.waits_for}
            for a in judged.left
            if a.held_id is not None and (a.reason, a.waits_for) != a.held_as
        ]
        write.held = [a.row() for a in judged.left if a.held_id is None]
        write.offsets = _offsets(arrivals)
        try:
            await self._desk.commit(workspace)
        except Conflict:
            self._desk.forget(list(workspace.entries))
            raise
        HEARD_FACTS.labels(self._room.name).inc(judged.heard)
        for offset in write.offsets:
            self.positions[offset["topic"], offset["partition"]] = offset["next_offset"]
        for arrival in judged.left:
            if arrival.held_id is None:
                log.warning("fact_held", reason=arrival.reason, waits_for=arrival.waits_for)
                kept = self.held_by_reason
                kept[arrival.reason] = kept.get(arrival.reason, 0) + 1

    async def _held(self, keys: set[str]) -> list[Arrival]:
        if not keys:
            return []
        rows = await self._desk.store.worker.fetch(
            f"SELECT * FROM {self._schema}.held WHERE key = ANY ($1) ORDER BY held_id",  # noqa: S608 - as above
            list(keys),
        )
        return [Arrival.of_held(row) for row in rows]

    async def _watermarks(self, queue: Sequence[Arrival]) -> dict[str, int]:
        streams: set[str] = set()
        for arrival in queue:
            if arrival.recorded is not None:
                streams.add(arrival.recorded.stream)
                streams.update(arrival.recorded.heard)
        if not streams:
            return {}
        rows = await self._desk.store.worker.fetch(
            f"SELECT stream, version FROM {self._schema}.watermarks WHERE stream = ANY ($1)",  # noqa: S608 - as above
            list(streams),
        )
        return {row["stream"]: row["version"] for row in rows}

    def _judge(
        self, workspace: Workspace, queue: Sequence[Arrival], marks: Mapping[str, int]
    ) -> Judged:
        """Pass over the queue until nothing moves any more; what is left has to wait."""
        judged = Judged(marks=dict(marks))
        left = list(queue)
        moved = True
        while moved:
            moved = False
            blocked: set[str] = set()
            waiting: list[Arrival] = []
            for arrival in left:
                if arrival.key in blocked:
                    if arrival.reason not in (UNREADABLE, EFFECT_FAILED):
                        arrival.reason, arrival.waits_for = WAITING_BEHIND, ""
                elif self._takes_effect(workspace, arrival, judged):
                    judged.done.append(arrival)
                    moved = True
                    continue
                elif arrival.reason in BLOCKS_ITS_KEY:
                    blocked.add(arrival.key)
                waiting.append(arrival)
            left = waiting
        judged.left = left
        return judged

    def _takes_effect(self, workspace: Workspace, arrival: Arrival, judged: Judged) -> bool:
        """True if the arrival is done with: its effect is folded in, or it is a repeat."""
        recorded = arrival.recorded
        if recorded is None or (arrival.reason == EFFECT_FAILED and not arrival.released):
            return False
        mark = judged.marks.get(recorded.stream, 0)
        if recorded.version <= mark:
            return True
        if recorded.version > mark + 1:
            arrival.reason = WAITING_FOR_VERSION
            arrival.waits_for = f"{recorded.stream} {mark + 1}"
            return False
        ahead = self._cause_ahead(recorded, judged.marks)
        if ahead:
            arrival.reason, arrival.waits_for = WAITING_FOR_CAUSE, ahead
            return False
        if not self._room.reads.knows(recorded.type, recorded.schema_version):
            arrival.reason = WAITING_FOR_BUILD
            arrival.waits_for = f"{recorded.type} {recorded.schema_version}"
            return False
        try:
            self._effect(workspace, recorded)
        except Missing:
            raise
        except Exception as error:
            raise EffectFailed(arrival, error) from error
        judged.marks[recorded.stream] = recorded.version
        judged.heard += 1
        return True

    def _cause_ahead(self, recorded: Recorded, marks: Mapping[str, int]) -> str:
        """The first cause that this listener has not taken in yet, or nothing."""
        for stream, version in sorted(recorded.heard.items()):
            if marks.get(stream, 0) < version and self._listens_to(stream):
                return f"{stream} {version}"
        return ""

    def _listens_to(self, stream: str) -> bool:
        return stream.partition("-")[0] in self._heard_kinds

    def _effect(self, workspace: Workspace, recorded: Recorded) -> None:
        fact = recorded.read(self._room.reads)
        reaction = self._room.reactions.get(type(fact))
        if reaction is None:
            return
        cause = Cause.of(recorded)
        for todo in reaction(fact, recorded):
            if isinstance(todo, ReferenceRow):
                workspace.write.reference.append(todo)
                continue
            answer = workspace.tell(todo, cause)
            if isinstance(answer, Refusal):
                log.info("reaction_refused", command=type(todo.command).__name__, code=answer.code)


def _in_causal_order(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """A batch mixes topics: lamport order lets most facts follow their cause without waiting.

    With an unreadable record among them the order of arrival stays, for what is behind it in
    its partition must stay behind it.
    """
    for arrival in arrivals:
        if arrival.recorded is None and not arrival.reason:
            arrival.parse()
    if any(a.recorded is None for a in arrivals):
        return list(arrivals)
    return sorted(arrivals, key=lambda a: a.recorded.lamport if a.recorded else 0)


def _offsets(arrivals: Sequence[Arrival]) -> list[dict[str, Any]]:
    last: dict[tuple[str, int], Arrival] = {}
    for arrival in arrivals:
        known = last.get((arrival.topic, arrival.partition))
        if known is None or arrival.offset > known.offset:
            last[arrival.topic, arrival.partition] = arrival
    return [
        {
            "topic": a.topic,
            "partition": a.partition,
            "generation": a.generation,
            "next_offset": a.offset + 1,
        }
        for a in last.values()
    ]
