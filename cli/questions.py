"""The strict reading of a list of questions (the decision contract): all of it, or a refusal.

Every field that a kind and programme has is required, nulls included; every other is unknown.
What is read here becomes the rules' own questions; nothing is decided.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from cli.faults import bad_input
from cli.strict_json import BadInput, FieldPath, read_json, refuse_flaws
from services.eligibility.rules.awards import (
    DisasterRequest,
    EducationRequest,
    LivingRequest,
    MedicalRequest,
    Prior,
    Programme,
    Request,
)
from services.eligibility.rules.classes import (
    Cause,
    EligibilityQuestion,
    Incident,
    IncidentKind,
    Relief,
)
from services.eligibility.rules.parameter_document import Day, Name
from services.notice.period import Interruption, out_of_order
from shared.calendar import DayUnit
from shared.fact import Fen


def _given(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null_given", "null")
    return value


# For a field that may be absent: if it stands there, it stands for something.
GIVEN: Final = BeforeValidator(_given)

AtLeastOne = Annotated[int, Field(ge=1)]
Year = Annotated[int, Field(ge=date.min.year, le=date.max.year)]


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class IncidentRead(_Read):
    """An incident, as asked."""

    kind: IncidentKind
    occurred_on: Day
    hardship_found: bool | None

    def incident(self) -> Incident:
        """The rules' incident."""
        return Incident(self.kind, self.occurred_on, self.hardship_found)


class EligibilityRead(_Read):
    """A question for the classes of a household."""

    kind: Literal["eligibility"]
    fund: Name
    applied_on: Day
    residence: Name
    members: AtLeastOne
    income_12m_fen: Fen
    causes: list[Cause]
    incident: IncidentRead | None
    relief: Relief
    hardship_after_relief: bool | None

    def fault(self) -> tuple[FieldPath, str] | None:
        """What is wrong between fields that are right on their own."""
        if self.incident is not None and self.incident.occurred_on > self.applied_on:
            return ("incident", "occurred_on"), "晚于申请日 lies after applied_on"
        return None

    def question(self) -> EligibilityQuestion:
        """The rules' question."""
        return EligibilityQuestion(
            fund=self.fund,
            applied_on=self.applied_on,
            residence=self.residence,
            members=self.members,
            income_12m_fen=self.income_12m_fen,
            causes=tuple(self.causes),
            incident=None if self.incident is None else self.incident.incident(),
            relief=self.relief,
            hardship_after_relief=self.hardship_after_relief,
        )


class PriorRead(_Read):
    """An earlier award. What other programmes need may stand in any of them, and is not used."""

    programme: Programme
    household: Name
    cap_year: Year
    amount_fen: Fen
    fund: Annotated[Name | None, GIVEN] = None
    patient: Annotated[Name | None, GIVEN] = None
    self_paid_fen: Annotated[Fen | None, GIVEN] = None
    student: Annotated[Name | None, GIVEN] = None
    school: Annotated[Name | None, GIVEN] = None
    incident_id: Annotated[Name | None, GIVEN] = None

    def prior(self) -> Prior:
        """The rules' earlier award."""
        return Prior(
            programme=self.programme,
            household=self.household,
            cap_year=self.cap_year,
            amount_fen=self.amount_fen,
            fund=self.fund,
            self_paid_fen=self.self_paid_fen,
            student=self.student,
            incident_id=self.incident_id,
        )


PRIOR_NEEDS: Final[Mapping[Programme, str]] = {
    "medical": "self_paid_fen",
    "education": "student",
    "disaster": "incident_id",
}


class AwardRead(_Read):
    """What every question for an award has; each programme adds its own fields."""

    kind: Literal["award"]
    fund: Name
    programme: Programme
    decided_on: Day
    household: Name
    prior: list[PriorRead]
    members: Annotated[AtLeastOne | None, GIVEN] = None

    def fault(self) -> tuple[FieldPath, str] | None:
        """What is wrong between fields that are right on their own."""
        for index, prior in enumerate(self.prior):
            needed = PRIOR_NEEDS.get(prior.programme)
            if needed is not None and getattr(prior, needed) is None:
                return ("prior", index, needed), "缺少字段 missing field"
        return None

    def request(self) -> Request:
        """The rules' request."""
        raise NotImplementedError

    def priors(self) -> list[Prior]:
        """The rules' earlier awards."""
        return [prior.prior() for prior in self.prior]


