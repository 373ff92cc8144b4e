"""The rules on notices and objections (K7, K8, readings 15, 16, 18, 20, invariant 2)."""

from datetime import date, timedelta

import pytest

from services.notice.decisions.commands import RaiseObjection
from services.notice.facts import (
    FileClosed,
    FormTakenOver,
    NoticeElapsed,
    NoticePosted,
    NoticeRemoved,
    ObjectionDismissed,
    ObjectionInvestigated,
    ObjectionRaised,
    ObjectionUpheld,
    RegistrationTakenOver,
)
from services.notice.period import NoticeRule
from services.notice.storage import stage_of
from shared.dated import Version, Versions
from shared.fact import SYSTEM, Actor
from tests.given_when_then import SUBJECT, Given, given, sealed
from tests.services.notice.cases import (
    DAY,
    NOTICES,
    PUBLISHED,
    REVIEWER,
    STATION_HANDLER,
    UNION_HANDLER,
    a_form,
    around,
    closed,
    decision,
    elapse,
    form,
    investigation,
    objection,
    post,
    posted,
    registered,
    take_over,
)

LAST = date(2025, 3, 10)  # DAY + 5 is a Saturday, so the notice runs to the Monday after it
AFTER = LAST + timedelta(days=1)


# The form


def test_a_form_is_taken_over_once() -> None:
    case = given(NOTICES).when(take_over(), around()).then(form()).afterwards()
    case.when(take_over(), around()).then()


def test_without_consent_to_publication_nothing_is_noticed() -> None:
    """Reading 20: separate consent to publication is a precondition of a notice."""
    given(NOTICES).when(take_over(consent=False), around()).refused("no_publication_consent")
    given(NOTICES).when(post(), around()).refused("unknown")


def test_a_newer_form_takes_the_notices_of_the_older_down() -> None:
    """Reading 16: any change of a noticed fact voids both notices."""
    case = posted().when(take_over("hash-2"), around(DAY))
    case.then_types(FormTakenOver, NoticeRemoved, NoticeRemoved)
    after = case.afterwards()
    assert after.work().keys() == {"post_notice_workplace", "post_notice_station"}
    assert after.views("timer") == []
    again = after.when(post(), around(DAY)).facts[0]
    assert isinstance(again, NoticePosted)
    assert again.form_hash == "hash-2"


# Posting


def test_a_notice_is_posted_with_its_last_day_under_the_rule_of_its_day() -> None:
    """K8, reading 15: the posting day is not counted, five full days, no rest day at the end."""
    a_form().when(post(), around()).then(
        NoticePosted(
            case_id=SUBJECT,
            notice_id="notice-workplace",
            place="workplace",
            organisation_id="union",
            form_hash="hash-1",
            posted_on=DAY,
            last_day=LAST,
            notice_days=5,
            unit="natural",
            rule_effective_from=date(2015, 8, 1),
            published=PUBLISHED,
        )
    )


@pytest.mark.parametrize(
    ("day", "last"),
    [
        # Spring Festival 2025: 28 January to 4 February rest, 26 January and 8 February are worked.
        (date(2025, 1, 20), date(2025, 1, 26)),  # ends on Saturday 25, so on the Sunday worked
        (date(2025, 1, 22), date(2025, 1, 27)),  # the eve is a working Monday
        (date(2025, 1, 23), date(2025, 2, 5)),  # over the whole festival
        (date(2025, 1, 31), date(2025, 2, 5)),  # posted during the festival
        (date(2025, 2, 3), date(2025, 2, 8)),  # ends on the Saturday that is worked
        (date(2025, 2, 4), date(2025, 2, 10)),  # ends on Sunday 9, so on the Monday
    ],
)
def test_notices_over_spring_festival(day: date, last: date) -> None:
    """Reading 15: make-up working days count as working days, rest days never end a notice."""
    stated = a_form(day).when(post("station", day), around(day)).facts[0]
    assert isinstance(stated, NoticePosted)
    assert stated.last_day == last


def test_working_days_are_a_rule_of_the_fund() -> None:
    working = {
        "sample-city": Versions.of([Version(DAY, DAY, NoticeRule(5, "working"))]),
    }
    stated = a_form().when(post(), around(DAY, working)).facts[0]
    assert isinstance(stated, NoticePosted)
    assert (stated.last_day, stated.unit) == (LAST, "working")


def test_the_two_notices_run_side_by_side() -> None:
    case = posted()
    assert {n.place for n in case.state.standing} == {"workplace", "station"}
    case.when(post("station"), around()).refused("already_posted")


@pytest.mark.parametrize(
    ("place", "by"),
    [
        ("workplace", STATION_HANDLER),
        ("station", UNION_HANDLER),
        ("workplace", Actor("p", "chair", "union")),
        ("workplace", Actor("p", "handler", "mine")),
    ],
)
def test_each_board_is_hung_by_its_own_handler(place: str, by: Actor) -> None:
    """K7: on the workplace board by the union's handler, at the station by the station's."""
    command = post("workplace" if place == "workplace" else "station", by=by)
    assert a_form().when(command, around()).refused("wrong_office").status == 403


