"""What is kept beside the log, derived anew while the service goes on writing."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.native.process import CHECKOUT
from shared.clock import BUSINESS_ZONE, set_clock_file
from shared.desk import Done
from shared.fact import Fact, Recorded
from shared.rebuild.service import NoSuchModel, Rebuilding, Rebuilt, rebuild
from shared.rebuild.shadow import Shadow
from shared.room import Room
from shared.service import Parts
from tests.shared.rebuild_process import STOPS_AT
from tests.toy import alpha
from tests.toy.world import World, hear_of, kept_of, new_case, tell

START_SECONDS = 60


async def some_tallies(world: World, count: int = 5) -> tuple[Parts, list[str]]:
    await world.migrate("alpha")
    a = await world.start(alpha.room())
    cases = [new_case() for _ in range(count)]
    for case in cases:
        await tell(a, "tally", case, alpha.Open())
        await tell(a, "tally", case, alpha.Count(amount=2))
    return a, cases


async def rebuilt(world: World, room: Room, *names: str, **options: Any) -> Rebuilt:
    return await rebuild(room, world.postgres_url, names, **options)


def differing(result: Rebuilt) -> dict[str, dict[str, int]]:
    return {model.model: model.differing for model in result.models if model.differing}


DAMAGE = (
    "UPDATE alpha.views SET document = '{{}}' WHERE key = '{0}'",
    "DELETE FROM alpha.views WHERE key = '{1}'",
    "INSERT INTO alpha.views (model, key, stream, subject, document)"
    " VALUES ('tally', 'nobody', 'tally-nobody', 'nobody', '{{}}')",
    "UPDATE alpha.guards SET value = value + 7",
    "INSERT INTO alpha.guards VALUES ('nothing', 3)",
    "DELETE FROM alpha.case_scope WHERE subject = '{2}'",
    "UPDATE alpha.case_scope SET holder = false WHERE subject = '{3}'",
)


async def test_what_was_damaged_is_told_and_put_right(world: World) -> None:
    a, cases = await some_tallies(world)
    before = await kept_of(a)
    scopes = await scopes_of(a)
    assert (await rebuilt(world, a.room)).is_sound
    async with world.admin() as admin:
        for statement in DAMAGE:
            await admin.execute(statement.format(*cases))
    result = await rebuilt(world, a.room)
    assert differing(result) == {
        "tally": {"not what the facts give": 1, "missing": 1, "follows from no fact": 1},
        "guards": {"not what the facts give": 2},
        "case_scope": {"missing": 1, "not what the facts give": 1},
    }
    assert (await rebuilt(world, a.room)).is_sound
    after = await kept_of(a)
    after["guards"].remove(("nothing", 0))
    assert after == before
    assert await scopes_of(a) == scopes


async def scopes_of(parts: Parts) -> list[tuple[Any, ...]]:
    rows = await parts.store.worker.fetch(
        "SELECT subject, organisation, holder, from_day, to_day"
        f" FROM {parts.room.name}.case_scope ORDER BY 1, 2, 4"
    )
    return [tuple(row) for row in rows]


async def test_a_model_alone_and_one_that_is_none(world: World) -> None:
    """What was not asked for stays as it is."""
    a, cases = await some_tallies(world)
    async with world.admin() as admin:
        await admin.execute("UPDATE alpha.guards SET value = 1")
        await admin.execute("UPDATE alpha.views SET document = '{}'")
        await admin.execute("UPDATE alpha.views SET role = 'x' WHERE key = $1", cases[0])
    result = await rebuilt(world, a.room, "tally")
    assert differing(result) == {"tally": {"not what the facts give": 5}}
    told = {str(key) for model in result.models for key in model.keys}
    assert f"tally {cases[0]}: role, document" in told
    assert differing(await rebuilt(world, a.room, mend=False)).keys() == {"guards"}
    with pytest.raises(NoSuchModel, match=r"tale: .*tally"):
        await rebuilt(world, a.room, "tale")
    assert (await rebuilt(world, a.room, "guards")).models[0].mended
    assert await a.store.guards(["used"]) == {"used": 10}


async def test_only_comparing_changes_nothing(world: World) -> None:
    a, _ = await some_tallies(world)
    async with world.admin() as admin:
        await admin.execute(
            "UPDATE alpha.views SET document = '{}'; UPDATE alpha.guards SET value = 1"
        )
    before = await kept_of(a)
    result = await rebuilt(world, a.room, mend=False)
    assert not result.is_sound
    assert not any(model.mended for model in result.models)
    assert await kept_of(a) == before


async def test_a_fact_that_cannot_be_read_leaves_its_rows_as_they_are(world: World) -> None:
    """The others are derived all the same; sums are not, since nobody knows what it would add."""
    a, cases = await some_tallies(world)
    async with world.admin() as admin:
        await admin.execute(
            "SET session_replication_role = replica;"
            "UPDATE alpha.facts SET data = '{}' WHERE version = 2"
            f" AND stream = 'tally-{cases[0]}'"
        )
        await admin.execute(
            "UPDATE alpha.views SET document = '{}'; UPDATE alpha.guards SET value = 1"
        )
    result = await rebuilt(world, a.room)
    assert result.faults == {f"tally-{cases[0]}": "ValidationError"}
    assert differing(result) == {"tally": {"not what the facts give": 4}}
    assert not result.is_sound
    assert await a.store.guards(["used"]) == {"used": 1}
    views = await a.store.query_views(["city"], "true")
    assert {v["key"]: v["document"] for v in views} == {
        case: {} if case == cases[0] else {"total": 2} for case in cases
    }


async def test_what_is_written_between_comparing_and_swapping_stays(world: World) -> None:
    """After comparing, just before the lock, and while rows are being replaced: all of it stays."""
    a, cases = await some_tallies(world)
    async with world.admin() as admin:
        await admin.execute("UPDATE alpha.views SET document = '{}'")
    late: list[asyncio.Task[Any]] = []
    mend_rows = Shadow.mend_rows

    async def count_meanwhile(shadow: Shadow, *arguments: Any) -> int:
        if not late:
            told = tell(a, "tally", cases[1], alpha.Count(amount=1))
            late.append(asyncio.ensure_future(told))
            # Long enough for a write that nothing holds up.
            await asyncio.wait(late, timeout=0.3)
        return await mend_rows(shadow, *arguments)

    derive = Rebuilding.derive

    async def derive_and_count(run: Rebuilding) -> None:
        await derive(run)
        await tell(a, "tally", cases[0], alpha.Count(amount=1))

    locked = Rebuilding._locked

    async def count_and_lock(run: Rebuilding, act: Any, tables: Any) -> Any:
        if tables and not late:
            await tell(a, "tally", cases[2], alpha.Count(amount=1))
        return await locked(run, act, tables)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rebuilding, "derive", derive_and_count)
        patch.setattr(Rebuilding, "_locked", count_and_lock)
        patch.setattr(Shadow, "mend_rows", count_meanwhile)
        result = await rebuilt(world, a.room)
    assert isinstance(await late[0], Done)
    assert result.streams_again == 2
    assert (await rebuilt(world, a.room, mend=False)).is_sound
    views = await a.store.query_views(["city"], "true")
    totals = {v["key"]: v["document"]["total"] for v in views}
    assert [totals[case] for case in cases] == [3, 3, 3, 2, 2]


async def test_it_goes_on_beside_many_writers(world: World) -> None:
    """None of them fails, and once they rest everything is what the facts give."""
    a, cases = await some_tallies(world, 20)
    stop = asyncio.Event()
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        chance = random.Random(number)
        while not stop.is_set():
            case = chance.choice([*cases, new_case()])
            command = alpha.Count(amount=0) if case in cases else alpha.Open()
            # By the service's own right: the scopes are damaged on the way.
            told = await tell(a, "tally", case, command, organisations=None)
            assert isinstance(told, Done)
            written += 1

    writers = [asyncio.ensure_future(write(number)) for number in range(6)]
    try:
        for _ in range(4):
            async with world.admin() as admin:
                # In the writers' own order, or the damage itself would wait in a circle with them.
                await admin.execute(
                    "LOCK TABLE alpha.guards, alpha.case_scope, alpha.views IN EXCLUSIVE MODE;"
                    "UPDATE alpha.views SET document = '{}'; DELETE FROM alpha.case_scope"
                    " WHERE subject IN (SELECT subject FROM alpha.case_scope LIMIT 5);"
                    "UPDATE alpha.guards SET value = value + 3"
                )
            assert not (await rebuilt(world, a.room)).is_sound
    finally:
        stop.set()
        await asyncio.gather(*writers)
    assert written > 100
    assert (await rebuilt(world, a.room, mend=False)).is_sound


async def stopped_in_the_middle(world: World) -> asyncio.subprocess.Process:
    """A `bangfu rebuild` that holds its lock with rows replaced and not committed."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.shared.rebuild_process",
        cwd=CHECKOUT,
        env={**os.environ, "BANGFU_POSTGRES_URL": world.postgres_url},
        stdout=asyncio.subprocess.PIPE,
    )
    assert started.stdout is not None
    line = await asyncio.wait_for(started.stdout.readline(), START_SECONDS)
    assert line == b"in the middle\n"
    return started


