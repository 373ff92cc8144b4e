"""Batches: many commands in one request, each as if it had come alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from shared.batches import LARGEST_BATCH_BYTES, MOST_COMMANDS
from shared.door import Door
from shared.service import Parts
from tests.toy import api
from tests.toy.visitors import Visitor, alpha_with_offices, client_of
from tests.toy.world import World, facts_of, new_case


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


def command(key: str, path: str = "/tallies", body: Any = OPEN, **rest: Any) -> dict[str, Any]:
    return {"key": key, "method": "POST", "path": path, "body": body, **rest}


def opening(count: int) -> list[dict[str, Any]]:
    return [command(f"open-key-{index}") for index in range(count)]


async def answers(visitor: Visitor, commands: list[Any], **headers: Any) -> list[dict[str, Any]]:
    answer = await visitor.post("/batch", {"commands": commands}, Idempotency_Key=None, **headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["answers"]
    assert len(found) == len(commands)
    return found


def slug(answer: dict[str, Any]) -> str:
    assert answer["body"]["status"] == answer["status"]
    assert answer["body"]["title"]
    assert answer["body"]["title_en"]
    return str(answer["body"]["type"]).removeprefix("urn:bangfu:problem:")


async def test_twenty_commands_are_twenty_transactions_with_a_key_and_an_answer_each(
    clerk: Visitor, parts: Parts
) -> None:
    found = await answers(clerk, opening(20))
    assert [(each["key"], each["status"]) for each in found] == [
        (f"open-key-{index}", 200) for index in range(20)
    ]
    cases = [each["body"]["subject"] for each in found]
    counts = [
        command(f"count-key-{index}", f"/tallies/{case}/counts", {"amount": 1})
        for index, case in enumerate(cases)
    ]
    counted = await answers(clerk, counts)
    assert [each["body"]["subject"] for each in counted] == cases
    facts = await facts_of(parts)
    assert len(facts) == 40
    assert len({fact.attributes["correlationid"] for fact in facts}) == 40
    assert {fact.attributes["correlationid"] for fact in facts} == {
        each["correlation_id"] for each in [*found, *counted]
    }
    rows = await parts.store.worker.fetch("SELECT count(DISTINCT xmin::text) FROM alpha.facts")
    assert rows[0][0] == 40


async def test_a_repeat_is_answered_as_the_first_whichever_way_it_comes(
    clerk: Visitor, client: httpx.AsyncClient, parts: Parts
) -> None:
    """The batch again, a part of it in another order, and a command of it by itself."""
    first = await answers(clerk, opening(3))
    again = await answers(clerk, [*opening(4)[::-1]])
    bodies = [each["body"] for each in first]
    assert [each["body"] for each in again[:0:-1]] == bodies
    alone = await clerk.post("/tallies", OPEN, Idempotency_Key="open-key-1")
    assert alone.json() == bodies[1]
    other = await answers(clerk, [command("open-key-1", body={"organisation_id": "west"})])
    assert (other[0]["status"], slug(other[0])) == (409, "idempotency-key-reused")
    assert len(await facts_of(parts)) == 4
    # A command sent alone first is answered as the first in a batch, too.
    single = await clerk.post("/tallies", OPEN, Idempotency_Key="sent-alone")
    [batched] = await answers(clerk, [command("sent-alone")])
    assert batched["body"] == single.json()
    # The same command twice in one batch is one command.
    twice = await answers(clerk, [command("twice-in-one"), command("twice-in-one")])
    assert twice[0]["body"] == twice[1]["body"]
    assert len(await facts_of(parts)) == 6


async def test_commands_on_one_thing_are_done_in_the_order_given(
    clerk: Visitor, parts: Parts
) -> None:
    cases = [each["body"]["subject"] for each in await answers(clerk, opening(3))]
    commands = [
        command(
            f"count-{turn}-{case}", f"/tallies/{case}/counts", {"amount": 1, "label": f"{turn}"}
        )
        for turn in range(8)
        for case in cases
    ]
    found = await answers(clerk, commands)
    assert [each["body"]["version"] for each in found] == [
        turn + 2 for turn in range(8) for _ in cases
    ]


BAD_ITEMS: dict[str, tuple[Any, int, str, str | None]] = {
    "no object": ("text", 422, "request-invalid", "$.commands[1]"),
    "nothing": ({}, 422, "request-invalid", "$.commands[1].key"),
    "no key": ({"path": "/tallies"}, 422, "request-invalid", "$.commands[1].key"),
    "a short key": (command("short"), 422, "request-invalid", "$.commands[1].key"),
    "a Chinese key": (command("键键键键键键键键"), 422, "request-invalid", "$.commands[1].key"),
    "another word": (
        command("key-00001", colour=1),
        422,
        "request-invalid",
        "$.commands[1].colour",
    ),
    "a look": (
        {**command("key-00001"), "method": "GET"},
        422,
        "request-invalid",
        "$.commands[1].method",
    ),
    "a path for looks only": (command("key-00001", "/tallies/x"), 404, "not-found", None),
    "an unknown path": (command("key-00001", "/elsewhere"), 404, "not-found", None),
    "a batch": (command("key-00001", "/batch", {"commands": []}), 404, "not-found", None),
    "no path": (command("key-00001", "tallies"), 422, "request-invalid", "$.commands[1].path"),
    "a question": (command("key-00001", "/tallies?x=1"), 404, "not-found", None),
    "NUL in a path": (command("key-00001", "/tallies%00"), 400, "request-unreadable", None),
    "no body": ({"key": "key-00001", "path": "/tallies"}, 422, "request-invalid", "$"),
    "a list as body": (command("key-00001", body=[1]), 422, "request-invalid", "$"),
    "a missing field": (command("key-00001", body={}), 422, "request-invalid", "$.organisation_id"),
    "half a pair": (
        command("key-00001", body={"organisation_id": "\ud800"}),
        422,
        "request-invalid",
        "$.organisation_id",
    ),
    "NUL in text": (
        command("key-00001", body={"organisation_id": "a\0"}),
        422,
        "request-invalid",
        "$.organisation_id",
    ),
    "more than a fact": (
        command(
            "key-00001", f"/tallies/{new_case()}/counts", {"amount": 1, "label": "x" * 1_100_000}
        ),
        413,
        "request-too-large",
        None,
    ),
    "another's case": (
        command("key-00001", f"/tallies/{new_case()}/counts", {"amount": 1}),
        404,
        "unknown",
        None,
    ),
}


@pytest.mark.parametrize("how", BAD_ITEMS)
async def test_what_does_not_fit_is_answered_in_its_place_and_hurts_no_other(
    how: str, clerk: Visitor, parts: Parts
) -> None:
    item, status, expected, field = BAD_ITEMS[how]
    before, bad, after = await _raw_answers(
        clerk, [command("before-it"), item, command("after-it")]
    )
    assert (before["status"], after["status"]) == (200, 200)
    assert (bad["status"], slug(bad)) == (status, expected)
    assert bad["body"].get("field") == field
    assert len(await facts_of(parts)) == 2


async def _raw_answers(visitor: Visitor, commands: list[Any]) -> list[dict[str, Any]]:
    """As `answers`, with JSON of the standard library: orjson writes no half pair."""
    answer = await visitor.post(
        "/batch", content=json.dumps({"commands": commands}).encode(), Idempotency_Key=None
    )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["answers"]
    return found


async def test_a_problem_is_word_for_word_that_of_the_command_alone(
    clerk: Visitor, parts: Parts
) -> None:
    case = (await clerk.post("/tallies", OPEN)).json()["subject"]
    path = f"/tallies/{case}/counts"
    bodies: list[Any] = [
        {}, [], None, {"amount": "1"}, {"amount": 1.5}, {"amount": 10**40}, {"amount": 101},
        {"amount": 1, "label": "a\0b"}, {"amount": 1, "colour": 2},
    ]  # fmt: skip
    batched = await _raw_answers(
        clerk, [command(f"bad-key-{i}", path, body) for i, body in enumerate(bodies)]
    )
    for body, answer in zip(bodies, batched, strict=True):
        raw = b"" if body is None else json.dumps(body).encode()
        alone = await clerk.post(path, content=raw)
        assert (answer["status"], answer["body"]) == (alone.status_code, alone.json())
    assert len(await facts_of(parts)) == 1


async def test_what_nobody_expected_ends_one_command_only(
    clerk: Visitor, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = parts.desk.handle

    async def breaks(
        tell: Any, actor: Any, organisations: Any, key: Any, cause: Any, **how: Any
    ) -> Any:
        if key.key.endswith("open-key-1"):
            raise ZeroDivisionError("张三")
        return await handle(tell, actor, organisations, key, cause, **how)

    monkeypatch.setattr(parts.desk, "handle", breaks)
    found = await answers(clerk, opening(3))
    assert [each["status"] for each in found] == [200, 500, 200]
    assert slug(found[1]) == "unexpected"
    assert found[1]["body"]["correlation_id"] == found[1]["correlation_id"]
    assert "张三" not in str(found)
    assert parts.door.in_flight == 0


async def test_a_batch_needs_a_token_and_an_office_like_any_command(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    """Judged once for all: nothing of it is done, and a denial is recorded once."""
    body = {"commands": opening(2)}
    answer = await Visitor(client, "clerk").post("/batch", body, Authorization=None)
    assert answer.status_code == 401
    answer = await Visitor(client, "stranger").post("/batch", body)
    assert answer.status_code == 403
    answer = await Visitor(client, "manager").post("/batch", body)
    assert answer.json()["type"].endswith(":office-not-named")
    rows = await parts.store.worker.fetch("SELECT actor, attempt FROM alpha.denials")
    assert [tuple(row) for row in rows] == [
        ("nobody", "POST /batch: token-missing"),
        ("stranger", "POST /batch"),
        ("manager", "POST /batch"),
    ]
    assert await facts_of(parts) == []
    found = await answers(Visitor(client, "manager"), opening(2), Acting_Office="city/clerk")
    assert [each["status"] for each in found] == [200, 200]
    assert {fact.actor.organisation for fact in await facts_of(parts)} == {"city"}


def routes_with_a_programs(door: Door) -> APIRouter:
    """Alpha's routes, and one of another's program."""
    router = api.routes(door)
    router.include_router(api.program_routes(door))
    return router


def told_by_program(index: int) -> dict[str, Any]:
    return command(f"told-key-{index}", "/program/tallies", {"organisation_id": "east"})


async def test_a_program_sends_in_a_batch_what_it_may_send_alone(parts: Parts) -> None:
    """Each its own transaction, key and answer; an office's command is not for it, and recorded."""
    case = new_case()
    async with client_of(parts, routes_with_a_programs) as client:
        program = Visitor(client, "program", client=True)
        commands = [told_by_program(0), command("not-for-it"), told_by_program(1)]
        count = command("nor-this-one", f"/tallies/{case}/counts", {"amount": 1})
        found = await answers(program, [*commands, count])
        assert [each["status"] for each in found] == [200, 403, 200, 403]
        for item, answer in ((commands[1], found[1]), (count, found[3])):
            alone = await program.post(item["path"], item["body"])
            assert (alone.status_code, slug(answer)) == (403, "no-office")
            assert {**alone.json(), "correlation_id": ""} == {
                **answer["body"],
                "correlation_id": "",
            }
        again = await program.post(
            "/program/tallies", {"organisation_id": "east"}, Idempotency_Key="told-key-1"
        )
        assert again.json() == found[2]["body"]
    facts = await facts_of(parts)
    assert {fact.attributes["correlationid"] for fact in facts} == {
        found[0]["correlation_id"],
        found[2]["correlation_id"],
    }
    assert {(fact.actor.person, fact.actor.role) for fact in facts} == {("program", "client")}
    rows = await parts.store.worker.fetch("SELECT DISTINCT xmin::text FROM alpha.facts")
    assert len(rows) == len(facts) == 2
    rows = await parts.store.worker.fetch("SELECT actor, attempt, subject FROM alpha.denials")
    assert sorted(tuple(row) for row in rows) == sorted(
        [("program", "POST /tallies", ""), ("program", "POST /tallies/{case_id}/counts", case)] * 2
    )


