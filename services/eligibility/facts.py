"""What eligibility states: determinations and awards of a case, and the dated parameters.

Streams: ``decisions-<case_id>``, and ``parameters-<scope>`` of a fund, place or school.
"""

from datetime import date
from typing import Annotated, Literal

from shared.fact import Count, Fact, Fen, Value
from shared.sealed import Category, Personal

STREAMS = ("decisions", "parameters")

FreeText = Annotated[str, Personal(Category.FREE_TEXT)]

HardshipClass = Literal["low_income", "marginal", "stricken"]
Programme = Literal["living", "education", "medical", "disaster"]
ParameterName = Literal["lines", "city_standard", "fund_rules", "school_living_cost"]
Outcome = Literal["eligible", "not_eligible", "refer", "needs_determination", "no_rule"]


class VersionUsed(Value):
    """A parameter version that a decision used: enough to find it again."""

    name: str
    scope: str
    effective_from: date | None
    announced_on: date | None
    source: str | None = None


class Comparison(Value):
    """Both sides of one comparison, in fen (or fen times a percentage), and what came out."""

    name: str
    left: int
    relation: str
    right: int
    holds: bool


class EligibilityDetermined(Fact, name="bangfu.eligibility.EligibilityDetermined"):
    """The engine's proposal on the values that hold; a person confirms it (reading 17)."""

    case_id: str
    determination_id: str
    household_id: str
    organisation_id: str
    fund: str
    residence: str
    applied_on: date
    members: Count
    income_12m_fen: Fen
    causes: tuple[str, ...]
    incident_kind: str | None
    incident_on: date | None
    hardship_found: bool | None
    relief: str
    hardship_after_relief: bool | None
    outcome: Outcome
    classes: tuple[HardshipClass, ...]
    primary: HardshipClass | None
    reason: str | None
    line_fen: Fen | None
    comparisons: tuple[Comparison, ...]
    versions: tuple[VersionUsed, ...]
    # Whoever visited neither confirms nor approves (reading 18).
    visitors: tuple[str, ...]
    # What only a person's finding settles (reading 5), even beside a class that matched.
    undetermined: tuple[str, ...] = ()
    # Whose reviewer confirms: the nearest centre above the holder, else the root.
    centre_id: str = ""


class EligibilityConfirmed(Fact, name="bangfu.eligibility.EligibilityConfirmed"):
    """A reviewer of the centre agrees with one determination (K10, reading 17)."""

    case_id: str
    determination_id: str
    outcome: Literal["eligible", "not_eligible", "no_rule"]
    classes: tuple[HardshipClass, ...]
    primary: HardshipClass | None
    reason: str | None
    reviewer: str


class RejectionTakenOver(Fact, name="bangfu.eligibility.RejectionTakenOver"):
    """Intake rejected the case before a class was confirmed: there is nothing left to confirm."""

    case_id: str
    rule: str


class Student(Value):
    """Who studies where; a cost is kept for each school (K13)."""

    person_id: str
    school: str


class FileTakenOver(Fact, name="bangfu.eligibility.FileTakenOver"):
    """The file is registered: awards may be asked for."""

    case_id: str
    household_id: str
    organisation_id: str
    station_id: str
    centre_id: str
    fund: str
    programmes: tuple[Programme, ...]
    persons: tuple[str, ...]
    students: tuple[Student, ...]
    incident_id: str | None
    # The people whom reading 18 keeps from approving.
    visitors: tuple[str, ...]
    signers: tuple[str, ...]
    reviewer: str


class FileClosed(Fact, name="bangfu.eligibility.FileClosed"):
    """The file left the register: it takes no new award."""

    case_id: str
    exit: str


class AwardRequested(Fact, name="bangfu.eligibility.AwardRequested"):
    """What was asked, with the programme's own particulars; the others are null."""

    case_id: str
    award_id: str
    programme: Programme
    fund: str
    household_id: str
    asked_fen: Fen | None
    student_id: str | None
    school: str | None
    patient_id: str | None
    self_paid_fen: Fen | None
    incident_id: str | None
    loss_fen: Fen | None
    reasons: FreeText | None


class CapUsed(Value):
    """One cap: its limit, what was used of it before, and the room that was left."""

    name: str
    limit_fen: Fen
    used_fen: Fen
    room_fen: Fen


class AwardInputs(Value):
    """The numbers that went in, in fen; null or empty where the programme has no such number."""

    asked_fen: Fen | None = None
    self_paid_fen: Fen | None = None
    self_paid_before_fen: Fen | None = None
    loss_fen: Fen | None = None
    school_month_fen: Fen | None = None
    standard_by_month_fen: tuple[Fen, ...] = ()


class OtherFund(Value):
    """What another fund gave this case for the same: a warning, never counted (reading 12)."""

    fund: str
    amount_fen: Fen


class AwardComputed(Fact, name="bangfu.eligibility.AwardComputed"):
    """The amount by the rules in force; it takes the room under the caps at once.

    ``basis_fen`` is what this request adds to the household's self-paid sum of the year
    (medical; else 0), so that bills count whatever their order (reading 10).
    """

    case_id: str
    award_id: str
    programme: Programme
    fund: str
    household_id: str
    # Whose cap it counts against: the household, or the student.
    cap_subject: str
    cap_year: int
    amount_fen: Fen
    basis_fen: Fen
    incident_id: str | None
    caps: tuple[CapUsed, ...]
    binding: str
    versions: tuple[VersionUsed, ...]
    inputs: AwardInputs = AwardInputs()
    other_funds: tuple[OtherFund, ...] = ()


class AwardRefused(Fact, name="bangfu.eligibility.AwardRefused"):
    """Refused when computed, for want of cover, or because the file closed; room is given back.

    At stage ``computing`` nothing had been taken: ``amount_fen`` is 0, and ``basis_fen`` is the
    bill that counts in the year all the same. At the other stages both are given back.
    """

    case_id: str
    award_id: str
    stage: Literal["computing", "cover", "closing", "approval"]
    reason: str
    programme: Programme
    fund: str
    household_id: str
    cap_subject: str
    cap_year: int | None
    amount_fen: Fen
    basis_fen: Fen
    incident_id: str | None
    caps: tuple[CapUsed, ...] = ()
    versions: tuple[VersionUsed, ...] = ()
    inputs: AwardInputs = AwardInputs()


class CoverTakenOver(Fact, name="bangfu.eligibility.CoverTakenOver"):
    """Payout keeps the money ready: the award may be approved."""

    case_id: str
    award_id: str
    amount_fen: Fen


class AwardApproved(Fact, name="bangfu.eligibility.AwardApproved"):
    """Approved under its cover by a person of the centre: it will be paid."""

    case_id: str
    award_id: str
    programme: Programme
    fund: str
    household_id: str
    amount_fen: Fen
    approver: str


class ParameterProposed(Fact, name="bangfu.eligibility.ParameterProposed"):
    """A version of a rule parameter, as one person enters it; it decides nothing yet.

    ``scope`` is the place of a line, the fund of a standard or of rules, the school of a cost;
    a cost without dates holds on every day.
    """

    proposal_id: str
    parameter: ParameterName
    scope: str
    effective_from: date | None
    effective_to: date | None
    announced_on: date | None
    values: dict[str, int | str]
    source: str


class ParameterAnnounced(Fact, name="bangfu.eligibility.ParameterAnnounced"):
    """The same version, confirmed by another person: from here on it decides."""

    proposal_id: str
    parameter: ParameterName
    scope: str
    effective_from: date | None
    effective_to: date | None
    announced_on: date | None
    values: dict[str, int | str]
    source: str
    proposed_by: str
