"""The bus: topics created on purpose, the generation they carry, and reading without a group.

A topic's first record on every partition is its birth record: a random id, the generation, by which
relay and listeners see that a topic was deleted and made anew (aiokafka does not show topic ids).
Publishing is the relay's (`relay.py`), listening with a group is `hearing.py`'s.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.partitioner import murmur2

from shared.fact import BORN
from shared.header_names import read_any_name

REQUEST_TIMEOUT_MS: Final = 10_000
# An operation of several requests: connect, ask, read a few records.
OPERATION_SECONDS: Final = 30.0
DISCARD_SECONDS: Final = 3.0
# 256 KiB of data, its envelope (the longest part is `heard`) and the record's own framing.
LARGEST_BATCH_BYTES: Final = 1024 * 1024
FETCH_BYTES: Final = 256 * 1024
# How late a listener hears that a topic was deleted, or made again: it rejoins its group then.
METADATA_AGE_MS: Final = 5_000

# Whoever reads records has this module; what a stranger calls a header must stop none of them.
read_any_name()


class BusError(Exception):
    """The bus is not as it should be; trying again changes nothing until somebody acts."""


class TopicAbsentError(BusError):
    """The topic does not exist, and nothing here creates it by accident."""


class TopicMismatchError(BusError):
    """The topic exists with other partitions or settings than those asked for."""


class BirthMissingError(BusError):
    """A partition does not begin with a birth record."""


class BirthMixedError(BusError):
    """Partitions of one topic carry birth records of different generations."""


class BirthAgedError(BusError):
    """Retention has removed every birth record: only the offsets still tell the generation."""


class BusSilentError(BusError, TimeoutError):
    """The broker did not answer in time."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic at one moment. Offsets are by partition; `ends` is one past the last record."""

    topic: str
    starts: Mapping[int, int]
    ends: Mapping[int, int]
    # Birth ids by partition, None where offset 0 holds another record; aged ones are left out.
    births: Mapping[int, str | None] = field(default_factory=dict)

    def generation(self) -> str:
        """The one birth id of all partitions. Raises BirthMissing-, BirthMixed-, BirthAgedError."""
        bare = sorted(p for p in self.ends if self.starts[p] == 0 and not self.births.get(p))
        if bare:
            raise BirthMissingError(f"{self.topic}: no birth record on partitions {bare}")
        ids = {birth for birth in self.births.values() if birth}
        if len(ids) > 1:
            raise BirthMixedError(f"{self.topic}: birth records of {len(ids)} generations")
        if not ids:
            raise BirthAgedError(f"{self.topic}: retention has removed all birth records")
        return ids.pop()


def topic_name(prefix: str, service: str) -> str:
    """The topic of a service's facts. The prefix keeps installations and tests apart."""
    return f"{prefix}{service}.facts"


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, the same as Java's default partitioner (murmur2) chooses."""
    return int((murmur2(key.encode()) & 0x7FFFFFFF) % partitions)


def is_birth(record: ConsumerRecord) -> bool:
    """Whether a record is a topic's own and no fact; a race may leave more than one at the head."""
    return header(record, "ce_type") == BORN


def header(record: ConsumerRecord, name: str) -> str | None:
    """A header's text; the first counts if it is repeated. None if absent.

    A foreign record may hold anything: what is no text is told with its bytes escaped.
    """
    for key, value in record.headers:
        if key == name:
            return None if value is None else bytes(value).decode("utf-8", "backslashreplace")
    return None


def now_ms() -> int:
    """Real time for record timestamps: Kafka 4 refuses those more than an hour ahead."""
    return time.time_ns() // 1_000_000


