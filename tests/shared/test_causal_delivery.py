"""A fact is taken in after its causes; what has to wait waits, drains by itself and alarms."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import structlog

from shared.arrival import (
    UNREADABLE,
    WAITING_BEHIND,
    WAITING_FOR_BUILD,
    WAITING_FOR_CAUSE,
    WAITING_FOR_VERSION,
    Arrival,
    storable_key,
)
from shared.fact import Recorded, registry_of
from shared.held import SWEPT_AT_ONCE
from shared.measuring import Measuring
from shared.service import Parts
from shared.telemetry import REGISTRY
from tests.toy import alpha, beta, gamma
from tests.toy.world import (
    Post,
    World,
    again,
    altered,
    facts_of,
    headers_of,
    held_of,
    kept_of,
    meaning_of,
    new_case,
    tell,
)


async def counted_case(parts: Parts, amounts: Sequence[int] = (1,)) -> str:
    case = new_case()
    await tell(parts, "tally", case, alpha.Open())
    for amount in amounts:
        await tell(parts, "tally", case, alpha.Count(amount=amount))
    return case


async def three_rooms(world: World) -> tuple[Parts, Parts, Parts]:
    await world.migrate("alpha", "beta", "gamma")
    rooms = (alpha.room(), beta.room(), gamma.room())
    return tuple([await world.start(room) for room in rooms])  # type: ignore[return-value]  # three


async def noted(parts: Parts) -> list[tuple[str, int]]:
    facts = [fact.read(gamma.room().states) for fact in await facts_of(parts)]
    return [(fact.of, fact.version) for fact in facts if isinstance(fact, gamma.Noted)]


async def test_a_fact_that_overtakes_its_cause_waits_and_leaves_with_it(world: World) -> None:
    """Beta's mirror of a count reaches gamma before the count itself."""
    a, b, c = await three_rooms(world)
    await counted_case(a)
    post = Post()
    of_alpha = post.arrivals(await facts_of(a))
    await b.hearing.take(of_alpha)
    of_beta = post.arrivals(await facts_of(b))

    await c.hearing.take(again(of_beta))
    stream = (await facts_of(a))[0].stream
    assert await held_of(c) == [
        (WAITING_FOR_CAUSE, f"{stream} 1"),
        (WAITING_FOR_VERSION, f"mirror-{of_beta[0].key} 1"),
    ]
    assert await noted(c) == []

    await c.hearing.take(again(of_alpha[:1]))
    assert await noted(c) == [("alpha", 1), ("beta", 1)]
    assert await held_of(c) == [(WAITING_FOR_CAUSE, f"{stream} 2")]
    await c.hearing.take(again(of_alpha[1:]))
    assert await noted(c) == [("alpha", 1), ("beta", 1), ("alpha", 2), ("beta", 2)]
    assert await held_of(c) == []


async def test_a_cause_on_a_topic_that_is_not_heard_is_not_waited_for(world: World) -> None:
    """Gamma that hears beta alone has no way to see alpha's facts."""
    a, b, _ = await three_rooms(world)
    await counted_case(a)
    post = Post()
    await b.hearing.take(post.arrivals(await facts_of(a)))
    deaf = await world.start(gamma.room(hears={"beta": beta.STREAMS}))
    await deaf.hearing.take(post.arrivals(await facts_of(b)))
    assert await noted(deaf) == [("beta", 1), ("beta", 2)]


async def test_a_missing_version_waits_for_the_one_before_it(world: World) -> None:
    """A gap is never jumped over; other cases do not wait for it."""
    a, b, _ = await three_rooms(world)
    first = await counted_case(a, (1, 2))
    other = await counted_case(a)
    arrivals = Post().arrivals(await facts_of(a))
    await b.hearing.take(again([arrivals[0], arrivals[2], *arrivals[3:]]))
    assert await held_of(b) == [(WAITING_FOR_VERSION, f"tally-{first} 2")]
    assert {(f.subject, f.version) for f in await facts_of(b)} == {
        (first, 1),
        (other, 1),
        (other, 2),
    }
    await b.hearing.take(again([arrivals[1]]))
    assert await held_of(b) == []
    assert [f.version for f in await facts_of(b) if f.subject == first] == [1, 2, 3]


