"""What payout keeps beside its facts: read models, guard rows, postings, and how funds are read.

All of it is derived from facts by the pure functions here, so it can be rebuilt and compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from services.payout.decisions.accounts import (
    awaits_account,
    batched,
    corrections,
    may_be_reissued,
)
from services.payout.decisions.batch import PAYOUT_MODEL, Batch
from services.payout.decisions.case import Payout, Payouts
from services.payout.decisions.cover import available
from services.payout.decisions.fund import Fund
from services.payout.decisions.paying import FIRST_ATTEMPT, live
from services.payout.facts import (
    AccountCorrected,
    BatchPrepared,
    CoverReleased,
    CoverReserved,
    FundCredited,
    PayoutConfirmed,
    PayoutFailed,
    PayoutIssued,
    PayoutPlanned,
)
from services.payout.instructions import instruction_row
from shared.event_store import EventStore
from shared.fact import Fact, Recorded
from shared.room import DerivedTable, View

CASE_MODEL: Final = "case_payouts"
END_TO_END_MODEL: Final = "end_to_end"
QUERY_MODEL: Final = "query"
FUND_MODEL: Final = "fund"
BATCH_MODEL: Final = "batch"

# Read models of a case


def case_views(state: Payouts) -> list[View]:
    """Everything that others look at in one case; personal data only sealed."""
    return [
        _case_view(state),
        *(_payout_view(state, payout) for payout in state.payouts),
        *_bank_views(state),
        *_case_work(state),
        *_case_timers(state),
    ]


def _case_view(state: Payouts) -> View:
    document = {
        "case_id": state.case_id,
        "organisation_id": state.organisation_id,
        "payee_id": state.payee_id,
        "account_known": state.account is not None,
        "covers": [
            {
                "award_id": cover.award_id,
                "fund": cover.fund,
                "programme": cover.programme,
                "amount_fen": cover.amount_fen,
                "state": cover.state,
            }
            for cover in state.covers
        ],
        "payouts": [_payout_document(state, payout) for payout in state.payouts],
    }
    return View(CASE_MODEL, state.case_id, document, state.organisation_id)


def _payout_view(state: Payouts, payout: Payout) -> View:
    document = _payout_document(state, payout)
    return View(
        PAYOUT_MODEL, payout.payout_id, document, state.organisation_id, status=payout.state
    )


def _payout_document(state: Payouts, payout: Payout) -> dict[str, Any]:
    return {
        "case_id": state.case_id,
        "organisation_id": state.organisation_id,
        "account_known": state.account is not None,
        "account_clerk": state.account_clerk,
        "payout_id": payout.payout_id,
        "award_id": payout.award_id,
        "instalment": payout.instalment,
        "attempt": payout.attempt,
        "fund": payout.fund,
        "programme": payout.programme,
        "amount_fen": payout.amount_fen,
        "approver": payout.approver,
        "state": payout.state,
        "batch_id": payout.batch_id,
        "end_to_end_id": payout.end_to_end_id,
        "issued_on": payout.issued_on,
        "credited_on": payout.credited_on,
        "reason": payout.reason,
        "queries": payout.queries,
        "reissued_as": payout.reissued_as,
    }


def _bank_views(state: Payouts) -> Iterator[View]:
    """By the name that the bank knows: the payout and its sealed account; open questions."""
    for payout in state.payouts:
        if payout.end_to_end_id is None:
            continue
        ids = {"case_id": state.case_id, "payout_id": payout.payout_id}
        sealed = {"account": payout.account, "holder_name": payout.holder_name}
        yield View(END_TO_END_MODEL, payout.end_to_end_id, {**ids, **sealed})
        if payout.query_open:
            asked = {"end_to_end_id": payout.end_to_end_id, "query": payout.queries}
            yield View(QUERY_MODEL, payout.payout_id, {**ids, **asked})


def _case_work(state: Payouts) -> Iterator[View]:
    waiting = [p for p in state.payouts if awaits_account(p)]
    unissued = [p for p in state.payouts if p.state == "planned"]
    if waiting or (state.account is None and unissued):
        concerned = waiting or unissued
        document: dict[str, Any] = {
            "case_id": state.case_id,
            "payee_id": state.payee_id,
            "payout_ids": [p.payout_id for p in concerned],
            "reasons": sorted({p.reason or "account_missing" for p in concerned}),
        }
        yield _work(state, "correct_account", "account_clerk", state.case_id, document)
    for payout in state.payouts:
        ids = {"case_id": state.case_id, "payout_id": payout.payout_id}
        about = {**ids, "reason": payout.reason, "account_clerk": state.account_clerk}
        if payout.state == "planned" and state.account is not None:
            document = {
                **ids,
                "fund": payout.fund,
                "amount_fen": payout.amount_fen,
                "approver": payout.approver,
                "account_clerk": state.account_clerk,
            }
            yield _work(state, "prepare_batch", "maker", payout.payout_id, document)
        elif may_be_reissued(payout) and payout.proposer is None:
            yield _work(state, "propose_reissue", "maker", payout.payout_id, about)
        elif may_be_reissued(payout):
            document = {**about, "proposer": payout.proposer}
            yield _work(state, "confirm_reissue", "checker", payout.payout_id, document)


def _work(state: Payouts, task: str, role: str, about: str, document: dict[str, Any]) -> View:
    key = f"payouts-{state.case_id}:{task}:{about}"
    return View("work", key, document, state.federation_id, role, status=task)


def _case_timers(state: Payouts) -> Iterator[View]:
    """One timer of a name at a time: it acts on all that is due, and the next one follows."""
    overdue = [p.overdue_on for p in state.payouts if p.overdue_on is not None]
    ask = [p.ask_on for p in state.payouts if p.ask_on is not None]
    for name, days in (("report_due", overdue), ("query_due", ask)):
        if days:
            key = f"payouts-{state.case_id}:{name}"
            yield View("timer", key, {"timer": name}, due_on=min(days))


# Read models of batches and funds


def batch_views(state: Batch) -> list[View]:
    """The batch, and the checker's task while it waits."""
    document = {
        "batch_id": state.batch_id,
        "organisation_id": state.organisation_id,
        "state": state.state,
        "total_fen": state.total_fen,
        "maker": state.maker,
        "checker": state.checker,
        "items": [item.model_dump(mode="json") for item in state.items],
    }
    views = [View(BATCH_MODEL, state.batch_id, document, state.organisation_id, status=state.state)]
    if state.state == "prepared":
        barred = {i.approver for i in state.items} | {i.account_clerk for i in state.items}
        task = {
            "batch_id": state.batch_id,
            "items": len(state.items),
            "total_fen": state.total_fen,
            "maker": state.maker,
            "barred": sorted(person for person in barred if person),
        }
        key = f"batch-{state.batch_id}:release_batch"
        office = (state.organisation_id, "checker")
        views.append(View("work", key, task, *office, status="release_batch"))
    return views


