"""Cover: a computed award gets its money reserved, or hears that the fund has none."""

from __future__ import annotations

from services.payout.decisions.case import Payouts
from services.payout.decisions.offices import paying_federation
from services.payout.facts import (
    Account,
    AccountKind,
    AccountTakenOver,
    CoverRefused,
    CoverReleased,
    CoverReserved,
    Programme,
)
from shared.fact import Fen
from shared.room import Answer, Command, Condition, Decided, Needs, Situation

INSUFFICIENT_FUNDS = "insufficient_funds"


class TakeOverAccount(Command):
    """Heard: the file is registered."""

    household_id: str
    organisation_id: str
    persons: tuple[str, ...]
    payee_id: str | None
    account_kind: AccountKind | None
    account: Account | None
    holder_name: Account | None


class ReserveCover(Command):
    """Heard: an award was computed."""

    award_id: str
    fund: str
    programme: Programme
    amount_fen: Fen


class ReleaseCover(Command):
    """Heard: an award was refused."""

    award_id: str


def available(fund: str) -> str:
    """The guard row that holds what a fund can still cover."""
    return f"fund|{fund}|available"


def take_over_account(state: Payouts, command: TakeOverAccount, situation: Situation) -> Answer:
    """Once per file: what is needed to pay is stated again in the case's own stream."""
    if state.organisation_id:
        return Decided()
    fact = AccountTakenOver(
        case_id=state.case_id,
        household_id=command.household_id,
        organisation_id=command.organisation_id,
        federation_id=paying_federation(
            situation.directory, command.organisation_id, situation.today
        ),
        persons=command.persons,
        payee_id=command.payee_id,
        account_kind=command.account_kind,
        account=command.account,
        holder_name=command.holder_name,
    )
    return Decided([fact])


def needs_balance(_state: Payouts, command: ReserveCover) -> Needs:
    """The fund's balance decides."""
    return Needs(guards=(available(command.fund),))


def reserve_cover(state: Payouts, command: ReserveCover, situation: Situation) -> Answer:
    """Cover is given while the fund's balance lasts, once per award; it never goes below zero.

    A refusal names no condition: the balance was read after the award was heard, so there was
    a moment at which the fund could not cover it.
    """
    if state.cover(command.award_id) is not None:
        return Decided()
    key = available(command.fund)
    if situation.guards[key] < command.amount_fen:
        refused = CoverRefused(
            case_id=state.case_id,
            award_id=command.award_id,
            fund=command.fund,
            amount_fen=command.amount_fen,
            reason=INSUFFICIENT_FUNDS,
        )
        return Decided([refused])
    reserved = CoverReserved(
        case_id=state.case_id,
        award_id=command.award_id,
        fund=command.fund,
        programme=command.programme,
        amount_fen=command.amount_fen,
    )
    return Decided([reserved], [Condition(key, minimum=0)])


def release_cover(state: Payouts, command: ReleaseCover, _situation: Situation) -> Answer:
    """An award that was refused under cover gives the money back; nothing else does here."""
    cover = state.cover(command.award_id)
    if cover is None or cover.state != "reserved":
        return Decided()
    released = CoverReleased(
        case_id=state.case_id,
        award_id=cover.award_id,
        fund=cover.fund,
        amount_fen=cover.amount_fen,
    )
    return Decided([released])
