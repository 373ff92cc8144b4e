"""What falls due: the bank's silence is noticed, and then it is asked."""

from __future__ import annotations

from datetime import date
from typing import Final

from services.payout.decisions.reports import NoteSilence, QueryBank
from shared.room import Tell, Timer


def report_due(identity: str, _due_on: date) -> Tell:
    """Two business days without a word."""
    return Tell("payouts", identity, NoteSilence())


def query_due(identity: str, _due_on: date) -> Tell:
    """A business day on which the bank still owes its last word."""
    return Tell("payouts", identity, QueryBank())


TIMERS: Final[dict[str, Timer]] = {"report_due": report_due, "query_due": query_due}
