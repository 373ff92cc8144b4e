"""Is the database under a running process still the one that it knew, and no earlier?

A process keeps what it has read: states, the tree, how far it has heard. If the database is put
back to an earlier moment under it, or another takes its place that lacks the last writes, all of
that is of a future that is gone: it would decide on it, and listen on behind facts that the log
has lost. No database goes back without every connection to it being cut, so each new connection
asks first. What a start has to compare with Kafka is `start.py`'s.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from shared.presence import BeingRecovered, attend
from shared.tail import QUERY_SECONDS

# The end of the log is the flushed one: what a crash may take back was never told to anybody.
_QUERY: Final = (
    "SELECT left(pg_walfile_name(l.flushed), 8) AS timeline,"
    " (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::bigint AS database,"
    " to_regclass($1)::oid::bigint AS facts, (l.flushed - '0/0'::pg_lsn)::bigint AS flushed"
    " FROM (SELECT pg_current_wal_flush_lsn() AS flushed) AS l"
)


class WentBack(asyncpg.InterfaceError):
    """A connection to another moment of the database than this process knew; nothing was asked."""


class Moment:
    """The latest moment at which this process has seen the database of one service."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._facts = f"{schema}.facts"
        self._known: asyncpg.Record | None = None
        self._lost = asyncio.Event()
        self.difference = ""

    async def meet(self, connection: Any) -> None:
        """Before anybody gets a new connection. Raises WentBack or BeingRecovered.

        A process that finds its log being recovered has read what is no longer so, and ends; one
        that has only begun may begin again.
        """
        try:
            await attend(connection, self._schema)
        except BeingRecovered:
            if self._known is not None:
                self.difference = self.difference or "bangfu recover"
                self._lost.set()
            raise
        await self.look(connection)

    async def look(self, connection: Any) -> None:
        """Ask a connection or a pool, and remember. Raises WentBack, from then on always."""
        # As of before the question: of two that ask at once the later one may be answered first.
        known = self._known
        now = await connection.fetchrow(_QUERY, self._facts, timeout=QUERY_SECONDS)
        if known is not None and not self.difference:
            self.difference = _difference(known, now)
        if self.difference:
            self._lost.set()
            raise WentBack(self.difference)
        if self._known is None or self._known["flushed"] < now["flushed"]:
            self._known = now

    async def lost(self) -> str:
        """Wait until the database is another one; how it differs, in a few words."""
        await self._lost.wait()
        return self.difference


def _difference(known: asyncpg.Record, now: asyncpg.Record) -> str:
    if known["timeline"] != now["timeline"]:
        return f"timeline {known['timeline']}, now {now['timeline']}"
    for name in ("database", "facts"):
        if known[name] != now[name]:
            return f"{name} made anew"
    if now["flushed"] < known["flushed"]:
        return f"{known['flushed'] - now['flushed']} bytes of its log are gone"
    return ""
