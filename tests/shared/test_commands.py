"""Commands: one at a time on a stream, within their guards, and once by their key."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial

import asyncpg
import pytest

from shared import desk, turns
from shared.desk import Contended, Done, KeyReused
from shared.event_store import Conflict, EventStore
from shared.fact import GENESIS_HASH, Recorded, chain_hash
from shared.room import Condition, Refusal, Tell
from shared.service import Parts
from shared.telemetry import CONFLICTS
from shared.workspace import Cause, Missing, Workspace
from shared.write import Write
from tests.toy import alpha, gamma
from tests.toy.world import World, facts_of, kept_of, new_case, tell


async def one_room(world: World) -> Parts:
    await world.migrate("alpha")
    return await world.start(alpha.room())


async def opened(parts: Parts) -> str:
    case = new_case()
    await tell(parts, "tally", case, alpha.Open())
    return case


def amounts(facts: Sequence[Recorded]) -> list[int]:
    read = [fact.read(alpha.room().states) for fact in facts]
    return [fact.amount for fact in read if isinstance(fact, alpha.Counted)]


async def test_parallel_commands_on_one_stream_take_its_versions_in_turn(world: World) -> None:
    """Sixteen at once, from two processes: each is stored, versions and chain are whole."""
    a = await one_room(world)
    b = await world.start(alpha.room())
    case = await opened(a)
    done = await asyncio.gather(
        *(tell(p, "tally", case, alpha.Count(amount=0)) for p in (a, b) for _ in range(8))
    )
    assert all(isinstance(each, Done) for each in done)
    facts = await facts_of(a)
    assert [fact.version for fact in facts] == list(range(1, 18))
    previous = GENESIS_HASH
    for fact in facts:
        assert fact.attributes["previoushash"] == previous
        assert chain_hash(fact.attributes, fact.raw) == fact.hash
        previous = fact.hash


async def test_of_parallel_commands_in_one_process_none_is_decided_in_vain(world: World) -> None:
    """They take turns at their stream; an office's visitors report at the same minute."""
    a = await one_room(world)
    case = await opened(a)
    conflicts = CONFLICTS.labels("alpha")
    before = conflicts._value.get()
    done = await asyncio.gather(*(tell(a, "tally", case, alpha.Count(amount=0)) for _ in range(12)))
    assert all(isinstance(each, Done) for each in done)
    assert conflicts._value.get() == before


async def test_nobody_waits_for_long_for_a_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the one before hangs with its database, the next is decided beside it."""
    monkeypatch.setattr(turns, "LONGEST_WAIT_SECONDS", 0.05)
    a = await one_room(world)
    case = await opened(a)
    async with a.desk.turns.at(f"tally-{case}"), asyncio.timeout(20):
        done = await asyncio.gather(
            *(tell(a, "tally", case, alpha.Count(amount=0)) for _ in range(3))
        )
    assert all(isinstance(each, Done) for each in done)


async def test_parallel_commands_from_many_streams_never_pass_a_limit(world: World) -> None:
    """A hundred in the pot, forty cases that draw seven each, from two processes."""
    a = await one_room(world)
    b = await world.start(alpha.room())
    cases = await asyncio.gather(*(opened(a) for _ in range(40)))
    done = await asyncio.gather(
        *(tell((a, b)[n % 2], "tally", c, alpha.Count(amount=7)) for n, c in enumerate(cases))
    )
    kinds = Counter(each.code if isinstance(each, Refusal) else "done" for each in done)
    assert kinds == {"done": 14, "limit": 26}
    assert sum(amounts(await facts_of(a))) == 98
    assert (await a.store.guards(["used"]))["used"] == 98


async def test_a_command_that_never_comes_through_is_told_to_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others always write first: after so many attempts it gives up, and nothing is stored."""
    monkeypatch.setattr(desk, "CONFLICT_PAUSE_SECONDS", 0)
    a = await one_room(world)
    case = await opened(a)
    other = await world.start(alpha.room())
    commit = a.desk.commit

    async def overtaken(
        workspace: Workspace, organisations: object = None, *, together: bool = False
    ) -> None:
        await tell(other, "tally", case, alpha.Count(amount=0))
        await commit(workspace, organisations, together=together)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(a.desk, "commit", overtaken)
    with pytest.raises(Contended):
        await tell(a, "tally", case, alpha.Count(amount=5))
    assert set(amounts(await facts_of(a))) == {0}


