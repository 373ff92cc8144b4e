"""Listening: the FastStream subscriber that brings records from Kafka to a service's hearing.

PostgreSQL says where to go on: offsets are stored with the effects, and Kafka's own committed
offsets are only told afterwards, for its tools to show. Records reach the hearing as bytes (the
library's own parser loses records whose headers are odd).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage

from shared.arrival import Arrival, storable_key
from shared.births import LOOK_SECONDS, BirthWatch
from shared.bus import METADATA_AGE_MS, BusError, header, is_birth, read_generation
from shared.hearing import Hearing
from shared.lease import DATABASE_FAILURES
from shared.pace import Pace
from shared.pools import Pool
from shared.settings import ServiceSettings
from shared.telemetry import Progress

log = structlog.get_logger()

MOST_RECORDS: Final = 500
# How long one question for records stays open at most; it is answered as soon as there are some.
POLL_MS: Final = 1_000
SWEEP_SECONDS: Final = 1.0
# Kafka's tools show offsets that are this old; nothing of ours reads them, and each is a record.
TELL_SECONDS: Final = 5.0


class PatientConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka ships no types
    """Answers with records only: after an empty answer the library would sleep as long again.

    So records are taken in as they come, and a listener to whom nobody speaks costs little.
    """

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        while True:
            fetched: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]
            fetched = await super().getmany(
                *partitions, timeout_ms=timeout_ms, max_records=max_records
            )
            if fetched:
                return fetched


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """On assignment, start each partition where the database says."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """What was in flight is stored or comes again; nothing more is taken from these."""
        self._listening.leave(revoked)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        await self._listening.seek(assigned)


class Listening:
    """One consumer of one service, over all topics that it hears."""

    def __init__(
        self,
        hearing: Hearing,
        pool: Pool,
        settings: ServiceSettings,
        topics: Sequence[str],
        progress: Progress,
    ) -> None:
        self._hearing = hearing
        self._pool = pool
        self._schema = settings.service
        self._bootstrap = settings.kafka_bootstrap
        self._progress = progress
        self._pace = Pace(settings.gather_ms / 1000)
        self._generations: dict[str, str] = {}
        # Partitions that stand where the database says; what comes of others comes too early.
        self._placed: set[TopicPartition] = set()
        self._told: dict[TopicPartition, int] = {}
        self._told_at = 0.0
        # Topics of which a birth was read that is not the one we knew; and one batch at a time.
        self._doubted: set[str] = set()
        self._doubt = asyncio.Event()
        self._taking = asyncio.Lock()
        # What no hearing can go on after; it ends the process, and nothing is skipped.
        self._broken: asyncio.Future[None] | None = None
        self.topics = list(topics)
        self._broker = KafkaBroker(
            settings.kafka_bootstrap,
            allow_auto_create_topics=False,
            # It publishes nothing: no producer and no admin, which would be kept up to date.
            consumer_only=True,
            # The one handler takes the message as it is: there is nothing to convert or inject.
            apply_types=False,
            graceful_timeout=5.0,
            metadata_max_age_ms=METADATA_AGE_MS,
            logger=logging.getLogger("faststream"),
        )
        self._subscriber = self._broker.subscriber(
            *self.topics,
            batch=True,
            group_id=f"{settings.topic_prefix}{settings.service}",
            group_instance_id=f"{settings.service}-{settings.instance}",
            partition_assignment_strategy=(RangePartitionAssignor,),
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=max(300, settings.session_timeout_ms // 4),
            max_records=MOST_RECORDS,
            batch_timeout_ms=POLL_MS,
            listener=Listener(self),
            parser=_parse,
            decoder=_decode,
            no_reply=True,
        )
        self._subscriber(self._on_batch)

    async def run(self) -> None:
        """Consume until cancelled; sweep what is held once a second, tell Kafka now and then."""
        self._broken = asyncio.get_running_loop().create_future()
        consumers: Any = await self._broker.connect()
        self._broker.config.broker_config.builder = partial(PatientConsumer, **consumers.keywords)
        await self._broker.start()
        watching = asyncio.create_task(self._watch_births())
        try:
            while True:
                ended, _ = await asyncio.wait(
                    {self._broken, watching},
                    timeout=SWEEP_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for each in ended:
                    each.result()
                try:
                    await self._hearing.sweep()
                    await self._tell_kafka()
                except (KafkaError, *DATABASE_FAILURES) as e:
                    log.warning("sweep_failed", error=type(e).__name__)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            await self._broker.stop()

    async def _on_batch(self, message: KafkaMessage) -> None:
        began = time.monotonic()
        records = message.raw_message
        # The library's message refers to itself: what it held on to would stay, some fifty thousand
        # objects in a few seconds, until Python looks for such circles.
        message.raw_message = ()
        batch = records if isinstance(records, tuple) else (records,)
        # Behind a full batch there is more: who is far behind does not rest, and fetches ahead.
        gathers = self._pace.gather_seconds > 0 and len(batch) < MOST_RECORDS
        if gathers:
            # Before the consumer's own task has had a turn, which would ask for more.
            self._fetch_no_more()
        try:
            async with self._taking:
                for record in batch:
                    self._doubt_if_born_again(record)
                placed = [r for r in batch if TopicPartition(r.topic, r.partition) in self._placed]
                await self._hearing.take([self._arrival(record) for record in placed])
        except Exception as error:  # noqa: BLE001 - FastStream would log it and go on behind it
            if self._broken is not None and not self._broken.done():
                self._broken.set_exception(error)
            await asyncio.Event().wait()
        self._progress.beat("hearing")
        if gathers:
            await self._pace.rest(time.monotonic() - began)
            self._fetch_again()

    def _fetch_no_more(self) -> None:
        """Leave what comes at the broker, until it is fetched again with one question.

        The library asks for more as soon as it has handed on what it had. That answer would hold
        the first record that came and lie here unread, and what comes after it would wait twice.
        """
        if self._subscriber.consumer is not None:
            self._subscriber.consumer.pause(*self._subscriber.consumer.assignment())

    def _fetch_again(self) -> None:
        """Of the partitions that have their place: of the others too early is for nothing."""
        if self._subscriber.consumer is not None:
            mine = self._subscriber.consumer.assignment()
            self._subscriber.consumer.resume(*self._placed.intersection(mine))

    def _arrival(self, record: ConsumerRecord[bytes, bytes]) -> Arrival:
        return Arrival(
            record.topic,
            record.partition,
            record.offset,
            self._generations.get(record.topic, ""),
            storable_key(record.key),
            tuple(record.headers),
            record.value,
        )

    def _doubt_if_born_again(self, record: ConsumerRecord[bytes, bytes]) -> None:
        """Take nothing more of a topic that was wiped and born again while we listened.

        Its records would be stored under offsets of the old one. Only the first record tells:
        of two creators at once the later one's stands behind it, and so may a stranger's.
        """
        topic = record.topic
        if TopicPartition(topic, record.partition) not in self._placed:
            return
        if record.offset > 0 or not is_birth(record):
            return
        if header(record, "ce_id") != self._generations.get(topic):
            self.leave([place for place in self._placed if place.topic == topic])
            self._doubted.add(topic)
            self._doubt.set()

    async def _watch_births(self) -> None:
        """Begin again in a topic that was replaced, also where it is longer than it was."""
        watch = BirthWatch(self._bootstrap, self.topics)
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._doubt.wait()
                self._doubt.clear()
                born = await watch.look()
                changed = {
                    t for t, birth in born.items() if self._generations.get(t, birth) != birth
                }
                for topic in changed | self._doubted:
                    await self._begin_again(topic)
        finally:
            await watch.close()

    async def _begin_again(self, topic: str) -> None:
        """Place the partitions of a replaced topic anew, once nothing of it is being taken in."""
        consumer = self._subscriber.consumer
        assigned = [p for p in consumer.assignment() if p.topic == topic] if consumer else []
        self._doubted.discard(topic)
        self.leave(assigned)
        async with self._taking:
            log.warning("topic_born_again", topic=topic)
            self._generations.pop(topic, None)
            # Partitions that went meanwhile are placed where they come.
            with suppress(IllegalStateError):
                await self._place(assigned)

    def leave(self, revoked: Collection[TopicPartition]) -> None:
        """Take nothing more of these partitions until they are assigned and placed again."""
        self._placed.difference_update(revoked)

    async def seek(self, assigned: Collection[TopicPartition]) -> None:
        """Position the consumer at the stored offsets; at 0 where the topic is a new one."""
        await self._place(assigned, instead_of_all=True)

    async def _place(
        self, assigned: Collection[TopicPartition], *, instead_of_all: bool = False
    ) -> None:
        consumer = self._subscriber.consumer
        if consumer is None:
            return
        # At once, or it would begin where Kafka says, which may be behind or ahead.
        consumer.pause(*assigned)
        rows = await self._places(assigned)
        stored = {
            (row["topic"], row["partition"]): row["next_offset"]
            for row in rows
            if row["generation"] == self._generations.get(row["topic"])
        }
        if instead_of_all:
            self._hearing.positions.clear()
        for partition in assigned:
            offset = stored.get((partition.topic, partition.partition), 0)
            consumer.seek(partition, offset)
            self._hearing.positions[partition.topic, partition.partition] = offset
            self._placed.add(partition)
        consumer.resume(*assigned)

    async def _places(self, assigned: Collection[TopicPartition]) -> list[asyncpg.Record]:
        """The stored offsets, once the generations are known; asked until there is an answer.

        The library would go on without one, and offsets of no generation would be stored.
        """
        while True:
            try:
                for topic in {partition.topic for partition in assigned}:
                    self._generations[topic] = await read_generation(self._bootstrap, topic)
                found: list[asyncpg.Record] = await self._pool.fetch(
                    "SELECT topic, partition, generation, next_offset "  # noqa: S608 - the schema is the room's own name
                    f"FROM {self._schema}.offsets"
                )
                return found
            except (BusError, KafkaError, *DATABASE_FAILURES) as e:
                log.warning("assignment_waits", error=type(e).__name__)
                await asyncio.sleep(SWEEP_SECONDS)

    async def _tell_kafka(self) -> None:
        """Commit explicit offsets; a failed commit after a revocation is no error."""
        consumer = self._subscriber.consumer
        if consumer is None or time.monotonic() - self._told_at < TELL_SECONDS:
            return
        self._told_at = time.monotonic()
        mine = consumer.assignment()
        offsets = {
            TopicPartition(topic, partition): offset
            for (topic, partition), offset in self._hearing.positions.items()
            if TopicPartition(topic, partition) in mine
        }
        news = {tp: offset for tp, offset in offsets.items() if self._told.get(tp) != offset}
        if news:
            try:
                await consumer.commit(news)
                self._told.update(news)
            except KafkaError as error:
                log.info("offsets_not_told", error=type(error).__name__)

    def lag(self) -> dict[str, int]:
        """Records behind, by topic, as far as the consumer has seen the topics' ends."""
        consumer = self._subscriber.consumer
        behind = dict.fromkeys(self.topics, 0)
        # In a rebalance positions are still told of partitions that are no longer ours.
        mine = consumer.assignment() if consumer else ()
        for (topic, partition), offset in self._hearing.positions.items():
            place = TopicPartition(topic, partition)
            end = consumer.highwater(place) if consumer and place in mine else None
            if end is not None:
                behind[topic] = behind.get(topic, 0) + max(0, end - offset)
        return behind


async def _parse(message: Any) -> KafkaMessage:
    """Bytes in, bytes out: nothing of a record is looked at here."""
    return KafkaMessage(
        body=b"",
        headers={},
        message_id=f"{message[0].offset}-{message[-1].offset}",
        raw_message=message,
        consumer=None,  # type: ignore[arg-type]  # offsets are committed explicitly, not by it
    )


async def _decode(message: KafkaMessage) -> Any:
    return message
