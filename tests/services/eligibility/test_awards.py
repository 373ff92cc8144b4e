"""An award is asked for, computed under the caps, covered, and approved by another person."""

from datetime import date

import pytest

from services.eligibility.decisions.cover import ApproveAward, RefuseCover, TakeCover
from services.eligibility.decisions.files import CloseFile
from services.eligibility.facts import (
    AwardApproved,
    AwardComputed,
    AwardRefused,
    AwardRequested,
    CoverTakenOver,
    FileClosed,
    FileTakenOver,
)
from services.eligibility.main import ROOM
from shared.fact import Actor
from tests.given_when_then import Given, Outcome
from tests.services.eligibility.world import (
    APPROVER,
    DAY,
    DECISIONS,
    FUND,
    HANDLER,
    REVIEWER,
    STATION_HANDLER,
    Ask,
    Cases,
    ask,
    determined,
    disaster,
    education,
    file,
    living,
    medical,
    on_file,
    situation,
)

CAP = f"cap|{FUND}|living|household-1|2015"
BASIS = f"basis|{FUND}|medical|household-1|2015"
INCIDENT = f"incident|{FUND}|household-1|fire-1"


def computed(outcome: Outcome) -> AwardComputed:
    requested, fact = outcome.facts
    assert isinstance(requested, AwardRequested)
    assert isinstance(fact, AwardComputed)
    return fact


def refused(outcome: Outcome) -> AwardRefused:
    fact = outcome.facts[-1]
    assert isinstance(fact, AwardRefused)
    return fact


def with_award(asked: Ask | None = None) -> Given:
    return on_file().when(ask(asked or living()), situation()).afterwards()


def covered() -> Given:
    cover = TakeCover(award_id="award-1", amount_fen=80_000)
    return with_award().when(cover, situation()).afterwards()


@pytest.mark.parametrize(
    ("asked", "amount_fen", "binding", "subject"),
    [
        (living(150_000), 100_000, "living.single", "household-1"),
        (education(900_000), 500_000, "education.annual", "person-3"),
        (education(900_000, school="school-b"), 380_000, "education.school", "person-3"),
        (medical(800_000), 80_000, "medical.rate", "household-1"),
        (
            medical(
                self_paid_fen=None,
                total_fen=5_231_846,
                reimbursed_fen=(3_012_015, 600_000, 200_000),
            ),
            141_983,
            "medical.rate",
            "household-1",
        ),
        (disaster(250_000), 200_000, "disaster.single", "household-1"),
        (disaster(200_000, loss_fen=135_000), 135_000, "disaster.loss", "household-1"),
    ],
)
def test_each_programme_is_computed_under_its_own_caps(
    asked: Ask, amount_fen: int, binding: str, subject: str
) -> None:
    """K11-K15: the least of what is asked and each cap's room; the tightest is named."""
    award = computed(on_file().when(ask(asked), situation()))
    assert (award.amount_fen, award.binding, award.cap_subject) == (amount_fen, binding, subject)
    assert award.cap_year == 2015
    assert award.versions[0].name == "fund_rules"
    assert {cap.name for cap in award.caps} >= ({binding} - {"asked"})


def test_used_room_comes_from_every_case_of_the_household() -> None:
    """Caps are of the household and year (reading 8); what two cases use adds up."""
    first, second = on_file("case-1"), on_file("case-2")
    cases = Cases(one=first, two=second)
    cases.tell("one", ask(medical(7_000_000)))
    award = computed(cases.tell("two", ask(medical(5_000_000))))
    assert (award.amount_fen, award.binding) == (300_000, "medical.annual")
    assert award.inputs.self_paid_before_fen == 7_000_000
    assert [(c.name, c.used_fen, c.room_fen) for c in award.caps] == [
        ("medical.rate", 700_000, 500_000),
        ("medical.annual", 700_000, 300_000),
    ]


def test_a_used_up_cap_refuses_and_the_case_remembers_why() -> None:
    outcome = on_file().when(ask(living()), situation(guards={CAP: 504_000}))
    fact = refused(outcome)
    assert (fact.stage, fact.reason, fact.amount_fen) == ("computing", "CAP_EXHAUSTED", 0)
    assert [(c.name, c.limit_fen) for c in fact.caps][1] == ("living.annual", 504_000)


def test_a_bill_too_small_to_pay_counts_later() -> None:
    """Worked example W50: ten per cent of all self-paid this year, whatever each bill came to."""
    cases = Cases(one=on_file())
    assert refused(cases.tell("one", ask(medical(9), "a"))).reason == "NOTHING_DUE"
    assert cases.guards[BASIS] == 9
    assert computed(cases.tell("one", ask(medical(25), "b"))).amount_fen == 3


