"""The payments of one case: whom to pay, what is covered, and every payout that was planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal, assert_never, cast

from services.payout.facts import (
    AccountCorrected,
    AccountKind,
    AccountTakenOver,
    BankQueried,
    CoverRefused,
    CoverReleased,
    CoverReserved,
    FailureReason,
    PayoutAccepted,
    PayoutBatched,
    PayoutConfirmed,
    PayoutFailed,
    PayoutIssued,
    PayoutPlanned,
    PayoutReissued,
    PayoutUnresolved,
    Programme,
    ReissueProposed,
)
from shared.calendar import day_after
from shared.fact import Fact, Recorded

PayoutState = Literal[
    "planned", "batched", "sending", "unresolved", "accepted", "confirmed", "failed"
]
# The bank has, or may have, the instruction: only its word leads out of these.
WITH_THE_BANK: Final = frozenset(("sending", "unresolved", "accepted"))


@dataclass(frozen=True)
class Cover:
    """An award under the fund's cover, and whether it is paid out of it."""

    award_id: str
    fund: str
    programme: Programme | None
    amount_fen: int
    state: Literal["reserved", "refused", "released", "planned"]


@dataclass(frozen=True)
class Payout:
    """One attempt at one instalment of an award."""

    payout_id: str
    award_id: str
    instalment: int
    attempt: int
    fund: str
    programme: Programme
    amount_fen: int
    approver: str
    state: PayoutState = "planned"
    batch_id: str | None = None
    maker: str | None = None
    checker: str | None = None
    end_to_end_id: str | None = None
    account: str | None = None
    holder_name: str | None = None
    issued_on: date | None = None
    # The day on which a report is overdue, or on which the bank is to be asked (again).
    overdue_on: date | None = None
    ask_on: date | None = None
    queries: int = 0
    query_open: bool = False
    bank_reference: str | None = None
    credited_on: date | None = None
    reason: FailureReason | None = None
    account_corrected: bool = False
    proposer: str | None = None
    reissued_as: str | None = None


@dataclass(frozen=True)
class Payouts:
    """The state of one ``payouts`` stream."""

    case_id: str
    household_id: str = ""
    organisation_id: str = ""
    federation_id: str = ""
    persons: tuple[str, ...] = ()
    payee_id: str | None = None
    account_kind: AccountKind | None = None
    account: str | None = None
    holder_name: str | None = None
    account_clerk: str | None = None
    covers: tuple[Cover, ...] = ()
    payouts: tuple[Payout, ...] = ()

    def cover(self, award_id: str) -> Cover | None:
        return next((c for c in self.covers if c.award_id == award_id), None)

    def payout(self, payout_id: str) -> Payout | None:
        return next((p for p in self.payouts if p.payout_id == payout_id), None)


CaseFact = (
    AccountTakenOver
    | CoverReserved
    | CoverRefused
    | CoverReleased
    | PayoutPlanned
    | PayoutBatched
    | PayoutIssued
    | PayoutAccepted
    | PayoutUnresolved
    | BankQueried
    | PayoutConfirmed
    | PayoutFailed
    | AccountCorrected
    | ReissueProposed
    | PayoutReissued
)


def evolve(state: Payouts, fact: Fact, recorded: Recorded) -> Payouts:
    """Copy what the fact says into the state."""
    said = cast(CaseFact, fact)
    match said:
        case AccountTakenOver():
            return replace(
                state,
                household_id=said.household_id,
                organisation_id=said.organisation_id,
                federation_id=said.federation_id,
                persons=said.persons,
                payee_id=said.payee_id,
                account_kind=said.account_kind,
                account=said.account,
                holder_name=said.holder_name,
            )
        case AccountCorrected():
            return _with_account(state, said)
        case CoverReserved() | CoverRefused() | CoverReleased():
            return _with_cover(state, said)
        case PayoutPlanned():
            return _with_plan(state, said)
        case _:
            return _change(state, said.payout_id, _moved(said, recorded.occurred_on))


