"""The bank's word and its silence: only its word leaves what we do not know."""

from datetime import date
from itertools import pairwise

import pytest

from services.payout.decisions.reports import NoteSilence, QueryBank, RecordReport
from services.payout.facts import (
    BankQueried,
    PayoutConfirmed,
    PayoutUnresolved,
)
from services.payout.main import PAYOUTS
from tests.given_when_then import SUBJECT, TODAY, given
from tests.services.payout.world import (
    AMOUNT,
    AWARD,
    FAILED,
    FUND,
    PAYOUT,
    PLANNED,
    SENT,
    payout_accepted,
    payout_failed,
    situation,
)

ACCEPTED = RecordReport(payout_id=PAYOUT, state="accepted", bank_reference="B1")
CONFIRMED = RecordReport(
    payout_id=PAYOUT, state="confirmed", bank_reference="B1", credited_on=TODAY
)
REFUSED = RecordReport(
    payout_id=PAYOUT, state="failed", bank_reference="B1", reason="name_mismatch"
)
CREDITED = PayoutConfirmed(
    case_id=SUBJECT,
    payout_id=PAYOUT,
    award_id=AWARD,
    fund=FUND,
    programme="living",
    amount_fen=AMOUNT,
    bank_reference="B1",
    credited_on=TODAY,
)
UNRESOLVED = PayoutUnresolved(
    case_id=SUBJECT, payout_id=PAYOUT, report_by=date(2025, 3, 5), ask_on=date(2025, 3, 6)
)


def test_accepted_then_confirmed() -> None:
    """sending → accepted → confirmed."""
    accepted = given(PAYOUTS, SENT).when(ACCEPTED, situation()).then(payout_accepted())
    accepted.afterwards().when(CONFIRMED, situation()).then(CREDITED)


def test_repeats_and_late_words_change_nothing() -> None:
    """However often the bank says it; an "accepted" that the last word overtook is old news."""
    accepted = given(PAYOUTS, [*SENT, payout_accepted()])
    accepted.when(ACCEPTED, situation()).then()
    confirmed = given(PAYOUTS, [*SENT, CREDITED])
    confirmed.when(CONFIRMED, situation()).then()
    confirmed.when(ACCEPTED, situation()).then()
    given(PAYOUTS, FAILED).when(REFUSED, situation()).then()


def test_two_different_last_words_contradict() -> None:
    """Confirmed after failed, failed after confirmed, or the same under another reference."""
    given(PAYOUTS, FAILED).when(CONFIRMED, situation()).refused("contradictory_report")
    confirmed = given(PAYOUTS, [*SENT, CREDITED])
    confirmed.when(REFUSED, situation()).refused("contradictory_report")
    other = CONFIRMED.model_copy(update={"bank_reference": "B2"})
    confirmed.when(other, situation()).refused("contradictory_report")


def test_what_was_never_sent_is_unknown() -> None:
    """The bank can't speak of a payout that it was not told of."""
    given(PAYOUTS, PLANNED).when(CONFIRMED, situation()).refused("unknown")


@pytest.mark.parametrize("day", [None, date(2025, 3, 2), date(2025, 3, 4)])
def test_credited_between_the_issue_and_today(day: date | None) -> None:
    """A fact is entered late, but not before what it depends on, and not early."""
    wrong = CONFIRMED.model_copy(update={"credited_on": day})
    refusal = given(PAYOUTS, SENT).when(wrong, situation()).refused("credited_on_impossible")
    assert refusal.status == 422


def test_a_failure_has_a_reason_and_frees_the_instalment() -> None:
    """The reason decides whether the account has to be corrected first."""
    given(PAYOUTS, SENT).when(REFUSED, situation()).then(payout_failed())
    given(PAYOUTS, SENT).when(REFUSED.model_copy(update={"reason": None}), situation()).refused(
        "reason_missing"
    )


def test_silence_for_two_business_days_is_said() -> None:
    """Issued on Monday, due by Wednesday, unresolved on Thursday and not before."""
    sent = given(PAYOUTS, SENT)
    assert [(v.document["timer"], v.due_on) for v in sent.views("timer")] == [
        ("report_due", date(2025, 3, 6))
    ]
    sent.when(NoteSilence(), situation(date(2025, 3, 5))).then()
    silent = sent.when(NoteSilence(), situation(date(2025, 3, 6))).then(UNRESOLVED)
    silent.afterwards().when(NoteSilence(), situation(date(2025, 3, 7))).then()


def test_the_bank_is_asked_each_business_day_until_it_answers() -> None:
    """Thursday, Friday, Monday; the question stays open until the bank's word."""
    state = given(PAYOUTS, [*SENT, UNRESOLVED])
    days = [date(2025, 3, 6), date(2025, 3, 7), date(2025, 3, 10), date(2025, 3, 11)]
    for number, (day, following) in enumerate(pairwise(days), start=1):
        assert [(v.document["timer"], v.due_on) for v in state.views("timer")] == [
            ("query_due", day)
        ]
        asked = BankQueried(case_id=SUBJECT, payout_id=PAYOUT, query=number, ask_again_on=following)
        state = state.when(QueryBank(), situation(day)).then(asked).afterwards()
        (question,) = state.views("query")
        assert question.document["query"] == number
        state.when(QueryBank(), situation(day)).then()
    answered = state.when(CONFIRMED, situation(date(2025, 3, 10))).afterwards()
    assert not answered.views("query")
    assert not answered.views("timer")


def test_a_late_timer_asks_once() -> None:
    """After a downtime the bank is asked today, not once for each day that was missed."""
    unresolved = given(PAYOUTS, [*SENT, UNRESOLVED])
    asked = unresolved.when(QueryBank(), situation(date(2025, 3, 20)))
    assert [getattr(fact, "query", None) for fact in asked.facts] == [1]


def test_an_accepted_payment_is_asked_about_too() -> None:
    """Accepted is not credited: two business days later the bank is asked for its last word."""
    accepted = given(PAYOUTS, [*SENT, payout_accepted()])
    assert [(v.document["timer"], v.due_on) for v in accepted.views("timer")] == [
        ("query_due", date(2025, 3, 6))
    ]
    accepted.when(QueryBank(), situation(date(2025, 3, 5))).then()
    asked = accepted.when(QueryBank(), situation(date(2025, 3, 6))).then_types(BankQueried)
    again = asked.afterwards().when(ACCEPTED, situation(date(2025, 3, 6)))
    again.then()
    assert again.given.views("query")


def test_holidays_that_are_not_published_stop_the_question() -> None:
    """An unknown year is an error, never "no holidays" (reading 15)."""
    given(PAYOUTS, [*SENT, UNRESOLVED]).when(QueryBank(), situation(date(2026, 12, 31))).refused(
        "holidays_unpublished"
    )