def test_a_bill_that_found_the_cap_used_up_counts_in_the_basis_too() -> None:
    cases = Cases(one=on_file())
    cases.tell("one", ask(medical(10_000_000), "a"))
    assert refused(cases.tell("one", ask(medical(500), "b"))).reason == "CAP_EXHAUSTED"
    assert cases.guards[BASIS] == 10_000_500


def test_a_bill_presented_when_no_rule_was_in_force_counts_nowhere() -> None:
    """A gap in the rules never yields an amount, later neither (invariant 8)."""
    cases = Cases(one=on_file())
    outcome = cases.tell("one", ask(medical(), fund="sample-district"))
    assert refused(outcome).reason == "NO_RULE_IN_FORCE"
    assert not +cases.guards


def test_an_incident_is_aided_once() -> None:
    """K15: one-off, per household and incident, of every year and case."""
    cases = Cases(one=on_file("case-1"), two=on_file("case-2"))
    cases.tell("one", ask(disaster()))
    again = cases.tell("two", ask(disaster(1, loss_fen=5), day=date(2016, 2, 1)), date(2016, 2, 1))
    assert refused(again).reason == "INCIDENT_ALREADY_AIDED"


def test_an_incident_whose_aid_was_refused_may_be_aided() -> None:
    cases = Cases(one=on_file())
    cases.tell("one", ask(disaster(), "a"))
    cases.tell("one", RefuseCover(award_id="a", reason="INSUFFICIENT"))
    assert cases.guards[INCIDENT] == 0
    assert computed(cases.tell("one", ask(disaster(), "b"))).amount_fen == 200_000


def test_a_school_without_a_recorded_cost_stores_nothing() -> None:
    """`needs_data`: the caller completes the data first (reading 9)."""
    answer = on_file().when(ask(education(school="school-z")), situation())
    refusal = answer.refused("school_cost_missing")
    assert (refusal.status, refusal.field) == (422, "school")


def test_the_school_is_the_students_unless_another_is_named() -> None:
    requested = on_file().when(ask(education()), situation()).facts[0]
    assert isinstance(requested, AwardRequested)
    assert (requested.student_id, requested.school) == ("person-3", "school-a")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (education(student_id="person-1"), "student_id"),
        (medical(patient_id="person-9"), "patient_id"),
        (disaster(incident_id="fire-2"), "incident_id"),
        (medical(total_fen=5, reimbursed_fen=()), "self_paid_fen"),
        (medical(self_paid_fen=None), "self_paid_fen"),
        (medical(self_paid_fen=None, total_fen=5), "reimbursed_fen"),
        (medical(self_paid_fen=None, total_fen=5, reimbursed_fen=(3, 3)), "reimbursed_fen"),
    ],
)
def test_what_does_not_belong_to_the_file_is_refused_by_field(asked: Ask, field: str) -> None:
    refusal = on_file().when(ask(asked), situation()).refused("wrong_value")
    assert (refusal.field, refusal.status) == (field, 422)


def test_a_year_of_bills_too_large_to_compute_exactly_is_refused() -> None:
    around = situation(guards={BASIS: 2**53 - 2})
    assert on_file().when(ask(medical(2)), around).refused("wrong_value").field == "self_paid_fen"


def test_another_funds_rules_bind_only_that_fund_and_its_aid_is_shown() -> None:
    """Caps count within one fund; other funds' awards are shown and warned about (reading 12)."""
    case = with_award()
    elsewhere = case.state.awards[0].computed.model_copy(
        update={"award_id": "award-0", "fund": "sample-district", "amount_fen": 7}
    )
    case = case.and_(
        case.state.awards[0].requested.model_copy(update={"award_id": "award-0"}), elsewhere
    )
    award = computed(case.when(ask(living(), "award-2"), situation()))
    assert [(o.fund, o.amount_fen) for o in award.other_funds] == [("sample-district", 7)]
    assert award.amount_fen == 80_000


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (HANDLER, None),
        (STATION_HANDLER, None),
        (Actor("v", "visitor", "station"), "wrong_office"),
        (Actor("h", "handler", "centre"), "wrong_office"),
    ],
)
def test_the_handler_of_the_station_or_of_the_holder_asks(by: Actor, code: str | None) -> None:
    outcome = on_file().when(ask(living(), by=by), situation())
    if code is None:
        computed(outcome)
    else:
        outcome.refused(code)


def test_awards_are_asked_for_only_while_the_file_is_open() -> None:
    """Only a registered file is aided (K10), and a closed one takes no new award."""
    cases = Cases(one=on_file())
    cases.tell("one", CloseFile(exit="reemployed"))
    cases.tell("one", ask(living())).refused("file_closed")
    determined().when(ask(living()), situation()).refused("file_not_registered")


def test_the_award_says_which_day_and_year_it_was_computed_in() -> None:
    """The year is the calendar year of the decision, frozen in the fact (reading 14)."""
    day = date(2016, 1, 1)
    outcome = on_file().when(ask(living(), day=day), situation(day))
    assert computed(outcome).cap_year == 2016
    assert outcome.afterwards().recorded[-1].occurred_on == day


