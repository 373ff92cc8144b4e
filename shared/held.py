"""The table ``held`` of one service, as its own processes read it: queues by key, and their lock.

Every process that takes a key's queue further (an arrival, a sweep, what an operator asked) holds
the lock on (consumer, key) from reading the queue to storing what became of it; a key of which
nothing is held needs none. Should the lock's connection be cut, the checks in the write still
stand: a mark that moved, or a held record that another took, refuses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from shared.arrival import (
    QUARANTINED,
    WAITING_BEHIND,
    WAITING_FOR_BUILD,
    Arrival,
    Place,
)
from shared.event_store import EventStore

SWEPT_AT_ONCE: Final = 500

# Sorted, so that two who want several never wait in a circle; OFFSET keeps the order.
LOCK_QUEUES: Final = """
SELECT pg_advisory_xact_lock(hash) FROM (
    SELECT DISTINCT hashtextextended('bangfu held ' || $1 || ' ' || key, 0) AS hash
    FROM unnest($2::text[]) AS u(key) ORDER BY hash OFFSET 0) sorted
"""

# What an operator has asked of a held record, of which ``Arrival.of_held`` reads it.
DECIDED_ON: Final = (
    "d.reason AS discard_reason, d.operator, d.skip_version, d.fact_id, d.stream AS discard_stream"
)


def held_and_discards(schema: str) -> str:
    """The held records ``h`` of a schema, each with what was asked of it, ``d``."""
    return f"{schema}.held h LEFT JOIN {schema}.discards d ON d.held_id = h.held_id"


@dataclass(frozen=True, slots=True)
class Group:
    """Held records of one reason (and, where they wait for a build, of one type and version)."""

    reason: str
    build: str
    # On how many of them an operator has decided.
    decided: int
    records: int
    seconds: float


class HeldQueues:
    """Reads and locks; what becomes of the records is stored by the hearing's one write."""

    def __init__(self, store: EventStore) -> None:
        self._pool = store.worker
        self._schema = store.schema
        # The key after which the next sweep goes on; None before the first, for a record may come
        # without a key, and is held under the empty one.
        self._swept_to: str | None = None

    @asynccontextmanager
    async def locked(self, keys: Collection[str]) -> AsyncIterator[None]:
        """Hold the queues of these keys, against every other process of this service."""
        if not keys:
            yield
            return
        # A transaction of its own, so that nothing can forget to let go; it touches no table.
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK_QUEUES, self._schema, list(keys))
            yield

    async def of(self, keys: Collection[str]) -> list[Arrival]:
        """What is held of these keys, the oldest first, with what was asked of it."""
        if not keys:
            return []
        s = self._schema
        rows = await self._pool.fetch(
            f"SELECT h.*, {DECIDED_ON} FROM {held_and_discards(s)} "  # noqa: S608 - the schema is the room's own name
            "WHERE h.key = ANY ($1) ORDER BY h.held_id",
            list(keys),
        )
        return [Arrival.of_held(row) for row in rows]

    async def discarded(self, places: Sequence[Place]) -> set[Place]:
        """Which of these records were put aside before; it counts should they come again."""
        topics, partitions, offsets, generations = zip(*places, strict=True)
        rows = await self._pool.fetch(
            "SELECT topic, partition, record_offset, generation "  # noqa: S608 - as above
            f"FROM {self._schema}.discards JOIN unnest($1::text[], $2::int[], $3::bigint[], "
            "$4::text[]) AS u(topic, partition, record_offset, generation) "
            "USING (topic, partition, record_offset, generation) "
            "WHERE carried_out_at IS NOT NULL",
            topics,
            partitions,
            offsets,
            generations,
        )
        return {Place(*row) for row in rows}

    async def groups(self) -> list[Group]:
        """All that is held, by reason."""
        s = self._schema
        rows: list[asyncpg.Record] = await self._pool.fetch(
            "SELECT h.reason, CASE WHEN h.reason = $1 THEN h.waits_for ELSE '' END AS build, "  # noqa: S608 - as above
            "count(*) FILTER (WHERE h.released OR d.held_id IS NOT NULL) AS decided, "
            "count(*) AS records, "
            "extract(epoch FROM clock_timestamp() - min(h.held_since))::float8 AS seconds "
            f"FROM {held_and_discards(s)} GROUP BY 1, 2",
            WAITING_FOR_BUILD,
        )
        return [Group(*row) for row in rows]

    async def keys_to_sweep(self, known_builds: Collection[str]) -> list[str]:
        """The next keys by name, round and round: many that stay keep none from its turn.

        What waits for a build is tried by one that knows it, whoever held it and whenever.
        """
        s = self._schema
        rows = await self._pool.fetch(
            "WITH asked AS (SELECT h.key, h.reason, "  # noqa: S608 - as above
            "h.released OR d.held_id IS NOT NULL AS decided, h.reason = ANY ($2) "
            "OR (h.reason = $3 AND NOT h.waits_for = ANY ($4)) AS stays "
            f"FROM {held_and_discards(s)}) "
            "SELECT DISTINCT key FROM asked h WHERE coalesce(key > $1, true) "
            "AND (decided OR (NOT stays AND (reason <> $5 OR NOT EXISTS (SELECT 1 FROM asked b "
            "WHERE b.key = h.key AND b.stays AND NOT b.decided)))) ORDER BY key LIMIT $6",
            self._swept_to,
            list(QUARANTINED),
            WAITING_FOR_BUILD,
            list(known_builds),
            WAITING_BEHIND,
            SWEPT_AT_ONCE,
        )
        self._swept_to = rows[-1]["key"] if len(rows) == SWEPT_AT_ONCE else None
        return [row["key"] for row in rows]