BROKEN = {
    "its hash does not hold": lambda a: replace(a, value=b'{"amount":7}'),
    "its value is missing": lambda a: replace(a, value=None),
    "a header is missing": lambda a: replace(
        a, headers=[h for h in a.headers if h[0] != "ce_streamversion"]
    ),
    "a header is empty": lambda a: replace(
        a, headers=[(n, None if n == "ce_subject" else t) for n, t in a.headers]
    ),
    "a header is no text": lambda a: replace(
        a, headers=[(n, b"\xff\xfe" if n == "ce_actor" else t) for n, t in a.headers]
    ),
    "it has no headers": lambda a: replace(a, headers=[]),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_behind_an_unreadable_record_only_its_own_key_waits(how: str, world: World) -> None:
    """All others go on, and its bytes are kept as they came."""
    a, b, _ = await three_rooms(world)
    bad_case = await counted_case(a, (1, 2, 3))
    good_case = await counted_case(a, (4,))
    arrivals = Post().arrivals(await facts_of(a))
    broken = BROKEN[how](arrivals[1])
    batch = [arrivals[0], broken, *arrivals[2:]]
    await b.hearing.take(again(batch))
    reasons = [reason for reason, _ in await held_of(b)]
    assert reasons == [UNREADABLE, WAITING_BEHIND, WAITING_BEHIND]
    assert [(f.subject, f.version) for f in await facts_of(b) if f.subject == good_case] == [
        (good_case, 1),
        (good_case, 2),
    ]
    assert len([f for f in await facts_of(b) if f.subject == bad_case]) == 1
    row = await b.store.worker.fetchrow("SELECT * FROM beta.held ORDER BY held_id LIMIT 1")
    assert row is not None
    kept = Arrival.of_held(row)
    assert (list(kept.headers), kept.value) == (list(broken.headers), broken.value)
    before = await kept_of(b)
    await b.hearing.sweep()
    await b.hearing.take(again(batch))
    assert await kept_of(b) == before


# Of letters by chance: an index would shorten any that repeat.
LONG_KEY = "".join(
    random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=5000)
).encode()


@pytest.mark.parametrize("key", [b"\x00nul", b"\xff\xfe\xfd", LONG_KEY, b"", None])
async def test_a_record_with_an_odd_key_is_held_like_any_other(
    key: bytes | None, world: World
) -> None:
    """Whatever bytes somebody sends, they are stored and keep nobody else."""
    a, b, _ = await three_rooms(world)
    case = await counted_case(a)
    post = Post()
    arrivals = post.arrivals(await facts_of(a))
    odd = post.raw("alpha", storable_key(key), headers_of((await facts_of(a))[0]))
    await b.hearing.take([odd, *arrivals])
    assert [reason for reason, _ in await held_of(b)] == [UNREADABLE]
    assert [(f.subject, f.version) for f in await facts_of(b)] == [(case, 1), (case, 2)]


class Renamed(alpha.Counted, name="toy.alpha.CountedAnew"):
    pass


class Younger(alpha.Counted, name="toy.alpha.Counted", version=2):
    pass


def newer(fact: Recorded, how: str) -> Recorded:
    match how:
        case "type":
            return altered(fact, type="toy.alpha.CountedAnew")
        case _:
            return altered(fact, schemaversion="2")


BUILDS = {"type": Renamed, "version": Younger}


@pytest.mark.parametrize("how", BUILDS)
async def test_what_a_newer_build_stated_waits_until_one_that_knows_it_starts(
    how: str, world: World
) -> None:
    """An unknown type and an unknown version are not lost and not skipped."""
    a, b, _ = await three_rooms(world)
    case = await counted_case(a, (1, 2))
    opened, first, second = await facts_of(a)
    other = await counted_case(a)
    batch = Post().arrivals([opened, newer(first, how), second, *(await facts_of(a))[3:]])
    await b.hearing.take(again(batch))
    assert [reason for reason, _ in await held_of(b)] == [WAITING_FOR_BUILD, WAITING_BEHIND]
    await b.hearing.sweep()
    await b.hearing.sweep()
    assert [f.version for f in await facts_of(b) if f.subject == case] == [1]
    assert [f.version for f in await facts_of(b) if f.subject == other] == [1, 2]

    build = BUILDS[how]

    class Newer:
        Opened, Counted, Rang = alpha.Opened, build, alpha.Rang
        Also = alpha.Counted if how == "type" else build

    if how == "version":
        Newer.UPCASTERS = {(build.stored_name, 1): dict}  # type: ignore[attr-defined]  # as a module's

    knowing = beta.room(
        reads=registry_of(beta.Module, Newer),
        reactions={
            alpha.Opened: beta.on_opened,
            alpha.Counted: beta.on_counted,
            build: beta.on_counted,
        },
    )
    started = await world.start(knowing)
    await started.hearing.sweep()
    assert await held_of(started) == []
    assert [f.version for f in await facts_of(b) if f.subject == case] == [1, 2, 3]


