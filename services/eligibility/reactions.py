"""What eligibility does when it hears a fact: hear, translate, tell."""

from collections.abc import Sequence

from services.eligibility.decisions.cover import RefuseCover, TakeCover
from services.eligibility.decisions.determination import (
    DetermineAfterRelief,
    DetermineEligibility,
    TakeRejection,
)
from services.eligibility.decisions.files import CloseFile, TakeFileOver
from services.eligibility.facts import Student
from services.intake import facts as intake
from services.network import facts as network
from services.payout import facts as payout
from shared.fact import Fact, Recorded
from shared.network_copy import reactions_for
from shared.room import Command, Reaction, Tell

KIND = "decisions"


def _tell(case_id: str, command: Command) -> Sequence[Tell]:
    return (Tell(KIND, case_id, command),)


def on_visits_reconciled(fact: intake.VisitsReconciled, _: Recorded) -> Sequence[Tell]:
    """The values hold: propose the classes."""
    incident = fact.incident
    command = DetermineEligibility(
        household_id=fact.household_id,
        organisation_id=fact.organisation_id,
        fund=fact.fund,
        residence=fact.residence,
        applied_on=fact.applied_on,
        members=fact.members,
        income_12m_fen=fact.income_12m_fen,
        causes=fact.causes,
        incident_kind=incident.kind if incident else None,
        incident_on=incident.occurred_on if incident else None,
        hardship_found=incident.hardship_found if incident else None,
        relief=fact.relief,
        hardship_after_relief=fact.hardship_after_relief,
        visitors=fact.visitors,
    )
    return _tell(fact.case_id, command)


def on_relief_outcome_recorded(fact: intake.ReliefOutcomeRecorded, _: Recorded) -> Sequence[Tell]:
    """The referral came back: propose again (reading 4)."""
    command = DetermineAfterRelief(
        relief=fact.relief, hardship_after_relief=fact.hardship_after_relief
    )
    return _tell(fact.case_id, command)


def on_case_rejected(fact: intake.CaseRejected, _: Recorded) -> Sequence[Tell]:
    """Rejected: there may be something left to take off a list."""
    return _tell(fact.case_id, TakeRejection(rule=fact.rule))


def on_file_registered(fact: intake.FileRegistered, _: Recorded) -> Sequence[Tell]:
    """On file: awards may be asked for."""
    command = TakeFileOver(
        household_id=fact.household_id,
        organisation_id=fact.organisation_id,
        station_id=fact.station_id,
        centre_id=fact.centre_id,
        fund=fact.fund,
        programmes=fact.programmes,
        persons=fact.persons,
        students=tuple(Student(person_id=s.person_id, school=s.school) for s in fact.students),
        incident_id=fact.incident.incident_id if fact.incident else None,
        visitors=fact.visitors,
        signers=fact.signers,
        reviewer=fact.reviewer,
    )
    return _tell(fact.case_id, command)


def on_file_deregistered(fact: intake.FileDeregistered, _: Recorded) -> Sequence[Tell]:
    """Off file: nothing more is awarded."""
    return _tell(fact.case_id, CloseFile(exit=fact.exit))


def on_cover_reserved(fact: payout.CoverReserved, _: Recorded) -> Sequence[Tell]:
    """The money is kept ready."""
    return _tell(fact.case_id, TakeCover(award_id=fact.award_id, amount_fen=fact.amount_fen))


def on_cover_refused(fact: payout.CoverRefused, _: Recorded) -> Sequence[Tell]:
    """There is no money."""
    return _tell(fact.case_id, RefuseCover(award_id=fact.award_id, reason=fact.reason))


REACTIONS: dict[type[Fact], Reaction] = {
    **reactions_for(network),
    intake.VisitsReconciled: on_visits_reconciled,
    intake.ReliefOutcomeRecorded: on_relief_outcome_recorded,
    intake.CaseRejected: on_case_rejected,
    intake.FileRegistered: on_file_registered,
    intake.FileDeregistered: on_file_deregistered,
    payout.CoverReserved: on_cover_reserved,
    payout.CoverRefused: on_cover_refused,
}
