"""One at a time: a lease row whose epoch fences whoever has lost it without knowing.

Time is the database server's, so the clocks of the machines need not agree. A holder stops at its
own reckoning of the end, which is never later: it counts from before it asked. A frozen process
finds out when it wakes, by the clock that also runs while a machine sleeps; whatever it still tries
to write with its old epoch is refused by the row.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import asyncpg

from shared.pools import Pool

RENEWALS_PER_LEASE: Final = 3
RETRY_SECONDS: Final = 0.2

# What a lost or restarted database looks like from here, and passes. The client's internal error is
# one: a connection that the server has just ended is handed out before asyncpg knows.
DATABASE_FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError is one
)


class LeaseLostError(Exception):
    """Another holds the lease, or may by now."""


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """A row of the table `lease`. `holder` is unique to a process, not to a machine's name.

    Two processes under one holder would still be told apart by the epoch.
    """

    def __init__(self, pool: Pool, schema: str, name: str, holder: str, seconds: float) -> None:
        self._pool = pool
        self._table = f"{schema}.lease"
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._ends = 0.0
        self.epoch = 0

    def is_held(self) -> bool:
        return self.epoch > 0 and _now() < self._ends

    def check(self) -> None:
        """Raise LeaseLostError unless the lease is certainly still ours."""
        if not self.is_held():
            raise LeaseLostError(f"{self._name}: the lease of {self._holder} has ended")

    async def acquire(self) -> bool:
        """Take the lease if it is free or has run out; its epoch is then one higher."""
        asked = _now()
        epoch = await self._pool.fetchval(
            f"INSERT INTO {self._table} AS l (name, holder, epoch, expires_at)"  # noqa: S608 - a checked name
            " VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 second')"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1,"
            " expires_at = excluded.expires_at WHERE l.expires_at < clock_timestamp()"
            " RETURNING epoch",
            self._name,
            self._holder,
            self._seconds,
            timeout=self._seconds,
        )
        if epoch is None:
            return False
        self.epoch = int(epoch)
        self._ends = asked + self._seconds
        return True

    async def take_over(self) -> float:
        """Take the lease whoever holds it; the seconds until that one's time is certainly over.

        For an operator's command. The former holder finds out at its next renewal, and whatever it
        still writes under its old epoch is refused; but wait for the answered time before doing
        anything outside the database that it might do, too.
        """
        asked = _now()
        # Two statements: in one, the row would be read after it was changed.
        async with self._pool.acquire(timeout=self._seconds) as one, one.transaction():
            left = await one.fetchval(
                "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8"  # noqa: S608 - a checked name
                f" FROM {self._table} WHERE name = $1 AND expires_at > clock_timestamp()"
                " FOR UPDATE",
                self._name,
            )
            self.epoch = await one.fetchval(
                f"INSERT INTO {self._table} AS l (name, holder, epoch, expires_at)"  # noqa: S608 - a checked name
                " VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 second')"
                " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1,"
                " expires_at = excluded.expires_at RETURNING epoch",
                self._name,
                self._holder,
                self._seconds,
            )
        self._ends = asked + self._seconds
        return float(left or 0.0)

    async def keep(self) -> None:
        """Renew until cancelled. Raises LeaseLostError, at the latest when the lease ends."""
        while True:
            await asyncio.sleep(self._seconds / RENEWALS_PER_LEASE)
            while True:
                self.check()
                try:
                    await self._renew()
                    break
                except DATABASE_FAILURES:
                    # The database may be back before the lease ends.
                    await asyncio.sleep(min(RETRY_SECONDS, self._seconds / 10))

    async def _renew(self) -> None:
        asked = _now()
        async with asyncio.timeout(max(0.0, self._ends - asked)):
            renewed = await self._pool.fetchval(
                f"UPDATE {self._table} SET"  # noqa: S608 - a checked name
                " expires_at = clock_timestamp() + $4 * interval '1 second'"
                " WHERE name = $1 AND holder = $2 AND epoch = $3 RETURNING true",
                self._name,
                self._holder,
                self.epoch,
                self._seconds,
            )
        if not renewed:
            self.epoch = 0
            raise LeaseLostError(f"{self._name}: another has taken the lease of {self._holder}")
        self._ends = asked + self._seconds

    async def release(self) -> None:
        """Give it back, so that the next one need not wait. Of no effect if it is another's."""
        epoch, self.epoch = self.epoch, 0
        if epoch:
            await self._pool.execute(
                f"UPDATE {self._table} SET expires_at = '-infinity'"  # noqa: S608 - a checked name
                " WHERE name = $1 AND holder = $2 AND epoch = $3",
                self._name,
                self._holder,
                epoch,
                timeout=self._seconds,
            )
