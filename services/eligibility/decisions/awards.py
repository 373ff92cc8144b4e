"""An award is asked for and computed in one step, under the caps of today (K11-K15).

The amount comes from `rules.awards`; what was used before comes from guard rows, and is compared
again in the write, so that requests from several cases at once never exceed a cap together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal, cast

from pydantic import Field

from services.eligibility.decisions import caps
from services.eligibility.decisions.case import Award, CaseDecisions
from services.eligibility.decisions.offices import not_in_office
from services.eligibility.decisions.parameters import RulesInForce, version_used
from services.eligibility.facts import (
    AwardComputed,
    AwardInputs,
    AwardRefused,
    AwardRequested,
    CapUsed,
    FileTakenOver,
    OtherFund,
)
from services.eligibility.rules import awards as rules
from shared.fact import Fen, Value
from shared.money import LARGEST_FEN
from shared.room import (
    NOTHING_NEEDED,
    Answer,
    Command,
    Condition,
    Decided,
    Needs,
    Refusal,
    Situation,
)

Asked = Annotated[int, Field(strict=True, ge=1, le=LARGEST_FEN)]
LaterStage = Literal["cover", "closing", "approval"]


class LivingAsk(Value):
    """Money for living (K11, K12)."""

    programme: Literal["living"] = "living"
    asked_fen: Asked


class EducationAsk(Value):
    """Money for one student's schooling; the school is the file's unless another is named (K13)."""

    programme: Literal["education"] = "education"
    asked_fen: Asked
    student_id: str
    school: str | None = None


class MedicalAsk(Value):
    """A bill: either its self-paid part, or its total and every reimbursement (K14)."""

    programme: Literal["medical"] = "medical"
    patient_id: str
    self_paid_fen: Fen | None = None
    total_fen: Fen | None = None
    reimbursed_fen: tuple[Fen, ...] | None = None


class DisasterAsk(Value):
    """Money after the file's incident, with the assessed loss and sealed reasons (K15)."""

    programme: Literal["disaster"] = "disaster"
    asked_fen: Asked
    incident_id: str | None = None
    loss_fen: Fen
    reasons: str


class RequestAward(Command):
    """A handler asks for one award; ``occurred_on`` is the day on which it is computed."""

    occurred_on: date
    award_id: str
    fund: str | None = None
    ask: Annotated[
        LivingAsk | EducationAsk | MedicalAsk | DisasterAsk, Field(discriminator="programme")
    ]


@dataclass(frozen=True, slots=True)
class _Question:
    """The request as the rules take it, with what only the fact tells besides."""

    request: rules.Request
    patient_id: str | None = None
    reasons: str | None = None


def needs(state: CaseDecisions, command: RequestAward) -> Needs:
    """The guard rows of the caps that bind this request."""
    if state.file is None:
        return NOTHING_NEEDED
    question = _question(state.file, command)
    if isinstance(question, Refusal):
        return NOTHING_NEEDED
    return Needs(guards=caps.keys_of(question.request, command.occurred_on.year))


def request(state: CaseDecisions, command: RequestAward, at: Situation) -> Answer:
    """Compute what is awarded, or refuse with the reason; either way the case remembers it.

    Only a school without a recorded cost stores nothing: the data is completed first (reading 9).
    """
    file = state.file
    if file is None:
        return _NOT_REGISTERED
    refused = not_in_office(command.by, "handler", (file.station_id, file.organisation_id))
    if refused is not None:
        return refused
    if state.closed is not None:
        return _CLOSED
    question = _question(file, command)
    if isinstance(question, Refusal):
        return question
    year = command.occurred_on.year
    used = caps.used_by(question.request, year, at.guards)
    too_large = _beyond_exact(question.request, used)
    if too_large is not None:
        return too_large
    in_force: RulesInForce = at.reference
    award = rules.compute_award(question.request, used, in_force.parameters)
    if award.outcome == "needs_data":
        return _SCHOOL_COST_MISSING
    requested = _requested(state.case_id, command, question)
    outcome = (
        _computed(state, requested, question.request, award)
        if award.outcome == "awarded"
        else _refused(requested, question.request, award)
    )
    keys = caps.keys_of(question.request, year)
    return Decided([requested, outcome], [Condition(key, expect=at.guards[key]) for key in keys])


