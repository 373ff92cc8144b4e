"""Does anything run on a service's log? Each connection of its processes says so, by a lock.

A recovery needs that lock alone, so it begins beside no process, however briefly that has been
there, and no process begins beside it. The lock ends with its connection, whatever becomes of the
process. It costs a statement for each new connection and nothing afterwards.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from shared.tail import QUERY_SECONDS

_LOCK: Final = "hashtextextended('bangfu runs ' || $1, 0)"


class BeingRecovered(asyncpg.InterfaceError):
    """`bangfu recover` is at work on the log: nothing may be read of it, to act on it later."""


async def attend(connection: Any, schema: str) -> None:
    """Be seen as long as the connection lasts. Raises BeingRecovered."""
    query = f"SELECT pg_try_advisory_lock_shared({_LOCK})"
    if not await connection.fetchval(query, schema, timeout=QUERY_SECONDS):
        raise BeingRecovered(schema)


async def is_alone(connection: Any, schema: str) -> bool:
    """Whether no process runs; then none begins, either, as long as the connection lasts."""
    query = f"SELECT pg_try_advisory_lock({_LOCK})"
    return bool(await connection.fetchval(query, schema, timeout=QUERY_SECONDS))
