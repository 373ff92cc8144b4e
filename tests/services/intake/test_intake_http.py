"""Intake over HTTP, as a process on the real database and broker; its neighbours are the test."""

import asyncio
import uuid
from datetime import date
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest

from sandbox.client import Client, Command, RefusedError
from services.eligibility import facts as eligibility
from services.notice import facts as notice
from services.training import facts as training
from tests.services.intake.running import (
    ADDRESS,
    APPROVER,
    CHAIR,
    HANDLER,
    NAMES,
    OPENING,
    STATION,
    STATION_VISITOR,
    VISITOR,
    Case,
    Intake,
    application,
    card,
    id_number,
    submission,
    submitted,
)
from tests.services.serving import refusal, until


async def registered(rooms: Intake, client: Client, serial: int) -> Case:
    """The straight way, each step by its own people."""
    case = await submitted(rooms, client, serial)
    form_hash = await _to_signing(case)
    for who, role in ((HANDLER, "handler"), (CHAIR, "chair")):
        await case.post(who, "signatures", {"role": role, "form_hash": form_hash})
    await case.post(STATION, "forward", {})
    await case.post(APPROVER, "register", {})
    return case


async def test_a_case_from_application_to_the_end_of_hardship(intake: Intake) -> None:
    """The whole of intake's way, and after it the household may apply again."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        case = await registered(intake, client, 1)
        found = await case.stage("registered")
        assert found["approver"] == APPROVER
        household = found["household_id"]
        placed = training.TraineePlaced(
            case_id=case.case_id,
            person_id=found["applicant_id"],
            class_id="class-1",
            order_id="order-1",
            placement_id="placement-1",
            post="车工",
            started_on=OPENING.date(),
        )
        # A second file of the same persons is refused as long as this one is open.
        again = await submitted(intake, client, 1)
        asked = again.post(STATION, "accept", {"fund": "sample-city"})
        assert await refusal(asked) == (409, "member-in-open-file")
        await case.hear("training", "worker", placed)
        await case.stage("end_proposed")
        assert "confirm_hardship_end" in await case.work(STATION)
        await case.post(STATION, "hardship-end", {"placement_id": "placement-1", "confirm": True})
        assert (await case.stage("deregistered"))["exit"] == "reemployed"
        await again.post(STATION, "accept", {"fund": "sample-city"})
        # The same persons have the same ids, and the household is that of the last file.
        second = (await again.look())["case"]
        assert second["household_id"] == household
        assert second["members"] == found["members"]


async def test_an_office_signs_its_forms_in_one_request(intake: Intake) -> None:
    """Each form by itself: one that was read in another state is refused, the rest are signed."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        sent = await client.batch(
            HANDLER, "intake", [Command("/cases", submission(20 + n)) for n in range(3)]
        )
        opened = [answer["subject"] for answer in sent if not isinstance(answer, RefusedError)]
        cases = [Case(intake, client, case_id) for case_id in opened]
        assert len(cases) == 3
        hashes = await asyncio.gather(*(_to_signing(case) for case in cases))
        hashes[1] = "0" * 64
        forms = [
            Command(
                f"/cases/{case.case_id}/signatures", {"role": "handler", "form_hash": form_hash}
            )
            for case, form_hash in zip(cases, hashes, strict=True)
        ]
        first = await client.batch(HANDLER, "intake", forms)
        assert [isinstance(answer, RefusedError) for answer in first] == [False, True, False]
        assert isinstance(first[1], RefusedError)
        assert (first[1].status, first[1].code) == (409, "other-form")
        again = await client.batch(HANDLER, "intake", forms[::-1])
        assert (again[2], again[0]) == (first[0], first[2])
        signed = ["sign_handler" not in await case.work(HANDLER) for case in cases]
        assert signed == [True, False, True]


async def _to_signing(case: Case) -> str:
    await case.post(STATION, "accept", {"fund": "sample-city"})
    await case.visit("grassroots", VISITOR)
    await case.visit("station", STATION_VISITOR)
    await case.reconcile()
    form_hash = await case.class_confirmed()
    await case.notices_elapsed(form_hash)
    return form_hash