async def new_producer(bootstrap: str, request_timeout_ms: int = REQUEST_TIMEOUT_MS) -> Any:
    """A started idempotent producer; give it back with `discard`."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=request_timeout_ms,
        max_batch_size=LARGEST_BATCH_BYTES // 2,
        max_request_size=LARGEST_BATCH_BYTES,
    )
    try:
        async with asyncio.timeout(2 * request_timeout_ms / 1000):
            await producer.start()
    except BaseException:
        await discard(producer)
        raise
    return producer


async def discard(producer: Any) -> None:
    """Throw a producer away at once: what it has not sent is never sent.

    `stop()` would flush first, and an idempotent producer tries for ever: it would hang as long as
    its broker is away, then send what another has meanwhile sent. So its sender goes first.
    """
    sender_task = producer._sender.sender_task
    if sender_task is not None:
        sender_task.cancel()
    accumulator = producer._message_accumulator
    for batch in (
        *chain.from_iterable(accumulator._batches.values()),
        *accumulator._pending_batches,
    ):
        batch.future.cancel()
    # In a task of its own: aiokafka may answer a cancellation with a CancelledError to its caller,
    # who would take it for his own. Cut off, it holds sockets for longer but has no sender.
    stopping = asyncio.create_task(_close(producer))
    await asyncio.wait({stopping}, timeout=DISCARD_SECONDS)
    stopping.cancel()


async def _close(producer: Any) -> None:
    with suppress(KafkaError, OSError):
        await producer.client.close()
        await producer.stop()


async def leave(consumer: Any) -> None:
    """Stop a consumer, whatever state it is in.

    In a task of its own: aiokafka may let the cancellation of its own tasks out to its caller, who
    would take it for his own and end.
    """
    stopping = asyncio.create_task(_stop(consumer))
    await asyncio.wait({stopping}, timeout=DISCARD_SECONDS)
    stopping.cancel()


async def _stop(consumer: Any) -> None:
    with suppress(KafkaError, OSError):
        await consumer.stop()


async def create_topic(
    bootstrap: str,
    name: str,
    partitions: int,
    *,
    retention_ms: int = -1,
    replication: int = 1,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Make sure that the topic exists with these settings and is born; answers its generation.

    Infinite retention unless a subscriber's topic asks for less; where that has removed every birth
    record the answer is empty. Safe to repeat, to run twice at
    once, and to go on with after a death in between. Raises TopicMismatchError,
    BirthMissingError or BirthMixedError for a topic that is not ours or not as asked for.
    """
    wanted = {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": "-1",
        "message.timestamp.type": "CreateTime",
        "compression.type": "producer",
        "max.message.bytes": str(LARGEST_BATCH_BYTES),
        **(settings or {}),
    }
    async with _operation(f"create {name}"):
        async with _admin(bootstrap) as admin:
            topic = NewTopic(name, partitions, replication, topic_configs=wanted)
            response = await admin.create_topics([topic], timeout_ms=REQUEST_TIMEOUT_MS)
            for _, code, *rest in response.topic_errors:
                if code not in (0, TopicAlreadyExistsError.errno):
                    raise BusError(f"{name}: {for_code(code).__name__} {rest}")
            await _compare_settings(admin, name, wanted)
        async with _reader(bootstrap, name) as (consumer, found):
            if len(found) != partitions:
                raise TopicMismatchError(f"{name}: {len(found)} partitions, not {partitions}")
            state = await _state(consumer, name, found)
            if any(end == 0 for end in state.ends.values()):
                await _give_birth(bootstrap, consumer, state)
                state = await _state(consumer, name, found)
            try:
                return state.generation()
            except BirthAgedError:
                if retention_ms < 0:
                    raise
                return ""


async def delete_topic(bootstrap: str, name: str) -> None:
    """Remove a topic, and return when its name is free again. An absent one is no error."""
    async with _operation(f"delete {name}"), _admin(bootstrap) as admin:
        response = await admin.delete_topics([name], timeout_ms=REQUEST_TIMEOUT_MS)
        for _, code, *rest in response.topic_error_codes:
            if code not in (0, UnknownTopicOrPartitionError.errno):
                raise BusError(f"{name}: {for_code(code).__name__} {rest}")
        while name in {t["topic"] for t in await admin.describe_topics()}:  # noqa: ASYNC110 - nothing tells when it is gone
            await asyncio.sleep(0.05)


