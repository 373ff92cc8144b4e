"""Two visits, the values that hold, and the outcome of a referral."""

from datetime import date, timedelta
from typing import Any

import pytest

from services.intake.decisions.form import TakeProposal
from services.intake.decisions.state import stage_of
from services.intake.decisions.visits import RecordReliefOutcome
from services.intake.facts import (
    Asset,
    DeclaredIncome,
    FindingAsked,
    FoundIncome,
    ReliefOutcomeRecorded,
    ReliefReferralMade,
    VisitCompleted,
    VisitsReconciled,
)
from shared.directory import Office
from tests.given_when_then import SUBJECT, TODAY, Given, sealed
from tests.services.intake.world import (
    APPLICANT,
    CHILD,
    LONG_AGO,
    a_visit,
    acceptance,
    accepted,
    actor,
    content,
    difference,
    fire,
    found,
    new_case,
    on,
    person,
    reconciled,
    reconciliation,
    seen,
    submission,
    tell,
    visited,
)

VISITOR = actor("union-1", "visitor")
STATION_VISITOR = actor("station-1", "visitor")


def test_each_visit_is_on_its_organisations_list() -> None:
    """K6: the grassroots union and the station each have to visit."""
    work = accepted().work()
    assert {task: view.organisation for task, view in work.items()} == {
        "visit_grassroots": "union-1",
        "visit_station": "station-1",
    }
    members = work["visit_station"].document["members"]
    assert [m["person_id"] for m in members] == [APPLICANT, CHILD]


def test_a_visit_establishes_every_members_income() -> None:
    """K6: a member without income is told by an explicit zero."""
    accepted().when(a_visit("grassroots", VISITOR), on()).then_types(VisitCompleted)
    without_child = a_visit("grassroots", VISITOR, incomes=found()[:1])
    assert CHILD in accepted().when(without_child, on()).refused("incomes_incomplete").en
    stranger = FoundIncome(person_id="stranger", kind="wage", income_12m_fen=1)
    with_stranger = a_visit("grassroots", VISITOR, incomes=(*found(), stranger))
    accepted().when(with_stranger, on()).refused("incomes_incomplete")


def test_a_visit_is_made_by_the_ordered_organisation() -> None:
    """K6: handler or visitor of the organisation that the visit order names."""
    accepted().when(a_visit("grassroots", STATION_VISITOR), on()).refused("wrong_office")
    accepted().when(a_visit("grassroots", actor("union-1", "chair")), on()).refused("wrong_office")
    by_handler = a_visit("grassroots", actor("union-1", "handler"))
    accepted().when(by_handler, on()).then_types(VisitCompleted)


def test_visitors_held_their_office_on_the_day_of_the_visit() -> None:
    newcomer = Office("newcomer", "union-1", "visitor", TODAY)
    told = a_visit("grassroots", VISITOR, visitors=("newcomer",))
    accepted().when(told, on(TODAY, newcomer)).then_types(VisitCompleted)
    accepted().when(told, on()).refused("visitor_without_office")
    nobody = a_visit("grassroots", VISITOR, visitors=())
    accepted().when(nobody, on()).refused("visitors_missing")


def test_the_two_visits_have_nobody_in_common() -> None:
    """Reading 18: by different organisations and different people."""
    both = Office(VISITOR.person, "station-1", "visitor", LONG_AGO)
    case = tell(accepted(), a_visit("grassroots", VISITOR))
    told = a_visit("station", STATION_VISITOR, visitors=(STATION_VISITOR.person, VISITOR.person))
    case.when(told, on(TODAY, both)).refused("visits_not_apart")


def test_a_visit_is_made_once_and_between_acceptance_and_today() -> None:
    """A fact may be entered late, but never across one that it depends on."""
    case = tell(accepted(), a_visit("grassroots", VISITOR))
    case.when(a_visit("grassroots", VISITOR), on()).refused("visited_already")
    later = on(TODAY + timedelta(days=4))
    day = TODAY + timedelta(days=2)
    case.when(a_visit("station", STATION_VISITOR, visited_on=day), later).then_types(VisitCompleted)
    before = a_visit("station", STATION_VISITOR, visited_on=TODAY - timedelta(days=1))
    case.when(before, later).refused("wrong_day")
    ahead = a_visit("station", STATION_VISITOR, visited_on=TODAY + timedelta(days=9))
    case.when(ahead, later).refused("wrong_day")


def test_no_visit_before_acceptance() -> None:
    """Reading 16: the order of the steps."""
    case = tell(new_case(), submission())
    case.when(a_visit("grassroots", VISITOR), on()).refused("wrong_stage")