async def test_a_decision_taken_again_keeps_its_ids(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a conflict the chain is built again on the fresh head with the same fact ids."""
    a = await one_room(world)
    case = await opened(a)
    other = await world.start(alpha.room())
    tried: list[str] = []
    commit = a.desk.commit

    async def overtaken(
        workspace: Workspace, organisations: object = None, *, together: bool = False
    ) -> None:
        if not tried:
            await tell(other, "tally", case, alpha.Count(amount=0))
        tried.append(workspace.write.facts[0].fact_id)
        await commit(workspace, organisations, together=together)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(a.desk, "commit", overtaken)
    await tell(a, "tally", case, alpha.Count(amount=5))
    assert len(tried) == 2
    assert len(set(tried)) == 1
    assert (await facts_of(a))[-1].fact_id == tried[0]


async def test_a_version_without_the_one_before_it_is_refused(world: World) -> None:
    """The write itself holds the log to its versions, whatever a program asks for."""
    a = await one_room(world)
    case = await opened(a)
    [fact] = await facts_of(a)

    def at(version: int, stream: str = fact.stream) -> Recorded:
        named = {**fact.attributes, "streamversion": str(version), "stream": stream}
        return Recorded(named, chain_hash(named, fact.raw), fact.raw)

    for versions in ([1], [3], [2, 4], [3, 4], [2, 2], [1, 2]):
        with pytest.raises(Conflict):
            await a.store.write(Write(facts=[at(version) for version in versions]))
    with pytest.raises(Conflict):
        await a.store.write(Write(facts=[at(1, "tally-other"), at(2), at(3, "tally-other")]))
    assert [(f.subject, f.version) for f in await facts_of(a)] == [(case, 1)]


async def test_a_repeat_answers_the_first_result(world: World) -> None:
    """Also when the state has moved on, and when the same thing would be refused by now."""
    a = await one_room(world)
    case = await opened(a)
    first = await tell(a, "tally", case, alpha.Count(amount=60), key="the-key")
    await tell(a, "tally", case, alpha.Count(amount=1))
    for parts in (a, await world.start(alpha.room())):
        repeat = await tell(parts, "tally", case, alpha.Count(amount=60), key="the-key")
        assert isinstance(first, Done)
        assert isinstance(repeat, Done)
        assert [f.hash for f in repeat.facts] == [f.hash for f in first.facts]
    assert amounts(await facts_of(a)) == [60, 1]


async def test_a_repeat_under_a_new_identity_answers_the_first_one(world: World) -> None:
    """What opens a stream draws a random id each time; the key finds the first."""
    a = await one_room(world)
    first = await tell(a, "tally", new_case(), alpha.Open(), key="open-once")
    again = await tell(a, "tally", new_case(), alpha.Open(), key="open-once")
    assert isinstance(first, Done)
    assert isinstance(again, Done)
    assert (again.stream, again.subject) == (first.facts[0].stream, first.subject)
    assert len(await facts_of(a)) == 1


async def test_the_same_key_sent_many_times_at_once_acts_once(world: World) -> None:
    a = await one_room(world)
    b = await world.start(alpha.room())
    case = await opened(a)
    done = await asyncio.gather(
        *(
            tell(p, "tally", case, alpha.Count(amount=3), key="impatient")
            for p in (a, b)
            for _ in range(6)
        )
    )
    assert {each.facts[0].fact_id for each in done if isinstance(each, Done)} == {
        (await facts_of(a))[-1].fact_id
    }
    assert amounts(await facts_of(a)) == [3]


async def test_another_body_under_the_same_key_is_refused(world: World) -> None:
    """Whether or not the other would have had an effect."""
    a = await one_room(world)
    case = await opened(a)
    await tell(a, "tally", case, alpha.Count(amount=3), key="the-key", body="three")
    for amount in (4, 100):
        with pytest.raises(KeyReused):
            await tell(
                a, "tally", case, alpha.Count(amount=amount), key="the-key", body=f"{amount}"
            )
    assert amounts(await facts_of(a)) == [3]


async def test_a_refused_command_stores_no_key_and_is_decided_anew(world: World) -> None:
    a = await one_room(world)
    case = await opened(a)
    await tell(a, "tally", case, alpha.Count(amount=100))
    refused = await tell(a, "tally", case, alpha.Count(amount=1), key="later")
    assert isinstance(refused, Refusal)
    assert await a.store.command("later") is None
    await tell(a, "tally", case, alpha.Count(amount=-50))
    assert isinstance(await tell(a, "tally", case, alpha.Count(amount=1), key="later"), Done)
    assert amounts(await facts_of(a)) == [100, -50, 1]


@pytest.mark.parametrize("stored", [True, False], ids=["it was stored", "it was not"])
async def test_a_commit_cut_short_is_repeated_by_key(
    stored: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it came through; the repeat finds out and acts once."""
    monkeypatch.setattr(desk, "FAULT_PAUSE_SECONDS", 0.01)
    a = await one_room(world)
    case = await opened(a)
    write = EventStore.write
    attempts = 0

    async def cut_short(
        store: EventStore,
        what: Write,
        organisations: Sequence[str] | None = None,
        *,
        together: bool = False,
    ) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            if stored:
                await write(store, what, organisations, together=together)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        await write(store, what, organisations, together=together)

    monkeypatch.setattr(EventStore, "write", cut_short)
    told: list[str] = []
    a.desk.after_write.append(lambda what: told.extend(f.fact_id for f in what.facts))
    done = await tell(a, "tally", case, alpha.Count(amount=100))
    assert isinstance(done, Done)
    facts = await facts_of(a)
    assert amounts(facts) == [100]
    assert [f.hash for f in done.facts] == [facts[-1].hash]
    assert (await kept_of(a))["guards"] == [("used", 100)]
    # Whoever publishes it, or rings its timers, need not wait for their own next look.
    assert facts[-1].fact_id in told


async def test_guard_conditions_of_several_decisions_hold_together(world: World) -> None:
    """In one write each is compared with the row as it stands, less what the write itself adds."""
    a = await one_room(world)
    w = Write(guard_deltas={"room": 5})
    w.demand(condition_on_the_room(maximum=3), before=0, after=3)
    w.demand(condition_on_the_room(expect=3, maximum=20), before=3, after=5)
    await a.store.worker.execute(
        "SELECT alpha.write_facts($1::jsonb, '{}','{}','{}','{}','{}','{}','{}','{}','{}')",
        w.rest(),
    )
    assert (await a.store.guards(["room"]))["room"] == 5
    over = Write(guard_deltas={"room": 5})
    over.demand(condition_on_the_room(maximum=7), before=0, after=3)
    over.demand(condition_on_the_room(maximum=20), before=3, after=5)
    with pytest.raises(asyncpg.PostgresError, match="moved"):
        await a.store.worker.execute(
            "SELECT alpha.write_facts($1::jsonb, '{}','{}','{}','{}','{}','{}','{}','{}','{}')",
            over.rest(),
        )


def condition_on_the_room(**bounds: int) -> Condition:
    return Condition("room", **bounds)


async def test_batches_that_cross_never_wait_in_a_circle(world: World) -> None:
    """Whatever order they were decided in, they are written in the same one."""
    await world.migrate("gamma")
    rooms = [await world.start(gamma.room()) for _ in range(2)]
    cases = [new_case() for _ in range(60)]
    stored = 0
    async with world.admin() as admin:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        before = await admin.fetchval(query)
        for _ in range(25):
            # Decided side by side on the same heads, in opposite orders, and written at once.
            decided = [
                (await r.desk.decide_for_good(partial(note_all, order=order)))[1]
                for r, order in zip(rooms, (cases, cases[::-1]), strict=True)
            ]
            written = await asyncio.gather(
                *(r.desk.commit(w) for r, w in zip(rooms, decided, strict=True)),
                return_exceptions=True,
            )
            assert [type(each) for each in written if each] == [Conflict]
            stored += 1
            for each in rooms:
                each.desk.forget_all()
        await asyncio.sleep(1.1)  # a server process tells its statistics once a second
        await admin.execute("SELECT pg_stat_clear_snapshot()")
        assert await admin.fetchval(query) == before
    versions = Counter(f.stream for f in await facts_of(rooms[0]))
    assert set(versions.values()) == {stored}


def note_all(workspace: Workspace, order: Sequence[str]) -> None:
    missing = Missing()
    for case in order:
        try:
            workspace.tell(Tell("notes", case, gamma.Note(of="alpha", version=1)), Cause())
        except Missing as needed:
            missing.add(needed)
    if missing:
        raise missing
