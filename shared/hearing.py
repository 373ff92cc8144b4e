"""Hearing: what a service does with the facts of others, once each and after their causes.

A batch of records is judged and decided in memory; effects, watermarks, offsets and whatever has
to wait are stored in one write. Waiting for a cause, for a missing version, behind a quarantined
record or for a newer build is one mechanism: the table ``held``, with one drain. The consumer
that brings the records is in ``shared.listening``; the rules are the rooms' own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from shared.arrival import (
    BLOCKS_ITS_KEY,
    EFFECT_FAILED,
    LEAVES_BY_ITSELF,
    UNREADABLE,
    WAITING_BEHIND,
    WAITING_FOR_BUILD,
    WAITING_FOR_CAUSE,
    WAITING_FOR_VERSION,
    Arrival,
    Place,
    in_causal_order,
)
from shared.clock import ClockError
from shared.desk import Desk
from shared.event_store import DATA_CLASSES, Clash, Conflict, is_passing
from shared.fact import Recorded, UnknownFact
from shared.recovered import Recovered
from shared.room import ReferenceRow, Refusal, Tell, Todo
from shared.telemetry import CONFLICTS, HEARD_FACTS
from shared.workspace import Cause, Missing, Workspace

log = structlog.get_logger()

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 5.0
# A room's own unique index may say no because of a race; saying it this often it means it.
MOST_CLASHES: Final = 5
SWEPT_AT_ONCE: Final = 500
HELD_TOO_LONG_SECONDS: Final = 60.0


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
    # Something is left for another write that need not wait.
    unfinished: bool = False


@dataclass
class OneByOne:
    """How a batch is taken in whose write failed: one effect a write, to find the one at fault."""

    tried: Arrival | None = None
    failed: dict[Place, str] = field(default_factory=dict)
    clashes: int = 0

    def begin(self) -> None:
        self.tried = None


class Hearing:
    """Judges, decides and stores what one service hears."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._room = desk.room
        self._schema = desk.store.schema
        self._heard_kinds = frozenset(k for kinds in self._room.hears.values() for k in kinds)
        self._turn = asyncio.Lock()
        self._recovered: Recovered | None = None
        # Position after the last record whose effects are stored, by (topic, partition).
        self.positions: dict[tuple[str, int], int] = {}
        self.held_by_reason: dict[str, int] = {}
        self.oldest_held_seconds = 0.0
        self.oldest_seconds_by_reason: dict[str, float] = {}
        self.released = 0
        self._alarmed_at = -HELD_TOO_LONG_SECONDS
        # Sweeping goes by key; all that is held is tried once after a start.
        self._swept_to = ""
        self._swept_all = False

    async def take(self, arrivals: Sequence[Arrival]) -> None:
        """Store the effects of a batch, together with its offsets; retried until it is stored.

        Raises only what is nobody's fault but the program's; then nothing of it may be skipped.
        """
        await self._until_stored(arrivals, frozenset())

    async def _until_stored(self, arrivals: Sequence[Arrival], keys: Collection[str]) -> None:
        pause, clashes = FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                async with self._turn:
                    while await self._take_in(arrivals, keys):
                        pass
                return
            except Conflict as conflict:
                CONFLICTS.labels(self._room.name).inc()
                clashes += isinstance(conflict, Clash)
                if clashes >= MOST_CLASHES:
                    break
                await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - no secret in a pause
            except Exception as error:  # noqa: BLE001 - judged by what it is, never skipped
                if not _waits(error):
                    log.warning("batch_failed", records=len(arrivals), error=type(error).__name__)
                    break
                log.warning("hearing_waits", error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        # Something in it makes the write fail: halves, then one by one, so that only that is held.
        if len(arrivals) > 1:
            middle = len(arrivals) // 2
            await self._until_stored(arrivals[:middle], keys)
            await self._until_stored(arrivals[middle:], keys)
        else:
            async with self._turn:
                await self._take_one_by_one(arrivals, keys)

    async def _take_one_by_one(self, arrivals: Sequence[Arrival], keys: Collection[str]) -> None:
        one = OneByOne()
        pause = FIRST_PAUSE_SECONDS
        while True:
            one.begin()
            try:
                if not await self._take_in(arrivals, keys, one):
                    return
                one.clashes, pause = 0, FIRST_PAUSE_SECONDS
            except Conflict as conflict:
                CONFLICTS.labels(self._room.name).inc()
                one.clashes += isinstance(conflict, Clash)
                if one.clashes >= MOST_CLASHES and one.tried is not None:
                    one.failed[one.tried.place], one.clashes = str(conflict), 0
            except Exception as error:
                if _waits(error):
                    log.warning("hearing_waits", error=type(error).__name__)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                elif one.tried is None:
                    raise
                else:
                    log.error("effect_failed", error=type(error).__name__)
                    state = getattr(error, "sqlstate", "") or ""
                    one.failed[one.tried.place] = f"{type(error).__name__} {state}".strip()

    async def sweep(self) -> None:
        """Try what is held once more: its cause may have come by another way."""
        rows = await self._desk.store.worker.fetch(
            "SELECT reason, count(*) FILTER (WHERE released) AS released, count(*) AS rows, "  # noqa: S608 - the schema is the room's own name
            "extract(epoch FROM clock_timestamp() - min(held_since))::float8 AS seconds "
            f"FROM {self._schema}.held GROUP BY reason"
        )
        self.held_by_reason = {row["reason"]: row["rows"] for row in rows}
        self.oldest_seconds_by_reason = {row["reason"]: row["seconds"] for row in rows}
        self.oldest_held_seconds = max(self.oldest_seconds_by_reason.values(), default=0.0)
        self.released = sum(row["released"] for row in rows)
        self._alarm()
        if not any(row["released"] or row["reason"] in LEAVES_BY_ITSELF for row in rows):
            self._swept_all = True
            return
        keys = await self._keys_to_sweep()
        if keys:
            await self._until_stored([], keys)

    async def _keys_to_sweep(self) -> list[str]:
        """The next keys by name, round and round: many that stay keep none from its turn."""
        staying = [UNREADABLE, EFFECT_FAILED]
        if self._swept_all:
            staying.append(WAITING_FOR_BUILD)
        held = f"{self._schema}.held"
        rows = await self._desk.store.worker.fetch(
            f"SELECT DISTINCT key FROM {held} h WHERE key > $1 AND (released OR "  # noqa: S608 - as above
            "(NOT reason = ANY ($2) AND (reason <> $3 OR NOT EXISTS "
            f"(SELECT 1 FROM {held} b WHERE b.key = h.key AND NOT b.released "
            "AND b.reason = ANY ($2))))) ORDER BY key LIMIT $4",
            self._swept_to,
            staying,
            WAITING_BEHIND,
            SWEPT_AT_ONCE,
        )
        if len(rows) == SWEPT_AT_ONCE:
            self._swept_to = rows[-1]["key"]
        else:
            self._swept_to = ""
            self._swept_all = True
        return [row["key"] for row in rows]

    def _alarm(self) -> None:
        """What is held for too long is said aloud, once a while."""
        if self.oldest_held_seconds < HELD_TOO_LONG_SECONDS:
            return
        if monotonic() - self._alarmed_at > HELD_TOO_LONG_SECONDS:
            self._alarmed_at = monotonic()
            log.error(
                "held_too_long", seconds=int(self.oldest_held_seconds), held=self.held_by_reason
            )

    async def _take_in(
        self, arrivals: Sequence[Arrival], keys: Collection[str], one: OneByOne | None = None
    ) -> bool:
        """One write; True if more of the same batch can follow at once."""
        if self._recovered is None:
            self._recovered = await Recovered.load(self._desk.store.worker, self._schema)
        facts = [a for a in arrivals if not a.is_birth()]
        held = await self._held({a.key for a in facts} | set(keys))
        queue = [*held, *in_causal_order(facts)]
        if one is not None:
            for arrival in queue:
                if arrival.place in one.failed:
                    arrival.reason = EFFECT_FAILED
                    arrival.waits_for, arrival.released = one.failed[arrival.place], False
        marks = await self._watermarks(queue)
        judged, workspace = await self._decide(queue, marks, one)
        write = workspace.write
        write.watermarks = [
            {"stream": stream, "was": marks.get(stream, 0), "version": version}
            for stream, version in judged.marks.items()
            if version != marks.get(stream, 0)
        ]
        write.unheld = [a.held_id for a in judged.done if a.held_id is not None]
        if not judged.unfinished:
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
        for row in write.held:
            log.warning("fact_held", reason=row["reason"], waits_for=row["waits_for"])
            self.held_by_reason[row["reason"]] = self.held_by_reason.get(row["reason"], 0) + 1
        return judged.unfinished

    async def _decide(
        self, queue: Sequence[Arrival], marks: Mapping[str, int], one: OneByOne | None
    ) -> tuple[Judged, Workspace]:
        """Judge until no effect raises; one that does is held, if it does on fresh states too."""
        doubted: set[Place] = set()
        while True:
            try:
                return await self._desk.decide_for_good(lambda w: self._judge(w, queue, marks, one))
            except EffectFailed as failed:
                if failed.arrival.place not in doubted:
                    doubted.add(failed.arrival.place)
                    self._desk.forget_all()
                    await self._desk.reference.refresh()
                    continue
                log.error("effect_failed", fact=failed.arrival.offset, error=str(failed))
                failed.arrival.reason = EFFECT_FAILED
                failed.arrival.waits_for = str(failed)
                failed.arrival.released = False

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
        self,
        workspace: Workspace,
        queue: Sequence[Arrival],
        marks: Mapping[str, int],
        one: OneByOne | None,
    ) -> Judged:
        """Pass over the queue until nothing moves any more; what is left has to wait."""
        judged = Judged(marks=dict(marks))
        left = list(queue)
        moved = True
        while moved and not (one is not None and judged.heard):
            moved = False
            blocked: set[str] = set()
            waiting: list[Arrival] = []
            missing = Missing()
            for arrival in left:
                if _is_repeat(arrival, judged.marks):
                    judged.done.append(arrival)
                    continue
                if arrival.key in blocked:
                    if arrival.reason not in (UNREADABLE, EFFECT_FAILED):
                        arrival.reason, arrival.waits_for = WAITING_BEHIND, ""
                    waiting.append(arrival)
                    continue
                try:
                    if self._takes_effect(workspace, arrival, judged, one):
                        judged.done.append(arrival)
                        moved = True
                        continue
                    if arrival.reason in BLOCKS_ITS_KEY:
                        blocked.add(arrival.key)
                except Missing as needed:
                    missing.add(needed)
                    blocked.add(arrival.key)
                    if one is not None:
                        raise
                waiting.append(arrival)
            if missing:
                raise missing
            left = waiting
        judged.left = left
        if one is not None and judged.heard:
            judged.unfinished = True
        return judged

    def _takes_effect(
        self, workspace: Workspace, arrival: Arrival, judged: Judged, one: OneByOne | None
    ) -> bool:
        """True if its effect is folded in; else it has to wait, or is for the next write."""
        recorded = arrival.recorded
        if recorded is None or (arrival.reason == EFFECT_FAILED and not arrival.released):
            return False
        waits = self._waits_for(recorded, judged.marks)
        if waits is not None:
            arrival.reason, arrival.waits_for = waits
            return False
        if one is not None:
            if judged.heard:
                return False
            one.tried = arrival
        try:
            took_effect = self._effect(workspace, recorded)
        except Missing:
            raise
        except UnknownFact:
            arrival.reason = WAITING_FOR_BUILD
            arrival.waits_for = f"{recorded.type} {recorded.schema_version}"
            return False
        except Exception as error:
            raise EffectFailed(arrival, error) from error
        if not took_effect:
            judged.unfinished = True
            return False
        judged.marks[recorded.stream] = recorded.version
        judged.heard += 1
        return True

    def _waits_for(self, recorded: Recorded, marks: Mapping[str, int]) -> tuple[str, str] | None:
        """Why a record that can be read has to wait, and for what; None if it need not."""
        mark = marks.get(recorded.stream, 0)
        if recorded.version > mark + 1:
            return WAITING_FOR_VERSION, f"{recorded.stream} {mark + 1}"
        ahead = self._cause_ahead(recorded, marks)
        if ahead:
            return WAITING_FOR_CAUSE, ahead
        return None

    def _cause_ahead(self, recorded: Recorded, marks: Mapping[str, int]) -> str:
        """The first cause that this listener has not taken in yet, or nothing."""
        for stream, version in sorted(recorded.heard.items()):
            if marks.get(stream, 0) < version and self._listens_to(stream):
                return f"{stream} {version}"
        return ""

    def _listens_to(self, stream: str) -> bool:
        return stream.partition("-")[0] in self._heard_kinds

    def _effect(self, workspace: Workspace, recorded: Recorded) -> bool:
        """Fold the reaction in; False if it has to be decided after this write.

        A command is decided on the reference copy as stored, so not in the write of a new row.
        """
        fact = recorded.read(self._room.reads)
        reaction = self._room.reactions.get(type(fact))
        if reaction is None:
            return True
        todos = [t for t in reaction(fact, recorded) if not self._is_recovered(t, recorded)]
        if workspace.write.reference and any(isinstance(todo, Tell) for todo in todos):
            return False
        cause = Cause.of(recorded)
        for todo in todos:
            if isinstance(todo, ReferenceRow):
                workspace.write.reference.append(todo)
                continue
            answer = workspace.tell(todo, cause)
            if isinstance(answer, Refusal):
                log.info("reaction_refused", command=type(todo.command).__name__, code=answer.code)
        return True

    def _is_recovered(self, todo: Todo, heard: Recorded) -> bool:
        """Whether what is asked for happened before the service was restored, and is back."""
        if self._recovered is None or not isinstance(todo, Tell):
            return False
        return self._recovered.has(self._room.kinds[todo.kind].stream(todo.identity), heard)


def _is_repeat(arrival: Arrival, marks: Mapping[str, int]) -> bool:
    """True for what was taken in before; it changes nothing, whatever stands before it."""
    recorded = arrival.recorded
    return recorded is not None and recorded.version <= marks.get(recorded.stream, 0)


def _waits(error: Exception) -> bool:
    """True if waiting may help: a fault of the moment, or one that a person has to mend first.

    False for what is wrong with the data or the program, which one record alone brings about.
    """
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate)[:2] not in DATA_CLASSES
    return is_passing(error) or isinstance(error, ClockError)


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
