"""What the database itself refuses: rows of other offices, the log's change, others' schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date

import asyncpg
import pytest

from shared.event_store import Conflict, OutOfScope
from shared.fact import Recorded, chain_hash
from shared.migrations import role_name
from shared.network_copy import NETWORK_KIND
from shared.room import ReferenceRow, View
from shared.service import Parts
from shared.write import TreeMove, Write
from tests.toy import alpha
from tests.toy.world import World, facts_of, kept_of, new_case, tell


@asynccontextmanager
async def connected(world: World, service: str, kind: str) -> AsyncIterator[asyncpg.Connection]:
    password = {"worker": "w", "api": "a"}[kind]
    connection = await asyncpg.connect(world.url(service, kind, password))
    try:
        yield connection
    finally:
        await connection.close()


async def two_cases(world: World) -> tuple[Parts, str, str]:
    """One of the east, one of the west; both under the city."""
    await world.migrate("alpha", "beta")
    a = await world.start(alpha.room())
    cases = (new_case(), new_case())
    for case, office in zip(cases, ("east", "west"), strict=True):
        await tell(a, "tally", case, alpha.Open(organisation_id=office), organisations=[office])
    return a, *cases


TABLES = ("facts", "commands", "watermarks", "offsets", "held", "denials", "lease", "checkpoint")


async def test_the_api_role_reads_no_fact_and_none_of_the_machinery(world: World) -> None:
    await two_cases(world)
    async with connected(world, "alpha", "api") as api:
        for table in TABLES:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.fetch(f"SELECT * FROM alpha.{table}")
        for function in ("write_facts", "change_guard"):
            assert not await api.fetchval(
                "SELECT bool_or(has_function_privilege(p.oid, 'EXECUTE')) FROM pg_proc p"
                " WHERE proname = $1 AND pronamespace = 'alpha'::regnamespace",
                function,
            )
        for statement in (
            "INSERT INTO alpha.views (model, key, stream, subject, document)"
            " VALUES ('', '', '', '', '')",
            "UPDATE alpha.views SET document = ''",
            "DELETE FROM alpha.views",
            "UPDATE alpha.guards SET value = 0",
            "INSERT INTO alpha.case_scope VALUES ('x', 'x', true, now())",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.execute(statement)


async def test_the_api_role_sees_only_the_views_of_its_offices(world: World) -> None:
    """Without a setting, and with an odd one, it sees nothing at all."""
    a, east, _ = await two_cases(world)
    async with connected(world, "alpha", "api") as api:
        seen = "SELECT DISTINCT subject FROM alpha.views"
        assert await api.fetch(seen) == []
        for text in ("", ",", "nowhere", "%", "east west"):
            await api.execute("SELECT set_config('app.organisations', $1, false)", text)
            assert await api.fetch(seen) == []
        await api.execute("SELECT set_config('app.organisations', 'nowhere,east', false)")
        assert [row["subject"] for row in await api.fetch(seen)] == [east]
    assert len(await a.store.query_views(["east"], "true")) == 1
    assert len(await a.store.query_views(["east", "west"], "true")) == 2
    assert await a.store.query_views([], "true") == []


async def test_a_setting_of_one_request_is_gone_at_the_next(world: World) -> None:
    """It lives as long as its transaction, so the pool carries it to nobody."""
    a, *_ = await two_cases(world)
    for _ in range(20):
        assert await a.store.query_views(["east"], "true")
        found = await a.store.office.fetch("SELECT * FROM alpha.views")
        assert found == []


async def test_another_office_can_neither_load_nor_append(world: World) -> None:
    a, east, _ = await two_cases(world)
    [fact] = [f for f in await facts_of(a) if f.subject == east]
    for organisations in (["west"], [], ["nowhere"]):
        with pytest.raises(OutOfScope):
            await a.store.office_load(f"tally-{east}", 0, organisations)
        with pytest.raises(OutOfScope):
            await a.store.write(next_of(fact), organisations)
    assert len(await a.store.office_load(f"tally-{east}", 0, ["east"])) == 1


def next_of(fact: Recorded, **attributes: str) -> Write:
    named = {**fact.attributes, "streamversion": "2", "previoushash": fact.hash, **attributes}
    return Write(facts=[Recorded(named, chain_hash(named, fact.raw), fact.raw)])


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside another stream"])
@pytest.mark.parametrize("organisations", [None, ["east"]], ids=["the service", "an office"])
async def test_a_fact_whose_forerunner_is_absent_is_a_conflict(
    world: World, organisations: list[str] | None, alone: bool
) -> None:
    """P2: whoever writes, no version is left out, and nothing of such a write stays."""
    a, east, _ = await two_cases(world)
    [fact] = [f for f in await facts_of(a) if f.subject == east]
    write = next_of(fact, streamversion="3")
    other = new_case()
    if not alone:
        # It begins a stream, as it may: the one beside it takes it along.
        born = {"stream": f"tally-{other}", "subject": other, "streamversion": "1"}
        write.facts += next_of(fact, id=new_case(), previoushash="0" * 64, **born).facts
    before = await kept_of(a)
    with pytest.raises(Conflict):
        await a.store.write(write, organisations)
    assert await kept_of(a) == before


async def test_a_write_that_lies_about_its_subject_is_refused(world: World) -> None:
    """The scope is that of the subject which the stream has had from its birth."""
    a, east, west = await two_cases(world)
    [fact] = [f for f in await facts_of(a) if f.subject == east]
    for subject in (west, new_case()):
        with pytest.raises(OutOfScope):
            await a.store.write(next_of(fact, subject=subject), ["west"])


async def test_what_is_heard_and_held_is_not_for_an_office(world: World) -> None:
    a, east, _ = await two_cases(world)
    [fact] = [f for f in await facts_of(a) if f.subject == east]
    write = next_of(fact)
    write.watermarks = [{"stream": "x", "was": 0, "version": 9}]
    with pytest.raises(OutOfScope):
        await a.store.write(write, ["east"])
    with pytest.raises(OutOfScope):
        await a.store.write(Write(guard_deltas={"used": -100}), ["east"])
    assert await a.store.guards(["used"]) == {"used": 0}


def foreign_view_stream(write: Write, own: str, foreign: str) -> None:
    """Replaces all rows of a stream that it states nothing in."""
    write.show(f"tally-{foreign}", foreign, (), None)


def foreign_view_gone(write: Write, own: str, foreign: str) -> None:
    row = {"stream": f"tally-{foreign}", "model": "tally", "key": foreign}
    write.views_gone.append(row)


def foreign_view_of_its_stream(write: Write, own: str, foreign: str) -> None:
    write.show(f"tally-{own}", foreign, [View("tally", own, {}, "east")], None)


def foreign_view_by_its_key(write: Write, own: str, foreign: str) -> None:
    """A row of the own stream under the name of another's."""
    write.show(f"tally-{own}", own, [View("tally", foreign, {"total": 9}, "east")], None)


