"""What intake states: the case from application to registration, and the file's life after it.

One stream per case (``case-<case_id>``). Personal values are sealed; ids of persons and
households are random and stable across cases.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from shared.fact import Count, Fact, Fen, Value
from shared.sealed import Category, Personal

STREAMS = ("case",)

Identity = Annotated[str, Personal(Category.IDENTITY)]
Account = Annotated[str, Personal(Category.ACCOUNT)]
Health = Annotated[str, Personal(Category.HEALTH)]
FreeText = Annotated[str, Personal(Category.FREE_TEXT)]

Channel = Literal["window", "paper", "app", "hotline", "proactive"]
Relation = Literal["applicant", "spouse", "child", "parent", "other"]
IncomeKind = Literal["wage", "business", "pension", "transfer", "other"]
AssetKind = Literal["housing", "vehicle", "deposit", "other"]
Cause = Literal["illness", "schooling", "disability", "single_parent", "other_special"]
IncidentKind = Literal["sudden_event", "accident", "serious_illness", "other_special"]
Programme = Literal["living", "education", "medical", "disaster"]
Relief = Literal["receiving", "refused", "ceased", "not_applied"]
HardshipClass = Literal["low_income", "marginal", "stricken"]
Visit = Literal["grassroots", "station"]
Place = Literal["workplace", "station"]
SigningRole = Literal["chair", "handler"]
ConsentPurpose = Literal["processing", "publication"]


class Member(Value):
    """One person of the household; ``school`` if they study, ``worker`` if they may be trained."""

    person_id: str
    relation: Relation
    name: Identity
    id_number: Identity
    school: str | None = None
    worker: bool = False


class DeclaredIncome(Value):
    """A member's income of one kind over the twelve months before the application month, in fen."""

    person_id: str
    kind: IncomeKind
    months_fen: Annotated[tuple[Fen, ...], Field(min_length=12, max_length=12)]


class FoundIncome(Value):
    """A member's income of one kind over the same twelve months as a visit found it, in fen."""

    person_id: str
    kind: IncomeKind
    income_12m_fen: Fen


class Asset(Value):
    kind: AssetKind
    value_fen: Fen


class Incident(Value):
    """A sudden event; ``hardship_found`` stays null until reconciliation settles it (reading 5)."""

    incident_id: str
    kind: IncidentKind
    occurred_on: date
    description: Health | None = None
    loss_fen: Fen | None = None
    hardship_found: bool | None = None


class Evidence(Value):
    """A document: where its ciphertext lies and the hash of that ciphertext."""

    kind: Literal["id_proof", "income_proof", "medical_proof", "school_proof", "other"]
    blob_id: str
    ciphertext_sha256: str


class Payee(Value):
    """Whose account the money goes to (K16); the holder's name stands as on the card."""

    person_id: str
    kind: Literal["card", "passbook"]
    account: Account
    holder_name: Account


class Application(Fact):
    """The content of an application, as submitted or resubmitted (K5)."""

    case_id: str
    household_id: str
    applicant_id: str
    channel: Channel
    applied_on: date
    # Holds the case: the grassroots union, or the station if there is no employer (reading 19).
    organisation_id: str
    # The help station that accepts and reconciles; the holder itself without an employer.
    station_id: str
    without_employer: bool
    residence: str
    address: Identity
    phone: Identity
    members: tuple[Member, ...]
    incomes: tuple[DeclaredIncome, ...]
    assets: tuple[Asset, ...]
    causes: tuple[Cause, ...]
    incident: Incident | None
    programmes: tuple[Programme, ...]
    relief: Relief
    consents: tuple[ConsentPurpose, ...]
    evidence: tuple[Evidence, ...]
    payee: Payee | None
    # What was checked in clear before sealing: members whose ID number fails GB 11643, and an
    # account that fails Luhn and nobody has confirmed.
    wrong_id_numbers: tuple[str, ...] = ()
    account_unconfirmed: bool = False


class ApplicationSubmitted(Application, name="bangfu.intake.ApplicationSubmitted"):
    pass


class ApplicationResubmitted(Application, name="bangfu.intake.ApplicationResubmitted"):
    pass


class ApplicationAccepted(Fact, name="bangfu.intake.ApplicationAccepted"):
    """``fund`` is the one whose rules apply; ``persons`` now have an open file."""

    case_id: str
    household_id: str
    fund: str
    persons: tuple[str, ...]


class Defect(Value):
    code: str
    field: str


class ApplicationReturned(Fact, name="bangfu.intake.ApplicationReturned"):
    case_id: str
    defects: Annotated[tuple[Defect, ...], Field(min_length=1)]
    answer_by: date


class ApplicationLapsed(Fact, name="bangfu.intake.ApplicationLapsed"):
    case_id: str
    answer_by: date


class ConsentGiven(Fact, name="bangfu.intake.ConsentGiven"):
    case_id: str
    purpose: ConsentPurpose


class ConsentWithdrawn(Fact, name="bangfu.intake.ConsentWithdrawn"):
    case_id: str
    purpose: ConsentPurpose


class VisitScheduled(Fact, name="bangfu.intake.VisitScheduled"):
    """The visit order: who has to make which of the two visits (K6, reading 19)."""

    case_id: str
    visit: Visit
    organisation_id: str


class VisitCompleted(Fact, name="bangfu.intake.VisitCompleted"):
    """What a visit established: every member's income and the assets (K6)."""

    case_id: str
    visit: Visit
    organisation_id: str
    visitors: Annotated[tuple[str, ...], Field(min_length=1)]
    visited_on: date
    incomes: tuple[FoundIncome, ...]
    assets: tuple[Asset, ...]
    causes: tuple[Cause, ...]
    incident: Incident | None
    relief: Relief
    recommendation: Literal["help", "no_help"]
    remarks: FreeText | None


