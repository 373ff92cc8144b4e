"""The case as its own stream tells it, and the stage that follows from it.

``evolve`` copies facts and judges nothing; ``stage_of`` names where a case stands, for views and
for the decisions, which hold all the rules.
"""

from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal, TypeVar, assert_never, cast

from services.intake.facts import (
    Application,
    ApplicationAccepted,
    ApplicationLapsed,
    ApplicationResubmitted,
    ApplicationReturned,
    ApplicationSubmitted,
    CaseRejected,
    ClassTakenOver,
    ConsentGiven,
    ConsentPurpose,
    ConsentWithdrawn,
    FileDeregistered,
    FileForwarded,
    FileRegistered,
    FindingAsked,
    FormDrawnUp,
    HardshipEndDeclined,
    HardshipEnded,
    HardshipEndProposed,
    NoticePassed,
    ObjectionTakenOver,
    Place,
    ReliefOutcomeRecorded,
    ReliefReferralMade,
    Signed,
    SigningScheduled,
    VisitCompleted,
    VisitScheduled,
    VisitsReconciled,
)
from shared.fact import Fact, Recorded

CaseFact = (
    ApplicationSubmitted
    | ApplicationResubmitted
    | ApplicationAccepted
    | ApplicationReturned
    | ApplicationLapsed
    | ConsentGiven
    | ConsentWithdrawn
    | VisitScheduled
    | VisitCompleted
    | VisitsReconciled
    | FindingAsked
    | ReliefReferralMade
    | ReliefOutcomeRecorded
    | ClassTakenOver
    | FormDrawnUp
    | NoticePassed
    | ObjectionTakenOver
    | SigningScheduled
    | Signed
    | FileForwarded
    | FileRegistered
    | CaseRejected
    | HardshipEndProposed
    | HardshipEndDeclined
    | HardshipEnded
    | FileDeregistered
)

Stage = Literal[
    "none",
    "submitted",
    "returned",
    "lapsed",
    "visiting",
    "visited",
    "determining",
    "referred",
    "finding_asked",
    "on_notice",
    "signing",
    "signed",
    "forwarded",
    "registered",
    "end_proposed",
    "rejected",
    "deregistered",
]

BEFORE_ACCEPTANCE: Final[tuple[Stage, ...]] = ("submitted", "returned")
BEFORE_FORM: Final[tuple[Stage, ...]] = (
    "visiting",
    "visited",
    "determining",
    "referred",
    "finding_asked",
)
ON_FORM: Final[tuple[Stage, ...]] = ("on_notice", "signing", "signed", "forwarded")
ON_FILE: Final[tuple[Stage, ...]] = ("registered", "end_proposed")

BOTH: Final = 2  # visits, notices, signatures: 双入户 双公示 双签字


Part = TypeVar("Part")


def certain(part: Part | None) -> Part:
    """What the case's stage guarantees; where it is missing, the program is broken."""
    if part is None:
        raise LookupError("the stage of the case promised more than its facts hold")
    return part


@dataclass(frozen=True, slots=True)
class Case:
    """One case; what a field holds is the newest fact of that kind, or those that count now."""

    case_id: str
    application: Application | None = None
    consents: frozenset[ConsentPurpose] = frozenset()
    returned: ApplicationReturned | None = None
    lapsed: bool = False
    accepted: ApplicationAccepted | None = None
    accepted_on: date | None = None
    scheduled: tuple[VisitScheduled, ...] = ()
    visits: tuple[VisitCompleted, ...] = ()
    reconciled: VisitsReconciled | None = None
    # What eligibility left open on the values that hold: a relief outcome, or a finding.
    asked: ReliefReferralMade | FindingAsked | None = None
    relief_outcome: ReliefOutcomeRecorded | None = None
    class_taken: ClassTakenOver | None = None
    form: FormDrawnUp | None = None
    passed: frozenset[Place] = frozenset()
    open_objections: frozenset[str] = frozenset()
    signing: tuple[SigningScheduled, ...] = ()
    signatures: tuple[Signed, ...] = ()
    forwarded: FileForwarded | None = None
    registered: FileRegistered | None = None
    ends_proposed: tuple[HardshipEndProposed, ...] = ()
    placements: frozenset[str] = frozenset()
    rejected: CaseRejected | None = None
    deregistered: FileDeregistered | None = None


