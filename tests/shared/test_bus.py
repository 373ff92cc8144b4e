"""The bus: topics made on purpose, their generation, reading them whole."""

import asyncio
import secrets
from contextlib import aclosing

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError

from deploy.infrastructure import Infrastructure
from shared import bus


@pytest.fixture
def bootstrap(infrastructure: Infrastructure) -> str:
    return infrastructure.kafka_bootstrap


@pytest.fixture
def topic() -> str:
    return bus.topic_name(f"test-{secrets.token_hex(4)}.", "intake")


async def bare_topic(bootstrap: str, topic: str, partitions: int = 3) -> None:
    """A topic that somebody made without us."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
        while topic not in await admin.list_topics():  # noqa: ASYNC110 - Kafka does not announce it
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def put(bootstrap: str, topic: str, partition: int, type_name: str, name: str) -> None:
    producer = await bus.new_producer(bootstrap)
    try:
        headers = [("ce_type", type_name.encode()), ("ce_id", name.encode())]
        await producer.send_and_wait(topic, b"{}", partition=partition, headers=headers)
    finally:
        await bus.discard(producer)


def test_the_partition_is_the_one_that_java_chooses() -> None:
    """Kafka's own test vectors for murmur2, so that other clients find a case where we put it."""
    vectors = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for key, murmur2 in vectors.items():
        assert bus.partition_of(key, 12) == (murmur2 & 0x7FFFFFFF) % 12


async def test_a_new_topic_is_born_once(bootstrap: str, topic: str) -> None:
    """Six creators at once and one afterwards find one generation, on every partition."""
    async with asyncio.TaskGroup() as group:
        creating = [group.create_task(bus.create_topic(bootstrap, topic, 6)) for _ in range(6)]
    generation = await bus.create_topic(bootstrap, topic, 6)
    assert {task.result() for task in creating} == {generation}
    assert await bus.read_generation(bootstrap, topic) == generation
    records = [record async for record in bus.read_records(bootstrap, topic)]
    assert all(bus.is_birth(record) for record in records)
    assert {record.partition for record in records if record.offset == 0} == set(range(6))


async def test_an_interrupted_birth_is_completed(bootstrap: str, topic: str) -> None:
    """Died after the first partition: the others get the same generation."""
    await bus.create_topic(bootstrap, topic, 1)
    generation = await bus.read_generation(bootstrap, topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        # What a half-done creation looks like: some partitions are still empty.
        await admin.create_partitions({topic: NewPartitions(3)})
    finally:
        await admin.close()
    while len(await bus.end_offsets(bootstrap, topic)) < 3:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.05)
    with pytest.raises(bus.BirthMissingError):
        await bus.read_generation(bootstrap, topic)
    assert await bus.create_topic(bootstrap, topic, 3) == generation
    assert await bus.read_generation(bootstrap, topic) == generation


async def test_a_topic_that_is_not_ours_is_named(bootstrap: str, topic: str) -> None:
    """Absent, without birth, of two generations, or with other settings: each has its error."""
    with pytest.raises(bus.TopicAbsentError):
        await bus.read_generation(bootstrap, topic)
    await bare_topic(bootstrap, topic)
    with pytest.raises(bus.BirthMissingError):
        await bus.read_generation(bootstrap, topic)
    with pytest.raises(bus.TopicMismatchError, match=r"retention\.ms"):
        await bus.create_topic(bootstrap, topic, 3)
    for partition in range(3):
        await put(bootstrap, topic, partition, "bangfu.topic.born", f"generation-{partition % 2}")
    with pytest.raises(bus.BirthMixedError):
        await bus.read_generation(bootstrap, topic)


async def test_a_topic_of_facts_without_birth_is_refused(bootstrap: str, topic: str) -> None:
    """A fact at offset 0 says that somebody published into a topic that nobody had created."""
    await bare_topic(bootstrap, topic, partitions=1)
    await put(bootstrap, topic, 0, "intake.ApplicationSubmitted", "a")
    with pytest.raises(bus.BirthMissingError):
        await bus.read_generation(bootstrap, topic)


async def test_settings_are_explicit_and_compared(bootstrap: str, topic: str) -> None:
    """Facts are kept for ever, a subscriber's topic as long as its contract says."""
    await bus.create_topic(bootstrap, topic, 2)
    await bus.create_topic(bootstrap, f"{topic}.short", 2, retention_ms=60_000)
    with pytest.raises(bus.TopicMismatchError, match="partitions"):
        await bus.create_topic(bootstrap, topic, 3)
    with pytest.raises(bus.TopicMismatchError, match=r"retention\.ms"):
        await bus.create_topic(bootstrap, topic, 2, retention_ms=60_000)


def test_retention_may_remove_birth_records() -> None:
    """Then the rest tells the generation, and if none is left, that is said."""
    some = bus.TopicState("t", {0: 5, 1: 0}, {0: 9, 1: 4}, {1: "g"})
    assert some.generation() == "g"
    none = bus.TopicState("t", {0: 5, 1: 3}, {0: 9, 1: 3})
    with pytest.raises(bus.BirthAgedError):
        none.generation()


async def test_a_topic_is_read_whole_and_in_order(bootstrap: str, topic: str) -> None:
    """From given offsets up to the ends at the start, whole, in order within each partition."""
    await bus.create_topic(bootstrap, topic, 3)
    producer = await bus.new_producer(bootstrap)
    try:
        for partition in range(3):
            for part in range(10):
                batch = producer.create_batch()
                for n in range(500):
                    value = f"{part * 500 + n}".encode().ljust(500)
                    batch.append(timestamp=bus.now_ms(), key=b"k", value=value, headers=[])
                await (await producer.send_batch(batch, topic, partition=partition))
        seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
        async with aclosing(bus.read_records(bootstrap, topic)) as records:
            async for record in records:
                if not bus.is_birth(record):
                    seen[record.partition].append(int(record.value))
                if len(seen[0]) == 1:
                    await producer.send_and_wait(topic, b"5000", partition=0)  # After the start.
    finally:
        await bus.discard(producer)
    assert seen == {partition: list(range(5_000)) for partition in range(3)}
    ends = await bus.end_offsets(bootstrap, topic)
    assert ends[1] == ends[2] == 5_001
    few = bus.read_records(bootstrap, topic, [1], starts={1: 4_990}, until={1: 4_995})
    assert [record.offset async for record in few] == list(range(4_990, 4_995))


async def test_an_absent_broker_is_an_error_and_not_a_wait() -> None:
    """Nobody listens there: the answer comes at once."""
    async with asyncio.timeout(15):
        with pytest.raises(KafkaError):
            await bus.read_generation("127.0.0.1:1", "any")


async def test_a_consumer_that_lets_its_own_cancellation_out_ends_nobody() -> None:
    """As aiokafka's does when it is stopped in the middle of a fetch that failed."""

    class Torn:
        async def stop(self) -> None:
            raise asyncio.CancelledError

    await bus.leave(Torn())
