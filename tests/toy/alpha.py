"""Alpha counts: a case-like stream with a guard, a view and a timer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from shared.fact import Fact, Recorded, registry_of
from shared.room import (
    Act,
    Command,
    Condition,
    Decided,
    Needs,
    Refusal,
    Room,
    Situation,
    StreamKind,
    Tell,
    View,
)

STREAMS = ("tally",)
LIMIT = 100


class Opened(Fact, name="toy.alpha.Opened"):
    case_id: str
    organisation_id: str
    rings_on: date | None


class Counted(Fact, name="toy.alpha.Counted"):
    case_id: str
    amount: int
    pot: str = "used"
    label: str = ""


class Rang(Fact, name="toy.alpha.Rang"):
    case_id: str


@dataclass(frozen=True)
class Tally:
    case_id: str
    organisation_id: str = ""
    total: int = 0
    rings_on: date | None = None


class Open(Command):
    organisation_id: str = "city"
    rings_on: date | None = None


class Count(Command):
    amount: int
    pot: str = "used"
    label: str = ""


class Ring(Command):
    pass


def open_tally(state: Tally, command: Open, situation: Situation) -> Decided | Refusal:
    if state.organisation_id:
        return Refusal("open_already", "已开", "open already")
    return Decided(
        [
            Opened(
                case_id=state.case_id,
                organisation_id=command.organisation_id,
                rings_on=command.rings_on,
            )
        ]
    )


def count(state: Tally, command: Count, situation: Situation) -> Decided | Refusal:
    """What all tallies draw from one pot stays within the limit."""
    used = situation.guards[command.pot]
    if used + command.amount > LIMIT:
        return Refusal("limit", "超限", "over the limit")
    counted = Counted(
        case_id=state.case_id, amount=command.amount, pot=command.pot, label=command.label
    )
    return Decided([counted], [Condition(command.pot, maximum=LIMIT)])


def ring(state: Tally, command: Ring, situation: Situation) -> Decided | Refusal:
    if state.rings_on is None:
        return Decided()
    return Decided([Rang(case_id=state.case_id)])


def evolve(state: Tally, fact: Fact, recorded: Recorded) -> Tally:
    match fact:
        case Opened():
            return replace(state, organisation_id=fact.organisation_id, rings_on=fact.rings_on)
        case Counted():
            return replace(state, total=state.total + fact.amount)
        case Rang():
            return replace(state, rings_on=None)
    raise AssertionError(fact)


def views(state: Tally) -> Sequence[View]:
    found = [View("tally", state.case_id, {"total": state.total}, state.organisation_id)]
    if state.rings_on is not None:
        found.append(
            View("timer", f"tally-{state.case_id}:ring", {"timer": "ring"}, due_on=state.rings_on)
        )
    return found


def guard_changes(fact: Fact, recorded: Recorded) -> Sequence[tuple[str, int]]:
    return [(fact.pot, fact.amount)] if isinstance(fact, Counted) else []


def ring_when_due(identity: str, due_on: date) -> Tell:
    return Tell("tally", identity, Ring())


TALLY = StreamKind(
    name="tally",
    of_case=True,
    initial=Tally,
    evolve=evolve,
    acts={
        Open: Act(open_tally, opens=True),
        Count: Act(count, lambda _state, command: Needs(guards=(command.pot,))),
        Ring: Act(ring),
    },
    holder=lambda state: state.organisation_id or None,
    views=views,
)


class Module:
    """The facts of this room as the registry wants to see them."""

    Opened, Counted, Rang = Opened, Counted, Rang


def room(**changes: Any) -> Room:
    registry = registry_of(Module)
    made = Room(
        name="alpha",
        kinds={"tally": TALLY},
        states=registry,
        reads=registry,
        timers={"ring": ring_when_due},
        guard_changes=guard_changes,
    )
    return replace(made, **changes)
