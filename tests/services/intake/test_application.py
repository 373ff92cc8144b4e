"""The application: taken in, returned with all its defects, sent again, or lapsed."""

from datetime import date, timedelta
from typing import Any

import pytest

from services.intake.decisions.application import (
    AcceptApplication,
    EnterForm,
    LapseApplication,
    ResubmitApplication,
    ReturnApplication,
)
from services.intake.decisions.grounds import GROUNDS_FOR_RETURN
from services.intake.decisions.state import stage_of
from services.intake.facts import (
    ApplicationAccepted,
    ApplicationLapsed,
    ApplicationResubmitted,
    ApplicationReturned,
    ApplicationSubmitted,
    Defect,
    VisitScheduled,
)
from services.intake.main import ROOM
from tests.given_when_then import SUBJECT, TODAY, Given
from tests.services.intake.world import (
    APPLICANT,
    CHILD,
    FUND,
    acceptance,
    actor,
    content,
    evidence,
    fire,
    members,
    new_case,
    on,
    person,
    submission,
    submitted,
    tell,
)

HANDLER = actor("station-1", "handler")


def returned(**changes: Any) -> Given:
    return tell(submitted(**changes), ReturnApplication(by=HANDLER))


def test_an_application_opens_the_case_at_the_workers_union() -> None:
    """K5: the worker applies in writing; the grassroots union holds the case, its parent is the
    station."""
    outcome = new_case().when(submission(), on()).then_types(ApplicationSubmitted)
    fact = outcome.facts[0]
    assert isinstance(fact, ApplicationSubmitted)
    assert (fact.organisation_id, fact.station_id) == ("union-1", "station-1")
    assert CASE_HOLDER(outcome.afterwards().state) == "union-1"


CASE_HOLDER = ROOM.kinds["case"].holder


def test_without_employer_the_station_holds_the_case() -> None:
    """Reading 19: the station takes the grassroots role, and is the station of the case, too."""
    case = tell(new_case(), submission("station-1", without_employer=True))
    application = case.state.application
    assert (application.organisation_id, application.station_id) == ("station-1", "station-1")


@pytest.mark.parametrize(
    ("organisation", "without_employer"), [("station-1", False), ("union-1", True)]
)
def test_the_holder_is_of_the_right_kind(organisation: str, without_employer: bool) -> None:
    """Reading 19: an employed worker applies at their union, others at the station."""
    asked = submission(organisation, without_employer=without_employer)
    new_case().when(asked, on()).refused("wrong_holder")


def test_only_the_holders_handler_submits() -> None:
    asked = submission(by=actor("union-2", "handler"))
    assert new_case().when(asked, on()).refused("wrong_office").status == 403
    new_case().when(submission(by=actor("union-1", "chair")), on()).refused("wrong_office")


def test_no_consent_to_processing_is_a_refusal_at_the_door() -> None:
    """§6: without it nothing is processed, so nothing is recorded either."""
    asked = submission(consents=("publication",))
    assert new_case().when(asked, on()).refused("consent_to_processing_missing").status == 422


def test_an_application_is_never_dated_ahead() -> None:
    """A fact may be entered late, but not before it happened."""
    tomorrow = TODAY + timedelta(days=1)
    new_case().when(submission(applied_on=tomorrow), on()).refused("wrong_day")
    last_week = TODAY - timedelta(days=7)
    new_case().when(submission(applied_on=last_week), on()).then_types(ApplicationSubmitted)


def test_acceptance_names_the_fund_and_orders_both_visits() -> None:
    """K6: one visit by the grassroots union, one by the station."""
    submitted().when(acceptance(), on()).then(
        ApplicationAccepted(
            case_id=SUBJECT,
            household_id="household-1",
            fund=FUND,
            persons=(APPLICANT, CHILD),
        ),
        VisitScheduled(case_id=SUBJECT, visit="grassroots", organisation_id="union-1"),
        VisitScheduled(case_id=SUBJECT, visit="station", organisation_id="station-1"),
    )


def test_without_employer_the_next_higher_organisation_visits_second() -> None:
    """Reading 19: named in the visit order."""
    case = tell(new_case(), submission("station-1", without_employer=True))
    facts = case.when(acceptance(), on()).facts
    orders = [(f.visit, f.organisation_id) for f in facts if isinstance(f, VisitScheduled)]
    assert orders == [("grassroots", "station-1"), ("station", "county")]


def test_an_industrial_union_stands_in_for_a_station() -> None:
    case = tell(new_case(), submission("union-2"))
    case.when(acceptance("industry"), on()).then_types(
        ApplicationAccepted, VisitScheduled, VisitScheduled
    )
    case.when(acceptance("station-1"), on()).refused("wrong_office")


