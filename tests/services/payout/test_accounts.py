"""After a failure: one person corrects the account, two others let a new attempt go out."""

import pytest

from services.payout.decisions.accounts import ConfirmReissue, CorrectAccount, ProposeReissue
from services.payout.decisions.paying import IssuePayout, payout_id_of
from services.payout.facts import PayoutIssued, PayoutReissued, ReissueProposed
from services.payout.main import PAYOUTS
from shared.fact import Actor, Fact
from shared.room import Condition, Decided
from tests.given_when_then import SUBJECT, given
from tests.services.payout.world import (
    AWARD,
    BATCH,
    CHECKER,
    CLERK,
    FAILED,
    HOLDER,
    MAKER,
    NEW_CARD,
    PAYOUT,
    PLANNED,
    SENT,
    account_corrected,
    account_taken_over,
    cover_reserved,
    payout_failed,
    payout_planned,
    situation,
)

CORRECT = CorrectAccount(
    by=CLERK, payee_id="payee", account_kind="card", account=NEW_CARD, holder_name=HOLDER
)
PROPOSE = ProposeReissue(by=MAKER, payout_id=PAYOUT)
CONFIRM = ConfirmReissue(by=CHECKER, payout_id=PAYOUT)
NEXT = payout_id_of(AWARD, 1, 2)
PROPOSED = ReissueProposed(case_id=SUBJECT, payout_id=PAYOUT, proposer="maker")
REISSUED = PayoutReissued(
    case_id=SUBJECT,
    payout_id=PAYOUT,
    next_payout_id=NEXT,
    proposer="maker",
    confirmer="checker",
)


def test_failed_corrected_proposed_confirmed() -> None:
    """Each step waits for the one before and is another office's work."""
    failed = given(PAYOUTS, FAILED)
    assert list(failed.work()) == ["correct_account"]
    failed.when(PROPOSE, situation()).refused("account_uncorrected")
    corrected = failed.when(CORRECT, situation()).then(account_corrected()).afterwards()
    assert list(corrected.work()) == ["propose_reissue"]
    corrected.when(CONFIRM, situation()).refused("not_proposed")
    proposed = corrected.when(PROPOSE, situation()).then(PROPOSED).afterwards()
    assert list(proposed.work()) == ["confirm_reissue"]
    proposed.when(PROPOSE, situation()).refused("proposed_already")
    asked = proposed.when(CONFIRM, situation())
    asked.then(REISSUED, payout_planned(payout_id=NEXT, attempt=2))
    assert isinstance(asked.answer, Decided)
    assert list(asked.answer.conditions) == [Condition(f"live|{AWARD}|1", maximum=1)]
    again = asked.afterwards()
    assert list(again.work()) == ["prepare_batch"]
    again.when(CONFIRM, situation()).refused("not_failed")


def test_the_new_attempt_goes_to_the_new_account() -> None:
    """And carries ids of its own: within an attempt one id, never across attempts."""
    planned = given(
        PAYOUTS,
        [
            *FAILED,
            account_corrected(),
            PROPOSED,
            REISSUED,
            payout_planned(payout_id=NEXT, attempt=2),
        ],
    )
    issue = IssuePayout(payout_id=NEXT, batch_id=BATCH, maker="maker", checker="checker")
    (issued,) = planned.when(issue, situation()).facts
    assert isinstance(issued, PayoutIssued)
    assert issued.account == NEW_CARD
    assert issued.end_to_end_id != "E1"


def test_another_reason_needs_no_other_account() -> None:
    """Only what lies in the account waits for the account clerk."""
    failed = given(PAYOUTS, [*SENT, payout_failed(reason="other")])
    assert list(failed.work()) == ["propose_reissue"]
    failed.when(PROPOSE, situation()).then(PROPOSED)


@pytest.mark.parametrize("facts", [PLANNED, SENT])
def test_no_new_attempt_without_a_confirmed_failure(facts: tuple[Fact, ...]) -> None:
    """What we do not know is not a failure."""
    given(PAYOUTS, facts).when(PROPOSE, situation()).refused("not_failed")


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (MAKER, "wrong_office"),
        (Actor("clerk", "account_clerk", "county"), "wrong_office"),
        (Actor("clerk", "account_clerk", "other-city"), "unknown"),
    ],
)
def test_who_may_correct_an_account(by: Actor, code: str) -> None:
    """The account clerk of the federation above the case."""
    command = CORRECT.model_copy(update={"by": by})
    given(PAYOUTS, FAILED).when(command, situation()).refused(code)


def test_the_payee_stays_the_same_person() -> None:
    """Another account of the payee; where the file named none, a person of the household."""
    other = CORRECT.model_copy(update={"payee_id": "child"})
    given(PAYOUTS, FAILED).when(other, situation()).refused("other_payee")
    nobody = account_taken_over(payee_id=None, account_kind=None, account=None, holder_name=None)
    waiting = given(PAYOUTS, [nobody, cover_reserved(), payout_planned()])
    assert list(waiting.work()) == ["correct_account"]
    stranger = CORRECT.model_copy(update={"payee_id": "stranger"})
    waiting.when(stranger, situation()).refused("other_payee")
    entered = waiting.when(other, situation()).then(account_corrected(payee_id="child"))
    assert list(entered.afterwards().work()) == ["prepare_batch"]


def test_no_correction_while_a_payment_to_the_account_is_in_a_batch() -> None:
    """Also in one that this case has not heard of yet: the guard row knows it (reading 18)."""
    planned = given(PAYOUTS, PLANNED)
    asked = planned.when(CORRECT, situation()).then(account_corrected())
    assert isinstance(asked.answer, Decided)
    assert list(asked.answer.conditions) == [Condition(f"batched|{PAYOUT}", maximum=0)]
    taken = situation(guards={f"batched|{PAYOUT}": 1})
    planned.when(CORRECT, taken).refused("payment_under_way")


def test_the_clerk_of_the_account_takes_no_part_in_issuing() -> None:
    """Whoever corrects an account does not issue the payment, in whatever other office."""
    corrected = given(PAYOUTS, [*FAILED, account_corrected(clerk="maker")])
    corrected.when(PROPOSE, situation()).refused("clerk_issues")
    proposed = given(PAYOUTS, [*FAILED, account_corrected(clerk="checker"), PROPOSED])
    proposed.when(CONFIRM, situation()).refused("clerk_issues")
    planned = given(PAYOUTS, [*PLANNED, account_corrected(clerk="checker")])
    issue = IssuePayout(payout_id=PAYOUT, batch_id=BATCH, maker="maker", checker="checker")
    planned.when(issue, situation()).refused("clerk_issues")


def test_proposer_and_confirmer_are_two_people() -> None:
    """A new attempt needs two people."""
    proposed = given(PAYOUTS, [*FAILED, account_corrected(), PROPOSED])
    both = CONFIRM.model_copy(update={"by": Actor("maker", "checker", "city")})
    proposed.when(both, situation()).refused("same_person")
    proposed.when(CONFIRM.model_copy(update={"by": MAKER}), situation()).refused("wrong_office")
