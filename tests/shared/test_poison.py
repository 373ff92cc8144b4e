"""Poison of every kind on a real broker, and old and new builds side by side: nothing parks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared import bus, quarantine
from shared.arrival import BIRTH_HEADER, QUARANTINED, UNREADABLE, WAITING_BEHIND, WAITING_FOR_BUILD
from shared.bounds import LARGEST_DATA_BYTES
from shared.bus import partition_of, topic_name
from shared.fact import Recorded, Registry, registry_of
from shared.room import Decided, Refusal, Room
from shared.service import Parts
from shared.telemetry import REGISTRY
from shared.topic_ahead import first_ahead
from tests.raw_names import NO_TEXT, RawName, send_raw
from tests.toy import alpha, beta
from tests.toy.world import (
    PARTITIONS,
    Post,
    World,
    altered,
    facts_of,
    headers_of,
    held_of,
    new_case,
    running,
    tell,
    until,
)

Headers = Sequence[tuple[str, bytes | None]]
Sent = tuple[Headers, bytes]


def as_sent(fact: Recorded) -> Sent:
    return headers_of(fact), fact.raw


def with_header(fact: Recorded, name: str, text: bytes | None) -> Sent:
    return [(n, text if n == name else t) for n, t in headers_of(fact)], fact.raw


def wide(fact: Recorded) -> Recorded:
    return altered(fact, {"label": "x" * (LARGEST_DATA_BYTES + 44 * 1024)})


# What comes in place of a case's second fact; its third comes right behind it.
DAMAGED: dict[str, Callable[[Recorded], Sent]] = {
    "a header without a value": lambda f: with_header(f, "ce_subject", None),
    "a header that is no UTF-8": lambda f: with_header(f, "ce_actor", b"\xff\xfe"),
    "a header whose name is no UTF-8": lambda f: ([*headers_of(f), (NO_TEXT, b"1")], f.raw),
    "no headers": lambda f: ([], f.raw),
    "no JSON": lambda f: (headers_of(f), b'{"case_id": '),
    "a wrong hash": lambda f: with_header(f, "ce_hash", b"0" * 64),
    "300 KiB": lambda f: as_sent(wide(f)),
    "a time without its zone": lambda f: as_sent(altered(f, time="2025-03-03T08:00:00")),
    "a version that is no number": lambda f: as_sent(altered(f, streamversion="two")),
    "a version beyond a table's": lambda f: as_sent(altered(f, streamversion="3000000000")),
    "a heard version beyond it": lambda f: as_sent(altered(f, heard='{"tally-x":3000000000}')),
    "a lamport beyond any": lambda f: as_sent(altered(f, lamport="9" * 30)),
    "a stream's name of 24 KiB": lambda f: as_sent(altered(f, stream="x" * 24 * 1024)),
}
NEWER: dict[str, Callable[[Recorded], Sent]] = {
    "an unknown type": lambda f: as_sent(altered(f, type="toy.alpha.NobodysFact")),
    "an unknown version": lambda f: as_sent(altered(f, schemaversion="7")),
}
HARMLESS: dict[str, Callable[[Recorded], Sent]] = {
    "a future time stamp": lambda f: as_sent(
        altered(f, time="2999-12-31T23:59:59+08:00", occurredon="2999-12-31")
    ),
    "a further field": lambda f: as_sent(altered(f, {"colour": "red"})),
    "as it was stated": as_sent,
}
POISON = {**DAMAGED, **NEWER, **HARMLESS}


class Wire:
    """A producer that writes whatever it is told, to alpha's topic."""

    def __init__(self, world: World, producer: AIOKafkaProducer) -> None:
        self._topic = topic_name(world.prefix, "alpha")
        self._producer = producer

    async def bear(self, generation: str) -> None:
        """A birth record behind the topic's own, in each partition."""
        headers = [BIRTH_HEADER, ("ce_id", generation.encode())]
        for partition in range(PARTITIONS):
            await self._producer.send_and_wait(
                self._topic, b"", partition=partition, headers=headers
            )

    async def send(self, key: str, sent: Sent, *, hours_ahead: int = 0) -> None:
        headers, value = sent
        if any(isinstance(name, RawName) for name, _ in headers):
            place = partition_of(key, PARTITIONS)
            await send_raw(self._producer, self._topic, place, [(key.encode(), headers, value)])
            return
        await self._producer.send_and_wait(
            self._topic,
            value,
            key=key.encode(),
            partition=partition_of(key, PARTITIONS),
            timestamp_ms=bus.now_ms() + hours_ahead * 3_600_000,
            headers=list(headers),
        )


@asynccontextmanager
async def wire_of(world: World) -> AsyncIterator[Wire]:
    producer = await bus.new_producer(world.bootstrap)
    try:
        yield Wire(world, producer)
    finally:
        await producer.stop()