def test_no_rule_no_notice() -> None:
    """A gap in the rules means no rule, never a default; nor does one announced later count."""
    a_form().when(post(), around(DAY, {})).refused("no_rule_in_force")
    later = Version(date(2015, 8, 1), DAY + timedelta(days=1), NoticeRule(5, "natural"))
    announced_later = {"sample-city": Versions.of([later])}
    a_form().when(post(), around(DAY, announced_later)).refused("no_rule_in_force")
    early = date(2015, 7, 31)
    a_form(early).when(post(day=early), around(early)).refused("no_rule_in_force")


def test_unpublished_holidays_are_an_error_not_no_holidays() -> None:
    """Reading 15: a year whose holidays are not yet published cannot end a notice."""
    day = date(2031, 5, 5)
    refusal = a_form(day).when(post(day=day), around(day)).refused("holidays_unpublished")
    assert refusal.rule == "reading 15"


def test_a_notice_may_be_entered_late_but_not_ahead_nor_before_its_form() -> None:
    case = a_form(DAY)
    today = DAY + timedelta(days=3)
    case.when(post(day=DAY + timedelta(days=1)), around(today)).then_types(NoticePosted)
    for wrong in (DAY - timedelta(days=1), today + timedelta(days=1)):
        refusal = case.when(post(day=wrong), around(today)).refused("wrong_day")
        assert (refusal.field, refusal.status) == ("posted_on", 422)


# Elapse


def test_a_notice_elapses_on_the_day_after_its_last_and_comes_down() -> None:
    """K8: over at 24:00 of the last day; the elapse names the form's hash."""
    case = posted()
    (timer,) = case.views("timer")
    assert timer.due_on == AFTER
    case.when(elapse(LAST), around(LAST)).then()
    outcome = case.when(elapse(AFTER), around(AFTER))
    outcome.then_types(NoticeElapsed, NoticeRemoved, NoticeElapsed, NoticeRemoved)
    elapsed = outcome.facts[0]
    assert isinstance(elapsed, NoticeElapsed)
    assert (elapsed.form_hash, elapsed.last_day) == ("hash-1", LAST)
    after = outcome.afterwards()
    assert stage_of(after.state) == "elapsed"
    assert (after.views("timer"), after.work()) == ([], {})
    after.when(elapse(AFTER), around(AFTER)).then()


def test_each_notice_has_its_own_last_day() -> None:
    case = a_form().when(post("workplace", DAY), around()).afterwards()
    later = DAY + timedelta(days=8)
    late = date(2025, 3, 18)  # the fifth day is a Sunday, so it ends on the Monday
    case = case.when(elapse(AFTER), around(AFTER)).afterwards()
    case = case.when(post("station", later), around(later)).afterwards()
    (timer,) = case.views("timer")
    assert timer.due_on == late
    case.when(elapse(late), around(late)).then_types(NoticeElapsed, NoticeRemoved)


def test_after_downtime_each_elapse_lies_on_its_own_day() -> None:
    """Timers catch up: what was due first is stated first, on the day on which it was due."""
    other = DAY + timedelta(days=4)
    case = a_form().when(post("workplace", DAY), around()).afterwards()
    case = case.when(post("station", other), around(other)).afterwards()
    much_later = DAY + timedelta(days=60)
    due = case.views("timer")[0].due_on
    assert due == AFTER
    case = case.when(elapse(AFTER), around(much_later)).afterwards()
    assert [n.elapsed for n in case.state.notices] == [True, False]
    assert case.views("timer")[0].due_on == date(2025, 3, 13)


def test_an_open_objection_blocks_elapse() -> None:
    """Invariant 2: an open objection blocks elapse, of both notices."""
    case = posted().when(objection(), around(DAY)).afterwards()
    assert case.views("timer") == []
    case.when(elapse(AFTER), around(AFTER)).then()
    case = case.when(investigation(), around(AFTER)).afterwards()
    case.when(elapse(AFTER), around(AFTER)).then()


def test_dismissed_after_the_last_day_the_notice_elapses_on_that_day() -> None:
    word = AFTER + timedelta(days=4)
    case = posted().when(objection(), around(DAY)).afterwards()
    case = case.when(investigation(), around(AFTER)).afterwards()
    case = case.when(decision("dismissed"), around(word)).afterwards()
    (timer,) = case.views("timer")
    assert timer.due_on == word
    case.when(elapse(word), around(word)).then_types(*(NoticeElapsed, NoticeRemoved) * 2)


def test_dismissed_before_the_last_day_changes_no_day() -> None:
    case = posted().when(objection(), around(DAY)).afterwards()
    case = case.when(investigation(), around(DAY)).afterwards()
    case = case.when(decision("dismissed"), around(DAY)).afterwards()
    assert case.views("timer")[0].due_on == AFTER


# Objections


