"""A small fictional federation, its payers, and a household's case as payout sees it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from services.payout.decisions.paying import payout_id_of
from services.payout.facts import (
    AccountCorrected,
    AccountTakenOver,
    CoverReserved,
    PayoutAccepted,
    PayoutBatched,
    PayoutFailed,
    PayoutIssued,
    PayoutPlanned,
)
from shared.directory import Directory, Edge, Organisation
from shared.fact import Actor
from shared.room import Situation
from tests import given_when_then
from tests.given_when_then import SUBJECT, TODAY, sealed

FOUNDED = date(2012, 1, 1)
ORGANISATIONS = (
    ("city", "federation", None),
    ("county", "centre", "city"),
    ("station", "station", "county"),
    ("union", "union", "station"),
    ("other-city", "federation", None),
    ("other-union", "union", "other-city"),
)
DIRECTORY = Directory(
    [Organisation(name, kind, name, FOUNDED) for name, kind, _ in ORGANISATIONS],
    [Edge(name, parent, FOUNDED) for name, _, parent in ORGANISATIONS if parent],
)

MAKER = Actor("maker", "maker", "city")
CHECKER = Actor("checker", "checker", "city")
CLERK = Actor("clerk", "account_clerk", "city")
KEEPER = Actor("keeper", "fund_keeper", "city")
APPROVER = "approver"
FUND = "sample-city"
AWARD = "award"
AMOUNT = 80_000
PAYOUT = payout_id_of(AWARD, 1, 1)
CARD = sealed("account", "account")
HOLDER = sealed("account", "holder_name")
NEW_CARD = sealed("account", "account").replace("AAAA", "BBBB")
BATCH = "22222222-2222-4222-8222-222222222222"


def situation(today: date = TODAY, **given: Any) -> Situation:
    return given_when_then.situation(today, directory=DIRECTORY, **given)


def fields(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**defaults, **changes}


def account_taken_over(**changes: Any) -> AccountTakenOver:
    known = {
        "case_id": SUBJECT,
        "household_id": "household",
        "organisation_id": "union",
        "federation_id": "city",
        "persons": ("payee", "child"),
        "payee_id": "payee",
        "account_kind": "card",
        "account": CARD,
        "holder_name": HOLDER,
    }
    return AccountTakenOver(**fields(known, changes))


def cover_reserved(**changes: Any) -> CoverReserved:
    known = {
        "case_id": SUBJECT,
        "award_id": AWARD,
        "fund": FUND,
        "programme": "living",
        "amount_fen": AMOUNT,
    }
    return CoverReserved(**fields(known, changes))


def payout_planned(**changes: Any) -> PayoutPlanned:
    known = {
        "case_id": SUBJECT,
        "payout_id": PAYOUT,
        "award_id": AWARD,
        "instalment": 1,
        "attempt": 1,
        "fund": FUND,
        "programme": "living",
        "amount_fen": AMOUNT,
        "approver": APPROVER,
    }
    return PayoutPlanned(**fields(known, changes))


def payout_batched(**changes: Any) -> PayoutBatched:
    known = {"case_id": SUBJECT, "payout_id": PAYOUT, "batch_id": BATCH, "maker": "maker"}
    return PayoutBatched(**fields(known, changes))


def payout_issued(**changes: Any) -> PayoutIssued:
    known = {
        "case_id": SUBJECT,
        "payout_id": PAYOUT,
        "award_id": AWARD,
        "batch_id": BATCH,
        "maker": "maker",
        "checker": "checker",
        "fund": FUND,
        "amount_fen": AMOUNT,
        "message_id": "M1",
        "end_to_end_id": "E1",
        "account": CARD,
        "holder_name": HOLDER,
        "instruction": "{}",
        "instruction_mac": "mac",
        "report_by": date(2025, 3, 5),
    }
    return PayoutIssued(**fields(known, changes))


def payout_accepted(**changes: Any) -> PayoutAccepted:
    known = {
        "case_id": SUBJECT,
        "payout_id": PAYOUT,
        "bank_reference": "B1",
        "confirm_by": date(2025, 3, 5),
        "ask_on": date(2025, 3, 6),
    }
    return PayoutAccepted(**fields(known, changes))


def payout_failed(**changes: Any) -> PayoutFailed:
    known = {
        "case_id": SUBJECT,
        "payout_id": PAYOUT,
        "award_id": AWARD,
        "instalment": 1,
        "fund": FUND,
        "amount_fen": AMOUNT,
        "reason": "name_mismatch",
        "bank_reference": "B1",
    }
    return PayoutFailed(**fields(known, changes))


def account_corrected(**changes: Any) -> AccountCorrected:
    known = {
        "case_id": SUBJECT,
        "payee_id": "payee",
        "account_kind": "card",
        "account": NEW_CARD,
        "holder_name": HOLDER,
        "clerk": "clerk",
    }
    return AccountCorrected(**fields(known, changes))


PLANNED = (account_taken_over(), cover_reserved(), payout_planned())
SENT = (*PLANNED, payout_batched(), payout_issued())
FAILED = (*SENT, payout_failed())