class LivingRead(AwardRead):
    """A question for money for living."""

    asked_fen: Annotated[Fen, Field(ge=1)]

    def request(self) -> Request:
        return LivingRequest(self.fund, self.household, self.decided_on, self.asked_fen)


class EducationRead(LivingRead):
    """A question for money for a student."""

    student: Name
    school: Name

    def request(self) -> Request:
        return EducationRequest(
            self.fund,
            self.household,
            self.decided_on,
            self.asked_fen,
            student=self.student,
            school=self.school,
        )


class SelfPaidRead(AwardRead):
    """A question for a bill of which the self-paid part is known."""

    patient: Name
    self_paid_fen: Fen

    def request(self) -> Request:
        return MedicalRequest(self.fund, self.household, self.decided_on, self.self_paid_fen)


class BillRead(AwardRead):
    """A question for a bill with its total and every reimbursement."""

    patient: Name
    total_fen: Fen
    reimbursed_fen: list[Fen]

    def fault(self) -> tuple[FieldPath, str] | None:
        if sum(self.reimbursed_fen) > self.total_fen:
            return ("reimbursed_fen",), "报销合计超过总额 reimbursements exceed total_fen"
        return super().fault()

    def request(self) -> Request:
        self_paid_fen = self.total_fen - sum(self.reimbursed_fen)
        return MedicalRequest(self.fund, self.household, self.decided_on, self_paid_fen)


class DisasterRead(LivingRead):
    """A question for money after an incident."""

    loss_fen: Fen
    incident_id: Name

    def request(self) -> Request:
        return DisasterRequest(
            self.fund,
            self.household,
            self.decided_on,
            self.asked_fen,
            loss_fen=self.loss_fen,
            incident_id=self.incident_id,
        )


class InterruptionRead(_Read):
    """An interruption of a notice, as asked."""

    down: Day
    reposted: Day | None


class NoticeRead(_Read):
    """A question for the end of a notice."""

    kind: Literal["notice"]
    fund: Name
    posted_on: Day
    unit: Annotated[DayUnit | None, GIVEN] = None
    interrupted: list[InterruptionRead] = Field(default_factory=list)

    def interruptions(self) -> list[Interruption]:
        """The rules' interruptions."""
        return [Interruption(each.down, each.reposted) for each in self.interrupted]

    def fault(self) -> tuple[FieldPath, str] | None:
        """What is wrong between fields that are right on their own."""
        found = out_of_order(self.posted_on, self.interruptions())
        if found is None:
            return None
        return ("interrupted", found.index, found.field), "顺序颠倒 out of order"


Read = EligibilityRead | AwardRead | NoticeRead


def read_questions(data: bytes) -> list[Read]:
    """Read the text of a list of questions; raise `BadInput` for the first that is wrong."""
    document = read_json(data, "questions")
    if not isinstance(document, list):
        raise BadInput("questions", (), "须为 JSON 列表 must be a JSON list")
    return [read_question(raw, f"question {index}") for index, raw in enumerate(document)]


def read_question(raw: Any, place: str) -> Read:
    """Read one decoded question; raise `BadInput` naming `place` and the field."""
    refuse_flaws(raw, place)
    if not isinstance(raw, dict):
        raise BadInput(place, (), "须为对象 must be an object")
    try:
        read = _model(raw, place).model_validate(raw)
    except ValidationError as error:
        raise bad_input(place, error) from None
    fault = read.fault()
    if fault is not None:
        raise BadInput(place, *fault)
    return read


def _model(raw: dict[str, Any], place: str) -> type[Read]:
    kind = _word(raw, "kind", ("eligibility", "award", "notice"), place)
    if kind == "eligibility":
        return EligibilityRead
    if kind == "notice":
        return NoticeRead
    match _word(raw, "programme", ("living", "education", "medical", "disaster"), place):
        case "living":
            return LivingRead
        case "education":
            return EducationRead
        case "disaster":
            return DisasterRead
        case _:
            return BillRead if raw.keys() & {"total_fen", "reimbursed_fen"} else SelfPaidRead


def _word(raw: dict[str, Any], field: str, words: tuple[str, ...], place: str) -> str:
    """The word that says which fields to expect."""
    if field not in raw:
        raise BadInput(place, (field,), "缺少字段 missing field")
    word = raw[field]
    if not isinstance(word, str) or word not in words:
        raise BadInput(place, (field,), f"未知取值 unknown word, expected {', '.join(words)}")
    return word