_Moving = (
    PayoutBatched
    | PayoutIssued
    | PayoutAccepted
    | PayoutUnresolved
    | BankQueried
    | PayoutConfirmed
    | PayoutFailed
    | ReissueProposed
    | PayoutReissued
)


def _moved(fact: _Moving, occurred_on: date) -> Callable[[Payout], Payout]:
    """What a fact of one payout copies into it."""
    match fact:
        case PayoutBatched():
            return lambda p: replace(p, state="batched", batch_id=fact.batch_id, maker=fact.maker)
        case PayoutIssued():
            return lambda p: _issued(p, fact, occurred_on)
        case PayoutAccepted():
            return lambda p: replace(
                _heard(p),
                state="accepted",
                bank_reference=fact.bank_reference,
                ask_on=fact.ask_on,
            )
        case PayoutUnresolved():
            return lambda p: replace(p, state="unresolved", overdue_on=None, ask_on=fact.ask_on)
        case BankQueried():
            return lambda p: replace(
                p, queries=fact.query, query_open=True, ask_on=fact.ask_again_on
            )
        case PayoutConfirmed():
            return lambda p: replace(
                _heard(p),
                state="confirmed",
                bank_reference=fact.bank_reference,
                credited_on=fact.credited_on,
            )
        case PayoutFailed():
            return lambda p: replace(
                _heard(p), state="failed", bank_reference=fact.bank_reference, reason=fact.reason
            )
        case ReissueProposed():
            return lambda p: replace(p, proposer=fact.proposer)
        case PayoutReissued():
            return lambda p: replace(p, reissued_as=fact.next_payout_id)
        case _:
            assert_never(fact)


def _heard(payout: Payout) -> Payout:
    """The bank spoke: nothing is overdue and no question is open."""
    return replace(payout, overdue_on=None, ask_on=None, query_open=False)


def _issued(payout: Payout, fact: PayoutIssued, issued_on: date) -> Payout:
    return replace(
        payout,
        state="sending",
        batch_id=fact.batch_id,
        maker=fact.maker,
        checker=fact.checker,
        end_to_end_id=fact.end_to_end_id,
        account=fact.account,
        holder_name=fact.holder_name,
        issued_on=issued_on,
        overdue_on=day_after(fact.report_by),
    )


def _change(state: Payouts, payout_id: str, change: Callable[[Payout], Payout]) -> Payouts:
    changed = tuple(change(p) if p.payout_id == payout_id else p for p in state.payouts)
    return replace(state, payouts=changed)


def _with_account(state: Payouts, fact: AccountCorrected) -> Payouts:
    """The new account, which also answers every failure before it."""
    return replace(
        state,
        payee_id=fact.payee_id,
        account_kind=fact.account_kind,
        account=fact.account,
        holder_name=fact.holder_name,
        account_clerk=fact.clerk,
        payouts=tuple(
            replace(p, account_corrected=True) if p.state == "failed" else p for p in state.payouts
        ),
    )


def _with_cover(state: Payouts, fact: CoverReserved | CoverRefused | CoverReleased) -> Payouts:
    match fact:
        case CoverReserved():
            cover = Cover(fact.award_id, fact.fund, fact.programme, fact.amount_fen, "reserved")
            return replace(state, covers=(*state.covers, cover))
        case CoverRefused():
            cover = Cover(fact.award_id, fact.fund, None, fact.amount_fen, "refused")
            return replace(state, covers=(*state.covers, cover))
        case CoverReleased():
            return _cover_state(state, fact.award_id, "released")
        case _:
            assert_never(fact)


def _cover_state(state: Payouts, award_id: str, to: Literal["released", "planned"]) -> Payouts:
    covers = tuple(replace(c, state=to) if c.award_id == award_id else c for c in state.covers)
    return replace(state, covers=covers)


def _with_plan(state: Payouts, fact: PayoutPlanned) -> Payouts:
    payout = Payout(
        fact.payout_id,
        fact.award_id,
        fact.instalment,
        fact.attempt,
        fact.fund,
        fact.programme,
        fact.amount_fen,
        fact.approver,
    )
    planned = _cover_state(state, fact.award_id, "planned")
    return replace(planned, payouts=(*planned.payouts, payout))
