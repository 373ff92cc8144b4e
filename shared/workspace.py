"""Deciding in memory: states, guards and heads of the streams that one write will touch.

A workspace takes commands one after the other, folds what they decide into the states at hand
and fills one Write. It loads nothing: what is missing it names (``Missing``), the desk fetches
it and folds again from the start, which is cheap because states are immutable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from shared.fact import Actor, Draft, Fact, Head, Origin, Recorded, record
from shared.room import (
    UNKNOWN,
    Answer,
    Command,
    Decided,
    Refusal,
    Room,
    Situation,
    StreamKind,
    Tell,
)
from shared.write import Shown, Write


@dataclass(frozen=True, slots=True)
class Entry:
    """A stream at hand: its folded state and the head that the state belongs to."""

    state: Any
    head: Head
    # What the tables show of the stream at this head; None if that is not known.
    shown: Shown | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """What a decision follows from: a heard fact, or nothing but a request."""

    causation_id: str = ""
    correlation_id: str = ""
    traceparent: str = ""
    # Of the heard fact's case only: what has no case orders nothing within one.
    case: str = ""
    lamport: int = 0
    heard: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, heard: Recorded) -> Cause:
        """A heard fact's own stream and version join what it had taken in."""
        of_case = heard.stream != heard.subject
        return cls(
            heard.fact_id,
            heard.attributes["correlationid"],
            heard.traceparent,
            heard.subject if of_case else "",
            heard.lamport,
            {**heard.heard, heard.stream: heard.version},
        )


class Missing(Exception):
    """The workspace needs these loaded before it can go on."""

    def __init__(
        self,
        streams: Iterable[str] = (),
        guards: Iterable[str] = (),
        documents: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__("not loaded yet")
        self.streams = list(streams)
        self.guards = list(guards)
        self.documents = list(documents)

    def __bool__(self) -> bool:
        return bool(self.streams or self.guards or self.documents)

    def add(self, other: Missing) -> None:
        """Ask for what another needs as well, so that all comes in one load."""
        self.streams += other.streams
        self.guards += other.guards
        self.documents += other.documents


@dataclass
class Loaded:
    """What the desk has fetched for a workspace."""

    entries: dict[str, Entry] = field(default_factory=dict)
    guards: dict[str, int] = field(default_factory=dict)
    documents: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    asked_documents: set[tuple[str, str]] = field(default_factory=set)
    # Streams whose entries were read from the log for this decision, not taken from the cache.
    read_streams: set[str] = field(default_factory=set)


class Workspace:
    """One write in the making."""

    def __init__(
        self,
        room: Room,
        origin: Origin,
        loaded: Loaded,
        situation: Callable[..., Situation],
        now: datetime,
    ) -> None:
        self._room = room
        self._origin = origin
        self._loaded = loaded
        self._situation = situation
        # Business time at which this is decided.
        self.now = now
        self.entries = dict(loaded.entries)
        self._guards = dict(loaded.guards)
        self.write = Write()
        # Streams on which something was refused or nothing followed: no version check will
        # confirm the state that this was decided on, so it has to be a fresh one.
        self.without_effect: set[str] = set()
        self._changed: dict[str, tuple[StreamKind, str]] = {}

    def require(self, streams: Iterable[str]) -> None:
        missing = [stream for stream in streams if stream not in self.entries]
        if missing:
            raise Missing(streams=missing)

    def tell(self, tell: Tell, cause: Cause, actor: Actor | None = None) -> Answer:
        """Decide one command on the state at hand and fold what follows from it."""
        kind = self._room.kinds[tell.kind]
        stream = kind.stream(tell.identity)
        self.require([stream])
        entry = self.entries[stream]
        act = kind.acts[type(tell.command)]
        if entry.head.version == 0 and not act.opens:
            self.without_effect.add(stream)
            return Decided() if act.ends else UNKNOWN
        needs = act.needs(entry.state, tell.command)
        absent_guards = [key for key in needs.guards if key not in self._guards]
        absent_documents = [d for d in needs.documents if d not in self._loaded.asked_documents]
        if absent_guards or absent_documents:
            raise Missing(guards=absent_guards, documents=absent_documents)
        situation = self._situation(
            now=self.now,
            guards={key: self._guards[key] for key in needs.guards},
            documents={
                d: self._loaded.documents[d] for d in needs.documents if d in self._loaded.documents
            },
        )
        answer = act.decide(entry.state, tell.command, situation)
        if isinstance(answer, Refusal) or not answer.facts:
            self.without_effect.add(stream)
            return answer
        self._fold(tell, answer, situation, cause, actor or tell.command.by)
        return answer

    def state(self, stream: str, command: Command, fact: Fact, cause: Cause) -> None:
        """State one fact of the machinery's own, which no decision precedes."""
        self.require([stream])
        kind, identity = self._room.kind_of(stream)
        situation = self._situation(now=self.now, guards={}, documents={})
        tell = Tell(kind.name, identity, command)
        self._fold(tell, Decided([fact]), situation, cause, command.by)

    def _fold(
        self, tell: Tell, decided: Decided, situation: Situation, cause: Cause, actor: Actor
    ) -> None:
        kind = self._room.kinds[tell.kind]
        stream, subject = kind.stream(tell.identity), kind.subject(tell.identity)
        entry = self.entries[stream]
        occurred_on = tell.command.occurred_on or situation.today
        holder_before = kind.holder(entry.state) if entry.head.version else None
        state, head = entry.state, entry.head
        deltas = self.write.guard_deltas
        before = {c.key: deltas.get(c.key, 0) for c in decided.conditions}
        of_this_case = kind.of_case and cause.case == subject
        for index, fact in enumerate(decided.facts):
            fact_id = tell.command.fact_id if index == 0 else None
            draft = Draft(
                fact_id or situation.new_id(),
                fact,
                occurred_on,
                actor,
                cause.causation_id,
                cause.correlation_id,
                cause.traceparent,
            )
            recorded = record(
                draft,
                origin=self._origin,
                stream=stream,
                subject=subject,
                head=head,
                heard_lamport=cause.lamport if of_this_case else 0,
                heard=cause.heard if of_this_case else {},
                now=self.now,
            )
            state, head = kind.evolve(state, fact, recorded), recorded.head
            self._collect(fact, recorded)
        for condition in decided.conditions:
            key = condition.key
            self.write.demand(condition, before[key], deltas.get(key, 0))
        self.entries[stream] = Entry(state, head, entry.shown if entry.head.version else {})
        self._changed[stream] = (kind, subject)
        holder = kind.holder(state)
        if holder is not None and holder != holder_before:
            above = situation.directory.above(holder)
            self.write.scope(subject, [holder, *above], situation.today)
            self.write.tree = situation.directory.moves

    def show(self) -> None:
        """Complete the write with what the changed streams show, once for all that befell them."""
        for stream, (kind, subject) in sorted(self._changed.items()):
            entry = self.entries[stream]
            shown = self.write.show(stream, subject, kind.views(entry.state), entry.shown)
            self.entries[stream] = replace(entry, shown=shown)
        self._changed.clear()

    def _collect(self, fact: Any, recorded: Recorded) -> None:
        self.write.facts.append(recorded)
        for key, delta in self._room.guard_changes(fact, recorded):
            self.write.guard_deltas[key] = self.write.guard_deltas.get(key, 0) + delta
            if key in self._guards:
                self._guards[key] += delta
        self.write.own.extend(self._room.own_rows(fact, recorded))
        self.write.reference.extend(self._room.references(fact, recorded))
