"""From an approved award to an instruction: planned once, taken into a batch, issued."""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid5

from services.payout.decisions.case import Payout, Payouts
from services.payout.decisions.days import REPORT_BUSINESS_DAYS, business_day_after
from services.payout.facts import PayoutBatched, PayoutIssued, PayoutPlanned
from shared.fact import Fen, canonical
from shared.money import CURRENCY
from shared.room import UNKNOWN, Answer, Command, Condition, Decided, Refusal, Situation

# Every id of a payment is a function of what it pays: a repeat can't make another one.
NAMESPACE: Final = UUID("5f0c8f1e-6c0b-5d83-9a3e-2b7a4d0c91e6")
FIRST_INSTALMENT: Final = 1
FIRST_ATTEMPT: Final = 1


class PlanPayout(Command):
    """Heard: the award was approved."""

    award_id: str
    amount_fen: Fen
    approver: str


class TakeIntoBatch(Command):
    """Heard on the own topic: a batch was prepared."""

    payout_id: str
    batch_id: str
    maker: str


class IssuePayout(Command):
    """Heard on the own topic: the batch was released."""

    payout_id: str
    batch_id: str
    maker: str
    checker: str


def payout_id_of(award_id: str, instalment: int, attempt: int) -> str:
    """The same three always give the same payout."""
    return str(uuid5(NAMESPACE, f"payout|{award_id}|{instalment}|{attempt}"))


def end_to_end_id_of(payout_id: str) -> str:
    """What the bank knows the payment by; at most 35 characters, as ISO 20022 has it."""
    return f"E{uuid5(NAMESPACE, f'end-to-end|{payout_id}').hex}"


def message_id_of(payout_id: str) -> str:
    """One message per attempt, however often it is sent; at most 35 characters."""
    return f"M{uuid5(NAMESPACE, f'message|{payout_id}').hex}"


def live(award_id: str, instalment: int) -> str:
    """The guard row of an instalment's live attempts."""
    return f"live|{award_id}|{instalment}"


def plan_payout(state: Payouts, command: PlanPayout, _situation: Situation) -> Answer:
    """An approved award under cover is planned once, for the amount that is covered."""
    cover = state.cover(command.award_id)
    if cover is None or cover.programme is None or cover.state == "released":
        return Refusal("no_cover", "资金未落实", "the award is not under cover")
    if cover.state == "planned":
        return Decided()
    if cover.amount_fen != command.amount_fen:
        return Refusal("other_amount", "金额与落实资金不符", "not the amount that is covered")
    planned = PayoutPlanned(
        case_id=state.case_id,
        payout_id=payout_id_of(command.award_id, FIRST_INSTALMENT, FIRST_ATTEMPT),
        award_id=command.award_id,
        instalment=FIRST_INSTALMENT,
        attempt=FIRST_ATTEMPT,
        fund=cover.fund,
        programme=cover.programme,
        amount_fen=cover.amount_fen,
        approver=command.approver,
    )
    return Decided([planned], [Condition(live(command.award_id, FIRST_INSTALMENT), maximum=1)])


def take_into_batch(state: Payouts, command: TakeIntoBatch, _situation: Situation) -> Answer:
    """The batch decided; the payout notes it, so that nobody plans with it any more."""
    payout = state.payout(command.payout_id)
    if payout is None:
        return UNKNOWN
    if payout.state != "planned":
        return Decided()
    batched = PayoutBatched(
        case_id=state.case_id,
        payout_id=payout.payout_id,
        batch_id=command.batch_id,
        maker=command.maker,
    )
    return Decided([batched])


def issue_payout(state: Payouts, command: IssuePayout, situation: Situation) -> Answer:
    """Identifiers and exact bytes are stored before the wire is touched, once per payout."""
    payout = state.payout(command.payout_id)
    if payout is None:
        return UNKNOWN
    if payout.state not in ("planned", "batched"):
        return Decided()
    if state.account is None or state.holder_name is None:
        return Refusal("account_missing", "无收款账户", "there is no account to pay to", rule="K16")
    if state.account_clerk in (command.maker, command.checker):
        return Refusal(
            "clerk_issues",
            "更正账户者不得发放",
            "who corrected the account does not issue",
            rule="reading 18",
        )
    report_by = business_day_after(situation.calendar, situation.today, REPORT_BUSINESS_DAYS)
    if isinstance(report_by, Refusal):
        # The fact that told this waits in quarantine until the year's holidays are entered.
        raise LookupError(report_by.en)
    instruction = _instruction(payout, state.account, state.holder_name)
    issued = PayoutIssued(
        case_id=state.case_id,
        payout_id=payout.payout_id,
        award_id=payout.award_id,
        batch_id=command.batch_id,
        maker=command.maker,
        checker=command.checker,
        fund=payout.fund,
        amount_fen=payout.amount_fen,
        message_id=message_id_of(payout.payout_id),
        end_to_end_id=end_to_end_id_of(payout.payout_id),
        account=state.account,
        holder_name=state.holder_name,
        instruction=instruction,
        instruction_mac=situation.mac("instruction", instruction),
        report_by=report_by,
    )
    return Decided([issued])


def _instruction(payout: Payout, account: str, holder_name: str) -> str:
    """The exact bytes as sent, with the sealed segments of the person in their places."""
    order = {
        "message_id": message_id_of(payout.payout_id),
        "end_to_end_id": end_to_end_id_of(payout.payout_id),
        "amount_fen": payout.amount_fen,
        "currency": CURRENCY,
        "account": account,
        "holder_name": holder_name,
    }
    return canonical(order).decode()
