"""Sealed accounts that do not open: the bank is told so, keeps the order, and asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import asyncpg
import httpx
import orjson

from shared.sealed import parse
from tests.demo.test_restore import command
from tests.services.payout.conftest import OPENING
from tests.services.payout.test_payout_http import World, client, households, pays, world
from tests.services.serving import refusal, until

__all__ = ["client", "world"]


async def test_an_account_that_does_not_open_keeps_nobody_else_waiting_and_is_paid_once_mended(
    world: World,
) -> None:
    """An altered row and an altered key: told for themselves, counted, mended, and paid once."""
    await world.credit(100_000)
    made = world.served.installation
    fated = households(made.seed, made.rates, lambda f: pays(f, "at_once"), 4)
    items = []
    for household in fated:
        case_id = await world.register(household)
        award_id = await world.compute(case_id, 500)
        items.append((case_id, await world.approve(case_id, award_id, 500)))
    made.kill("bank")
    await world.pay(items)
    names = {p["payout_id"]: p["end_to_end_id"] for p in await world.payouts()}
    well, altered, keyless = (
        [names[p] for _, p in items[:2]],
        names[items[2][1]],
        names[items[3][1]],
    )
    asked = {"end_to_end_ids": [*well, altered, keyless, "E" + "0" * 32]}
    await _alter_row(world, altered)
    wrapped = await _exchange_key(world, keyless, b"\x00" * 60)
    answer = await world.client.post("sandbox-bank", "payout", "/bank/accounts", asked)
    assert (answer["unknown"], answer["erased"]) == (["E" + "0" * 32], [])
    assert {
        d["end_to_end_id"]: (d["type"], d["status"]) for d in answer["damaged"]
    } == dict.fromkeys((altered, keyless), ("urn:bangfu:problem:account-damaged", 500))
    assert "999999" not in str(answer)
    assert "sealed:1:" not in str(answer)
    path = f"/bank/accounts/{altered}"
    alone = world.client.get("sandbox-bank", "payout", path)
    assert await refusal(alone) == (500, "account-damaged")
    made.start("bank")
    await made.wait_until_ready(["bank"])
    await until(lambda: _all_credited(world, well))
    await world.next_day(OPENING)
    assert not {altered, keyless} & set(await world.ledger())
    states = {p["end_to_end_id"]: p["state"] for p in await world.payouts()}
    assert states == {**dict.fromkeys(well, "confirmed"), altered: "sending", keyless: "sending"}
    assert await _damaged(world) == 2
    log = (made.folder / "logs" / "payout.log").read_text()
    assert log.count('"account_damaged"') == 2

    said = await asyncio.to_thread(command, made, "rebuild", "payout", "end_to_end", status=1)
    assert "已改正" in said
    await _exchange_key(world, keyless, wrapped)
    await until(lambda: _all_credited(world, names.values()))
    await world.next_day(OPENING)
    assert {p["state"] for p in await world.payouts()} == {"confirmed"}
    assert [(await world.ledger())[each] for each in names.values()] == [500] * 4
    assert await _damaged(world) == 0


async def _all_credited(world: World, end_to_end_ids: Collection[str]) -> bool:
    return set(end_to_end_ids) <= set(await world.ledger())


async def _damaged(world: World) -> float:
    async with httpx.AsyncClient() as http:
        told = (await http.get(world.served.installation.url("payout") + "/metrics")).text
    [line] = [each for each in told.splitlines() if each.startswith("bangfu_damaged_accounts{")]
    return float(line.rpartition(" ")[2])


async def _alter_row(world: World, end_to_end_id: str) -> None:
    """One byte of the account's ciphertext, in the read model alone."""
    connection = await asyncpg.connect(world.served.installation.infrastructure.postgres_url)
    try:
        text = await connection.fetchval(ROW, end_to_end_id)
        token = orjson.loads(text)["account"]
        other = token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]
        changed = await connection.execute(
            "UPDATE payout.views SET document = replace(document::text, $2, $3)"
            " WHERE model = 'end_to_end' AND key = $1",
            end_to_end_id,
            token,
            other,
        )
        assert changed == "UPDATE 1"
    finally:
        await connection.close()


ROW = "SELECT document::text FROM payout.views WHERE model = 'end_to_end' AND key = $1"


async def _exchange_key(world: World, end_to_end_id: str, wrapped: bytes) -> bytes:
    """Other bytes in the place of the account's key; those that were there."""
    infrastructure = world.served.installation.infrastructure
    connection = await asyncpg.connect(infrastructure.postgres_url)
    try:
        document = orjson.loads(await connection.fetchval(ROW, end_to_end_id))
    finally:
        await connection.close()
    key_id = parse(document["account"]).key_id
    connection = await asyncpg.connect(infrastructure.keys_url)
    try:
        held: bytes = await connection.fetchval(
            "SELECT wrapped FROM keys.personal_keys WHERE key_id = $1", key_id
        )
        await connection.execute(
            "UPDATE keys.personal_keys SET wrapped = $2 WHERE key_id = $1", key_id, wrapped
        )
    finally:
        await connection.close()
    return held
