"""The desk: a command meets the state of one own stream, and what is decided is written once.

It loads (from the cache where a version check will confirm it), decides in a workspace, writes,
and on a conflict decides again on a fresh load. HTTP commands, heard facts and timers all come
through here. The rules themselves stand in each room's ``decisions``.
"""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from shared.calendar import BusinessCalendar
from shared.clock import Clock
from shared.event_store import CommandRepeated, Conflict, EventStore, OutOfScope, is_passing
from shared.fact import Actor, Head, Origin, Recorded
from shared.network_copy import moved_by
from shared.reference_copy import ReferenceCopy, rescope
from shared.room import UNKNOWN, Refusal, Room, Situation, Tell
from shared.stream_cache import MOST_BYTES, StreamCache
from shared.telemetry import APPENDED_FACTS, CONFLICTS, CONTENDED
from shared.turns import Turns
from shared.workspace import Cause, Entry, Loaded, Missing, Workspace
from shared.write import Write

log = structlog.get_logger()

MOST_ATTEMPTS: Final = 20
MOST_REPEATS: Final = 6
MOST_UNCERTAIN: Final = 32
# Between two attempts, growing, and by chance, so that those who met do not meet again.
CONFLICT_PAUSE_SECONDS: Final = 0.005
FAULT_PAUSE_SECONDS: Final = 0.2

FORBIDDEN: Final = 403
_OWN_ID: Final = re.compile(r"[0-9a-f-]{32,64}", re.ASCII)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Done:
    """What a command led to: the facts it stated, or those that its first sending stated."""

    stream: str
    subject: str
    facts: Sequence[Recorded]


class KeyReused(Exception):
    """The same idempotency key came with another body."""


class Contended(Exception):
    """Others kept changing what this command needs; the caller may send it again, same key."""


@dataclass(frozen=True)
class Key:
    """A command's idempotency key (already bound to its actor) and the keyed hash of its body."""

    key: str
    body_mac: str


def is_denial(refusal: Refusal) -> bool:
    """Not for this office, or (which is told alike) not there at all; other refusals are the
    rules' and everybody's."""
    return refusal.status == FORBIDDEN or refusal.code == UNKNOWN.code


def own_id(text: str) -> str:
    """The text if it can only be an id of ours (a UUID or a hash), and no name, number or
    address; else nothing of it."""
    return text if _OWN_ID.fullmatch(text) else ""


