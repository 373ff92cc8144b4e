"""Pools of connections, and what is asked of a connection when it comes back to one."""

from __future__ import annotations

import asyncpg


async def keep_as_it_is(_connection: asyncpg.Connection) -> None:
    """Nothing, for nothing here sets its session; what is set is set for one transaction.

    The library itself rolls back what is open. Its own reset (advisory locks, cursors, listeners,
    settings: none of them used) would cost a round trip after each use of a connection.
    """
