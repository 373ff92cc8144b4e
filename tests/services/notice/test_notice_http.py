"""Notices over HTTP: the form is heard from the broker, boards and objections from people."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx

from sandbox.client import Client
from services.eligibility import facts as eligibility
from services.intake import facts as intake
from tests.services.conftest import Rooms
from tests.services.serving import refusal, until

UNION, STATION, REVIEWER = "union-1-1.handler", "station-1.handler", "county-east.reviewer"
NAME = "欧阳示例"
DAY, LAST, AFTER = date(2025, 3, 3), date(2025, 3, 10), date(2025, 3, 11)


@dataclass(frozen=True)
class Case:
    """A case whose form was heard, and who is looking."""

    client: Client
    case_id: str
    name: str

    async def view(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.client.get(UNION, "notice", f"/cases/{self.case_id}")
        return found

    async def post(self, who: str, place: str) -> str:
        path = f"/cases/{self.case_id}/notices"
        answer = await self.client.post(
            who, "notice", path, {"place": place, "posted_on": DAY.isoformat()}
        )
        notice_id: str = answer["facts"][0]["ids"]["notice_id"]
        return notice_id

    async def tasks(self, who: str) -> list[str]:
        items = (await self.client.get(who, "notice", "/work"))["items"]
        return [i["task"] for i in items if i["details"]["case_id"] == self.case_id]

    async def stage(self, *expected: str) -> list[Any]:
        """The notices once they all came down for the reason expected."""

        async def look() -> Any:
            notices = (await self.view())["notices"]
            return notices if [n["removed"] for n in notices] == list(expected) else None

        found: list[Any] = await until(look)
        return found


def fund_rules() -> eligibility.ParameterAnnounced:
    return eligibility.ParameterAnnounced(
        proposal_id="p",
        parameter="fund_rules",
        scope="sample-city",
        effective_from=date(2015, 8, 1),
        effective_to=None,
        announced_on=date(2015, 8, 1),
        values={"notice_days": 5, "notice_unit": "natural"},
        source="",
        proposed_by="x",
    )


def form(case_id: str, name: str) -> intake.FormDrawnUp:
    return intake.FormDrawnUp(
        case_id=case_id,
        form_hash=f"form-{case_id}",
        household_id="household",
        organisation_id="union-1-1",
        workplace_id="union-1-1",
        station_id="station-1",
        fund="sample-city",
        classes=("low_income",),
        primary="low_income",
        published=intake.PublishedFields(
            name=name,
            unit="样例1街道第1厂",
            household_size=3,
            income_band="人均月收入不足500元",
            hardship_class="low_income",
            cause_categories=("疾病 illness",),
            programmes=("living", "medical"),
        ),
        publication_consent=True,
        reviewer=REVIEWER,
    )


async def noticed(rooms: Rooms, client: Client) -> Case:
    """A fresh case on the day on which its form arrives."""
    neighbours = rooms.neighbours()
    case_id = str(uuid.uuid4())
    name = await rooms.sealed_name(NAME, f"applicant-{case_id}")
    scope = f"fund:{case_id}"  # a stream of its own each time, of the same parameter
    await neighbours.state("eligibility", "parameters", scope, fund_rules())
    await neighbours.state("intake", "case", case_id, form(case_id, name))
    case = Case(client, case_id, name)

    async def ready() -> Sequence[str]:
        return await case.tasks(UNION)

    assert await until(ready) == ["post_notice_workplace"]
    return case


async def test_two_notices_run_their_days_and_come_down(rooms: Rooms) -> None:
    """K7, K8: both boards, five full days; on the day after the last they elapse by themselves."""
    rooms.go_to(DAY)
    async with rooms.client() as client:
        case = await noticed(rooms, client)
        asked = case.post(STATION, "workplace")
        assert await refusal(asked) == (403, "wrong-office")
        ids = [await case.post(UNION, "workplace"), await case.post(STATION, "station")]
        assert await refusal(case.post(UNION, "workplace")) == (409, "already-posted")
        assert [n["last_day"] for n in (await case.view())["notices"]] == [LAST.isoformat()] * 2
        asked = client.get("station-9.handler", "notice", f"/cases/{case.case_id}")
        assert await refusal(asked) == (404, "unknown")
        rooms.go_to(LAST)
        shown = await client.open("notice", f"/public/notices/{ids[0]}")
        assert shown["name"] == "欧阳**"
        rooms.go_to(AFTER)
        notices = await case.stage("elapsed", "elapsed")
        assert all(notice["elapsed"] for notice in notices)
        asked = client.open("notice", f"/public/notices/{ids[0]}")
        assert await refusal(asked) == (404, "unknown")


async def test_the_web_shows_a_mask_and_the_board_the_name(rooms: Rooms) -> None:
    """§6: on the web surname and mask, counts and days; the name on the board inside."""
    rooms.go_to(DAY)
    async with rooms.client() as client:
        case = await noticed(rooms, client)
        notice_id = await case.post(UNION, "workplace")
        base = rooms.installation.url("notice")
        async with httpx.AsyncClient(base_url=base) as browser:
            web = await browser.get("/public/notices", params={"organisation": "union-1-1"})
            assert web.status_code == 200
            assert NAME not in web.text
            assert "sealed:" not in web.text
            (mine,) = [n for n in web.json() if n["notice_id"] == notice_id]
            assert mine.keys() == {
                "notice_id",
                "place",
                "organisation_id",
                "organisation",
                "name",
                "household_size",
                "programmes",
                "posted_on",
                "last_day",
                "objections_at",
            }
            assert (mine["name"], mine["programmes"]) == ("欧阳**", 2)
            other = await browser.get("/public/notices", params={"place": "station"})
            assert notice_id not in other.text
            token = {"Authorization": f"Bearer {await client.token(UNION)}"}
            inside = await browser.get("/board/union-1-1", headers=token)
            assert inside.headers["content-type"].startswith("text/html")
            assert NAME in inside.text
            assert notice_id in inside.text
            english = await browser.get("/board/union-1-1", headers=token, params={"lang": "en"})
            assert "low income" in english.text
            for organisation in ("station-1", "city", "nowhere"):
                outside = await browser.get(f"/board/{organisation}", headers=token)
                assert outside.status_code == 404
            assert (await browser.get("/board/union-1-1")).status_code == 401


async def _object(case: Case, notice_id: str, **body: str) -> str:
    path = f"/public/notices/{notice_id}/objections"
    answer = await case.client.public("notice", path, {"text": "该户另有房产出租", **body})
    assert answer.keys() == {"objection_id"}
    objection_id: str = answer["objection_id"]
    return objection_id


async def test_an_objection_holds_the_notices_until_it_is_dismissed(rooms: Rooms) -> None:
    """Invariant 2: an open objection blocks elapse; dismissed late, they elapse at once."""
    rooms.go_to(DAY)
    async with rooms.client() as client:
        case = await noticed(rooms, client)
        ids = [await case.post(UNION, "workplace"), await case.post(STATION, "station")]
        objection_id = await _object(case, ids[0], contact="某邻居 13800000000")
        at = f"/cases/{case.case_id}/objections/{objection_id}"
        rooms.go_to(AFTER)
        assert await case.tasks(STATION) == ["investigate_objection"]
        read = await client.get(STATION, "notice", at)
        assert (read["text"], read["contact"]) == ("该户另有房产出租", "某邻居 13800000000")
        assert await refusal(client.get(UNION, "notice", at)) == (403, "wrong-office")
        asked = client.get("county-west.reviewer", "notice", at)
        assert await refusal(asked) == (404, "unknown")
        asked = client.post(REVIEWER, "notice", f"{at}/decision", _word("dismissed"))
        assert await refusal(asked) == (409, "not-investigated")
        found = {"findings": "房产已于去年出售，有证明"}
        await client.post(STATION, "notice", f"{at}/investigation", found)
        assert await case.tasks(REVIEWER) == ["decide_objection"]
        assert (await client.get(REVIEWER, "notice", at))["findings"] == found["findings"]
        assert [n["removed"] for n in (await case.view())["notices"]] == ["", ""]
        await client.post(REVIEWER, "notice", f"{at}/decision", _word("dismissed"))
        await case.stage("elapsed", "elapsed")


def _word(outcome: str) -> dict[str, str]:
    return {"outcome": outcome, "reasons": "已核实"}


async def test_an_upheld_objection_rejects(rooms: Rooms) -> None:
    rooms.go_to(DAY)
    async with rooms.client() as client:
        case = await noticed(rooms, client)
        notice_id = await case.post(STATION, "station")
        objection_id = await _object(case, notice_id)
        at = f"/cases/{case.case_id}/objections/{objection_id}"
        await client.post(STATION, "notice", f"{at}/investigation", {"findings": "属实"})
        answer = await client.post(REVIEWER, "notice", f"{at}/decision", _word("upheld"))
        assert [fact["type"].rpartition(".")[2] for fact in answer["facts"]] == [
            "ObjectionUpheld",
            "NoticeRemoved",
        ]
        await case.stage("rejected")
        path = f"/public/notices/{notice_id}/objections"
        asked = client.public("notice", path, {"text": "又一异议"})
        assert await refusal(asked) == (409, "case-rejected")
        missing = f"/public/notices/{uuid.uuid4()}/objections"
        assert await refusal(client.public("notice", missing, {"text": "x"})) == (404, "unknown")


async def test_a_rejected_case_takes_its_notices_down(rooms: Rooms) -> None:
    rooms.go_to(DAY)
    async with rooms.client() as client:
        case = await noticed(rooms, client)
        await case.post(UNION, "workplace")
        neighbours = rooms.neighbours()
        rejected = intake.CaseRejected(
            case_id=case.case_id,
            stage="form",
            rule="K9",
            reasons=("signature_refused",),
            review_until=AFTER,
            persons=(),
        )
        # The stream of the case goes on behind the form.
        await neighbours.state(
            "intake", "case", case.case_id, form(case.case_id, case.name), rejected
        )
        await case.stage("case_closed")
        assert await refusal(case.post(STATION, "station")) == (409, "case-closed")