class DrawnIds:
    """Random ids; a decision that is taken again on a fresh state is given the same ones."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def source(self) -> Callable[[], str]:
        """A source that gives the ids from the first one on."""
        given = 0

        def give() -> str:
            nonlocal given
            if given == len(self._drawn):
                self._drawn.append(str(uuid.uuid4()))
            given += 1
            return self._drawn[given - 1]

        return give


class Desk:
    """Where one service's commands are decided and written."""

    def __init__(
        self,
        room: Room,
        store: EventStore,
        *,
        clock: Clock,
        origin: Origin,
        calendar: BusinessCalendar,
        mac: Callable[[str, str], str],
        cache_bytes: int = MOST_BYTES,
    ) -> None:
        self.room = room
        self.store = store
        self.clock = clock
        self.calendar = calendar
        self.reference = ReferenceCopy(room, store)
        self._origin = origin
        self.mac = mac
        # Told of each write with facts, once it is stored.
        self.after_write: list[Callable[[Write], None]] = []
        # Writes with facts of which nobody knows whether they are stored. Some are enough: whoever
        # is woken by one of them looks for all.
        self._uncertain: deque[Write] = deque(maxlen=MOST_UNCERTAIN)
        self._cache = StreamCache(cache_bytes)
        self.turns = Turns()

    async def handle(
        self,
        tell: Tell,
        actor: Actor,
        organisations: Sequence[str] | None,
        key: Key,
        cause: Cause,
        *,
        together: bool = False,
    ) -> Done | Refusal:
        """Decide and store one command from outside, exactly once by its key.

        ``organisations`` are the person's own; None is for what no office holds (a bank's
        report, the public's objection), which the door has checked by other means. ``together``
        is for one of many: it is stored with those that come at the same moment.
        Raises KeyReused or Contended.
        """
        ids = DrawnIds()
        stream, subject = self._names(tell)
        for attempt in range(MOST_ATTEMPTS):
            try:
                async with self.turns.at(stream):
                    done = await self._attempt(
                        tell,
                        actor,
                        organisations,
                        key=key,
                        cause=cause,
                        ids=ids,
                        fresh=attempt > 0,
                        together=together,
                    )
                if done is not None:
                    return await self._recorded(done, tell, actor, subject)
                continue
            except Conflict:
                CONFLICTS.labels(self.room.name).inc()
                longest = CONFLICT_PAUSE_SECONDS * (attempt + 1)
            except OutOfScope:
                return await self._recorded(UNKNOWN, tell, actor, subject)
            except Exception as error:
                if not is_passing(error) or attempt >= MOST_REPEATS:
                    raise
                # Stored or not, nobody knows: the next attempt finds out by the key.
                log.warning("command_waits_for_database", error=type(error).__name__)
                longest = FAULT_PAUSE_SECONDS * (attempt + 1)
            self.forget([stream])
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret in a pause
        CONTENDED.labels(self.room.name).inc()
        raise Contended

    async def _recorded(
        self, done: Done | Refusal, tell: Tell, actor: Actor, subject: str
    ) -> Done | Refusal:
        """What was not theirs to do is on record, by actor, and not in the case."""
        if isinstance(done, Refusal):
            await self.record(done, actor, type(tell.command).__name__, subject)
        return done

    async def record(self, refusal: Refusal, actor: Actor, attempt: str, subject: str) -> None:
        """Put a refusal on record if it is a denial; what is no id of ours is left out of it."""
        if is_denial(refusal):
            await self.store.deny(actor.person, attempt, own_id(subject))

    def _names(self, tell: Tell) -> tuple[str, str]:
        """The stream and the subject of a command."""
        kind = self.room.kinds[tell.kind]
        return kind.stream(tell.identity), kind.subject(tell.identity)

    async def _attempt(
        self,
        tell: Tell,
        actor: Actor,
        organisations: Sequence[str] | None,
        *,
        key: Key,
        cause: Cause,
        ids: DrawnIds,
        fresh: bool,
        together: bool,
    ) -> Done | Refusal | None:
        """Decide and write once; None if it must be decided again on a fresh load."""
        stream, subject = self._names(tell)
        entry, fresh = await self._entry(tell, organisations, fresh=fresh)
        try:
            loaded = Loaded({stream: entry})
            await self.prepare(loaded, [tell])
            answer, workspace = await self.decide(lambda w: w.tell(tell, cause, actor), loaded, ids)
            if stream in workspace.without_effect:
                if not fresh or await self.reference.refresh():
                    self.forget([stream])
                    return None
                earlier = await self._repeated(key)
                if earlier is not None:
                    return earlier
                return answer if isinstance(answer, Refusal) else Done(stream, subject, ())
            workspace.write.command = _command_row(key, stream, workspace.write.facts)
            await self.commit(workspace, organisations, together=together)
            return Done(stream, subject, workspace.write.facts)
        except CommandRepeated:
            return await self._repeated(key)

    async def _entry(
        self, tell: Tell, organisations: Sequence[str] | None, *, fresh: bool
    ) -> tuple[Entry, bool]:
        """The state at hand and whether it was read just now; the cache is only caught up.

        A command that may open its stream is taken to open it: if it does not, the write or the
        refusal says so, and it is decided again on what is there.
        """
        kind = self.room.kinds[tell.kind]
        stream = kind.stream(tell.identity)
        cached = self._cache.get(stream)
        if not fresh:
            if cached is not None:
                return cached, False
            if kind.acts[type(tell.command)].opens:
                return Entry(kind.initial(tell.identity), Head()), False
        since = cached.head.version if cached else 0
        if organisations is None:
            facts = (await self.store.load_many({stream: since}))[stream]
        else:
            facts = await self.store.office_load(stream, since, organisations)
        return self._caught_up(stream, cached, facts), True

    def _caught_up(self, stream: str, cached: Entry | None, facts: Sequence[Recorded]) -> Entry:
        state = self.room.fold(stream, facts, cached.state if cached else None)
        head = facts[-1].head if facts else cached.head if cached else Head()
        entry = Entry(state, head)
        self._cache.put(stream, entry)
        return entry

    async def load(self, streams: Sequence[str]) -> dict[str, Entry]:
        """Fresh states of several streams, read with the service's own right."""
        cached = {stream: self._cache.get(stream) for stream in streams}
        since = {s: (entry.head.version if entry else 0) for s, entry in cached.items()}
        found = await self.store.load_many(since)
        return {s: self._caught_up(s, cached[s], found[s]) for s in streams}

    async def decide(
        self,
        fold: Callable[[Workspace], Result],
        loaded: Loaded | None = None,
        ids: DrawnIds | None = None,
    ) -> tuple[Result, Workspace]:
        """Run ``fold`` on a workspace, fetching what it misses and starting it again."""
        loaded = loaded or Loaded()
        ids = ids or DrawnIds()
        now = self.clock.now()
        situation = partial(
            Situation,
            today=now.date(),
            directory=self.reference.directory,
            calendar=self.calendar,
            reference=self.reference.built,
            mac=self.mac,
        )
        while True:
            given = partial(situation, new_id=ids.source())
            workspace = Workspace(self.room, self._origin, loaded, given, now)
            try:
                return fold(workspace), workspace
            except Missing as missing:
                await self._bring(loaded, missing)

    async def prepare(self, loaded: Loaded, tells: Iterable[Tell]) -> None:
        """Fetch beforehand what these commands ask for as things stand, in one question of a kind.

        A decision that needs more names it (``Missing``), so nothing depends on this being all.
        """
        asked = [(tell, self.room.kinds[tell.kind].stream(tell.identity)) for tell in tells]
        await self._bring(loaded, Missing({stream for _, stream in asked}))
        missing = Missing()
        for tell, stream in asked:
            act = self.room.kinds[tell.kind].acts[type(tell.command)]
            entry = loaded.entries[stream]
            if entry.head.version or act.opens:
                # What raises here will raise where it is decided, and be told of there.
                with suppress(Exception):
                    needs = act.needs(entry.state, tell.command)
                    missing.add(Missing((), needs.guards, needs.documents))
        if missing:
            await self._bring(loaded, missing)

    async def _bring(self, loaded: Loaded, missing: Missing) -> None:
        """Add what is missing: streams from the cache where it has them, all else as stored."""
        wanted = [stream for stream in missing.streams if stream not in loaded.entries]
        loaded.entries.update((s, e) for s in wanted if (e := self._cache.get(s)) is not None)
        await self._read(loaded, [s for s in wanted if s not in loaded.entries])
        loaded.guards.update(await self.store.guards(dict.fromkeys(missing.guards)))
        loaded.documents.update(await self.store.documents(dict.fromkeys(missing.documents)))
        loaded.asked_documents.update(missing.documents)

    async def _read(self, loaded: Loaded, streams: Sequence[str]) -> None:
        if streams:
            loaded.entries.update(await self.load(streams))
            loaded.read_streams.update(streams)

    async def decide_for_good(
        self, fold: Callable[[Workspace], Result], tells: Iterable[Tell] = ()
    ) -> tuple[Result, Workspace]:
        """As ``decide``, but nothing is refused on a state or reference copy of yesterday's.

        ``tells`` are the commands that will most likely be decided: what they need comes at once.
        """
        loaded = Loaded()
        ids = DrawnIds()
        await self.prepare(loaded, tells)
        while True:
            result, workspace = await self.decide(fold, loaded, ids)
            doubtful = workspace.without_effect - loaded.read_streams
            if doubtful:
                await self._read(loaded, sorted(doubtful))
            elif not workspace.without_effect or not await self.reference.refresh():
                return result, workspace

    async def commit(
        self,
        workspace: Workspace,
        organisations: Sequence[str] | None = None,
        *,
        together: bool = False,
    ) -> None:
        """Store the workspace's write, then let the cache, the relay and the copies know."""
        write = workspace.write
        if write.is_empty():
            self._tell(write)
            return
        workspace.show()
        await self._rescope(write)
        try:
            await self.store.write(write, organisations, together=together)
        except Conflict:
            if write.tree is not None:
                # It may have been the tree that moved, in another process.
                await self.reference.refresh()
            raise
        except Exception as error:
            if write.facts and is_passing(error):
                self._uncertain.append(write)
            raise
        if write.facts:
            APPENDED_FACTS.labels(self.room.name).inc(len(write.facts))
            for stream in {recorded.stream for recorded in write.facts}:
                self._cache.put(stream, workspace.entries[stream])
        self._tell(write)
        if write.reference:
            await self.reference.refresh()

    def _tell(self, write: Write) -> None:
        """Wake whoever acts on what is stored: by this write, or by one that was cut short before.

        A repeat of that one finds all of it there and writes nothing that anybody would be told of.
        """
        found = [each for each in (*self._uncertain, write) if each.facts]
        self._uncertain.clear()
        for each in found:
            for tell_of_it in self.after_write:
                tell_of_it(each)

    async def _rescope(self, write: Write) -> None:
        """Where the tree moves, what is held below it gains and loses the offices above it.

        In the same write, so that neither happens without the other; the database finds out what
        is held, when nobody else can give or take scope any more.
        """
        if any(moved_by(row) for row in write.reference):
            directory = await self.reference.directory_with(write.reference)
            rescope(write, directory, self.clock.today())

    def forget(self, streams: Sequence[str]) -> None:
        """Drop cached states that proved stale."""
        for stream in streams:
            self._cache.drop(stream)

    def forget_all(self) -> None:
        """Drop every cached state, when it is not known which of them misled."""
        self._cache.clear()

    async def _repeated(self, key: Key) -> Done | None:
        """The first result of a command that was stored under this key, if any."""
        stored = await self.store.command(key.key)
        if stored is None:
            return None
        if stored.body_mac != key.body_mac:
            raise KeyReused
        facts = (await self.store.load_many({stored.stream: stored.first_version - 1}))[
            stored.stream
        ]
        kept = [f for f in facts if f.version <= stored.last_version]
        # Who stored it may have died before it told anybody.
        self._tell(Write(facts=list(kept)))
        return Done(stored.stream, kept[0].subject, kept)


def _command_row(key: Key, stream: str, facts: Sequence[Recorded]) -> dict[str, Any]:
    own = [f for f in facts if f.stream == stream]
    return {
        "key": key.key,
        "body_mac": key.body_mac,
        "stream": stream,
        "first_version": own[0].version,
        "last_version": own[-1].version,
        "fact_ids": " ".join(f.fact_id for f in own),
    }