def refused_later(award: Award, stage: LaterStage, reason: str) -> AwardRefused:
    """The refusal of a computed award: it gives back the room, and the bill with it.

    The bill may be presented again, and must then not count twice.
    """
    computed = cast(AwardComputed, award.computed)
    return AwardRefused(
        case_id=computed.case_id,
        award_id=computed.award_id,
        stage=stage,
        reason=reason,
        programme=computed.programme,
        fund=computed.fund,
        household_id=computed.household_id,
        cap_subject=computed.cap_subject,
        cap_year=computed.cap_year,
        amount_fen=computed.amount_fen,
        basis_fen=computed.basis_fen,
        incident_id=computed.incident_id,
    )


def _question(file: FileTakenOver, command: RequestAward) -> _Question | Refusal:
    """The request as the rules take it, or what is wrong with it for this file."""
    asked, day = command.ask, command.occurred_on
    fund, household = command.fund or file.fund, file.household_id
    match asked:
        case LivingAsk():
            return _Question(rules.LivingRequest(fund, household, day, asked.asked_fen))
        case EducationAsk():
            school = next((s.school for s in file.students if s.person_id == asked.student_id), "")
            if not school:
                return _NOT_A_STUDENT
            return _Question(
                rules.EducationRequest(
                    fund, household, day, asked.asked_fen, asked.student_id, asked.school or school
                )
            )
        case MedicalAsk():
            self_paid_fen = _self_paid(asked)
            if isinstance(self_paid_fen, Refusal):
                return self_paid_fen
            if asked.patient_id not in file.persons:
                return _NOT_A_PATIENT
            bill = rules.MedicalRequest(fund, household, day, self_paid_fen)
            return _Question(bill, patient_id=asked.patient_id)
        case DisasterAsk():
            incident_id = asked.incident_id or file.incident_id
            if incident_id is None or incident_id != file.incident_id:
                return _NOT_THE_INCIDENT
            return _Question(
                rules.DisasterRequest(
                    fund, household, day, asked.asked_fen, asked.loss_fen, incident_id
                ),
                reasons=asked.reasons,
            )


def _self_paid(asked: MedicalAsk) -> int | Refusal:
    """The bill's self-paid part, as given or as total less every reimbursement (reading 10)."""
    if (asked.self_paid_fen is None) is (asked.total_fen is None):
        return _wrong(
            "self_paid_fen", "自付额与总额填其一", "either the self-paid sum or the total"
        )
    if (asked.total_fen is None) is not (asked.reimbursed_fen is None):
        return _wrong("reimbursed_fen", "总额须附各项报销额", "a total needs its reimbursements")
    if asked.total_fen is None:
        return cast(int, asked.self_paid_fen)
    try:
        return rules.self_paid(asked.total_fen, asked.reimbursed_fen or ())
    except ValueError:
        return _wrong("reimbursed_fen", "报销额超过总额", "more was reimbursed than billed")


def _beyond_exact(asked: rules.Request, used: rules.Used) -> Refusal | None:
    """A sum that a fact could no longer carry exactly is a slip of the pen."""
    if not isinstance(asked, rules.MedicalRequest):
        return None
    if used.basis_fen + asked.self_paid_fen <= LARGEST_FEN:
        return None
    return _wrong("self_paid_fen", "金额过大", "the sum is too large")


def _requested(case_id: str, command: RequestAward, question: _Question) -> AwardRequested:
    asked = question.request
    particulars: dict[str, Any] = {
        name: getattr(asked, name, None)
        for name in ("asked_fen", "school", "self_paid_fen", "incident_id", "loss_fen")
    }
    return AwardRequested(
        case_id=case_id,
        award_id=command.award_id,
        programme=command.ask.programme,
        fund=asked.fund,
        household_id=asked.household,
        student_id=getattr(asked, "student", None),
        patient_id=question.patient_id,
        reasons=question.reasons,
        **particulars,
    )


