"""Payout and the bank together: from a computed award to money that was credited exactly once.

Facts of the neighbours come in from the real broker, people act with their own tokens, the bank
is its own process, and the days pass in the clock file.
"""

import sqlite3
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest

from sandbox import cards
from sandbox.client import Client, Command, RefusedError
from sandbox.fate import Fate, bank_fate
from services.eligibility.facts import AwardApproved, AwardComputed, AwardRefused
from services.intake.facts import Payee
from services.payout.main import ROOM
from services.payout.storage import guard_changes, postings_of
from shared.event_store import recorded_from_row
from shared.sealed import Category, seal
from tests.services.eligibility.neighbours import Neighbours, file_registered
from tests.services.payout.conftest import OPENING, STRANGER, ServedWithKeys
from tests.services.serving import refusal, until

MAKER, CHECKER = "city.maker", "city.checker"
CLERK, KEEPER = "city.account_clerk", "city.fund_keeper"
APPROVER = "county-east.approver"


@pytest.fixture
async def client(served: ServedWithKeys) -> AsyncIterator[Client]:
    made = served.client()
    yield made
    await made.close()


@dataclass
class World:
    """One test's view of the running processes."""

    served: ServedWithKeys
    client: Client
    neighbours: Neighbours
    fund: str

    async def credit(self, amount_fen: int) -> None:
        body = {"source": "budget", "amount_fen": amount_fen}
        await self.client.post(KEEPER, "payout", f"/funds/{self.fund}/credits", body)

    async def accounts(self) -> dict[str, int]:
        found = await self.client.get(KEEPER, "payout", f"/funds/{self.fund}")
        return {name: fen for name, fen in found["accounts"].items() if fen}

    async def register(self, household: int) -> str:
        """A file of that household, with a test card of the household sealed by intake."""
        case_id, payee = str(uuid.uuid4()), str(uuid.uuid4())
        keys = await self.served.intake_keys()
        try:
            key = (await keys.ensure({(payee, Category.ACCOUNT)}))[payee, Category.ACCOUNT]
        finally:
            await keys.close()
        card = cards.test_card(household)
        sealed = Payee(
            person_id=payee,
            kind="card",
            account=seal(card, key, "fact", "payee.account"),
            holder_name=seal("测试员甲", key, "fact", "payee.holder_name"),
        )
        fact = file_registered(case_id, str(uuid.uuid4()))
        fact = fact.model_copy(update={"payee": sealed, "persons": (payee,)})
        await self.neighbours.state("intake", "case", case_id, fact)
        await until(lambda: self.case(case_id))
        return case_id

    async def case(self, case_id: str) -> Any:
        return await self.client.get(MAKER, "payout", f"/cases/{case_id}")

    async def compute(self, case_id: str, amount_fen: int) -> str:
        award_id = str(uuid.uuid4())
        fact = AwardComputed(
            case_id=case_id,
            award_id=award_id,
            programme="living",
            fund=self.fund,
            household_id="household",
            cap_subject="household",
            cap_year=2025,
            amount_fen=amount_fen,
            basis_fen=0,
            incident_id=None,
            caps=(),
            binding="asked",
            versions=(),
        )
        await self.neighbours.state("eligibility", "decisions", case_id, fact)
        await until(lambda: self.cover(case_id, award_id))
        return award_id

    async def cover(self, case_id: str, award_id: str) -> str:
        covers = (await self.case(case_id))["covers"]
        return next((c["state"] for c in covers if c["award_id"] == award_id), "")

    async def approve(self, case_id: str, award_id: str, amount_fen: int) -> str:
        fact = AwardApproved(
            case_id=case_id,
            award_id=award_id,
            programme="living",
            fund=self.fund,
            household_id="household",
            amount_fen=amount_fen,
            approver=APPROVER,
        )
        await self.neighbours.state("eligibility", "decisions", case_id, fact)

        async def planned() -> str:
            payouts = (await self.case(case_id))["payouts"]
            return next((p["payout_id"] for p in payouts if p["award_id"] == award_id), "")

        found: str = await until(planned)
        return found

    async def pay(self, items: Sequence[tuple[str, str]]) -> str:
        body = {"items": [{"case_id": c, "payout_id": p} for c, p in items]}
        prepared = await self.client.post(MAKER, "payout", "/batches", body)
        batch_id: str = prepared["facts"][0]["ids"]["batch_id"]
        await self.client.post(CHECKER, "payout", f"/batches/{batch_id}/release", {})
        await until(lambda: self.all_with_the_bank(items))
        return batch_id

    async def all_with_the_bank(self, items: Sequence[tuple[str, str]]) -> bool:
        found = {p["payout_id"]: p["state"] for p in await self.payouts()}
        return all(found[payout_id] not in ("planned", "batched") for _, payout_id in items)

    async def payouts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.client.get(MAKER, "payout", "/payouts", limit=1000)
        return [p for p in found if p["fund"] == self.fund]

    async def ledger(self) -> dict[str, int]:
        found = await self.client.open("bank", "/ledger")
        return {credit["end_to_end_id"]: credit["amount_fen"] for credit in found["credits"]}

    async def next_day(self, instant: datetime) -> None:
        """The day begins; it is over when payout and the bank have nothing left to do."""
        self.served.installation.set_clock(instant)
        await until(lambda: self.at_rest(instant.date().isoformat()))

    async def at_rest(self, today: str) -> bool:
        payout = await self.client.open("payout", "/status")
        bank = await self.client.open("bank", "/status")
        ends = {
            f"{outbox['topic']}/{partition}": end
            for outbox in payout["relay"]["outboxes"]
            for partition, end in outbox["ends"].items()
        }
        positions = {**payout["positions"], **bank["positions"]}
        return bool(
            payout["timers_rested_on"] == today
            and payout["relay"]["is_at_rest"]
            and payout["relay"]["outboxes"][0]["published"] == payout["last_position"]
            and not any(payout["outgoing"].values())
            and bank["at_rest"]
            and all(offset >= ends.get(name, 0) for name, offset in positions.items())
        )


