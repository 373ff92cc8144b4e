"""Writes that are stored in one question: each a transaction of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from shared.event_store import CommandRepeated, Conflict, OutOfScope, is_passing
from shared.service import Parts
from shared.write import Write
from tests.shared.test_roles import next_of, two_cases
from tests.toy.world import World, facts_of, new_case


async def opened(world: World, count: int) -> tuple[Parts, list[Write]]:
    """A room, and a write for each of so many cases that open with it; all of the east."""
    a, east, _ = await two_cases(world)
    [fact] = [f for f in await facts_of(a) if f.subject == east]
    writes: list[Write] = []
    for _ in range(count):
        case = new_case()
        born = {"stream": f"tally-{case}", "subject": case, "streamversion": "1"}
        write = next_of(fact, id=new_case(), previoushash="0" * 64, **born)
        write.scope(case, ["east", "city"], a.clock.today())
        write.tree = a.desk.reference.directory.moves
        writes.append(write)
    return a, writes


async def store(
    a: Parts, writes: Sequence[Write], office: Sequence[str] | None = ("east",)
) -> list[BaseException | None]:
    """What came of each; all of them go in one question."""
    return list(
        await asyncio.gather(
            *(a.store.write(write, office, together=True) for write in writes),
            return_exceptions=True,
        )
    )


def command(write: Write, key: str) -> Write:
    [fact] = write.facts
    write.command = {
        "key": key,
        "body_mac": "",
        "stream": fact.stream,
        "first_version": 1,
        "last_version": 1,
        "fact_ids": fact.fact_id,
    }
    return write


async def waiting(admin: asyncpg.Connection) -> int:
    """The server process that waits for what this connection's transaction holds."""
    async with asyncio.timeout(20):
        while True:
            blocked = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY"
            pid = await admin.fetchval(f"{blocked} (pg_blocking_pids(pid))")
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.02)


async def test_what_goes_wrong_with_one_is_its_own(world: World) -> None:
    """A repeated key, an absent forerunner, another's case: each is told, and nothing is kept."""
    a, writes = await opened(world, 5)
    first, second, third, last, again = writes
    before = await facts_of(a)
    east, west = sorted(before, key=lambda fact: fact.document["organisation_id"])
    asked = [
        first,
        command(second, "key-1"),
        next_of(east, streamversion="9"),
        third,
        command(again, "key-1"),
        next_of(west),
        last,
    ]
    found = await store(a, asked)
    nothing = type(None)
    wrong = [nothing, nothing, Conflict, nothing, CommandRepeated, OutOfScope, nothing]
    assert [type(each) for each in found] == wrong
    added = {f.fact_id for f in await facts_of(a)} - {f.fact_id for f in before}
    assert added == {w.facts[0].fact_id for w in (first, second, third, last)}


async def test_each_is_there_before_the_next_begins(world: World) -> None:
    """While one waits for a row that another transaction holds, those before it are committed."""
    a, writes = await opened(world, 4)
    writes[2].guard_deltas = {"held": 1}
    async with world.admin() as admin, admin.transaction():
        await admin.execute("INSERT INTO alpha.guards VALUES ('held', 5)")
        storing = asyncio.ensure_future(store(a, writes))

        await waiting(admin)
        there = {fact.stream for fact in await facts_of(a)}
        assert [w.facts[0].stream in there for w in writes] == [True, True, False, False]
    assert await storing == [None] * 4
    assert await a.store.guards(["held"]) == {"held": 6}


async def test_a_connection_that_is_cut_is_everybodys(world: World) -> None:
    """Nobody knows what was stored: all are told so, and each finds out by its key."""
    a, writes = await opened(world, 4)
    for index, write in enumerate(writes):
        command(write, f"key-{index}")
    writes[2].guard_deltas = {"held": 1}
    async with world.admin() as admin:
        async with admin.transaction():
            await admin.execute("INSERT INTO alpha.guards VALUES ('held', 5)")
            storing = asyncio.ensure_future(store(a, writes))

            pid = await waiting(admin)
            await admin.execute("SELECT pg_terminate_backend($1)", pid)
        found = await storing
    assert all(isinstance(each, Exception) and is_passing(each) for each in found)
    again = await store(a, writes)
    assert [type(each) for each in again] == [
        CommandRepeated,
        CommandRepeated,
        type(None),
        type(None),
    ]


async def test_a_service_stores_together_by_its_own_right(world: World) -> None:
    """Other programs' reports, say: in no office's scope, each with its own fate."""
    a, writes = await opened(world, 3)
    east, west = sorted(await facts_of(a), key=lambda fact: fact.document["organisation_id"])
    asked = [next_of(west), writes[0], next_of(east, streamversion="9"), writes[1]]
    found = await store(a, asked, None)
    nothing = type(None)
    assert [type(each) for each in found] == [nothing, nothing, Conflict, nothing]


async def test_an_office_and_the_service_share_a_bundle_and_no_right(world: World) -> None:
    a, _ = await opened(world, 0)
    _, west = sorted(await facts_of(a), key=lambda fact: fact.document["organisation_id"])
    by_office, by_service = next_of(west), next_of(west)
    refused, stored = await asyncio.gather(
        a.store.write(by_office, ["east"], together=True),
        a.store.write(by_service, None, together=True),
        return_exceptions=True,
    )
    assert isinstance(refused, OutOfScope)
    assert stored is None


async def test_the_offices_role_has_no_right_of_the_service(world: World) -> None:
    """Naming no office, it is told that it may not, and nothing is stored."""
    a, [write] = await opened(world, 1)
    before = await facts_of(a)
    rest, *columns = write.arguments()
    errors = await a.store.office.fetchval(
        "CALL alpha.write_each($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, NULL)",
        None,
        [rest],
        [1],
        *(list(column) for column in columns),
    )
    assert errors == ["42501 "]
    assert await facts_of(a) == before