def _computed(
    state: CaseDecisions, requested: AwardRequested, asked: rules.Request, award: rules.Award
) -> AwardComputed:
    elsewhere = rules.aided_by_others(asked, _priors(state), award.cap_year)
    return AwardComputed(
        case_id=requested.case_id,
        award_id=requested.award_id,
        programme=requested.programme,
        fund=requested.fund,
        household_id=requested.household_id,
        cap_subject=caps.subject_of(asked),
        cap_year=award.cap_year,
        amount_fen=cast(int, award.amount_fen),
        basis_fen=requested.self_paid_fen or 0,
        incident_id=requested.incident_id,
        binding=cast(str, award.binding),
        other_funds=tuple(OtherFund(fund=f, amount_fen=fen) for f, fen in elsewhere.items()),
        **_trace(award),
    )


def _refused(requested: AwardRequested, asked: rules.Request, award: rules.Award) -> AwardRefused:
    """Nothing is awarded. A bill counts in the year's basis, unless no rule was there to count it.

    The rate is taken of all that was paid this year (reading 10), whether or not a bill by itself
    came to a fen; a gap in the rules yields nothing, later neither.
    """
    counts = award.outcome == "refused"
    return AwardRefused(
        case_id=requested.case_id,
        award_id=requested.award_id,
        stage="computing",
        reason=cast(str, award.reason),
        programme=requested.programme,
        fund=requested.fund,
        household_id=requested.household_id,
        cap_subject=caps.subject_of(asked),
        cap_year=award.cap_year,
        amount_fen=0,
        basis_fen=(requested.self_paid_fen or 0) if counts else 0,
        incident_id=requested.incident_id,
        **_trace(award),
    )


def _trace(award: rules.Award) -> dict[str, Any]:
    """Why it is so: every cap, the numbers that went in, the versions that were used."""
    return {
        "caps": tuple(CapUsed(**cap.model_dump(exclude={"kind"})) for cap in award.caps),
        "versions": tuple(version_used(used) for used in award.parameters),
        "inputs": AwardInputs(**award.inputs.model_dump()),
    }


def _priors(state: CaseDecisions) -> Iterator[rules.Prior]:
    """What this case was awarded before and still holds, from every fund."""
    for award in state.awards:
        if award.computed is not None and award.refused is None:
            yield rules.Prior(
                programme=award.computed.programme,
                household=award.computed.household_id,
                cap_year=award.computed.cap_year,
                amount_fen=award.computed.amount_fen,
                fund=award.computed.fund,
                self_paid_fen=award.requested.self_paid_fen,
                student=award.requested.student_id,
                incident_id=award.computed.incident_id,
            )


def _wrong(field: str, zh: str, en: str) -> Refusal:
    return Refusal("wrong_value", zh, en, field=field, status=422)


_NOT_REGISTERED: Final = Refusal(
    "file_not_registered", "尚未建档，不能申请救助", "the file is not registered yet", rule="K10"
)
_CLOSED: Final = Refusal(
    "file_closed", "档案已注销，不再受理救助", "a closed file takes no new award", rule="K17"
)
_NOT_A_STUDENT: Final = _wrong(
    "student_id", "不是本户登记的在读学生", "not one of the file's students"
)
_NOT_A_PATIENT: Final = _wrong("patient_id", "不是本户登记的成员", "not one of the file's persons")
_NOT_THE_INCIDENT: Final = _wrong(
    "incident_id", "不是本档案登记的意外事件", "not the incident of this file"
)
_SCHOOL_COST_MISSING: Final = Refusal(
    "school_cost_missing",
    "该校基本生活费用尚未登记",
    "the school's basic living cost is not recorded yet",
    rule="reading 9",
    field="school",
    status=422,
)
