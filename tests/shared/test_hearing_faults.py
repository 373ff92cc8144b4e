"""What fails in hearing: the record at fault is held alone, a fault of the moment loses nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from shared import hearing
from shared.arrival import EFFECT_FAILED, WAITING_BEHIND, Arrival
from shared.clock import ClockError
from shared.event_store import EventStore, is_passing
from shared.fact import Fact, Recorded, registry_of
from shared.network_copy import NETWORK_KIND
from shared.room import Answer, Decide, ReferenceRow, Refusal, Room, Situation, Todo, View
from shared.service import Parts
from shared.write import Write
from tests.toy import alpha, beta
from tests.toy.world import (
    Post,
    World,
    again,
    altered,
    facts_of,
    held_of,
    kept_of,
    meaning_of,
    new_case,
    tell,
)


async def two_rooms(world: World) -> tuple[Parts, Parts]:
    await world.migrate("alpha", "beta")
    return await world.start(alpha.room()), await world.start(beta.room())


async def cases_of(parts: Parts, counts: Sequence[alpha.Count]) -> list[str]:
    """A case for each of these counts."""
    cases = [new_case() for _ in counts]
    for case, count in zip(cases, counts, strict=True):
        await tell(parts, "tally", case, alpha.Open())
        await tell(parts, "tally", case, count)
    return cases


def of_case(facts: Sequence[Recorded], case: str) -> list[int]:
    return [f.version for f in facts if f.subject == case]


def on_thirteen(fact: alpha.Counted, recorded: Recorded) -> Sequence[Todo]:
    if fact.amount == 13:
        raise ArithmeticError("no thirteen here")
    return beta.on_counted(fact, recorded)


async def test_an_effect_that_raises_holds_exactly_its_record(world: World) -> None:
    """Before and after it, and in all other cases, everything takes effect."""
    a, _ = await two_rooms(world)
    b = await world.start(
        beta.room(reactions={alpha.Opened: beta.on_opened, alpha.Counted: on_thirteen})
    )
    cases = await cases_of(a, [alpha.Count(amount=n) for n in (1, 13, 2)])
    await tell(a, "tally", cases[1], alpha.Count(amount=3))
    arrivals = Post().arrivals(await facts_of(a))
    await b.hearing.take(again(arrivals))
    assert await held_of(b) == [(EFFECT_FAILED, "ArithmeticError"), (WAITING_BEHIND, "")]
    facts = await facts_of(b)
    assert [of_case(facts, case) for case in cases] == [[1, 2], [1], [1, 2]]
    before = await kept_of(b)
    await b.hearing.take(again(arrivals))
    await b.hearing.sweep()
    assert await kept_of(b) == before


ODD_LABELS = {
    "text that PostgreSQL refuses": "nul \x00 in it",
    "a key too long for its index": "",
}


def room_with_long_keys() -> Room:
    """Its view's key grows with the amount; an index takes a third of a page at most."""

    def views(state: beta.Mirror) -> Sequence[View]:
        odd = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(state.total * 300))
        return [View("mirror", state.case_id + odd, {}, status=state.label)]

    return beta.room(kinds={"mirror": replace(beta.MIRROR, views=views)})


@pytest.mark.parametrize("held_before", [False, True], ids=["new", "held before"])
@pytest.mark.parametrize("how", ODD_LABELS)
async def test_a_write_that_data_makes_fail_holds_that_record_alone(
    how: str, held_before: bool, world: World
) -> None:
    """Also where it is not the record that just came but one that waited for it."""
    a, _ = await two_rooms(world)
    long = not ODD_LABELS[how]
    b = await world.start(room_with_long_keys() if long else beta.room())
    counts = [alpha.Count(amount=0) for _ in range(7)]
    counts[3] = alpha.Count(amount=20 if long else 0, label=ODD_LABELS[how])
    cases = await cases_of(a, counts)
    await tell(a, "tally", cases[3], alpha.Count(amount=0, label=ODD_LABELS[how]))
    arrivals = Post().arrivals(await facts_of(a))
    if held_before:
        first = next(r for r in arrivals if r.key == cases[3])
        rest = [r for r in arrivals if r is not first]
        await b.hearing.take(again(rest))
        await b.hearing.take(again([first]))
    else:
        await b.hearing.take(again(arrivals))
    held = await held_of(b)
    assert [reason for reason, _ in held] == [EFFECT_FAILED, WAITING_BEHIND]
    assert held[0][1].partition(" ")[2] == ("54000" if long else "22P05")
    facts = await facts_of(b)
    assert [of_case(facts, case) for case in cases] == [[1, 2]] * 3 + [[1]] + [[1, 2]] * 3
    marks = await b.store.worker.fetch("SELECT partition, next_offset FROM beta.offsets")
    ends = {r.partition: r.offset + 1 for r in sorted(arrivals, key=lambda r: r.offset)}
    assert {row["partition"]: row["next_offset"] for row in marks} == ends
    before = await kept_of(b)
    await b.hearing.sweep()
    assert await kept_of(b) == before


