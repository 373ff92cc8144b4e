"""One service's store as of one moment: a REPEATABLE READ transaction and questions to it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import asyncpg

from shared.bus import partition_of
from shared.event_store import recorded_from_row
from shared.fact import Recorded
from shared.rebuild.parts import Wanted
from shared.rebuild.shadow import Shadow
from shared.store_reader import row_pages

QUERY_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05


class StoredStream(NamedTuple):
    """A stream of the store: its subject and its last version."""

    subject: str
    version: int


class Stored(NamedTuple):
    """A fact of the store, and in which names its row contradicts its envelope."""

    recorded: Recorded
    position: int
    contradiction: str


@dataclass
class Snapshot:
    """What stands in one service's schema; everything asked of it is of the same moment."""

    schema: str
    connection: asyncpg.Connection
    streams: dict[str, StoredStream] = field(default_factory=dict)
    position: int = 0
    next_offsets: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    held: set[tuple[str, int, int]] = field(default_factory=set)
    # Heard facts that will never have an effect here, by stream and version.
    discarded: set[tuple[str, int]] = field(default_factory=set)
    watermarks: int = 0

    async def look(self) -> None:
        """Note heads, positions, offsets and what is held."""
        s, fetch = self.schema, self.connection.fetch
        rows = await fetch(
            f"SELECT stream, subject, max(version) AS version FROM {s}.facts "  # noqa: S608 - the schema is the room's own name
            "GROUP BY stream, subject"
        )
        self.streams = {r["stream"]: StoredStream(r["subject"], r["version"]) for r in rows}
        self.position = await self.connection.fetchval(
            f"SELECT coalesce(max(position), 0) FROM {s}.facts"  # noqa: S608 - as above
        )
        rows = await fetch(f"SELECT topic, partition, generation, next_offset FROM {s}.offsets")  # noqa: S608 - as above
        self.next_offsets = {
            (r["topic"], r["partition"]): (r["generation"], r["next_offset"]) for r in rows
        }
        # What was put aside need not have been passed by a mark: it may have been unreadable.
        rows = await fetch(
            f"SELECT topic, partition, record_offset FROM {s}.held UNION ALL "  # noqa: S608 - as above
            f"SELECT topic, partition, record_offset FROM {s}.discards"
        )
        self.held = {(r["topic"], r["partition"], r["record_offset"]) for r in rows}
        rows = await fetch(
            f"SELECT stream, version FROM {s}.discards WHERE carried_out_at IS NOT NULL"  # noqa: S608 - as above
        )
        self.discarded = {(r["stream"], r["version"]) for r in rows}
        self.watermarks = await self.connection.fetchval(f"SELECT count(*) FROM {s}.watermarks")  # noqa: S608 - as above

    def by_partition(self, partitions: int) -> dict[int, list[str]]:
        """The streams, by the partition in which their record key stands."""
        found: dict[int, list[str]] = defaultdict(list)
        for stream, stored in self.streams.items():
            found[partition_of(stored.subject, partitions)].append(stream)
        return found

    async def facts(self, streams: Sequence[str]) -> dict[str, list[Stored]]:
        """The facts of these streams in order."""
        facts = row_pages(
            self.connection,
            "SELECT position, stream, version, fact_id, type, subject, "  # noqa: S608 - as above
            "envelope, data, hash, traceparent "
            f"FROM {self.schema}.facts WHERE stream = ANY ($1) ORDER BY stream, version",
            list(streams),
        )
        found: dict[str, list[Stored]] = {stream: [] for stream in streams}
        async with aclosing(facts) as pages:
            async for rows in pages:
                for row in rows:
                    recorded, contradiction = _recorded(row)
                    found[row["stream"]].append(Stored(recorded, row["position"], contradiction))
        return found

    async def marks(self, streams: Sequence[str]) -> dict[str, int]:
        """How far these heard streams were taken in."""
        rows = await self.connection.fetch(
            f"SELECT stream, version FROM {self.schema}.watermarks WHERE stream = ANY ($1)",  # noqa: S608 - as above
            list(streams),
        )
        return {row["stream"]: row["version"] for row in rows}

    async def guards(self) -> dict[str, int]:
        rows = await self.connection.fetch(f"SELECT key, value FROM {self.schema}.guards")  # noqa: S608 - as above
        return {row["key"]: row["value"] for row in rows}

    async def reference(self) -> dict[str, tuple[str, str]]:
        """Kind and document of each reference row, by key."""
        rows = await self.connection.fetch(
            f"SELECT key, kind, document FROM {self.schema}.reference"  # noqa: S608 - as above
        )
        return {row["key"]: (row["kind"], row["document"]) for row in rows}


