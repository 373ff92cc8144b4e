"""What holds for every award (invariants 3, 4, 5 and 8)."""

from dataclasses import replace
from datetime import date
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.eligibility.rules.awards import (
    Award,
    DisasterRequest,
    EducationRequest,
    LivingRequest,
    MedicalRequest,
    Prior,
    Request,
    Used,
    compute_award,
    used_before,
)
from services.eligibility.rules.parameter_document import read_document
from services.eligibility.rules.parameters import ParameterSet
from tests.worked_examples import PARAMETERS

SAMPLE = read_document(PARAMETERS).parameters
DAY = date(2015, 11, 2)
FEN = st.integers(0, 3_000_000)
ASKED = st.integers(1, 3_000_000)
BILLS = st.lists(st.integers(0, 4_000_000), max_size=12)
ON_ONE_DAY = st.just(DAY)
DAYS = st.dates(date(2013, 1, 1), date(2017, 12, 31))


def bill(self_paid_fen: int) -> MedicalRequest:
    return MedicalRequest("sample-city", "H1", DAY, self_paid_fen)


def requests(days: st.SearchStrategy[date] = ON_ONE_DAY) -> st.SearchStrategy[Request]:
    fund, household = st.just("sample-city"), st.sampled_from(["H1", "H2"])
    return st.one_of(
        st.builds(LivingRequest, fund, household, days, ASKED),
        st.builds(
            EducationRequest, fund, household, days, ASKED,
            st.sampled_from(["S1", "S2"]), st.sampled_from(["school-a", "school-b", "school-d"]),
        ),
        st.builds(MedicalRequest, fund, household, days, st.integers(0, 30_000_000)),
        st.builds(
            DisasterRequest, fund, household, days, ASKED, FEN, st.sampled_from(["F1", "F2"])
        ),
    )  # fmt: skip


def recorded(request: Request, award: Award) -> Prior:
    """What later requests see of this one: a refused bill counts with 0 fen, as its basis."""
    amount_fen = award.amount_fen or 0
    common = (request.household, award.cap_year, amount_fen)
    match request:
        case LivingRequest():
            return Prior("living", *common)
        case EducationRequest():
            return Prior("education", *common, student=request.student)
        case MedicalRequest():
            return Prior("medical", *common, self_paid_fen=request.self_paid_fen)
        case DisasterRequest():
            return Prior("disaster", *common, incident_id=request.incident_id)


def play(asked: list[Request], parameters: ParameterSet) -> list[tuple[Request, Award]]:
    """Decide one request after the other, each knowing those before."""
    priors: list[Prior] = []
    decided = []
    for request in asked:
        award = compute_award(request, used_before(request, priors), parameters)
        priors.append(recorded(request, award))
        decided.append((request, award))
    return decided