async def test_an_office_may_not_send_what_is_a_programs(parts: Parts) -> None:
    """Refused as alone, beside what it may send."""
    async with client_of(parts, routes_with_a_programs) as client:
        clerk = Visitor(client, "clerk")
        theirs, own = await answers(clerk, [told_by_program(0), command("open-key-1")])
        alone = await clerk.post("/program/tallies", {"organisation_id": "east"})
        assert (theirs["status"], own["status"], alone.status_code) == (403, 200, 403)
        assert slug(theirs) == "not-a-program"
        stranger = await Visitor(client, "stranger").post("/batch", {"commands": []})
        assert stranger.status_code == 403
    rows = await parts.store.worker.fetch("SELECT actor, attempt FROM alpha.denials")
    assert [tuple(row) for row in rows] == [
        *[("clerk", "POST /program/tallies")] * 2,
        ("stranger", "POST /batch"),
    ]
    assert len(await facts_of(parts)) == 1


async def test_where_programs_send_nothing_they_send_no_batch_either(
    client: httpx.AsyncClient, parts: Parts
) -> None:
    answer = await Visitor(client, "program", client=True).post("/batch", {"commands": opening(1)})
    assert answer.status_code == 403, answer.text
    assert answer.json()["type"] == "urn:bangfu:problem:no-office"
    rows = await parts.store.worker.fetch("SELECT actor, attempt FROM alpha.denials")
    assert [tuple(row) for row in rows] == [("program", "POST /batch")]


