"""Reading whole logs from Kafka, partition by partition, with one consumer and no group.

A case's facts stand in the same partition number of every service's topic, so whoever takes the
topics side by side, one number at a time, holds a part of the installation and never the whole.
The ends are those of the moment in which the reader was opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from shared.bus import (
    OPERATION_SECONDS,
    REQUEST_TIMEOUT_MS,
    BusSilentError,
    TopicAbsentError,
    header,
    is_birth,
)
from shared.fact import Recorded
from shared.record_headers import claimed_by_headers

FETCH_BYTES: Final = 1024 * 1024
# A fetch that finds nothing more must not keep the next partition waiting.
LONGEST_WAIT_MS: Final = 20
MOST_RECORDS: Final = 2_000


def record_of(record: ConsumerRecord) -> Recorded:
    """What a Kafka record says of itself; bytes that are no text are told by their escapes."""
    named = {name: bytes(value or b"") for name, value in record.headers}
    return claimed_by_headers(
        {name: value.decode("utf-8", "backslashreplace") for name, value in named.items()},
        record.value,
    )


def where(record: ConsumerRecord) -> str:
    """Where a record stands, for findings about what does not say it itself."""
    return f"{record.topic}/{record.partition} offset {record.offset}"


class LogReader:
    """Topics with their partitions and ends. Made by `open_log`."""

    def __init__(self, consumer: Any, ends: Mapping[TopicPartition, int]) -> None:
        self._consumer = consumer
        self.ends = ends
        self.partitions: dict[str, int] = {}
        # The birth ids, by topic, once a partition that still has its own was read.
        self.generations: dict[str, str] = {}
        for tp in ends:
            self.partitions[tp.topic] = max(self.partitions.get(tp.topic, 0), tp.partition + 1)

    async def starts(self, topic: str) -> dict[int, int]:
        """The first offset of each partition; above 0 where retention took records away."""
        those = [tp for tp in self.ends if tp.topic == topic]
        found = await self._consumer.beginning_offsets(those)
        return {tp.partition: offset for tp, offset in found.items()}

    async def read(
        self, chosen: Iterable[tuple[str, int]], *, silence_seconds: float = OPERATION_SECONDS
    ) -> AsyncIterator[list[ConsumerRecord]]:
        """Every fact's record of these partitions up to the ends, in batches, births left out.

        In order within a partition, in any order among them. Raises BusSilentError.
        """
        wanted = [TopicPartition(topic, partition) for topic, partition in chosen]
        wanted = [tp for tp in wanted if self.ends.get(tp, 0) > 0]
        if not wanted:
            return
        consumer = self._consumer
        first = await consumer.beginning_offsets(wanted)
        ahead = {tp for tp in wanted if first[tp] < self.ends[tp]}
        # Nothing is awaited between the two: the consumer must not look for a position of its own.
        consumer.assign(wanted)
        for tp in wanted:
            consumer.seek(tp, first[tp])
        consumer.pause(*(tp for tp in wanted if tp not in ahead))
        heard_at = time.monotonic()
        while ahead:
            fetched = await consumer.getmany(*ahead, timeout_ms=500)
            if not fetched and time.monotonic() - heard_at > silence_seconds:
                raise BusSilentError(f"no record for {silence_seconds} s")
            for tp, records in fetched.items():
                end = self.ends[tp]
                if records[-1].offset + 1 >= end:
                    ahead.discard(tp)
                    consumer.pause(tp)
                if records[0].offset == 0 and is_birth(records[0]):
                    self.generations[tp.topic] = header(records[0], "ce_id") or ""
                yield [r for r in records if r.offset < end and not is_birth(r)]
            if fetched:
                heard_at = time.monotonic()


@asynccontextmanager
async def open_log(bootstrap: str, topics: Iterable[str]) -> AsyncIterator[LogReader]:
    """Find the topics and their ends. Raises TopicAbsentError, BusSilentError."""
    names = list(topics)
    try:
        async with asyncio.timeout(OPERATION_SECONDS):
            found = await _partitions(bootstrap, names)
            consumer = AIOKafkaConsumer(
                bootstrap_servers=bootstrap,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=LONGEST_WAIT_MS,
                max_poll_records=MOST_RECORDS,
            )
            await consumer.start()
    except TimeoutError as error:
        raise BusSilentError(f"{bootstrap}: no answer in {OPERATION_SECONDS} s") from error
    try:
        yield LogReader(consumer, await consumer.end_offsets(found))
    finally:
        await consumer.stop()


async def _partitions(bootstrap: str, topics: list[str]) -> list[TopicPartition]:
    # Asked first, since a consumer's own question would create the topic on a careless broker.
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        known = {item["topic"]: item for item in await admin.describe_topics()}
    finally:
        await admin.close()
    for topic in topics:
        if topic not in known:
            raise TopicAbsentError(topic)
    return sorted(
        TopicPartition(topic, p["partition"])
        for topic in topics
        for p in known[topic]["partitions"]
    )
