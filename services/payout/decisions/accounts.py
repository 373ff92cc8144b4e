"""After a failure: the account is corrected by one person, a new attempt takes two others."""

from __future__ import annotations

from typing import Final

from services.payout.decisions.case import Payout, Payouts
from services.payout.decisions.offices import outside, wrong_office
from services.payout.decisions.paying import live, payout_id_of
from services.payout.facts import (
    Account,
    AccountCorrected,
    AccountKind,
    FailureReason,
    PayoutPlanned,
    PayoutReissued,
    ReissueProposed,
)
from shared.room import UNKNOWN, Answer, Command, Condition, Decided, Needs, Refusal, Situation

# With these the same account would fail again.
ACCOUNT_REASONS: Final[frozenset[FailureReason]] = frozenset(
    ("name_mismatch", "closed", "card_replaced", "frozen")
)


class CorrectAccount(Command):
    """The account clerk enters another account, sealed at the door."""

    payee_id: str
    account_kind: AccountKind
    account: Account
    holder_name: Account


class ProposeReissue(Command):
    """The maker wants another attempt at a failed payout."""

    payout_id: str


class ConfirmReissue(Command):
    """The checker lets it be planned."""

    payout_id: str


def batched(payout_id: str) -> str:
    """The guard row of the batches that a payout stands in."""
    return f"batched|{payout_id}"


def corrections(case_id: str) -> str:
    """The guard row that counts a case's corrected accounts: a batch names the one it knew."""
    return f"account|{case_id}"


def awaits_account(payout: Payout) -> bool:
    """Failed for a reason that lies in the account, which is still the same."""
    return (
        payout.state == "failed"
        and payout.reissued_as is None
        and payout.reason in ACCOUNT_REASONS
        and not payout.account_corrected
    )


def may_be_reissued(payout: Payout) -> bool:
    """A new attempt needs a confirmed failure and, if the account was it, a corrected one."""
    return payout.state == "failed" and payout.reissued_as is None and not awaits_account(payout)


def needs_batches(state: Payouts, _command: CorrectAccount) -> Needs:
    """Whether a payout to the account is in a batch that was not heard of yet."""
    return Needs(guards=tuple(batched(p.payout_id) for p in _unissued(state)))


def _unissued(state: Payouts) -> list[Payout]:
    return [p for p in state.payouts if p.state in ("planned", "batched")]


def correct_account(state: Payouts, command: CorrectAccount, situation: Situation) -> Answer:
    """Only between batches: whoever makes or checks one has seen whose account it pays to.

    So the clerk of an account can never turn out to have issued the payment (reading 18).
    """
    refusal = wrong_office(command, situation, "account_clerk")
    if refusal is not None:
        return refusal
    if outside(state.organisation_id, command, situation):
        return UNKNOWN
    if command.payee_id != (state.payee_id or command.payee_id) or (
        command.payee_id not in (state.persons or (command.payee_id,))
    ):
        return Refusal(
            "other_payee", "收款人不符", "not the payee of this file", field="payee_id", status=422
        )
    if any(situation.guards[batched(p.payout_id)] > 0 for p in _unissued(state)):
        return Refusal(
            "payment_under_way",
            "有款项正在发放，发出后再更正账户",
            "a payment to this account is in a batch: correct it once that is issued",
            rule="reading 18",
        )
    corrected = AccountCorrected(
        case_id=state.case_id,
        payee_id=command.payee_id,
        account_kind=command.account_kind,
        account=command.account,
        holder_name=command.holder_name,
        clerk=command.by.person,
    )
    return Decided(
        [corrected], [Condition(batched(p.payout_id), maximum=0) for p in _unissued(state)]
    )


def propose_reissue(state: Payouts, command: ProposeReissue, situation: Situation) -> Answer:
    """The first of two people."""
    payout = _failed(state, command, situation, "maker")
    if isinstance(payout, Refusal):
        return payout
    if payout.proposer is not None:
        return Refusal("proposed_already", "已提出重发", "proposed already")
    proposed = ReissueProposed(
        case_id=state.case_id, payout_id=payout.payout_id, proposer=command.by.person
    )
    return Decided([proposed])


def confirm_reissue(state: Payouts, command: ConfirmReissue, situation: Situation) -> Answer:
    """The second person; the next attempt at the same instalment, for the same amount."""
    payout = _failed(state, command, situation, "checker")
    if isinstance(payout, Refusal):
        return payout
    if payout.proposer is None:
        return Refusal("not_proposed", "尚未提出重发", "nobody has proposed it")
    if payout.proposer == command.by.person:
        return Refusal(
            "same_person",
            "须由另一人复核",
            "another person confirms",
            rule="reading 18",
            status=403,
        )
    attempt = payout.attempt + 1
    next_id = payout_id_of(payout.award_id, payout.instalment, attempt)
    reissued = PayoutReissued(
        case_id=state.case_id,
        payout_id=payout.payout_id,
        next_payout_id=next_id,
        proposer=payout.proposer,
        confirmer=command.by.person,
    )
    planned = PayoutPlanned(
        case_id=state.case_id,
        payout_id=next_id,
        award_id=payout.award_id,
        instalment=payout.instalment,
        attempt=attempt,
        fund=payout.fund,
        programme=payout.programme,
        amount_fen=payout.amount_fen,
        approver=payout.approver,
    )
    return Decided(
        [reissued, planned], [Condition(live(payout.award_id, payout.instalment), maximum=1)]
    )


def _failed(
    state: Payouts, command: ProposeReissue | ConfirmReissue, situation: Situation, role: str
) -> Payout | Refusal:
    """The payout, if this person may act on its failure and it is ripe for another attempt."""
    refusal = wrong_office(command, situation, role)
    if refusal is not None:
        return refusal
    payout = state.payout(command.payout_id)
    if payout is None or outside(state.organisation_id, command, situation):
        return UNKNOWN
    if awaits_account(payout):
        return Refusal("account_uncorrected", "账户尚未更正", "the account is still the same")
    if not may_be_reissued(payout):
        return Refusal("not_failed", "该笔款项未确认失败", "no confirmed failure to answer")
    if state.account_clerk == command.by.person:
        return Refusal(
            "clerk_issues",
            "更正账户者不得发放",
            "who corrected the account does not issue",
            rule="reading 18",
            status=403,
        )
    return payout