def foreign_scope(write: Write, own: str, foreign: str) -> None:
    write.scope(foreign, ["east"], date(2025, 1, 1))


def foreign_command(write: Write, own: str, foreign: str) -> None:
    """The next sender of this key would be told another's facts."""
    write.command = {
        "key": "city:somebody's key",
        "body_mac": "0",
        "stream": f"tally-{foreign}",
        "first_version": 1,
        "last_version": 1,
        "fact_ids": "",
    }


def copy_of_the_network(write: Write, own: str, foreign: str) -> None:
    """Gives an office to whoever it likes."""
    row = {"person": "me", "organisation": "city", "role": "chair", "from_day": "2025-01-01"}
    key = write.facts[0].fact_id
    write.reference.append(ReferenceRow(NETWORK_KIND, key, {"fact": "OfficeTaken", "data": row}))


def moved_tree(write: Write, own: str, foreign: str) -> None:
    write.tree = 0
    write.move = TreeMove(frozenset(), date(2025, 1, 1), [["west", "east"]])


FORGERIES = (
    foreign_view_stream,
    foreign_view_gone,
    foreign_view_of_its_stream,
    foreign_view_by_its_key,
    foreign_scope,
    foreign_command,
    copy_of_the_network,
    moved_tree,
)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
async def test_an_office_writes_nothing_beside_its_facts(
    forge: Callable[[Write, str, str], None], world: World
) -> None:
    """Read models, scopes, keys and copies are held to the streams in which it states a fact."""
    a, east, west = await two_cases(world)
    [fact] = [f for f in await facts_of(a) if f.subject == east]
    before = await kept_of(a), await held_by(a, west), await a.store.reference_rows()
    write = next_of(fact)
    forge(write, east, west)
    with pytest.raises(OutOfScope):
        await a.store.write(write, ["east"])
    assert (await kept_of(a), await held_by(a, west), await a.store.reference_rows()) == before
    # The same without the forgery goes through.
    write = next_of(fact)
    write.show(f"tally-{east}", east, [View("tally", east, {"total": 1}, "east")], None)
    await a.store.write(write, ["east"])


