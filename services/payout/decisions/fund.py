"""A fund: who keeps it, and what was paid into it. Its balance is a guard row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from services.payout.decisions.offices import wrong_office
from services.payout.facts import FundCredited, Source
from shared.fact import Fact, Fen, Recorded
from shared.money import LARGEST_FEN
from shared.room import UNKNOWN, Answer, Command, Decided, Refusal, Situation


@dataclass(frozen=True)
class Fund:
    """The state of one ``fund`` stream; it belongs to whoever credited it first."""

    fund: str
    organisation_id: str = ""
    credits: int = 0
    credited_fen: int = 0


def evolve(state: Fund, fact: Fact, _recorded: Recorded) -> Fund:
    """Copy what the fact says into the state."""
    said = cast(FundCredited, fact)
    return replace(
        state,
        organisation_id=said.organisation_id,
        credits=state.credits + 1,
        credited_fen=state.credited_fen + said.amount_fen,
    )


class CreditFund(Command):
    """Money has come in."""

    credit_id: str
    source: Source
    amount_fen: Fen


def credit_fund(state: Fund, command: CreditFund, situation: Situation) -> Answer:
    """The keeper of the fund's own organisation enters what came in, on no later day than today."""
    refusal = wrong_office(command, situation, "fund_keeper")
    if refusal is not None:
        return refusal
    if state.organisation_id not in ("", command.by.organisation):
        return UNKNOWN
    if command.amount_fen == 0:
        return Refusal(
            "nothing_credited", "金额为零", "nothing came in", field="amount_fen", status=422
        )
    if state.credited_fen + command.amount_fen > LARGEST_FEN:
        return Refusal(
            "too_large", "金额过大", "the sum is too large", field="amount_fen", status=422
        )
    if command.occurred_on is not None and command.occurred_on > situation.today:
        return Refusal(
            "not_yet", "日期尚未到来", "that day has not come", field="occurred_on", status=422
        )
    credited = FundCredited(
        fund=state.fund,
        organisation_id=command.by.organisation,
        credit_id=command.credit_id,
        source=command.source,
        amount_fen=command.amount_fen,
    )
    return Decided([credited])
