"""The relay of one service: publishes its outboxes, one relay at a time.

Any number may run; the holder of the lease publishes, the others wait for it to end. One lease
serves all outboxes of the service (payout has two), each with a checkpoint of its own. What is
published, and how, is `publisher.py`'s; order without gaps is `tail.py`'s.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from shared.lease import DATABASE_FAILURES, Lease, LeaseLostError
from shared.pools import Pool
from shared.publisher import (
    Alarm,
    OnPublished,
    Outbox,
    OutboxStatus,
    Publisher,
    written_channel,
)

__all__ = ["Alarm", "Outbox", "OutboxStatus", "Relay", "RelayStatus"]

LEASE_NAME: Final = "relay"
# Between two notes to the holder; what is written meanwhile is under the next one.
TELL_SECONDS: Final = 0.02

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """How the relay stands, from memory. Positions are meaningful for the holder only."""

    is_holder: bool
    epoch: int
    outboxes: tuple[OutboxStatus, ...]

    def is_at_rest(self) -> bool:
        """Whether all that this relay has seen committed is published and nothing is wrong."""
        return self.is_holder and all(
            o.published >= o.seen and not o.failure for o in self.outboxes
        )

    def has_work(self) -> bool:
        """Whether it ought to be getting on. What keeps it and has a name is told as an alarm,
        a failure or a blocking writer, and is no better after a restart of the process."""
        return self.is_holder and any(
            o.published < o.seen and not o.failure and not o.blocked_seconds for o in self.outboxes
        )


class Relay:
    """Publishes while it holds the lease.

    The pool is a worker's; each outbox keeps one of its connections and the lease needs another
    now and then, so it is best a small one of the relay's own: (outboxes + 1). `holder` names the
    process to people; a random part is added, so that no restart is taken for its forerunner.
    `on_published(table, rows, position)` is called after each acknowledged chunk and must be quick.
    """

    def __init__(
        self,
        pool: Pool,
        schema: str,
        outboxes: Sequence[Outbox],
        bootstrap: str,
        *,
        partitions: int,
        holder: str,
        lease_seconds: float,
        gather_seconds: float = 0.0,
        on_published: OnPublished | None = None,
    ) -> None:
        self._pool = pool
        self._channel = written_channel(schema)
        self._written = asyncio.Event()
        self._lease_seconds = lease_seconds
        unique = f"{holder}-{secrets.token_hex(4)}"
        self._lease = Lease(pool, schema, LEASE_NAME, unique, lease_seconds)
        self._publishers: list[Publisher] = []
        for outbox in outboxes:
            self._publishers.append(
                Publisher(
                    pool,
                    schema,
                    outbox,
                    self._lease,
                    bootstrap=bootstrap,
                    partitions=partitions,
                    gather_seconds=gather_seconds,
                    on_published=on_published,
                    after=self._publishers[0] if self._publishers else None,
                )
            )

    def wake(self, facts: int = 0) -> None:
        """Look soon, or let the holder know: this process has committed so many facts."""
        if not self._lease.is_held():
            self._written.set()
        for publisher in self._publishers:
            publisher.wake(facts)

    def status(self) -> RelayStatus:
        return RelayStatus(
            self._lease.is_held(),
            self._lease.epoch,
            tuple(publisher.status() for publisher in self._publishers),
        )

    async def _tell_holder(self, seconds: float) -> None:
        """For a while: what this process commits, the relay that holds the lease shall look for.

        After the commit, not in it, where a notification would cost every writer most of its rate;
        one that is lost costs the fact the time until the holder looks by itself.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._written.wait()
            except TimeoutError:
                return
            self._written.clear()
            await self._pool.execute("SELECT pg_notify($1, '')", self._channel)
            await asyncio.sleep(TELL_SECONDS)

    async def run(self) -> None:
        """Until cancelled; gives the lease back then, so that the next relay need not wait."""
        while True:
            try:
                if await self._lease.acquire():
                    log.info("relay holds the lease", epoch=self._lease.epoch)
                    await self._hold()
                # Two that wait must not ask in step for ever.
                share = 0.1 + secrets.randbelow(100) / 1000
                await self._tell_holder(self._lease_seconds * share)
                continue
            except LeaseLostError as error:
                log.warning("relay lost the lease", reason=str(error))
            except DATABASE_FAILURES as error:
                log.warning(
                    "relay can't reach its lease", reason=f"{type(error).__name__}: {error}"
                )
            await asyncio.sleep(self._lease_seconds * (0.1 + secrets.randbelow(100) / 1000))

    async def _hold(self) -> None:
        """Publish while the lease is kept; when any of them ends, all end and start anew.

        No TaskGroup: it passes over a member that ended with a CancelledError which nobody asked
        for, as aiokafka lets out, and the outbox would stand still without a word.
        """
        tasks = [asyncio.create_task(self._lease.keep())]
        tasks += [asyncio.create_task(publisher.run()) for publisher in self._publishers]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with suppress(*DATABASE_FAILURES):
                await self._lease.release()
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                raise error
        log.warning("relay starts anew: a publisher was cancelled from inside")
