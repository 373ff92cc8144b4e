"""Publishing one outbox: committed rows, in order, to one topic.

One explicit batch is in flight per partition, the next follows its acknowledgement; partitions go
side by side. After any failure the producer is thrown away and everything starts again at the
checkpoint, with a look at what the topic already has. So each (stream, version) is in the topic in
order; a repeat is possible (a relay frozen in a send) and byte-identical, and the first counts.

A topic or a log that is not the one of the checkpoint is an alarm: nothing is published until
somebody has looked. `relay.py` holds the lease under which this runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import orjson
import structlog
from aiokafka.errors import KafkaError

from shared import bus
from shared.chain import hash_holds, place_of
from shared.lease import DATABASE_FAILURES, Lease, LeaseLostError
from shared.pace import Pace
from shared.pools import Pool
from shared.record_headers import ATTRIBUTES_BY_HEADER, claimed_by_headers
from shared.tail import QUERY_SECONDS, Connection, Tail

# Own writes wake it, and so does the note of another process that has written. What comes without
# either (its writer died in between, or is none of ours) is found by looking.
SHORTEST_POLL_SECONDS: Final = 0.02
LONGEST_POLL_SECONDS: Final = 0.5
REACH_SECONDS: Final = 0.005
UNLISTEN_SECONDS: Final = 1.0
# What lies between checkpoint and topic is read back by the next relay, so it may be a little.
CHECKPOINT_SECONDS: Final = 0.25
SEND_SECONDS: Final = 15.0
CHUNK_ROWS: Final = 1_000
# In a batch of so many each costs little; the timers of a business day, say, go out at once.
ENOUGH_FACTS: Final = 40
# Between two checkpoints lie a few chunks; far more means that the checkpoint is not this topic's.
LARGEST_READ_BACK: Final = 200_000
# What a lost topic looks like; on another cluster than the checkpoint's, or by another name, it is
# that which is wrong.
LOST_KINDS: Final = frozenset(("topic_not_ours", "generation_changed", "topic_shrunk"))
# Each needs a person, and has a line in docs/operating.md.
ALARM_KINDS: Final = (
    "topic_not_ours",
    "topic_renamed",
    "kafka_replaced",
    "partitions_differ",
    "generation_changed",
    "topic_shrunk",
    "checkpoint_lost",
    "log_shrunk",
    "forked",
    "unreadable",
)

log = structlog.get_logger(__name__)

Headers = list[tuple[str, bytes]]
# Key, value and headers.
Message = tuple[bytes, bytes, Headers]
OnPublished = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outbox:
    """A table with the columns of `facts`, and the topic that it is published to."""

    table: str
    topic: str
    # How long the topic keeps its records; for ever unless it is a subscriber's.
    retention_ms: int = -1


class Alarm(Exception):
    """The outbox stands still until somebody has looked. `kind` is stable, for metrics."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


@dataclass(slots=True)
class OutboxStatus:
    """How one outbox stands, from memory; seconds are real."""

    table: str
    topic: str
    seen: int = 0  # the last position that was drawn, committed or not
    mark: int = 0  # nothing can appear at or below it any more
    published: int = 0  # everything up to here is acknowledged by the broker
    ends: dict[int, int] = field(default_factory=dict)
    generation: str = ""
    alarm: str = ""  # the kind, or empty
    failure: str = ""  # the last failure that is not yet overcome
    failures: int = 0  # in all
    blocked_seconds: float = 0.0  # how long a writer has kept the mark from moving
    blocking_pid: int | None = None
    behind_seconds: float = 0.0  # how long committed rows have been waiting


def written_channel(schema: str) -> str:
    """On which a process that has written to this service's log lets its relay know."""
    return f"{schema}_written"


