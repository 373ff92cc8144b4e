"""Hearing: what a service does with the facts of others, once each and after their causes.

A batch of records is judged and decided in memory (``shared.judging``); effects, watermarks,
offsets and whatever has to wait are stored in one write. Waiting for a cause, for a missing
version, behind a quarantined record or for a newer build is one mechanism: the table ``held``,
with one drain. The consumer that brings the records is in ``shared.listening``.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Final

import asyncpg
import orjson
import structlog

from shared.arrival import (
    EFFECT_FAILED,
    LEAVES_BY_ITSELF,
    WAITING_FOR_BUILD,
    WAITS_FOR_OTHERS,
    Arrival,
    Place,
    in_causal_order,
)
from shared.clock import ClockError
from shared.desk import Desk
from shared.event_store import DATA_CLASSES, Clash, Conflict, is_passing
from shared.fact import UnknownFact
from shared.heard_batch import EffectFailed, Judged, OneByOne, offsets_after
from shared.held import HeldQueues
from shared.judging import Judge
from shared.recovered import Recovered
from shared.telemetry import CONFLICTS, FUTURE_FACTS, HEARD_FACTS, REFUSED_REACTIONS
from shared.workspace import Workspace
from shared.write import Write

log = structlog.get_logger()

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 5.0
# A room's own unique index may say no because of a race; saying it this often it means it.
MOST_CLASHES: Final = 5
HELD_TOO_LONG_SECONDS: Final = 60.0


class Hearing:
    """Judges, decides and stores what one service hears."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._room = desk.room
        self._schema = desk.store.schema
        self._queues = HeldQueues(desk.store)
        self._judge = Judge(desk.room, desk.mac)
        self._turn = asyncio.Lock()
        # Position after the last record whose effects are stored, by (topic, partition).
        self.positions: dict[tuple[str, int], int] = {}
        self.held_by_reason: dict[str, int] = {}
        self.oldest_held_seconds = 0.0
        self.oldest_seconds_by_reason: dict[str, float] = {}
        self.released = 0
        self._alarmed_at = -HELD_TOO_LONG_SECONDS

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
                    one.failed[one.tried.place] = (EFFECT_FAILED, str(conflict))
                    one.clashes = 0
            except Exception as error:
                if _waits(error):
                    log.warning("hearing_waits", error=type(error).__name__)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                elif one.tried is None:
                    raise
                elif isinstance(error, UnknownFact):
                    # Of the own stream: a newer build of this very service runs beside this one.
                    waits_for = f"{error.name} {error.version}"
                    one.failed[one.tried.place] = (WAITING_FOR_BUILD, waits_for)
                else:
                    log.error("effect_failed", error=type(error).__name__)
                    state = getattr(error, "sqlstate", "") or ""
                    why = f"{type(error).__name__} {state}".strip()
                    one.failed[one.tried.place] = (EFFECT_FAILED, why)

    async def sweep(self) -> None:
        """Try what is held once more: its cause may have come by another way, a build have
        learned to read it, or an operator decided.
        """
        groups = await self._queues.groups()
        held: Counter[str] = Counter()
        oldest: dict[str, float] = {}
        for group in groups:
            held[group.reason] += group.records
            oldest[group.reason] = max(group.seconds, oldest.get(group.reason, 0.0))
        self.held_by_reason = dict(held)
        self.oldest_seconds_by_reason = oldest
        self.oldest_held_seconds = max(oldest.values(), default=0.0)
        self.released = sum(group.decided for group in groups)
        self._alarm()
        if not any(group.decided or group.reason in LEAVES_BY_ITSELF for group in groups):
            return
        known = [group.build for group in groups if group.build and self._judge.knows(group.build)]
        keys = await self._queues.keys_to_sweep(known)
        if keys:
            await self._until_stored([], keys)

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
        """One write; True if more of the same batch can follow at once.

        Only where something is held, or will be, are the queues of those keys locked, and all of
        it is read and judged again under the lock.
        """
        await self._desk.reference.keep_fresh()
        if self._judge.recovered is None:
            self._judge.recovered = await Recovered.load(self._desk.store.worker, self._schema)
        locked: set[str] = set()
        while True:
            async with self._queues.locked(locked):
                again = await self._take_in_locked(arrivals, keys, one, locked)
            if isinstance(again, bool):
                return again
            locked |= again

    async def _take_in_locked(
        self,
        arrivals: Sequence[Arrival],
        keys: Collection[str],
        one: OneByOne | None,
        locked: Collection[str],
    ) -> bool | set[str]:
        """As ``_take_in``; the keys to be locked first, if there are others than these."""
        facts = [a for a in arrivals if not a.is_birth()]
        arrived = await self._not_discarded(in_causal_order(facts))
        held, marks = await self._held_and_marks(arrived, {a.key for a in facts} | set(keys))
        unlocked = {a.key for a in held}.difference(locked)
        if unlocked:
            return unlocked
        queue = [*held, *arrived]
        if one is not None:
            for arrival in queue:
                if arrival.place in one.failed:
                    arrival.reason, arrival.waits_for = one.failed[arrival.place]
                    arrival.released, arrival.discard = False, None
        judged, workspace = await self._decide(queue, marks, one)
        if not judged.unfinished:
            unlocked = {a.key for a in judged.left}.difference(locked)
            if unlocked:
                return unlocked
            judged.left = await self._not_discarded(judged.left)
        self._fill(workspace.write, arrivals, judged, marks)
        await self._store(workspace, judged)
        return judged.unfinished

    def _fill(
        self,
        write: Write,
        arrivals: Sequence[Arrival],
        judged: Judged,
        marks: Mapping[str, int],
    ) -> None:
        """What becomes of marks, queues and offsets, beside the facts."""
        write.watermarks = [
            {"stream": stream, "was": marks.get(stream, 0), "version": version}
            for stream, version in judged.marks.items()
            if version != marks.get(stream, 0)
        ]
        write.unheld = [a.held_id for a in judged.done if a.held_id is not None]
        if not judged.unfinished:
            # Whatever is held anew is released no more: it was tried in vain.
            write.reheld = [
                {"held_id": a.held_id, "reason": a.reason, "waits_for": a.waits_for}
                for a in judged.left
                if a.held_id is not None and (a.reason, a.waits_for, a.released) != a.held_as
            ]
            write.held = [a.row() for a in judged.left if a.held_id is None]
            write.offsets = offsets_after(arrivals)

    async def _store(self, workspace: Workspace, judged: Judged) -> None:
        """Write it, then tell metrics and log what came of it."""
        write, name = workspace.write, self._room.name
        try:
            await self._desk.commit(workspace)
        except Conflict:
            self._desk.forget(list(workspace.entries))
            raise
        HEARD_FACTS.labels(name).inc(judged.heard)
        FUTURE_FACTS.labels(name).inc(judged.future)
        for (command, code), times in judged.refused.items():
            REFUSED_REACTIONS.labels(name, command, code).inc(times)
            log.info("reaction_refused", command=command, code=code, times=times)
        for offset in write.offsets:
            self.positions[offset["topic"], offset["partition"]] = offset["next_offset"]
        for row in write.held:
            log.warning("fact_held", reason=row["reason"], waits_for=row["waits_for"])
            self.held_by_reason[row["reason"]] = self.held_by_reason.get(row["reason"], 0) + 1

    async def _not_discarded(self, arrivals: list[Arrival]) -> list[Arrival]:
        """Without what an operator has put aside and no mark knows of, should it come again.

        That is unreadable, or waits for what is in no log.
        """
        unmarked = [
            a.place
            for a in arrivals
            if a.held_id is None and (a.recorded is None or a.reason in WAITS_FOR_OTHERS)
        ]
        if not unmarked:
            return arrivals
        discarded = await self._queues.discarded(unmarked)
        return [a for a in arrivals if a.place not in discarded]

    async def _decide(
        self, queue: Sequence[Arrival], marks: Mapping[str, int], one: OneByOne | None
    ) -> tuple[Judged, Workspace]:
        """Judge until no effect raises; one that does is held, if it does on fresh states too."""
        doubted: set[Place] = set()
        # One by one, what raises is to be laid to the one that was tried: nothing comes beforehand.
        tells = self._judge.tells(queue, marks) if one is None else ()
        while True:
            try:
                return await self._desk.decide_for_good(
                    lambda w: self._judge.pass_over(w, queue, marks, one), tells
                )
            except EffectFailed as failed:
                if failed.arrival.place not in doubted:
                    doubted.add(failed.arrival.place)
                    self._desk.forget_all()
                    await self._desk.reference.refresh()
                    continue
                log.error("effect_failed", fact=failed.arrival.offset, error=str(failed))
                failed.arrival.reason = EFFECT_FAILED
                failed.arrival.waits_for = str(failed)
                failed.arrival.released, failed.arrival.discard = False, None

    async def _held_and_marks(
        self, arrived: Sequence[Arrival], keys: Collection[str]
    ) -> tuple[list[Arrival], dict[str, int]]:
        """What waits under these keys, and how far streams were heard, in one question mostly."""
        s = self._schema
        row = await self._desk.store.worker.fetchrow(
            f"SELECT EXISTS (SELECT FROM {s}.held WHERE key = ANY ($1)) AS waits,"  # noqa: S608 - as above
            f" (SELECT json_object_agg(stream, version)::text FROM {s}.watermarks"
            " WHERE stream = ANY ($2)) AS marks",
            list(keys),
            list(_streams_named(arrived)),
        )
        if row is not None and not row["waits"]:
            return [], orjson.loads(row["marks"] or "{}")
        held = await self._queues.of(keys)
        return held, await self._watermarks([*held, *arrived])

    async def _watermarks(self, queue: Sequence[Arrival]) -> dict[str, int]:
        streams = _streams_named(queue)
        if not streams:
            return {}
        rows = await self._desk.store.worker.fetch(
            f"SELECT stream, version FROM {self._schema}.watermarks WHERE stream = ANY ($1)",  # noqa: S608 - as above
            list(streams),
        )
        return {row["stream"]: row["version"] for row in rows}


def _streams_named(queue: Sequence[Arrival]) -> set[str]:
    """The streams whose watermarks tell whether these may take effect."""
    streams: set[str] = set()
    for arrival in queue:
        if arrival.recorded is not None:
            streams.add(arrival.recorded.stream)
            streams.update(arrival.recorded.heard)
        elif arrival.discard is not None and arrival.discard.skip_version:
            streams.update(place[:1] if (place := arrival.claimed_place()) else ())
    return streams


def _waits(error: Exception) -> bool:
    """True if waiting may help: a fault of the moment, or one that a person has to mend first.

    False for what is wrong with the data or the program, which one record alone brings about.
    """
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate)[:2] not in DATA_CLASSES
    return is_passing(error) or isinstance(error, ClockError)
