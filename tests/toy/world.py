"""An installation of toy rooms: databases, settings, commands, and a post that delivers by hand.

The post stands in for Kafka where a test wants to choose what arrives when: it gives each fact its
place in a topic as the relay would, and delivers it as often and in whatever order it is told.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from shared.arrival import Arrival
from shared.bus import create_topic, partition_of, topic_name
from shared.desk import Done, Key
from shared.event_store import recorded_from_row
from shared.fact import Actor, Recorded, canonical, chain_hash
from shared.migrations import Passwords, migrate_all, migrate_keys, role_name, role_url
from shared.network_copy import NETWORK_KIND
from shared.room import Command, ReferenceRow, Refusal, Room, Tell
from shared.service import Parts, parts_of
from shared.settings import ServiceSettings
from shared.workspace import Cause

PARTITIONS = 3
ACTOR = Actor("person", "clerk", "city")
CITY = ("city",)
MASTER_KEY = base64.b64encode(b"a key of toys, thirty-two bytes!").decode()


@dataclass
class World:
    """One installation. Rooms are started as often as a test wants, also the same one twice."""

    postgres_url: str
    keys_url: str
    bootstrap: str
    prefix: str
    stack: AsyncExitStack

    async def migrate(self, *names: str) -> None:
        await migrate_all(self.postgres_url, {n: Passwords(worker="w", api="a") for n in names})
        await migrate_keys(self.keys_url, dict.fromkeys(names, "k"))

    async def create_topics(self, *names: str) -> None:
        for name in names:
            await create_topic(self.bootstrap, topic_name(self.prefix, name), PARTITIONS)

    def url(self, name: str, kind: Any, password: str) -> str:
        return role_url(self.postgres_url, role_name(self.postgres_url, name, kind), password)

    def settings(self, name: str, **changes: Any) -> ServiceSettings:
        given: dict[str, Any] = {
            "service": name,
            "mode": "sandbox",
            "worker_url": self.url(name, "worker", "w"),
            "api_url": self.url(name, "api", "a"),
            "keys_url": role_url(self.keys_url, role_name(self.keys_url, name, "keys"), "k"),
            "master_key": MASTER_KEY,
            "kafka_bootstrap": self.bootstrap,
            "topic_prefix": self.prefix,
            "partitions": PARTITIONS,
            "issuer": "http://issuer.test",
            "jwks_url": "http://issuer.test/jwks",
            "installation": "toys",
            "lease_seconds": 1.0,
            "session_timeout_ms": 1500,
        }
        return ServiceSettings(**(given | changes))

    async def start(self, room: Room, **changes: Any) -> Parts:
        """The parts of one instance, until the test ends. None of its tasks runs yet."""
        settings = self.settings(room.name, **changes)
        return await self.stack.enter_async_context(parts_of(room, settings, {}))

    async def forget(self, name: str) -> None:
        """Drop a room's schema with all that a test has put into it."""
        async with self.admin() as admin:
            await admin.execute(f"DROP SCHEMA {name} CASCADE")

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.postgres_url)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def running(*parts: Parts) -> AsyncIterator[None]:
    """All tasks of these processes; one that ends on its own is an error."""
    tasks = [
        asyncio.ensure_future(each)
        for p in parts
        for each in (
            p.relay.run(),
            p.timers.run(),
            *([p.listening.run()] if p.listening is not None else []),
        )
    ]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def new_case() -> str:
    return str(uuid.uuid4())


async def tell(
    parts: Parts,
    kind: str,
    identity: str,
    command: Command,
    *,
    key: str = "",
    body: str = "body",
    organisations: Sequence[str] | None = CITY,
) -> Done | Refusal:
    """One command as the door hands it in."""
    named = Key(key or str(uuid.uuid4()), body)
    sent = Cause(correlation_id=str(uuid.uuid4()))
    asked = Tell(kind, identity, command.model_copy(update={"by": ACTOR}))
    return await parts.desk.handle(asked, ACTOR, organisations, named, sent)


async def facts_of(parts: Parts) -> list[Recorded]:
    """The whole log of a service, in its order."""
    rows = await parts.store.worker.fetch(
        f"SELECT envelope, data, hash, traceparent FROM {parts.room.name}.facts ORDER BY position"
    )
    return [recorded_from_row(row) for row in rows]