class Publisher:
    """One outbox of one service. `run` ends only by an error of the lease, or cancelled."""

    def __init__(
        self,
        pool: Pool,
        schema: str,
        outbox: Outbox,
        lease: Lease,
        *,
        bootstrap: str,
        partitions: int,
        gather_seconds: float,
        on_published: OnPublished | None,
        after: Publisher | None = None,
    ) -> None:
        self._after = after
        self._pool = pool
        self._schema = schema
        self._outbox = outbox
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._lease = lease
        self._pace = Pace(gather_seconds)
        self._on_published = on_published
        self._woken = asyncio.Event()
        # Facts that this process has stored since the last look.
        self._gathered = 0
        self._enough = asyncio.Event()
        self._tail: Tail | None = None
        self._status = OutboxStatus(outbox.table, outbox.topic)
        self._caught_up_at = time.monotonic()
        self._saved = (0, 0.0)  # position, and when
        self._cluster = ""  # the id of the Kafka that this session publishes to
        # What the topic had after the checkpoint when this session began: identity and hash. Until
        # it is used up, a new checkpoint keeps the old ends, for the next session to find it again.
        self._there: dict[tuple[str, str], str] = {}
        self._resumed_ends: dict[int, int] = {}

    def wake(self, facts: int = 0) -> None:
        """Look soon; at once where with these facts enough has gathered for a batch."""
        self._woken.set()
        self._gathered += facts
        if self._gathered >= ENOUGH_FACTS:
            self._enough.set()

    def _on_note(self, *_: object) -> None:
        self.wake()

    def status(self) -> OutboxStatus:
        status, tail, now = self._status, self._tail, time.monotonic()
        if tail is not None:
            status.seen, status.mark, status.blocking_pid = tail.seen, tail.mark, tail.blocking_pid
        blocked = tail.blocked_since if tail is not None else None
        status.blocked_seconds = 0.0 if blocked is None else now - blocked
        behind = status.published < status.seen or status.alarm or status.failure
        status.behind_seconds = now - self._caught_up_at if behind else 0.0
        return status

    async def run(self) -> None:
        """Publish for as long as the lease is held; every failure begins a new session."""
        pause = 0.1
        while True:
            published = self._status.published
            try:
                await self._session()
            except LeaseLostError:
                raise
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody cancelled us: aiokafka lets those of its own tasks out when it is closed.
                self._fail("cancelled from inside", "")
            except Alarm as alarm:
                self._fail(str(alarm), alarm.kind)
                pause = 1.0
            except (bus.BusError, KafkaError, *DATABASE_FAILURES) as error:
                self._fail(f"{type(error).__name__}: {error}", "")
                pause = 0.1 if self._status.published > published else min(pause * 2, 2.0)
            await asyncio.sleep(pause)

    def _fail(self, text: str, kind: str) -> None:
        if self._status.failure != text:
            log.error("outbox stands still", outbox=self._outbox.table, alarm=kind, failure=text)
        self._status.failure, self._status.alarm = text, kind
        self._status.failures += 1

    async def _session(self) -> None:
        """From the checkpoint on, with one producer and one connection for the tail."""
        async with self._pool.acquire() as connection:
            tail = self._tail = await Tail.open(connection, self._schema, self._outbox.table)
            await self._resume(connection)
            channel = written_channel(self._schema)
            await connection.add_listener(channel, self._on_note)
            try:
                producer = await bus.new_producer(self._bootstrap)
                try:
                    await self._follow(connection, tail, producer)
                finally:
                    await bus.discard(producer)
            finally:
                # The lease may be waited for: a database that hangs must not keep it from the next.
                with suppress(*DATABASE_FAILURES):
                    async with asyncio.timeout(UNLISTEN_SECONDS):
                        await connection.remove_listener(channel, self._on_note)

    async def _resume(self, connection: Connection) -> None:
        """Claim the checkpoint for this epoch, and compare topic and log with it."""
        self._cluster = await bus.read_cluster(self._bootstrap)
        self._lease.check()
        row = await connection.fetchrow(
            f"INSERT INTO {self._schema}.checkpoint AS c (name, epoch, topic, cluster, wanted)"  # noqa: S608 - a checked name
            " VALUES ($1, $2, $3, $4, $3) ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch,"
            " wanted = excluded.wanted,"
            # Noted before anything can be wrong with it: an older build has left them out.
            " topic = coalesce(nullif(c.topic, ''), excluded.topic),"
            " cluster = coalesce(nullif(c.cluster, ''), excluded.cluster)"
            " WHERE c.epoch <= excluded.epoch RETURNING position, ends, generation, topic, cluster",
            self._outbox.table,
            self._lease.epoch,
            self._outbox.topic,
            self._cluster,
            timeout=QUERY_SECONDS,
        )
        if row is None:
            raise LeaseLostError(f"{self._outbox.table}: the checkpoint is a later relay's")
        ends = {int(p): int(end) for p, end in orjson.loads(row["ends"]).items()}
        try:
            state = await self._look_at_topic(row["generation"], ends)
        except Alarm as alarm:
            if alarm.kind not in LOST_KINDS:
                raise
            if row["cluster"] != self._cluster:
                detail = f"cluster {self._cluster}, was {row['cluster']}; {alarm}"
                raise Alarm("kafka_replaced", detail) from alarm
            if row["topic"] != self._outbox.topic:
                detail = f"{self._outbox.topic}, was {row['topic']}; {alarm}"
                raise Alarm("topic_renamed", detail) from alarm
            raise
        status = self._status
        status.published, status.ends = row["position"], dict(state.ends)
        status.generation = row["generation"] or state.generation()
        self._saved = (-1, 0.0)
        self._resumed_ends = ends
        self._there = await self._read_back(ends, state.ends)

    async def _look_at_topic(self, generation: str, ends: Mapping[int, int]) -> bus.TopicState:
        try:
            state = await bus.read_topic(self._bootstrap, self._outbox.topic)
            found = state.generation()
        except bus.BirthAgedError:
            # Finite retention: then only the offsets can tell, and they are compared below.
            found = generation
        except bus.BusSilentError:
            raise
        except bus.BusError as error:
            raise Alarm("topic_not_ours", f"{type(error).__name__} {error}") from error
        if len(state.ends) != self._partitions:
            detail = f"{len(state.ends)} partitions, not {self._partitions}"
            raise Alarm("partitions_differ", detail)
        if not found or (generation and found != generation):
            raise Alarm("generation_changed", f"{found or 'none'}, not {generation}")
        shrunk = {p: end for p, end in ends.items() if state.ends.get(p, 0) < end}
        if shrunk:
            raise Alarm("topic_shrunk", f"ends {dict(state.ends)}, were {shrunk}")
        return state

    async def _read_back(
        self, starts: Mapping[int, int], until: Mapping[int, int]
    ) -> dict[tuple[str, str], str]:
        """What the topic has beyond the checkpoint: an earlier relay sent it and died."""
        there: dict[tuple[str, str], str] = {}
        if starts == until:
            return there
        if sum(until.values()) - sum(starts.values()) > LARGEST_READ_BACK:
            raise Alarm("checkpoint_lost", f"{sum(until.values())} records, checkpoint {starts}")
        records = bus.read_records(self._bootstrap, self._outbox.topic, starts=starts, until=until)
        async with aclosing(records) as reading:
            async for record in reading:
                if bus.is_birth(record):
                    continue
                headers = [(key, bytes(value or b"")) for key, value in record.headers]
                if not _is_ours(headers, record.value):
                    # Listeners quarantine it; it must neither stop nor mislead the relay.
                    log.error("foreign record in the topic", offset=record.offset)
                    continue
                # A repeat that a frozen relay left never replaces what came first.
                there.setdefault(_identity(headers), bus.header(record, "ce_hash") or "")
        return there

    async def _follow(self, connection: Connection, tail: Tail, producer: Any) -> None:
        pause = SHORTEST_POLL_SECONDS
        while True:
            self._woken.clear()
            self._enough.clear()
            self._gathered = 0
            self._lease.check()
            began = time.monotonic()
            mark = await tail.advance()
            if self._after is not None and self._status.published < mark:
                await self._after.reach_all(connection)
            if self._status.published > mark:
                raise Alarm("log_shrunk", f"published {self._status.published}, log ends at {mark}")
            found_any = self._status.published < mark
            pause = SHORTEST_POLL_SECONDS if found_any else pause
            while self._status.published < mark:
                chunk = await tail.read(self._status.published, CHUNK_ROWS)
                await self._publish(producer, chunk.rows)
                self._status.published = chunk.cursor
                await self._save(connection, CHECKPOINT_SECONDS)
                if self._on_published is not None:
                    self._on_published(self._outbox.table, len(chunk.rows), chunk.cursor)
            if self._there:
                await self._compare_leftovers(connection)
            self._status.failure = self._status.alarm = ""
            self._caught_up_at = time.monotonic()
            await self._save(connection, CHECKPOINT_SECONDS)
            if found_any:
                await self._pace.rest(time.monotonic() - began, self._enough)
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
                pause = SHORTEST_POLL_SECONDS
            except TimeoutError:
                pause = min(pause * 2, LONGEST_POLL_SECONDS)

    async def reach_all(self, connection: Connection) -> None:
        """Return when everything is published that was written here before the call.

        For an outbox whose rows follow from this one's: a subscriber must not act on what could
        still be lost with the database, for nobody else would know of it.
        """
        last = await connection.fetchval(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END"  # noqa: S608 - checked names
            f" FROM {self._schema}.{self._outbox.table}_position_seq",
            timeout=QUERY_SECONDS,
        )
        self.wake()
        while self._status.published < last:
            self._lease.check()
            await asyncio.sleep(REACH_SECONDS)

    async def _publish(self, producer: Any, rows: Sequence[asyncpg.Record]) -> None:
        """Send rows to their partitions and return when all are acknowledged."""
        waiting: dict[int, list[Message]] = {}
        for row in rows:
            headers = _headers(row)
            if not self._is_there(headers, row["hash"]):
                partition = bus.partition_of(row["subject"], self._partitions)
                message = (row["subject"].encode(), row["data"].encode(), headers)
                waiting.setdefault(partition, []).append(message)
        while waiting:
            # An idempotent producer tries for ever; the limit is ours.
            async with asyncio.timeout(SEND_SECONDS):
                waiting = await self._send(producer, waiting)

    async def _send(
        self, producer: Any, waiting: Mapping[int, list[Message]]
    ) -> dict[int, list[Message]]:
        """One batch for each partition, acknowledged; answers with what they had no room for."""
        batches = {partition: _batch(producer, each) for partition, each in waiting.items()}
        self._lease.check()
        # Handed over in one go, so that they share a request.
        under_way = [
            await producer.send_batch(batch, self._outbox.topic, partition=partition)
            for partition, batch in batches.items()
        ]
        # The first that fails ends it: the others must not go on, and their producer is discarded.
        for (partition, batch), sent in zip(
            batches.items(), await asyncio.gather(*under_way), strict=True
        ):
            end = sent.offset + batch.record_count()
            if end <= self._status.ends.get(partition, 0):
                detail = f"partition {partition} answered offset {sent.offset}"
                raise Alarm("topic_shrunk", detail)
            self._status.ends[partition] = end
        left = {p: each[batches[p].record_count() :] for p, each in waiting.items()}
        return {partition: each for partition, each in left.items() if each}

    def _is_there(self, headers: Headers, digest: str) -> bool:
        if not self._there:
            return False
        known = self._there.pop(_identity(headers), None)
        if known is not None and known != digest:
            identity = " ".join(_identity(headers))
            raise Alarm("forked", f"the topic has another fact as {identity}")
        return known is not None

    async def _compare_leftovers(self, connection: Connection) -> None:
        """What the topic has and the log did not bring again is a late repeat, or lost here."""
        named = [(stream, int(version)) for stream, version in self._there if stream]
        missing = await connection.fetch(
            "SELECT stream, version FROM unnest($1::text[], $2::int[]) AS n(stream, version)"  # noqa: S608 - checked names
            f" WHERE NOT EXISTS (SELECT 1 FROM {self._schema}.{self._outbox.table} t"
            " WHERE t.stream = n.stream AND t.version = n.version) LIMIT 1",
            [stream for stream, _ in named],
            [version for _, version in named],
            timeout=QUERY_SECONDS,
        )
        if missing:
            raise Alarm("log_shrunk", f"the topic has {tuple(missing[0])}, the log has not")
        self._there = {}

    async def _save(self, connection: Connection, every: float) -> None:
        """Move the checkpoint, if this relay may still do so."""
        position, at = self._saved
        now = time.monotonic()
        if position == self._status.published or now - at < every:
            return
        ends = self._resumed_ends if self._there else self._status.ends
        saved = await connection.fetchval(
            f"UPDATE {self._schema}.checkpoint SET position = $3, ends = $4, generation = $5,"  # noqa: S608 - a checked name
            " topic = $6, cluster = $7 WHERE name = $1 AND epoch = $2"
            # Nobody waits for it to be flushed: an older checkpoint makes the next relay read back
            # a little more of the topic.
            " RETURNING set_config('synchronous_commit', 'off', true)",
            self._outbox.table,
            self._lease.epoch,
            self._status.published,
            orjson.dumps({str(p): end for p, end in sorted(ends.items())}).decode(),
            self._status.generation,
            self._outbox.topic,
            self._cluster,
            timeout=QUERY_SECONDS,
        )
        if not saved:
            raise LeaseLostError(f"{self._outbox.table}: the checkpoint is a later relay's")
        self._saved = (self._status.published, now)


