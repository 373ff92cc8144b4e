"""Cover: a computed award is approved only once its money is reserved."""

import pytest

from services.payout.decisions.cover import ReleaseCover, ReserveCover, TakeOverAccount
from services.payout.decisions.fund import CreditFund
from services.payout.decisions.paying import PlanPayout, payout_id_of
from services.payout.facts import CoverRefused, CoverReleased, FundCredited, PayoutPlanned
from services.payout.main import FUND as FUND_KIND
from services.payout.main import PAYOUTS
from shared.room import Condition, Decided
from tests.given_when_then import SUBJECT, given
from tests.services.payout.world import (
    AMOUNT,
    APPROVER,
    AWARD,
    CARD,
    FUND,
    HOLDER,
    KEEPER,
    MAKER,
    PLANNED,
    account_taken_over,
    cover_reserved,
    payout_planned,
    situation,
)

AVAILABLE = f"fund|{FUND}|available"
RESERVE = ReserveCover(award_id=AWARD, fund=FUND, programme="living", amount_fen=AMOUNT)
RELEASE = ReleaseCover(award_id=AWARD)
PLAN = PlanPayout(award_id=AWARD, amount_fen=AMOUNT, approver=APPROVER)


def test_the_registered_file_says_whom_to_pay_and_the_tree_who_pays() -> None:
    """The nearest federation above the case's holder pays; a repeat changes nothing."""
    command = TakeOverAccount(
        household_id="household",
        organisation_id="union",
        persons=("payee", "child"),
        payee_id="payee",
        account_kind="card",
        account=CARD,
        holder_name=HOLDER,
    )
    told = given(PAYOUTS).when(command, situation()).then(account_taken_over())
    told.afterwards().when(command, situation()).then()


def test_cover_is_reserved_while_the_fund_lasts() -> None:
    """The balance covers it to the last fen, and the write holds it at zero or more."""
    asked = given(PAYOUTS, [account_taken_over()]).when(
        RESERVE, situation(guards={AVAILABLE: AMOUNT})
    )
    asked.then(cover_reserved())
    assert isinstance(asked.answer, Decided)
    assert list(asked.answer.conditions) == [Condition(AVAILABLE, minimum=0)]


def test_one_fen_less_is_refused_and_the_case_remembers_it() -> None:
    """A refusal that matters to the case is itself a fact."""
    refused = CoverRefused(
        case_id=SUBJECT,
        award_id=AWARD,
        fund=FUND,
        amount_fen=AMOUNT,
        reason="insufficient_funds",
    )
    given(PAYOUTS, [account_taken_over()]).when(
        RESERVE, situation(guards={AVAILABLE: AMOUNT - 1})
    ).then(refused)


def test_an_award_is_covered_once() -> None:
    """A repeat finds it covered, or refused, and changes nothing."""
    rich = situation(guards={AVAILABLE: 10 * AMOUNT})
    given(PAYOUTS, [account_taken_over(), cover_reserved()]).when(RESERVE, rich).then()


def test_a_refused_award_gives_its_cover_back_and_nothing_else_does() -> None:
    """AwardRefused after cover → CoverReleased; without cover, or twice, nothing."""
    covered = given(PAYOUTS, [account_taken_over(), cover_reserved()])
    released = CoverReleased(case_id=SUBJECT, award_id=AWARD, fund=FUND, amount_fen=AMOUNT)
    after = covered.when(RELEASE, situation()).then(released).afterwards()
    after.when(RELEASE, situation()).then()
    given(PAYOUTS, [account_taken_over()]).when(RELEASE, situation()).then()
    given(PAYOUTS, PLANNED).when(RELEASE, situation()).then()
    after.when(PLAN, situation()).refused("no_cover")


def test_an_approved_award_is_planned_once_for_what_is_covered() -> None:
    """``payout_id`` is a function of award, instalment and attempt; one live attempt at most."""
    covered = given(PAYOUTS, [account_taken_over(), cover_reserved()])
    asked = covered.when(PLAN, situation()).then(payout_planned())
    assert isinstance(asked.answer, Decided)
    assert list(asked.answer.conditions) == [Condition(f"live|{AWARD}|1", maximum=1)]
    asked.afterwards().when(PLAN, situation()).then()
    planned = asked.facts[0]
    assert isinstance(planned, PayoutPlanned)
    assert planned.payout_id == payout_id_of(AWARD, 1, 1) != payout_id_of(AWARD, 1, 2)


def test_nothing_is_planned_without_cover_or_for_another_amount() -> None:
    """Live payouts of an award never exceed what is covered."""
    given(PAYOUTS, [account_taken_over()]).when(PLAN, situation()).refused("no_cover")
    more = PLAN.model_copy(update={"amount_fen": AMOUNT + 1})
    given(PAYOUTS, [account_taken_over(), cover_reserved()]).when(more, situation()).refused(
        "other_amount"
    )


CREDIT = CreditFund(by=KEEPER, credit_id="credit", source="budget", amount_fen=AMOUNT)


def test_a_fund_is_credited_by_its_keeper() -> None:
    """The source is named; the fund belongs to the federation that credited it first."""
    credited = FundCredited(
        fund=FUND, organisation_id="city", credit_id="credit", source="budget", amount_fen=AMOUNT
    )
    after = given(FUND_KIND, identity=FUND).when(CREDIT, situation()).then(credited).afterwards()
    assert after.state.credited_fen == AMOUNT
    elsewhere = KEEPER.__class__("keeper-2", "fund_keeper", "other-city")
    after.when(CREDIT.model_copy(update={"by": elsewhere}), situation()).refused("unknown")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"by": MAKER}, "wrong_office"),
        ({"by": KEEPER.__class__("k", "fund_keeper", "county")}, "wrong_office"),
        ({"amount_fen": 0}, "nothing_credited"),
        ({"occurred_on": situation().today.replace(day=4)}, "not_yet"),
    ],
)
def test_a_wrong_credit_is_refused(changes: dict[str, object], code: str) -> None:
    """Only a fund keeper of a federation, something, and on no day to come."""
    command = CREDIT.model_copy(update=changes)
    given(FUND_KIND, identity=FUND).when(command, situation()).refused(code)