@pytest.fixture
def world(served: ServedWithKeys, client: Client) -> World:
    served.installation.set_clock(OPENING)
    return World(served, client, served.neighbours(), f"fund-{uuid.uuid4().hex[:8]}")


def households(seed: int, rates: Any, wanted: Callable[[Fate], bool], count: int) -> list[int]:
    """The first households whose fate at the bank is wanted."""
    found = (h for h in range(1, 10_000) if wanted(bank_fate(seed, h, rates=rates)))
    return [next(found) for _ in range(count)]


def pays(fate: Fate, manner: str) -> bool:
    return fate.failure is None and fate.manner == manner


async def test_cover_is_given_while_the_fund_lasts_and_given_back(world: World) -> None:
    """A computed award is covered or refused; a refused one under cover frees its money."""
    case_id = await world.register(1)
    refused = await world.compute(case_id, 100)
    assert await world.cover(case_id, refused) == "refused"
    await world.credit(1000)
    first = await world.compute(case_id, 700)
    second = await world.compute(case_id, 400)
    assert await world.cover(case_id, first) == "reserved"
    assert await world.cover(case_id, second) == "refused"
    assert await world.accounts() == {"source": -1000, "credited": 300, "reserved": 700}
    fact = AwardRefused(
        case_id=case_id,
        award_id=first,
        stage="approval",
        reason="FILE_CLOSED",
        programme="living",
        fund=world.fund,
        household_id="household",
        cap_subject="household",
        cap_year=2025,
        amount_fen=700,
        basis_fen=0,
        incident_id=None,
    )
    await world.neighbours.state("eligibility", "decisions", case_id, fact)

    async def released() -> bool:
        return await world.cover(case_id, first) == "released"

    await until(released)
    assert await world.accounts() == {"source": -1000, "credited": 1000}


