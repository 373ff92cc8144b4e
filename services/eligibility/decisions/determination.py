"""Which classes a household belongs to: the engine proposes, a reviewer confirms (reading 17).

The classes themselves are decided by `rules.classes`, on the application day.
"""

from datetime import date
from typing import Literal, cast

from services.eligibility.decisions.case import CaseDecisions
from services.eligibility.decisions.offices import acted_before, centre_of, not_in_office
from services.eligibility.decisions.parameters import RulesInForce, version_used
from services.eligibility.facts import (
    Comparison,
    EligibilityConfirmed,
    EligibilityDetermined,
    RejectionTakenOver,
)
from services.eligibility.rules import classes
from shared.room import Answer, Command, Decided, Refusal, Situation


class DetermineEligibility(Command):
    """The values that hold since the visits were reconciled."""

    household_id: str
    organisation_id: str
    fund: str
    residence: str
    applied_on: date
    members: int
    income_12m_fen: int
    causes: tuple[classes.Cause, ...]
    incident_kind: classes.IncidentKind | None
    incident_on: date | None
    hardship_found: bool | None
    relief: classes.Relief
    hardship_after_relief: bool | None
    visitors: tuple[str, ...]


class DetermineAfterRelief(Command):
    """The outcome of a referral to government relief is known (reading 4)."""

    relief: classes.Relief
    hardship_after_relief: bool | None


class ConfirmEligibility(Command):
    """A reviewer agrees with one determination."""

    determination_id: str


class TakeRejection(Command):
    """Intake rejected the case."""

    rule: str


def determine(state: CaseDecisions, command: DetermineEligibility, at: Situation) -> Answer:
    """Propose the classes by the rules in force and announced on the application day.

    Values reconciled again supersede an earlier proposal, as long as none is confirmed.
    """
    if state.confirmed is not None:
        return _ALREADY_CONFIRMED
    if state.rejected is not None:
        return _REJECTED
    incident = None
    if command.incident_kind is not None and command.incident_on is not None:
        incident = classes.Incident(
            command.incident_kind, command.incident_on, command.hardship_found
        )
    question = classes.EligibilityQuestion(
        fund=command.fund,
        applied_on=command.applied_on,
        residence=command.residence,
        members=command.members,
        income_12m_fen=command.income_12m_fen,
        causes=command.causes,
        incident=incident,
        relief=command.relief,
        hardship_after_relief=command.hardship_after_relief,
    )
    rules: RulesInForce = at.reference
    proposed = classes.determine(question, rules.parameters)
    compared = proposed.comparison
    inputs = command.model_dump(exclude={"by", "occurred_on", "fact_id"})
    return Decided(
        [
            EligibilityDetermined(
                **inputs,
                case_id=state.case_id,
                determination_id=at.new_id(),
                outcome=proposed.outcome,
                classes=proposed.classes,
                primary=proposed.primary,
                reason=proposed.reason,
                line_fen=compared.line_fen if compared else None,
                comparisons=both_sides(compared) if compared else (),
                versions=(version_used(compared.line), version_used(compared.rules))
                if compared
                else (),
                undetermined=proposed.undetermined,
                centre_id=centre_of(at.directory, command.organisation_id, at.today),
            )
        ]
    )


def both_sides(compared: classes.Comparison) -> tuple[Comparison, ...]:
    """Each comparison with both its sides, in integers that no rounding has touched (reading 2)."""
    return (
        Comparison(
            name="low_income",
            left=compared.income_12m_fen,
            relation="<",
            right=compared.threshold_fen,
            holds=compared.below_line,
        ),
        Comparison(
            name="marginal",
            left=compared.income_times_100,
            relation="<=",
            right=compared.margin_times_100,
            holds=compared.within_margin,
        ),
    )


def determine_after_relief(
    state: CaseDecisions, command: DetermineAfterRelief, at: Situation
) -> Answer:
    """Decide again on the same values, with the referral's outcome put in (reading 4)."""
    last = state.determined
    if last is None:
        return _NOT_DETERMINED
    values = {name: getattr(last, name) for name in DetermineEligibility.model_fields.keys() - _OWN}
    values.update(
        relief=command.relief,
        hardship_after_relief=command.hardship_after_relief,
        by=command.by,
        occurred_on=command.occurred_on,
    )
    return determine(state, DetermineEligibility(**values), at)


def confirm(state: CaseDecisions, command: ConfirmEligibility, _: Situation) -> Answer:
    """A reviewer of the case's centre, who did not visit, confirms the current proposal (K10).

    A referral and an undetermined test are no answers yet, so nobody can confirm them.
    """
    proposed = state.determined
    if proposed is None:
        return _NOT_DETERMINED
    refused = not_in_office(command.by, "reviewer", (proposed.centre_id,)) or acted_before(
        command.by, proposed.visitors
    )
    if refused is not None:
        return refused
    if state.confirmed is not None:
        return _ALREADY_CONFIRMED
    if state.rejected is not None:
        return _REJECTED
    if command.determination_id != proposed.determination_id:
        return _SUPERSEDED
    if proposed.outcome in ("refer", "needs_determination"):
        return _OPEN
    return Decided(
        [
            EligibilityConfirmed(
                case_id=state.case_id,
                determination_id=proposed.determination_id,
                outcome=cast(Literal["eligible", "not_eligible", "no_rule"], proposed.outcome),
                classes=proposed.classes,
                primary=proposed.primary,
                reason=proposed.reason,
                reviewer=command.by.person,
            )
        ]
    )


def take_rejection(state: CaseDecisions, command: TakeRejection, _: Situation) -> Answer:
    """A case rejected before its class was confirmed leaves the reviewer's list."""
    if state.confirmed is not None or state.rejected is not None:
        return Decided()
    return Decided([RejectionTakenOver(case_id=state.case_id, rule=command.rule)])


_OWN = {"by", "occurred_on", "fact_id", "relief", "hardship_after_relief"}

_NOT_DETERMINED = Refusal(
    "not_determined", "入户核对尚未完成", "the visits are not reconciled yet", rule="reading 16"
)
_ALREADY_CONFIRMED = Refusal("already_confirmed", "资格已经确认", "the class is confirmed already")
_REJECTED = Refusal("case_rejected", "本案已驳回", "the case was rejected")
_SUPERSEDED = Refusal(
    "determination_superseded",
    "认定结果已更新，请按最新结果确认",
    "a newer determination took its place",
    rule="reading 17",
    field="determination_id",
)
_OPEN = Refusal(
    "determination_open",
    "结论未定（待转介结果或人工认定），不能确认",
    "no conclusion yet: a referral or a finding is still open",
    rule="readings 4, 5",
    field="determination_id",
)