async def test_a_unique_index_that_says_no_for_good_holds_that_record(world: World) -> None:
    """A clash may be a race and is tried again, a few times, and then it is the record's fault."""
    a, b = await two_rooms(world)
    async with world.admin() as admin:
        await admin.execute(
            "CREATE TABLE beta.once (amount int UNIQUE); GRANT ALL ON beta.once TO PUBLIC;"
            "CREATE OR REPLACE FUNCTION beta.own_rows(rows jsonb) RETURNS void LANGUAGE sql AS"
            " 'INSERT INTO beta.once SELECT (r->>''amount'')::int"
            "  FROM jsonb_array_elements(rows) r'"
        )

    def own_rows(fact: Fact, recorded: Recorded) -> Sequence[dict[str, int]]:
        return [{"amount": fact.amount}] if isinstance(fact, beta.Mirrored) and fact.amount else []

    b = await world.start(beta.room(own_rows=own_rows))
    cases = await cases_of(a, [alpha.Count(amount=n) for n in (1, 2, 1, 3)])
    await b.hearing.take(Post().arrivals(await facts_of(a)))
    [(reason, why)] = await held_of(b)
    assert (reason, why) == (EFFECT_FAILED, "23505 once_amount_key")
    facts = await facts_of(b)
    assert sorted(of_case(facts, case) for case in cases) == [[1], [1, 2], [1, 2], [1, 2]]
    await world.forget("beta")


def deciding(decide: Decide, **changes: Any) -> Room:
    """Beta with another decision."""
    act = replace(beta.MIRROR.acts[beta.Reflect], decide=decide)
    return beta.room(kinds={"mirror": replace(beta.MIRROR, acts={beta.Reflect: act})}, **changes)


async def test_an_effect_that_fails_on_a_stale_state_is_tried_on_a_fresh_one(world: World) -> None:
    """Only what fails on what the log says is the record's fault."""
    a, b = await two_rooms(world)
    [case] = await cases_of(a, [alpha.Count(amount=1)])
    arrivals = Post().arrivals(await facts_of(a))

    def strict(state: beta.Mirror, command: beta.Reflect, situation: Situation) -> Answer:
        assert len(state.seen) == command.alpha_version - 1
        return beta.reflect(state, command, situation)

    stale = await world.start(deciding(strict))
    await stale.desk.load([f"mirror-{case}"])
    await b.hearing.take(again(arrivals[:1]))
    await stale.hearing.take(again(arrivals))
    assert await held_of(stale) == []
    assert of_case(await facts_of(b), case) == [1, 2]


async def test_a_clock_that_cannot_be_read_holds_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a fault of the moment: the batch waits and is taken in whole."""
    a, b = await two_rooms(world)
    await cases_of(a, [alpha.Count(amount=1), alpha.Count(amount=2)])
    now = b.clock.now
    times = 0

    def unreadable() -> object:
        nonlocal times
        times += 1
        if times < 12:
            raise ClockError("no clock")
        return now()

    monkeypatch.setattr(hearing, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(b.clock, "now", unreadable)
    await b.hearing.take(Post().arrivals(await facts_of(a)))
    assert await held_of(b) == []
    assert len(await facts_of(b)) == 4


@pytest.mark.parametrize("known", [0, 1], ids=["its first fact", "a later one"])
async def test_two_instances_that_take_in_the_same_record_have_one_effect(
    known: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a rebalance: one has read the marks, then the other stores, then the one decides."""
    a, b = await two_rooms(world)
    other = await world.start(beta.room())
    [case] = await cases_of(a, [alpha.Count(amount=1)])
    arrivals = Post().arrivals(await facts_of(a))
    await b.hearing.take(again(arrivals[:known]))
    read_marks = b.hearing._held_and_marks
    overtaken = False

    async def overtake(
        arrived: Sequence[Arrival], keys: Collection[str]
    ) -> tuple[list[Arrival], dict[str, int]]:
        nonlocal overtaken
        held_and_marks = await read_marks(arrived, keys)
        if not overtaken:
            overtaken = True
            await other.hearing.take(again(arrivals[: known + 1]))
            b.desk.forget_all()
        return held_and_marks

    monkeypatch.setattr(b.hearing, "_held_and_marks", overtake)
    await b.hearing.take(again(arrivals[: known + 1]))
    assert overtaken
    assert of_case(await facts_of(b), case) == list(range(1, known + 2))


