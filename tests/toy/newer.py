"""The toy rooms as a newer build has them: what was counted is told with its unit.

Whoever reads the new version of `Counted` reads the old one as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

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
    Tell,
    Todo,
)
from tests.toy import alpha, beta


class Counted(Fact, name="toy.alpha.Counted", version=2):
    """In version 1 the amount stood alone."""

    case_id: str
    quantity: int
    unit: str
    pot: str
    label: str


def with_unit(data: dict[str, Any]) -> dict[str, Any]:
    kept = {"case_id": data["case_id"], "quantity": data["amount"], "unit": "piece"}
    return {**kept, "pot": data.get("pot", "used"), "label": data.get("label", "")}


class AlphaModule:
    """Alpha's facts, its own newer one among them."""

    Opened, Counted, Rang = alpha.Opened, Counted, alpha.Rang
    UPCASTERS: Final = {("toy.alpha.Counted", 1): with_unit}


def count(state: alpha.Tally, command: alpha.Count, situation: Situation) -> Decided | Refusal:
    counted = Counted(
        case_id=state.case_id,
        quantity=command.amount,
        unit="piece",
        pot=command.pot,
        label=command.label,
    )
    return Decided([counted], [Condition(command.pot, maximum=alpha.LIMIT)])


def evolve(state: alpha.Tally, fact: Fact, recorded: Recorded) -> alpha.Tally:
    if isinstance(fact, Counted):
        return replace(state, total=state.total + fact.quantity)
    return alpha.evolve(state, fact, recorded)


def alpha_room() -> Room:
    """It writes the new version, and reads both."""
    acts: dict[type[Command], Act] = {
        **alpha.TALLY.acts,
        alpha.Count: Act(count, lambda _state, command: Needs(guards=(command.pot,))),
    }
    return alpha.room(
        kinds={"tally": replace(alpha.TALLY, evolve=evolve, acts=acts)},
        states=registry_of(AlphaModule),
        reads=registry_of(AlphaModule),
        guard_changes=lambda f, _r: [(f.pot, f.quantity)] if isinstance(f, Counted) else [],
    )


def on_counted(fact: Counted, recorded: Recorded) -> Sequence[Todo]:
    reflected = beta.Reflect(alpha_version=recorded.version, amount=fact.quantity, label=fact.label)
    return [Tell("mirror", fact.case_id, reflected)]


def beta_room() -> Room:
    """It hears both versions, and writes what it always wrote."""
    return beta.room(
        reads=registry_of(beta.Module, AlphaModule),
        reactions={alpha.Opened: beta.on_opened, Counted: on_counted},
    )
