"""What a person decides on held records: the queue goes on in order, and the log tells why."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cli.__main__ import app
from shared import bus, quarantine
from shared.arrival import (
    EFFECT_FAILED,
    UNREADABLE,
    WAITING_BEHIND,
    WAITING_FOR_BUILD,
    WAITING_FOR_CAUSE,
    WAITING_FOR_VERSION,
    Arrival,
)
from shared.discarded import HeardFactDiscarded
from shared.fact import Recorded
from shared.quarantine import NotPossibleError
from shared.room import Todo
from shared.service import Parts
from tests.given_when_then import sealed
from tests.toy import alpha, beta
from tests.toy.world import (
    Post,
    World,
    again,
    altered,
    facts_of,
    held_of,
    kept_of,
    new_case,
    running,
    tell,
    until,
)

Answer = TypeVar("Answer")


async def ask(world: World, question: Callable[[asyncpg.Connection], Awaitable[Answer]]) -> Answer:
    async with world.admin() as connection:
        return await question(connection)


async def discard(world: World, held_id: int, **changes: Any) -> str:
    given = {"reason": "entered twice", "operator": "chen", **changes}
    return await ask(world, lambda c: quarantine.ask_discard(c, "beta", held_id, **given))


async def release(world: World, *ids: int) -> None:
    await ask(world, lambda c: quarantine.release(c, "beta", ids))


async def held_ids(parts: Parts) -> list[int]:
    rows = await parts.store.worker.fetch("SELECT held_id FROM beta.held ORDER BY held_id")
    return [row["held_id"] for row in rows]


class Broken:
    """Beta whose reaction to an amount of thirteen raises until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    def on_counted(self, fact: alpha.Counted, recorded: Recorded) -> Sequence[Todo]:
        if fact.amount == 13 and not self.mended:
            raise ArithmeticError("no thirteen here")
        return beta.on_counted(fact, recorded)

    def room(self) -> Any:
        return beta.room(
            reactions={alpha.Opened: beta.on_opened, alpha.Counted: self.on_counted},
        )


async def counted(parts: Parts, amounts: Sequence[int]) -> str:
    case = new_case()
    await tell(parts, "tally", case, alpha.Open())
    for amount in amounts:
        await tell(parts, "tally", case, alpha.Count(amount=amount))
    return case


