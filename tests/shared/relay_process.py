"""A relay in a process of its own, for tests that kill or freeze it.

Prints one line whenever it holds or has lost the lease. Arguments: database URL, bootstrap, topic,
partitions, lease seconds.
"""

import asyncio
import sys

import asyncpg
import structlog

from shared.relay import Outbox, Relay
from tests.shared.outbox_rows import SERVICE


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    url, bootstrap, topic, partitions, lease_seconds = sys.argv[1:]
    pool = await asyncpg.create_pool(url, min_size=2, max_size=2)
    relay = Relay(
        pool,
        SERVICE,
        [Outbox("facts", topic)],
        bootstrap,
        partitions=int(partitions),
        holder="process",
        lease_seconds=float(lease_seconds),
    )
    running = asyncio.create_task(relay.run())
    was_holder = False
    while not running.done():
        status = relay.status()
        if status.is_holder != was_holder:
            was_holder = status.is_holder
            print(f"{'holds' if was_holder else 'lost'} {status.epoch}", flush=True)
        await asyncio.sleep(0.01)
    await running


if __name__ == "__main__":
    asyncio.run(main())
