"""Accounts that did not open when the bank asked for them: counted, logged, and never guessed at.

A sealed account that was altered, or whose key the keys' database does not have, keeps one payment
waiting and no other. The bank asks again, so what was mended is paid without anybody's doing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog
from prometheus_client import Gauge

from shared.telemetry import REGISTRY

log = structlog.get_logger()

# The bank asks again at least every half hour, so one that it no longer asks about is forgotten:
# another process has answered it, or the bank has reported that it gives up.
REMEMBERED_SECONDS: Final = 3600.0
SERVICE: Final = "payout"
DAMAGED: Final = Gauge(
    "bangfu_damaged_accounts",
    "Payments whose sealed account did not open when the bank asked for it",
    ["service"],
    registry=REGISTRY,
)


class DamagedAccounts:
    """Which payments' accounts did not open when they were asked for last."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._seen: dict[str, float] = {}
        DAMAGED.labels(SERVICE).set_function(self.count)

    def count(self) -> int:
        """How many there are."""
        oldest = self._now() - REMEMBERED_SECONDS
        self._seen = {each: at for each, at in self._seen.items() if at > oldest}
        return len(self._seen)

    def note(self, end_to_end_id: str, payout_id: str, error: Exception) -> None:
        """One did not open; the error names keys and fields, never what is in them."""
        if end_to_end_id not in self._seen:  # the bank asks again and again
            told = {"end_to_end_id": end_to_end_id, "payout_id": payout_id, "why": str(error)}
            log.error("account_damaged", **told)
        self._seen[end_to_end_id] = self._now()

    def forget(self, end_to_end_id: str) -> None:
        """It opened, or there is nothing left to open."""
        self._seen.pop(end_to_end_id, None)