# Defects

TWICE = members()[0].model_copy(update={"person_id": CHILD, "relation": "spouse"})
DEFECTS: dict[str, dict[str, Any]] = {
    "id_proof_missing": {"evidence": evidence("income_proof")},
    "income_proof_missing": {"evidence": evidence("id_proof")},
    "id_number_wrong": {"wrong_id_numbers": (CHILD,)},
    "income_undeclared": {"incomes": content()["incomes"][:1]},
    "applicant_missing": {
        "members": tuple(m.model_copy(update={"relation": "other"}) for m in members())
    },
    "applicant_twice": {
        "members": tuple(m.model_copy(update={"relation": "applicant"}) for m in members())
    },
    "person_twice": {"members": (*members(), TWICE)},
    "student_missing": {"members": tuple(m.model_copy(update={"school": None}) for m in members())},
    "medical_proof_missing": {"programmes": ("medical",)},
    "incident_missing": {"programmes": ("disaster",)},
    "incident_after_application": {"incident": fire(occurred_on=TODAY + timedelta(days=1))},
    "account_missing": {"payee": None},
    "account_unconfirmed": {"account_unconfirmed": True},
}


@pytest.mark.parametrize("code", DEFECTS)
def test_a_defect_that_the_machine_finds_stands_against_acceptance(code: str) -> None:
    """K5: it is named with its field, on the work list already, and the return says the same."""
    case = submitted(**DEFECTS[code])
    listed = case.work()["decide_application"].document["defects"]
    assert {defect["code"] for defect in listed} == {code}
    refusal = case.when(acceptance(), on()).refused("defects_remain")
    assert code in refusal.en
    stated = case.when(ReturnApplication(by=HANDLER), on()).facts[0]
    assert isinstance(stated, ApplicationReturned)
    assert {defect.code for defect in stated.defects} == {code}


def test_every_ground_is_told_by_a_test() -> None:
    """The list of grounds and the defects above are the same, one withdrawn consent aside."""
    grounds = {ground.__name__ for ground in GROUNDS_FOR_RETURN}
    assert grounds == {
        *(DEFECTS.keys() - {"applicant_missing", "applicant_twice"}),
        "applicant_unclear",
        "processing_consent_missing",
    }


def test_all_defects_are_returned_at_once_with_ten_working_days_to_answer() -> None:
    """The machine's and the person's together, so that nobody is sent back twice."""
    case = submitted(payee=None, evidence=())
    named = (Defect(code="address_unclear", field="address"),)
    case.when(ReturnApplication(by=HANDLER, named=named), on()).then(
        ApplicationReturned(
            case_id=SUBJECT,
            defects=(
                Defect(code="id_proof_missing", field="evidence"),
                Defect(code="income_proof_missing", field="evidence"),
                Defect(code="account_missing", field="payee"),
                *named,
            ),
            # Monday 3 March 2025, and ten working days on, without the weekends between.
            answer_by=date(2025, 3, 17),
        )
    )


def test_working_days_skip_holidays_and_count_make_up_days() -> None:
    """Returned before the May holiday of 2025: 1 to 5 May rest, Sunday 27 April is worked."""
    today = date(2025, 4, 25)
    stated = submitted(payee=None).when(ReturnApplication(by=HANDLER), on(today)).facts[0]
    assert isinstance(stated, ApplicationReturned)
    assert stated.answer_by == date(2025, 5, 13)


def test_nothing_is_returned_without_a_defect_nor_for_an_unknown_one() -> None:
    submitted().when(ReturnApplication(by=HANDLER), on()).refused("defects_missing")
    unknown = (Defect(code="i_do_not_like_it", field="members"),)
    submitted().when(ReturnApplication(by=HANDLER, named=unknown), on()).refused("defect_unknown")


def test_returned_in_a_year_without_published_holidays_is_refused() -> None:
    """Reading 15: an unknown year is an error, never "no holidays"."""
    around = on(date(2091, 3, 1))
    submitted(payee=None).when(ReturnApplication(by=HANDLER), around).refused(
        "holidays_unpublished"
    )


def test_the_answer_is_the_whole_application_of_the_same_day() -> None:
    """Sent in again, it is still the application of its first day, at the same holder."""
    case = returned(payee=None)
    again = ResubmitApplication(by=actor("union-1", "handler"), **content())
    outcome = case.when(again, on(TODAY + timedelta(days=3)))
    outcome.then_types(ApplicationResubmitted)
    state = outcome.afterwards().state
    assert stage_of(state) == "submitted"
    assert state.application.applied_on == TODAY
    assert state.application.payee is not None