def _recorded(row: asyncpg.Record) -> tuple[Recorded, str]:
    """The fact of a row, and in which names the row contradicts it.

    An envelope that is no object of texts was written by somebody else: the row's columns stand
    for it, so that what is wrong is told by stream and version, as everything else is.
    """
    try:
        recorded = recorded_from_row(row)
        texts = recorded.attributes.values()
        if all(isinstance(text, str) for text in texts):
            return recorded, _contradiction(row, recorded.attributes)
    except (ValueError, AttributeError):
        pass
    attributes = {
        "stream": row["stream"],
        "streamversion": str(row["version"]),
        "id": row["fact_id"],
        "type": row["type"],
        "subject": row["subject"],
    }
    recorded = Recorded(attributes, row["hash"], row["data"], row["traceparent"])
    return recorded, "envelope: no object of texts"


def _contradiction(row: asyncpg.Record, attributes: Mapping[str, str]) -> str:
    said = (
        attributes.get("stream"),
        attributes.get("streamversion"),
        attributes.get("id"),
        attributes.get("type"),
        attributes.get("subject"),
    )
    held = (row["stream"], str(row["version"]), row["fact_id"], row["type"], row["subject"])
    if said == held:
        return ""
    names = ("stream", "version", "fact_id", "type", "subject")
    return ", ".join(n for n, a, b in zip(names, said, held, strict=True) if a != b)


@asynccontextmanager
async def open_shadow(
    postgres_url: str, snapshot: Snapshot, wanted: Wanted
) -> AsyncIterator[Shadow]:
    """Empty shadow tables in a session of their own, which sees the same moment."""
    exported = await snapshot.connection.fetchval("SELECT pg_export_snapshot()")
    connection = await _connection(postgres_url)
    try:
        shadow = Shadow(connection, snapshot.schema, wanted)
        await shadow.create()
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{exported}'")
            yield shadow
    finally:
        await connection.close()


@asynccontextmanager
async def open_snapshot(postgres_url: str, schema: str) -> AsyncIterator[Snapshot]:
    """A snapshot for as long as the block runs. The URL is an operator's, who sees all rows."""
    connection = await _connection(postgres_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = Snapshot(schema, connection)
            await snapshot.look()
            yield snapshot
    finally:
        await connection.close()


@dataclass(frozen=True)
class Place:
    """Where an installation's database and log are, and how long to wait for the relays."""

    postgres_url: str
    bootstrap: str
    prefix: str
    patience_seconds: float


async def published_up_to(
    place: Place, positions: Mapping[str, int], outbox: str = "facts"
) -> None:
    """Wait until each service's relay has published its position; no longer than patience lasts.

    What is not out by then shows as missing in Kafka.
    """
    connection = await _connection(place.postgres_url)
    try:
        deadline = time.monotonic() + place.patience_seconds
        for schema, position in positions.items():
            while time.monotonic() < deadline:
                reached = await connection.fetchval(
                    f"SELECT position FROM {schema}.checkpoint WHERE name = $1",  # noqa: S608 - as above
                    outbox,
                )
                if (reached or 0) >= position:
                    break
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()


async def heads_now(
    postgres_url: str, schema: str, streams: Sequence[str], outbox: str = "facts"
) -> dict[str, int]:
    """The last versions of these streams as they are now, after the snapshot."""
    connection = await _connection(postgres_url)
    try:
        rows = await connection.fetch(
            f"SELECT stream, max(version) AS version FROM {schema}.{outbox} "  # noqa: S608 - as above
            "WHERE stream = ANY ($1) GROUP BY stream",
            list(streams),
        )
        return {row["stream"]: row["version"] for row in rows}
    finally:
        await connection.close()


async def _connection(postgres_url: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        postgres_url,
        command_timeout=QUERY_SECONDS,
        timeout=10,
        server_settings={"application_name": "bangfu-verify"},
    )