async def test_another_offices_case_is_unknown_in_a_batch_too_and_recorded(
    client: httpx.AsyncClient, clerk: Visitor, parts: Parts
) -> None:
    case = (await clerk.post("/tallies", OPEN)).json()["subject"]
    path = f"/tallies/{case}/counts"
    [theirs, nobodys] = await answers(
        Visitor(client, "neighbour"),
        [
            command("key-theirs", path, {"amount": 1}),
            command("key-nobodys", f"/tallies/{new_case()}/counts", {"amount": 1}),
        ],
    )
    assert theirs["body"] == nobodys["body"]
    assert slug(theirs) == "unknown"
    rows = await parts.store.worker.fetch("SELECT actor, attempt, subject FROM alpha.denials")
    assert ("neighbour", "Count", case) in [tuple(row) for row in rows]


async def test_a_batch_is_bounded(clerk: Visitor, parts: Parts) -> None:
    empty = await clerk.post("/batch", {"commands": []})
    assert empty.json()["field"] == "$.commands"
    many = await clerk.post("/batch", {"commands": opening(MOST_COMMANDS + 1)})
    assert (many.status_code, many.json()["field"]) == (422, "$.commands")
    large = await clerk.post("/batch", content=b" " * (LARGEST_BATCH_BYTES + 1))
    assert (large.status_code, large.json()["type"]) == (
        413,
        "urn:bangfu:problem:request-too-large",
    )
    assert "8 MiB" in large.json()["title"]
    assert "the batch is larger than 8 MiB" in large.json()["title_en"]
    unauthorised = await clerk.post("/batch", content=b"{", Authorization=None)
    assert unauthorised.status_code == 401
    bad = {b"{": 400, b'{"commands": "\xff"}': 400, b"[" * 100_000: 400, b"[1]": 422, b"": 400}
    for content, status in bad.items():
        answer = await clerk.post("/batch", content=content)
        assert (answer.status_code, answer.json()["status"]) == (status, status), content[:10]
    plain = await clerk.post("/batch", {"commands": []}, Content_Type="text/plain")
    assert plain.status_code == 415
    assert await facts_of(parts) == []
    most = await answers(clerk, opening(MOST_COMMANDS))
    assert {each["status"] for each in most} == {200}


async def test_the_description_shows_what_a_batch_holds(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()
    route = described["paths"]["/batch"]["post"]
    assert route["summary"] == "成批办理 Many commands in one request"
    sent = route["requestBody"]["content"]["application/json"]["schema"]
    commands = sent["properties"]["commands"]
    assert set(commands["items"]["properties"]) == {"key", "method", "path", "body"}
    assert (commands["minItems"], commands["maxItems"]) == (1, MOST_COMMANDS)