async def test_personal_values_are_masked_unless_the_cases_offices_unseal_them(
    intake: Intake,
) -> None:
    """§6: sealed in the log and the views, masked on a look, opened on record."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        case = await submitted(intake, client, 2)
        masked = (await case.look())["personal"]
        assert [m["name"] for m in masked["members"]] == ["欧阳**", "欧阳**"]
        assert masked["members"][0]["id_number"] == f"999***********{id_number(2)[-4:]}"
        assert (masked["phone"], masked["address"], masked["account"]) == (
            "199****0001",
            "***",
            "***",
        )
        clear = (await case.look(HANDLER, unsealed=True))["personal"]
        assert clear["address"] == ADDRESS
        assert clear["account"] == card(2)
        assert [m["name"] for m in clear["members"]] == list(NAMES)
        asked = case.look(VISITOR, unsealed=True)
        assert await refusal(asked) == (403, "not-for-unsealing")
        assert await refusal(case.look("station-9.handler")) == (404, "unknown")
        await _nothing_in_clear(intake, [*NAMES, ADDRESS, id_number(2), card(2)])


async def _nothing_in_clear(rooms: Intake, values: list[str]) -> None:
    connection = await asyncpg.connect(rooms.installation.infrastructure.postgres_url)
    try:
        for table in ("facts", "views", "commands", "persons", "reference"):
            rows = await connection.fetch(f"SELECT t::text AS row FROM intake.{table} t")
            text = "\n".join(row["row"] for row in rows)
            assert [value for value in values if value in text] == []
            assert await connection.fetchval("SELECT count(*) FROM intake.persons")
    finally:
        await connection.close()


async def test_defects_are_returned_and_the_answer_goes_on_or_lapses(intake: Intake) -> None:
    """A wrong ID number and a card that fails Luhn are found at the door, in clear."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        wrong = application(3)
        wrong["members"][1]["id_number"] = id_number(3, "20120202")[:-1] + "?"
        wrong["payee"]["account"] = card(3)[:-1] + "x"
        changes = {"members": wrong["members"], "payee": wrong["payee"], "evidence": []}
        case = await submitted(intake, client, 3, **changes)
        asked = case.post(STATION, "accept", {"fund": "sample-city"})
        assert await refusal(asked) == (409, "defects-remain")
        named = {"defects": [{"code": "address_unclear", "field": "address"}]}
        await case.post(STATION, "return", named)
        details = (await case.work(HANDLER))["resubmit"]
        assert [d["code"] for d in details["defects"]] == [
            "id_proof_missing",
            "income_proof_missing",
            "id_number_wrong",
            "account_unconfirmed",
            "address_unclear",
        ]
        assert details["answer_by"] == "2025-03-17"
        other = await submitted(intake, client, 4, evidence=[])
        await other.post(STATION, "return", {})
        await case.post(HANDLER, "resubmit", application(3))
        await case.post(STATION, "accept", {"fund": "sample-city"})
        intake.go_to(date(2025, 3, 17))
        await case.visit("grassroots", VISITOR)
        assert (await other.look())["case"]["stage"] == "returned"
        intake.go_to(date(2025, 3, 18))
        await other.stage("lapsed")


async def test_nothing_is_kept_of_an_application_without_consent(intake: Intake) -> None:
    """§6: refused at the door, before anybody is looked up or sealed."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        before = await _persons(intake)
        body = submission(5, consents=["publication"])
        asked = client.post(HANDLER, "intake", "/cases", body)
        assert await refusal(asked) == (422, "consent-to-processing-missing")
        for path in ("/cases", "/forms"):
            wrong = {"organisation_id": "110101199003070134", "applied_on": "2025-03-03"}
            body = {**submission(5), **wrong}
            with pytest.raises(RefusedError) as refused:
                await client.post(HANDLER, "intake", path, body)
            told = refused.value
            assert (told.status, told.code) == (403, "wrong-office")
            assert told.problem["field"] == "organisation_id"
            assert "110101199003070134" not in str(told.problem)
        assert await _persons(intake) == before


async def _persons(rooms: Intake) -> int:
    connection = await asyncpg.connect(rooms.installation.infrastructure.postgres_url)
    try:
        found: int = await connection.fetchval("SELECT count(*) FROM intake.persons")
        return found
    finally:
        await connection.close()


async def test_a_repeat_answers_the_first_result(intake: Intake) -> None:
    """The same key and body: one case; another body under the key is refused."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        key = str(uuid.uuid4())
        first = await client.post(HANDLER, "intake", "/cases", submission(6), key)
        second = await client.post(HANDLER, "intake", "/cases", submission(6), key)
        assert first == second
        asked = client.post(HANDLER, "intake", "/cases", submission(7), key)
        assert await refusal(asked) == (409, "idempotency-key-reused")
        listed = await client.get(HANDLER, "intake", "/cases", status="submitted", limit=1000)
        assert first["subject"] in [item["key"] for item in listed["items"]]


