"""What payout states: cover, payments and funds.

Streams: ``payouts-<case_id>``, ``fund-<fund>``, ``batch-<batch_id>``. An act of two people is two
facts. Accounts are sealed; the bank asks for them over HTTP, under its own name.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from shared.fact import Count, Fact, Fen, Value
from shared.sealed import Category, Personal

STREAMS = ("payouts", "fund", "batch")

Account = Annotated[str, Personal(Category.ACCOUNT)]
AccountKind = Literal["card", "passbook"]
Programme = Literal["living", "education", "medical", "disaster"]
FailureReason = Literal["name_mismatch", "closed", "card_replaced", "frozen", "other"]
Source = Literal["budget", "provincial_grant", "union_dues", "donation"]


class AccountTakenOver(Fact, name="bangfu.payout.AccountTakenOver"):
    """The file is registered: whom to pay, and where; no account yet if none was given (K16).

    ``federation_id`` is the federation whose maker and checker pay.
    """

    case_id: str
    household_id: str
    organisation_id: str
    federation_id: str
    persons: tuple[str, ...]
    payee_id: str | None
    account_kind: AccountKind | None
    account: Account | None
    holder_name: Account | None


class CoverReserved(Fact, name="bangfu.payout.CoverReserved"):
    case_id: str
    award_id: str
    fund: str
    programme: Programme
    amount_fen: Fen


class CoverRefused(Fact, name="bangfu.payout.CoverRefused"):
    case_id: str
    award_id: str
    fund: str
    amount_fen: Fen
    reason: str


class CoverReleased(Fact, name="bangfu.payout.CoverReleased"):
    case_id: str
    award_id: str
    fund: str
    amount_fen: Fen


class PayoutPlanned(Fact, name="bangfu.payout.PayoutPlanned"):
    """One attempt at one instalment; ``payout_id`` is a function of the three."""

    case_id: str
    payout_id: str
    award_id: str
    instalment: Count
    attempt: Count
    fund: str
    programme: Programme
    amount_fen: Fen
    approver: str


class PayoutBatched(Fact, name="bangfu.payout.PayoutBatched"):
    """A maker has taken it into a batch; from here on no cover is released."""

    case_id: str
    payout_id: str
    batch_id: str
    maker: str


class PayoutIssued(Fact, name="bangfu.payout.PayoutIssued"):
    """Sending: stored with its identifiers and exact bytes before the wire is touched.

    The instruction's personal part is the sealed account; ``instruction_mac`` is keyed.
    """

    case_id: str
    payout_id: str
    award_id: str
    batch_id: str
    maker: str
    checker: str
    fund: str
    amount_fen: Fen
    message_id: str
    end_to_end_id: str
    account: Account
    holder_name: Account
    instruction: str
    instruction_mac: str
    # The bank is asked when nothing was heard until the end of this day.
    report_by: date


class PayoutAccepted(Fact, name="bangfu.payout.PayoutAccepted"):
    """The bank has it; its last word is due by ``confirm_by``, then it is asked for it."""

    case_id: str
    payout_id: str
    bank_reference: str
    confirm_by: date
    ask_on: date


class PayoutUnresolved(Fact, name="bangfu.payout.PayoutUnresolved"):
    """We do not know; only the bank's word leaves this state."""

    case_id: str
    payout_id: str
    report_by: date
    ask_on: date


class BankQueried(Fact, name="bangfu.payout.BankQueried"):
    """A timer asked the bank again for its word."""

    case_id: str
    payout_id: str
    query: Count
    ask_again_on: date


class PayoutConfirmed(Fact, name="bangfu.payout.PayoutConfirmed"):
    case_id: str
    payout_id: str
    award_id: str
    fund: str
    programme: Programme
    amount_fen: Fen
    bank_reference: str
    credited_on: date


class PayoutFailed(Fact, name="bangfu.payout.PayoutFailed"):
    case_id: str
    payout_id: str
    award_id: str
    instalment: Count
    fund: str
    amount_fen: Fen
    reason: FailureReason
    bank_reference: str


class AccountCorrected(Fact, name="bangfu.payout.AccountCorrected"):
    """Another account of the payee; its ``clerk`` issues no payment to it (reading 18)."""

    case_id: str
    payee_id: str
    account_kind: AccountKind
    account: Account
    holder_name: Account
    clerk: str


class ReissueProposed(Fact, name="bangfu.payout.ReissueProposed"):
    case_id: str
    payout_id: str
    proposer: str


class PayoutReissued(Fact, name="bangfu.payout.PayoutReissued"):
    """A second person lets a new attempt be planned; the PayoutPlanned stands beside it."""

    case_id: str
    payout_id: str
    next_payout_id: str
    proposer: str
    confirmer: str


class BatchItem(Value):
    """One planned payout, with those who may not be its maker or checker (reading 18)."""

    case_id: str
    payout_id: str
    fund: str
    amount_fen: Fen
    approver: str
    account_clerk: str | None


class BatchPrepared(Fact, name="bangfu.payout.BatchPrepared"):
    batch_id: str
    organisation_id: str
    items: Annotated[tuple[BatchItem, ...], Field(min_length=1)]
    total_fen: Fen
    maker: str


class BatchReleased(Fact, name="bangfu.payout.BatchReleased"):
    batch_id: str
    items: Annotated[tuple[BatchItem, ...], Field(min_length=1)]
    total_fen: Fen
    maker: str
    checker: str


class FundCredited(Fact, name="bangfu.payout.FundCredited"):
    fund: str
    organisation_id: str
    credit_id: str
    source: Source
    amount_fen: Fen
