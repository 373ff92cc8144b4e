"""Which payouts wait for the bank's word, and since when: asked by the process and by operators."""

from __future__ import annotations

from datetime import date
from typing import Final

# In the order in which a payout passes them; only the bank's word leads out.
WITH_THE_BANK: Final = ("sending", "unresolved", "accepted")

# Every payout with the bank has a timer, so the few timers are looked through, not all payouts.
QUERY: Final = (
    "SELECT p.status, count(*) AS payouts, min(p.document::json->>'issued_on') AS oldest_on "
    "FROM (SELECT DISTINCT t.stream FROM {schema}.views t WHERE t.model = 'timer' OFFSET 0) AS t "
    "CROSS JOIN LATERAL (SELECT v.status, v.document FROM {schema}.views v "
    "WHERE v.stream = t.stream AND v.model = $1 OFFSET 0) AS p "
    "WHERE p.status = ANY ($2) GROUP BY p.status"
)


def days_since(issued_on: str | None, today: date) -> int:
    """Calendar days of business time."""
    return 0 if issued_on is None else (today - date.fromisoformat(issued_on)).days
