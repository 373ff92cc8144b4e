"""How much a household may be given (K11-K15; readings 8-14).

Two pure steps: `used_before` totals earlier awards, `compute_award` decides. The totals may just
as well come from running sums that a service keeps. Not for who may apply or who approves.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal

from services.eligibility.rules.parameters import (
    FundRules,
    ParameterSet,
    ParameterUsed,
    used_version,
)
from shared.dated import Version
from shared.fact import Value

Programme = Literal["living", "education", "medical", "disaster"]
AwardOutcome = Literal["awarded", "refused", "needs_data", "no_rule"]
AwardReason = Literal[
    "NO_RULE_IN_FORCE",
    "SCHOOL_COST_MISSING",
    "INCIDENT_ALREADY_AIDED",
    "CAP_EXHAUSTED",
    "NOTHING_DUE",
]
CapName = Literal[
    "living.single",
    "living.annual",
    "education.annual",
    "education.school",
    "medical.rate",
    "medical.annual",
    "disaster.single",
    "disaster.loss",
]
Binding = Literal["asked"] | CapName

MONTHS: Final = range(1, 13)
WHOLE_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class AwardRequest:
    """What every request says. Sums are fen; `decided_on` is the day the award is computed."""

    fund: str
    household: str
    decided_on: date


@dataclass(frozen=True, slots=True)
class LivingRequest(AwardRequest):
    """Money for living; the number of members does not matter (reading 8)."""

    asked_fen: int


@dataclass(frozen=True, slots=True)
class EducationRequest(AwardRequest):
    """Money for one student's schooling."""

    asked_fen: int
    student: str
    school: str


@dataclass(frozen=True, slots=True)
class MedicalRequest(AwardRequest):
    """A bill: `self_paid_fen` is its total less every reimbursement (reading 10)."""

    self_paid_fen: int


@dataclass(frozen=True, slots=True)
class DisasterRequest(AwardRequest):
    """Money after an incident; `loss_fen` is the assessed loss (reading 11)."""

    asked_fen: int
    loss_fen: int
    incident_id: str


Request = LivingRequest | EducationRequest | MedicalRequest | DisasterRequest


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier award, or a bill that was too small to pay (then of 0 fen).

    `fund` None is the fund that is asked about. A medical one needs `self_paid_fen`, an
    education one `student`, a disaster one `incident_id`.
    """

    programme: Programme
    household: str
    cap_year: int
    amount_fen: int
    fund: str | None = None
    self_paid_fen: int | None = None
    student: str | None = None
    incident_id: str | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """What was used before, under the caps that bind this request.

    `used_fen`: awarded in the cap year to the household (living, medical) or the student
    (education), or for this incident of the household in any year (disaster). `basis_fen`: the
    household's self-paid sum of the year so far, this request's bill not included (medical
    only). `incident_aided`: this incident was aided with more than 0 fen, in any year.
    """

    used_fen: int = 0
    basis_fen: int = 0
    incident_aided: bool = False


class Cap(Value):
    """A limit and the room under it, in fen; `room_fen` is never negative.

    Of kind `cap` it refuses when it is used up, of kind `due` it says what there is to pay for.
    """

    name: CapName
    kind: Literal["cap", "due"]
    limit_fen: int
    used_fen: int
    room_fen: int


class AwardInputs(Value):
    """The numbers that went in, in fen; None or empty where the programme has no such number."""

    asked_fen: int | None = None
    self_paid_fen: int | None = None
    self_paid_before_fen: int | None = None
    loss_fen: int | None = None
    school_month_fen: int | None = None
    standard_by_month_fen: tuple[int, ...] = ()


class Award(Value):
    """The answer: an amount with the cap that binds it, or why there is none.

    `cap_year` is the year whose caps were asked; a fact freezes it (reading 14). `parameters`
    names every version that was used, so that the amount can be computed again.
    """

    outcome: AwardOutcome
    cap_year: int
    amount_fen: int | None = None
    binding: Binding | None = None
    reason: AwardReason | None = None
    inputs: AwardInputs = AwardInputs()
    caps: tuple[Cap, ...] = ()
    parameters: tuple[ParameterUsed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a programme puts forward: its caps in the order in which they are named binding."""

    inputs: AwardInputs
    caps: tuple[Cap, ...]
    parameters: tuple[ParameterUsed, ...] = ()


@dataclass(frozen=True, slots=True)
class _Impossible:
    outcome: Literal["refused", "needs_data", "no_rule"]
    reason: AwardReason