def fund_views(state: Fund) -> list[View]:
    """The fund; its balances are read from the ledger."""
    document = {
        "fund": state.fund,
        "organisation_id": state.organisation_id,
        "credits": state.credits,
        "credited_fen": state.credited_fen,
    }
    return [View(FUND_MODEL, state.fund, document, state.organisation_id)]


async def balances(store: EventStore, fund: str, organisations: Sequence[str]) -> dict[str, int]:
    """What stands in each posting account of a fund, in fen."""
    rows = await store.office.fetch(
        f"SELECT account, balance_fen FROM {store.schema}.api_balances($1, $2)",  # noqa: S608 - the schema is the room's own name
        fund,
        list(organisations),
    )
    return {row["account"]: row["balance_fen"] for row in rows}


# The ledger


def _entry(fact: Fact) -> tuple[str, str] | None:
    """From which posting account to which a fact moves its amount, if it moves any."""
    match fact:
        case FundCredited():
            return "source", "credited"
        case CoverReserved():
            return "credited", "reserved"
        case CoverReleased():
            return "reserved", "credited"
        case PayoutPlanned() if fact.attempt == FIRST_ATTEMPT:
            return "reserved", "committed"
        case PayoutIssued():
            return "committed", "sent"
        case PayoutConfirmed():
            return "sent", "paid"
        case PayoutFailed():
            # The award is still to be paid: a live commitment never lapses.
            return "sent", "committed"
        case _:
            return None