async def test_a_rebuild_that_is_killed_in_the_middle_leaves_nothing_half(world: World) -> None:
    """What it had put right under a lock stays; the rest is as it was, nobody waits for the dead,
    and given again the command puts the rest right."""
    a, cases = await some_tallies(world)
    async with world.admin() as admin:
        await admin.execute("UPDATE alpha.views SET document = '{}'")
    killed = await stopped_in_the_middle(world)
    counting = asyncio.ensure_future(tell(a, "tally", cases[0], alpha.Count(amount=1)))
    done, _ = await asyncio.wait([counting], timeout=0.5)
    assert not done, "it was not in the middle of its swap"
    killed.kill()
    await killed.wait()
    # Its lock went with it. The write that waited shows its own tally anew.
    assert isinstance(await asyncio.wait_for(counting, START_SECONDS), Done)
    views = await a.store.query_views(["city"], "true")
    right = {v["key"] for v in views if v["document"]} - {cases[0]}
    assert len(views) == len(cases)
    assert len(right) in (STOPS_AT - 2, STOPS_AT - 1)
    result = await rebuilt(world, a.room)
    left = len(cases) - 1 - len(right)
    assert differing(result) == {"tally": {"not what the facts give": left}}
    assert (await rebuilt(world, a.room, mend=False)).is_sound
    totals = {v["key"]: v["document"]["total"] for v in await a.store.query_views(["city"], "true")}
    assert totals == {case: 3 if case == cases[0] else 2 for case in cases}