def test_anybody_may_object_without_a_name() -> None:
    posted().when(objection(), around()).then(
        ObjectionRaised(
            case_id=SUBJECT,
            notice_id="notice-station",
            objection_id="o-1",
            centre_id="county",
            anonymous=True,
            text=sealed("free_text", "text"),
            contact=None,
        )
    )
    named = posted().when(objection(contact=sealed("free_text", "contact")), around()).facts[0]
    assert isinstance(named, ObjectionRaised)
    assert not named.anonymous


def test_where_no_centre_stands_between_the_root_decides() -> None:
    """K10: the city federation acts as the centre of what stands below it directly."""
    case = given(NOTICES, [(form(organisation="mine", station="industry"), SYSTEM, DAY)])
    by = Actor("h", "handler", "industry")
    case = case.when(post("station", by=by), around()).afterwards()
    raised = case.when(objection(), around()).facts[0]
    assert isinstance(raised, ObjectionRaised)
    assert raised.centre_id == "city"


def test_the_station_finds_out_and_the_centre_decides() -> None:
    case = posted().when(objection(), around()).afterwards()
    assert case.work()["investigate_objection"].organisation == "station"
    case.when(investigation(by=UNION_HANDLER), around()).refused("wrong_office")
    case.when(decision("dismissed"), around()).refused("not_investigated")
    outcome = case.when(investigation(), around()).then_types(ObjectionInvestigated)
    case = outcome.afterwards()
    task = case.work()["decide_objection"]
    assert (task.organisation, task.role) == ("county", "reviewer")
    case.when(investigation(), around()).refused("already_investigated")
    case.when(decision("dismissed", by=STATION_HANDLER), around()).refused("wrong_office")
    case = case.when(decision("dismissed"), around()).then_types(ObjectionDismissed).afterwards()
    case.when(decision("upheld"), around()).refused("already_decided")
    assert case.work() == {}


def test_whoever_investigated_does_not_decide() -> None:
    """Reading 18: duties are kept apart, also where one person holds both offices."""
    both = Actor("same-person", "handler", "station")
    case = posted().when(objection(), around()).afterwards()
    case = case.when(investigation(by=both), around()).afterwards()
    same = Actor("same-person", "reviewer", "county")
    case.when(decision("dismissed", by=same), around()).refused("duties_apart")


def test_an_upheld_objection_takes_the_notices_down_and_rejects() -> None:
    case = posted().when(objection(), around()).afterwards()
    case = case.when(objection("o-2"), around()).afterwards()
    case = case.when(investigation(), around()).afterwards()
    outcome = case.when(decision("upheld"), around())
    outcome.then_types(ObjectionUpheld, NoticeRemoved, NoticeRemoved)
    assert {f.reason for f in outcome.facts if isinstance(f, NoticeRemoved)} == {"rejected"}
    case = outcome.afterwards()
    assert stage_of(case.state) == "rejected"
    assert (case.work(), case.views("timer")) == ({}, [])
    for command in (objection("o-3"), investigation("o-2"), decision("dismissed", "o-2")):
        case.when(command, around()).refused("case_rejected")
    case.when(elapse(AFTER), around(AFTER)).then()


def test_objections_are_taken_until_registration() -> None:
    """One heard after the notices elapsed stops the next step instead."""
    case = posted().when(elapse(AFTER), around(AFTER)).afterwards()
    case.when(objection(), around(AFTER)).then_types(ObjectionRaised)
    case = case.when(registered(), around(AFTER)).then_types(RegistrationTakenOver).afterwards()
    case.when(objection(), around(AFTER)).refused("objections_closed")
    case.when(registered(), around(AFTER)).then()


def test_an_objection_names_a_notice_of_the_case() -> None:
    command = RaiseObjection(
        by=objection().by,
        notice_id="other",
        objection_id="o",
        text=sealed("free_text", "text"),
        contact=None,
    )
    posted().when(command, around()).refused("unknown")
    posted().when(investigation("nothing"), around()).refused("unknown")
    posted().when(decision("upheld", "nothing"), around()).refused("unknown")


# The end of the case


def test_notices_come_down_when_the_case_ends_elsewhere() -> None:
    outcome = posted().when(closed(), around())
    outcome.then_types(FileClosed, NoticeRemoved, NoticeRemoved)
    case = outcome.afterwards()
    assert (case.work(), case.views("timer")) == ({}, [])
    case.when(closed(), around()).then()
    case.when(objection(), around()).refused("case_closed")
    case.when(post(), around()).refused("case_closed")
    case.when(take_over("hash-2"), around()).refused("case_closed")
    case.when(elapse(AFTER), around(AFTER)).then()


def test_a_notice_that_came_down_shows_nothing_any_more() -> None:
    """§6: notices come down when they end; their read model then holds no published field."""

    def shown(case: Given) -> list[bool]:
        return ["published" in view.document for view in case.views("notice")]

    case = posted()
    assert shown(case) == [True, True]
    assert shown(case.when(elapse(AFTER), around(AFTER)).afterwards()) == [False, False]
    assert REVIEWER.organisation == "county"