async def test_every_manner_of_the_bank_ends_in_one_credit_each(world: World) -> None:
    """Delays, doubles, silence and refusals: settled = the bank's ledger, each award paid once."""
    rates, seed = world.served.installation.rates, world.served.installation.seed
    manners = ("at_once", "accepted_first", "late", "silent", "silent_after_accepting")
    chosen = [
        household
        for manner in manners
        for household in households(seed, rates, partial(pays, manner=manner), 2)
    ]
    failing = households(seed, rates, lambda f: f.failure is not None, 2)
    await world.credit(1_000_000)
    items: list[tuple[str, str]] = []
    for household in (*chosen, *failing):
        case_id = await world.register(household)
        award_id = await world.compute(case_id, 10_000 + household)
        items.append((case_id, await world.approve(case_id, award_id, 10_000 + household)))
    await world.pay(items)
    day = OPENING
    for _ in range(14):
        await world.next_day(day)
        for payout in await world.payouts():
            await _answer_failure(world, payout)
        waiting = [
            (p["case_id"], p["payout_id"]) for p in await world.payouts() if p["state"] == "planned"
        ]
        if waiting:
            await world.pay(waiting)
        day += timedelta(days=1)
    states = [p["state"] for p in await world.payouts()]
    assert sorted(states) == ["confirmed"] * len(items) + ["failed"] * len(failing)
    expected = sum(10_000 + h for h in (*chosen, *failing))
    confirmed = {
        p["end_to_end_id"]: p["amount_fen"]
        for p in await world.payouts()
        if p["state"] == "confirmed"
    }
    ledger = await world.ledger()
    assert {e2e: ledger[e2e] for e2e in confirmed} == confirmed
    assert sum(confirmed.values()) == expected
    assert await world.accounts() == {
        "source": -1_000_000,
        "credited": 1_000_000 - expected,
        "paid": expected,
    }
    asked = {p["queries"] for p in await world.payouts()}
    assert max(asked) > 0
    await _ledger_follows_from_facts(world)


async def _ledger_follows_from_facts(world: World) -> None:
    """Postings, balances and guard rows, rebuilt from the log, are those that are held."""
    url = world.served.installation.infrastructure.postgres_url
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT * FROM payout.facts ORDER BY position")
        held = await connection.fetch("SELECT * FROM payout.postings")
        sums = await connection.fetch("SELECT * FROM payout.balances")
        guards = await connection.fetch("SELECT * FROM payout.guards WHERE value <> 0")
        sent = await connection.fetchval(
            "SELECT string_agg(envelope || data, '') FROM payout.instructions"
        )
    finally:
        await connection.close()
    expected: Counter[str] = Counter()
    postings: list[dict[str, Any]] = []
    for row in rows:
        recorded = recorded_from_row(row)
        fact = recorded.read(ROOM.reads)
        postings += postings_of(fact, recorded)
        for key, delta in guard_changes(fact, recorded):
            expected[key] += delta
    assert {r["key"]: r["value"] for r in guards} == {k: v for k, v in expected.items() if v}
    wanted = {(p["fact_id"], p["account"]): p for p in postings}
    assert len(wanted) == len(held)
    for line in held:
        told = {**line, "occurred_on": line["occurred_on"].isoformat()}
        assert told == wanted[line["fact_id"], line["account"]]
    total: Counter[tuple[str, str]] = Counter()
    for posting in postings:
        total[posting["fund"], posting["account"]] += posting["amount_fen"]
    assert {(r["fund"], r["account"]): r["balance_fen"] for r in sums} == dict(total)
    # What goes out names no case, programme or staff.
    cases = [p["case_id"] for p in await world.payouts()]
    assert not any(word in sent for word in (*cases, "living", MAKER, CHECKER, world.fund))


