"""Killing in a window: freeze the process, look from outside where it stands, then kill or wake it.

Between an acknowledgement and the checkpoint, or between the commit and the offsets, lie a few
milliseconds. A frozen process stays in its window for as long as one looks, so what the look found
is what the kill hit.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import Any, Final

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from shared.bus import topic_name
from tests.faults.disturbances import Disturbance, Disturber

LONGEST_RUN_SECONDS: Final = 0.006
# No wave of a day lasts longer; what was not caught today is tried again tomorrow.
HUNT_SECONDS: Final = 8.0

# What a look found, in words; empty if the process is not in the window.
Look = Callable[[], Awaitable[str]]


class Looking:
    """Connections of our own to both servers, which see what the frozen process has done."""

    def __init__(
        self, postgres: asyncpg.Connection, consumer: Any, admin: Any, prefix: str
    ) -> None:
        self._postgres = postgres
        self._consumer = consumer
        self._admin = admin
        self._prefix = prefix

    @classmethod
    async def open(cls, disturber: Disturber) -> Looking:
        installation = disturber.run.installation
        own = installation.infrastructure
        consumer = AIOKafkaConsumer(bootstrap_servers=own.kafka_bootstrap, group_id=None)
        admin = AIOKafkaAdminClient(bootstrap_servers=own.kafka_bootstrap)
        await consumer.start()
        await admin.start()
        postgres = await asyncpg.connect(own.postgres_url)
        return cls(postgres, consumer, admin, installation.prefix)

    async def close(self) -> None:
        await self._postgres.close()
        await self._consumer.stop()
        await self._admin.close()

    async def relay_in_mid_batch(self, service: str) -> str:
        """Records that the broker has and the checkpoint does not know of."""
        row = await self._postgres.fetchrow(
            f"SELECT c.position, c.ends, (SELECT max(position) FROM {service}.facts) AS last"
            f" FROM {service}.checkpoint c WHERE name = 'facts'"
        )
        if row is None or (row["last"] or 0) <= row["position"]:
            return ""
        known = {int(p): int(end) for p, end in orjson.loads(row["ends"]).items()}
        topic = topic_name(self._prefix, service)
        ends = await self._consumer.end_offsets([TopicPartition(topic, p) for p in known])
        beyond = sum(end - known[place.partition] for place, end in ends.items())
        waiting = row["last"] - row["position"]
        return f"{beyond} records beyond the checkpoint of {waiting}" if beyond > 0 else ""

    async def consumer_between_commits(self, service: str) -> str:
        """Offsets that stand in the database and that Kafka was not told of."""
        rows = await self._postgres.fetch(
            f"SELECT topic, partition, next_offset FROM {service}.offsets"
        )
        group = f"{self._prefix}{service}"
        told = await self._admin.list_consumer_group_offsets(group)
        committed = {(tp.topic, tp.partition): meta.offset for tp, meta in told.items()}
        ahead = {
            (r["topic"], r["partition"]): r["next_offset"]
            - max(0, committed.get((r["topic"], r["partition"]), 0))
            for r in rows
        }
        untold = {place: count for place, count in ahead.items() if count > 0}
        if not untold:
            return ""
        return f"{sum(untold.values())} records of {len(untold)} partitions stored and not told"


def killed_in_mid_batch(day: date, service: str) -> Disturbance:
    """The relay dies with records sent that its checkpoint lacks."""
    return Disturbance(day, partial(_hunt, service=service, window="relay_in_mid_batch"))


def killed_between_commits(day: date, service: str) -> Disturbance:
    """The consumer dies after its effects are stored, and before Kafka is told of the offsets."""
    return Disturbance(day, partial(_hunt, service=service, window="consumer_between_commits"))


async def _hunt(disturber: Disturber, *, service: str, window: str) -> None:
    """Freeze and look, again and again, until the process is caught in its window and killed."""
    looking = await Looking.open(disturber)
    look = partial(getattr(looking, window), service)
    try:
        while True:
            await disturber.in_wave(service)
            if await _caught(disturber, service, look, window):
                return
    finally:
        await looking.close()


async def _caught(disturber: Disturber, service: str, look: Look, window: str) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + HUNT_SECONDS
    while loop.time() < deadline:
        await asyncio.sleep(disturber.draw.uniform(0, LONGEST_RUN_SECONDS))
        async with disturber.turns[service]:
            disturber.signal(service, signal.SIGSTOP)
            found = await look()
            if found:
                # Asked again: what was on its way to the servers when it froze has arrived.
                await asyncio.sleep(0.05)
                found = await look()
            if found:
                await disturber.kill_in_turn(service, f"{window}: {found}")
                return True
            disturber.signal(service, signal.SIGCONT)
    return False