class Difference(Value):
    """A field on which declaration and visits differ, and why the value that holds was chosen."""

    field: str
    reason: FreeText


class VisitsReconciled(Fact, name="bangfu.intake.VisitsReconciled"):
    """The values that hold from now on; eligibility decides on these and nothing else."""

    case_id: str
    household_id: str
    organisation_id: str
    fund: str
    applied_on: date
    residence: str
    members: Count
    incomes: tuple[FoundIncome, ...]
    income_12m_fen: Fen
    assets: tuple[Asset, ...] = ()
    causes: tuple[Cause, ...]
    incident: Incident | None
    relief: Relief
    hardship_after_relief: bool | None
    finding_reasons: FreeText | None
    differences: tuple[Difference, ...]
    visitors: tuple[str, ...]


class FindingAsked(Fact, name="bangfu.intake.FindingAsked"):
    """The rules leave it to a person (reading 5): reconciliation once more, with a finding."""

    case_id: str
    determination_id: str
    reason: str


class ReliefReferralMade(Fact, name="bangfu.intake.ReliefReferralMade"):
    case_id: str
    reason: str


class ReliefOutcomeRecorded(Fact, name="bangfu.intake.ReliefOutcomeRecorded"):
    """The outcome of the referral; eligibility decides again with it (reading 4)."""

    case_id: str
    relief: Literal["receiving", "refused", "ceased"]
    hardship_after_relief: bool | None
    reasons: FreeText | None


class ClassTakenOver(Fact, name="bangfu.intake.ClassTakenOver"):
    """Eligibility's confirmed answer, restated in the case."""

    case_id: str
    determination_id: str
    outcome: Literal["eligible", "not_eligible", "no_rule"]
    classes: tuple[HardshipClass, ...]
    primary: HardshipClass | None
    reason: str | None
    reviewer: str


class PublishedFields(Value):
    """The whitelist of a notice: on the board the name, on the web surname and mask only."""

    name: Identity
    unit: str
    household_size: Count
    income_band: str
    hardship_class: HardshipClass
    cause_categories: tuple[str, ...]
    programmes: tuple[Programme, ...]


class FormDrawnUp(Fact, name="bangfu.intake.FormDrawnUp"):
    """The registration form on the confirmed class; notices and signatures name its hash."""

    case_id: str
    form_hash: str
    household_id: str
    organisation_id: str
    workplace_id: str
    station_id: str
    fund: str
    classes: tuple[HardshipClass, ...]
    primary: HardshipClass
    published: PublishedFields
    publication_consent: bool
    reviewer: str


class NoticePassed(Fact, name="bangfu.intake.NoticePassed"):
    case_id: str
    notice_id: str
    place: Place
    form_hash: str


class ObjectionTakenOver(Fact, name="bangfu.intake.ObjectionTakenOver"):
    """Heard from the notices: while one is open, nothing is signed, forwarded or registered."""

    case_id: str
    objection_id: str
    state: Literal["raised", "dismissed", "upheld"]


class SigningScheduled(Fact, name="bangfu.intake.SigningScheduled"):
    """The signing order, once both notices have passed: which office signs in which role (K9)."""

    case_id: str
    role: SigningRole
    organisation_id: str
    form_hash: str


class Signed(Fact, name="bangfu.intake.Signed"):
    """K9: one of the two signatures, in the office held that day, on one form."""

    case_id: str
    role: SigningRole
    signer: str
    office_organisation_id: str
    office_role: str
    form_hash: str


class FileForwarded(Fact, name="bangfu.intake.FileForwarded"):
    case_id: str
    form_hash: str
    centre_id: str


class Student(Value):
    person_id: str
    school: str


class FileRegistered(Fact, name="bangfu.intake.FileRegistered"):
    """K10: on file from here on; what the other services need to start is said here once."""

    case_id: str
    household_id: str
    organisation_id: str
    station_id: str
    centre_id: str
    fund: str
    classes: tuple[HardshipClass, ...]
    primary: HardshipClass
    programmes: tuple[Programme, ...]
    persons: tuple[str, ...]
    workers: tuple[str, ...]
    students: tuple[Student, ...]
    incident: Incident | None
    payee: Payee | None
    visitors: tuple[str, ...]
    signers: tuple[str, ...]
    reviewer: str
    approver: str


class CaseRejected(Fact, name="bangfu.intake.CaseRejected"):
    """After acceptance: the stage, the rule and all reasons; ``persons`` are free again."""

    case_id: str
    stage: Literal["application", "eligibility", "form", "notice", "registration"]
    rule: str
    reasons: Annotated[tuple[str, ...], Field(min_length=1)]
    review_until: date
    persons: tuple[str, ...]
    explanation: FreeText | None = None


class HardshipEndProposed(Fact, name="bangfu.intake.HardshipEndProposed"):
    case_id: str
    exit: str
    person_id: str
    placement_id: str


class HardshipEndDeclined(Fact, name="bangfu.intake.HardshipEndDeclined"):
    case_id: str
    placement_id: str
    reasons: FreeText


class HardshipEnded(Fact, name="bangfu.intake.HardshipEnded"):
    case_id: str
    exit: str
    placement_id: str


class FileDeregistered(Fact, name="bangfu.intake.FileDeregistered"):
    case_id: str
    household_id: str
    exit: str
    persons: tuple[str, ...]