def postings_of(fact: Fact, recorded: Recorded) -> list[dict[str, Any]]:
    """The double entry of one fact, as it stands in the table ``postings``; sum zero."""
    entry = _entry(fact)
    if entry is None:
        return []
    said: Any = fact
    line = {
        "fact_id": recorded.fact_id,
        "fund": said.fund,
        "stream": recorded.stream,
        "version": recorded.version,
        "occurred_on": recorded.occurred_on.isoformat(),
        "award_id": getattr(fact, "award_id", None),
        "payout_id": getattr(fact, "payout_id", None),
    }
    taken, given = entry
    return [
        {**line, "account": taken, "amount_fen": -said.amount_fen},
        {**line, "account": given, "amount_fen": said.amount_fen},
    ]


def posting_rows(fact: Fact, recorded: Recorded) -> list[dict[str, Any]]:
    """The same with its day as a day, as the table has it."""
    return [
        {**posting, "occurred_on": recorded.occurred_on} for posting in postings_of(fact, recorded)
    ]


def balance_changes(fact: Fact, recorded: Recorded) -> list[dict[str, Any]]:
    """What a fact moves in the sums of the postings."""
    return [
        {**posting, "balance_fen": posting["amount_fen"]} for posting in postings_of(fact, recorded)
    ]


def instructions_of(fact: Fact, recorded: Recorded) -> list[dict[str, Any]]:
    """The row of the bank's outbox that follows from an issued payout."""
    return [instruction_row(fact, recorded)] if isinstance(fact, PayoutIssued) else []


DERIVED: Final = (
    DerivedTable(
        "postings",
        ("fact_id", "fund", "account"),
        ("amount_fen", "stream", "version", "occurred_on", "award_id", "payout_id"),
        posting_rows,
        of="stream",
    ),
    DerivedTable("balances", ("fund", "account"), ("balance_fen",), balance_changes, is_sum=True),
    # The bank has read them: what is wrong here is for a person to see to.
    DerivedTable(
        "instructions",
        ("stream", "version"),
        ("fact_id", "type", "subject", "envelope", "data", "hash"),
        instructions_of,
        mended=False,
    ),
)


def own_rows(fact: Fact, recorded: Recorded) -> list[dict[str, Any]]:
    """Rows of the service's own tables, stored in the write of the fact."""
    rows = [{"kind": "posting", **posting} for posting in postings_of(fact, recorded)]
    rows += [{"kind": "instruction", **row} for row in instructions_of(fact, recorded)]
    return rows


def guard_changes(fact: Fact, recorded: Recorded) -> list[tuple[str, int]]:
    """What a fact moves in guard rows; a fund's balance is its ledger account ``credited``."""
    changes = [
        (available(posting["fund"]), posting["amount_fen"])
        for posting in postings_of(fact, recorded)
        if posting["account"] == "credited"
    ]
    match fact:
        case PayoutPlanned():
            changes.append((live(fact.award_id, fact.instalment), 1))
        case PayoutFailed():
            changes.append((live(fact.award_id, fact.instalment), -1))
        case AccountCorrected():
            changes.append((corrections(fact.case_id), 1))
        case BatchPrepared():
            changes += [(batched(item.payout_id), 1) for item in fact.items]
        case _:
            pass
    return changes
