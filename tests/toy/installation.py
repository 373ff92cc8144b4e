"""Both toy rooms with real schemas, real topics and a real relay, all in this process.

What beta hears is brought by hand from Kafka to its `Hearing`, so that a test decides when.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.arrival import Arrival
from shared.bus import create_topic, topic_name
from shared.calendar import BusinessCalendar
from shared.clock import RealClock
from shared.desk import Desk, Done, Key
from shared.event_store import EventStore
from shared.fact import Actor, Origin
from shared.hearing import Hearing
from shared.log_reader import open_log
from shared.migrations import Passwords, migrate, role_name, role_url
from shared.relay import Outbox, Relay
from shared.room import Command, Refusal, Room, Tell
from shared.workspace import Cause
from tests.toy import alpha, beta

LOG = Path(__file__).resolve().parents[2] / "shared" / "migrations" / "log"
PARTITIONS = 3
SOMEBODY = Actor("somebody", "handler", "city")


@dataclass
class ToyService:
    """One toy room at work."""

    room: Room
    desk: Desk
    hearing: Hearing
    relay: Relay

    async def tell(self, kind: str, identity: str, command: Command) -> Done | Refusal:
        key = Key(str(uuid.uuid4()), "0" * 64)
        return await self.desk.handle(Tell(kind, identity, command), SOMEBODY, None, key, Cause())


@dataclass
class ToyInstallation:
    """Alpha, which counts, and beta, which mirrors what it hears of alpha."""

    postgres_url: str
    bootstrap: str
    prefix: str
    alpha: ToyService
    beta: ToyService

    @property
    def rooms(self) -> list[Room]:
        return [self.alpha.room, self.beta.room]

    async def publish(self) -> None:
        """Run both relays until everything is out."""
        for service in (self.alpha, self.beta):
            last = await service.desk.store.last_position()
            task = asyncio.create_task(service.relay.run())
            try:
                # The checkpoint follows what was acknowledged.
                async with asyncio.timeout(20):
                    while await self._checkpoint(service) < last:  # noqa: ASYNC110 - the relay's own thread of work
                        await asyncio.sleep(0.02)
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _checkpoint(self, service: ToyService) -> int:
        found = await service.desk.store.worker.fetchval(
            f"SELECT position FROM {service.room.name}.checkpoint WHERE name = 'facts'"
        )
        return int(found or 0)

    async def hear(self) -> None:
        """Let beta take in whatever alpha's topic has; repeats change nothing."""
        topic = topic_name(self.prefix, "alpha")
        async with open_log(self.bootstrap, [topic]) as reader:
            chosen = [(topic, n) for n in range(reader.partitions[topic])]
            arrivals = [
                Arrival(
                    r.topic,
                    r.partition,
                    r.offset,
                    reader.generations[r.topic],
                    r.key.decode(),
                    tuple(r.headers),
                    r.value,
                )
                async for records in reader.read(chosen)
                for r in records
            ]
        await self.beta.hearing.take(arrivals)

    async def damage(self, statement: str) -> None:
        """Change a table behind everybody's back, as an operator could."""
        connection = await asyncpg.connect(self.postgres_url)
        try:
            await connection.execute(f"SET session_replication_role = replica; {statement}")
        finally:
            await connection.close()


@asynccontextmanager
async def toy_installation(
    postgres_url: str, bootstrap: str, listener: Room | None = None
) -> AsyncIterator[ToyInstallation]:
    """``listener`` takes beta's place."""
    prefix = f"test-{secrets.token_hex(4)}."
    async with AsyncExitStack() as stack:
        made = {}
        for room in (alpha.room(), listener or beta.room()):
            passwords = Passwords(secrets.token_urlsafe(12), secrets.token_urlsafe(12))
            await migrate(postgres_url, room.name, passwords, [LOG])
            await create_topic(bootstrap, topic_name(prefix, room.name), PARTITIONS)
            worker_url = role_url(
                postgres_url, role_name(postgres_url, room.name, "worker"), passwords.worker
            )
            api_url = role_url(
                postgres_url, role_name(postgres_url, room.name, "api"), passwords.api
            )
            worker = await stack.enter_async_context(asyncpg.create_pool(worker_url, min_size=1))
            office = await stack.enter_async_context(asyncpg.create_pool(api_url, min_size=1))
            desk = Desk(
                room,
                EventStore(room.name, worker, office),
                clock=RealClock(),
                origin=Origin(f"test/{room.name}", "test"),
                calendar=BusinessCalendar(),
                mac=lambda _domain, _text: "",
            )
            relay = Relay(
                worker,
                room.name,
                [Outbox("facts", topic_name(prefix, room.name))],
                bootstrap,
                partitions=PARTITIONS,
                holder=room.name,
                lease_seconds=2.0,
            )
            made[room.name] = ToyService(room, desk, Hearing(desk), relay)
        yield ToyInstallation(postgres_url, bootstrap, prefix, made["alpha"], made["beta"])
