"""Beta mirrors what alpha counts: one own fact for each one heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.fact import Fact, Recorded, registry_of
from shared.room import (
    Act,
    Command,
    Decided,
    Refusal,
    Room,
    Situation,
    StreamKind,
    Tell,
    Todo,
    View,
)
from tests.toy import alpha

STREAMS = ("mirror",)


class Mirrored(Fact, name="toy.beta.Mirrored"):
    case_id: str
    alpha_version: int
    amount: int
    label: str = ""


@dataclass(frozen=True)
class Mirror:
    case_id: str
    total: int = 0
    label: str = ""
    seen: tuple[int, ...] = ()


class Reflect(Command):
    alpha_version: int
    amount: int
    label: str = ""


def reflect(state: Mirror, command: Reflect, situation: Situation) -> Decided | Refusal:
    mirrored = Mirrored(
        case_id=state.case_id,
        alpha_version=command.alpha_version,
        amount=command.amount,
        label=command.label,
    )
    return Decided([mirrored])


def evolve(state: Mirror, fact: Fact, recorded: Recorded) -> Mirror:
    if isinstance(fact, Mirrored):
        seen = (*state.seen, fact.alpha_version)
        return replace(state, total=state.total + fact.amount, label=fact.label, seen=seen)
    raise AssertionError(fact)


def views(state: Mirror) -> Sequence[View]:
    document = {"total": state.total, "seen": list(state.seen)}
    return [View("mirror", state.case_id, document, status=state.label)]


def guard_changes(fact: Fact, recorded: Recorded) -> Sequence[tuple[str, int]]:
    return [("mirrored", fact.amount)] if isinstance(fact, Mirrored) else []


MIRROR = StreamKind(
    name="mirror",
    of_case=True,
    initial=Mirror,
    evolve=evolve,
    acts={Reflect: Act(reflect, opens=True)},
    holder=lambda _state: "city",
    views=views,
)


def on_opened(fact: alpha.Opened, recorded: Recorded) -> Sequence[Todo]:
    return [Tell("mirror", fact.case_id, Reflect(alpha_version=recorded.version, amount=0))]


def on_counted(fact: alpha.Counted, recorded: Recorded) -> Sequence[Todo]:
    reflected = Reflect(alpha_version=recorded.version, amount=fact.amount, label=fact.label)
    return [Tell("mirror", fact.case_id, reflected)]


class Module:
    """The facts of this room as the registry wants to see them."""

    Mirrored = Mirrored


def room(**changes: Any) -> Room:
    made = Room(
        name="beta",
        kinds={"mirror": MIRROR},
        states=registry_of(Module),
        reads=registry_of(Module, alpha.Module),
        hears={"alpha": alpha.STREAMS},
        reactions={alpha.Opened: on_opened, alpha.Counted: on_counted},
        guard_changes=guard_changes,
    )
    return replace(made, **changes)
