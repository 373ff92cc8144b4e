"""Requests for one household at the same moment, from two cases, never exceed a cap together.

Real parallel commands over HTTP, on the real database: the guard rows are compared again in the
write, and whoever comes second decides again on what the first one left.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sandbox.client import Client, RefusedError
from tests.services.eligibility.neighbours import Neighbours, file_registered
from tests.services.serving import Served

# Twelve months of 720 yuan: what was announced by March 2025 (K11, reading 8).
LIVING_CAP_FEN = 12 * 72_000
HANDLERS = ("station-1.handler", "union-1-1.handler")


class Household:
    """Two registered cases of one household."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.household_id = str(uuid.uuid4())
        self.cases = (str(uuid.uuid4()), str(uuid.uuid4()))

    async def register(self, neighbours: Neighbours) -> None:
        for case_id in self.cases:
            fact = file_registered(case_id, self.household_id)
            await neighbours.state("intake", "case", case_id, fact)
        async with asyncio.timeout(20):
            for case_id in self.cases:
                await self._until_on_file(case_id)

    async def _until_on_file(self, case_id: str) -> None:
        while True:
            try:
                await self.client.get(HANDLERS[0], "eligibility", f"/cases/{case_id}")
            except RefusedError:
                await asyncio.sleep(0.05)
            else:
                return

    async def ask(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """All at once, turn and turn about from both cases and two handlers."""
        await asyncio.gather(
            *(
                self.client.post(
                    HANDLERS[number // 2 % 2],
                    "eligibility",
                    f"/cases/{self.cases[number % 2]}/awards",
                    body,
                )
                for number, body in enumerate(bodies)
            )
        )
        return [award for case_id in self.cases for award in await self._awards(case_id)]

    async def _awards(self, case_id: str) -> list[dict[str, Any]]:
        view = await self.client.get(HANDLERS[0], "eligibility", f"/cases/{case_id}")
        found: list[dict[str, Any]] = view["awards"]
        return found


@pytest.fixture
async def household(served: Served) -> AsyncIterator[Household]:
    client = served.client()
    made = Household(client)
    await made.register(served.neighbours())
    yield made
    await client.close()


def computed(awards: Sequence[dict[str, Any]]) -> list[int]:
    return [award["amount_fen"] for award in awards if award["status"] == "computed"]


async def test_living_awards_of_two_cases_fill_the_annual_cap_and_no_more(
    household: Household,
) -> None:
    """Per household and year at most the annual sum of the city's standard (K11)."""
    awards = await household.ask([{"programme": "living", "asked_fen": 100_000}] * 14)
    assert len(awards) == 14
    amounts = computed(awards)
    assert sum(amounts) == LIVING_CAP_FEN
    assert sorted(amounts) == [LIVING_CAP_FEN % 100_000] + [100_000] * 8
    refused = [a["refused"]["reason"] for a in awards if a["refused"]]
    assert refused == ["CAP_EXHAUSTED"] * 5


async def test_bills_presented_at_once_are_awarded_as_if_one_after_the_other(
    household: Household,
) -> None:
    """10 % of all self-paid this year, at most 10,000 yuan (K14, reading 10)."""
    patient = f"{household.household_id}-parent"
    bills = [9, 25, 1_999_999, 2_000_000, 2_500_003, 3_000_000, 1_500_000]
    awards = await household.ask(
        [{"programme": "medical", "patient_id": patient, "self_paid_fen": fen} for fen in bills]
    )
    assert len(awards) == len(bills)
    assert sum(computed(awards)) == min(sum(bills) * 10 // 100, 1_000_000)


async def test_an_incident_is_aided_once_whoever_asks_first(household: Household) -> None:
    """One-off (K15): the others are told so, and the case remembers it."""
    body = {
        "programme": "disaster",
        "asked_fen": 200_000,
        "loss_fen": 3_000_000,
        "reasons": "房屋过火，家具电器全部损毁",
    }
    awards = await household.ask([body] * 6)
    assert computed(awards) == [200_000]
    refused = [a["refused"]["reason"] for a in awards if a["refused"]]
    assert refused == ["INCIDENT_ALREADY_AIDED"] * 5