@pytest.mark.parametrize("stored", [True, False], ids=["it was stored", "it was not"])
async def test_a_commit_cut_short_in_hearing_holds_nothing_and_doubles_nothing(
    stored: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often: the batch is taken again, and its marks tell what came through."""
    a, b = await two_rooms(world)
    await cases_of(a, [alpha.Count(amount=1) for _ in range(2)])
    write, attempts = EventStore.write, 0

    async def cut_short(
        store: EventStore,
        what: Write,
        organisations: Sequence[str] | None = None,
        *,
        together: bool = False,
    ) -> None:
        nonlocal attempts
        attempts += 1
        if stored and attempts == 1:
            await write(store, what, organisations, together=together)
        if attempts < 12:
            raise asyncpg.AdminShutdownError("terminating connection")
        await write(store, what, organisations, together=together)

    monkeypatch.setattr(hearing, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(EventStore, "write", cut_short)
    told: list[str] = []
    b.desk.after_write.append(lambda what: told.extend(f.fact_id for f in what.facts))
    await b.hearing.take(Post().arrivals(await facts_of(a)))
    assert {f.fact_id for f in await facts_of(b)} <= set(told)
    kept = await kept_of(b)
    assert kept["held"] == []
    assert dict(kept["guards"])["mirrored"] == 2
    assert len(kept["facts"]) == 4


CUTS = 10


async def cut(url: str, name: str) -> None:
    """Terminate connections of a service, several times, at any moment of their work."""
    admin = await asyncpg.connect(url)
    ended = 0
    try:
        while ended < CUTS:
            rows = await admin.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE $1 AND datname = current_database()"
                " AND (state = 'active' OR random() < 0.2)",
                f"bangfu-{name}%",
            )
            ended += bool(rows)
            await asyncio.sleep(random.uniform(0.01, 0.1))
    finally:
        await admin.close()


async def test_connections_cut_while_hearing_lose_nothing_and_double_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a COMMIT came through is seen from the marks when the batch is taken again."""
    # A batch that is cut ten times over would wait for half a minute in all.
    monkeypatch.setattr(hearing, "LONGEST_PAUSE_SECONDS", 0.05)
    a, b = await two_rooms(world)
    await cases_of(a, [alpha.Count(amount=1, pot=str(n % 5)) for n in range(60)])
    arrivals = Post().arrivals(await facts_of(a))
    cutting = asyncio.create_task(cut(world.postgres_url, "beta"))
    async with asyncio.timeout(60):
        for start in range(0, len(arrivals), 4):
            await b.hearing.take(again(arrivals[start : start + 4]))
        while not cutting.done():
            await b.hearing.take(again(arrivals[:20]))
        await cutting
        await b.hearing.take(again(arrivals))
    kept = await kept_of(b)
    assert kept["held"] == []
    assert dict(kept["guards"])["mirrored"] == 60
    await world.forget("beta")
    await world.migrate("beta")
    calm = await world.start(beta.room())
    await calm.hearing.take(again(arrivals))
    assert meaning_of(await kept_of(calm)) == meaning_of(kept)


async def test_connections_cut_while_deciding_store_each_command_once(world: World) -> None:
    """A COMMIT cut short is unknown, so the command is repeated by its key: one fact a key."""
    a, _ = await two_rooms(world)
    [case] = await cases_of(a, [alpha.Count(amount=0)])
    answered: dict[int, str] = {}

    async def count(number: int) -> None:
        command = alpha.Count(amount=1, pot=f"pot {number}", label=str(number))
        while number not in answered:
            try:
                done = await tell(a, "tally", case, command, key=f"count-{number}")
            except Exception as error:
                if not is_passing(error):
                    raise
                continue
            answered[number] = done.facts[0].fact_id  # type: ignore[union-attr]  # never refused

    cutting = asyncio.create_task(cut(world.postgres_url, "alpha"))
    async with asyncio.timeout(60):
        while not cutting.done():
            first = len(answered)
            await asyncio.gather(*(count(n) for n in range(first, first + 4)))
        await cutting
    facts = [f for f in await facts_of(a) if f.version > 2]
    labels = {f.fact_id: f.read(alpha.room().states).label for f in facts}  # type: ignore[attr-defined]  # Counted
    assert labels == {fact_id: str(n) for n, fact_id in answered.items()}
    assert len(labels) == len(facts)


async def test_what_nobody_foresaw_ends_the_process_and_skips_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer does not go on behind a batch that could not be stored."""
    await world.create_topics("alpha", "beta")
    a, b = await two_rooms(world)
    await cases_of(a, [alpha.Count(amount=1)])

    async def broken(*_: object) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(b.hearing, "take", broken)
    assert b.listening is not None
    relaying = asyncio.ensure_future(a.relay.run())
    try:
        with pytest.raises(RuntimeError, match="a fault of the program"):
            async with asyncio.timeout(20):
                await b.listening.run()
        assert await b.store.worker.fetch("SELECT * FROM beta.offsets") == []
    finally:
        relaying.cancel()
        with suppress(asyncio.CancelledError):
            await relaying


class Founded(Fact, name="toy.tree.Founded"):
    organisation: str


def on_founded(fact: Founded, recorded: Recorded) -> Sequence[Todo]:
    data = {"organisation": fact.organisation, "kind": "x", "name": "x", "founded_on": "2020-01-01"}
    document = {"fact": "OrganisationFounded", "data": data}
    return [ReferenceRow(NETWORK_KIND, recorded.fact_id, document)]


def only_in_the_tree(state: beta.Mirror, command: beta.Reflect, situation: Situation) -> Answer:
    """Refuses while the organisation is not in this service's copy of the tree."""
    known = situation.directory.organisation("town")
    if known is None:
        return Refusal("no_town", "无此单位", "no such organisation")
    return beta.reflect(state, command, situation)


class WithTree:
    """Beta reads alpha's facts and those of a small network."""

    Opened, Counted, Rang, Mirrored = alpha.Opened, alpha.Counted, alpha.Rang, beta.Mirrored
    Founded = Founded


def room_with_tree() -> Room:
    return deciding(
        only_in_the_tree,
        reads=registry_of(WithTree),
        reactions={**beta.room().reactions, Founded: on_founded},
        hears={"alpha": alpha.STREAMS, "tree": ("organisation",)},
    )


def founded(like: Recorded) -> Recorded:
    fact = Recorded(like.attributes, like.hash, b'{"organisation":"town"}')
    return altered(
        fact,
        {},
        id="the-founding",
        type=Founded.stored_name,
        source="toys/tree",
        stream="organisation-town",
        subject="organisation-town",
        streamversion="1",
        lamport="40",
        heard="{}",
    )


async def test_a_fact_in_one_batch_with_what_it_is_decided_by_is_decided_by_it(
    world: World,
) -> None:
    """The tree comes first and is stored before a case is decided on it."""
    a, _ = await two_rooms(world)
    b = await world.start(room_with_tree())
    await cases_of(a, [alpha.Count(amount=1)])
    post = Post()
    facts = await facts_of(a)
    arrivals = [*post.arrivals(facts), post.arrival(founded(facts[0]))]
    await b.hearing.take(arrivals)
    assert [f.version for f in await facts_of(b)] == [1, 2]
    assert await held_of(b) == []


async def test_a_stale_copy_of_the_tree_refuses_nothing_heard(world: World) -> None:
    """Another instance has taken in the organisation a moment ago."""
    a, _ = await two_rooms(world)
    b, other = await world.start(room_with_tree()), await world.start(room_with_tree())
    await cases_of(a, [alpha.Count(amount=1)])
    post = Post()
    facts = await facts_of(a)
    await other.hearing.take([post.arrival(founded(facts[0]))])
    await b.hearing.take(post.arrivals(facts))
    assert [f.version for f in await facts_of(b)] == [1, 2]
