"""Does a topic have facts that the log behind it lacks?

It has if the database was restored to an earlier moment, or lost its last writes to a standby that
was behind. Whoever would write then would state other facts under the same versions, so it is asked
before a service opens its doors, and before a topic is thrown away. Only the topic's records after
an offset are read, and nothing of them is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import orjson
from aiokafka import ConsumerRecord

from shared import bus
from shared.chain import hash_holds, place_of
from shared.fact import Recorded
from shared.log_reader import record_of
from shared.tail import QUERY_SECONDS, Connection

COMPARED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Ahead:
    """The first record found that the log has not (`differs`: has otherwise)."""

    topic: str
    stream: str
    version: int
    differs: bool

    def __str__(self) -> str:
        kind = "forked" if self.differs else "ahead"
        return f"{self.topic}: {kind} at {self.stream} {self.version}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the relay noted last: published up to `position`, the topic then ending at `ends`."""

    position: int = 0
    generation: str = ""
    ends: Mapping[int, int] = field(default_factory=dict)
    topic: str = ""


async def checkpoint_of(connection: Connection, schema: str, table: str) -> Checkpoint:
    """The checkpoint of an outbox; of one that no relay has served yet, the beginning."""
    row = await connection.fetchrow(
        f"SELECT position, generation, ends, topic FROM {schema}.checkpoint WHERE name = $1",  # noqa: S608 - a checked name
        table,
        timeout=QUERY_SECONDS,
    )
    if row is None:
        return Checkpoint()
    ends = {int(p): int(end) for p, end in orjson.loads(row["ends"]).items()}
    return Checkpoint(row["position"], row["generation"], ends, row["topic"])


async def first_ahead(
    bootstrap: str,
    topic: str,
    connection: Connection,
    table: str,
    *,
    service: str,
    starts: Mapping[int, int] | None = None,
) -> Ahead | None:
    """The first of the service's facts in the topic that ``table`` has not, or has otherwise.

    ``table`` is qualified, ``starts`` the offsets by partition from which to look. What no relay of
    the service can have sent is passed over: `bangfu verify` names it. Raises bus.BusError.
    """
    async for facts in facts_after(bootstrap, topic, service, starts or {}):
        found = await compare(connection, table, topic, facts)
        if found is not None:
            return found
    return None


async def compare(
    connection: Connection, table: str, topic: str, facts: Sequence[Recorded]
) -> Ahead | None:
    """The first of these that the table has not, or under another hash."""
    row: asyncpg.Record | None = await connection.fetchrow(
        "SELECT n.stream, n.version, f.hash IS NOT NULL AS differs"  # noqa: S608 - a checked name
        " FROM unnest($1::text[], $2::int[], $3::text[])"
        " WITH ORDINALITY AS n(stream, version, hash, ord)"
        f" LEFT JOIN {table} f ON f.stream = n.stream AND f.version = n.version"
        " WHERE f.hash IS DISTINCT FROM n.hash ORDER BY n.ord LIMIT 1",
        [fact.stream for fact in facts],
        [fact.version for fact in facts],
        [fact.hash for fact in facts],
        timeout=QUERY_SECONDS,
    )
    return None if row is None else Ahead(topic, row["stream"], row["version"], row["differs"])


async def facts_after(
    bootstrap: str, topic: str, service: str, starts: Mapping[int, int]
) -> AsyncIterator[list[Recorded]]:
    """The service's own facts of the topic, by the hundred, in order within a partition."""
    waiting: list[Recorded] = []
    async with aclosing(bus.read_records(bootstrap, topic, starts=starts)) as records:
        async for record in records:
            fact = own_fact(record, service)
            if fact is not None:
                waiting.append(fact)
            if len(waiting) == COMPARED_AT_ONCE:
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def own_fact(record: ConsumerRecord, service: str) -> Recorded | None:
    """What the record says, if its hash holds and it names the service as its source."""
    if bus.is_birth(record):
        return None
    recorded = record_of(record)
    if place_of(recorded) is None or not hash_holds(recorded):
        return None
    return recorded if recorded.attributes.get("source", "").endswith(f"/{service}") else None