def _batch(producer: Any, messages: Sequence[Message]) -> Any:
    """As many of the messages, from the first on, as have room in one batch."""
    batch = producer.create_batch()
    now = bus.now_ms()
    for key, value, headers in messages:
        if batch.append(timestamp=now, key=key, value=value, headers=headers) is None:
            break
    batch.close()
    return batch


def _headers(row: asyncpg.Record) -> Headers:
    """CloudEvents' binary mode of Kafka: every attribute a header, the data the value."""
    try:
        attributes: dict[str, str] = orjson.loads(row["envelope"])
        headers = [
            (_HEADER_NAMES.get(name) or f"ce_{name}", text.encode())
            for name, text in attributes.items()
        ]
    except (ValueError, AttributeError) as error:
        raise Alarm("unreadable", f"position {row['position']}: {error}") from error
    headers.append(("ce_hash", row["hash"].encode()))
    if row["traceparent"]:
        headers.append(("ce_traceparent", row["traceparent"].encode()))
    return headers


def _is_ours(headers: Headers, value: bytes | None) -> bool:
    """Whether a record of the topic is one that a relay of this log can have sent."""
    try:
        claimed = claimed_by_headers({name: text.decode() for name, text in headers}, value)
        stream, _ = _identity(headers)
    except UnicodeDecodeError:
        return False
    return hash_holds(claimed) and (not stream or place_of(claimed) is not None)


_HEADER_NAMES: Final = {
    "datacontenttype": "content-type",
    **{name: header for header, name in ATTRIBUTES_BY_HEADER.items()},
}


def _identity(headers: Headers) -> tuple[str, str]:
    """(stream, version); where the envelope keeps those back, ("", the fact's id)."""
    named = dict(headers)
    if "ce_stream" in named and "ce_streamversion" in named:
        return named["ce_stream"].decode(), named["ce_streamversion"].decode()
    return "", named.get("ce_id", b"").decode()
