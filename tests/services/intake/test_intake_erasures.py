"""What is left of an erased person in intake: nothing that finds, names or records them again.

Over HTTP, as a process on the real databases, with the commands that an operator types.
"""

import asyncio
import base64
from pathlib import Path

import asyncpg
from typer.testing import CliRunner

from cli.__main__ import app
from shared.keys import KeyStore
from tests.services.intake.handbook import typed
from tests.services.intake.running import (
    HANDLER,
    NAMES,
    OPENING,
    Case,
    Intake,
    id_number,
    submission,
    submitted,
)
from tests.services.serving import refusal


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
