"""Taking back from Kafka what a restored log lacks.

The database was restored to an earlier moment, or a standby took over without the last writes; the
topic has the facts that were published since. They are read, checked against the log that is there
(hash, version, link to the fact before), set aside, and written only if all of it fits: as new rows
with the same bytes, with everything that follows from them, as the first write did it. Nothing is
decided anew. A fork is refused: then two histories exist, and no program may choose.

The service must stand still meanwhile; the relay's lease is held. A death in between is no harm:
what is back is found to be there by the next call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import asyncpg
import orjson

from shared import bus
from shared.clock import BUSINESS_ZONE
from shared.directory import Directory
from shared.event_store import WRITE_ARGUMENTS, EventStore, recorded_from_row
from shared.fact import GENESIS_HASH, SYSTEM, Recorded, UnknownFact
from shared.lease import Lease
from shared.network_copy import moved_by
from shared.pools import Pool
from shared.presence import is_alone
from shared.publisher import LARGEST_READ_BACK, Outbox
from shared.recovered import rows_of
from shared.reference_copy import directory_of, rescope
from shared.republish import lease_of
from shared.room import ReferenceRow, Room, StreamKind
from shared.tail import QUERY_SECONDS, Connection
from shared.topic_ahead import COMPARED_AT_ONCE, Ahead, checkpoint_of, first_ahead, own_fact
from shared.write import Write

WRITTEN_AT_ONCE: Final = 500
WRITE_SECONDS: Final = 120.0
# A write that moves a guard or a balance below its bounds is out of order among cases: it waits.
OUT_OF_ORDER: Final = "BF003"

_STAGE: Final = """
CREATE TEMPORARY TABLE staged (
    ordinal       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream        text NOT NULL,
    version       integer NOT NULL,
    previous_hash text NOT NULL,
    hash          text NOT NULL,
    recorded_at   timestamptz NOT NULL,
    sent_at       bigint NOT NULL,
    is_lost       boolean NOT NULL,
    envelope      text,
    data          text,
    traceparent   text,
    UNIQUE (stream, version)
)"""


class RecoveryRefused(Exception):
    """What stands in the way, for the operator."""


class OtherNameError(RecoveryRefused):
    """The topic has another name than the one that was published to; it names the setting."""


OnProgress = Callable[[str, int, int], None]


@dataclass
class Regained:
    """What was taken back."""

    facts: int = 0
    streams: int = 0
    # Facts by type that somebody ordered, with a key that is lost: a repeat of it is decided anew.
    ordered: Counter[str] = field(default_factory=Counter)


@dataclass
class Recovery:
    """One service's log and its topics. The pool is an operator's, who may write its schema."""

    pool: Pool
    room: Room
    outboxes: Sequence[Outbox]
    bootstrap: str
    on_progress: OnProgress = lambda _what, _done, _total: None
    # Also forget how far the topics were heard: whatever was passed over is heard, the rest passed.
    hear_again: bool = False
    regained: Regained = field(default_factory=Regained)

    @property
    def _schema(self) -> str:
        return self.room.name

    async def run(self) -> Regained:
        """Take all of it back. Raises RecoveryRefused, bus.BusError or LeaseLostError."""
        async with self.pool.acquire() as connection:
            await self._stands_still(connection)
            await self._run(connection)
        return self.regained

    async def _run(self, connection: Connection) -> None:
        async with lease_of(self.pool, self._schema) as lease:
            facts, others = self.outboxes[0], self.outboxes[1:]
            known = await checkpoint_of(connection, self._schema, facts.table)
            if known.topic not in ("", facts.topic):
                # What another installation has stated is nothing that this log has lost.
                raise OtherNameError(
                    f"BANGFU_TOPIC_PREFIX: 并非该服务发布过的主题 {facts.topic} is not the topic"
                    f" that {self._schema} has published to ({known.topic})"
                )
            state = await self._topic(facts)
            starts = known.ends if known.generation in ("", state.generation()) else {}
            await connection.execute(_STAGE)
            try:
                await self._stage(connection, facts, starts, state.ends)
                await self._check_links(connection)
                unpublished = await self._first_unpublished(connection, known.position)
                await self._write_all(connection, lease)
                await self._move_checkpoint(connection, lease, facts, state, unpublished)
            finally:
                await connection.execute("DROP TABLE staged")
            for outbox in others:
                await self._compare(connection, outbox)
            if self.hear_again:
                await connection.execute(f"DELETE FROM {self._schema}.offsets")  # noqa: S608 - a checked name

    async def _stands_still(self, connection: Connection) -> None:
        """Nothing of the service runs, nor begins as long as this connection lasts."""
        alone = await is_alone(connection, self._schema)
        # An older build holds no lock, and one that is only connecting holds none yet.
        running = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE $1",
            f"bangfu-{self._schema}-%",
        )
        if running:
            raise RecoveryRefused(f"请先停止 stop {self._schema} first: {running} connections")
        if not alone:
            raise RecoveryRefused(f"另一命令正在取回 another recovery of {self._schema} is at work")

    async def _topic(self, outbox: Outbox) -> bus.TopicState:
        state = await bus.read_topic(self.bootstrap, outbox.topic)
        state.generation()
        return state

    async def _stage(
        self,
        connection: Connection,
        outbox: Outbox,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
    ) -> None:
        """Set aside everything that the topic has beyond the checkpoint, and what of it is lost."""
        total = sum(ends.values()) - sum(starts.values())
        done = 0
        waiting: list[tuple[Recorded, int]] = []
        records = bus.read_records(self.bootstrap, outbox.topic, starts=starts, until=ends)
        async with aclosing(records) as reading:
            async for record in reading:
                done += 1
                fact = own_fact(record, self._schema)
                if fact is not None:
                    waiting.append((fact, record.timestamp))
                if len(waiting) == COMPARED_AT_ONCE:
                    await self._set_aside(connection, waiting)
                    waiting = []
                    self.on_progress("reading", done, total)
        if waiting:
            await self._set_aside(connection, waiting)
        self.on_progress("reading", total, total)

    async def _set_aside(
        self, connection: Connection, found: Sequence[tuple[Recorded, int]]
    ) -> None:
        for fact, _ in found:
            self._must_be_readable(fact)
        rows = await connection.fetch(
            "WITH arrived AS (SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::text[],"  # noqa: S608 - a checked name
            " $5::timestamptz[], $6::bigint[], $7::text[], $8::text[], $9::text[]) WITH ORDINALITY"
            " AS a(stream, version, previous_hash, hash, recorded_at, sent_at, envelope, data,"
            " traceparent, ord)), first AS (SELECT DISTINCT ON (stream, version) * FROM arrived"
            " ORDER BY stream, version, ord), added AS (INSERT INTO staged (stream, version,"
            " previous_hash, hash, recorded_at, sent_at, is_lost, envelope, data, traceparent)"
            " SELECT a.stream, a.version, a.previous_hash, a.hash, a.recorded_at, a.sent_at,"
            " f.hash IS NULL, CASE WHEN f.hash IS NULL THEN a.envelope END,"
            " CASE WHEN f.hash IS NULL THEN a.data END,"
            " CASE WHEN f.hash IS NULL THEN a.traceparent END"
            f" FROM first a LEFT JOIN {self._schema}.facts f USING (stream, version) ORDER BY a.ord"
            " ON CONFLICT (stream, version) DO NOTHING RETURNING stream, version, hash)"
            " SELECT a.stream, a.version FROM arrived a"
            " LEFT JOIN added n USING (stream, version) LEFT JOIN staged s USING (stream, version)"
            f" LEFT JOIN {self._schema}.facts f USING (stream, version)"
            " WHERE a.hash <> coalesce(f.hash, n.hash, s.hash) LIMIT 1",
            [fact.stream for fact, _ in found],
            [fact.version for fact, _ in found],
            [fact.attributes.get("previoushash", "") for fact, _ in found],
            [fact.hash for fact, _ in found],
            [fact.recorded_at for fact, _ in found],
            [sent_at for _, sent_at in found],
            [fact.envelope for fact, _ in found],
            [fact.raw.decode() for fact, _ in found],
            [fact.traceparent for fact, _ in found],
            timeout=WRITE_SECONDS,
        )
        if rows:
            raise RecoveryRefused(f"分叉 forked at {rows[0]['stream']} {rows[0]['version']}")

    def _must_be_readable(self, fact: Recorded) -> None:
        try:
            self.room.kind_of(fact.stream)
            fact.read(self.room.reads)
        except UnknownFact as error:
            raise RecoveryRefused(f"须用更新的版本 a newer build is needed: {error}") from error
        except (KeyError, ValueError) as error:
            raise RecoveryRefused(f"不可读 unreadable: {fact.stream} {fact.version}") from error

    async def _check_links(self, connection: Connection) -> None:
        """Each lost fact follows the one before it, in the log or among the lost."""
        row = await connection.fetchrow(
            "SELECT l.stream, l.version FROM staged l"  # noqa: S608 - a checked name
            " LEFT JOIN staged p ON p.stream = l.stream AND p.version = l.version - 1"
            f" LEFT JOIN {self._schema}.facts f"
            " ON f.stream = l.stream AND f.version = l.version - 1"
            " WHERE l.is_lost AND l.previous_hash IS DISTINCT FROM"
            " CASE WHEN l.version = 1 THEN $1 ELSE coalesce(f.hash, p.hash) END"
            " ORDER BY l.ordinal LIMIT 1",
            GENESIS_HASH,
            timeout=WRITE_SECONDS,
        )
        if row is not None:
            raise RecoveryRefused(f"前后不接 unlinked at {row['stream']} {row['version']}")

    async def _first_unpublished(self, connection: Connection, position: int) -> int | None:
        """The first row of the log after the checkpoint that the topic does not have."""
        found: int | None = await connection.fetchval(
            f"SELECT min(f.position) FROM {self._schema}.facts f WHERE f.position > $1"  # noqa: S608 - a checked name
            " AND NOT EXISTS (SELECT 1 FROM staged s WHERE s.stream = f.stream"
            " AND s.version = f.version)",
            position,
            timeout=WRITE_SECONDS,
        )
        return found

    async def _write_all(self, connection: Connection, lease: Lease) -> None:
        """Every lost fact, as near to the order of its first writing as can be known."""
        total = await connection.fetchval("SELECT count(*) FROM staged WHERE is_lost")
        reading = await connection.fetch(
            "SELECT stream, min(version) AS next FROM staged WHERE is_lost GROUP BY stream"
        )
        turn = InTurn({row["stream"]: row["next"] for row in reading})
        self.regained.streams = len(reading)
        waiting: list[Recorded] = []
        after = 0
        order = (
            "SELECT *, row_number() OVER (ORDER BY recorded_at, sent_at, ordinal) AS place"
            " FROM staged WHERE is_lost"
        )
        await connection.execute(f"CREATE TEMPORARY TABLE in_order AS {order}")
        await connection.execute("CREATE INDEX ON in_order (place)")
        try:
            while True:
                rows = await connection.fetch(
                    "SELECT place, envelope, hash, data, traceparent FROM in_order"
                    " WHERE place > $1 ORDER BY place LIMIT $2",
                    after,
                    WRITTEN_AT_ONCE,
                )
                for row in rows:
                    waiting += turn.take(recorded_from_row(row))
                    after = row["place"]
                lease.check()
                waiting = await self._write_what_fits(connection, waiting, must=not rows)
                self.on_progress("writing", self.regained.facts, total)
                if not rows:
                    break
        finally:
            await connection.execute("DROP TABLE in_order")

    async def _write_what_fits(
        self, connection: Connection, facts: Sequence[Recorded], *, must: bool
    ) -> list[Recorded]:
        """Those that have to wait. What moves the tree is alone in its write, as on its day."""
        waiting: list[Recorded] = []
        for fact in facts:
            read = fact.read(self.room.reads)
            if any(moved_by(row) for row in self.room.references(read, fact)):
                if waiting:
                    await self._write(connection, waiting, must=True)
                await self._write(connection, [fact], must=True)
                waiting = []
            else:
                waiting.append(fact)
        if waiting and await self._write(connection, waiting, must=must):
            waiting = []
        return waiting

    async def _write(
        self, connection: Connection, facts: Sequence[Recorded], *, must: bool
    ) -> bool:
        """One transaction; False if it has to wait for facts that come later."""
        write, taken_in = await self._follow(connection, facts)
        arguments = write.arguments()
        try:
            async with connection.transaction():
                await connection.execute(
                    f"INSERT INTO {self._schema}.recovered AS r (stream, cause, version)"  # noqa: S608 - a checked name
                    " SELECT * FROM unnest($1::text[], $2::text[], $3::int[]) AS n(s, c, v)"
                    " ORDER BY s, c ON CONFLICT (stream, cause) DO UPDATE"
                    " SET version = greatest(r.version, excluded.version)",
                    [stream for stream, _ in taken_in],
                    [cause for _, cause in taken_in],
                    list(taken_in.values()),
                )
                await connection.fetchval(
                    f"SELECT {self._schema}.write_facts({WRITE_ARGUMENTS})",
                    *arguments,
                    timeout=WRITE_SECONDS,
                )
        except asyncpg.PostgresError as error:
            if error.sqlstate == OUT_OF_ORDER and not must:
                return False
            raise RecoveryRefused(f"不相容 does not fit: {error.sqlstate}") from error
        self.regained.facts += len(facts)
        for fact in facts:
            if not fact.attributes["causationid"] and fact.actor.person != SYSTEM.person:
                self.regained.ordered[fact.type] += 1
        return True

    async def _follow(
        self, connection: Connection, facts: Sequence[Recorded]
    ) -> tuple[Write, dict[tuple[str, str], int]]:
        """Everything that these facts bring with them, as it was written with them first."""
        write = Write(facts=list(facts))
        taken_in: dict[tuple[str, str], int] = {}
        by_stream: dict[str, list[Recorded]] = {}
        for recorded in facts:
            by_stream.setdefault(recorded.stream, []).append(recorded)
            taken_in.update(rows_of(recorded))
            fact = recorded.read(self.room.reads)
            for key, delta in self.room.guard_changes(fact, recorded):
                write.guard_deltas[key] = write.guard_deltas.get(key, 0) + delta
            write.own.extend(self.room.own_rows(fact, recorded))
            write.reference.extend(self.room.references(fact, recorded))
        rows = await self._references()
        directory = directory_of(rows)
        for stream, those in by_stream.items():
            kind, _ = self.room.kind_of(stream)
            state = self.room.fold(stream, await self._stored(connection, stream, those[0]))
            self._fold(write, kind, state, those, directory)
        if any(moved_by(row) for row in write.reference):
            rescope(write, directory_of([*rows, *write.reference]), _day(facts[-1]))
        return write, taken_in

    def _fold(
        self,
        write: Write,
        kind: StreamKind,
        state: Any,
        facts: Sequence[Recorded],
        directory: Directory,
    ) -> None:
        stream, subject = facts[0].stream, facts[0].subject
        holder = kind.holder(state) if facts[0].version > 1 else None
        for recorded in facts:
            state = kind.evolve(state, recorded.read(self.room.reads), recorded)
            now = kind.holder(state)
            if now is not None and now != holder:
                holder = now
                write.scope(subject, [holder, *directory.above(holder)], _day(recorded))
                write.tree = directory.moves
        write.show(stream, subject, kind.views(state), None)

    async def _stored(
        self, connection: Connection, stream: str, before: Recorded
    ) -> list[Recorded]:
        if before.version == 1:
            return []
        rows = await connection.fetch(
            f"SELECT envelope, data, hash, traceparent FROM {self._schema}.facts"  # noqa: S608 - a checked name
            " WHERE stream = $1 AND version < $2 ORDER BY version",
            stream,
            before.version,
            timeout=QUERY_SECONDS,
        )
        return [recorded_from_row(row) for row in rows]

    async def _references(self) -> list[ReferenceRow]:
        """As this service's copy has them; what it hears again later moves the tree once more."""
        return await EventStore(self._schema, self.pool, self.pool).reference_rows()

    async def _move_checkpoint(
        self,
        connection: Connection,
        lease: Lease,
        outbox: Outbox,
        state: bus.TopicState,
        unpublished: int | None,
    ) -> None:
        """Up to the end, if the topic has all; else the relay finds out what is there by itself.

        Should that be more than it can hold in memory, it sends those rows again, byte for byte.
        """
        staged = await connection.fetchval("SELECT count(*) FROM staged")
        if unpublished is None:
            position = await connection.fetchval(
                f"SELECT coalesce(max(position), 0) FROM {self._schema}.facts"  # noqa: S608 - a checked name
            )
        elif staged > LARGEST_READ_BACK:
            position = unpublished - 1
        else:
            return
        await connection.execute(
            f"INSERT INTO {self._schema}.checkpoint"  # noqa: S608 - a checked name
            " (name, position, ends, generation, epoch, topic, cluster)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET position = $2,"
            " ends = $3, generation = $4, epoch = $5, topic = $6, cluster = $7",
            outbox.table,
            position,
            orjson.dumps({str(p): end for p, end in sorted(state.ends.items())}).decode(),
            state.generation(),
            lease.epoch,
            outbox.topic,
            await bus.read_cluster(self.bootstrap),
        )

    async def _compare(self, connection: Connection, outbox: Outbox) -> None:
        """A further outbox is back with the facts that filled it; its topic must not have more."""
        known = await checkpoint_of(connection, self._schema, outbox.table)
        ahead: Ahead | None = await first_ahead(
            self.bootstrap,
            outbox.topic,
            connection,
            f"{self._schema}.{outbox.table}",
            service=self._schema,
            starts=known.ends,
        )
        if ahead is not None:
            raise RecoveryRefused(str(ahead))


def _day(fact: Recorded) -> date:
    """The business day on which it was recorded."""
    return fact.recorded_at.astimezone(BUSINESS_ZONE).date()


@dataclass
class InTurn:
    """Lets facts through in the order of their streams; one that comes early waits."""

    next_version: dict[str, int]
    _early: dict[tuple[str, int], Recorded] = field(default_factory=dict)

    def take(self, fact: Recorded) -> list[Recorded]:
        """The facts whose turn has come with this one."""
        self._early[fact.stream, fact.version] = fact
        found: list[Recorded] = []
        while (place := (fact.stream, self.next_version[fact.stream])) in self._early:
            found.append(self._early.pop(place))
            self.next_version[fact.stream] += 1
        return found
