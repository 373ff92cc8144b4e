"""The door: who comes in, with what, and what they are told when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest

from sandbox.issuer import new_signing_key
from shared import desk as desk_module
from shared.desk import Contended
from shared.room import UNKNOWN, Decided, Refusal, Situation
from shared.service import Parts
from tests.toy import alpha, newer
from tests.toy.visitors import ISSUER, KEY, Visitor, alpha_with_offices, client_of
from tests.toy.world import World, facts_of, hear_of, new_case, tell


@pytest.fixture
async def parts(world: World) -> Parts:
    return await alpha_with_offices(world)


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(parts) as made:
        yield made


@pytest.fixture
def clerk(client: httpx.AsyncClient) -> Visitor:
    return Visitor(client, "clerk")


OPEN = {"organisation_id": "east"}


def slug(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["title"]
    assert body["title_en"]
    return str(body["type"]).removeprefix("urn:bangfu:problem:")


async def opened(clerk: Visitor) -> str:
    answer = await clerk.post("/tallies", OPEN)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["subject"])


async def test_a_command_is_answered_with_its_facts_and_a_look_with_its_view(
    clerk: Visitor, parts: Parts
) -> None:
    case = await opened(clerk)
    answer = (await clerk.post(f"/tallies/{case}/counts", {"amount": 5})).json()
    assert (answer["stream"], answer["version"]) == (f"tally-{case}", 2)
    [stated] = answer["facts"]
    assert (stated["type"], stated["ids"]) == ("toy.alpha.Counted", {"case_id": case})
    assert (await clerk.get(f"/tallies/{case}")).json() == {"total": 5}
    [_, fact] = await facts_of(parts)
    assert (fact.actor.person, fact.actor.role, fact.actor.organisation) == (
        "clerk",
        "clerk",
        "east",
    )


@pytest.mark.parametrize(
    ("key", "status"),
    [
        (None, 422),
        ("", 422),
        ("short", 422),
        ("x" * 201, 422),
        ("with a space", 422),
        ("nul-\x00-inside", 422),
        ("键键键键键键键键", 422),
    ],
)
async def test_a_command_needs_a_key_of_printable_text(
    key: str | None, status: int, clerk: Visitor, parts: Parts
) -> None:
    answer = await clerk.post("/tallies", OPEN, Idempotency_Key=key)
    assert answer.status_code == status
    assert slug(answer) == "request-invalid"
    assert answer.json()["field"] == "header.idempotency-key"
    assert await facts_of(parts) == []


async def test_a_token_is_needed_and_has_to_be_ours_and_of_today(
    client: httpx.AsyncClient, clerk: Visitor, parts: Parts
) -> None:
    answer = await clerk.post("/tallies", OPEN, Authorization=None)
    assert (answer.status_code, slug(answer)) == (401, "token-missing")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    cases: dict[str, Visitor] = {
        "token-wrong-issuer": Visitor(client, "clerk", issuer="http://elsewhere.test"),
        "token-wrong-audience": Visitor(client, "clerk", audience="another"),
        "token-expired": Visitor(client, "clerk", lifetime_seconds=-1),
        "token-key-unknown": Visitor(client, "clerk", signed_by=new_signing_key()),
        "token-signature-wrong": Visitor(client, "clerk", signed_by=new_signing_key(KEY.kid or "")),
    }
    for expected, visitor in cases.items():
        answer = await visitor.post("/tallies", OPEN)
        assert (answer.status_code, slug(answer)) == (401, expected)
        assert (await visitor.get("/tallies/x")).status_code == 401
    assert await facts_of(parts) == []


async def test_who_holds_no_office_today_is_told_so_and_recorded(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    answer = await Visitor(client, "stranger").post("/tallies", OPEN)
    assert (answer.status_code, slug(answer)) == (403, "no-office")
    await hear_of(
        parts,
        "OfficeLeft",
        person="clerk",
        organisation="east",
        role="clerk",
        to_day=parts.clock.today().isoformat(),
    )
    answer = await Visitor(client, "clerk").post("/tallies", OPEN)
    assert (answer.status_code, slug(answer)) == (403, "no-office")
    rows = await parts.store.worker.fetch("SELECT actor FROM alpha.denials")
    assert [row["actor"] for row in rows] == ["stranger", "clerk"]


async def test_an_office_taken_at_another_instance_counts_at_once(
    client: httpx.AsyncClient, parts: Parts, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is refused, or recorded as refused, on a copy of the tree that is a moment old."""
    copy = parts.desk.reference
    monkeypatch.setattr(copy, "keep_fresh", partial(copy.keep_fresh, seconds=3_600))
    assert (await Visitor(client, "clerk").get("/work")).status_code == 200
    other = await world.start(alpha.room(), issuer=ISSUER, instance="1")
    office = {"person": "stranger", "organisation": "west", "role": "clerk"}
    await hear_of(other, "OfficeTaken", **office, from_day="2020-01-01")
    assert (await Visitor(client, "stranger").get("/work")).status_code == 200
    assert await parts.store.worker.fetchval("SELECT count(*) FROM alpha.denials") == 0