async def _answer_failure(world: World, payout: dict[str, Any]) -> None:
    """Correct the account and re-issue, each step by another person."""
    if payout["state"] != "failed" or payout["reissued_as"]:
        return
    case_id, path = payout["case_id"], f"/cases/{payout['case_id']}"
    again = f"{path}/payouts/{payout['payout_id']}"
    assert await refusal(world.client.post(MAKER, "payout", f"{again}/reissue-proposal", {})) == (
        409,
        "account-uncorrected",
    )
    household = payout["amount_fen"] - 10_000
    account = {
        "account": cards.test_card(household, variant=1),
        "kind": "card",
        "holder_name": "测试员甲",
    }
    await world.client.post(CLERK, "payout", f"{path}/account", account)
    await world.client.post(MAKER, "payout", f"{again}/reissue-proposal", {})
    await world.client.post(CHECKER, "payout", f"{again}/reissue", {})
    payouts = (await world.case(case_id))["payouts"]
    assert [p["attempt"] for p in payouts] == [1, 2]


async def test_duties_are_kept_apart_at_the_door(world: World) -> None:
    """Maker and checker are two people, and a batch that was released is not released again."""
    await world.credit(100_000)
    case_id = await world.register(households_of_success(world))
    award_id = await world.compute(case_id, 500)
    payout_id = await world.approve(case_id, award_id, 500)
    body = {"items": [{"case_id": case_id, "payout_id": payout_id}]}
    assert (await refusal(world.client.post(CHECKER, "payout", "/batches", body)))[0] == 403
    key = str(uuid.uuid4())
    prepared = await world.client.post(MAKER, "payout", "/batches", body, key)
    assert await world.client.post(MAKER, "payout", "/batches", body, key) == prepared
    assert await refusal(world.client.post(MAKER, "payout", "/batches", body)) == (
        409,
        "not-planned",
    )
    batch_id = prepared["facts"][0]["ids"]["batch_id"]
    account = {"account": cards.test_card(7), "kind": "card", "holder_name": "测试员乙"}
    assert await refusal(
        world.client.post(CLERK, "payout", f"/cases/{case_id}/account", account)
    ) == (409, "payment-under-way")
    release = f"/batches/{batch_id}/release"
    assert (await refusal(world.client.post(MAKER, "payout", release, {})))[0] == 403
    outsider = "county-west.approver"
    assert (await refusal(world.client.get(outsider, "payout", f"/cases/{case_id}")))[0] == 404
    await world.client.post(CHECKER, "payout", release, {})
    assert await refusal(world.client.post(CHECKER, "payout", release, {})) == (
        409,
        "released-already",
    )
    wrong = {"account": "6222020000000000001", "kind": "card", "holder_name": "测试员乙"}
    assert await refusal(
        world.client.post(CLERK, "payout", f"/cases/{case_id}/account", wrong)
    ) == (422, "account-check-failed")


def households_of_success(world: World) -> int:
    made = world.served.installation
    return households(made.seed, made.rates, lambda f: f.manner == "at_once" and not f.failure, 1)[
        0
    ]


