"""Timers: what falls due is done once, whoever fires it and however late, and stops nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from shared import timers
from shared.clock import BUSINESS_ZONE, set_clock_file
from shared.event_store import DueTimer
from shared.fact import Fact, Recorded
from shared.room import Answer, Decide, Decided, Refusal, Room, Situation, View
from shared.service import Parts
from tests.toy import alpha
from tests.toy.world import World, facts_of, new_case, tell, until

MORNING = datetime(2025, 3, 3, 8, tzinfo=BUSINESS_ZONE)


def days(number: int) -> datetime:
    return MORNING + timedelta(days=number)


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    path = tmp_path / "clock"
    set_clock_file(path, MORNING)
    return path


async def armed(parts: Parts, day: int) -> str:
    """A case whose timer falls due so many days after the first."""
    case = new_case()
    await tell(parts, "tally", case, alpha.Open(rings_on=days(day).date()))
    return case


async def rung(parts: Parts) -> list[str]:
    return [f.subject for f in await facts_of(parts) if f.type == "toy.alpha.Rang"]


@pytest.fixture
def ring() -> Callable[[Decide], Room]:
    def room(decide: Decide) -> Room:
        acts = dict(alpha.TALLY.acts)
        acts[alpha.Ring] = replace(acts[alpha.Ring], decide=decide)
        return alpha.room(kinds={"tally": replace(alpha.TALLY, acts=acts)})

    return room


class Running:
    """Timers of these processes, running."""

    def __init__(self, *parts: Parts) -> None:
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(p.timers.run()) for p in self._parts]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def at_rest(parts: Parts, day: int) -> None:
    async def rested() -> bool:
        return parts.timers.rested_on == days(day).date()

    await until(rested)


async def test_two_instances_ring_each_case_once(world: World, clock: Path) -> None:
    """Also when both look at the same moment; neither takes the other's work for stuck."""
    await world.migrate("alpha")
    a, b = [await world.start(alpha.room(), clock_file=clock) for _ in range(2)]
    cases = await asyncio.gather(*(armed(a, 1) for _ in range(30)))
    set_clock_file(clock, days(1))
    async with Running(a, b):
        await at_rest(a, 1)
        await at_rest(b, 1)
    assert Counter(await rung(a)) == dict.fromkeys(cases, 1)
    assert a.timers.stuck == b.timers.stuck == {}