_NO_RULE: Final = _Impossible("no_rule", "NO_RULE_IN_FORCE")


def self_paid(total_fen: int, reimbursed_fen: Iterable[int]) -> int:
    """The self-paid part of a bill: its total less every reimbursement (reading 10).

    Raise `ValueError` if more was reimbursed than billed.
    """
    rest_fen = total_fen - sum(reimbursed_fen)
    if rest_fen < 0:
        raise ValueError("reimbursements exceed the total")
    return rest_fen


def used_before(request: Request, priors: Iterable[Prior], cap_year: int | None = None) -> Used:
    """Total the earlier awards that count against `request` (reading 12).

    Those of this fund, programme, household and cap year; for education the student's of the
    year in every household, whatever the school; for disaster the household's of every year.
    """
    year = request.decided_on.year if cap_year is None else cap_year
    ours = [prior for prior in priors if prior.fund in (None, request.fund)]
    match request:
        case LivingRequest():
            counted = _of_household(ours, "living", request.household, year)
            return Used(used_fen=sum(prior.amount_fen for prior in counted))
        case MedicalRequest():
            counted = _of_household(ours, "medical", request.household, year)
            return Used(
                used_fen=sum(prior.amount_fen for prior in counted),
                basis_fen=sum(prior.self_paid_fen or 0 for prior in counted),
            )
        case EducationRequest():
            return Used(
                used_fen=sum(
                    prior.amount_fen
                    for prior in ours
                    if prior.programme == "education"
                    and prior.student == request.student
                    and prior.cap_year == year
                )
            )
        case DisasterRequest():
            aided_fen = sum(
                prior.amount_fen
                for prior in ours
                if prior.programme == "disaster"
                and prior.household == request.household
                and prior.incident_id == request.incident_id
            )
            return Used(used_fen=aided_fen, incident_aided=aided_fen > 0)


def aided_by_others(
    request: Request, priors: Iterable[Prior], cap_year: int | None = None
) -> dict[str, int]:
    """Fen that other funds gave for the same: shown as a warning, never counted (reading 12)."""
    by_fund: dict[str, list[Prior]] = {}
    for prior in priors:
        if prior.fund not in (None, request.fund):
            by_fund.setdefault(prior.fund, []).append(prior)
    given = {
        fund: used_before(replace(request, fund=fund), by_fund[fund], cap_year).used_fen
        for fund in sorted(by_fund)
    }
    return {fund: fen for fund, fen in given.items() if fen > 0}


def compute_award(
    request: Request, used: Used, parameters: ParameterSet, cap_year: int | None = None
) -> Award:
    """Compute what `request` is awarded, given what was used before.

    The amount is the least of what is asked and of each cap's room; the first that equals it
    binds. Parameters are those in force on `decided_on` and announced by then; without them the
    answer is `no_rule`, before anything else. `cap_year` is that of `decided_on` unless an
    award of an earlier year is computed again (reading 14).
    """
    year = request.decided_on.year if cap_year is None else cap_year
    day = request.decided_on
    rules = parameters.rules(request.fund, on=day, known_on=day)
    if rules is None:
        return Award(outcome="no_rule", reason="NO_RULE_IN_FORCE", cap_year=year)
    named = used_version("fund_rules", request.fund, rules)
    basis = _basis(request, used, parameters, rules.value, year)
    if isinstance(basis, _Impossible):
        versions = () if basis.outcome == "no_rule" else (named,)
        return Award(outcome=basis.outcome, reason=basis.reason, cap_year=year, parameters=versions)
    return _settle(basis, named, year)


def _basis(
    request: Request, used: Used, parameters: ParameterSet, rules: FundRules, year: int
) -> _Basis | _Impossible:
    match request:
        case LivingRequest():
            return _living(request, used, parameters, rules, year)
        case EducationRequest():
            return _education(request, used, parameters, rules)
        case MedicalRequest():
            return _medical(request, used, rules)
        case DisasterRequest():
            return _disaster(request, used, rules)


