"""Awards: what counts before, which cap binds, in which order refusals are told (K11-K15)."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from services.eligibility.rules.awards import (
    Award,
    DisasterRequest,
    EducationRequest,
    LivingRequest,
    MedicalRequest,
    Prior,
    Request,
    Used,
    aided_by_others,
    compute_award,
    self_paid,
    used_before,
)
from services.eligibility.rules.parameter_document import read_document
from services.eligibility.rules.parameters import ParameterSet
from shared.dated import parse_day
from tests.worked_examples import PARAMETERS, examples_of, name_of

SAMPLE = read_document(PARAMETERS).parameters
DAY = date(2015, 11, 2)
LIVING = LivingRequest("sample-city", "H1", DAY, asked_fen=100_000)
STUDENT = EducationRequest("sample-city", "H1", DAY, 400_000, student="S1", school="school-a")
BILL = MedicalRequest("sample-city", "H1", DAY, self_paid_fen=800_000)
FIRE = DisasterRequest("sample-city", "H1", DAY, 200_000, loss_fen=500_000, incident_id="F1")


def under(**rule_changes: int) -> ParameterSet:
    """The sample's parameters with other numbers in the fund's rules."""
    rules = [{**PARAMETERS["fund_rules"]["sample-city"][0], **rule_changes}]
    return read_document({**PARAMETERS, "fund_rules": {"sample-city": rules}}).parameters


def shown(award: Award) -> tuple[int | None, str | None, str | None]:
    return award.amount_fen, award.binding, award.reason


def request_of(asked: dict[str, Any]) -> Request:
    start = (asked["fund"], asked["household"], parse_day(asked["decided_on"]))
    match asked["programme"]:
        case "living":
            return LivingRequest(*start, asked["asked_fen"])
        case "education":
            return EducationRequest(*start, asked["asked_fen"], asked["student"], asked["school"])
        case "disaster":
            return DisasterRequest(
                *start, asked["asked_fen"], asked["loss_fen"], asked["incident_id"]
            )
        case _:
            if "self_paid_fen" in asked:
                return MedicalRequest(*start, asked["self_paid_fen"])
            return MedicalRequest(*start, self_paid(asked["total_fen"], asked["reimbursed_fen"]))


@pytest.mark.parametrize("example", examples_of("award"), ids=name_of)
def test_worked_example(example: dict[str, Any]) -> None:
    asked = example["given"]
    priors = [
        Prior(**{name: value for name, value in prior.items() if name not in ("patient", "school")})
        for prior in asked["prior"]
    ]
    request = request_of(asked)
    award = compute_award(request, used_before(request, priors), SAMPLE)
    dumped = award.model_dump(mode="json")
    assert {name: dumped[name] for name in example["expect"]} == example["expect"]


def test_the_first_of_equals_binds() -> None:
    living = replace(LIVING, asked_fen=200_000)
    assert shown(compute_award(living, Used(404_000), SAMPLE)) == (100_000, "living.single", None)
    both = under(education_annual_fen=600_000)
    student = replace(STUDENT, asked_fen=700_000)
    assert shown(compute_award(student, Used(), both)) == (600_000, "education.annual", None)
    fire = replace(FIRE, asked_fen=300_000, loss_fen=200_000)
    assert shown(compute_award(fire, Used(), SAMPLE)) == (200_000, "disaster.single", None)


def test_a_students_year_counts_in_every_household_and_school() -> None:
    """K13 is per student; another student, another year and another programme do not count."""
    priors = [
        Prior("education", "H2", 2015, 100_000, student="S1"),
        Prior("education", "H1", 2015, 20_000, student="S1"),
        Prior("education", "H1", 2015, 1_000, student="S2"),
        Prior("education", "H1", 2014, 3_000, student="S1"),
        Prior("living", "H1", 2015, 5_000),
        Prior("education", "H1", 2015, 7_000, fund="sample-district", student="S1"),
    ]
    assert used_before(STUDENT, priors) == Used(120_000)
    assert aided_by_others(STUDENT, priors) == {"sample-district": 7_000}


def test_an_incident_is_aided_once_in_whatever_year() -> None:
    """K15: per household and incident, more than 0 fen, in this fund."""
    aided = Prior("disaster", "H1", 2013, 1, incident_id="F1")
    assert used_before(FIRE, [aided]).incident_aided
    for other in (
        replace(aided, amount_fen=0),
        replace(aided, household="H2"),
        replace(aided, incident_id="F2"),
        replace(aided, fund="sample-district"),
    ):
        assert not used_before(FIRE, [other]).incident_aided
    assert shown(compute_award(FIRE, Used(1, incident_aided=True), under(disaster_single_fen=0)))[
        2
    ] == ("INCIDENT_ALREADY_AIDED")


def test_a_prior_of_the_same_fund_by_name_counts() -> None:
    named = Prior("living", "H1", 2015, 9, fund="sample-city")
    assert used_before(LIVING, [named]) == Used(9)


@pytest.mark.parametrize(
    ("request_", "used", "changes", "reason"),
    [
        (LIVING, Used(504_001), {}, "CAP_EXHAUSTED"),
        (LIVING, Used(), {"living_single_fen": 0}, "CAP_EXHAUSTED"),
        (STUDENT, Used(500_000), {}, "CAP_EXHAUSTED"),
        (STUDENT, Used(), {"education_months": 0}, "CAP_EXHAUSTED"),
        (replace(STUDENT, school="nowhere"), Used(500_000), {}, "SCHOOL_COST_MISSING"),
        (BILL, Used(1_000_000), {}, "CAP_EXHAUSTED"),
        (BILL, Used(80_000), {}, "NOTHING_DUE"),
        (BILL, Used(), {"medical_rate_percent": 0}, "NOTHING_DUE"),
        (replace(BILL, self_paid_fen=0), Used(), {}, "NOTHING_DUE"),
        (replace(BILL, self_paid_fen=0), Used(1_000_000), {}, "CAP_EXHAUSTED"),
        (replace(FIRE, loss_fen=0), Used(), {}, "NOTHING_DUE"),
        (replace(FIRE, loss_fen=0), Used(), {"disaster_single_fen": 0}, "CAP_EXHAUSTED"),
    ],
)
def test_the_first_refusal_is_told(
    request_: Request, used: Used, changes: dict[str, int], reason: str
) -> None:
    award = compute_award(request_, used, under(**changes))
    assert shown(award) == (None, None, reason)
    assert award.outcome == ("needs_data" if reason == "SCHOOL_COST_MISSING" else "refused")


@pytest.mark.parametrize("request_", [LIVING, STUDENT, BILL, FIRE])
def test_a_gap_never_yields_an_amount(request_: Request) -> None:
    """Invariant 8: no fund, no rule yet, no rule any more; before any other answer."""
    bounded = {**PARAMETERS["fund_rules"]["sample-city"][0], "effective_to": "2015-11-01"}
    ended = read_document({**PARAMETERS, "fund_rules": {"sample-city": [bounded]}}).parameters
    spent = Used(10**9, incident_aided=True)
    for asked, parameters in (
        (replace(request_, fund="sample-district"), SAMPLE),
        (replace(request_, decided_on=date(2015, 7, 31)), SAMPLE),
        (request_, ended),
    ):
        award = compute_award(asked, spent, parameters)
        assert award.outcome == "no_rule"
        assert shown(award) == (None, None, "NO_RULE_IN_FORCE")


def test_one_month_without_a_standard_is_no_rule_for_living_alone() -> None:
    """Reading 8; a standard that is announced later does not count, nor one that has ended."""
    standards: list[list[dict[str, Any]]] = [
        [],
        [{"effective_from": "2015-01-02", "announced_on": "2014-12-20", "fen": 42_000}],
        [{"effective_from": "2015-01-01", "announced_on": "2015-11-03", "fen": 42_000}],
        [
            {"effective_from": "2015-01-01", "announced_on": "2014-12-20", "fen": 42_000,
             "effective_to": "2015-11-30"},
        ],
    ]  # fmt: skip
    for versions in standards:
        document = {**PARAMETERS, "city_standard": {"sample-city": versions}}
        parameters = read_document(document).parameters
        assert compute_award(LIVING, Used(504_000), parameters).outcome == "no_rule"
        assert compute_award(BILL, Used(), parameters).outcome == "awarded"
    without = read_document({**PARAMETERS, "city_standard": {}}).parameters
    assert compute_award(LIVING, Used(), without).outcome == "no_rule"


def test_a_month_takes_the_standard_of_its_first_day() -> None:
    versions = [
        {"effective_from": "2015-01-01", "announced_on": "2014-12-20", "fen": 42_000},
        {"effective_from": "2015-07-02", "announced_on": "2015-06-20", "fen": 50_000},
    ]
    document = {**PARAMETERS, "city_standard": {"sample-city": versions}}
    award = compute_award(LIVING, Used(), read_document(document).parameters)
    assert award.inputs.standard_by_month_fen == (42_000,) * 7 + (50_000,) * 5


def test_the_trace_names_every_cap_and_every_version() -> None:
    living = replace(LIVING, decided_on=date(2016, 7, 5))
    award = compute_award(living, Used(504_000), SAMPLE)
    assert [(cap.name, cap.limit_fen, cap.used_fen, cap.room_fen) for cap in award.caps] == [
        ("living.single", 100_000, 0, 100_000),
        ("living.annual", 522_000, 504_000, 18_000),
    ]
    assert [(each.name, each.key, each.effective_from) for each in award.parameters] == [
        ("fund_rules", "sample-city", date(2015, 8, 1)),
        ("city_standard", "sample-city", date(2015, 1, 1)),
        ("city_standard", "sample-city", date(2016, 7, 1)),
    ]


def test_an_award_computed_again_keeps_its_year() -> None:
    """Reading 14: a late reimbursement in January is still of the old year."""
    priors = [Prior("living", "H1", 2015, 500_000), Prior("living", "H1", 2016, 1)]
    january = replace(LIVING, decided_on=date(2016, 1, 4))
    used = used_before(january, priors, cap_year=2015)
    award = compute_award(january, used, SAMPLE, cap_year=2015)
    assert (award.cap_year, award.amount_fen) == (2015, 4_000)


def test_more_reimbursed_than_billed_is_no_bill() -> None:
    assert self_paid(10, [3, 7]) == 0
    with pytest.raises(ValueError):
        self_paid(10, [3, 8])