async def test_documents_by_key_are_only_those_that_a_room_decides_with(world: World) -> None:
    """Alpha decides with none; what an office may see goes through row-level security."""
    a, east, _ = await two_cases(world)
    assert await a.store.documents([("tally", east)]) == {}
    async with world.admin() as admin:
        await admin.execute(
            "CREATE OR REPLACE FUNCTION alpha.office_documents() RETURNS text[]"
            " LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY['tally'] $$"
        )
        try:
            assert await a.store.documents([("tally", east)]) == {("tally", east): {"total": 0}}
        finally:
            await admin.execute(
                "CREATE OR REPLACE FUNCTION alpha.office_documents() RETURNS text[]"
                " LANGUAGE sql IMMUTABLE AS $$ SELECT '{}'::text[] $$"
            )


@pytest.mark.parametrize("kind", ["worker", "api"])
async def test_a_role_of_another_service_is_denied_everything(kind: str, world: World) -> None:
    await two_cases(world)
    async with connected(world, "beta", kind) as other, world.admin() as admin:
        tables = await admin.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'alpha'")
        assert len(tables) > 10
        for row in tables:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await other.fetch(f"SELECT * FROM alpha.{row['tablename']}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await other.fetch("SELECT * FROM alpha.api_load('x', 1, '{city}')")


@pytest.mark.parametrize("who", ["worker", "api", "owner"])
async def test_nobody_changes_a_fact(who: str, world: World) -> None:
    """Roles lack the right, and the owner meets the trigger unless they drop it first."""
    a, *_ = await two_cases(world)
    before = await facts_of(a)
    statements = (
        "UPDATE alpha.facts SET data = '{}'",
        "UPDATE alpha.facts SET stored_at = now() WHERE position = 1",
        "DELETE FROM alpha.facts",
        "TRUNCATE alpha.facts",
    )
    if who == "owner":
        async with world.admin() as admin:
            await admin.execute(f"SET ROLE {role_name(world.postgres_url, 'alpha', 'owner')}")
            for statement in statements:
                with pytest.raises(asyncpg.PostgresError, match="append-only"):
                    await admin.execute(statement)
    else:
        async with connected(world, "alpha", who) as connection:
            for statement in (*statements, "ALTER TABLE alpha.facts DISABLE TRIGGER ALL"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
    assert await facts_of(a) == before


async def test_an_office_that_no_longer_stands_above_sees_no_more(world: World) -> None:
    """Scope is closed where the holder changes, in the write that changes it."""
    a, east, _ = await two_cases(world)
    moved = Write()
    today = a.clock.today()
    moved.scope(east, ["south", "city"], today)
    await a.store.write(moved)
    assert await a.store.query_views(["east"], "true") == []
    assert len(await a.store.query_views(["city"], "true")) == 1
    assert await held_by(a, east) == "south"
    back = Write()
    back.scope(east, ["city"], today)
    await a.store.write(back)
    assert await held_by(a, east) == "city"


async def held_by(parts: Parts, subject: str) -> str:
    found: str = await parts.store.worker.fetchval(
        f"SELECT organisation FROM {parts.room.name}.case_scope"
        " WHERE holder AND to_day IS NULL AND subject = $1",
        subject,
    )
    return found
