"""The bodies of intake's requests: what people send in clear, before it is sealed.

Closed and bounded; the rules about them stand in the decisions. Members are named by their place
in the list where they have no id yet.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from services.intake.decisions.readings import MONTHS, NamedDefect, RejectionReason
from services.intake.facts import (
    AssetKind,
    Cause,
    Channel,
    ConsentPurpose,
    IncidentKind,
    IncomeKind,
    Programme,
    Relation,
    Relief,
    SigningRole,
    Visit,
)
from services.intake.numbers import PLACE_CODE
from shared.request_body import RequestBody

# Far above any household's, far below where sums stop being exact.
Amount = Annotated[int, Field(ge=0, le=10**12)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Number = Annotated[str, Field(min_length=1, max_length=40)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,100}$")]
Place = Annotated[str, Field(pattern=PLACE_CODE)]
Index = Annotated[int, Field(ge=0, le=49)]
Path = Annotated[str, Field(pattern=r"^[0-9A-Za-z._\[\]-]{1,200}$")]


class MemberBody(RequestBody):
    """One person of the household."""

    relation: Relation
    name: Name
    id_number: Number
    school: Id | None = None
    worker: bool = False


class DeclaredBody(RequestBody):
    """Twelve months before the application month, of one member and kind."""

    member: Index
    kind: IncomeKind
    months_fen: Annotated[tuple[Amount, ...], Field(min_length=MONTHS, max_length=MONTHS)]


class AssetBody(RequestBody):
    """Something the household owns."""

    kind: AssetKind
    value_fen: Amount


class IncidentBody(RequestBody):
    """A sudden event, as it is told."""

    kind: IncidentKind
    occurred_on: date
    description: Text | None = None
    loss_fen: Amount | None = None


class HeldIncidentBody(RequestBody):
    """A sudden event, as reconciliation settles it."""

    kind: IncidentKind
    occurred_on: date
    loss_fen: Amount | None = None
    hardship_found: bool | None = None


class EvidenceBody(RequestBody):
    """A document, by its blob and the hash of its ciphertext."""

    kind: Literal["id_proof", "income_proof", "medical_proof", "school_proof", "other"]
    blob_id: Id
    ciphertext_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PayeeBody(RequestBody):
    """Whose account; ``confirmed`` if somebody has looked at a number that fails its check."""

    member: Index
    kind: Literal["card", "passbook"]
    account: Number
    holder_name: Name
    confirmed: bool = False


class ApplicationBody(RequestBody):
    """What an application says, first or again."""

    residence: Place
    address: Annotated[str, Field(min_length=1, max_length=300)]
    phone: Number
    members: Annotated[tuple[MemberBody, ...], Field(min_length=1, max_length=50)]
    incomes: Annotated[tuple[DeclaredBody, ...], Field(max_length=250)] = ()
    assets: Annotated[tuple[AssetBody, ...], Field(max_length=50)] = ()
    causes: Annotated[tuple[Cause, ...], Field(max_length=5)] = ()
    incident: IncidentBody | None = None
    programmes: Annotated[tuple[Programme, ...], Field(max_length=4)] = ()
    relief: Relief
    consents: Annotated[tuple[ConsentPurpose, ...], Field(max_length=2)] = ()
    evidence: Annotated[tuple[EvidenceBody, ...], Field(max_length=50)] = ()
    payee: PayeeBody | None = None

    @model_validator(mode="after")
    def _members_named(self) -> "ApplicationBody":
        named = [income.member for income in self.incomes]
        named += [self.payee.member] if self.payee else []
        if any(index >= len(self.members) for index in named):
            raise PydanticCustomError("member_unknown", "No member stands at that place")
        return self


class SubmitBody(ApplicationBody):
    """An application that opens a case."""

    channel: Channel
    organisation_id: Id
    without_employer: bool
    applied_on: date | None = None


class FormBody(SubmitBody):
    """A paper form from a list: the day it was signed tells it from the household's next one."""

    applied_on: date


class AcceptBody(RequestBody):
    """The fund whose rules apply."""

    fund: Id


class DefectBody(RequestBody):
    """What a person found wrong, and where."""

    code: NamedDefect
    field: Path


class ReturnBody(RequestBody):
    """Defects besides the machine's."""

    defects: Annotated[tuple[DefectBody, ...], Field(max_length=50)] = ()


class FoundBody(RequestBody):
    """A member's income of one kind over the twelve months."""

    person_id: Id
    kind: IncomeKind
    income_12m_fen: Amount


class VisitBody(RequestBody):
    """What a visit established."""

    visit: Visit
    visited_on: date | None = None
    visitors: Annotated[tuple[Id, ...], Field(min_length=1, max_length=10)]
    incomes: Annotated[tuple[FoundBody, ...], Field(max_length=250)]
    assets: Annotated[tuple[AssetBody, ...], Field(max_length=50)] = ()
    causes: Annotated[tuple[Cause, ...], Field(max_length=5)] = ()
    incident: IncidentBody | None = None
    relief: Relief
    recommendation: Literal["help", "no_help"]
    remarks: Text | None = None


class DifferenceBody(RequestBody):
    """Why the value that holds was chosen."""

    field: Path
    reason: Text


class ReconcileBody(RequestBody):
    """The values that hold."""

    incomes: Annotated[tuple[FoundBody, ...], Field(max_length=250)]
    assets: Annotated[tuple[AssetBody, ...], Field(max_length=50)] = ()
    causes: Annotated[tuple[Cause, ...], Field(max_length=5)] = ()
    incident: HeldIncidentBody | None = None
    relief: Relief
    hardship_after_relief: bool | None = None
    finding_reasons: Text | None = None
    differences: Annotated[tuple[DifferenceBody, ...], Field(max_length=300)] = ()


class ReliefOutcomeBody(RequestBody):
    """What the government answered."""

    relief: Literal["receiving", "refused", "ceased"]
    hardship_after_relief: bool | None = None
    reasons: Text | None = None


class ConsentBody(RequestBody):
    """The household's word."""

    purpose: ConsentPurpose
    given: bool


class SignatureBody(RequestBody):
    """The role signed in, and the form that was read."""

    role: SigningRole
    form_hash: Id


class EmptyBody(RequestBody):
    """Nothing needs to be said."""


class RejectBody(RequestBody):
    """Rule and reasons; what is written beside them is sealed."""

    rule: Annotated[str, Field(pattern=r"^(K([1-9]|1[0-8])|reading ([1-9]|1[0-9]|2[0-4]))$")]
    reasons: Annotated[tuple[RejectionReason, ...], Field(min_length=1, max_length=9)]
    explanation: Text | None = None


class HardshipEndBody(RequestBody):
    """Confirmed or declined."""

    placement_id: Id
    confirm: bool
    reasons: Text | None = None
