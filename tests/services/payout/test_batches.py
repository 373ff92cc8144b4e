"""Batches: an act of two people is two facts, and payers approved none of it (reading 18)."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from services.payout.decisions.batch import PrepareBatch, ReleaseBatch
from services.payout.decisions.paying import (
    IssuePayout,
    TakeIntoBatch,
    end_to_end_id_of,
    message_id_of,
)
from services.payout.facts import BatchItem, BatchPrepared, BatchReleased, PayoutIssued
from services.payout.main import BATCH as BATCH_KIND
from services.payout.main import PAYOUTS
from shared.fact import Actor
from shared.room import Condition, Decided
from tests.given_when_then import SUBJECT, given
from tests.services.payout.world import (
    AMOUNT,
    APPROVER,
    BATCH,
    CARD,
    CHECKER,
    FUND,
    HOLDER,
    MAKER,
    PAYOUT,
    PLANNED,
    account_corrected,
    account_taken_over,
    cover_reserved,
    payout_batched,
    payout_planned,
    situation,
)

PREPARE = PrepareBatch(by=MAKER, items=((SUBJECT, PAYOUT),))
RELEASE = ReleaseBatch(by=CHECKER)
ITEM = BatchItem(
    case_id=SUBJECT,
    payout_id=PAYOUT,
    fund=FUND,
    amount_fen=AMOUNT,
    approver=APPROVER,
    account_clerk=None,
)
PREPARED = BatchPrepared(
    batch_id=BATCH, organisation_id="city", items=(ITEM,), total_fen=AMOUNT, maker="maker"
)
RELEASED = BatchReleased(
    batch_id=BATCH, items=(ITEM,), total_fen=AMOUNT, maker="maker", checker="checker"
)


def documents(*facts: Any) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """The payout as the read model shows it after these facts."""
    (view,) = given(PAYOUTS, facts).views("payout")
    return {("payout", view.key): view.document}


def test_a_planned_payout_is_put_into_a_batch() -> None:
    """In one batch only, and to the account that was looked at: both compared in the write."""
    asked = given(BATCH_KIND, identity=BATCH).when(
        PREPARE, situation(documents=documents(*PLANNED))
    )
    asked.then(PREPARED)
    assert isinstance(asked.answer, Decided)
    assert list(asked.answer.conditions) == [
        Condition(f"batched|{PAYOUT}", maximum=1),
        Condition(f"account|{SUBJECT}", expect=0),
    ]
    task = asked.afterwards().work()["release_batch"]
    assert (task.organisation, task.role) == ("city", "checker")
    assert task.document["barred"] == [APPROVER]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"by": CHECKER}, "wrong_office"),
        ({"by": Actor("maker", "maker", "county")}, "wrong_office"),
        ({"by": Actor(APPROVER, "maker", "city")}, "approver_pays"),
        ({"by": Actor("stranger", "maker", "other-city")}, "unknown"),
        ({"items": ((SUBJECT, PAYOUT), (SUBJECT, PAYOUT))}, "items_wrong"),
        ({"items": ()}, "items_wrong"),
        ({"items": ((SUBJECT, "another"),)}, "unknown"),
        ({"items": (("another", PAYOUT),)}, "unknown"),
    ],
)
def test_a_wrong_batch_is_refused(changes: dict[str, object], code: str) -> None:
    """The maker's office, a tree of its own, payouts that exist, each once; no approver."""
    command = PREPARE.model_copy(update=changes)
    given(BATCH_KIND, identity=BATCH).when(
        command, situation(documents=documents(*PLANNED))
    ).refused(code)


def test_only_planned_payouts_with_an_account_and_in_no_other_batch() -> None:
    """A payout that another batch holds, or that is under way, or has nowhere to go (K16)."""
    new = given(BATCH_KIND, identity=BATCH)
    known = documents(*PLANNED)
    new.when(PREPARE, situation(documents=known, guards={f"batched|{PAYOUT}": 1})).refused(
        "not_planned"
    )
    taken = documents(*PLANNED, payout_batched())
    new.when(PREPARE, situation(documents=taken)).refused("not_planned")
    nowhere = account_taken_over(payee_id=None, account_kind=None, account=None, holder_name=None)
    lacking = documents(nowhere, cover_reserved(), payout_planned())
    new.when(PREPARE, situation(documents=lacking)).refused("account_missing")
    given(BATCH_KIND, [PREPARED], BATCH).when(PREPARE, situation(documents=known)).refused(
        "prepared_already"
    )


