"""Which cases are stuck: open at the year's end with no timer ahead and no work on any list."""

from __future__ import annotations

from typing import Final

import asyncpg

from sandbox.installation import SERVICES

# Where intake has nothing more to do of itself; a failed payout is settled by its next attempt.
SETTLED: Final = frozenset(("lapsed", "rejected", "registered", "deregistered"))


async def stuck_cases(postgres_url: str) -> list[tuple[str, str]]:
    """(case, where it stands) for each stuck one, read with the operator's right."""
    connection = await asyncpg.connect(postgres_url)
    try:
        awaited: set[str] = set()
        for service in SERVICES:
            rows = await connection.fetch(
                f"SELECT DISTINCT subject FROM {service}.views WHERE model IN ('work', 'timer')"  # noqa: S608 - our own list of services
            )
            awaited.update(row["subject"] for row in rows)
        cases = await connection.fetch(
            "SELECT key AS case_id, status FROM intake.views WHERE model = 'case'"
        )
        payouts = await connection.fetch(
            "SELECT subject AS case_id, status FROM payout.views WHERE model = 'payout' "
            "AND status <> 'confirmed' AND document::json->>'reissued_as' IS NULL"
        )
    finally:
        await connection.close()
    open_cases = [(r["case_id"], r["status"]) for r in cases if r["status"] not in SETTLED]
    unpaid = [(r["case_id"], f"payout {r['status']}") for r in payouts]
    return sorted(each for each in (*open_cases, *unpaid) if each[0] not in awaited)