async def test_many_that_must_stay_keep_none_that_may_leave(world: World) -> None:
    """The sweep goes round by key, however many keys wait in vain."""
    a, b, _ = await three_rooms(world)
    await counted_case(a)
    first, second = await facts_of(a)
    post = Post()
    keys = [f"0000-{number:04}" for number in range(SWEPT_AT_ONCE + 100)]
    in_vain = [altered(second, subject=key, stream=f"tally-{key}") for key in keys]
    await b.hearing.take(post.arrivals([*in_vain, second]))
    assert len(await held_of(b)) == len(keys) + 1
    # Its cause came by another way: as if another instance had taken it in.
    await b.store.worker.execute(
        "INSERT INTO beta.watermarks (stream, version) VALUES ($1, 1)", first.stream
    )
    for _ in range(3):
        await b.hearing.sweep()
    assert [f.stream for f in await facts_of(b)] == [f"mirror-{first.subject}"]
    assert len(await held_of(b)) == len(keys)


async def test_too_long_waiting_alarms(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric tells how long the oldest has been held, and a log entry says it aloud."""
    a, b, _ = await three_rooms(world)
    await counted_case(a)
    await b.hearing.take(Post().arrivals((await facts_of(a))[1:]))
    with structlog.testing.capture_logs() as entries:
        await b.hearing.sweep()
        assert not any(e["event"] == "held_too_long" for e in entries)
        async with world.admin() as admin:
            await admin.execute("UPDATE beta.held SET held_since = held_since - interval '2 min'")
        await b.hearing.sweep()
        await b.hearing.sweep()
    alarms = [e for e in entries if e["event"] == "held_too_long"]
    assert len(alarms) == 1
    assert alarms[0]["seconds"] >= 120
    Measuring(b).tell()
    held = {"service": "beta", "reason": WAITING_FOR_VERSION}
    assert (REGISTRY.get_sample_value("bangfu_held_oldest_seconds", held) or 0) >= 120
    assert REGISTRY.get_sample_value("bangfu_held_records", held) == 1
    await b.hearing.take(Post().arrivals((await facts_of(a))[:1]))
    await b.hearing.sweep()
    Measuring(b).tell()
    assert REGISTRY.get_sample_value("bangfu_held_records", held) == 0
    assert REGISTRY.get_sample_value("bangfu_held_oldest_seconds", held) == 0


@pytest.mark.parametrize("seed", range(6))
async def test_duplicate_late_and_reordered_deliveries_change_nothing(
    seed: int, world: World
) -> None:
    """Whatever comes when and how often, the same facts, views, guards and marks stand at the end.

    Gamma never notes a mirror before the count that it mirrors.
    """
    chance = random.Random(seed)
    a, b, c = await three_rooms(world)
    cases = [await counted_case(a, [1] * chance.randint(1, 4)) for _ in range(6)]
    post = Post()
    of_alpha = post.arrivals(await facts_of(a))

    async def deliver(parts: Parts, records: Sequence[Arrival]) -> None:
        mixed = [*records, *chance.sample(records, len(records) // 2)]
        chance.shuffle(mixed)
        while mixed:
            size = chance.randint(1, 7)
            await parts.hearing.take(again(mixed[:size]))
            mixed = mixed[size:]

    await deliver(b, of_alpha)
    of_beta = post.arrivals(await facts_of(b))
    await deliver(c, [*of_alpha, *of_beta])
    kept = [await kept_of(parts) for parts in (b, c)]
    assert kept[0]["held"] == kept[1]["held"] == []

    # From old offsets once more, in order and out of it: not one hash differs.
    await b.hearing.take(again(of_alpha))
    await deliver(b, of_alpha)
    await c.hearing.take(again([*of_beta, *of_alpha]))
    await deliver(c, [*of_alpha, *of_beta])
    assert [await kept_of(parts) for parts in (b, c)] == kept

    for case in cases:
        mirrored = [f.read(beta.room().states) for f in await facts_of(b) if f.subject == case]
        versions = [f.alpha_version for f in mirrored if isinstance(f, beta.Mirrored)]
        assert versions == list(range(1, len(versions) + 1))
        seen: set[int] = set()
        for fact in [f.read(gamma.room().states) for f in await facts_of(c) if f.subject == case]:
            assert isinstance(fact, gamma.Noted)
            if fact.of == "alpha":
                seen.add(fact.version)
            else:
                assert fact.mirrors in seen
    counted = [f for f in await facts_of(a) if f.version > 1]
    assert dict(kept[0]["guards"])["mirrored"] == len(counted)


async def test_another_order_of_delivery_means_the_same(world: World) -> None:
    """Two instances of one room, two databases, two orders: the same streams and views."""
    a, b, c = await three_rooms(world)
    for _ in range(4):
        await counted_case(a, (1, 2))
    arrivals = Post().arrivals(await facts_of(a))
    await b.hearing.take(again(arrivals))
    straight = meaning_of(await kept_of(b))
    await world.forget("beta")
    await world.migrate("beta")
    afresh = await world.start(beta.room())
    for arrival in reversed(arrivals):
        await afresh.hearing.take(again([arrival]))
    assert meaning_of(await kept_of(afresh)) == straight
    assert c.hearing.held_by_reason == {}
