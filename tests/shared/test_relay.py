"""The relay: every committed fact on the topic, in order, by one relay at a time."""

import asyncio
import contextlib
import secrets
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

from deploy.infrastructure import Infrastructure
from shared import bus, publisher
from shared.publisher import OutboxStatus
from shared.relay import Outbox, Relay, RelayStatus
from tests.conftest import FreshDatabases
from tests.raw_names import ESCAPED, NO_TEXT, Raw, send_raw
from tests.shared.outbox_rows import SERVICE, columns, envelope, make_log, write, write_many

CHECKOUT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
LEASE_SECONDS = 1.0


@dataclass
class World:
    """One service's log and its topic."""

    url: str
    admin_url: str
    bootstrap: str
    topic: str
    pool: asyncpg.Pool

    def relay(
        self,
        holder: str = "here",
        pool: asyncpg.Pool | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> Relay:
        return Relay(
            pool or self.pool,
            SERVICE,
            [Outbox("facts", self.topic)],
            self.bootstrap,
            partitions=PARTITIONS,
            holder=holder,
            lease_seconds=lease_seconds,
        )

    async def records(self) -> list[ConsumerRecord]:
        found = [record async for record in bus.read_records(self.bootstrap, self.topic)]
        return [record for record in found if not bus.is_birth(record)]


@pytest.fixture
async def world(
    fresh_databases: FreshDatabases, infrastructure: Infrastructure
) -> AsyncIterator[World]:
    url = await make_log(fresh_databases.postgres_url)
    topic = bus.topic_name(f"test-{secrets.token_hex(4)}.", SERVICE)
    await bus.create_topic(infrastructure.kafka_bootstrap, topic, PARTITIONS)
    async with asyncpg.create_pool(url, min_size=1, max_size=8) as pool:
        yield World(url, fresh_databases.postgres_url, infrastructure.kafka_bootstrap, topic, pool)


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def outbox(relay: Relay) -> OutboxStatus:
    return relay.status().outboxes[0]


async def until(holds: Callable[[], bool], seconds: float = 20, pause: float = 0.01) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the status is a value and announces nothing
            await asyncio.sleep(pause)


async def published(relay: Relay, position: int) -> None:
    relay.wake()
    await until(lambda: relay.status().is_holder and outbox(relay).published >= position)


def check_order(records: list[ConsumerRecord], versions: dict[str, int]) -> int:
    """The first record of each (stream, version) comes in order, repeats are the same bytes.

    Answers the number of repeats.
    """
    first: dict[tuple[str, str], tuple[object, ...]] = {}
    last: dict[str, int] = defaultdict(int)
    repeats = 0
    for record in records:
        stream, version = bus.header(record, "ce_subject"), bus.header(record, "ce_streamversion")
        assert stream is not None
        assert version is not None
        content = (record.partition, record.key, tuple(record.headers), record.value)
        if (stream, version) in first:
            repeats += 1
            assert first[stream, version] == content
        else:
            assert int(version) == last[stream] + 1, f"{stream}: {version} after {last[stream]}"
            last[stream] += 1
            first[stream, version] = content
    assert dict(last) == versions
    return repeats


async def test_a_fact_becomes_one_record(world: World) -> None:
    """Attributes are headers, the data bytes are the value, the subject is the key."""
    async with running(world.relay()) as relay:
        await published(relay, await write(world.pool, [("a", 1), ("a", 2)]))
    first, second = await world.records()
    _, _, _, _, _, _, datas, hashes, traceparents = columns([("a", 1), ("a", 2)])
    expected = {f"ce_{name}": text for name, text in envelope("a", 1).items()}
    expected["content-type"] = expected.pop("ce_datacontenttype")
    expected["ce_hash"] = str(hashes[0])
    assert {name: value.decode() for name, value in first.headers} == expected
    assert bus.header(second, "ce_traceparent") == traceparents[1]
    assert first.value == str(datas[0]).encode()
    assert first.key == b"a"
    assert first.partition == bus.partition_of("a", PARTITIONS)
    assert abs(first.timestamp - bus.now_ms()) < 60_000


async def test_a_header_called_by_no_text_keeps_no_relay_from_its_work(world: World) -> None:
    """Neither under a stranger's key nor beside all the attributes of the fact that comes next."""
    async with running(world.relay("first")) as relay:
        await published(relay, await write(world.pool, [("a", 1)]))
    _, _, _, _, _, _, datas, hashes, _ = columns([("a", 1), ("a", 2)])
    named = {f"ce_{name}": text.encode() for name, text in envelope("a", 2).items()}
    named["content-type"] = named.pop("ce_datacontenttype")
    forged = [*named.items(), ("ce_hash", str(hashes[1]).encode()), (NO_TEXT, b"1")]
    place = bus.partition_of("a", PARTITIONS)
    producer = await bus.new_producer(world.bootstrap)
    try:
        foreign: list[Raw] = [
            (b"x", [(NO_TEXT, None)], b"x"),
            (b"a", forged, str(datas[1]).encode()),
        ]
        await send_raw(producer, world.topic, place, foreign)
    finally:
        await bus.discard(producer)
    async with running(world.relay("second")) as relay:
        await published(relay, await write(world.pool, [("a", 2)]))
    found = await world.records()
    assert [ESCAPED in dict(record.headers) for record in found] == [False, True, True, False]
    check_order([record for record in found if ESCAPED not in dict(record.headers)], {"a": 2})


async def test_a_fact_is_out_within_milliseconds_of_its_commit(world: World) -> None:
    """Woken in the process that committed, the relay needs no poll."""
    async with running(world.relay()) as relay:
        await published(relay, await write(world.pool, [("a", 1)]))
        waited = []
        for version in range(2, 22):
            position = await write(world.pool, [("a", version)])
            begun = asyncio.get_running_loop().time()
            relay.wake()
            await until(lambda: outbox(relay).published >= position, pause=0.001)  # noqa: B023 - awaited here
            waited.append(asyncio.get_running_loop().time() - begun)
        assert relay.status().is_at_rest()
    assert sorted(waited)[10] < 0.1


async def test_two_relays_started_at_once_publish_once(world: World) -> None:
    """Only the holder of the lease publishes; when it ends, the other goes on where it stopped."""
    streams = [f"s{n}" for n in range(100)]
    async with asyncpg.create_pool(world.url, min_size=1, max_size=3) as other_pool:
        async with running(world.relay("one")) as one:
            async with running(world.relay("two", other_pool)) as two:
                await write_many(world.pool, streams, range(1, 21))
                await until(lambda: max(outbox(one).published, outbox(two).published) == 2_000)
                assert [one.status().is_holder, two.status().is_holder].count(True) == 1
            await write_many(world.pool, streams, range(21, 41))
            await published(one, 4_000)
    assert check_order(await world.records(), dict.fromkeys(streams, 40)) == 0


async def test_what_another_process_has_written_is_out_before_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its relay, which holds no lease, lets the holder know."""
    monkeypatch.setattr(publisher, "SHORTEST_POLL_SECONDS", 60.0)
    monkeypatch.setattr(publisher, "LONGEST_POLL_SECONDS", 60.0)
    async with (
        running(world.relay("one")) as one,
        asyncpg.create_pool(world.url, min_size=1, max_size=3) as other_pool,
    ):
        await published(one, await write(world.pool, [("a", 1)]))
        async with running(world.relay("two", other_pool)) as two:
            position = await write(world.pool, [("a", 2)])
            two.wake()
            await until(lambda: outbox(one).published >= position)


async def test_a_cancelled_relay_goes_on_in_order(world: World) -> None:
    """Wherever a relay is cut off, the next one skips what is there and leaves nothing out."""
    streams = [f"s{n}" for n in range(50)]
    await write_many(world.pool, streams, range(1, 201), padding=2_000)
    for _ in range(8):
        before = sum((await bus.end_offsets(world.bootstrap, world.topic)).values())
        async with running(world.relay()) as relay:
            # With the first acknowledgement, while other partitions' batches are on their way.
            await until(lambda: sum(outbox(relay).ends.values()) > before, pause=0.0005)  # noqa: B023 - awaited here
            assert outbox(relay).published < 10_000
    async with running(world.relay()) as relay:
        await published(relay, 10_000)
    check_order(await world.records(), dict.fromkeys(streams, 200))


@asynccontextmanager
async def relay_process(world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.shared.relay_process",
        world.url,
        world.bootstrap,
        world.topic,
        str(PARTITIONS),
        str(LEASE_SECONDS),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()


async def test_a_killed_relay_goes_on_in_order(world: World) -> None:
    """kill -9 in the middle of its batches: no version is lost, none overtakes another."""
    streams = [f"s{n}" for n in range(50)]
    writing = asyncio.create_task(write_many(world.pool, streams, range(1, 401), padding=1_000))
    for kills in range(3):
        async with relay_process(world) as process:
            assert (await line(process)).startswith("holds")
            await asyncio.sleep(0.15 + kills * 0.07)
            process.kill()
            await process.wait()
    await writing
    async with running(world.relay()) as relay:
        await published(relay, 20_000)
    check_order(await world.records(), dict.fromkeys(streams, 400))


async def test_a_frozen_relay_is_fenced(world: World) -> None:
    """Frozen for longer than its lease, a relay wakes to find another's epoch, and stops."""
    streams = [f"s{n}" for n in range(50)]
    async with relay_process(world) as process:
        assert (await line(process)).startswith("holds")
        writing = asyncio.create_task(write_many(world.pool, streams, range(1, 201), padding=1_000))
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGSTOP)
        async with running(world.relay()) as relay:
            await writing
            await published(relay, 10_000)
            epoch = relay.status().epoch
            assert epoch >= 2
            process.send_signal(signal.SIGCONT)
            assert (await line(process)).startswith("lost")
            await published(relay, await write(world.pool, [("after", 1)]))
            row = await world.pool.fetchrow(f"SELECT position, epoch FROM {SERVICE}.checkpoint")
            assert row is not None
            assert row["epoch"] == epoch == relay.status().epoch
    check_order(await world.records(), {**dict.fromkeys(streams, 200), "after": 1})