async def stuck(world: World, broken: Broken) -> tuple[Parts, Parts, str, list[Arrival]]:
    """One case whose third fact fails in beta, with two behind it; another that goes on."""
    await world.migrate("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(broken.room())
    case = await counted(a, (1, 13, 2, 3))
    await counted(a, (4,))
    arrivals = Post().arrivals(await facts_of(a))
    await b.hearing.take(again(arrivals))
    reasons = [reason for reason, _ in await held_of(b)]
    assert reasons == [EFFECT_FAILED, WAITING_BEHIND, WAITING_BEHIND]
    return a, b, case, arrivals


async def mirrored(parts: Parts, case: str) -> list[int]:
    """Which of alpha's versions beta has mirrored, in its own order."""
    facts = [f.read(beta.room().reads) for f in await facts_of(parts) if f.subject == case]
    return [fact.alpha_version for fact in facts if isinstance(fact, beta.Mirrored)]


async def discards_of(parts: Parts) -> list[tuple[Recorded, HeardFactDiscarded]]:
    found = [(f, f.read(beta.room().reads)) for f in await facts_of(parts)]
    return [(f, fact) for f, fact in found if isinstance(fact, HeardFactDiscarded)]


async def test_what_is_released_takes_effect_and_those_behind_it_in_order(world: World) -> None:
    """Once its cause is mended; in vain before, and then it is quarantined as it was."""
    broken = Broken()
    _, b, case, arrivals = await stuck(world, broken)
    held_id, *_ = await held_ids(b)
    before = await kept_of(b)
    await release(world, held_id)
    await b.hearing.sweep()
    assert await kept_of(b) == before
    assert await b.store.worker.fetchval("SELECT bool_or(released) FROM beta.held") is False
    broken.mended = True
    await b.hearing.sweep()
    assert await kept_of(b) == before, "it is tried once for each word of its operator"
    await release(world, held_id)
    await b.hearing.sweep()
    assert await held_of(b) == []
    assert await mirrored(b, case) == [1, 2, 3, 4, 5]
    done = await kept_of(b)
    await b.hearing.take(again(arrivals))
    assert await kept_of(b) == done


async def test_what_is_discarded_is_passed_and_stated_in_the_stream_of_its_case(
    world: World,
) -> None:
    """It has no effect, ever; the state and the views are as before, the stream tells of it."""
    broken = Broken()
    a, b, case, arrivals = await stuck(world, broken)
    held_id, *_ = await held_ids(b)
    fact_id = await discard(world, held_id)
    await b.hearing.sweep()
    assert await held_of(b) == []
    assert await mirrored(b, case) == [1, 2, 4, 5]
    [(recorded, fact)] = await discards_of(b)
    bad = next(f for f in await facts_of(a) if f.subject == case and f.version == 3)
    assert (recorded.stream, recorded.version, recorded.subject) == (f"mirror-{case}", 3, case)
    assert (fact.stream, fact.version, fact.type, fact.hash) == (
        bad.stream, 3, bad.type, bad.hash,
    )  # fmt: skip
    assert (fact.reason, fact.operator, fact.held_as) == ("entered twice", "chen", EFFECT_FAILED)
    assert (recorded.actor.person, recorded.actor.role) == ("chen", "operator")
    assert recorded.fact_id == fact_id
    assert recorded.attributes["causationid"] == bad.fact_id
    assert recorded.heard[bad.stream] == 3
    where = await ask(world, lambda c: quarantine.stated(c, "beta", case, fact_id))
    assert where == (f"mirror-{case}", 3)
    broken.mended = True
    done = await kept_of(b)
    await b.hearing.take(again(arrivals))
    await b.hearing.sweep()
    assert await kept_of(b) == done


async def test_a_record_of_no_stream_here_is_discarded_into_the_services_own(world: World) -> None:
    """The first fact of a case, and one whose key is nobody's: a stream that no office holds."""
    await world.migrate("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(Broken().room())
    await counted(a, ())
    post = Post()
    [first] = await facts_of(a)
    garbage = post.raw("alpha", "garbage", [("ce_id", b"\xff")], b"\xfe")
    renamed = altered(first, type="toy.alpha.NeverHeardOf")
    await b.hearing.take([garbage, post.arrival(renamed)])
    assert [r for r, _ in await held_of(b)] == [UNREADABLE, WAITING_FOR_BUILD]
    for held_id in await held_ids(b):
        await discard(world, held_id)
    await b.hearing.sweep()
    assert await held_of(b) == []
    stated = await discards_of(b)
    assert [r.stream for r, _ in stated] == ["discarded-beta"] * 2
    assert [r.version for r, _ in stated] == [1, 2]
    assert [(f.stream, f.version) for _, f in stated] == [("", 0), (first.stream, 1)]
    assert await b.store.worker.fetchval("SELECT count(*) FROM beta.case_scope") == 0
    assert await b.store.worker.fetchval("SELECT count(*) FROM beta.views") == 0


def flipped(arrival: Arrival) -> Arrival:
    return replace(arrival, value=b'{"amount":7}')


async def test_a_damaged_record_goes_and_the_true_one_still_takes_its_place(world: World) -> None:
    """Discarding what can't be read passes no version, unless the operator says so."""
    await world.migrate("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    case, other = await counted(a, (1, 2)), await counted(a, (1, 2))
    post = Post()
    arrivals = post.arrivals(await facts_of(a))
    damaged = [flipped(r) if r.claimed().version == 2 else r for r in arrivals]
    await b.hearing.take(again(damaged))
    reasons = [reason for reason, _ in await held_of(b)]
    assert sorted(reasons) == [UNREADABLE, UNREADABLE, WAITING_BEHIND, WAITING_BEHIND]
    shown = await ask(world, lambda c: quarantine.quarantined(c, "beta", 10))
    by_case = {held.key: held.held_id for held in shown}
    await discard(world, by_case[case])
    await discard(world, by_case[other], skip_version=True)
    await b.hearing.sweep()
    assert await held_of(b) == [(WAITING_FOR_VERSION, f"tally-{case} 2")]
    assert await mirrored(b, case) == [1]
    assert await mirrored(b, other) == [1, 3]

    # The relay sends once more, and Kafka what an instance had not told it of.
    await b.hearing.take([*again(damaged), *post.arrivals(await facts_of(a))])
    assert await held_of(b) == []
    assert await mirrored(b, case) == [1, 2, 3]
    assert await mirrored(b, other) == [1, 3]


async def refused(asked: Awaitable[Any]) -> str:
    with pytest.raises(NotPossibleError) as error:
        await asked
    return str(error.value)


async def test_what_can_not_be_decided_is_refused_in_one_line(world: World) -> None:
    """Unknown, not quarantined, decided already, nothing to skip, and no word that may stay."""
    _, b, _, _ = await stuck(world, Broken())
    first, second, _ = await held_ids(b)
    assert "holds no record 999" in await refused(release(world, 999))
    assert "holds no record 999" in await refused(discard(world, 999))
    assert "leaves by itself" in await refused(release(world, second))
    # All or none.
    assert "holds no record 999" in await refused(release(world, first, 999))
    assert "leaves by itself" in await refused(release(world, first, second))
    assert await b.store.worker.fetchval("SELECT bool_or(released) FROM beta.held") is False
    assert "is not quarantined" in await refused(discard(world, second))
    assert "--reason" in await refused(discard(world, first, reason="  "))
    assert "--reason" in await refused(discard(world, first, reason="two\nlines"))
    assert "--reason" in await refused(discard(world, first, reason="of 110101199003074477"))
    assert "--reason" in await refused(
        discard(world, first, reason="１１０１０１１９９００３０７４４７７")
    )
    assert "--reason" in await refused(discard(world, first, reason="x" * 501))
    assert "--operator" in await refused(discard(world, first, operator=""))
    assert "--skip-version" in await refused(discard(world, first, skip_version=True))
    await discard(world, first)
    assert "to be discarded already" in await refused(release(world, first))
    assert "to be discarded already" in await refused(discard(world, first))
    await b.hearing.sweep()
    assert "discarded already by chen" in await refused(discard(world, first))


async def test_a_strangers_record_that_waits_for_what_is_in_no_log_can_be_put_aside(
    world: World,
) -> None:
    """It passes nothing: the true fact of its place still has its effect, and nobody waits for it.

    What is in a log stays: its cause will come, or a programmer has to see why it does not.
    """
    await world.migrate("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    case, late = await counted(a, (1, 2)), await counted(a, (1, 2))
    ours = [f for f in await facts_of(a) if f.subject == case]
    theirs = [f for f in await facts_of(a) if f.subject == late]
    ahead = altered(ours[2], {"amount": 7}, streamversion="6", id=str(uuid.uuid4()))
    further = altered(ahead, streamversion="8", id=str(uuid.uuid4()))
    causeless = altered(
        ours[0], {"case_id": "nobody"}, id=str(uuid.uuid4()), subject="nobody",
        stream="tally-nobody", heard=json.dumps({ours[0].stream: 9}),
    )  # fmt: skip
    post = Post()
    records = post.arrivals([*ours, ahead, further, causeless, theirs[0], theirs[2]])
    await b.hearing.take(again(records))
    rows = await ask(world, lambda c: quarantine.waiting(c, "beta", 10))
    by_cause = {(row.reason, row.waits_for): row.first_id for row in rows}
    assert set(by_cause) == {
        (WAITING_FOR_VERSION, f"tally-{case} 4"),
        (WAITING_FOR_CAUSE, f"tally-{case} 9"),
        (WAITING_FOR_VERSION, f"tally-{late} 2"),
    }
    kept = by_cause[WAITING_FOR_VERSION, f"tally-{late} 2"]
    assert "will come" in await refused(discard(world, kept))
    put_aside = [held_id for held_id in by_cause.values() if held_id != kept]
    for held_id in put_aside:
        assert "--skip-version" in await refused(discard(world, held_id, skip_version=True))
        await discard(world, held_id)
    await b.hearing.sweep()
    left = await held_ids(b)
    assert (len(left), kept in left) == (2, True)
    stated = {fact.hash: (recorded, fact) for recorded, fact in await discards_of(b)}
    assert set(stated) == {ahead.hash, causeless.hash}
    for recorded, fact in stated.values():
        assert (fact.stream, fact.version) == ("", 0)
        assert recorded.heard.get("tally-nobody") is None
        assert recorded.heard.get(ours[0].stream, 0) <= 3, "whoever hears of it waits for nothing"
    assert stated[ahead.hash][0].stream == f"mirror-{case}"

    # Alone, with another of its key still held; then all.
    await b.hearing.take(again(records[3:4]))
    await b.hearing.take(again(records))
    assert await held_ids(b) == left, "what was put aside came again"
    true = altered(causeless, heard="{}")
    await tell(a, "tally", case, alpha.Count(amount=3))
    news = [f for f in await facts_of(a) if f.subject == case][3:]
    await b.hearing.take(post.arrivals([*news, true]))
    assert await mirrored(b, case) == [1, 2, 3, 4]
    assert await mirrored(b, "nobody") == [1]


async def test_a_fact_of_a_log_whose_cause_is_gone_is_nobodys_to_put_aside(world: World) -> None:
    """A damaged log is for a programmer: no more is taken away from it."""
    await world.migrate("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    await counted(a, ())
    [first] = await facts_of(a)
    async with world.admin() as connection:
        await connection.execute(
            "INSERT INTO alpha.facts"
            " (stream, version, fact_id, type, subject, envelope, data, hash)"
            " SELECT stream, 3, 'x', type, subject, envelope, data, $1 FROM alpha.facts",
            (torn := altered(first, streamversion="3")).hash,
        )
    await b.hearing.take(Post().arrivals([first, torn]))
    assert await held_of(b) == [(WAITING_FOR_VERSION, f"{first.stream} 2")]
    [held_id] = await held_ids(b)
    assert "bangfu verify" in await refused(discard(world, held_id))


async def test_what_waits_is_told_with_its_cause_and_what_keeps_it(world: World) -> None:
    """By what it waits for, the oldest first; a queue names the record at its head."""
    a, b, case, _ = await stuck(world, Broken())
    await counted(a, (5,))
    late = (await facts_of(a))[-1]
    await b.hearing.take(Post(generation="2").arrivals([late]))
    first, *_ = await held_ids(b)
    rows = await ask(world, lambda c: quarantine.waiting(c, "beta", 10))
    assert [(row.reason, row.waits_for, row.records, row.cases) for row in rows] == [
        (WAITING_BEHIND, f"held {first}", 2, 1),
        (WAITING_FOR_VERSION, f"{late.stream} 1", 1, 1),
    ]
    assert len(await ask(world, lambda c: quarantine.waiting(c, "beta", 1))) == 1
    shown = await ask(world, lambda c: quarantine.show(c, "beta", first))
    assert (shown.held.key, shown.held.version, shown.held.behind) == (case, 3, 2)
    assert [held.version for held in shown.behind] == [4, 5]
    assert shown.arrival.value is not None


async def test_two_instances_drain_a_queue_one_after_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sweeps what was released while the other takes in what has just come for the key."""
    broken = Broken()
    a, b, case, _ = await stuck(world, broken)
    other = await world.start(broken.room())
    await tell(a, "tally", case, alpha.Count(amount=6))
    [new] = Post(generation="2").arrivals([(await facts_of(a))[-1]])
    broken.mended = True
    await release(world, (await held_ids(b))[0])
    judging, come = asyncio.Event(), asyncio.Event()
    decide = b.hearing._decide

    async def slowly(*arguments: Any) -> Any:
        judging.set()
        await asyncio.sleep(0.3)
        assert not come.is_set(), "the other has the queue while this one judges it"
        return await decide(*arguments)

    async def decide_of_other(*arguments: Any) -> Any:
        come.set()
        return await decide_other(*arguments)

    decide_other = other.hearing._decide
    monkeypatch.setattr(b.hearing, "_decide", slowly)
    monkeypatch.setattr(other.hearing, "_decide", decide_of_other)
    sweeping = asyncio.create_task(b.hearing.sweep())
    await judging.wait()
    await other.hearing.take([new])
    await sweeping
    assert come.is_set()
    assert await held_of(b) == []
    assert await mirrored(b, case) == [1, 2, 3, 4, 5, 6]


async def bangfu(world: World, *arguments: str) -> Result:
    """The command line as an operator has it, with the toy rooms for its services."""
    environment = {"BANGFU_POSTGRES_URL": world.postgres_url, "COLUMNS": "200"}
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.held_records.SERVICES", ("alpha", "beta"))


@pytest.mark.usefixtures("commands")
async def test_a_record_without_a_key_leaves_like_any_other(world: World) -> None:
    """Kafka says None where a tool has left it away, and it is held under the empty one."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha", "beta")
    b = await world.start(beta.room())
    producer = await bus.new_producer(world.bootstrap)
    try:
        topic = bus.topic_name(world.prefix, "alpha")
        await producer.send_and_wait(topic, b"{}", key=None, partition=0)
    finally:
        await bus.discard(producer)
    async with running(b):

        async def is_held() -> bool:
            return await held_of(b) == [(UNREADABLE, "hash")]

        await until(is_held, seconds=60)
        [held_id] = await held_ids(b)
        listed = await bangfu(world, "quarantine", "list")
        assert f"beta     {held_id}  " in listed.stdout
        released = await bangfu(world, "quarantine", "release", "beta", str(held_id))
        assert (released.exit_code, "held again" in released.stdout) == (1, True)
        word = ("--reason", "a stranger's", "--operator", "chen")
        gone = await bangfu(world, "quarantine", "discard", "beta", str(held_id), *word)
        assert (gone.exit_code, "stated in discarded-beta 1" in gone.stdout) == (0, True)
        assert await held_of(b) == []


@pytest.mark.usefixtures("commands")
async def test_an_operator_looks_lets_go_and_puts_aside(world: World) -> None:
    """From the first look to an empty list, with the service running, then stopped."""
    broken = Broken()
    _, b, case, _ = await stuck(world, broken)
    first, *_ = await held_ids(b)
    listed = await bangfu(world, "quarantine", "list")
    assert (listed.exit_code, listed.stdout.count(case)) == (0, 1)
    waits = await bangfu(world, "waiting", "beta")
    assert f"held {first}" in waits.stdout
    shown = await bangfu(world, "quarantine", "show", "beta", str(first))
    assert "ce_streamversion: 3" in shown.stdout
    document = json.loads((await bangfu(world, "quarantine", "list", "--json")).stdout)
    assert [held["held_id"] for held in document["quarantined"]] == [first]

    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.1)
            await b.hearing.sweep()

    sweeping = asyncio.create_task(sweep())
    try:
        released = await bangfu(world, "quarantine", "release", "beta", "--all")
        assert (released.exit_code, "ArithmeticError" in released.stdout) == (1, True)
        why = ("--reason", "entered twice", "--operator", "chen")
        done = await bangfu(world, "quarantine", "discard", "beta", str(first), *why)
        assert (done.exit_code, f"mirror-{case} 3" in done.stdout) == (0, True)
    finally:
        sweeping.cancel()
    assert await held_of(b) == []
    twice = await bangfu(world, "quarantine", "discard", "beta", str(first), *why)
    assert (twice.exit_code, twice.stderr.count("\n")) == (2, 1)
    assert "discarded already by chen" in twice.stderr
    await b.hearing.take([Post(generation="2").raw("alpha", case, [])])
    [last] = await held_ids(b)
    later = await bangfu(world, "quarantine", "discard", "beta", str(last), *why, "--wait", "0")
    assert (later.exit_code, "is not running" in later.stdout) == (1, True)
    await b.hearing.sweep()
    assert await held_of(b) == []
    nobody = await bangfu(world, "quarantine", "list", "gamma")
    assert (nobody.exit_code, nobody.stderr.count("\n")) == (2, 1)


@pytest.mark.usefixtures("commands")
async def test_show_opens_nothing_and_prints_no_control_character(world: World) -> None:
    """Sealed values stand as they are; what a stranger sent in clear is taken out."""
    await world.migrate("alpha", "beta")
    b = await world.start(beta.room())
    token = sealed()
    value = f'{{"name": "{token}", "id": "110101199003074477"}}\x1b[31m'.encode()
    headers = [("ce_id", None), ("ce_actor", b"\xff"), ("ce_subject", "电话 13812345678".encode())]
    await b.hearing.take([Post().raw("alpha", "somebody", headers, value)])
    for form in ((), ("--json",)):
        shown = await bangfu(world, "quarantine", "show", "beta", "1", *form)
        assert shown.exit_code == 0
        assert token in shown.stdout
        assert "110101199003074477" not in shown.stdout
        assert "13812345678" not in shown.stdout
        assert "\x1b" not in shown.stdout
    listed = await bangfu(world, "quarantine", "list", "beta")
    assert " utf-8 " in listed.stdout
    assert "codec" not in listed.stdout
    words = ("quarantine", "release", "beta", "1", "1", "--wait", "0")
    assert (await bangfu(world, *words)).stdout.startswith("1 条 records: 已记下")
