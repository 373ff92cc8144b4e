"""Consumers on a real broker: instances that die, topics that are born again, clocks that lie."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.native.process import free_ports
from shared import bus
from shared.arrival import Arrival
from shared.bus import create_topic, partition_of, topic_name
from shared.fact import Recorded
from shared.service import Parts
from shared.settings import ServiceSettings
from tests.toy import alpha, beta
from tests.toy.world import (
    PARTITIONS,
    World,
    facts_of,
    headers_of,
    held_of,
    new_case,
    running,
    tell,
    until,
)

CHECKOUT = Path(__file__).resolve().parents[2]


def environment(settings: ServiceSettings, **changes: str) -> dict[str, str]:
    """The variables from which a process reads the same settings."""
    given = {name: value for name, value in settings.model_dump().items() if value is not None}
    given["master_key"] = settings.master_key.get_secret_value()
    named = {f"BANGFU_{name.upper()}": str(value) for name, value in given.items()}
    kept = {n: v for n, v in os.environ.items() if not n.startswith("BANGFU_")}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **named, **changes}


class Process:
    """A toy service that runs by itself."""

    def __init__(
        self, world: World, name: str, instance: str, build: str = "", **changes: Any
    ) -> None:
        [port] = free_ports(1)
        given = {"instance": instance, "port": port, "log_level": "warning", **changes}
        settings = world.settings(name, **given)
        self._url = f"http://127.0.0.1:{port}"
        self._started = subprocess.Popen(
            [sys.executable, "-m", "tests.toy.process", name, *([build] if build else [])],
            cwd=CHECKOUT,
            env=environment(settings),
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    async def partitions(self) -> int:
        """How many partitions it listens to; none while it does not answer."""
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                answer = await client.get(f"{self._url}/status")
                answer.raise_for_status()
                return len(answer.json()["positions"])
        except httpx.TransportError:
            return 0

    def freeze(self) -> None:
        self._started.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._started.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._started.send_signal(signal.SIGKILL)
        self._started.wait()


async def test_of_two_instances_one_may_die_and_each_fact_has_one_effect(world: World) -> None:
    """Static members share the partitions; the survivor takes over, at the stored offsets."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha", "beta")
    a = await world.start(alpha.room())
    cases = [new_case() for _ in range(24)]
    with Process(world, "beta", "0") as first, Process(world, "beta", "1") as second:
        async with running(a):

            async def shared_out() -> bool:
                counts = (await first.partitions(), await second.partitions())
                return sum(counts) == PARTITIONS and min(counts) > 0

            await until(shared_out, seconds=30)
            await asyncio.gather(*(tell(a, "tally", case, alpha.Open()) for case in cases))
            for amount in range(6):
                if amount == 2:
                    first.kill()
                counting = (tell(a, "tally", c, alpha.Count(amount=0)) for c in cases)
                await asyncio.gather(*counting)
            watching = await world.start(beta.room())

            async def all_heard() -> bool:
                found = await watching.store.worker.fetchval("SELECT count(*) FROM beta.facts")
                return bool(found >= 24 * 7)

            await until(all_heard, seconds=30)
            effects = Counter(f.attributes["causationid"] for f in await facts_of(watching))
            assert effects == Counter(f.fact_id for f in await facts_of(a))
            assert await held_of(watching) == []