async def test_who_holds_several_offices_names_one(client: httpx.AsyncClient, parts: Parts) -> None:
    manager = Visitor(client, "manager")
    answer = await manager.post("/tallies", OPEN)
    assert (answer.status_code, slug(answer)) == (400, "office-not-named")
    assert answer.json()["field"] == "Acting-Office"
    answer = await manager.post("/tallies", OPEN, Acting_Office="west/clerk")
    assert (answer.status_code, slug(answer)) == (403, "no-office")
    answer = await manager.post("/tallies", OPEN, Acting_Office="city/clerk")
    assert answer.status_code == 200
    assert (await facts_of(parts))[0].actor.organisation == "city"


BAD_BODIES: dict[str, tuple[bytes, int, str, str | None]] = {
    "no JSON": (b'{"amount": 1', 400, "body-not-json", "$"),
    "nothing": (b"", 422, "request-invalid", "$"),
    "a list": (b"[1]", 422, "request-invalid", "$"),
    "an unknown field": (b'{"amount":1,"colour":2}', 422, "request-invalid", "$.colour"),
    "a missing field": (b"{}", 422, "request-invalid", "$.amount"),
    "a number as text": (b'{"amount":"1"}', 422, "request-invalid", "$.amount"),
    "a broken number": (b'{"amount":1.5}', 422, "request-invalid", "$.amount"),
    "NUL in text": (b'{"amount":1,"label":"a\\u0000b"}', 422, "request-invalid", "$.label"),
    "half a pair": (b'{"amount":1,"label":"\\ud800"}', 422, "request-invalid", "$.label"),
    "too large a number": (b'{"amount":9007199254740992}', 422, "request-invalid", "$.amount"),
    "far too large a number": (
        b'{"amount":1' + b"0" * 40 + b"}",
        422,
        "request-invalid",
        "$.amount",
    ),
    "no UTF-8": (b'{"amount":1,"label":"\xff"}', 400, "request-unreadable", None),
    "more than a fact": (
        b'{"amount":1,"label":"' + b"x" * 1_100_000 + b'"}',
        413,
        "request-too-large",
        None,
    ),
    "a little more than a fact": (
        b'{"amount":1,"label":"' + b"x" * 300_000 + b'"}',
        413,
        "request-too-large",
        None,
    ),
}


@pytest.mark.parametrize("how", BAD_BODIES)
async def test_a_body_that_does_not_fit_is_a_problem_that_names_the_field(
    how: str, clerk: Visitor, parts: Parts
) -> None:
    case = await opened(clerk)
    content, status, expected, field = BAD_BODIES[how]
    answer = await clerk.post(f"/tallies/{case}/counts", content=content)
    assert (answer.status_code, slug(answer)) == (status, expected)
    assert answer.json().get("field") == field
    assert len(await facts_of(parts)) == 1


async def test_another_office_gets_the_answer_for_unknown(
    client: httpx.AsyncClient, clerk: Visitor, parts: Parts
) -> None:
    """Word for word the same, whether the case is another's or nobody's; and it is recorded."""
    case = await opened(clerk)
    neighbour = Visitor(client, "neighbour")
    for path in (f"/tallies/{case}", f"/tallies/{new_case()}"):
        looked, told = (
            await neighbour.get(path),
            await neighbour.post(f"{path}/counts", {"amount": 1}),
        )
        assert (looked.status_code, told.status_code) == (404, 404)
        assert looked.json() == told.json()
        assert slug(looked) == "unknown"
    rows = await parts.store.worker.fetch("SELECT DISTINCT actor, subject FROM alpha.denials")
    assert ("neighbour", case) in [tuple(row) for row in rows]
    city = await Visitor(client, "manager").post(
        f"/tallies/{case}/counts", {"amount": 1}, Acting_Office="city/clerk"
    )
    assert city.status_code == 200


async def test_those_who_look_together_see_what_each_may_see(clerk: Visitor, parts: Parts) -> None:
    """Looks of the same moment share statements (`shared/together.py`), never what they show."""
    case = await opened(clerk)
    looks = [("east",), ("west",), ("city",), ("west", "east"), ("west",), ()]
    found = await asyncio.gather(*(parts.store.document(each, "tally", case) for each in looks))
    assert [each is not None for each in found] == [True, False, True, True, False, False]


FORBIDDEN = Refusal("keeper_only", "非经办", "for the keeper only", status=403)
# One amount is the keeper's, one belongs to nobody; another may be over the limit.
REFUSED: dict[int, Refusal] = {7: FORBIDDEN, 8: UNKNOWN}


def keepers_count(
    state: alpha.Tally, command: alpha.Count, situation: Situation
) -> Decided | Refusal:
    return REFUSED.get(command.amount) or alpha.count(state, command, situation)


