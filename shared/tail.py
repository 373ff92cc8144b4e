"""Reading an append-only table in order while others write to it, without a gap.

Sequence numbers commit out of order: whoever reads `position > cursor` skips a fact whose writer
drew a lower number and commits later. So nothing is read above the mark, the highest position under
which every writer has ended. It takes three statements, **each on its own**, with a snapshot of its
own, on the primary (one transaction, or statements 2 and 3 in one, skip facts again):

1. the sequence's last value U;
2. the transactions that hold RowExclusiveLock on the table, asked until those seen first are gone.
   A writer takes that lock before it draws its number, and loses it after its commit is visible;
3. the rows up to U; when it answers, they are on disk (`migrations/log/0002_flushed.sql`).

No writer waits for a reader. A transaction that stays open stops the mark, and is named, not
passed over: what it will commit is not known.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

FIRST_POLL_SECONDS: Final = 0.001
LONGEST_POLL_SECONDS: Final = 0.02
QUERY_SECONDS: Final = 30.0
LARGEST_CHUNK_BYTES: Final = 4 * 1024 * 1024
Connection = asyncpg.Connection | PoolConnectionProxy

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")

_HOLDERS: Final = (
    "SELECT virtualtransaction, pid FROM pg_locks"
    " WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relation = $1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# The last row may pass the byte limit, or a single large one could never be read.
_ROWS: Final = (
    "SELECT position, stream, version, subject, envelope, data, hash, traceparent FROM ("
    "SELECT *, sum(octet_length(data) + octet_length(envelope)) OVER before AS bytes_before"
    " FROM (SELECT * FROM {table} WHERE position > $1 AND position <= $2"
    " ORDER BY position LIMIT $3) AS next"
    " WINDOW before AS"
    " (ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS measured"
    " WHERE (bytes_before IS NULL OR bytes_before < $4) AND (SELECT {schema}.flushed())"
    " ORDER BY position"
)
_THOSE_HOLDERS: Final = _HOLDERS + " AND virtualtransaction = ANY ($2)"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows in order of position; everything up to and with `cursor` has been read."""

    rows: list[asyncpg.Record]
    cursor: int


class Tail:
    """One reader of one table. The connection is the reader's own and not in a transaction.

    The fields tell how things stand, at any time and from memory: `seen` is the last position that
    was drawn, `mark` the position below which nothing can appear any more, `blocking_pid` the
    server process whose transaction has kept the mark from moving since `blocked_since`
    (seconds of `time.monotonic`).
    """

    def __init__(
        self, connection: Connection, schema: str, table: str, sequence: str, oid: int
    ) -> None:
        self._connection = connection
        self._oid = oid
        self._last_value = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"  # noqa: S608 - as the server quotes it
        self._rows = _ROWS.format(table=f"{schema}.{table}", schema=schema)
        self.seen = 0
        self.mark = 0
        self.blocked_since: float | None = None
        self.blocking_pid: int | None = None

    @classmethod
    async def open(cls, connection: Connection, schema: str, table: str) -> Tail:
        """Raises ValueError for a name that needs quotes, or a table without such a sequence."""
        if not (_NAME.fullmatch(schema) and _NAME.fullmatch(table)):
            raise ValueError(f"{schema}.{table} is no plain name")
        name = f"{schema}.{table}"
        row = await connection.fetchrow(
            "SELECT pg_get_serial_sequence($1, 'position') AS sequence,"
            " $1::text::regclass::oid AS oid",
            name,
            timeout=QUERY_SECONDS,
        )
        if row is None or row["sequence"] is None:
            raise ValueError(f"{name} has no position of its own")
        return cls(connection, schema, table, row["sequence"], row["oid"])

    async def advance(self) -> int:
        """Move the mark as far as the writers of this moment allow, waiting for them to end."""
        fetch = self._connection.fetch
        seen = await self._connection.fetchval(self._last_value, timeout=QUERY_SECONDS)
        self.seen = int(seen)
        if self.seen <= self.mark:
            return self.mark
        holders = await fetch(_HOLDERS, self._oid, timeout=QUERY_SECONDS)
        first = [row["virtualtransaction"] for row in holders]
        pause = FIRST_POLL_SECONDS
        try:
            while holders:
                if self.blocked_since is None:
                    self.blocked_since = time.monotonic()
                self.blocking_pid = holders[0]["pid"]
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_POLL_SECONDS)
                holders = await fetch(_THOSE_HOLDERS, self._oid, first, timeout=QUERY_SECONDS)
        finally:
            self.blocked_since = self.blocking_pid = None
        self.mark = int(seen)
        return self.mark

    async def read(
        self, cursor: int, limit: int = 1_000, largest_bytes: int = LARGEST_CHUNK_BYTES
    ) -> Chunk:
        """The next rows above the cursor and up to the mark; at least one if there is one."""
        rows = await self._connection.fetch(
            self._rows, cursor, self.mark, limit, largest_bytes, timeout=QUERY_SECONDS
        )
        # Positions are lost with writes that failed, so only an empty answer ends at the mark.
        return Chunk(rows, rows[-1]["position"] if rows else max(cursor, self.mark))


async def read_after_mark(
    connection: Connection, schema: str, table: str, cursor: int, limit: int = 1_000
) -> Chunk:
    """One mark and the next rows after the cursor: the whole reader, for those who keep no Tail."""
    tail = await Tail.open(connection, schema, table)
    await tail.advance()
    return await tail.read(cursor, limit)