@asynccontextmanager
async def listening(parts: Parts) -> AsyncIterator[None]:
    assert parts.listening is not None
    task = asyncio.create_task(parts.listening.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def publish(world: World, topic: str, facts: list[Recorded]) -> None:
    """What a relay writes, without one."""
    producer = await bus.new_producer(world.bootstrap)
    try:
        for fact in facts:
            await producer.send_and_wait(
                topic,
                fact.raw,
                key=fact.subject.encode(),
                partition=partition_of(fact.subject, PARTITIONS),
                timestamp_ms=bus.now_ms(),
                headers=[(name, text or b"") for name, text in headers_of(fact)],
            )
    finally:
        await bus.discard(producer)


def case_in(partition: int) -> str:
    """A new case whose facts go into that partition."""
    return next(c for c in iter(new_case, "") if partition_of(c, PARTITIONS) == partition)


@pytest.mark.parametrize("committed", [None, 1, 7], ids=["nothing", "less", "more"])
async def test_a_consumer_begins_where_the_database_says(
    committed: int | None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Kafka remembers of the group: not one record before, and none left out."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha")
    topic = topic_name(world.prefix, "alpha")
    a = await world.start(alpha.room())
    for number in range(9):
        case = case_in(number % PARTITIONS)
        await tell(a, "tally", case, alpha.Open())
        await tell(a, "tally", case, alpha.Count(amount=0))
    await publish(world, topic, await facts_of(a))
    b = await world.start(beta.room())
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    if committed is not None:
        told = AIOKafkaConsumer(bootstrap_servers=world.bootstrap, group_id=f"{world.prefix}beta")
        await told.start()
        told.assign(places)
        await told.commit(dict.fromkeys(places, committed))
        await told.stop()
    generation = await bus.read_generation(world.bootstrap, topic)
    for place in places:
        await b.store.worker.execute(
            "INSERT INTO beta.offsets VALUES ($1, $2, $3, 2)", topic, place.partition, generation
        )
    taken: set[tuple[int, int]] = set()

    async def take(arrivals: Sequence[Arrival]) -> None:
        taken.update((each.partition, each.offset) for each in arrivals)

    monkeypatch.setattr(b.hearing, "take", take)
    ends = await bus.end_offsets(world.bootstrap, topic)
    wanted = {(p, offset) for p, end in ends.items() for offset in range(2, end)}

    async def all_of_them() -> bool:
        return taken >= wanted

    async with listening(b):
        await until(all_of_them)
        # As a rebalance leaves it for a moment: told of, and no longer ours.
        b.hearing.positions[topic, PARTITIONS] = 5
        assert b.listening is not None
        assert set(b.listening.lag()) == {topic}
    assert taken == wanted


async def test_what_comes_while_a_batch_gathers_is_fetched_with_one_question(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library alone would fetch the first of it, and have the rest wait as long again."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha")
    topic = topic_name(world.prefix, "alpha")
    b = await world.start(beta.room(), gather_ms=1000)
    batches: list[tuple[float, int]] = []

    async def take(arrivals: Sequence[Arrival]) -> None:
        batches.append((monotonic(), sum(each.value == b"{}" for each in arrivals)))

    async def all_taken(count: int) -> bool:
        return sum(records for _, records in batches) >= count

    monkeypatch.setattr(b.hearing, "take", take)
    producer = await bus.new_producer(world.bootstrap)
    send = partial(producer.send_and_wait, topic, b"{}", partition=0)
    try:
        async with listening(b):
            for sent in range(1, 30, 3):
                await send()
                await until(partial(all_taken, sent))
                gathering_since, _ = batches[-1]
                await send()
                # Long enough for a question that is open to be answered with this one.
                await asyncio.sleep(0.1)
                await send()
                sent_at = monotonic()
                await until(partial(all_taken, sent + 2))
                # Where the machine stood still in between, it proves nothing.
                if sent_at - gathering_since < 0.9:
                    break
    finally:
        await bus.discard(producer)
    assert batches[-1][1] == 2


async def test_in_a_topic_born_again_a_consumer_starts_at_the_beginning(world: World) -> None:
    """What it has taken in changes nothing the second time, and what is new before it counts."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha")
    topic = topic_name(world.prefix, "alpha")
    a = await world.start(alpha.room())
    for _ in range(9):
        await tell(a, "tally", case := new_case(), alpha.Open())
        await tell(a, "tally", case, alpha.Count(amount=0))
    old = await facts_of(a)
    await publish(world, topic, old)

    async def heard(facts: list[Recorded]) -> None:
        b = await world.start(beta.room())
        ids = {fact.fact_id for fact in facts}

        async def all_of_them() -> bool:
            return {f.attributes["causationid"] for f in await facts_of(b)} >= ids

        async with listening(b):
            await until(all_of_them)
            await until(at_end(world, topic, b.hearing.positions))
        effects = Counter(f.attributes["causationid"] for f in await facts_of(b))
        assert effects == Counter(ids)
        assert await held_of(b) == []

    await heard(old)
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()
    await until(created_anew(world, topic))
    for _ in range(9):
        await tell(a, "tally", case := new_case(), alpha.Open())
        await tell(a, "tally", case, alpha.Count(amount=0))
    everything = await facts_of(a)
    await publish(world, topic, everything[len(old) :])
    await publish(world, topic, old)
    await heard(everything)


def created_anew(world: World, topic: str):  # type: ignore[no-untyped-def]  # a condition
    """Kafka deletes in the background, so the name is free a little later."""

    async def created() -> bool:
        try:
            await create_topic(world.bootstrap, topic, PARTITIONS)
        except bus.BusError:
            return False
        ends = await bus.end_offsets(world.bootstrap, topic)
        return set(ends.values()) == {1}

    return created


def at_end(world: World, topic: str, positions: dict[tuple[str, int], int]):  # type: ignore[no-untyped-def]  # a condition
    async def reached() -> bool:
        ends = await bus.end_offsets(world.bootstrap, topic)
        return all(positions.get((topic, p), 0) >= end for p, end in ends.items())

    return reached


async def test_a_process_in_production_does_not_start_with_a_simulated_clock(
    world: World, tmp_path: Path
) -> None:
    """It ends at once, with status 2 and one line that names the setting."""
    clock = tmp_path / "clock"
    clock.write_text("2025-03-03T08:00:00+08:00\n")
    settings = world.settings("alpha")
    simulated = environment(settings, BANGFU_MODE="production", BANGFU_CLOCK_FILE=str(clock))
    ended = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.toy.process",
        "alpha",
        cwd=CHECKOUT,
        env=simulated,
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(ended.communicate(), 20)
    assert ended.returncode == 2
    assert told.decode().count("\n") == 1
    assert "BANGFU_CLOCK_FILE" in told.decode()
