"""Intake over HTTP, as a process on the real database and broker; its neighbours are the test."""

import asyncio
import base64
import uuid
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from deploy.infrastructure import Infrastructure
from sandbox.client import Client, Command, RefusedError
from services.eligibility import facts as eligibility
from services.notice import facts as notice
from services.training import facts as training
from shared.keys import KeyStore
from tests.services.intake.handbook import typed
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
    running_intake,
    submission,
)
from tests.services.serving import refusal, until


@pytest.fixture(scope="module")
def intake(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Intake]:
    """Network and intake, with a small federation founded over HTTP."""
    with running_intake(infrastructure, tmp_path_factory.mktemp("intake")) as rooms:
        yield rooms


async def submitted(rooms: Intake, client: Client, serial: int, **changes: Any) -> Case:
    answer = await client.post(HANDLER, "intake", "/cases", submission(serial, **changes))
    assert answer["facts"][0]["ids"]["case_id"] == answer["subject"]
    return Case(rooms, client, answer["subject"])


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


async def test_of_an_erased_person_nothing_more_is_recorded(intake: Intake) -> None:
    """A clean refusal: their keys are gone, and none is made again."""
    intake.go_to(OPENING.date())
    async with intake.client() as client:
        case = await submitted(intake, client, 77)
        found = await case.look()
        url = intake.installation.environments["intake"]["BANGFU_KEYS_URL"]
        keys = await asyncpg.connect(url)
        try:
            await keys.execute(
                "SELECT keys.destroy_keys($1, 'test')", found["case"]["applicant_id"]
            )
        finally:
            await keys.close()
        # A remembered key seals for a minute at most; another process remembers none.
        intake.installation.stop(["intake"])
        intake.installation.start("intake")
        await intake.installation.wait_until_ready(["intake"])
        asked = client.post(HANDLER, "intake", "/cases", submission(77))
        assert await refusal(asked) == (410, "erased")


# After an erasure


async def where_found(url: str, *texts: str) -> set[str]:
    """The tables of intake in which one of these texts stands."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'intake'"
        )
        return {
            row["name"]
            for row in tables
            if await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM intake.{row['name']} AS t"
                " WHERE EXISTS (SELECT FROM unnest($1::text[]) AS x WHERE strpos(t::text, x) > 0))",
                list(texts),
            )
        }
    finally:
        await connection.close()


async def bangfu(intake: Intake, *words: str) -> str:
    """As an operator types it, with intake's right to the keys."""
    installation = intake.installation
    environment = {
        "BANGFU_POSTGRES_URL": installation.infrastructure.postgres_url,
        "BANGFU_KEYS_URL": installation.environments["intake"]["BANGFU_KEYS_URL"],
    }
    done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


async def test_an_erased_person_is_found_by_no_key_any_more(intake: Intake, tmp_path: Path) -> None:
    """Neither by the lookup of ID numbers nor by what is kept of commands: both hold keyed hashes
    that who has the master key could try ID numbers on."""
    intake.go_to(OPENING.date())
    given = intake.installation.environments["intake"]
    url, register = intake.installation.infrastructure.postgres_url, str(tmp_path / "erasures")
    store = await KeyStore.connect(
        given["BANGFU_KEYS_URL"], base64.b64decode(given["BANGFU_MASTER_KEY"])
    )
    traces = (
        store.mac("id_number", id_number(70)),
        store.mac("paper form", f"2025-03-03\n{id_number(70)}"),
        id_number(71),
    )
    async with intake.client() as client:
        form = {**submission(70), "applied_on": "2025-03-03"}
        erased = Case(
            intake, client, (await client.post(HANDLER, "intake", "/forms", form))["subject"]
        )
        # A client's own key may be anything.
        key = f"form-{id_number(71)}"
        await erased.post(HANDLER, "consents", {"purpose": "publication", "given": False}, key)
        other = await submitted(intake, client, 72)
        assert await where_found(url, *traces) == {"persons", "commands"}
        for person in (await erased.look())["case"]["members"]:
            await store.destroy(person["person_id"])
    await store.close()
    await bangfu(intake, "erasures", "export", register)
    said = await bangfu(intake, "erasures", "clear", register)
    assert "cleared: 0 lookup rows" not in said
    assert await where_found(url, *traces) == set()
    assert "commands" in await where_found(url, f"case-{other.case_id}")
    assert "0 lookup rows, 0 command rows" in await bangfu(intake, "erasures", "clear", register)


# The drill of the keys, as docs/operating.md has it


async def names_in_clear(case: Case) -> list[str | None]:
    looked = (await case.look(HANDLER, unsealed=True))["personal"]
    return [member["name"] for member in looked["members"]]


async def test_a_dump_of_the_keys_brings_nobody_back_who_was_erased(
    intake: Intake, tmp_path: Path
) -> None:
    """Dumped, erased, entered in the register, restored, and erased again by the register alone."""
    intake.go_to(OPENING.date())
    installation = intake.installation
    export, clear = "./run bangfu erasures export", "./run bangfu erasures clear"
    restore, replay = "pg_restore", "./run bangfu erasures replay"
    every_day, back = "Every day.", "Restoring the keys' database."

    async def started_again() -> None:
        # A process remembers keys for a minute.
        installation.start("intake")
        await installation.wait_until_ready(["intake"])

    async with intake.client() as client:
        gone, kept = [await submitted(intake, client, serial) for serial in (81, 82)]
        await typed(intake, tmp_path, every_day, "pg_dump", export, clear)
        members = (await gone.look())["case"]["members"]
        keys = await asyncpg.connect(installation.environments["intake"]["BANGFU_KEYS_URL"])
        for person in members:
            await keys.execute("SELECT keys.destroy_keys($1, 'drill')", person["person_id"])
        await keys.close()
        assert "cleared: 0 lookup" not in await typed(intake, tmp_path, every_day, export, clear)
        installation.stop(["intake"])
        await typed(intake, tmp_path, back, restore)
        await started_again()
        assert await names_in_clear(gone) == list(NAMES)
        installation.stop(["intake"])
        assert f"again: {len(members)}," in await typed(intake, tmp_path, back, replay)
        assert "erased again: 0," in await typed(intake, tmp_path, back, replay)
        await started_again()
        assert await names_in_clear(gone) == [None] * len(members)
        assert await names_in_clear(kept) == list(NAMES)
