"""How a case ends: rejected after acceptance, or removed from the files once it is registered."""

from typing import Literal

from services.intake.decisions.readings import REVIEW_OF_A_REJECTION
from services.intake.decisions.state import Case, certain
from services.intake.facts import CaseRejected, FileDeregistered
from shared.room import Situation

Stage = Literal["application", "eligibility", "form", "notice", "registration"]


def rejected(
    state: Case,
    stage: Stage,
    rule: str,
    reasons: tuple[str, ...],
    situation: Situation,
    *,
    explanation: str | None = None,
) -> CaseRejected:
    """An accepted case ends, with its rule and all reasons; its persons are free again."""
    return CaseRejected(
        case_id=state.case_id,
        stage=stage,
        rule=rule,
        reasons=reasons,
        review_until=REVIEW_OF_A_REJECTION.last_day(situation.today, situation.calendar),
        persons=certain(state.accepted).persons,
        explanation=explanation,
    )


def removed(state: Case, exit_reason: str) -> FileDeregistered:
    """A file ends (reading 22); its persons are free again."""
    registered = certain(state.registered)
    return FileDeregistered(
        case_id=state.case_id,
        household_id=registered.household_id,
        exit=exit_reason,
        persons=registered.persons,
    )
