"""Given these facts, when this is asked, then that is stated: how the rules of a room are told.

``given(kind, facts).when(command, situation).then(facts)`` or ``.refused(code)``. Facts are
recorded as the workspace would record them, so that what ``evolve`` reads of the envelope is there.
A fact stands alone (stated by the system), as ``(fact, actor)`` or as ``(fact, actor, day)``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

from shared.calendar import BusinessCalendar
from shared.directory import Directory
from shared.fact import SYSTEM, Actor, Draft, Fact, Head, Origin, Recorded, record
from shared.room import UNKNOWN, Answer, Command, Decided, Refusal, Situation, StreamKind, View

SHANGHAI = ZoneInfo("Asia/Shanghai")
TODAY = date(2025, 3, 3)
SUBJECT = "11111111-1111-4111-8111-111111111111"
ORIGIN = Origin("test/room", "test")

Given_ = Fact | tuple[Fact, Actor] | tuple[Fact, Actor, date]


def sealed(category: str = "identity", field: str = "name") -> str:
    """A value in the form of a sealed one, without a key behind it."""
    return f"sealed:1:{category}-{'0' * 32}:fact:{field}:{'A' * 40}"


def situation(
    today: date = TODAY,
    *,
    directory: Directory | None = None,
    calendar: BusinessCalendar | None = None,
    reference: Any = None,
    guards: Mapping[str, int] | None = None,
    documents: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
) -> Situation:
    """What a decision is given; a guard row that is not named counts 0, ids count upwards."""
    ids = itertools.count(1)
    return Situation(
        now=datetime(today.year, today.month, today.day, 9, tzinfo=SHANGHAI),
        today=today,
        directory=directory or Directory(),
        calendar=calendar or BusinessCalendar(),
        reference=reference,
        guards=Counter(guards or {}),
        documents=documents or {},
        new_id=lambda: f"id-{next(ids)}",
        mac=lambda domain, text: f"mac({domain}:{text})",
    )


@dataclass(frozen=True)
class Given:
    """A stream and the state that its facts led to."""

    kind: StreamKind
    identity: str
    state: Any
    recorded: tuple[Recorded, ...]

    def and_(self, *facts: Given_) -> Given:
        """The same stream some facts later."""
        state, recorded = self.state, list(self.recorded)
        for each in facts:
            fact, actor, day = _told(each)
            head = recorded[-1].head if recorded else Head()
            draft = Draft(f"fact-{head.version + 1}", fact, day, actor, "", "")
            one = record(
                draft,
                origin=ORIGIN,
                stream=self.kind.stream(self.identity),
                subject=self.kind.subject(self.identity),
                head=head,
                heard_lamport=0,
                heard={},
                now=datetime(day.year, day.month, day.day, 9, tzinfo=SHANGHAI),
            )
            recorded.append(one)
            state = self.kind.evolve(state, fact, one)
        return Given(self.kind, self.identity, state, tuple(recorded))

    def when(self, command: Command, given_situation: Situation | None = None) -> Outcome:
        """Decide the command as the workspace does, with no more than what the act asked for."""
        act = self.kind.acts[type(command)]
        around = given_situation or situation()
        if not self.recorded and not act.opens:
            return Outcome(self, command, UNKNOWN, around)
        needs = act.needs(self.state, command)
        narrowed = Situation(
            now=around.now,
            today=around.today,
            directory=around.directory,
            calendar=around.calendar,
            reference=around.reference,
            guards={key: around.guards[key] for key in needs.guards},
            documents={
                key: around.documents[key] for key in needs.documents if key in around.documents
            },
            new_id=around.new_id,
            mac=around.mac,
        )
        return Outcome(self, command, act.decide(self.state, command, narrowed), around)

    def views(self, model: str) -> list[View]:
        """The rows of one read model that this state shows."""
        return [view for view in self.kind.views(self.state) if view.model == model]

    def work(self) -> dict[str, View]:
        """The tasks that this state asks of an office, by task."""
        return {view.status: view for view in self.views("work")}


@dataclass(frozen=True)
class Outcome:
    """What was decided."""

    given: Given
    command: Command
    answer: Answer
    situation: Situation

    def then(self, *facts: Fact) -> Self:
        """Exactly these facts are stated."""
        assert isinstance(self.answer, Decided), self.answer
        assert list(self.answer.facts) == list(facts)
        return self

    def then_types(self, *types: type[Fact]) -> Self:
        """Facts of exactly these types are stated, in this order."""
        assert isinstance(self.answer, Decided), self.answer
        assert [type(fact) for fact in self.answer.facts] == list(types)
        return self

    def refused(self, code: str) -> Refusal:
        """Refused with this code."""
        assert isinstance(self.answer, Refusal), self.answer
        assert self.answer.code == code
        return self.answer

    @property
    def facts(self) -> Sequence[Fact]:
        assert isinstance(self.answer, Decided), self.answer
        return self.answer.facts

    def afterwards(self) -> Given:
        """The stream with what was stated, by whom and on which day it was asked."""
        by = self.command.by
        day = self.command.occurred_on or self.situation.today
        return self.given.and_(*((fact, by, day) for fact in self.facts))


def given(kind: StreamKind, facts: Iterable[Given_] = (), identity: str = SUBJECT) -> Given:
    """A stream of this kind with these facts."""
    return Given(kind, identity, kind.initial(identity), ()).and_(*facts)


def _told(each: Given_) -> tuple[Fact, Actor, date]:
    match each:
        case Fact():
            return each, SYSTEM, TODAY
        case (fact, actor):
            return fact, actor, TODAY
        case (fact, actor, day):
            return fact, actor, day