def _settle(basis: _Basis, named: ParameterUsed, year: int) -> Award:
    """The least of what is asked and the rooms; a used-up cap is told before nothing due."""
    refusal: AwardReason | None = None
    if any(cap.room_fen == 0 for cap in basis.caps if cap.kind == "cap"):
        refusal = "CAP_EXHAUSTED"
    elif any(cap.room_fen == 0 for cap in basis.caps):
        refusal = "NOTHING_DUE"
    asked_fen = basis.inputs.asked_fen
    bounds: list[tuple[Binding, int]] = [] if asked_fen is None else [("asked", asked_fen)]
    bounds += [(cap.name, cap.room_fen) for cap in basis.caps]
    # min() keeps the first of equals, and the order of the bounds is the order of naming.
    binding, amount_fen = min(bounds, key=lambda bound: bound[1])
    return Award(
        outcome="awarded" if refusal is None else "refused",
        cap_year=year,
        amount_fen=amount_fen if refusal is None else None,
        binding=binding if refusal is None else None,
        reason=refusal,
        inputs=basis.inputs,
        caps=basis.caps,
        parameters=(named, *basis.parameters),
    )


def _living(
    request: LivingRequest, used: Used, parameters: ParameterSet, rules: FundRules, year: int
) -> _Basis | _Impossible:
    """K11, K12, reading 8: per household and year the sum of the twelve monthly standards.

    Each month counts the city's standard in force on its first day, if announced by the day of
    deciding; one month without is no rule.
    """
    standards: list[Version[int]] = []
    for month in MONTHS:
        first_day = date(year, month, 1)
        standard = parameters.standard(request.fund, on=first_day, known_on=request.decided_on)
        if standard is None:
            return _NO_RULE
        standards.append(standard)
    by_month = tuple(standard.value for standard in standards)
    named = [used_version("city_standard", request.fund, standard) for standard in standards]
    return _Basis(
        inputs=AwardInputs(asked_fen=request.asked_fen, standard_by_month_fen=by_month),
        caps=(
            _cap("living.single", rules.living_single_fen),
            _cap("living.annual", sum(by_month), used.used_fen),
        ),
        parameters=tuple(dict.fromkeys(named)),
    )


def _education(
    request: EducationRequest, used: Used, parameters: ParameterSet, rules: FundRules
) -> _Basis | _Impossible:
    """K13, reading 9: per student and year, and at most some months' cost at that school."""
    day = request.decided_on
    cost = parameters.school_cost(request.school, on=day, known_on=day)
    if cost is None:
        return _Impossible("needs_data", "SCHOOL_COST_MISSING")
    return _Basis(
        inputs=AwardInputs(asked_fen=request.asked_fen, school_month_fen=cost.value),
        caps=(
            _cap("education.annual", rules.education_annual_fen, used.used_fen),
            _cap("education.school", rules.education_months * cost.value, used.used_fen),
        ),
        parameters=(used_version("school_living_cost", request.school, cost),),
    )


def _medical(request: MedicalRequest, used: Used, rules: FundRules) -> _Basis:
    """K14, reading 10: a rate of the year's self-paid sum, so bills may be split at will."""
    year_fen = used.basis_fen + request.self_paid_fen
    due_fen = rules.medical_rate_percent * year_fen // WHOLE_PERCENT
    return _Basis(
        inputs=AwardInputs(
            self_paid_fen=request.self_paid_fen, self_paid_before_fen=used.basis_fen
        ),
        caps=(
            _due("medical.rate", due_fen, used.used_fen),
            _cap("medical.annual", rules.medical_annual_fen, used.used_fen),
        ),
    )


def _disaster(request: DisasterRequest, used: Used, rules: FundRules) -> _Basis | _Impossible:
    """K15, reading 11: once per incident, never above the assessed loss."""
    if used.incident_aided:
        return _Impossible("refused", "INCIDENT_ALREADY_AIDED")
    return _Basis(
        inputs=AwardInputs(asked_fen=request.asked_fen, loss_fen=request.loss_fen),
        caps=(
            _cap("disaster.single", rules.disaster_single_fen),
            _due("disaster.loss", request.loss_fen),
        ),
    )


def _cap(name: CapName, limit_fen: int, used_fen: int = 0) -> Cap:
    return _limit(name, "cap", limit_fen, used_fen)


def _due(name: CapName, limit_fen: int, used_fen: int = 0) -> Cap:
    return _limit(name, "due", limit_fen, used_fen)


def _limit(name: CapName, kind: Literal["cap", "due"], limit_fen: int, used_fen: int) -> Cap:
    room_fen = max(0, limit_fen - used_fen)
    return Cap(name=name, kind=kind, limit_fen=limit_fen, used_fen=used_fen, room_fen=room_fen)


def _of_household(
    priors: Iterable[Prior], programme: Programme, household: str, year: int
) -> list[Prior]:
    return [
        prior
        for prior in priors
        if prior.programme == programme and prior.household == household and prior.cap_year == year
    ]