async def test_what_a_decision_forbids_is_recorded_and_what_it_refuses_is_not(
    world: World,
) -> None:
    """By actor, command and case, whichever way it was sent; a plain no is no denial."""
    acts = dict(alpha.TALLY.acts)
    acts[alpha.Count] = replace(acts[alpha.Count], decide=keepers_count)
    kinds = {"tally": replace(alpha.TALLY, acts=acts)}
    parts = await alpha_with_offices(world, alpha.room(kinds=kinds))
    async with client_of(parts) as client:
        clerk = Visitor(client, "clerk")
        case = await opened(clerk)
        path = f"/tallies/{case}/counts"
        told = [(await clerk.post(path, {"amount": amount})).status_code for amount in (7, 8, 101)]
        assert told == [403, 404, 409]
        batch = [{"key": f"in-a-batch-{n}", "path": path, "body": {"amount": n}} for n in (7, 101)]
        answers = (await clerk.post("/batch", {"commands": batch})).json()["answers"]
        assert [each["status"] for each in answers] == [403, 409]
    rows = await parts.store.worker.fetch("SELECT actor, attempt, subject FROM alpha.denials")
    assert [tuple(row) for row in rows] == [("clerk", "Count", case)] * 3
    assert len(await facts_of(parts)) == 1


async def test_a_build_that_is_too_old_asks_to_come_again(
    clerk: Visitor, client: httpx.AsyncClient, parts: Parts, world: World
) -> None:
    """Another instance has written what this one can't read: with the same key, it answers."""
    case = await opened(clerk)
    new = await world.start(newer.alpha_room(), issuer=ISSUER, instance="1")
    new.door._verifier = parts.door._verifier
    path, body = f"/tallies/{case}/counts", {"amount": 1}
    await tell(new, "tally", case, alpha.Count(amount=2), organisations=["east"])
    old = await clerk.post(path, body, Idempotency_Key="the-same-key")
    assert (old.status_code, slug(old)) == (503, "newer-build")
    batch = {"commands": [{"key": "the-same-key", "path": path, "body": body}]}
    [answer] = (await clerk.post("/batch", batch)).json()["answers"]
    assert (answer["status"], answer["body"]["type"]) == (503, "urn:bangfu:problem:newer-build")
    assert (await clerk.get(f"/tallies/{case}")).json() == {"total": 2}
    async with client_of(new) as newer_client:
        done = await Visitor(newer_client, "clerk").post(path, body, Idempotency_Key="the-same-key")
    assert (done.status_code, done.json()["version"]) == (200, 3)


async def test_a_repeat_is_answered_as_the_first_and_another_body_is_refused(
    clerk: Visitor, client: httpx.AsyncClient, parts: Parts
) -> None:
    case = await opened(clerk)
    path = f"/tallies/{case}/counts"
    first = await clerk.post(path, {"amount": 1}, Idempotency_Key="the-same-key")
    again = await clerk.post(path, {"amount": 1}, Idempotency_Key="the-same-key")
    spaced = await clerk.post(path, content=b'{ "amount" : 1 }', Idempotency_Key="the-same-key")
    assert first.json() == again.json() == spaced.json()
    other = await clerk.post(path, {"amount": 2}, Idempotency_Key="the-same-key")
    assert (other.status_code, slug(other)) == (409, "idempotency-key-reused")
    elsewhere = await clerk.post("/tallies", OPEN, Idempotency_Key="the-same-key")
    assert elsewhere.status_code == 409
    # A key is a person's own: another's is another command.
    manager = await Visitor(client, "manager").post(
        path, {"amount": 1}, Idempotency_Key="the-same-key", Acting_Office="east/clerk"
    )
    assert manager.json()["version"] == 3
    kept = await parts.store.worker.fetch("SELECT * FROM alpha.commands")
    assert not any('"amount"' in str(value) for row in kept for value in row.values())


async def test_a_refusal_tells_its_code_and_keeps_no_key(clerk: Visitor, parts: Parts) -> None:
    case = await opened(clerk)
    path = f"/tallies/{case}/counts"
    answer = await clerk.post(path, {"amount": 101}, Idempotency_Key="too-much-at-once")
    assert (answer.status_code, slug(answer)) == (409, "limit")
    answer = await clerk.post(path, {"amount": 1}, Idempotency_Key="too-much-at-once")
    assert answer.status_code == 200


async def test_contention_and_a_lost_log_ask_to_come_again(
    clerk: Visitor, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await opened(clerk)
    monkeypatch.setattr(desk_module, "FAULT_PAUSE_SECONDS", 0)
    faults = {
        "contended": Contended(),
        "log-unreachable": asyncpg.ConnectionDoesNotExistError("cut"),
    }
    for expected, fault in faults.items():

        async def fails(*_: Any, fault: Exception = fault, **_how: Any) -> None:
            raise fault

        with monkeypatch.context() as patch:
            patch.setattr(parts.desk, "commit", fails)
            answer = await clerk.post(f"/tallies/{case}/counts", {"amount": 1})
        assert (answer.status_code, slug(answer)) == (503, expected)
        assert "cut" not in answer.text
    assert len(await facts_of(parts)) == 1


async def test_a_look_while_the_log_is_away_asks_to_come_again(
    clerk: Visitor, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise asyncpg.AdminShutdownError("cut")

    monkeypatch.setattr(parts.store, "document", fails)
    answer = await clerk.get(f"/tallies/{new_case()}")
    assert (answer.status_code, slug(answer)) == (503, "log-unreachable")