# Reconciliation


def test_the_values_that_hold_are_stated_with_their_sum() -> None:
    outcome = visited().when(reconciliation(), on()).then_types(VisitsReconciled)
    fact = outcome.facts[0]
    assert isinstance(fact, VisitsReconciled)
    assert fact.income_12m_fen == 720_000
    assert fact.members == 2
    assert fact.visitors == (VISITOR.person, STATION_VISITOR.person)
    assert fact.applied_on == TODAY
    assert stage_of(outcome.afterwards().state) == "determining"


DIFFERENT: dict[str, dict[str, Any]] = {
    f"incomes.{APPLICANT}.wage": {"incomes": found(720_001)},
    "assets.deposit": {"assets": (Asset(kind="deposit", value_fen=299_999),)},
    "assets.vehicle": {
        "assets": (
            Asset(kind="deposit", value_fen=300_000),
            Asset(kind="vehicle", value_fen=1),
        )
    },
    "causes": {"causes": ("schooling", "illness")},
    "incident": {"incident": seen(fire())},
    "relief": {"relief": "ceased"},
}


@pytest.mark.parametrize("field", DIFFERENT)
@pytest.mark.parametrize("source", ["grassroots", "station"])
def test_what_differs_needs_a_reason(field: str, source: str) -> None:
    """Every difference between declaration and visits is resolved with a reason."""
    case = visited(**{source: DIFFERENT[field]})
    assert case.work()["reconcile"].document["differences"] == [field]
    assert field in case.when(reconciliation(), on()).refused("differences_unresolved").en
    told = reconciliation(differences=(difference(field),))
    case.when(told, on()).then_types(VisitsReconciled)


@pytest.mark.parametrize("field", DIFFERENT)
def test_a_value_that_nobody_said_needs_a_reason(field: str) -> None:
    """Where all three agree, another value that holds is a difference, too."""
    held = {**DIFFERENT[field]}
    case = visited()
    assert case.work()["reconcile"].document["differences"] == []
    assert field in case.when(reconciliation(**held), on()).refused("differences_unresolved").en
    told = reconciliation(**held, differences=(difference(field),))
    case.when(told, on()).then_types(VisitsReconciled)


def test_all_unresolved_differences_are_named_at_once() -> None:
    case = visited(grassroots=DIFFERENT["causes"], station=DIFFERENT["relief"])
    refusal = case.when(reconciliation(), on()).refused("differences_unresolved")
    assert "causes, relief" in refusal.en


def test_what_does_not_differ_needs_no_reason() -> None:
    told = reconciliation(differences=(difference("causes"),))
    visited().when(told, on()).refused("difference_unknown")


def test_lines_are_compared_as_sums_and_zero_is_no_line() -> None:
    """Two wages of one member are one income; a member with nothing may be told by any kind."""
    split = (
        FoundIncome(person_id=APPLICANT, kind="wage", income_12m_fen=300_000),
        FoundIncome(person_id=APPLICANT, kind="wage", income_12m_fen=420_000),
        FoundIncome(person_id=CHILD, kind="transfer", income_12m_fen=0),
    )
    case = visited(grassroots={"incomes": split})
    assert case.work()["reconcile"].document["differences"] == []
    uneven = DeclaredIncome(person_id=APPLICANT, kind="wage", months_fen=(720_000, *(0,) * 11))
    declared = (uneven, content()["incomes"][1])
    assert visited(incomes=declared).work()["reconcile"].document["differences"] == []


def test_a_finding_needs_its_reasons() -> None:
    """Reading 5: what no published test decides, a person finds, with reasons."""
    bare = reconciliation(finding_reasons=None)
    visited().when(bare, on()).refused("reasons_missing")
    open_end = reconciliation(finding_reasons=None, hardship_after_relief=None)
    visited().when(open_end, on()).then_types(VisitsReconciled)


def test_the_incident_keeps_the_id_and_description_of_the_application() -> None:
    """One incident of a case is one incident for the cap of K15."""
    told = seen(fire())
    case = visited(grassroots={"incident": told}, station={"incident": told}, incident=fire())
    held = reconciliation(incident=seen(fire(), hardship_found=True))
    fact = case.when(held, on()).facts[0]
    assert isinstance(fact, VisitsReconciled)
    assert fact.incident == fire(hardship_found=True)


def test_an_incident_that_only_a_visit_found_gets_one_id() -> None:
    told = seen(fire())
    case = visited(grassroots={"incident": told}, station={"incident": told})
    first, second = (visit.incident.incident_id for visit in case.state.visits)
    assert first == second