async def test_a_relay_that_believes_in_its_lease_is_fenced_at_the_checkpoint(world: World) -> None:
    """By its own clock the lease is good for minutes; the next one's epoch stops it anyway."""
    async with asyncpg.create_pool(world.url, min_size=1, max_size=3) as other_pool:
        async with running(world.relay("one", lease_seconds=600.0)) as one:
            await published(one, await write(world.pool, [("before", 1)]))
            await world.pool.execute(f"UPDATE {SERVICE}.lease SET expires_at = '-infinity'")
            async with running(world.relay("two", other_pool)) as two:
                await until(lambda: two.status().is_holder and outbox(two).published > 0)
                await published(two, await write(world.pool, [("after", 1)]))
                await until(lambda: not one.status().is_holder)
                row = await world.pool.fetchrow(f"SELECT epoch FROM {SERVICE}.checkpoint")
                assert row is not None
                assert row["epoch"] == two.status().epoch
    check_order(await world.records(), {"before": 1, "after": 1})


@pytest.mark.parametrize("error", [ConnectionResetError, asyncio.CancelledError])
async def test_a_failed_send_is_repeated_from_the_checkpoint(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """A producer that failed is thrown away; what it had sent unseen is found on the topic.

    A cancellation that nobody asked for, as aiokafka lets out of its own tasks, is a failure too.
    """
    made = 0
    new_producer = bus.new_producer

    async def failing(bootstrap: str) -> object:
        nonlocal made
        made += 1
        producer = await new_producer(bootstrap)
        if made <= 3:
            send_batch, left = producer.send_batch, [2]

            async def lose_acknowledgement(*args: object, **named: object) -> object:
                acknowledged = await send_batch(*args, **named)
                left[0] -= 1
                if left[0] < 0:
                    await acknowledged
                    raise error("the answer was lost")
                return acknowledged

            producer.send_batch = lose_acknowledgement
        return producer

    monkeypatch.setattr(bus, "new_producer", failing)
    streams = [f"s{n}" for n in range(50)]
    await write_many(world.pool, streams, range(1, 101))
    # A lease that a busy machine loses in between would begin sessions of its own.
    async with running(world.relay(lease_seconds=60.0)) as relay:
        await published(relay, 5_000)
        await until(lambda: relay.status().is_at_rest())
        assert outbox(relay).failures == 3
    assert check_order(await world.records(), dict.fromkeys(streams, 100)) == 0


async def delete_topic(world: World) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([world.topic])
        while world.topic in await admin.list_topics():  # noqa: ASYNC110 - nor does Kafka
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


@pytest.mark.parametrize(
    ("told", "has_work"),
    [
        ({}, True),
        ({"published": 5}, False),
        ({"failure": "broker: KafkaConnectionError"}, False),
        ({"alarm": "topic_not_ours", "failure": "topic_not_ours: absent"}, False),
        ({"blocked_seconds": 12.0}, False),
    ],
    ids=str,
)
def test_a_relay_that_says_what_keeps_it_does_not_hang(
    told: dict[str, Any], has_work: bool
) -> None:
    """A new process would meet the same: it is told, and no restart is called for."""
    outbox = OutboxStatus("facts", "toy.facts", **{"seen": 5, "published": 3, **told})
    assert RelayStatus(is_holder=True, epoch=1, outboxes=(outbox,)).has_work() is has_work
    assert not RelayStatus(is_holder=False, epoch=1, outboxes=(outbox,)).has_work()


async def test_a_topic_made_anew_is_an_alarm(world: World) -> None:
    """Another generation, or no topic at all: nothing is published, and the status says why."""
    async with running(world.relay()) as relay:
        await published(relay, await write(world.pool, [("a", 1)]))
    await delete_topic(world)
    position = await write(world.pool, [("a", 2)])
    async with running(world.relay()) as relay:
        await until(lambda: outbox(relay).alarm == "topic_not_ours")
        assert "TopicAbsentError" in outbox(relay).failure
        await bus.create_topic(world.bootstrap, world.topic, PARTITIONS)
        # A reader of a topic that was just made may have to ask for as long as an operation lasts.
        await until(lambda: outbox(relay).alarm == "generation_changed", 2 * bus.OPERATION_SECONDS)
        assert outbox(relay).published < position
        assert not relay.status().is_at_rest()
    assert await world.records() == []


async def test_a_topic_that_lost_records_is_an_alarm(world: World) -> None:
    """Ends below the checkpoint's: acknowledged facts are gone, and a person has to know."""
    async with running(world.relay()) as relay:
        await published(relay, await write(world.pool, [("a", 1)]))
    partition = str(bus.partition_of("a", PARTITIONS))
    await world.pool.execute(
        f"UPDATE {SERVICE}.checkpoint SET ends = jsonb_set(ends::jsonb, ARRAY[$1], '99')::text",
        partition,
    )
    async with running(world.relay()) as relay:
        await until(lambda: outbox(relay).alarm == "topic_shrunk")


async def test_a_log_behind_its_topic_is_an_alarm(world: World) -> None:
    """A database that lost what it had committed must not state other facts in its place."""
    async with running(world.relay()) as relay:
        await published(relay, await write(world.pool, [("a", 1), ("a", 2)]))
    admin = await asyncpg.connect(world.admin_url)
    try:
        await admin.execute(
            "SET session_replication_role = replica;"
            f"DELETE FROM {SERVICE}.facts WHERE version = 2;"
            f"UPDATE {SERVICE}.checkpoint SET position = 1, ends = '{{}}'"
        )
    finally:
        await admin.close()
    async with running(world.relay()) as relay:
        await until(lambda: outbox(relay).alarm == "log_shrunk")


async def test_lost_database_connections_are_made_anew(world: World) -> None:
    """The server ends every connection of the relay, as in a restart; it goes on in order."""
    streams = [f"s{n}" for n in range(50)]
    admin = await asyncpg.connect(world.admin_url)
    try:
        async with asyncpg.create_pool(
            world.url, min_size=1, max_size=2, server_settings={"application_name": "the relay"}
        ) as relay_pool:
            async with running(world.relay(pool=relay_pool)) as relay:
                for first in (1, 41, 81):
                    await write_many(world.pool, streams, range(first, first + 40), padding=1_000)
                    await until(lambda: outbox(relay).published > 0)
                    await admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND application_name = 'the relay'"
                    )
                await published(relay, 6_000)
                await until(lambda: relay.status().is_at_rest())
    finally:
        await admin.close()
    check_order(await world.records(), dict.fromkeys(streams, 120))
