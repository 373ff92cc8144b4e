"""Judging a heard batch: what takes effect, in which order, and what has to wait for what.

All of it happens in memory, on what the desk has at hand; ``shared.hearing`` stores what comes of
it. The rules are the rooms' own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from shared import discarding
from shared.arrival import (
    BLOCKS_ITS_KEY,
    QUARANTINED,
    WAITING_BEHIND,
    WAITING_FOR_BUILD,
    WAITING_FOR_CAUSE,
    WAITING_FOR_VERSION,
    Arrival,
)
from shared.fact import Recorded, UnknownFact
from shared.heard_batch import EffectFailed, Judged, OneByOne, is_repeat
from shared.recovered import Recovered
from shared.room import ReferenceRow, Refusal, Room, Tell, Todo
from shared.workspace import Cause, Missing, Workspace

# A clock further ahead than this is wrong; what it stamped is true all the same, and told of.
FUTURE: Final = timedelta(hours=1)


class Judge:
    """What one room takes in of what it hears, and when."""

    def __init__(self, room: Room, mac: Callable[[str, str], str]) -> None:
        self._room = room
        self._mac = mac
        self._heard_kinds = frozenset(k for kinds in room.hears.values() for k in kinds)
        # What was restored and then taken back from the topic; None until that was looked up.
        self.recovered: Recovered | None = None

    def knows(self, build: str) -> bool:
        """Whether this build reads what another one waits for: a type and its version."""
        name, _, version = build.rpartition(" ")
        return version.isdecimal() and self._room.reads.knows(name, int(version))

    def tells(self, queue: Sequence[Arrival], marks: Mapping[str, int]) -> list[Tell]:
        """The commands that follow from what will most likely take effect."""
        tells: list[Tell] = []
        for arrival in queue:
            if not is_repeat(arrival, marks) and arrival.reason not in QUARANTINED:
                # What can't be read, or raises, is judged where it takes effect.
                with suppress(Exception):
                    tells += [t for t in self._todos(arrival) if isinstance(t, Tell)]
        return tells

    def pass_over(
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
        while moved and not (one is not None and judged.effects):
            moved = False
            blocked: set[str] = set()
            waiting: list[Arrival] = []
            missing = Missing()
            for arrival in left:
                if is_repeat(arrival, judged.marks):
                    judged.done.append(arrival)
                    continue
                asked = arrival.discard is not None
                if arrival.key in blocked and not asked:
                    if arrival.reason not in QUARANTINED:
                        arrival.reason, arrival.waits_for = WAITING_BEHIND, ""
                    waiting.append(arrival)
                    continue
                try:
                    take = self._is_discarded if asked else self._takes_effect
                    if take(workspace, arrival, judged, one):
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
        if one is not None and judged.effects:
            judged.unfinished = True
        return judged

    def _is_discarded(
        self, workspace: Workspace, arrival: Arrival, judged: Judged, one: OneByOne | None
    ) -> bool:
        """True if it is put aside as its operator asked: stated, and its version passed."""
        discard = arrival.discard
        if discard is None:
            return False
        passed = discarding.passed_version(arrival, discard)
        is_next = passed is not None and passed[1] == judged.marks.get(passed[0], 0) + 1
        if arrival.recorded is not None and discard.passes and not is_next:
            return False
        if passed is not None and not (is_next and self.listens_to(passed[0])):
            # A claim that leads nowhere: the record goes, the fact of that place may still come.
            passed = None
        if one is not None:
            if judged.effects:
                return False
            one.tried = arrival
        try:
            stream = discarding.stream_for(workspace, self._room, arrival.key)
            fact = discarding.fact_of(arrival, discard, passed, self._mac)
            command, cause = discarding.word_of(discard), discarding.cause_of(arrival, discard)
            workspace.state(stream, command, fact, cause)
        except Missing:
            raise
        except Exception as error:
            raise EffectFailed(arrival, error) from error
        if passed is not None:
            judged.marks[passed[0]] = passed[1]
        judged.discarded += 1
        return True

    def _takes_effect(
        self, workspace: Workspace, arrival: Arrival, judged: Judged, one: OneByOne | None
    ) -> bool:
        """True if its effect is folded in; else it has to wait, or is for the next write."""
        recorded = arrival.recorded
        if recorded is None:
            arrival.released = False
            return False
        if arrival.reason in QUARANTINED and not arrival.released:
            return False
        if arrival.reason == WAITING_FOR_BUILD and not self.knows(arrival.waits_for):
            return False
        waits = self._waits_for(recorded, judged.marks)
        if waits is not None:
            arrival.reason, arrival.waits_for = waits
            return False
        if one is not None:
            if judged.effects:
                return False
            one.tried = arrival
        try:
            took_effect = self._effect(workspace, arrival, recorded, judged)
        except Missing:
            raise
        except UnknownFact as unknown:
            arrival.reason = WAITING_FOR_BUILD
            arrival.waits_for = f"{unknown.name} {unknown.version}"
            return False
        except Exception as error:
            raise EffectFailed(arrival, error) from error
        if not took_effect:
            judged.unfinished = True
            return False
        judged.marks[recorded.stream] = recorded.version
        judged.heard += 1
        judged.future += recorded.recorded_at > workspace.now + FUTURE
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
            if marks.get(stream, 0) < version and self.listens_to(stream):
                return f"{stream} {version}"
        return ""

    def listens_to(self, stream: str) -> bool:
        return stream.partition("-")[0] in self._heard_kinds

    def _todos(self, arrival: Arrival) -> Sequence[Todo]:
        """What the room does with a record, asked once. Raises UnknownFact, or what reading raises.

        A fact that the room does nothing with is not read: its hash held, and that is all of it.
        """
        recorded = arrival.recorded
        if arrival.todos is None and recorded is not None:
            known = self._room.reads.class_of(recorded.type, recorded.schema_version)
            reaction = self._room.reactions.get(known)
            todos = reaction(recorded.read(self._room.reads), recorded) if reaction else ()
            arrival.todos = [t for t in todos if not self._is_recovered(t, recorded)]
        return arrival.todos or ()

    def _effect(
        self, workspace: Workspace, arrival: Arrival, recorded: Recorded, judged: Judged
    ) -> bool:
        """Fold the reaction in; False if it has to be decided after this write.

        A command is decided on the reference copy as stored, so not in the write of a new row.
        """
        todos = self._todos(arrival)
        if workspace.write.reference and any(isinstance(todo, Tell) for todo in todos):
            return False
        cause = Cause.of(recorded)
        for todo in todos:
            if isinstance(todo, ReferenceRow):
                workspace.write.reference.append(todo)
                continue
            answer = workspace.tell(todo, cause)
            if isinstance(answer, Refusal):
                judged.refused[type(todo.command).__name__, answer.code] += 1
        return True

    def _is_recovered(self, todo: Todo, heard: Recorded) -> bool:
        """Whether what is asked for happened before the service was restored, and is back."""
        if self.recovered is None or not isinstance(todo, Tell):
            return False
        return self.recovered.has(self._room.kinds[todo.kind].stream(todo.identity), heard)
