"""The room over HTTP: heard facts come from the real broker, people act with their own tokens."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.client import Client
from tests.services.eligibility.neighbours import (
    Neighbours,
    cover_reserved,
    file_registered,
    visits_reconciled,
)
from tests.services.serving import Served, refusal, until

HANDLER = "station-1.handler"
REVIEWER, APPROVER = "county-east.reviewer", "county-east.approver"


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Client]:
    made = served.client()
    yield made
    await made.close()


@pytest.fixture
def neighbours(served: Served) -> Neighbours:
    return served.neighbours()


async def task(client: Client, who: str, status: str, case_id: str) -> Any:
    async def look() -> Any:
        items = (await client.get(who, "eligibility", "/work"))["items"]
        mine = [i for i in items if i["task"] == status and i["details"]["case_id"] == case_id]
        return mine[0]["details"] if mine else None

    return await until(look)


async def test_from_reconciled_visits_to_an_approved_award(
    client: Client, neighbours: Neighbours
) -> None:
    """The engine proposes, people confirm and approve, each in their own office."""
    case_id, household_id = str(uuid.uuid4()), str(uuid.uuid4())
    await neighbours.state("intake", "case", case_id, visits_reconciled(case_id, household_id))
    waiting = await task(client, REVIEWER, "confirm_eligibility", case_id)
    assert (waiting["outcome"], waiting["classes"]) == ("eligible", ["low_income"])
    confirmation = {"determination_id": waiting["determination_id"]}
    path = f"/cases/{case_id}/confirmation"
    status, code = await refusal(client.post(APPROVER, "eligibility", path, confirmation))
    assert (status, code) == (403, "wrong-office")
    await client.post(REVIEWER, "eligibility", path, confirmation)

    await neighbours.state("intake", "case", case_id, file_registered(case_id, household_id))
    await until(lambda: _on_file(client, case_id))
    body = {"programme": "living", "asked_fen": 80_000}
    key = str(uuid.uuid4())
    first = await client.post(HANDLER, "eligibility", f"/cases/{case_id}/awards", body, key)
    again = await client.post(HANDLER, "eligibility", f"/cases/{case_id}/awards", body, key)
    assert first == again
    requested, computed = first["facts"]
    assert [f["type"].rpartition(".")[2] for f in first["facts"]] == [
        "AwardRequested",
        "AwardComputed",
    ]
    award_id = requested["ids"]["award_id"]
    assert computed["ids"]["award_id"] == award_id

    approval = f"/cases/{case_id}/awards/{award_id}/approval"
    assert await refusal(client.post(APPROVER, "eligibility", approval, {})) == (409, "not-covered")
    await neighbours.state("payout", "payouts", case_id, cover_reserved(case_id, award_id, 80_000))
    assert (await task(client, APPROVER, "approve_award", case_id))["award_id"] == award_id
    await client.post(APPROVER, "eligibility", approval, {})
    view = await client.get(HANDLER, "eligibility", f"/cases/{case_id}")
    assert [a["status"] for a in view["awards"]] == ["approved"]


async def _on_file(client: Client, case_id: str) -> bool:
    files = await client.get(HANDLER, "eligibility", "/files", status="open", limit=1000)
    return case_id in [file["case_id"] for file in files]


async def test_wrong_input_is_refused_by_field_and_other_offices_see_nothing(
    client: Client, neighbours: Neighbours
) -> None:
    """No office reads another office's cases: an unseen case is an unknown one (P5)."""
    case_id, household_id = str(uuid.uuid4()), str(uuid.uuid4())
    await neighbours.state("intake", "case", case_id, file_registered(case_id, household_id))
    await until(lambda: _on_file(client, case_id))
    path = f"/cases/{case_id}/awards"
    child = f"{household_id}-child"
    bodies: list[tuple[dict[str, Any], int]] = [
        ({"programme": "living", "asked_fen": 0}, 422),
        ({"programme": "living", "asked_fen": True}, 422),
        ({"programme": "living", "asked_fen": 1, "school": "school-a"}, 422),
        ({"programme": "gift", "asked_fen": 1}, 422),
        ({"programme": "education", "asked_fen": 1, "student_id": child, "school": "none"}, 422),
        ({"programme": "disaster", "asked_fen": 1, "loss_fen": 1}, 422),
    ]
    for body, expected in bodies:
        status, _ = await refusal(client.post(HANDLER, "eligibility", path, body))
        assert status == expected, body
    view = await client.get(HANDLER, "eligibility", f"/cases/{case_id}")
    assert view["awards"] == []
    outsider = "county-west.reviewer"
    assert await refusal(client.get(outsider, "eligibility", f"/cases/{case_id}")) == (
        404,
        "unknown",
    )
    assert (await client.get(outsider, "eligibility", "/files")) == []
    award = {"programme": "living", "asked_fen": 1}
    assert (await refusal(client.post(outsider, "eligibility", path, award)))[0] == 404


async def test_the_approver_reads_the_reasons_and_an_onlooker_does_not(
    client: Client, neighbours: Neighbours
) -> None:
    """The amount is discretionary, with an assessment and reasons on record (reading 11)."""
    case_id, household_id = str(uuid.uuid4()), str(uuid.uuid4())
    await neighbours.state("intake", "case", case_id, file_registered(case_id, household_id))
    await until(lambda: _on_file(client, case_id))
    reasons = "房屋过火，家具电器全部损毁"
    body = {"programme": "disaster", "asked_fen": 150_000, "loss_fen": 900_000, "reasons": reasons}
    answer = await client.post(HANDLER, "eligibility", f"/cases/{case_id}/awards", body)
    assert reasons not in str(answer)
    path = f"/cases/{case_id}/awards/{answer['facts'][0]['ids']['award_id']}/reasons"
    assert (await client.get(APPROVER, "eligibility", path))["reasons"] == reasons
    assert (await refusal(client.get("city.maker", "eligibility", path)))[0] == 403
    assert (await refusal(client.get("county-west.approver", "eligibility", path)))[0] == 404


async def test_parameters_are_announced_by_two_people_and_read_by_all(client: Client) -> None:
    """The shipped file came in over HTTP, a version at a time; a second announcement is refused."""
    in_force = await client.get(
        "union-1-1.visitor",
        "eligibility",
        "/parameters",
        parameter="lines",
        scope="990802",
        on="2025-03-03",
    )
    assert [v["values"] for v in in_force] == [{"fen": 72_000}]
    proposal = {
        "parameter": "school_living_cost",
        "scope": f"school-{uuid.uuid4().hex[:8]}",
        "values": {"fen": 41_000},
    }
    keeper, announcer = "city.parameter_keeper", "city.parameter_announcer"
    answer = await client.post(keeper, "eligibility", "/parameters/proposals", proposal)
    body = {"proposal_id": answer["facts"][0]["ids"]["proposal_id"]}
    path = f"/parameters/school:{proposal['scope']}/announcements"
    assert (await refusal(client.post(keeper, "eligibility", path, body)))[0] == 403
    await client.post(announcer, "eligibility", path, body)
    assert await refusal(client.post(announcer, "eligibility", path, body)) == (
        409,
        "already-announced",
    )
    found = await client.get(
        "union-1-1.visitor", "eligibility", "/parameters", scope=proposal["scope"]
    )
    assert [(v["values"], v["in_force"]) for v in found] == [({"fen": 41_000}, True)]
