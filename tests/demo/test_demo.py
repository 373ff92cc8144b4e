"""Two hundred households through a year: everything came to its end, and the books agree."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from typing import Any, Final

import psycopg
import pytest

from cli.verify import verify_installation
from sandbox.fate import bank_fate
from sandbox.households import FUND
from sandbox.rest import lags, reasons
from sandbox.stuck import stuck_cases
from tests.demo.conftest import HOUSEHOLDS, Demo

# At rest


def test_no_case_is_stuck(demo: Demo) -> None:
    """No case is open at the year's end with no timer ahead and no work on anybody's list."""
    stuck = asyncio.run(stuck_cases(demo.postgres_url))
    numbers = demo.run.story.number_by_case
    assert [(numbers[case_id], where) for case_id, where in stuck] == []


def test_nothing_is_held_waiting_or_behind(demo: Demo) -> None:
    """Quarantine and waiting queues are empty, and every lag is zero."""
    statuses = demo.host.ask(demo.run.year.rest.look())
    assert reasons(statuses, str(statuses["intake"]["today"])) == []
    assert set(lags(statuses).values()) == {0}


def test_verification_finds_no_difference(demo: Demo) -> None:
    """Kafka, the stores, the read models, the guard rows and the ledger tell one story."""
    infrastructure = demo.installation.infrastructure
    report = asyncio.run(
        verify_installation(
            infrastructure.postgres_url, infrastructure.kafka_bootstrap, demo.installation.prefix
        )
    )
    assert [str(difference) for difference in report.differences] == []
    assert report.cases == HOUSEHOLDS


def test_everybody_who_came_has_a_case(demo: Demo) -> None:
    """Two hundred households apply, each once."""
    assert sorted(demo.outcomes) == list(range(1, HOUSEHOLDS + 1))


# The spread


STAGES: Final = ("registered", "rejected", "lapsed", "deregistered")


@pytest.mark.parametrize("stage", STAGES)
def test_every_ending_occurs(demo: Demo, stage: str) -> None:
    """Somebody is on file, rejected, did not answer a return, and left the file again."""
    assert stage in {outcome["stage"] for outcome in demo.outcomes.values()}


REJECTIONS: Final = (
    "consent_refused",
    "objection_upheld",
    "above_margin",
    "cause_missing",
    "hardship_relieved",
)


@pytest.mark.parametrize("reason", REJECTIONS)
def test_every_reason_for_rejection_that_is_drawn_occurs(demo: Demo, reason: str) -> None:
    """Incomes above the margin, no cause, relieved hardship, no consent, an upheld objection."""
    told = [o["reason"] for o in demo.outcomes.values() if o["stage"] == "rejected"]
    assert any(reason in each for each in told), Counter(told)


SEEN: Final = (
    "ApplicationReturned",
    "ApplicationResubmitted",
    "ApplicationLapsed",
    "ReliefReferralMade",
    "ReliefOutcomeRecorded",
    "FindingAsked",
    "ObjectionUpheld",
    "ObjectionDismissed",
    "NoticeRemoved",
    "AwardRefused",
    "PayoutAccepted",
    "PayoutUnresolved",
    "BankQueried",
    "PayoutFailed",
    "AccountCorrected",
    "ReissueProposed",
    "PayoutReissued",
    "TraineeEnrolled",
    "TraineeCertified",
    "TraineePlaced",
    "HardshipEndProposed",
    "HardshipEndDeclined",
    "HardshipEnded",
)


@pytest.mark.parametrize("name", SEEN)
def test_every_turn_of_the_story_occurs(demo: Demo, name: str) -> None:
    """What the sandbox's people and its bank are drawn to do was done at least once."""
    assert name in demo.log.names


def test_those_who_found_work_left_the_file(demo: Demo) -> None:
    """Exit ``reemployed`` is proposed by a placement and confirmed by a person."""
    left = [o for o in demo.outcomes.values() if o["stage"] == "deregistered"]
    assert {o["reason"] for o in left} == {"reemployed"}
    for deregistered in demo.log.named("FileDeregistered"):
        case = demo.log.cases[deregistered.recorded.subject]
        assert case.known_to(deregistered, "TraineePlaced")
        assert case.known_to(deregistered, "HardshipEndProposed")