def test_who_corrected_the_account_makes_no_batch_with_it() -> None:
    """Whoever corrects an account does not issue the payment (reading 18)."""
    corrected = documents(*PLANNED, account_corrected(clerk="maker"))
    around = situation(documents=corrected, guards={f"account|{SUBJECT}": 1})
    refusal = given(BATCH_KIND, identity=BATCH).when(PREPARE, around).refused("clerk_issues")
    assert (refusal.rule, refusal.status) == ("reading 18", 403)


def test_another_person_releases_it() -> None:
    """BatchPrepared, BatchReleased: maker and checker differ, once."""
    prepared = given(BATCH_KIND, [PREPARED], BATCH)
    after = prepared.when(RELEASE, situation()).then(RELEASED).afterwards()
    assert not after.work()
    after.when(RELEASE, situation()).refused("released_already")


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (MAKER, "wrong_office"),
        (Actor("maker", "checker", "city"), "same_person"),
        (Actor(APPROVER, "checker", "city"), "approver_pays"),
        (Actor("clerk", "checker", "city"), "clerk_issues"),
        (Actor("checker", "checker", "other-city"), "unknown"),
    ],
)
def test_who_may_not_release(by: Actor, code: str) -> None:
    """Not the maker, in whatever office; no approver, no clerk of an account in it."""
    item = ITEM.model_copy(update={"account_clerk": "clerk"})
    prepared = PREPARED.model_copy(update={"items": (item,)})
    given(BATCH_KIND, [prepared], BATCH).when(
        RELEASE.model_copy(update={"by": by}), situation()
    ).refused(code)


TAKE = TakeIntoBatch(payout_id=PAYOUT, batch_id=BATCH, maker="maker")
ISSUE = IssuePayout(payout_id=PAYOUT, batch_id=BATCH, maker="maker", checker="checker")


def test_the_payout_notes_its_batch_and_leaves_the_makers_list() -> None:
    """Nobody plans with it any more; a repeat changes nothing."""
    planned = given(PAYOUTS, PLANNED)
    assert "prepare_batch" in planned.work()
    after = planned.when(TAKE, situation()).then(payout_batched()).afterwards()
    assert not after.work()
    after.when(TAKE, situation()).then()


def test_an_instruction_is_stored_with_its_bytes_before_the_wire_is_touched() -> None:
    """Ids are functions of the payout, the bytes carry the sealed account and a keyed hash."""
    batched = given(PAYOUTS, [*PLANNED, payout_batched()])
    asked = batched.when(ISSUE, situation()).then_types(PayoutIssued)
    (issued,) = asked.facts
    assert isinstance(issued, PayoutIssued)
    assert issued.end_to_end_id == end_to_end_id_of(PAYOUT)
    assert issued.message_id == message_id_of(PAYOUT)
    assert max(len(issued.end_to_end_id), len(issued.message_id)) <= 35
    assert f'"account":"{CARD}"' in issued.instruction
    assert f'"holder_name":"{HOLDER}"' in issued.instruction
    assert issued.instruction_mac == f"mac(instruction:{issued.instruction})"
    # Issued on a Monday; two business days later is Wednesday.
    assert issued.report_by == date(2025, 3, 5)
    again = asked.afterwards()
    again.when(ISSUE, situation()).then()
    assert batched.when(ISSUE, situation()).facts == [issued]


def test_business_days_pass_over_a_holiday() -> None:
    """Issued on 30 September 2025; 1 to 8 October rest, so the bank has until the tenth."""
    batched = given(PAYOUTS, [*PLANNED, payout_batched()])
    (issued,) = batched.when(ISSUE, situation(date(2025, 9, 30))).facts
    assert isinstance(issued, PayoutIssued)
    assert issued.report_by == date(2025, 10, 10)


def test_a_year_without_published_holidays_is_an_error() -> None:
    """Never "no holidays": what was heard waits until they are entered (reading 15)."""
    batched = given(PAYOUTS, [*PLANNED, payout_batched()])
    with pytest.raises(LookupError):
        batched.when(ISSUE, situation(date(2026, 12, 31)))
