"""The pool of connections that a service works with, and how its statements are planned."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

# Every statement of a service finds its rows by an index. A planner with the statistics of an empty
# table would read whole ones, and keep that plan while the table grows: a handful of rows is looked
# up one by one. What is planned once for all values is planned once.
PLANS_BY_INDEX: Final = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",  # a whole index is a whole table
    "enable_material": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class Connections:
    """At most ``size`` connections of one role, opened as they are needed: a pool for short work.

    The driver's own pool wraps each connection anew and gives it back by a task of its own, which
    together cost more than a short statement (docs/decisions/0033-own-pool.md). Here the last one
    used is the next one given. A connection is closed, and another opened in its place, if it
    failed otherwise than by the server's word or comes back within a transaction. Nothing else is
    reset, for nothing here sets its session: what is set is set for one transaction.
    """

    def __init__(
        self,
        url: str,
        size: int,
        *,
        check: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
        **connecting: Any,
    ) -> None:
        """``connecting`` is what ``asyncpg.connect`` takes beside the address; ``check`` is asked
        of each new connection before anybody gets it, and raises if nobody may."""
        self._url = url
        self._check = check
        self._size = size
        self._connecting = connecting
        self._idle: list[asyncpg.Connection] = []
        self._open: set[asyncpg.Connection] = set()
        self._opening = 0
        self._is_closed = False
        # Who waits is handed a connection, or None where one may be opened.
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()

    async def fetch(
        self, query: str, *args: object, timeout: float | None = None
    ) -> list[asyncpg.Record]:
        connection = await self._take()
        is_sound = False
        try:
            rows = await connection.fetch(query, *args, timeout=timeout)
            is_sound = True
        except asyncpg.PostgresError:
            is_sound = True
            raise
        finally:
            self._give_back(connection, is_sound=is_sound)
        return rows

    async def fetchval(self, query: str, *args: object, timeout: float | None = None) -> Any:
        rows = await self.fetch(query, *args, timeout=timeout)
        return rows[0][0] if rows else None

    async def fetchrow(
        self, query: str, *args: object, timeout: float | None = None
    ) -> asyncpg.Record | None:
        rows = await self.fetch(query, *args, timeout=timeout)
        return rows[0] if rows else None

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        async with self.acquire() as connection:
            return await connection.execute(query, *args, timeout=timeout)

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[asyncpg.Connection]:
        """One connection for the whole block; ``timeout`` is for getting it."""
        async with asyncio.timeout(timeout):
            connection = await self._take()
        is_sound = False
        try:
            yield connection
            is_sound = True
        except asyncpg.PostgresError:
            is_sound = True
            raise
        finally:
            self._give_back(connection, is_sound=is_sound)

    def terminate(self) -> None:
        """Close every connection at once, whatever it does."""
        self._is_closed = True
        for connection in self._open:
            connection.terminate()
        self._open.clear()
        self._idle.clear()
        while self._hand_over(None):
            pass

    async def _take(self) -> asyncpg.Connection:
        while not self._is_closed:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
                self._open.discard(connection)
            if len(self._open) + self._opening < self._size:
                return await self._connect()
            handed = await self._wait()
            if handed is not None:
                return handed
        raise asyncpg.InterfaceError("the pool is closed")

    async def _connect(self) -> asyncpg.Connection:
        self._opening += 1
        connection: asyncpg.Connection | None = None
        try:
            connection = await self._new_connection()
            if self._check is not None:
                await self._check(connection)
        except BaseException:
            if connection is not None:
                connection.terminate()
            self._opening -= 1
            self._hand_over(None)
            raise
        self._opening -= 1
        if self._is_closed:
            connection.terminate()
            raise asyncpg.InterfaceError("the pool is closed")
        self._open.add(connection)
        return connection

    async def _new_connection(self) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(self._url, **self._connecting)
        except asyncpg.InternalServerError as error:
            # With its disk full a server that has just started again says so (XX000, "could not
            # write init file"). Nothing was asked of it yet, so it may be asked once more.
            raise asyncpg.CannotConnectNowError("the server could not begin a session") from error

    async def _wait(self) -> asyncpg.Connection | None:
        waiting: asyncio.Future[asyncpg.Connection | None]
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            # What was handed over in the same moment goes to the next one.
            if waiting.done() and not waiting.cancelled():
                self._pass_on(waiting.result())
            raise

    def _give_back(self, connection: asyncpg.Connection, *, is_sound: bool) -> None:
        if not is_sound or connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
            self._open.discard(connection)
            self._pass_on(None)
        else:
            self._pass_on(connection)

    def _pass_on(self, connection: asyncpg.Connection | None) -> None:
        if not self._hand_over(connection) and connection is not None:
            self._idle.append(connection)

    def _hand_over(self, connection: asyncpg.Connection | None) -> bool:
        """To the one who has waited longest; False if nobody waits."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return True
        return False


# What takes a pool takes either.
Pool = asyncpg.Pool | Connections