async def seen(parts: Parts, case: str) -> list[int]:
    facts = [f.read(parts.room.reads) for f in await facts_of(parts) if f.subject == case]
    return [fact.alpha_version for fact in facts if isinstance(fact, beta.Mirrored)]


async def counted(parts: Parts) -> str:
    """A case of three facts, which nobody has published."""
    case = new_case()
    await tell(parts, "tally", case, alpha.Open())
    for amount in (1, 2):
        await tell(parts, "tally", case, alpha.Count(amount=amount))
    return case


async def test_poison_of_every_kind_keeps_its_own_case_and_lets_it_go_in_order(
    world: World,
) -> None:
    """Quarantine holds exactly what was bad; discarded, what stood behind it goes on."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    cases = {how: await counted(a) for how in POISON}
    facts = {case: [f for f in await facts_of(a) if f.subject == case] for case in cases.values()}
    before = REGISTRY.get_sample_value("bangfu_future_facts_total", {"service": "beta"}) or 0
    async with wire_of(world) as wire, running(b):
        await wire.bear("of a second creator")
        for how, case in cases.items():
            first, second, third = facts[case]
            await wire.send(case, as_sent(first))
            await wire.send(case, POISON[how](second))
            await wire.send(case, as_sent(third))
        async with wire_of(world) as early:
            with pytest.raises(KafkaError, match="InvalidTimestamp"):
                await early.send(case, as_sent(facts[case][2]), hours_ahead=2)

        async def others_went_on() -> bool:
            found = {how: await seen(b, cases[how]) for how in POISON}
            whole = {how: [1, 2, 3] if how in HARMLESS else [1] for how in POISON}
            return found == whole and len(await held_of(b)) == 2 * len(DAMAGED | NEWER)

        await until(others_went_on, seconds=60)
        held = await b.store.worker.fetch("SELECT * FROM beta.held ORDER BY held_id")
        bad = {row["key"]: row for row in held if row["reason"] != WAITING_BEHIND}
        assert {how: bad[case]["reason"] for how, case in cases.items() if case in bad} == {
            **dict.fromkeys(DAMAGED, UNREADABLE),
            **dict.fromkeys(NEWER, WAITING_FOR_BUILD),
        }
        told = REGISTRY.get_sample_value("bangfu_future_facts_total", {"service": "beta"})
        assert told == before + 1
        async with world.admin() as admin:
            shown = await quarantine.quarantined(admin, "beta", 100)
            assert {h.key for h in shown} == {cases[how] for how in DAMAGED}
            for row in bad.values():
                await quarantine.ask_discard(
                    admin, "beta", row["held_id"], reason="poison", operator="chen"
                )
        for how in DAMAGED:
            await wire.send(cases[how], as_sent(facts[cases[how]][1]))

        async def all_went_on() -> bool:
            found = {how: await seen(b, cases[how]) for how in POISON}
            whole = {how: [1, 3] if how in NEWER else [1, 2, 3] for how in POISON}
            return found == whole and await held_of(b) == []

        await until(all_went_on, seconds=60)


OF_NO_PLACE = (
    *("a header that is no UTF-8", "no headers", "a version that is no number"),
    *("a version beyond a table's", "a stream's name of 24 KiB"),
)


async def test_poison_in_its_own_topic_stops_neither_start_nor_relay(world: World) -> None:
    """Hashes hold, and yet no log can have stated these: nothing is lost where they stand."""
    await world.migrate("alpha")
    await world.create_topics("alpha")
    a = await world.start(alpha.room())
    case = await counted(a)
    facts = await facts_of(a)
    topic = topic_name(world.prefix, "alpha")
    async with wire_of(world) as wire:
        for how in OF_NO_PLACE:
            await wire.send(case, DAMAGED[how](facts[1]))
    async with world.admin() as admin:
        ahead = await first_ahead(world.bootstrap, topic, admin, "alpha.facts", service="alpha")
        assert ahead is None

    async def all_published() -> bool:
        hashes = [fact.hash for fact in await facts_of(a)]
        records = [record async for record in bus.read_records(world.bootstrap, topic)]
        there = [bus.header(r, "ce_hash") for r in records if not bus.is_birth(r)]
        return there[-len(hashes) :] == hashes

    async with running(a):
        await until(all_published)
        # What the topic had beyond the checkpoint is compared with the log when it is caught up.
        await tell(a, "tally", case, alpha.Count(amount=3))
        await until(all_published)


class Younger(alpha.Counted, name="toy.alpha.Counted", version=2):
    pass


class YoungerMirrored(beta.Mirrored, name="toy.beta.Mirrored", version=2):
    pass


def upcast(registry: Registry, name: str) -> Registry:
    registry.add_upcaster(name, 1, dict)
    return registry


class NewAlpha:
    Opened, Counted, Rang = alpha.Opened, Younger, alpha.Rang


def new_beta() -> Room:
    """Reads the second version of a count as well as the first."""
    return beta.room(
        reads=upcast(registry_of(beta.Module, NewAlpha), Younger.stored_name),
        reactions={alpha.Opened: beta.on_opened, Younger: beta.on_counted},
    )


async def test_old_and_new_builds_side_by_side_park_nothing(world: World) -> None:
    """Whoever owns the partition: what the old one can't read, the new one takes from the queue."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha", "beta")
    a = await world.start(alpha.room())
    old = await world.start(beta.room(), instance="old")
    new = await world.start(new_beta(), instance="new")
    cases = [await counted(a) for _ in range(3 * PARTITIONS)]
    async with wire_of(world) as wire, running(old, new):

        async def shared_out() -> bool:
            both = (len(old.hearing.positions), len(new.hearing.positions))
            return sum(both) == PARTITIONS and min(both) > 0

        await until(shared_out, seconds=60)
        for fact in await facts_of(a):
            young = altered(fact, schemaversion="2") if fact.version == 2 else fact
            await wire.send(fact.subject, as_sent(young))

        async def all_heard() -> bool:
            found = [await seen(new, case) for case in cases]
            return found == [[1, 2, 3]] * len(cases) and await held_of(new) == []

        await until(all_heard, seconds=60)


