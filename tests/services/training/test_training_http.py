"""Training over HTTP: three slips, and a filed worker's way into a job."""

import asyncio
import uuid
from typing import Any

from sandbox.client import Client, RefusedError
from services.intake import facts as intake
from tests.services.conftest import Rooms
from tests.services.eligibility.neighbours import Neighbours, file_registered
from tests.services.serving import refusal, until

OFFICER = "city.training_officer"


async def slips(client: Client, heads: int, places: int) -> tuple[str, str]:
    """An order and a class on it."""
    order = {
        "employer": "样例机床厂",
        "post": "车工",
        "skill": "turning",
        "heads": heads,
        "placed_on": "2025-01-06",
    }
    answer = await client.post(OFFICER, "training", "/orders", order)
    order_id: str = answer["facts"][0]["ids"]["order_id"]
    menu = {
        "institution": "样例学校",
        "course": "车工初级",
        "skill": "turning",
        "places": 10,
        "price_fen": 180_000,
    }
    answer = await client.post(OFFICER, "training", "/menus", menu)
    menu_id = answer["facts"][0]["ids"]["menu_id"]
    training = {
        "kind": "own",
        "order_id": order_id,
        "menu_id": menu_id,
        "places": places,
        "starts_on": "2025-02-10",
        "ends_on": "2025-03-03",
        "opened_on": "2025-01-10",
    }
    answer = await client.post(OFFICER, "training", "/classes", training)
    class_id: str = answer["facts"][0]["ids"]["class_id"]
    return order_id, class_id


class File:
    """A registered file with one worker, as intake told of it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.case_id = str(uuid.uuid4())
        self.household_id = str(uuid.uuid4())
        self.worker = f"{self.household_id}-parent"

    async def register(self, neighbours: Neighbours) -> None:
        fact = file_registered(self.case_id, self.household_id)
        await neighbours.state("intake", "case", self.case_id, fact)
        await until(self.row)

    async def row(self) -> dict[str, Any]:
        rows = await self.client.get(OFFICER, "training", "/workers", limit=1000)
        return next((row for row in rows if row["case_id"] == self.case_id), {})

    async def step(self, name: str, class_id: str, **more: str) -> Any:
        body = {"person_id": self.worker, "class_id": class_id, **more}
        return await self.client.post(OFFICER, "training", f"/cases/{self.case_id}/{name}", body)


async def test_a_filed_worker_is_enrolled_certified_and_placed(rooms: Rooms) -> None:
    async with rooms.client() as client:
        order_id, class_id = await slips(client, heads=2, places=2)
        file, neighbours = File(client), rooms.neighbours()
        await file.register(neighbours)
        assert (await file.row())["status"] == "waiting"
        assert await refusal(file.step("placements", class_id)) == (409, "not-enrolled")
        await file.step("enrolments", class_id)
        assert await refusal(file.step("enrolments", class_id)) == (409, "enrolled-already")
        assert await refusal(file.step("placements", class_id)) == (409, "not-certified")
        await file.step("certificates", class_id)
        placed = await file.step("placements", class_id)
        assert placed["facts"][0]["ids"]["order_id"] == order_id
        assert (await file.row())["status"] == "placed"
        classes = await client.get(OFFICER, "training", "/classes", limit=1000)
        assert {c["class_id"]: c["places_left"] for c in classes}[class_id] == 1
        orders = await client.get(OFFICER, "training", "/orders", limit=1000)
        (mine,) = [o for o in orders if o["order_id"] == order_id]
        assert (mine["heads_unplanned"], mine["heads_left"], mine["jobs_left"]) == (0, 1, 1)
        assert await client.get("union-1-1.handler", "training", "/orders") == []
        gone = intake.FileDeregistered(
            case_id=file.case_id, household_id=file.household_id, exit="reemployed", persons=()
        )
        await neighbours.state("intake", "case", file.case_id, gone)

        async def closed() -> bool:
            return not (await file.row())["may_be_enrolled"]

        await until(closed)
        _, another = await slips(client, heads=1, places=1)
        assert await refusal(file.step("enrolments", another)) == (409, "file-closed")


async def test_trainees_who_come_at_once_never_exceed_the_places(rooms: Rooms) -> None:
    """Enrolled ≤ ordered heads, also when they are enrolled at the same moment."""
    async with rooms.client() as client:
        order_id, class_id = await slips(client, heads=3, places=3)
        files, neighbours = [File(client) for _ in range(8)], rooms.neighbours()
        for file in files:
            await file.register(neighbours)
        answers = await asyncio.gather(
            *(file.step("enrolments", class_id) for file in files), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert len(refused) == 5
        codes = {each.code for each in refused if isinstance(each, RefusedError)}
        assert codes == {"class-full"}
        body = {"order_id": order_id}
        orders = await client.get(OFFICER, "training", "/orders", limit=1000)
        assert [o["heads_left"] for o in orders if body.items() <= o.items()] == [0]


async def test_only_the_training_officer_acts(rooms: Rooms) -> None:
    async with rooms.client() as client:
        _, class_id = await slips(client, heads=1, places=1)
        body = {"person_id": "p", "class_id": class_id}
        path = f"/cases/{uuid.uuid4()}/enrolments"
        asked = client.post(OFFICER, "training", path, body)
        assert await refusal(asked) == (404, "unknown")
        asked = client.post(
            "city.reviewer",
            "training",
            "/menus",
            {"institution": "x", "course": "x", "skill": "x", "places": 1, "price_fen": 1},
        )
        assert await refusal(asked) == (403, "wrong-office")
        asked = client.post(OFFICER, "training", path, {**body, "class_id": str(uuid.uuid4())})
        assert await refusal(asked) == (422, "not-open-to-them")
