"""The network over HTTP: founded by its installation, then kept by its keepers."""

import uuid
from contextlib import suppress
from typing import Any

import pytest

from sandbox.client import Client, RefusedError
from sandbox.installation import INSTALLER
from tests.services.conftest import Rooms
from tests.services.serving import refusal, until

KEEPER = "city.network_keeper"


async def test_the_root_is_founded_once(rooms: Rooms) -> None:
    body = {"organisation": "second", "kind": "federation", "name": "另一总工会", "person": "p"}
    async with rooms.client() as client:
        asked = client.post(INSTALLER, "network", "/installation", body)
        assert await refusal(asked) == (409, "already-installed")
        asked = client.post(KEEPER, "network", "/installation", body)
        assert await refusal(asked) == (403, "not-installation")
        founding = {**body, "parent": "city"}
        del founding["person"]
        asked = client.post(INSTALLER, "network", "/organisations", founding)
        assert await refusal(asked) == (403, "not-network-keeper")


async def test_everyone_in_office_sees_the_tree_and_their_own_subtree(rooms: Rooms) -> None:
    async with rooms.client() as client:
        tree = await client.get("union-1-1.visitor", "network", "/tree")
        assert {"station-1": "county-east", "city": None}.items() <= {
            each["organisation"]: each["parent"] for each in tree
        }.items()
        assert "person" not in str(tree)
        before = await client.get("union-1-1.visitor", "network", "/tree", day="2020-01-01")
        assert before == []

        async def subtree() -> list[str]:
            seen = await client.get("county-east.reviewer", "network", "/organisations")
            found = [each["organisation"] for each in seen]
            return found if len(found) == 3 else []

        assert await until(subtree) == ["county-east", "station-1", "union-1-1"]
        asked = client.get("county-east.reviewer", "network", "/organisations/county-west")
        assert await refusal(asked) == (404, "unknown")
        asked = client.get("nobody", "network", "/tree")
        assert await refusal(asked) == (403, "no-office")


async def _found(client: Client, organisation: str, key: str = "", name: str = "新设工会") -> Any:
    body = {
        "organisation": organisation,
        "kind": "union",
        "name": name,
        "parent": "station-9",
        "offices": [{"person": f"{organisation}.chair", "role": "chair"}],
    }
    return await client.post(KEEPER, "network", "/organisations", body, key)


async def test_a_repeat_answers_the_first_result_and_another_body_is_refused(rooms: Rooms) -> None:
    key = str(uuid.uuid4())
    async with rooms.client() as client:
        first = await _found(client, "union-9-1", key)
        assert await _found(client, "union-9-1", key) == first
        asked = _found(client, "union-9-1", key, name="别的名称")
        assert await refusal(asked) == (409, "idempotency-key-reused")
        asked = _found(client, "union-9-1")
        assert await refusal(asked) == (409, "organisation-exists")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/offices", {"person": "x", "role": "chair"}, (409, "office-taken")),
        ("/offices", {"person": "x", "role": "Chair!"}, (422, "request-invalid")),
        ("/edges", {"parent": "city"}, (409, "two-parents")),
        ("/edges/end", {"parent": "city"}, (409, "no-such-edge")),
        ("/move", {"parent": "union-9-2"}, (422, "wrong-day")),
        (
            "/delegations",
            {"to_organisation": "nowhere", "role": "handler"},
            (422, "no-such-organisation"),
        ),
        (
            "/delegations/end",
            {"to_organisation": "station-9", "role": "handler"},
            (409, "not-delegated"),
        ),
        ("/offices/end", {"person": "nobody", "role": "chair"}, (409, "not-in-office")),
    ],
)
async def test_refusals_say_what_was_wrong(
    rooms: Rooms, path: str, body: dict[str, str], expected: tuple[int, str]
) -> None:
    async with rooms.client() as client:
        with suppress(RefusedError):  # founded by the first of these
            await _found(client, "union-9-2")
        asked = client.post(KEEPER, "network", f"/organisations/union-9-2{path}", body)
        assert await refusal(asked) == expected


async def test_an_organisation_is_arranged_and_closed(rooms: Rooms) -> None:
    async with rooms.client() as client:
        await _found(client, "union-9-3")
        at = "/organisations/union-9-3"
        seat = {"person": "somebody", "role": "visitor"}
        await client.post(KEEPER, "network", f"{at}/offices", seat)
        give = {"to_organisation": "station-9", "role": "handler"}
        await client.post(KEEPER, "network", f"{at}/delegations", give)
        asked = client.post("county-west.reviewer", "network", f"{at}/close", {})
        assert await refusal(asked) == (403, "not-network-keeper")
        answer = await client.post(KEEPER, "network", f"{at}/close", {})
        assert [fact["type"] for fact in answer["facts"]] == ["bangfu.network.OrganisationClosed"]
        document = await client.get(KEEPER, "network", at)
        assert [office["role"] for office in document["offices"]] == ["chair", "visitor"]
        assert document["closed_on"]
        tree = await client.get(KEEPER, "network", "/tree")
        assert "union-9-3" not in {each["organisation"] for each in tree}
