"""The engine proposes a class on the values that hold; a reviewer of the centre confirms it."""

from datetime import date
from typing import Any

import pytest

from services.eligibility.decisions.determination import (
    ConfirmEligibility,
    DetermineAfterRelief,
    TakeRejection,
)
from services.eligibility.facts import EligibilityConfirmed, EligibilityDetermined
from shared.fact import Actor
from tests.given_when_then import SUBJECT, Outcome, given
from tests.services.eligibility.world import (
    DECISIONS,
    FUND,
    HANDLER,
    PLACE,
    REVIEWER,
    SAMPLE,
    determined,
    situation,
    values,
)
from tests.worked_examples import examples_of, name_of


def proposal(outcome: Outcome) -> EligibilityDetermined:
    fact = outcome.facts[-1]
    assert isinstance(fact, EligibilityDetermined)
    return fact


def confirm(determination_id: str = "id-1", by: Actor = REVIEWER) -> ConfirmEligibility:
    return ConfirmEligibility(by=by, determination_id=determination_id)


@pytest.mark.parametrize("example", examples_of("eligibility"), ids=name_of)
def test_the_service_proposes_what_the_worked_examples_say(example: dict[str, Any]) -> None:
    """The same functions decide inside the services (DOMAIN §7)."""
    asked, expected = example["given"], example["expect"]
    incident = asked["incident"] or {"kind": None, "occurred_on": None, "hardship_found": None}
    command = values(
        **{
            name: asked[name]
            for name in ("fund", "residence", "members", "income_12m_fen", "relief")
        },
        applied_on=date.fromisoformat(asked["applied_on"]),
        causes=tuple(asked["causes"]),
        hardship_after_relief=asked["hardship_after_relief"],
        incident_kind=incident["kind"],
        incident_on=incident["occurred_on"] and date.fromisoformat(incident["occurred_on"]),
        hardship_found=incident["hardship_found"],
    )
    found = proposal(given(DECISIONS).when(command, situation(date(2019, 1, 1))))
    told = {**found.model_dump(mode="json"), "line": found.line_fen}
    for name, value in expected.items():
        assert told[name] == (list(value) if isinstance(value, tuple) else value), name


def test_a_proposal_shows_its_line_its_source_and_both_sides_of_each_comparison() -> None:
    """Comparison in integer fen over twelve months (reading 2), with the versions it used."""
    found = proposal(given(DECISIONS).when(values(), situation()))
    assert (found.outcome, found.classes, found.line_fen) == ("eligible", ("low_income",), 42_000)
    below, within = found.comparisons
    assert (below.left, below.relation, below.right, below.holds) == (
        100_000,
        "<",
        12 * 3 * 42_000,
        True,
    )
    assert (within.left, within.right, within.holds) == (10_000_000, 150 * below.right, False)
    assert [(v.name, v.scope, v.announced_on, v.source) for v in found.versions] == [
        ("lines", PLACE, date(2014, 12, 20), None),
        ("fund_rules", FUND, date(2015, 8, 1), SAMPLE["fund_rules"][FUND][0].get("source")),
    ]
    assert found.centre_id == "centre"


def test_without_a_centre_in_between_the_city_federation_acts_as_one() -> None:
    """The centre is the nearest ancestor of that kind, else the root (K10)."""
    assert proposal(
        given(DECISIONS).when(values(organisation_id="union-m"), situation())
    ).centre_id == ("city")


def test_a_gap_in_the_rules_proposes_no_class() -> None:
    """A gap means "no rule", never a default (reading 3)."""
    found = proposal(given(DECISIONS).when(values(residence="990899"), situation()))
    assert (found.outcome, found.classes, found.comparisons) == ("no_rule", (), ())


def test_values_reconciled_again_supersede_an_earlier_proposal() -> None:
    """Only the latest determination can be confirmed."""
    again = determined().when(values(income_12m_fen=9_000_000), situation())
    assert proposal(again).outcome == "not_eligible"
    later = again.afterwards()
    later.and_(proposal(again).model_copy(update={"determination_id": "id-2"})).when(
        confirm("id-1"), situation()
    ).refused("determination_superseded")


def test_the_outcome_of_a_referral_is_put_into_the_same_values() -> None:
    """The referral stays open until its outcome is known, then it is decided again (reading 4)."""
    referred = determined(relief="not_applied", hardship_after_relief=None)
    assert referred.state.determined.outcome == "refer"
    outcome = DetermineAfterRelief(relief="refused", hardship_after_relief=True)
    found = proposal(referred.when(outcome, situation()))
    assert (found.outcome, found.classes, found.relief) == ("eligible", ("low_income",), "refused")
    assert found.income_12m_fen == referred.state.determined.income_12m_fen


def test_a_reviewer_of_the_centre_confirms() -> None:
    """A person confirms what the engine proposes (reading 17)."""
    confirmed = determined().when(confirm(), situation())
    confirmed.then(
        EligibilityConfirmed(
            case_id=SUBJECT,
            determination_id="id-1",
            outcome="eligible",
            classes=("low_income",),
            primary="low_income",
            reason=None,
            reviewer="reviewer",
        )
    )
    after = confirmed.afterwards()
    after.when(confirm(), situation()).refused("already_confirmed")
    after.when(values(), situation()).refused("already_confirmed")
    assert after.work() == {}


def test_not_eligible_is_confirmed_too() -> None:
    determined(income_12m_fen=9_000_000).when(confirm(), situation()).then_types(
        EligibilityConfirmed
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"relief": "not_applied", "hardship_after_relief": None},
        {"hardship_after_relief": None},
    ],
)
def test_an_open_referral_or_finding_cannot_be_confirmed(changes: dict[str, Any]) -> None:
    """Refer, not reject (reading 4); the engine never passes or fails silently (reading 5)."""
    case = determined(**changes)
    assert case.work() == {}
    case.when(confirm(), situation()).refused("determination_open")


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (HANDLER, "wrong_office"),
        (Actor("reviewer", "reviewer", "city"), "wrong_office"),
        (Actor("approver", "approver", "centre"), "wrong_office"),
        (Actor("visitor-2", "reviewer", "centre"), "duties_apart"),
    ],
)
def test_only_the_centres_reviewer_who_did_not_visit_confirms(by: Actor, code: str) -> None:
    """Reviewer and visitor are different people (reading 18)."""
    determined().when(confirm(by=by), situation()).refused(code)


def test_what_waits_for_a_reviewer_stands_on_the_centres_list() -> None:
    work = determined().work()["confirm_eligibility"]
    assert (work.organisation, work.role) == ("centre", "reviewer")
    assert work.document["determination_id"] == "id-1"


def test_a_case_rejected_before_a_class_is_confirmed_leaves_the_list() -> None:
    rejected = determined().when(TakeRejection(rule="K6"), situation()).afterwards()
    assert rejected.work() == {}
    rejected.when(confirm(), situation()).refused("case_rejected")
    rejected.when(values(), situation()).refused("case_rejected")