def test_what_nobody_confirmed_was_asked_until_the_bank_answered(demo: Demo) -> None:
    """An unresolved payout leaves that state by the bank's word alone.

    Each was asked for it, unless the word came before the day on which it would have been asked.
    """
    unresolved = {told.data["payout_id"]: told.data for told in demo.log.named("PayoutUnresolved")}
    queried = {told.data["payout_id"] for told in demo.log.named("BankQueried")}
    ended = {
        told.data["payout_id"]: told.recorded.occurred_on.isoformat()
        for told in demo.log.named("PayoutConfirmed", "PayoutFailed")
    }
    assert queried & set(unresolved)
    for payout_id, asked in unresolved.items():
        assert payout_id in ended
        assert payout_id in queried or ended[payout_id] <= asked["ask_on"]


def test_each_household_was_paid_as_its_bank_was_drawn_to(demo: Demo) -> None:
    """A wrong account fails until it is corrected, then it is paid; all others at once."""
    awarded = {n: o for n, o in demo.outcomes.items() if sum(o["awards_fen"].values())}
    assert awarded
    for number, outcome in awarded.items():
        failure = bank_fate(demo.run.plan.seed, number).failure
        failed = [each for each in outcome["payments"] if each.startswith("failed: ")]
        assert failed == ([f"failed: {failure}"] if failure else []), number
        assert outcome["paid_fen"] == sum(outcome["awards_fen"].values()), number


# Money


def bank_credits(demo: Demo) -> list[dict[str, Any]]:
    """What the bank says it credited, from its own books."""
    books = demo.installation.folder / "bank" / "bank.sqlite"
    with closing(sqlite3.connect(f"file:{books}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT * FROM payments WHERE state = 'confirmed'").fetchall()
    return [dict(row) for row in rows]


def test_the_banks_books_are_our_confirmed_payouts(demo: Demo) -> None:
    """Settled = ledger, payment by payment (P3)."""
    issued = {told.data["payout_id"]: told.data for told in demo.log.named("PayoutIssued")}
    ours = sorted(
        (issued[c.data["payout_id"]]["end_to_end_id"], c.data["amount_fen"], c.data["credited_on"])
        for c in demo.log.named("PayoutConfirmed")
    )
    theirs = sorted(
        (credit["end_to_end_id"], credit["amount_fen"], credit["credited_on"])
        for credit in bank_credits(demo)
    )
    assert ours
    assert ours == theirs


def test_each_household_got_from_the_bank_what_it_was_awarded(demo: Demo) -> None:
    """By the household that the card names, which no id of ours does."""
    credited: Counter[int] = Counter()
    for credit in bank_credits(demo):
        credited[credit["household"]] += credit["amount_fen"]
    awarded = {n: sum(o["awards_fen"].values()) for n, o in demo.outcomes.items()}
    assert dict(credited) == {n: fen for n, fen in awarded.items() if fen}


def test_postings_sum_to_zero_and_to_what_was_paid(demo: Demo) -> None:
    """Per fact and in all zero; what is paid equals what was confirmed; nothing hangs between."""
    with psycopg.connect(demo.postgres_url) as connection:
        lines = connection.execute(
            "SELECT fact_id, fund, account, amount_fen FROM payout.postings"
        ).fetchall()
        balances: dict[str, int] = dict(
            connection.execute(
                "SELECT account, balance_fen FROM payout.balances WHERE fund = %s", (FUND,)
            ).fetchall()
        )
    by_fact: dict[tuple[str, str], int] = defaultdict(int)
    by_account: Counter[str] = Counter()
    for fact_id, fund, account, amount_fen in lines:
        by_fact[fact_id, fund] += amount_fen
        by_account[account] += amount_fen
    assert set(by_fact.values()) == {0}
    assert by_account.total() == 0
    confirmed = sum(told.data["amount_fen"] for told in demo.log.named("PayoutConfirmed"))
    credited = sum(told.data["amount_fen"] for told in demo.log.named("FundCredited"))
    assert by_account["paid"] == confirmed
    assert by_account["source"] == -credited
    assert by_account["credited"] == credited - confirmed
    assert by_account["reserved"] == by_account["committed"] == by_account["sent"] == 0
    assert {name: fen for name, fen in balances.items() if fen} == {
        name: fen for name, fen in by_account.items() if fen
    }
