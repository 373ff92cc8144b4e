"""The state of ``decisions-<case_id>``: the last determination, the file, its awards.

`evolve` only copies facts; which step follows which is decided in the other files.
"""

from dataclasses import dataclass, replace
from typing import Literal, assert_never, cast

from services.eligibility.facts import (
    AwardApproved,
    AwardComputed,
    AwardRefused,
    AwardRequested,
    CoverTakenOver,
    EligibilityConfirmed,
    EligibilityDetermined,
    FileClosed,
    FileTakenOver,
    RejectionTakenOver,
)
from shared.fact import Fact, Recorded

CaseFact = (
    EligibilityDetermined
    | EligibilityConfirmed
    | RejectionTakenOver
    | FileTakenOver
    | FileClosed
    | AwardRequested
    | AwardComputed
    | AwardRefused
    | CoverTakenOver
    | AwardApproved
)

AwardStatus = Literal["requested", "computed", "covered", "approved", "refused"]


@dataclass(frozen=True, slots=True)
class Award:
    """One award and how far it has come; ``computed`` stays when it is refused later."""

    requested: AwardRequested
    status: AwardStatus = "requested"
    computed: AwardComputed | None = None
    refused: AwardRefused | None = None
    approver: str | None = None

    @property
    def award_id(self) -> str:
        return self.requested.award_id

    @property
    def is_undecided(self) -> bool:
        """Computed and holding room under its caps, but not yet approved."""
        return self.status in ("computed", "covered")


@dataclass(frozen=True, slots=True)
class CaseDecisions:
    """What eligibility knows of a case; awards stand in the order in which they were asked."""

    case_id: str
    determined: EligibilityDetermined | None = None
    confirmed: EligibilityConfirmed | None = None
    rejected: RejectionTakenOver | None = None
    file: FileTakenOver | None = None
    closed: FileClosed | None = None
    awards: tuple[Award, ...] = ()

    def award(self, award_id: str) -> Award | None:
        return next((award for award in self.awards if award.award_id == award_id), None)


def initial(case_id: str) -> CaseDecisions:
    """Before the first fact of the case."""
    return CaseDecisions(case_id)


def holder(state: CaseDecisions) -> str | None:
    """The organisation that holds the case: the file's, before it the determination's."""
    if state.file is not None:
        return state.file.organisation_id
    return state.determined.organisation_id if state.determined is not None else None


def evolve(state: CaseDecisions, fact: Fact, _: Recorded) -> CaseDecisions:
    """Copy one fact of the stream into the state."""
    stated = cast(CaseFact, fact)
    match stated:
        case EligibilityDetermined():
            return replace(state, determined=stated)
        case EligibilityConfirmed():
            return replace(state, confirmed=stated)
        case RejectionTakenOver():
            return replace(state, rejected=stated)
        case FileTakenOver():
            return replace(state, file=stated)
        case FileClosed():
            return replace(state, closed=stated)
        case AwardRequested():
            return replace(state, awards=(*state.awards, Award(stated)))
        case AwardComputed():
            return _with_award(state, stated.award_id, "computed", computed=stated)
        case AwardRefused():
            return _with_award(state, stated.award_id, "refused", refused=stated)
        case CoverTakenOver():
            return _with_award(state, stated.award_id, "covered")
        case AwardApproved():
            return _with_award(state, stated.award_id, "approved", approver=stated.approver)
        case _:
            assert_never(stated)


def _with_award(
    state: CaseDecisions,
    award_id: str,
    status: AwardStatus,
    *,
    computed: AwardComputed | None = None,
    refused: AwardRefused | None = None,
    approver: str | None = None,
) -> CaseDecisions:
    """The state with one award's status changed and what is given of it kept."""
    return replace(
        state,
        awards=tuple(
            Award(
                award.requested,
                status,
                computed or award.computed,
                refused or award.refused,
                approver or award.approver,
            )
            if award.award_id == award_id
            else award
            for award in state.awards
        ),
    )