async def test_what_another_instance_fired_a_moment_ago_is_not_taken_for_stuck(
    world: World, clock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.migrate("alpha")
    a, b = [await world.start(alpha.room(), clock_file=clock) for _ in range(2)]
    case = await armed(a, 0)
    look = a.store.due

    async def overtaken(today: date, limit: int) -> list[DueTimer]:
        found = await look(today, limit)
        await b.timers.fire(today)
        return found

    monkeypatch.setattr(a.store, "due", overtaken)
    a.desk.forget_all()
    await a.timers.fire(MORNING.date())
    assert await rung(a) == [case]
    assert a.timers.stuck == b.timers.stuck == {}


async def test_the_clock_is_moved_by_its_file_and_lost_days_are_caught_up(
    world: World, clock: Path
) -> None:
    """Nothing rings before its day; after a downtime all that fell due rings, the oldest first."""
    await world.migrate("alpha")
    a = await world.start(alpha.room(), clock_file=clock)
    later, soon, never = [await armed(a, day) for day in (9, 2, 40)]
    async with Running(a):
        await at_rest(a, 0)
        assert await rung(a) == []
        set_clock_file(clock, days(1))
        await at_rest(a, 1)
        assert await rung(a) == []
    set_clock_file(clock, days(10))
    afresh = await world.start(alpha.room(), clock_file=clock)
    async with Running(afresh):
        await at_rest(afresh, 10)
    facts = [f for f in await facts_of(a) if f.type == "toy.alpha.Rang"]
    assert {f.subject for f in facts} == {soon, later}
    assert {f.occurred_on for f in facts} == {days(10).date()}
    assert [row.stream for row in await a.store.due(days(99).date(), 9)] == [f"tally-{never}"]


async def test_a_write_has_timers_looked_for_only_if_it_sets_one_that_is_due(
    world: World, clock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "LOOK_AGAIN_SECONDS", 60.0)
    await world.migrate("alpha")
    a = await world.start(alpha.room(), clock_file=clock)
    looks: list[date] = []
    look = a.store.due

    async def counted(today: date, limit: int) -> list[DueTimer]:
        looks.append(today)
        return await look(today, limit)

    monkeypatch.setattr(a.store, "due", counted)
    async with Running(a):
        await at_rest(a, 0)
        looks.clear()
        for _ in range(5):
            await armed(a, 3)
        await asyncio.sleep(3 * timers.SIMULATED_DAY_SECONDS)
        assert looks == []
        assert a.timers.rested_on == MORNING.date()
        case = await armed(a, 0)

        async def has_rung() -> bool:
            return await rung(a) == [case]

        await until(has_rung)


async def test_due_timers_come_oldest_first(world: World, clock: Path) -> None:
    await world.migrate("alpha")
    a = await world.start(alpha.room(), clock_file=clock)
    cases = [await armed(a, day) for day in (5, 1, 3)]
    due = await a.store.due(days(9).date(), 10)
    assert [item.stream for item in due] == [f"tally-{cases[n]}" for n in (1, 2, 0)]


def only_from_three(state: alpha.Tally, command: alpha.Ring, situation: Situation) -> Answer:
    if state.total < 3:
        return Refusal("too_few", "不足", "not enough yet")
    return alpha.ring(state, command, situation)


async def test_a_refused_timer_is_shown_and_fires_when_its_stream_has_moved_on(
    world: World, clock: Path, ring: Callable[[Decide], Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not fire for ever in between, and others are not kept waiting."""
    monkeypatch.setattr(timers, "LOOK_AGAIN_SECONDS", 0.1)
    await world.migrate("alpha")
    decided: list[str] = []

    def counted(state: alpha.Tally, command: alpha.Ring, situation: Situation) -> Answer:
        decided.append(state.case_id)
        return only_from_three(state, command, situation)

    a = await world.start(ring(counted), clock_file=clock)
    other = await world.start(alpha.room(), clock_file=clock)
    waiting, ready = await armed(a, 1), await armed(a, 1)
    await tell(a, "tally", ready, alpha.Count(amount=3))
    set_clock_file(clock, days(1))
    async with Running(a):
        await at_rest(a, 1)
        await asyncio.sleep(0.4)
        assert await rung(a) == [ready]
        assert list(a.timers.stuck) == [(f"tally-{waiting}", "ring")]
        assert decided.count(waiting) <= 4
        # A new day and a new row of reference data are new ground; a moved stream above all.
        set_clock_file(clock, days(2))
        await at_rest(a, 2)
        assert a.timers.stuck
        await tell(other, "tally", waiting, alpha.Count(amount=3))

        async def both() -> bool:
            return len(await rung(a)) == 2 and not a.timers.stuck

        await until(both)
    assert decided.count(waiting) <= 12


async def test_a_timer_without_effect_is_stuck_and_not_fired_for_ever(
    world: World, clock: Path, ring: Callable[[Decide], Room]
) -> None:
    await world.migrate("alpha")
    a = await world.start(ring(lambda _s, _c, _t: Decided()), clock_file=clock)
    await armed(a, 0)
    async with Running(a):
        await at_rest(a, 0)
    assert len(a.timers.stuck) == 1


def raises(state: alpha.Tally, command: alpha.Ring, situation: Situation) -> Answer:
    if state.total == 7:
        raise ArithmeticError("no seven here")
    return alpha.ring(state, command, situation)


async def test_a_timer_that_raises_stops_no_other(
    world: World, clock: Path, ring: Callable[[Decide], Room]
) -> None:
    await world.migrate("alpha")
    a = await world.start(ring(raises), clock_file=clock)
    bad, good = await armed(a, 1), await armed(a, 1)
    await tell(a, "tally", bad, alpha.Count(amount=7))
    set_clock_file(clock, days(1))
    async with Running(a):
        await at_rest(a, 1)
    assert await rung(a) == [good]
    assert list(a.timers.stuck) == [(f"tally-{bad}", "ring")]


async def test_a_timer_whose_write_fails_stops_no_other(world: World, clock: Path) -> None:
    """Its data is not what the database takes."""

    def views(state: alpha.Tally) -> Sequence[View]:
        status = "nul \x00" if state.total == 7 and state.rings_on is None else ""
        return [replace(view, status=status) for view in alpha.views(state)]

    await world.migrate("alpha")
    room = alpha.room(kinds={"tally": replace(alpha.TALLY, views=views)})
    a = await world.start(room, clock_file=clock)
    cases = [await armed(a, 1) for _ in range(3)]
    await tell(a, "tally", cases[1], alpha.Count(amount=7))
    set_clock_file(clock, days(1))
    async with Running(a):
        await at_rest(a, 1)
    assert sorted(await rung(a)) == sorted([cases[0], cases[2]])
    assert list(a.timers.stuck) == [(f"tally-{cases[1]}", "ring")]


async def test_a_timer_that_always_clashes_is_called_stuck_until_the_other_gives_way(
    world: World, clock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room's unique index says no each time: that is told, and tried again now and then."""
    monkeypatch.setattr(timers, "LOOK_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(timers, "CLASHED_AGAIN_SECONDS", 0.2)

    def own_rows(fact: Fact, recorded: Recorded) -> Sequence[dict[str, int]]:
        return [{"bell": 1}] if isinstance(fact, alpha.Rang) else []

    await world.migrate("alpha")
    async with world.admin() as admin:
        await admin.execute(
            "CREATE TABLE alpha.bells (bell int UNIQUE); GRANT ALL ON alpha.bells TO PUBLIC;"
            "CREATE OR REPLACE FUNCTION alpha.own_rows(rows jsonb) RETURNS void LANGUAGE sql AS"
            " 'INSERT INTO alpha.bells SELECT (r->>''bell'')::int"
            "  FROM jsonb_array_elements(rows) r'"
        )
        await admin.execute("INSERT INTO alpha.bells VALUES (1)")
    a = await world.start(alpha.room(own_rows=own_rows), clock_file=clock)
    case = await armed(a, 1)
    set_clock_file(clock, days(1))
    async with Running(a):
        await at_rest(a, 1)
        assert list(a.timers.stuck) == [(f"tally-{case}", "ring")]
        assert await rung(a) == []
        async with world.admin() as admin:
            await admin.execute("DELETE FROM alpha.bells")

        async def done() -> bool:
            return await rung(a) == [case]

        await until(done, seconds=20)
        await at_rest(a, 1)
        assert a.timers.stuck == {}
    await world.forget("alpha")


async def test_a_timer_set_by_an_instance_that_died_is_fired_by_another(
    world: World, clock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody wakes the one that lives; it looks again after a while."""
    monkeypatch.setattr(timers, "LOOK_AGAIN_SECONDS", 0.2)
    await world.migrate("alpha")
    a, b = [await world.start(alpha.room(), clock_file=clock) for _ in range(2)]
    async with Running(b):
        await at_rest(b, 0)
        case = await armed(a, 0)

        async def done() -> bool:
            return await rung(a) == [case]

        await until(done, seconds=10)