def test_an_answer_after_the_last_day_is_late() -> None:
    case = returned(payee=None)
    again = ResubmitApplication(by=actor("union-1", "handler"), **content())
    case.when(again, on(date(2025, 3, 17))).then_types(ApplicationResubmitted)
    case.when(again, on(date(2025, 3, 18))).refused("answer_late")


def test_only_what_was_returned_is_sent_again_and_only_by_the_holder() -> None:
    again = ResubmitApplication(by=actor("union-1", "handler"), **content())
    submitted().when(again, on()).refused("wrong_stage")
    other = ResubmitApplication(by=HANDLER, **content())
    returned(payee=None).when(other, on()).refused("wrong_office")


def test_an_unanswered_return_lapses_on_the_day_after() -> None:
    """The timer stands at the day after the last one; before it nothing happens."""
    case = returned(payee=None)
    (timer,) = case.views("timer")
    assert timer.due_on == date(2025, 3, 18)
    told = ROOM.timers[timer.document["timer"]](SUBJECT, timer.due_on)
    assert told.command == LapseApplication(occurred_on=timer.due_on)
    case.when(LapseApplication(), on(date(2025, 3, 17))).then()
    lapsed = case.when(told.command, on(timer.due_on))
    lapsed.then(ApplicationLapsed(case_id=SUBJECT, answer_by=date(2025, 3, 17)))
    assert stage_of(lapsed.afterwards().state) == "lapsed"
    assert lapsed.afterwards().work() == {}
    assert lapsed.afterwards().views("timer") == []


# One file per household


def test_a_member_in_another_open_file_stands_against_acceptance() -> None:
    """One file per household: several hardship workers in one home share it."""
    around = on(guards={f"open_file|{CHILD}": 1})
    refusal = submitted().when(acceptance(), around).refused("member_in_open_file")
    assert refusal.field == "members[1]"
    # It can't be accepted as it is, so it can be returned for that.
    stated = submitted().when(ReturnApplication(by=HANDLER), around).facts[0]
    assert isinstance(stated, ApplicationReturned)
    assert stated.defects == (Defect(code="member_in_open_file", field="members[1]"),)


def test_a_paper_form_is_on_file_if_its_applicant_is() -> None:
    """Two applications are of one household when the applicant's last file is; another household
    that counts a member of an open file is refused, and nobody takes it for entered."""
    form = EnterForm(**dict(submission()))
    free = {f"open_file|{person_id}": 0 for person_id in (APPLICANT, CHILD)}
    new_case().when(form, on(guards=free)).then_types(ApplicationSubmitted)
    for taken, code, field in (
        ((APPLICANT, CHILD), "applicant_in_open_file", "members[0]"),
        ((APPLICANT,), "applicant_in_open_file", "members[0]"),
        ((CHILD,), "member_in_open_file", "members[1]"),
    ):
        guards = free | {f"open_file|{person_id}": 1 for person_id in taken}
        assert new_case().when(form, on(guards=guards)).refused(code).field == field


def test_acceptance_holds_every_members_guard_at_one() -> None:
    """Two applications accepted at once can't both pass: the write itself compares."""
    answer = submitted().when(acceptance(), on()).answer
    conditions = {(c.key, c.maximum) for c in getattr(answer, "conditions", ())}
    assert conditions == {(f"open_file|{APPLICANT}", 1), (f"open_file|{CHILD}", 1)}


def test_acceptance_makes_the_household_the_last_one_of_its_members() -> None:
    """Two applications are of one household when the applicant's last file is."""
    case = tell(submitted(), acceptance())
    (accepted,) = (r for r in case.recorded if r.type.endswith("ApplicationAccepted"))
    fact = accepted.read(ROOM.reads)
    rows = ROOM.own_rows(fact, accepted)
    assert rows == [
        {"household_id": "household-1", "person_id": APPLICANT},
        {"household_id": "household-1", "person_id": CHILD},
    ]
    assert ROOM.guard_changes(fact, accepted) == [
        (f"open_file|{APPLICANT}", 1),
        (f"open_file|{CHILD}", 1),
    ]


def test_only_the_stations_handler_decides() -> None:
    asked = AcceptApplication(by=actor("union-1", "handler"), fund=FUND)
    submitted().when(asked, on()).refused("wrong_office")
    asked = AcceptApplication(by=actor("station-1", "chair"), fund=FUND)
    submitted().when(asked, on()).refused("wrong_office")
    assert person("station-1", "handler") == HANDLER.person


def test_what_is_accepted_is_not_accepted_again() -> None:
    tell(submitted(), acceptance()).when(acceptance(), on()).refused("wrong_stage")
