"""A batch: prepared by a maker, released by a checker, two people who approved none of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, assert_never, cast

from services.payout.decisions.accounts import batched, corrections
from services.payout.decisions.offices import outside, wrong_office
from services.payout.facts import BatchItem, BatchPrepared, BatchReleased
from shared.fact import Fact, Recorded
from shared.room import UNKNOWN, Answer, Command, Condition, Decided, Needs, Refusal, Situation

# The read model in which the payouts of all cases stand, by payout.
PAYOUT_MODEL: Final = "payout"


@dataclass(frozen=True)
class Batch:
    """The state of one ``batch`` stream."""

    batch_id: str
    organisation_id: str = ""
    items: tuple[BatchItem, ...] = ()
    total_fen: int = 0
    maker: str = ""
    checker: str = ""
    state: Literal["", "prepared", "released"] = ""


def evolve(state: Batch, fact: Fact, _recorded: Recorded) -> Batch:
    """Copy what the fact says into the state."""
    said = cast(BatchPrepared | BatchReleased, fact)
    match said:
        case BatchPrepared():
            return replace(
                state,
                organisation_id=said.organisation_id,
                items=said.items,
                total_fen=said.total_fen,
                maker=said.maker,
                state="prepared",
            )
        case BatchReleased():
            return replace(state, checker=said.checker, state="released")
        case _:
            assert_never(said)


class PrepareBatch(Command):
    """The maker puts planned payouts together: (case, payout) each."""

    items: tuple[tuple[str, str], ...]


class ReleaseBatch(Command):
    """The checker lets them go out."""


def needs_payouts(_state: Batch, command: PrepareBatch) -> Needs:
    """The payouts as they stand, that none is in a batch, and whose accounts they pay to."""
    return Needs(
        guards=tuple(
            sorted(
                {batched(payout_id) for _, payout_id in command.items}
                | {corrections(case_id) for case_id, _ in command.items}
            )
        ),
        documents=tuple((PAYOUT_MODEL, payout_id) for _, payout_id in command.items),
    )


def prepare_batch(state: Batch, command: PrepareBatch, situation: Situation) -> Answer:
    """Each payout is planned and in no other batch; the maker neither approved nor corrected."""
    refusal = wrong_office(command, situation, "maker") or _not_a_new_batch(state, command)
    if refusal is not None:
        return refusal
    items: list[BatchItem] = []
    for case_id, payout_id in command.items:
        document = situation.documents.get((PAYOUT_MODEL, payout_id))
        if document is None or document["case_id"] != case_id:
            return UNKNOWN
        if outside(document["organisation_id"], command, situation):
            return UNKNOWN
        if document["state"] != "planned" or situation.guards[batched(payout_id)] > 0:
            return Refusal("not_planned", "不在待发放状态", "a payout is not waiting to be paid")
        if not document["account_known"]:
            return Refusal("account_missing", "无收款账户", "a payee has no account", rule="K16")
        items.append(_item(document))
    barred = who_may_not_pay(items, command.by.person)
    if barred is not None:
        return barred
    prepared = BatchPrepared(
        batch_id=state.batch_id,
        organisation_id=command.by.organisation,
        items=tuple(items),
        total_fen=sum(item.amount_fen for item in items),
        maker=command.by.person,
    )
    return Decided([prepared], _conditions(items, situation))


def _not_a_new_batch(state: Batch, command: PrepareBatch) -> Refusal | None:
    if state.state:
        return Refusal("prepared_already", "批次已编制", "this batch is there already")
    doubled = [pid for pid, times in Counter(pid for _, pid in command.items).items() if times > 1]
    if doubled or not command.items:
        return Refusal(
            "items_wrong", "批次为空或有重复", "no items, or one twice", field="items", status=422
        )
    return None


def _item(document: Mapping[str, Any]) -> BatchItem:
    return BatchItem(
        case_id=document["case_id"],
        payout_id=document["payout_id"],
        fund=document["fund"],
        amount_fen=document["amount_fen"],
        approver=document["approver"],
        account_clerk=document["account_clerk"],
    )


def _conditions(items: Sequence[BatchItem], situation: Situation) -> list[Condition]:
    """In one batch only, and to the account whose clerk was looked at."""
    conditions = [Condition(batched(item.payout_id), maximum=1) for item in items]
    keys = sorted({corrections(item.case_id) for item in items})
    return conditions + [Condition(key, expect=situation.guards[key]) for key in keys]


def who_may_not_pay(items: Sequence[BatchItem], person: str) -> Refusal | None:
    """Payers approved none of the awards and corrected none of the accounts (reading 18)."""
    if any(item.approver == person for item in items):
        return Refusal(
            "approver_pays",
            "审批人不得发放",
            "who approved an award does not pay it",
            rule="reading 18",
            status=403,
        )
    if any(item.account_clerk == person for item in items):
        return Refusal(
            "clerk_issues",
            "更正账户者不得发放",
            "who corrected an account does not issue to it",
            rule="reading 18",
            status=403,
        )
    return None


def release_batch(state: Batch, command: ReleaseBatch, situation: Situation) -> Answer:
    """Another person than the maker, under the same bars; an act of two people is two facts."""
    refusal = wrong_office(command, situation, "checker")
    if refusal is not None:
        return refusal
    if command.by.organisation != state.organisation_id:
        return UNKNOWN
    if state.state != "prepared":
        return Refusal("released_already", "批次已发放", "this batch is released already")
    if command.by.person == state.maker:
        return Refusal(
            "same_person",
            "须由另一人复核",
            "another person releases",
            rule="reading 18",
            status=403,
        )
    barred = who_may_not_pay(state.items, command.by.person)
    if barred is not None:
        return barred
    released = BatchReleased(
        batch_id=state.batch_id,
        items=state.items,
        total_fen=state.total_fen,
        maker=state.maker,
        checker=command.by.person,
    )
    return Decided([released])