async def answers(bootstrap: str, seconds: float) -> bool:
    """Whether a broker answers a question within that time; never raises, and leaves nothing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(seconds * 1000))
    # In tasks of their own: cut off, aiokafka may let out a cancellation that nobody asked for.
    asked = await _within(seconds, _ask(admin))
    await _within(DISCARD_SECONDS, admin.close())
    return asked


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work ended well within that time; whatever else it did is nobody's concern."""
    task = asyncio.create_task(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return False
    return not task.cancelled() and task.exception() is None


async def _ask(admin: Any) -> None:
    await admin.start()
    await admin.list_topics()


async def read_cluster(bootstrap: str) -> str:
    """The id that a Kafka cluster was given when it was first set up; another one has another.

    Raises BusSilentError, or KafkaError where nobody can be reached.
    """
    async with _operation("read the cluster's id"), _admin(bootstrap) as admin:
        return str((await admin.describe_cluster())["cluster_id"] or "")


async def read_topic(bootstrap: str, topic: str) -> TopicState:
    """Offsets and birth records of a topic. Raises TopicAbsentError or BusSilentError."""
    async with _operation(f"read {topic}"):
        async with _reader(bootstrap, topic) as (consumer, found):
            return await _state(consumer, topic, found)


async def read_generation(bootstrap: str, topic: str) -> str:
    """The generation of a topic, from offset 0 of every partition.

    Raises TopicAbsentError, BirthMissingError, BirthMixedError, and BirthAgedError where finite
    retention has removed the last birth record.
    """
    return (await read_topic(bootstrap, topic)).generation()


async def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """One past the last record, by partition. Raises TopicAbsentError."""
    async with _operation(f"ends of {topic}"):
        async with _reader(bootstrap, topic) as (consumer, found):
            ends = await consumer.end_offsets(found)
            return {tp.partition: end for tp, end in ends.items()}


async def read_records(
    bootstrap: str,
    topic: str,
    partitions: Iterable[int] | None = None,
    *,
    starts: Mapping[int, int] | None = None,
    until: Mapping[int, int] | None = None,
    silence_seconds: float = OPERATION_SECONDS,
) -> AsyncGenerator[ConsumerRecord, None]:
    """Every record up to the ends at the start, without a group, birth records included.

    In order within a partition, in any order among them. Memory is bounded by what a fetch brings.
    Close it (`contextlib.aclosing`) if you leave before the end. Raises TopicAbsentError, and
    BusSilentError if nothing comes for `silence_seconds` though more is there.
    """
    async with _reader(bootstrap, topic) as (consumer, found):
        wanted = None if partitions is None else set(partitions)
        chosen = [tp for tp in found if wanted is None or tp.partition in wanted]
        async with _operation(f"offsets of {topic}"):
            first = await consumer.beginning_offsets(chosen)
            ends = await consumer.end_offsets(chosen)
        if until is not None:
            ends = {tp: min(end, until.get(tp.partition, end)) for tp, end in ends.items()}
        for tp in chosen:
            consumer.seek(tp, max(first[tp], (starts or {}).get(tp.partition, 0)))
        ahead = {tp for tp in chosen if (await consumer.position(tp)) < ends[tp]}
        consumer.pause(*(tp for tp in chosen if tp not in ahead))
        heard_at = time.monotonic()
        while ahead:
            fetched = await consumer.getmany(*ahead, timeout_ms=500)
            if not fetched and time.monotonic() - heard_at > silence_seconds:
                raise BusSilentError(f"{topic}: no record for {silence_seconds} s")
            for tp, records in fetched.items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
                if records[-1].offset + 1 >= ends[tp]:
                    ahead.discard(tp)
                    consumer.pause(tp)
            if fetched:
                heard_at = time.monotonic()


@asynccontextmanager
async def _operation(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(OPERATION_SECONDS):
            yield
    except TimeoutError as error:
        raise BusSilentError(f"{what}: no answer in {OPERATION_SECONDS} s") from error


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def _reader(bootstrap: str, topic: str) -> AsyncIterator[tuple[Any, list[TopicPartition]]]:
    """A consumer of all partitions of an existing topic, in no group and with nothing to commit."""
    # Asked first, since a consumer's own question would create the topic on a careless broker.
    async with _operation(f"find {topic}"):
        async with _admin(bootstrap) as admin:
            known = {item["topic"]: item for item in await admin.describe_topics()}
    if topic not in known:
        raise TopicAbsentError(topic)
    found = sorted(TopicPartition(topic, p["partition"]) for p in known[topic]["partitions"])
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
        max_poll_records=1_000,
    )
    try:
        async with _operation(f"reach {topic}"):
            await consumer.start()
            consumer.assign(found)
            # aiokafka's stop() raises CancelledError if its own tasks have not had one turn.
            await asyncio.sleep(0)
        yield consumer, found
    finally:
        await leave(consumer)


async def _state(consumer: Any, topic: str, found: list[TopicPartition]) -> TopicState:
    starts = await consumer.beginning_offsets(found)
    ends = await consumer.end_offsets(found)
    births: dict[int, str | None] = {}
    waiting = {tp for tp in found if starts[tp] == 0 < ends[tp]}
    consumer.pause(*(tp for tp in found if tp not in waiting))
    for tp in waiting:
        consumer.resume(tp)
        consumer.seek(tp, 0)
    while waiting:
        try:
            fetched = await consumer.getmany(*waiting, timeout_ms=500, max_records=1)
        except OffsetOutOfRangeError:
            # Retention was faster: where a log now begins above 0, there is no birth to read.
            return await _state(consumer, topic, found)
        for tp, records in fetched.items():
            first = records[0]
            births[tp.partition] = header(first, "ce_id") if is_birth(first) else None
            waiting.discard(tp)
            consumer.pause(tp)
    return TopicState(
        topic,
        {tp.partition: offset for tp, offset in starts.items()},
        {tp.partition: offset for tp, offset in ends.items()},
        births,
    )


async def _give_birth(bootstrap: str, consumer: Any, state: TopicState) -> None:
    """Write the birth record to every empty partition.

    The lowest partition decides: whoever's record stands at its offset 0 has named the generation,
    so two creators at once, or a second after the first died, agree without a lock.
    """
    born = {birth for birth in state.births.values() if birth}
    if len(born) > 1 or None in state.births.values():
        return  # Not ours to mend: `generation()` names what is wrong.
    producer = await new_producer(bootstrap)
    try:
        lowest = min(state.ends)
        if state.ends[lowest] == 0:
            name = born.pop() if born else str(uuid.uuid4())
            await _write_birth(producer, state.topic, lowest, name)
        first = await _state(consumer, state.topic, [TopicPartition(state.topic, lowest)])
        for partition, end in sorted(state.ends.items()):
            if end == 0 and partition != lowest:
                await _write_birth(producer, state.topic, partition, first.generation())
    finally:
        await discard(producer)


async def _write_birth(producer: Any, topic: str, partition: int, generation: str) -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_type", BORN.encode())]
    headers.append(("ce_id", generation.encode()))
    await producer.send_and_wait(
        topic, b"", partition=partition, timestamp_ms=now_ms(), headers=headers
    )


async def _compare_settings(admin: Any, name: str, wanted: Mapping[str, str]) -> None:
    held: dict[str, str] = {}
    while not held:
        # Another's creation may be known to the controller and not yet to this broker.
        resource = ConfigResource(ConfigResourceType.TOPIC, name)
        (response,) = await admin.describe_configs([resource])
        held = {entry[0]: entry[1] for item in response.resources for entry in item[4]}
        if not held:
            await asyncio.sleep(0.05)
    wrong = {key: held.get(key) for key, value in wanted.items() if held.get(key) != value}
    if wrong:
        raise TopicMismatchError(f"{name}: {wrong}, not { {key: wanted[key] for key in wrong} }")