# Scopes


def evolve_and_move(state: alpha.Tally, fact: Fact, recorded: Recorded) -> alpha.Tally:
    """As alpha's own; a label is the organisation that holds the tally from then on."""
    evolved = alpha.evolve(state, fact, recorded)
    if isinstance(fact, alpha.Counted) and fact.label:
        return replace(evolved, organisation_id=fact.label)
    return evolved


MOVING = alpha.room(kinds={"tally": replace(alpha.TALLY, evolve=evolve_and_move)})
UNIONS = [f"union-{number}" for number in range(6)]


class Scene:
    """Unions that hang under one another, cases that move, two processes, and a calendar."""

    def __init__(self, here: Parts, there: Parts, clock: Path, chance: random.Random) -> None:
        self.both = (here, there)
        self.here = here
        self.clock = clock
        self.chance = chance
        self.now = datetime(2025, 3, 1, 9, tzinfo=BUSINESS_ZONE)
        self.parents: dict[str, str] = {}
        self.holders: dict[str, str] = {}

    async def open_a_case(self) -> None:
        case, holder = new_case(), self.chance.choice(UNIONS)
        await tell(
            self.chance.choice(self.both),
            "tally",
            case,
            alpha.Open(organisation_id=holder),
            organisations=None,
        )
        self.holders[case] = holder

    async def move_a_case(self) -> None:
        if self.holders:
            case, holder = self.chance.choice(list(self.holders)), self.chance.choice(UNIONS)
            count = alpha.Count(amount=0, label=holder)
            await tell(self.chance.choice(self.both), "tally", case, count, organisations=None)
            self.holders[case] = holder

    async def move_a_union(self) -> None:
        child = self.chance.choice(UNIONS[1:])
        day = self.now.date().isoformat()
        if child in self.parents:
            parent = self.parents.pop(child)
            await hear_of(self.here, "EdgeClosed", child=child, parent=parent, to_day=day)
        else:
            # Never under one that stands below it.
            parent = self.parents[child] = self.chance.choice(UNIONS[: UNIONS.index(child)])
            await hear_of(self.here, "EdgeOpened", child=child, parent=parent, from_day=day)

    async def pass_a_day(self) -> None:
        self.now += timedelta(days=1)
        set_clock_file(self.clock, self.now)

    def above(self, organisation: str) -> set[str]:
        parent = self.parents.get(organisation)
        return {organisation} | (self.above(parent) if parent else set())


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_scopes_follow_from_the_facts_however_cases_and_tree_moved(
    seed: int, world: World, tmp_path: Path
) -> None:
    """Every row with its days, written step by step by two processes, comes out again at once."""
    await world.migrate("alpha")
    clock = tmp_path / "clock"
    set_clock_file(clock, datetime(2025, 3, 1, 9, tzinfo=BUSINESS_ZONE))
    here, there = [await world.start(MOVING, clock_file=clock, instance=i) for i in "01"]
    scene = Scene(here, there, clock, random.Random(seed))
    acts = [scene.open_a_case, scene.move_a_case, scene.move_a_union, scene.pass_a_day]
    for _ in range(60):
        await scene.chance.choices(acts, (3, 3, 3, 2))[0]()
    result = await rebuilt(world, MOVING, "case_scope", mend=False)
    assert [str(key) for model in result.models for key in model.keys] == []
    kept = await scopes_of(here)
    assert len(kept) > 2 * len(scene.holders)
    for case, holder in scene.holders.items():
        now = {row[1] for row in kept if row[0] == case and row[4] is None}
        assert now == scene.above(holder)
    async with world.admin() as admin:
        await admin.execute("DELETE FROM alpha.case_scope")
    await rebuilt(world, MOVING, "case_scope")
    assert await scopes_of(here) == kept


async def test_a_case_opened_by_an_old_tree_is_scoped_by_the_new_one(world: World) -> None:
    """Another process took the move in, this one has not heard of it."""
    await world.migrate("alpha")
    here, there = [await world.start(alpha.room(), instance=i) for i in "01"]
    await there.desk.reference.refresh()
    await hear_of(here, "EdgeOpened", child="east", parent="north", from_day="2025-01-01")
    case = new_case()
    opened = alpha.Open(organisation_id="east")
    assert isinstance(await tell(there, "tally", case, opened, organisations=None), Done)
    assert {row[1] for row in await scopes_of(here)} == {"east", "north"}