async def test_only_the_bank_comes_through_its_door(world: World) -> None:
    """Accounts are told to the subscriber alone, encrypted to it, and every look is on record."""
    await world.credit(100_000)
    case_id = await world.register(households_of_success(world))
    award_id = await world.compute(case_id, 500)
    payout_id = await world.approve(case_id, award_id, 500)
    await world.pay([(case_id, payout_id)])
    payout = next(p for p in await world.payouts() if p["payout_id"] == payout_id)
    end_to_end_id = payout["end_to_end_id"]
    path = f"/bank/accounts/{end_to_end_id}"
    for nosy in (MAKER, STRANGER):
        assert await refusal(world.client.get(nosy, "payout", path)) == (403, "not-the-bank")
    found = await world.client.get("sandbox-bank", "payout", path)
    assert found["sealed"].count(".") == 4
    assert "999999" not in str(found)
    looks = await _key_accesses(world, end_to_end_id)
    assert looks
    assert {actor for actor, _ in looks} == {"sandbox-bank"}
    asked = {"end_to_end_ids": [end_to_end_id, "E" + "0" * 32, end_to_end_id]}
    many = await world.client.post("sandbox-bank", "payout", "/bank/accounts", asked)
    assert (many["unknown"], many["erased"]) == (["E" + "0" * 32], [])
    assert many["sealed"].count(".") == 4
    assert "999999" not in str(many)
    again = await _key_accesses(world, end_to_end_id)
    assert len(again) == len(looks) + len(set(looks))
    for nosy in (MAKER, STRANGER):
        assert await refusal(world.client.post(nosy, "payout", "/bank/accounts", asked)) == (
            403,
            "not-the-bank",
        )
    report = {"end_to_end_id": "E" + "0" * 32, "state": "accepted", "bank_reference": "X-1"}
    assert (await refusal(world.client.post("sandbox-bank", "payout", "/bank/reports", report)))[
        0
    ] == 404
    await world.next_day(OPENING)
    report = {
        "end_to_end_id": end_to_end_id,
        "state": "failed",
        "bank_reference": "X-1",
        "reason": "closed",
    }
    assert await refusal(world.client.post("sandbox-bank", "payout", "/bank/reports", report)) == (
        409,
        "contradictory-report",
    )
    unknown = {**report, "end_to_end_id": "E" + "0" * 32}
    commands = [Command("/bank/reports", each) for each in (report, unknown)]
    for who, codes in (
        ("sandbox-bank", ["contradictory-report", "unknown"]),
        (STRANGER, ["not-the-bank"] * 2),
        (MAKER, ["not-the-bank"] * 2),
    ):
        answers = await world.client.batch(who, "payout", commands)
        assert [each.code for each in answers if isinstance(each, RefusedError)] == codes


async def _key_accesses(world: World, end_to_end_id: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(world.served.installation.infrastructure.keys_url)
    try:
        rows = await connection.fetch(
            "SELECT actor, outcome FROM keys.key_accesses WHERE purpose LIKE '%' || $1",
            end_to_end_id,
        )
    finally:
        await connection.close()
    return [(row["actor"], row["outcome"]) for row in rows]


async def test_a_bank_that_dies_pays_nothing_twice(world: World) -> None:
    """Killed without warning and started again, also with its place in the topic forgotten."""
    await world.credit(100_000)
    items = []
    for household in range(9001, 9006):
        case_id = await world.register(household)
        award_id = await world.compute(case_id, 500)
        items.append((case_id, await world.approve(case_id, award_id, 500)))
    installation = world.served.installation
    await world.pay(items)
    installation.kill("bank")
    installation.start("bank")
    await installation.wait_until_ready(["bank"])
    await world.next_day(OPENING)
    executed = await world.ledger()
    mine = {p["end_to_end_id"] for p in await world.payouts()}
    confirmed = {p["end_to_end_id"] for p in await world.payouts() if p["state"] == "confirmed"}
    assert confirmed <= set(executed)
    installation.kill("bank")
    _forget_positions(installation.folder / "bank" / "bank.sqlite")
    installation.start("bank")
    await installation.wait_until_ready(["bank"])
    await world.next_day(OPENING)
    async with httpx.AsyncClient() as http:
        counters = (await http.get(installation.url("bank") + "/status")).json()["counters"]
    assert counters["repeated"] >= len(mine)
    assert counters.get("broken_chain", 0) == counters["unreadable"] == 0
    assert {e: n for e, n in (await world.ledger()).items() if e in mine} == {
        e: n for e, n in executed.items() if e in mine
    }


def _forget_positions(path: Any) -> None:
    with sqlite3.connect(path) as books:
        books.execute("DELETE FROM positions")
