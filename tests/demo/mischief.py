"""People who put personal values where none belongs, to see that nothing repeats or keeps them.

Wrong types, unknown fields, broken text, values in paths, queries and headers, an account that
fails its check: each request carries real values of the demo's households, and each is refused.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from sandbox import bodies
from sandbox.cards import test_card
from sandbox.households import Household
from sandbox.installation import SERVICES
from sandbox.run import Run
from sandbox.world import CITY, person

# Known to the issuer, and in no office.
NOBODY: Final = "nobody-in-office"
JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Mischief:
    """One request that can't be granted."""

    service: str
    method: str
    path: str
    who: str = ""
    body: bytes = b""
    header: tuple[str, str] | None = None


async def make_mischief(run: Run) -> list[tuple[Mischief, httpx.Response]]:
    """Send all of it; each with the answer it got."""
    installation = run.installation
    known = json.loads(installation.people_file.read_text())
    installation.set_people([*known, NOBODY])
    chosen = list(run.story.households.values())[:3]
    urls = {name: installation.url(name) for name in (*SERVICES, "issuer", "bank")}
    tries = [each for household in chosen for each in _tries(household, run)]
    async with httpx.AsyncClient(timeout=30) as http:

        async def send(each: Mischief) -> httpx.Response:
            headers = {**JSON, "Idempotency-Key": str(uuid.uuid4())}
            if each.who:
                headers["Authorization"] = f"Bearer {await run.client.token(each.who)}"
            if each.header is not None:
                headers[each.header[0]] = each.header[1]
            url = urls[each.service] + each.path
            return await http.request(each.method, url, headers=headers, content=each.body)

        return list(zip(tries, await asyncio.gather(*map(send, tries)), strict=True))


def _tries(household: Household, run: Run) -> Iterator[Mischief]:
    name, number = household.members[0].name, household.members[0].id_number
    case_id = run.story.case_by_number[household.number]
    handler = person(household.organisation, "handler")
    yield from _applications(household, handler)
    for service in SERVICES:
        path = "/organisations" if service == "network" else "/cases"
        for value in (name, number, household.phone):
            yield Mischief(service, "GET", f"{path}/{quote(value)}", handler)
            yield Mischief(service, "GET", f"{path}?status={quote(value)}&after={quote(name)}")
            yield Mischief(service, "POST", f"{path}/{quote(value)}", handler, _json({name: value}))
            # A person without an office: who asked for what is on record.
            yield Mischief(service, "GET", f"{path}/{quote(value)}", NOBODY)
        yield Mischief(service, "GET", f"{path}/{case_id}", header=("Authorization", number))
        token = quote(name) + "." + number
        yield Mischief(service, "GET", "/work", header=("Authorization", f"Bearer {token}"))
        yield Mischief(service, "GET", "/work", handler, header=("Acting-Office", number))
        yield Mischief(service, "GET", "/status", header=("traceparent", f"00-{number}"))
    yield from _payments(household, case_id)
    yield Mischief("bank", "GET", f"/payments/{quote(number)}")
    objection = {"text": name * 100_000, "contact": household.phone}
    yield Mischief("notice", "POST", f"/public/notices/{number}/objections", body=_json(objection))
    yield Mischief("notice", "POST", "/public/notices/none/objections", body=_json(objection))


def _applications(household: Household, handler: str) -> Iterator[Mischief]:
    whole = bodies.submission(household, test_card(household.number), complete=True)
    name = household.members[0].name
    broken: list[dict[str, Any]] = [
        {**whole, "phone": [household.phone]},
        {**whole, "address": {"street": household.address}},
        {**whole, "remark": f"{name} {household.phone}"},
        {**whole, name: household.address},
        {**whole, "members": [{**whole["members"][0], "id_number": int(household.phone)}]},
        {**whole, "members": name},
        {**whole, "residence": household.address},
        {**whole, "payee": {**whole["payee"], "kind": test_card(household.number)}},
        {**whole, "consents": [name]},
        {**whole, "address": household.address * 40_000},
    ]
    for body in broken:
        yield Mischief("intake", "POST", "/cases", handler, _json(body))
    text = json.dumps(whole, ensure_ascii=False)
    yield Mischief("intake", "POST", "/cases", handler, text[:-5].encode())
    yield Mischief("intake", "POST", "/cases", handler, text.encode("gb18030"))
    yield Mischief("intake", "POST", "/cases", handler, text[:-5].encode("utf-16"))
    yield Mischief("intake", "POST", "/cases", body=text.encode())
    media_type = ("Content-Type", f"text/plain; charset={household.phone}")
    yield Mischief("intake", "POST", "/cases", handler, text.encode(), media_type)


def _payments(household: Household, case_id: str) -> Iterator[Mischief]:
    clerk = person(CITY, "account_clerk")
    wrong_card = test_card(household.number)[:-1]
    for body in (
        {"account": wrong_card, "kind": "card", "holder_name": household.members[0].name},
        {"account": household.phone, "kind": household.members[0].name, "holder_name": 1},
        {
            "account": [test_card(household.number)],
            "kind": "card",
            "holder_name": household.address,
        },
    ):
        yield Mischief("payout", "POST", f"/cases/{case_id}/account", clerk, _json(body))
    report = {"end_to_end_id": test_card(household.number), "state": household.phone}
    yield Mischief("payout", "POST", "/bank/reports", "sandbox-bank", _json(report))
    yield Mischief("payout", "GET", f"/bank/accounts/{household.phone}", "sandbox-bank")
    asked = {"end_to_end_ids": [household.phone, household.members[0].name]}
    yield Mischief("payout", "POST", "/bank/accounts", "sandbox-bank", _json(asked))
    yield Mischief("payout", "POST", "/batch", "sandbox-bank", _json({"commands": report}))


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
