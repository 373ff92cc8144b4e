"""How many payouts wait for the bank's word, and for how long: told as metrics, decided by nobody.

Only the bank's word leads out of these states, so an old one is a telephone call and no repair.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from prometheus_client import Gauge

from services.payout.bank_waits import QUERY, WITH_THE_BANK, days_since
from services.payout.decisions.batch import PAYOUT_MODEL
from shared.lease import DATABASE_FAILURES
from shared.service import Parts
from shared.telemetry import REGISTRY

log = structlog.get_logger()

LOOK_SECONDS: Final = 15.0
PAYOUTS: Final = Gauge(
    "bangfu_payouts_with_bank",
    "Payouts that wait for the bank's word, by state",
    ["service", "state"],
    registry=REGISTRY,
)
OLDEST_DAYS: Final = Gauge(
    "bangfu_payouts_with_bank_oldest_days",
    "Days of business time since the oldest of them was issued, by state",
    ["service", "state"],
    registry=REGISTRY,
)


async def tell_unresolved(parts: Parts) -> None:
    """Set the gauges now and then, until cancelled."""
    name = parts.room.name
    while True:
        try:
            rows = await parts.store.worker.fetch(
                QUERY.format(schema=parts.store.schema), PAYOUT_MODEL, list(WITH_THE_BANK)
            )
        except DATABASE_FAILURES as error:
            log.warning("unresolved_not_counted", error=type(error).__name__)
        else:
            found = {row["status"]: row for row in rows}
            for state in WITH_THE_BANK:
                row = found.get(state)
                PAYOUTS.labels(name, state).set(row["payouts"] if row else 0)
                OLDEST_DAYS.labels(name, state).set(
                    days_since(row["oldest_on"], parts.clock.today()) if row else 0
                )
        await asyncio.sleep(LOOK_SECONDS)
