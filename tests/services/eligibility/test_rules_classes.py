"""Classes of hardship: each threshold to the fen, each reason, each gap (K1-K4)."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.eligibility.rules.classes import (
    Cause,
    Eligibility,
    EligibilityQuestion,
    Incident,
    Relief,
    determine,
)
from services.eligibility.rules.parameter_document import read_document
from services.eligibility.rules.parameters import (
    AnnouncedParameter,
    FundRules,
    MonthlySum,
    ParameterSet,
)
from shared.dated import parse_day
from tests.worked_examples import PARAMETERS, examples_of, name_of

SAMPLE = read_document(PARAMETERS).parameters
RULES = SAMPLE.fund_rules["sample-city"].in_order[0].value
LINE_FEN = 42_000
DAY = date(2015, 10, 8)
THREE = EligibilityQuestion(
    fund="sample-city",
    applied_on=DAY,
    residence="990802",
    members=3,
    income_12m_fen=0,
    causes=(),
    incident=None,
    relief="receiving",
    hardship_after_relief=True,
)
FIRE = Incident("sudden_event", date(2015, 10, 1), hardship_found=True)
UNJUDGED = replace(FIRE, hardship_found=None)
THRESHOLD_FEN = 12 * 3 * LINE_FEN
MARGIN_FEN = THRESHOLD_FEN * 3 // 2


def ask(**changes: Any) -> Eligibility:
    return determine(replace(THREE, **changes), SAMPLE)


def parameters_with(line_fen: int, marginal_percent: int) -> ParameterSet:
    rules = FundRules.model_validate({**RULES.model_dump(), "marginal_percent": marginal_percent})
    begin = date(2015, 8, 1)
    line = AnnouncedParameter(
        name="lines",
        key="990802",
        effective_from=begin,
        announced_on=begin,
        value=MonthlySum(fen=line_fen),
    )
    return ParameterSet.of_announced(
        [line, line.model_copy(update={"name": "fund_rules", "key": "sample-city", "value": rules})]
    )


@pytest.mark.parametrize("example", examples_of("eligibility"), ids=name_of)
def test_worked_example(example: dict[str, Any]) -> None:
    asked = example["given"]
    incident = asked["incident"]
    found = determine(
        EligibilityQuestion(
            fund=asked["fund"],
            applied_on=parse_day(asked["applied_on"]),
            residence=asked["residence"],
            members=asked["members"],
            income_12m_fen=asked["income_12m_fen"],
            causes=tuple(asked["causes"]),
            incident=incident
            and Incident(
                incident["kind"], parse_day(incident["occurred_on"]), incident["hardship_found"]
            ),
            relief=asked["relief"],
            hardship_after_relief=asked["hardship_after_relief"],
        ),
        SAMPLE,
    )
    dumped = found.model_dump(mode="json")
    assert {name: dumped[name] for name in example["expect"]} == example["expect"]


def test_all_matching_classes_are_kept_in_order() -> None:
    """Reading 6: low_income and marginal exclude each other, stricken joins either."""
    assert ask(incident=FIRE).classes == ("low_income", "stricken")
    found = ask(income_12m_fen=THRESHOLD_FEN, causes=("illness",), incident=FIRE)
    assert (found.classes, found.primary) == (("marginal", "stricken"), "marginal")


def test_what_is_undetermined_is_told_even_beside_a_class() -> None:
    """Reading 5: it never passes silently."""
    found = ask(income_12m_fen=THRESHOLD_FEN, causes=("illness",), incident=UNJUDGED)
    assert (found.outcome, found.undetermined) == ("eligible", ("TEST_UNPUBLISHED",))
    found = ask(hardship_after_relief=None, incident=FIRE)
    assert (found.outcome, found.undetermined) == ("eligible", ("AFTER_RELIEF_UNKNOWN",))


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"incident": UNJUDGED, "hardship_after_relief": None}, "needs_determination",
         "TEST_UNPUBLISHED"),
        ({"incident": UNJUDGED, "relief": "not_applied"}, "needs_determination",
         "TEST_UNPUBLISHED"),
        ({"hardship_after_relief": None, "relief": "refused"}, "needs_determination",
         "AFTER_RELIEF_UNKNOWN"),
        ({"hardship_after_relief": None, "relief": "not_applied"}, "refer", "RELIEF_NOT_SOUGHT"),
        ({"hardship_after_relief": True, "relief": "not_applied"}, "refer", "RELIEF_NOT_SOUGHT"),
        ({"hardship_after_relief": False, "relief": "ceased"}, "not_eligible",
         "HARDSHIP_RELIEVED"),
        ({"income_12m_fen": MARGIN_FEN}, "not_eligible", "CAUSE_MISSING"),
        ({"income_12m_fen": MARGIN_FEN + 1, "causes": ("illness",)}, "not_eligible",
         "ABOVE_MARGIN"),
        ({"income_12m_fen": THRESHOLD_FEN, "hardship_after_relief": None}, "not_eligible",
         "CAUSE_MISSING"),
    ],
)  # fmt: skip
def test_without_a_class_the_first_reason_is_told(
    changes: dict[str, Any], outcome: str, reason: str
) -> None:
    found = ask(**changes)
    assert (found.outcome, found.reason, found.classes) == (outcome, reason, ())


@pytest.mark.parametrize("relief", ["receiving", "refused", "ceased"])
def test_relief_counts_as_asked_for_whatever_came_of_it(relief: Relief) -> None:
    assert ask(relief=relief).primary == "low_income"


@pytest.mark.parametrize(
    "changes",
    [{"fund": "sample-district"}, {"residence": "990999"}, {"applied_on": date(2015, 7, 31)}],
)
def test_a_gap_answers_no_rule_before_anything_else(changes: dict[str, Any]) -> None:
    found = ask(incident=UNJUDGED, **changes)
    assert (found.outcome, found.reason) == ("no_rule", "NO_RULE_IN_FORCE")
    assert found.comparison is None


def test_the_trace_shows_both_sides_and_the_versions() -> None:
    compared = ask(income_12m_fen=2_000_000).comparison
    assert compared is not None
    assert (compared.line.key, compared.line.effective_from) == ("990802", date(2015, 1, 1))
    assert (compared.rules.key, compared.rules.announced_on) == ("sample-city", date(2015, 8, 1))
    assert (compared.income_12m_fen, compared.threshold_fen) == (2_000_000, THRESHOLD_FEN)
    assert (compared.income_times_100, compared.margin_times_100) == (
        200_000_000,
        150 * THRESHOLD_FEN,
    )


@given(
    members=st.integers(1, 20),
    line_fen=st.integers(1, 10**7),
    percent=st.integers(0, 150),
    cause=st.sampled_from(["illness", "schooling", "disability", "single_parent"]),
)
def test_one_fen_either_side_decides(
    members: int, line_fen: int, percent: int, cause: Cause
) -> None:
    """Invariant 5; the margin need not fall on a whole fen, and then the fen below it is in."""
    parameters = parameters_with(line_fen, percent)
    threshold_fen = 12 * members * line_fen
    margin_fen = (100 + percent) * threshold_fen // 100

    def primary(income_fen: int) -> str | None:
        question = replace(THREE, members=members, income_12m_fen=income_fen, causes=(cause,))
        return determine(question, parameters).primary

    assert primary(threshold_fen - 1) == "low_income"
    assert primary(threshold_fen) == "marginal"
    assert primary(margin_fen) == "marginal"
    assert primary(margin_fen + 1) is None
