"""Which payouts wait for the bank's word, and since when: asked by the process and by operators."""

from __future__ import annotations

from datetime import date
from typing import Final

# In the order in which a payout passes them; only the bank's word leads out.
WITH_THE_BANK: Final = ("sending", "unresolved", "accepted")

# Every payout with the bank has a timer, so the few timers are looked through, not all payouts.
QUERY: Final = (
    "SELECT p.status, count(*) AS payouts, min(p.document::json->>'issued_on') AS oldest_on "
    "FROM {schema}.views p WHERE p.model = $1 AND p.status = ANY ($2) AND p.stream IN "
    "(SELECT t.stream FROM {schema}.views t WHERE t.model = 'timer') GROUP BY p.status"
)


def days_since(issued_on: str | None, today: date) -> int:
    """Calendar days of business time."""
    return 0 if issued_on is None else (today - date.fromisoformat(issued_on)).days