async def held_of(parts: Parts) -> list[tuple[str, str]]:
    """What is held: reason and what it waits for, the oldest first."""
    rows = await parts.store.worker.fetch(
        f"SELECT reason, waits_for FROM {parts.room.name}.held ORDER BY held_id"
    )
    return [(row["reason"], row["waits_for"]) for row in rows]


async def kept_of(parts: Parts) -> dict[str, Any]:
    """All that hearing and deciding leave behind, for comparing before and after."""
    name, worker = parts.room.name, parts.store.worker
    views = await worker.fetch(
        f"SELECT model, key, status, due_on, document FROM {name}.views ORDER BY model, key"
    )
    guards = await worker.fetch(f"SELECT key, value FROM {name}.guards ORDER BY key")
    marks = await worker.fetch(f"SELECT stream, version FROM {name}.watermarks ORDER BY stream")
    return {
        "facts": [(f.stream, f.version, f.hash) for f in await facts_of(parts)],
        "views": [tuple(row) for row in views],
        "guards": [tuple(row) for row in guards],
        "watermarks": [tuple(row) for row in marks],
        "held": await held_of(parts),
    }


def meaning_of(kept: dict[str, Any]) -> dict[str, Any]:
    """The same without what depends on the order of different cases and on the moment."""
    return {**kept, "facts": sorted((stream, version) for stream, version, _ in kept["facts"])}


async def hear_of(parts: Parts, fact: str, **data: str) -> None:
    """One fact of the network, as this service's hearing would take it into its copy."""
    _, workspace = await parts.desk.decide(lambda _workspace: None)
    document = {"fact": fact, "data": data}
    workspace.write.reference.append(ReferenceRow(NETWORK_KIND, new_case(), document))
    await parts.desk.commit(workspace)


def founding(organisation: str) -> dict[str, str]:
    return {
        "organisation": organisation,
        "kind": "union",
        "name": organisation,
        "founded_on": "2020-01-01",
    }


@dataclass
class Post:
    """Topics by hand: facts get offsets in the order in which they are posted."""

    generation: str = "generation-1"
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def arrival(self, recorded: Recorded, **changes: Any) -> Arrival:
        return self.raw(
            recorded.service,
            recorded.subject,
            headers_of(recorded),
            **{"value": recorded.raw, **changes},
        )

    def raw(
        self,
        service: str,
        key: str,
        headers: Sequence[tuple[str, bytes | None]],
        value: bytes | None = b"{}",
    ) -> Arrival:
        topic = f"{service}.facts"
        partition = partition_of(key, PARTITIONS)
        offset = self.ends.get((topic, partition), 1)
        self.ends[topic, partition] = offset + 1
        return Arrival(topic, partition, offset, self.generation, key, headers, value)

    def arrivals(self, facts: Iterable[Recorded]) -> list[Arrival]:
        return [self.arrival(fact) for fact in facts]


def again(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """The same records as another fetch brings them, with nothing known of them yet."""
    return [
        Arrival(a.topic, a.partition, a.offset, a.generation, a.key, a.headers, a.value)
        for a in arrivals
    ]


def headers_of(recorded: Recorded) -> list[tuple[str, bytes | None]]:
    """The attributes as the relay writes them."""
    headers: list[tuple[str, bytes | None]] = [
        ("content-type" if name == "datacontenttype" else f"ce_{name}", text.encode())
        for name, text in recorded.attributes.items()
    ]
    headers.append(("ce_hash", recorded.hash.encode()))
    if recorded.traceparent:
        headers.append(("ce_traceparent", recorded.traceparent.encode()))
    return headers


def altered(recorded: Recorded, data: dict[str, Any] | None = None, **attributes: str) -> Recorded:
    """Another fact in its place, whose hash holds: as another build would have stated it."""
    named = {**recorded.attributes, **attributes}
    raw = recorded.raw if data is None else canonical(orjson.loads(recorded.raw) | data)
    return Recorded(named, chain_hash(named, raw), raw)


async def until(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until an awaitable condition holds; fails after a while."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - what is waited for announces nothing
            await asyncio.sleep(0.03)
