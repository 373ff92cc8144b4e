"""The desk: a command meets the state of one own stream, and what is decided is written once.

It loads (from the cache where a version check will confirm it), decides in a workspace, writes,
and on a conflict decides again on a fresh load. HTTP commands, heard facts and timers all come
through here. The rules themselves stand in each room's ``decisions``.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

import structlog

from shared.calendar import BusinessCalendar
from shared.clock import Clock
from shared.directory import Directory
from shared.event_store import CommandRepeated, Conflict, EventStore, OutOfScope, Write
from shared.fact import Actor, Head, Origin, Recorded
from shared.network_copy import NETWORK_KIND
from shared.room import UNKNOWN, ReferenceRow, Refusal, Room, Situation, Tell
from shared.telemetry import APPENDED_FACTS, CONFLICTS
from shared.workspace import Cause, Entry, Loaded, Missing, Workspace

log = structlog.get_logger()

MOST_ATTEMPTS: Final = 12
CACHED_STREAMS: Final = 20_000

MOVES_THE_TREE: Final = frozenset(("EdgeOpened", "EdgeClosed", "OrganisationClosed"))
RESCOPED_AT_ONCE: Final = 500
REFERENCE_SECONDS: Final = 0.2

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


class ReferenceCopy:
    """This process's copy of the reference rows: directory and whatever the room builds."""

    def __init__(self, room: Room, store: EventStore) -> None:
        self._room = room
        self._store = store
        self._mark = (-1, -1)
        self._looked_at = -REFERENCE_SECONDS
        self.directory = Directory()
        self.built: Any = room.build_reference(())

    async def keep_fresh(self) -> None:
        """Look for rows that another process added, at most every so often."""
        now = monotonic()
        if now - self._looked_at > REFERENCE_SECONDS:
            self._looked_at = now
            await self.refresh()

    async def refresh(self) -> bool:
        """Read the rows again if any was added; True if so."""
        mark = await self._store.reference_mark()
        if mark == self._mark:
            return False
        rows = await self._store.reference_rows()
        directory = Directory()
        for row in rows:
            if row.kind == NETWORK_KIND:
                directory.apply(row.document["fact"], row.document["data"])
        self.directory = directory
        self.built = self._room.build_reference(rows)
        self._mark = mark
        return True


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
    ) -> None:
        self.room = room
        self.store = store
        self.clock = clock
        self.calendar = calendar
        self.reference = ReferenceCopy(room, store)
        self._origin = origin
        self._mac = mac
        # Called after each write with facts: the relay and the timers want to know.
        self.after_write: list[Callable[[], None]] = []
        self._cache: OrderedDict[str, Entry] = OrderedDict()

    async def handle(
        self,
        tell: Tell,
        actor: Actor,
        organisations: Sequence[str] | None,
        key: Key,
        cause: Cause,
    ) -> Done | Refusal:
        """Decide and store one command from outside, exactly once by its key.

        ``organisations`` are the person's own; None is for what no office holds (a bank's
        report, the public's objection), which the door has checked by other means.
        Raises KeyReused or Contended.
        """
        kind = self.room.kinds[tell.kind]
        stream, subject = kind.stream(tell.identity), kind.subject(tell.identity)
        for attempt in range(MOST_ATTEMPTS):
            try:
                entry, fresh = await self._entry(stream, organisations, fresh=attempt > 0)
                answer, workspace = await self.decide(
                    lambda w: w.tell(tell, cause, actor), {stream: entry}
                )
                if stream in workspace.without_effect:
                    if not fresh or await self.reference.refresh():
                        self.forget([stream])
                        continue
                    earlier = await self._repeated(key)
                    if earlier is not None:
                        return earlier
                    return answer if isinstance(answer, Refusal) else Done(stream, subject, ())
                workspace.write.command = _command_row(key, stream, workspace.write.facts)
                await self.commit(workspace, organisations)
                return Done(stream, subject, workspace.write.facts)
            except Conflict:
                CONFLICTS.labels(self.room.name).inc()
                self.forget([stream])
            except CommandRepeated:
                earlier = await self._repeated(key)
                if earlier is not None:
                    return earlier
            except OutOfScope:
                await self.store.deny(actor.person, type(tell.command).__name__, subject)
                return UNKNOWN
        raise Contended

    async def _entry(
        self, stream: str, organisations: Sequence[str] | None, *, fresh: bool
    ) -> tuple[Entry, bool]:
        """The state at hand and whether it was read just now; the cache is only caught up."""
        cached = self._cache.get(stream)
        if cached is not None and not fresh:
            return cached, False
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
        self._remember(stream, entry)
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
        entries: dict[str, Entry] | None = None,
    ) -> tuple[Result, Workspace]:
        """Run ``fold`` on a workspace, fetching what it misses and starting it again."""
        loaded = Loaded(dict(entries or {}), {}, {}, set())
        now = self.clock.now()
        situation = partial(
            Situation,
            today=now.date(),
            directory=self.reference.directory,
            calendar=self.calendar,
            reference=self.reference.built,
            new_id=lambda: str(uuid.uuid4()),
            mac=self._mac,
        )
        while True:
            workspace = Workspace(self.room, self._origin, loaded, situation, now)
            try:
                return fold(workspace), workspace
            except Missing as missing:
                loaded.entries.update(await self._at_hand(missing.streams))
                loaded.guards.update(await self.store.guards(missing.guards))
                loaded.documents.update(await self.store.documents(missing.documents))
                loaded.asked_documents.update(missing.documents)

    async def _at_hand(self, streams: Sequence[str]) -> dict[str, Entry]:
        """From the cache where it has them; the rest in one load."""
        found = {s: self._cache[s] for s in streams if s in self._cache}
        rest = [s for s in streams if s not in found]
        return {**found, **(await self.load(rest) if rest else {})}

    async def decide_for_good(
        self, fold: Callable[[Workspace], Result]
    ) -> tuple[Result, Workspace]:
        """As ``decide``, but nothing is refused on a state that came from the cache."""
        fresh: dict[str, Entry] = {}
        while True:
            result, workspace = await self.decide(fold, fresh)
            doubtful = [s for s in workspace.without_effect if s not in fresh]
            if not doubtful:
                return result, workspace
            fresh.update(await self.load(doubtful))

    async def commit(
        self, workspace: Workspace, organisations: Sequence[str] | None = None
    ) -> None:
        """Store the workspace's write, then let the cache, the relay and the copies know."""
        write = workspace.write
        if write.is_empty():
            return
        await self.store.write(write, organisations)
        if write.facts:
            APPENDED_FACTS.labels(self.room.name).inc(len(write.facts))
            for stream in {recorded.stream for recorded in write.facts}:
                self._remember(stream, workspace.entries[stream])
            for tell_of_it in self.after_write:
                tell_of_it()
        if write.reference:
            await self.reference.refresh()
            await self._rescope(write.reference)

    async def _rescope(self, rows: Sequence[ReferenceRow]) -> None:
        """When the tree moved, what is held below it gains and loses the offices above it."""
        moved = {
            row.document["data"].get("child") or row.document["data"]["organisation"]
            for row in rows
            if row.kind == NETWORK_KIND and row.document["fact"] in MOVES_THE_TREE
        }
        today, directory = self.clock.today(), self.reference.directory
        below = {each for top in moved for each in directory.subtree(top, today)}
        held = await self.store.held_by(sorted(below)) if below else []
        for start in range(0, len(held), RESCOPED_AT_ONCE):
            write = Write()
            write.scopes = [
                {
                    "subject": subject,
                    "from_day": today,
                    "organisations": [holder, *directory.ancestors(holder, today)],
                }
                for subject, holder in held[start : start + RESCOPED_AT_ONCE]
            ]
            await self.store.write(write)

    def forget(self, streams: Sequence[str]) -> None:
        """Drop cached states that proved stale."""
        for stream in streams:
            self._cache.pop(stream, None)

    def _remember(self, stream: str, entry: Entry) -> None:
        known = self._cache.get(stream)
        if known is None or known.head.version <= entry.head.version:
            self._cache[stream] = entry
            self._cache.move_to_end(stream)
        while len(self._cache) > CACHED_STREAMS:
            self._cache.popitem(last=False)

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