async def test_one_file_of_two_accepted_at_once(intake: Intake) -> None:
    """Two applications of one household, accepted in the same moment: one is refused."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        cases = [await submitted(intake, client, 8) for _ in range(4)]
        asked = [case.post(STATION, "accept", {"fund": "sample-city"}) for case in cases]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert len([a for a in answers if not isinstance(a, Exception)]) == 1
        stages = [(await case.look())["case"]["stage"] for case in cases]
        assert sorted(stages) == ["submitted", "submitted", "submitted", "visiting"]


async def test_referral_finding_objection_and_rejection_are_heard(intake: Intake) -> None:
    """Reading 4 and 5, and an upheld objection, as they come from the other services."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        case = await submitted(intake, client, 9)
        await case.post(STATION, "accept", {"fund": "sample-city"})
        await case.visit("grassroots", VISITOR)
        await case.visit("station", STATION_VISITOR)
        await case.reconcile()
        await case.hear(
            "eligibility", "decisions", determined(case.case_id, "refer", "RELIEF_NOT_SOUGHT")
        )
        await case.stage("referred")
        outcome = {"relief": "refused", "hardship_after_relief": True, "reasons": "民政答复"}
        await case.post(STATION, "relief-outcome", outcome)
        await case.hear(
            "eligibility",
            "decisions",
            determined(case.case_id, "needs_determination", "TEST_UNPUBLISHED"),
        )
        await case.stage("finding_asked")
        details = (await case.work(STATION))["reconcile"]
        assert details["reason"] == "TEST_UNPUBLISHED"
        refused = {"rule": "K6", "reasons": ["hardship_not_found"], "explanation": "邻居证实"}
        await case.post(STATION, "reject", refused)
        found = await case.stage("rejected")
        assert found["rejected"]["reasons"] == ["hardship_not_found"]

        case = await submitted(intake, client, 10)
        await case.post(STATION, "accept", {"fund": "sample-city"})
        await case.visit("grassroots", VISITOR)
        await case.visit("station", STATION_VISITOR)
        await case.reconcile()
        form_hash = await case.class_confirmed()
        raised = {"case_id": case.case_id, "objection_id": "objection-1"}
        sealed = f"sealed:1:free_text-{'0' * 32}:fact:text:{'A' * 40}"
        await case.hear(
            "notice",
            "notices",
            notice.ObjectionRaised(
                **raised,
                notice_id="notice-1",
                centre_id="county-east",
                anonymous=True,
                text=sealed,
                contact=None,
            ),
        )
        await until(partial(_open_objections, case))
        assert (await case.look())["case"]["form_hash"] == form_hash
        upheld = notice.ObjectionUpheld(**raised, outcome="reject", reasons=sealed)
        await case.hear("notice", "notices", upheld)
        assert (await case.stage("rejected"))["rejected"]["stage"] == "notice"


async def _open_objections(case: Case) -> Any:
    return (await case.look())["case"]["open_objections"]


def determined(case_id: str, outcome: Any, reason: str) -> eligibility.EligibilityDetermined:
    return eligibility.EligibilityDetermined(
        case_id=case_id,
        determination_id=str(uuid.uuid4()),
        household_id="household",
        organisation_id="union-1-1",
        fund="sample-city",
        residence="990802",
        applied_on=OPENING.date(),
        members=2,
        income_12m_fen=600_000,
        causes=("illness",),
        incident_kind=None,
        incident_on=None,
        hardship_found=None,
        relief="not_applied",
        hardship_after_relief=None,
        outcome=outcome,
        classes=(),
        primary=None,
        reason=reason,
        line_fen=75_000,
        comparisons=(),
        versions=(),
        visitors=(VISITOR, STATION_VISITOR),
    )


async def test_bad_bodies_are_refused_without_repeating_them(intake: Intake) -> None:
    """RFC 9457: the field, never the value."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        token = await client.token(HANDLER)
        body = submission(11, phone=["19900000001"])
        body["payee"]["member"] = 7
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
        url = intake.installation.url("intake")
        async with httpx.AsyncClient(base_url=url) as browser:
            answer = await browser.post("/cases", json=body, headers=headers)
            assert answer.status_code == 422
            assert "19900000001" not in answer.text
            assert NAMES[0] not in answer.text
            # A place is one that may have a line: the code of a county or district.
            for code in ("XX", "99080", "990802000"):
                body = submission(11, residence=code)
                answer = await browser.post("/cases", json=body, headers=headers)
                assert answer.status_code == 422
                assert [each["field"] for each in answer.json()["errors"]] == ["$.residence"]
            shown = (await browser.get("/openapi.json")).json()
        assert "/cases/{case_id}/hardship-end" in shown["paths"]