def test_an_incident_after_the_application_is_no_ground() -> None:
    """Eligibility is decided for the application day (K3)."""
    later = seen(fire(occurred_on=TODAY + timedelta(days=1)))
    told = reconciliation(incident=later, differences=(difference("incident"),))
    visited().when(told, on()).refused("incident_after_application")


def test_only_the_stations_handler_reconciles_and_only_after_both_visits() -> None:
    visited().when(reconciliation("county"), on()).refused("wrong_office")
    half = tell(accepted(), a_visit("grassroots", VISITOR))
    half.when(reconciliation(), on()).refused("wrong_stage")


# What eligibility leaves open


def proposed(outcome: Any, reason: str | None) -> TakeProposal:
    return TakeProposal(determination_id="determination-1", outcome=outcome, reason=reason)


def referred() -> Given:
    return tell(reconciled(), proposed("refer", "RELIEF_NOT_SOUGHT"))


def test_a_finding_asked_leads_back_to_reconciliation() -> None:
    """Reading 5: without a human finding the engine answers needs_determination."""
    asked = proposed("needs_determination", "AFTER_RELIEF_UNKNOWN")
    outcome = reconciled().when(asked, on())
    outcome.then(
        FindingAsked(
            case_id=SUBJECT, determination_id="determination-1", reason="AFTER_RELIEF_UNKNOWN"
        )
    )
    case = outcome.afterwards()
    assert case.work()["reconcile"].document["reason"] == "AFTER_RELIEF_UNKNOWN"
    again = case.when(reconciliation(), on()).then_types(VisitsReconciled).afterwards()
    assert stage_of(again.state) == "determining"


def test_below_the_line_without_relief_the_household_is_referred() -> None:
    """Reading 4: refer, not reject; the referral stays open until its outcome is known."""
    outcome = reconciled().when(proposed("refer", "RELIEF_NOT_SOUGHT"), on())
    outcome.then(ReliefReferralMade(case_id=SUBJECT, reason="RELIEF_NOT_SOUGHT"))
    assert set(outcome.afterwards().work()) == {"record_relief_outcome"}


def test_the_outcome_of_the_referral_is_recorded_with_reasons_for_a_finding() -> None:
    """Eligibility then decides again with it (reading 4)."""
    told: dict[str, Any] = {"by": actor("station-1", "handler"), "relief": "refused"}
    bare = RecordReliefOutcome(**told, hardship_after_relief=True, reasons=None)
    referred().when(bare, on()).refused("reasons_missing")
    reasons = sealed("free_text", "reasons")
    said = RecordReliefOutcome(**told, hardship_after_relief=True, reasons=reasons)
    outcome = referred().when(said, on())
    outcome.then(
        ReliefOutcomeRecorded(
            case_id=SUBJECT, relief="refused", hardship_after_relief=True, reasons=reasons
        )
    )
    assert stage_of(outcome.afterwards().state) == "determining"
    reconciled().when(said, on()).refused("wrong_stage")


def test_after_the_outcome_nobodys_earlier_word_on_relief_counts() -> None:
    """Asked for a finding then, reconciliation holds the outcome without another reason."""
    told = RecordReliefOutcome(
        by=actor("station-1", "handler"), relief="ceased", hardship_after_relief=None, reasons=None
    )
    case = tell(referred(), told, proposed("needs_determination", "AFTER_RELIEF_UNKNOWN"))
    case.when(reconciliation(relief="ceased"), on()).then_types(VisitsReconciled)
    case.when(reconciliation(relief="receiving"), on()).refused("differences_unresolved")


def test_nothing_is_reconciled_beside_a_proposal_that_may_be_confirmed() -> None:
    """The class would otherwise be confirmed on values that hold no more."""
    case = tell(reconciled(), proposed("eligible", None))
    case.when(reconciliation(), on()).refused("wrong_stage")


def test_a_case_that_has_ended_asks_nothing_any_more() -> None:
    """Heard too late: the referral of a rejected case leads to nothing."""
    lapsed = tell(new_case(), submission())
    lapsed.when(proposed("refer", "RELIEF_NOT_SOUGHT"), on()).then()


def test_without_employer_the_centre_makes_the_second_visit() -> None:
    """Reading 19."""
    case = tell(new_case(), submission("station-1", without_employer=True), acceptance())
    assert case.work()["visit_station"].organisation == "county"
    told = a_visit("station", actor("county", "visitor"))
    case.when(told, on(date(2025, 3, 4))).then_types(VisitCompleted)
    assert person("county", "visitor") in told.visitors