def test_cover_is_stated_again_and_then_the_approver_of_the_centre_approves() -> None:
    """An award is approved only under a CoverReserved, by another person (readings 17, 18)."""
    case = with_award()
    case.when(ApproveAward(by=APPROVER, award_id="award-1"), situation()).refused("not_covered")
    taken = case.when(TakeCover(award_id="award-1", amount_fen=80_000), situation())
    taken.then_types(CoverTakenOver)
    work = taken.afterwards().work()["approve_award"]
    assert (work.organisation, work.role) == ("centre", "approver")
    assert work.document["amount_fen"] == 80_000
    approved = taken.afterwards().when(ApproveAward(by=APPROVER, award_id="award-1"), situation())
    approved.then_types(AwardApproved)
    after = approved.afterwards()
    assert after.work() == {}
    after.when(ApproveAward(by=APPROVER, award_id="award-1"), situation()).refused(
        "already_approved"
    )


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (REVIEWER, "wrong_office"),
        (Actor("approver", "approver", "city"), "wrong_office"),
        (Actor("reviewer", "approver", "centre"), "duties_apart"),
        (Actor("visitor-1", "approver", "centre"), "duties_apart"),
        (Actor("chair", "approver", "centre"), "duties_apart"),
    ],
)
def test_whoever_visited_signed_or_reviewed_does_not_approve(by: Actor, code: str) -> None:
    """Reviewer ≠ approver, and neither visited nor signed (reading 18)."""
    covered().when(ApproveAward(by=by, award_id="award-1"), situation()).refused(code)


def test_without_cover_the_award_is_refused_and_its_room_given_back() -> None:
    cases = Cases(one=on_file())
    cases.tell("one", ask(medical(), "a"))
    assert cases.guards[BASIS] == 800_000
    cases.tell("one", RefuseCover(award_id="a", reason="INSUFFICIENT_FUNDS"))
    assert (cases.guards[CAP], cases.guards[BASIS]) == (0, 0)
    assert computed(cases.tell("one", ask(medical(), "b"))).amount_fen == 80_000


def test_a_closed_file_refuses_what_is_computed_and_keeps_what_is_approved() -> None:
    """Approved awards are still paid, computed ones refused."""
    case = (
        covered()
        .when(ApproveAward(by=APPROVER, award_id="award-1"), situation())
        .afterwards()
        .when(ask(living(), "award-2"), situation())
        .afterwards()
        .when(ask(living(), "award-3"), situation())
        .afterwards()
        .when(TakeCover(award_id="award-3", amount_fen=80_000), situation())
        .afterwards()
    )
    closed = case.when(CloseFile(exit="reemployed"), situation())
    closed.then_types(FileClosed, AwardRefused, AwardRefused)
    assert {a.award_id for a in closed.afterwards().state.awards if a.refused} == {
        "award-2",
        "award-3",
    }
    assert [a.status for a in closed.afterwards().state.awards] == [
        "approved",
        "refused",
        "refused",
    ]


def test_cover_that_comes_for_a_refused_award_changes_nothing() -> None:
    """The refusal is on its way to payout, which releases the cover."""
    case = with_award().when(CloseFile(exit="reemployed"), situation()).afterwards()
    assert case.when(TakeCover(award_id="award-1", amount_fen=80_000), situation()).facts == ()
    assert case.when(RefuseCover(award_id="award-1", reason="x"), situation()).facts == ()
    case.when(ApproveAward(by=APPROVER, award_id="award-1"), situation()).refused("award_refused")


def test_cover_of_another_amount_is_not_taken() -> None:
    wrong = TakeCover(award_id="award-1", amount_fen=79_999)
    with_award().when(wrong, situation()).refused("cover_differs")


def test_a_file_is_taken_over_once_and_listed_where_awards_may_be_asked_for() -> None:
    once = on_file()
    assert once.when(file(), situation()).facts == ()
    assert isinstance(once.recorded[0].read(ROOM.reads), FileTakenOver)
    (view,) = once.views("file")
    assert (view.key, view.status, view.organisation) == (once.identity, "open", "station")
    closed = once.when(CloseFile(exit="reemployed"), situation(DAY)).afterwards()
    assert closed.views("file")[0].status == "closed"


def test_only_one_view_holds_the_reasons_sealed_for_those_who_decide() -> None:
    case = with_award(disaster())
    sealed = [v for v in DECISIONS.views(case.state) if "sealed:" in str(v.document)]
    assert [view.model for view in sealed] == ["award_reasons"]
    assert sealed[0].document["readers"] == [
        "union/handler",
        "station/handler",
        "centre/reviewer",
        "centre/approver",
    ]
