"""Intake and eligibility as a newer release has them: `python -m tests.faults.newer SERVICE`.

Intake states a second version of `VisitsReconciled`, and a fact that today's builds have never
heard of; eligibility reads both, and the old version as well. All else is today's own code.
"""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final, Literal

from services.eligibility import facts as eligibility
from services.eligibility import main as eligibility_main
from services.eligibility.api import routes as eligibility_routes
from services.eligibility.reactions import on_visits_reconciled
from services.intake import facts as intake
from services.intake import main as intake_main
from services.intake.api import routes as intake_routes
from services.intake.decisions.state import Case, evolve
from services.intake.decisions.visits import (
    CompleteVisit,
    ReconcileVisits,
    reconcile,
    visit,
)
from services.intake.reactions import HEARD_FACTS
from services.network import facts as network
from services.payout import facts as payout
from shared.fact import Fact, Recorded, registry_of
from shared.room import Act, Answer, Command, Decided, Reaction, Room, Situation
from shared.service import serve


class VisitsReconciled(intake.VisitsReconciled, name="bangfu.intake.VisitsReconciled", version=2):
    """It also says who settled the differences; in version 1 it was always a person."""

    settled_by: Literal["person", "rule"]


class VisitDiscussed(Fact, name="bangfu.intake.VisitDiscussed"):
    """The organisation talked a visit over; no older build has a fact like it."""

    case_id: str


def by_a_person(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 as version 2."""
    return {**data, "settled_by": "person"}


INTAKE: Final = SimpleNamespace(
    **{
        **vars(intake),
        "VisitsReconciled": VisitsReconciled,
        "VisitDiscussed": VisitDiscussed,
        "UPCASTERS": {(VisitsReconciled.stored_name, 1): by_a_person},
    }
)


def discussed(state: Case, command: CompleteVisit, situation: Situation) -> Answer:
    """A visit, and that it was talked over."""
    decided = visit(state, command, situation)
    if not isinstance(decided, Decided):
        return decided
    return replace(decided, facts=[*decided.facts, VisitDiscussed(case_id=state.case_id)])


def settled(state: Case, command: ReconcileVisits, situation: Situation) -> Answer:
    """The same decision, told in the new version."""
    decided = reconcile(state, command, situation)
    if not isinstance(decided, Decided):
        return decided
    told = [
        VisitsReconciled(**fact.model_dump(), settled_by="person")
        if isinstance(fact, intake.VisitsReconciled)
        else fact
        for fact in decided.facts
    ]
    return replace(decided, facts=told)


def evolved(state: Case, fact: Fact, recorded: Recorded) -> Case:
    """What was talked over changes nothing."""
    return state if isinstance(fact, VisitDiscussed) else evolve(state, fact, recorded)


def intake_room() -> Room:
    case = intake_main.CASE
    acts: dict[type[Command], Act] = {
        **case.acts,
        CompleteVisit: Act(discussed),
        ReconcileVisits: Act(settled),
    }
    return replace(
        intake_main.ROOM,
        kinds={case.name: replace(case, acts=acts, evolve=evolved)},
        states=registry_of(INTAKE),
        reads=registry_of(INTAKE, *HEARD_FACTS),
    )


def eligibility_room() -> Room:
    room = eligibility_main.ROOM
    reactions: dict[type[Fact], Reaction] = {
        **room.reactions,
        VisitsReconciled: on_visits_reconciled,
    }
    del reactions[intake.VisitsReconciled]
    return replace(
        room, reads=registry_of(eligibility, INTAKE, network, payout), reactions=reactions
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["intake"]:
        serve(intake_room(), intake_routes)
    else:
        serve(eligibility_room(), eligibility_routes)