async def test_a_stream_that_a_newer_build_has_written_to_waits_for_that_build(
    world: World,
) -> None:
    """An older instance of the same service quarantines nothing over what it can't fold."""
    await world.migrate("alpha", "beta")
    a, old = await world.start(alpha.room()), await world.start(beta.room())

    def reflect(state: beta.Mirror, command: beta.Reflect, situation: Any) -> Any:
        decided = beta.reflect(state, command, situation)
        assert isinstance(decided, Decided)
        stated = [YoungerMirrored(**fact.model_dump()) for fact in decided.facts]
        return replace(decided, facts=stated)

    class NewModule:
        Mirrored = YoungerMirrored

    act = replace(beta.MIRROR.acts[beta.Reflect], decide=reflect)
    name = YoungerMirrored.stored_name
    room = beta.room(
        kinds={"mirror": replace(beta.MIRROR, acts={beta.Reflect: act})},
        states=upcast(registry_of(NewModule), name),
        reads=upcast(registry_of(NewModule, alpha.Module), name),
    )
    new = await world.start(room)
    case, other = await counted(a), await counted(a)
    arrivals = Post().arrivals(await facts_of(a))
    mine = [arrival for arrival in arrivals if arrival.key == case]
    await new.hearing.take(mine[:1])
    await old.hearing.take([*mine[1:], *(r for r in arrivals if r.key == other)])
    held = await held_of(old)
    assert held == [(WAITING_FOR_BUILD, f"{name} 2"), (WAITING_BEHIND, "")]
    assert len([f for f in await facts_of(new) if f.subject == other]) == 3
    await old.hearing.sweep()
    assert await held_of(old) == held
    await new.hearing.sweep()
    assert await held_of(new) == []
    assert await seen(new, case) == [1, 2, 3]
    assert not QUARANTINED & {reason for reason, _ in held}


async def test_a_refused_reaction_is_counted_by_command_and_refusal(world: World) -> None:
    """Once for each fact, however often its batch was decided."""
    await world.migrate("alpha", "beta")
    a = await world.start(alpha.room())

    def never(state: Any, command: Any, situation: Any) -> Any:
        return Refusal("not_today", "今日不可", "not today")

    act = replace(beta.MIRROR.acts[beta.Reflect], decide=never)
    room = beta.room(kinds={"mirror": replace(beta.MIRROR, acts={beta.Reflect: act})})
    b = await world.start(room)
    await counted(a)
    named = {"service": "beta", "command": "Reflect", "code": "not_today"}
    before = REGISTRY.get_sample_value("bangfu_refused_reactions_total", named) or 0
    await b.hearing.take(Post().arrivals(await facts_of(a)))
    after = REGISTRY.get_sample_value("bangfu_refused_reactions_total", named)
    assert after == before + 3
    assert await held_of(b) == []


@pytest.mark.parametrize("ends", [False, True])
async def test_where_nothing_is_there_is_nothing_to_end_and_no_refusal(
    world: World, ends: bool
) -> None:
    """Or an office that turns many away would look like a service that refuses what it hears."""
    await world.migrate("alpha", "beta")
    a = await world.start(alpha.room())
    act = replace(beta.MIRROR.acts[beta.Reflect], opens=False, ends=ends)
    room = beta.room(kinds={"mirror": replace(beta.MIRROR, acts={beta.Reflect: act})})
    b = await world.start(room)
    await counted(a)
    named = {"service": "beta", "command": "Reflect", "code": "unknown"}
    before = REGISTRY.get_sample_value("bangfu_refused_reactions_total", named) or 0
    await b.hearing.take(Post().arrivals(await facts_of(a)))
    after = REGISTRY.get_sample_value("bangfu_refused_reactions_total", named) or 0
    assert after - before == (0 if ends else 3)
    assert await facts_of(b) == []
    assert await held_of(b) == []