def evolve(state: Case, fact: Fact, recorded: Recorded) -> Case:
    """The state after one more fact."""
    stated = cast(CaseFact, fact)
    match stated:
        case ApplicationSubmitted() | ApplicationResubmitted():
            return replace(
                state, application=stated, consents=frozenset(stated.consents), returned=None
            )
        case ApplicationAccepted():
            return replace(state, accepted=stated, accepted_on=recorded.occurred_on)
        case ApplicationReturned():
            return replace(state, returned=stated)
        case ApplicationLapsed():
            return replace(state, lapsed=True, returned=None)
        case ConsentGiven():
            return replace(state, consents=state.consents | {stated.purpose})
        case ConsentWithdrawn():
            return replace(state, consents=state.consents - {stated.purpose})
        case VisitScheduled():
            return replace(state, scheduled=(*state.scheduled, stated))
        case VisitCompleted():
            return replace(state, visits=(*state.visits, stated))
        case VisitsReconciled():
            return replace(state, reconciled=stated, asked=None)
        case FindingAsked() | ReliefReferralMade():
            return replace(state, asked=stated)
        case ReliefOutcomeRecorded():
            return replace(state, relief_outcome=stated, asked=None)
        case ClassTakenOver():
            return replace(state, class_taken=stated, asked=None)
        case FormDrawnUp():
            # What stood under an older form counts no more (reading 16).
            return replace(state, form=stated, passed=frozenset(), signing=(), signatures=())
        case NoticePassed():
            return replace(state, passed=state.passed | {stated.place})
        case ObjectionTakenOver():
            others = state.open_objections - {stated.objection_id}
            raised = {stated.objection_id} if stated.state == "raised" else set[str]()
            return replace(state, open_objections=others | raised)
        case SigningScheduled():
            others_scheduled = (s for s in state.signing if s.role != stated.role)
            return replace(state, signing=(*others_scheduled, stated))
        case Signed():
            return replace(state, signatures=(*state.signatures, stated))
        case FileForwarded():
            return replace(state, forwarded=stated)
        case FileRegistered():
            return replace(state, registered=stated)
        case CaseRejected():
            return replace(state, rejected=stated)
        case HardshipEndProposed():
            return replace(
                state,
                ends_proposed=(*state.ends_proposed, stated),
                placements=state.placements | {stated.placement_id},
            )
        case HardshipEndDeclined() | HardshipEnded():
            kept = (p for p in state.ends_proposed if p.placement_id != stated.placement_id)
            return replace(state, ends_proposed=tuple(kept))
        case FileDeregistered():
            return replace(state, deregistered=stated)
    assert_never(stated)


def stage_of(state: Case) -> Stage:
    """Where the case stands, from its end backwards."""
    if state.deregistered is not None:
        return "deregistered"
    if state.rejected is not None:
        return "rejected"
    if state.registered is not None:
        return "end_proposed" if state.ends_proposed else "registered"
    if state.form is not None:
        return _stage_of_form(state)
    if state.reconciled is not None:
        match state.asked:
            case ReliefReferralMade():
                return "referred"
            case FindingAsked():
                return "finding_asked"
            case None:
                return "determining"
    if state.accepted is not None:
        return "visited" if len(state.visits) == BOTH else "visiting"
    if state.lapsed:
        return "lapsed"
    if state.returned is not None:
        return "returned"
    return "none" if state.application is None else "submitted"


def _stage_of_form(state: Case) -> Stage:
    if state.forwarded is not None:
        return "forwarded"
    if len(state.signatures) == BOTH:
        return "signed"
    return "signing" if len(state.passed) == BOTH else "on_notice"