@given(BILLS, st.randoms(use_true_random=False))
def test_splitting_and_reordering_bills_never_changes_the_years_total(
    bills: list[int], random: Random
) -> None:
    """Invariant 4, reading 10."""

    def total(parts: list[int]) -> int:
        return sum(award.amount_fen or 0 for _, award in play([*map(bill, parts)], SAMPLE))

    split: list[int] = []
    for part in bills:
        cut = random.randint(0, part)
        split += [cut, part - cut]
    random.shuffle(split)
    assert total(bills) == total(split) == total([sum(bills)])
    assert total(bills) == min(sum(bills) // 10, 1_000_000)


@given(requests(), FEN, st.integers(0, 5_000_000))
def test_an_award_never_exceeds_its_basis_nor_any_room(
    request: Request, used_fen: int, basis_fen: int
) -> None:
    used = Used(used_fen, basis_fen if isinstance(request, MedicalRequest) else 0)
    award = compute_award(request, used, SAMPLE)
    if award.amount_fen is None:
        return
    assert award.amount_fen > 0
    assert all(award.amount_fen <= cap.room_fen for cap in award.caps)
    assert award.inputs.asked_fen is None or award.amount_fen <= award.inputs.asked_fen
    match request:
        case MedicalRequest():
            assert used_fen + award.amount_fen <= basis_fen + request.self_paid_fen
        case DisasterRequest():
            assert award.amount_fen <= request.loss_fen
        case _:
            pass


@given(requests(), FEN, ASKED)
def test_an_award_never_falls_when_its_basis_rises(
    request: Request, used_fen: int, more_fen: int
) -> None:
    """More asked, more self-paid, more lost: never less money."""
    raised: list[Request]
    match request:
        case MedicalRequest():
            raised = [replace(request, self_paid_fen=request.self_paid_fen + more_fen)]
        case DisasterRequest():
            raised = [
                replace(request, asked_fen=request.asked_fen + more_fen),
                replace(request, loss_fen=request.loss_fen + more_fen),
            ]
        case _:
            raised = [replace(request, asked_fen=request.asked_fen + more_fen)]
    before = compute_award(request, Used(used_fen), SAMPLE).amount_fen or 0
    for each in raised:
        assert (compute_award(each, Used(used_fen), SAMPLE).amount_fen or 0) >= before


@given(st.lists(requests(), max_size=25))
def test_no_sequence_exceeds_an_annual_cap(asked: list[Request]) -> None:
    """Invariant 3, after every prefix: household, student and incident each within its cap."""
    given_fen: dict[tuple[str, ...], int] = {}
    incidents: set[tuple[str, str]] = set()
    caps = {"living": 504_000, "education": 500_000, "medical": 1_000_000}
    for request, award in play(asked, SAMPLE):
        amount_fen = award.amount_fen or 0
        match request:
            case LivingRequest():
                subject = ("living", request.household)
            case EducationRequest():
                subject = ("education", request.student)
            case MedicalRequest():
                subject = ("medical", request.household)
            case DisasterRequest():
                incident = (request.household, request.incident_id)
                assert amount_fen == 0 or incident not in incidents
                incidents |= {incident} if amount_fen else set()
                continue
        given_fen[subject] = given_fen.get(subject, 0) + amount_fen
        assert given_fen[subject] <= caps[subject[0]]


@given(requests(DAYS))
def test_a_gap_never_yields_an_amount(request: Request) -> None:
    """Invariant 8: the rule stands from August 2015 through 2016, the standard a month less."""
    rules = {**PARAMETERS["fund_rules"]["sample-city"][0], "effective_to": "2016-12-31"}
    standard = [
        {**PARAMETERS["city_standard"]["sample-city"][0], "effective_to": "2016-11-30"},
    ]
    parameters = read_document(
        {
            **PARAMETERS,
            "fund_rules": {"sample-city": [rules]},
            "city_standard": {"sample-city": standard},
        }
    ).parameters
    award = compute_award(request, Used(), parameters)
    day = request.decided_on
    outside = not date(2015, 8, 1) <= day <= date(2016, 12, 31)
    if isinstance(request, LivingRequest):
        outside = outside or day.year == 2016
    assert (award.outcome == "no_rule") == outside
    assert award.amount_fen is None or not outside


@given(st.integers(1, 100), st.integers(1, 10**12))
def test_a_rate_is_cut_to_the_fen_and_one_fen_decides(percent: int, amount_fen: int) -> None:
    """Invariant 5, reading 13: the least bill that earns an amount, and the fen below it."""
    rules = {
        **PARAMETERS["fund_rules"]["sample-city"][0],
        "medical_rate_percent": percent,
        "medical_annual_fen": 10**15,
    }
    document = {**PARAMETERS, "fund_rules": {"sample-city": [rules]}}
    parameters = read_document(document).parameters
    least_fen = -(-amount_fen * 100 // percent)
    enough = compute_award(bill(least_fen), Used(), parameters)
    short = compute_award(bill(least_fen - 1), Used(), parameters)
    assert enough.amount_fen is not None
    assert enough.amount_fen >= amount_fen > (short.amount_fen or 0)
