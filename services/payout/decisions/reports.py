"""The bank's word, and its silence: reports, unresolved payouts and questions to the bank."""

from __future__ import annotations

from datetime import date
from typing import Literal, assert_never

from services.payout.decisions.case import WITH_THE_BANK, Payout, Payouts
from services.payout.decisions.days import REPORT_BUSINESS_DAYS, business_day_after
from services.payout.facts import (
    BankQueried,
    FailureReason,
    PayoutAccepted,
    PayoutConfirmed,
    PayoutFailed,
    PayoutUnresolved,
)
from shared.fact import Fact
from shared.room import UNKNOWN, Answer, Command, Decided, Refusal, Situation

ReportedState = Literal["accepted", "confirmed", "failed"]


class RecordReport(Command):
    """The bank says how a payment stands, by itself or when asked."""

    payout_id: str
    state: ReportedState
    bank_reference: str
    reason: FailureReason | None = None
    credited_on: date | None = None


class NoteSilence(Command):
    """A timer: reports are overdue."""


class QueryBank(Command):
    """A timer: the bank is to be asked (again)."""


def record_report(state: Payouts, command: RecordReport, situation: Situation) -> Answer:
    """Repeats and late words change nothing; two different last words are a contradiction."""
    payout = state.payout(command.payout_id)
    if payout is None or payout.state in ("planned", "batched"):
        return UNKNOWN
    if payout.state not in WITH_THE_BANK:
        return _after_last_word(payout, command)
    match command.state:
        case "accepted":
            return _accept(state, payout, command, situation)
        case "confirmed":
            return _confirm(state, payout, command, situation)
        case "failed":
            return _fail(state, payout, command)
        case _:
            assert_never(command.state)


def _after_last_word(payout: Payout, command: RecordReport) -> Answer:
    if command.state == "accepted":
        return Decided()  # It was overtaken by the last word.
    same = command.state == payout.state and command.bank_reference == payout.bank_reference
    if same:
        return Decided()
    return Refusal(
        "contradictory_report",
        "与已有回执矛盾",
        "another last word was reported before",
        field="state",
    )


def _accept(state: Payouts, payout: Payout, command: RecordReport, situation: Situation) -> Answer:
    """The bank has it: that ends the uncertainty, and starts the wait for its last word."""
    if payout.state == "accepted":
        return Decided()
    confirm_by = business_day_after(situation.calendar, situation.today, REPORT_BUSINESS_DAYS)
    if isinstance(confirm_by, Refusal):
        return confirm_by
    ask_on = business_day_after(situation.calendar, confirm_by, 1)
    if isinstance(ask_on, Refusal):
        return ask_on
    accepted = PayoutAccepted(
        case_id=state.case_id,
        payout_id=payout.payout_id,
        bank_reference=command.bank_reference,
        confirm_by=confirm_by,
        ask_on=ask_on,
    )
    return Decided([accepted])


def _confirm(state: Payouts, payout: Payout, command: RecordReport, situation: Situation) -> Answer:
    """Credited, on a day between the issue and today."""
    credited_on = command.credited_on
    issued_on = payout.issued_on or situation.today
    if credited_on is None or not issued_on <= credited_on <= situation.today:
        return Refusal(
            "credited_on_impossible",
            "入账日期不可能",
            "credited on no day between the issue and today",
            field="credited_on",
            status=422,
        )
    confirmed = PayoutConfirmed(
        case_id=state.case_id,
        payout_id=payout.payout_id,
        award_id=payout.award_id,
        fund=payout.fund,
        programme=payout.programme,
        amount_fen=payout.amount_fen,
        bank_reference=command.bank_reference,
        credited_on=credited_on,
    )
    return Decided([confirmed])


def _fail(state: Payouts, payout: Payout, command: RecordReport) -> Answer:
    """Confirmed as failed: only now may there be another attempt."""
    if command.reason is None:
        return Refusal(
            "reason_missing", "缺少失败原因", "a failure has a reason", field="reason", status=422
        )
    failed = PayoutFailed(
        case_id=state.case_id,
        payout_id=payout.payout_id,
        award_id=payout.award_id,
        instalment=payout.instalment,
        fund=payout.fund,
        amount_fen=payout.amount_fen,
        reason=command.reason,
        bank_reference=command.bank_reference,
    )
    return Decided([failed])


def note_silence(state: Payouts, _command: NoteSilence, situation: Situation) -> Answer:
    """Nothing was heard until the end of the last day: we do not know, and say so."""
    today = situation.today
    facts: list[Fact] = []
    for payout in state.payouts:
        if payout.state != "sending" or payout.overdue_on is None or payout.overdue_on > today:
            continue
        ask_on = _asking_day(situation, today)
        if isinstance(ask_on, Refusal):
            return ask_on
        facts.append(
            PayoutUnresolved(
                case_id=state.case_id,
                payout_id=payout.payout_id,
                report_by=date.fromordinal(payout.overdue_on.toordinal() - 1),
                ask_on=ask_on,
            )
        )
    return Decided(facts)


def query_bank(state: Payouts, _command: QueryBank, situation: Situation) -> Answer:
    """Asked once each business day until the bank's last word; late timers ask once, not often."""
    facts: list[Fact] = []
    for payout in state.payouts:
        if payout.ask_on is None or payout.ask_on > situation.today:
            continue
        again = business_day_after(situation.calendar, situation.today, 1)
        if isinstance(again, Refusal):
            return again
        facts.append(
            BankQueried(
                case_id=state.case_id,
                payout_id=payout.payout_id,
                query=payout.queries + 1,
                ask_again_on=again,
            )
        )
    return Decided(facts)


def _asking_day(situation: Situation, today: date) -> date | Refusal:
    """Today if the bank works today, else its next business day."""
    yesterday = date.fromordinal(today.toordinal() - 1)
    return business_day_after(situation.calendar, yesterday, 1)
