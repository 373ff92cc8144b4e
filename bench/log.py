"""A log of one service in a database of its own, and facts of about 400 bytes to fill it with."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import asyncpg

from bench.rounds import Meter
from deploy.infrastructure import create_database, drop_database
from shared.event_store import EventStore
from shared.fact import Actor, Draft, Fact, Fen, Head, Origin, Recorded, record, registry_of
from shared.migrations import CHECKOUT, Passwords, migrate, role_name, role_url
from shared.pools import PLANS_BY_INDEX
from shared.service import pool
from shared.write import Write

SERVICE: Final = "bench"
PASSWORDS: Final = Passwords(worker="bench", api="bench")
MIGRATIONS: Final = CHECKOUT / "shared" / "migrations" / "log"
ORIGIN: Final = Origin("bangfu/bench", "bench-build")
CLERK: Final = Actor("person-7", "handler", "organisation-12")
TODAY: Final = date(2025, 3, 3)
NOW: Final = datetime(2025, 3, 3, 9, 30, tzinfo=UTC)
TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class LineGranted(Fact, name="bench.LineGranted"):
    """A line of an award, as long as ours are: about 400 bytes of data."""

    case_id: str
    award_id: str
    household_id: str
    programme: str
    fund: str
    year: int
    asked_fen: Fen
    granted_fen: Fen
    tightest_cap: str
    reasons: tuple[str, ...]
    rule_version: str


class Module:
    """The facts as a registry wants to see them."""

    LineGranted = LineGranted


REGISTRY: Final = registry_of(Module)


def granted(case_id: str, number: int) -> LineGranted:
    """The fact number ``number`` of a case, made and validated as a decision makes it."""
    return LineGranted(
        case_id=case_id,
        award_id="0d6f3b1e-6a55-4f0c-9b11-8d3f6a0c7e42",
        household_id="5b1c8f0a-1d2e-4c3b-8a99-70e6f5d4c3b2",
        programme="medical-aid",
        fund="sample-city-2025",
        year=2025,
        asked_fen=900_000 + number,
        granted_fen=number,
        tightest_cap="household-year",
        reasons=("within-cap", "self-paid-above-threshold"),
        rule_version="sample-rules-2025-01",
    )


def draft(case_id: str, number: int) -> Draft:
    fact_id = f"{case_id[:8]}-{case_id[-8:]}-{number:018d}"
    return Draft(fact_id, granted(case_id, number), TODAY, CLERK, fact_id, case_id, TRACEPARENT)


def chained(case_id: str, head: Head, count: int) -> list[Recorded]:
    """The next facts of a case's stream: model, canonical bytes, envelope and hash of each."""
    found: list[Recorded] = []
    for number in range(head.version + 1, head.version + 1 + count):
        recorded = record(
            draft(case_id, number),
            origin=ORIGIN,
            stream=f"award-{case_id}",
            subject=case_id,
            head=head,
            heard_lamport=0,
            heard={},
            now=NOW,
        )
        head = recorded.head
        found.append(recorded)
    return found


def case_ids(count: int) -> list[str]:
    """So many ids that no other run draws, in the shape of those that intake gives."""
    run = secrets.token_hex(4)
    return [f"{run}-0000-4000-8000-{number:012d}" for number in range(count)]


@dataclass(frozen=True)
class Log:
    """A log, its store, and the addresses of who works on it and of who may do anything."""

    url: str
    owner_url: str
    store: EventStore
    meter: Meter

    @asynccontextmanager
    async def raw(self, count: int) -> AsyncIterator[Sequence[asyncpg.Connection]]:
        """Connections of the same role, with nothing between them and the driver."""
        async with AsyncExitStack() as stack:
            made: list[asyncpg.Connection] = []
            for _ in range(count):
                connection = await asyncpg.connect(self.url, server_settings=dict(PLANS_BY_INDEX))
                stack.push_async_callback(connection.close)
                made.append(connection)
            yield made


@asynccontextmanager
async def new_log(admin_url: str, connections: int) -> AsyncIterator[Log]:
    """A fresh database with one service's schema, gone after the block."""
    name = f"bench_{secrets.token_hex(6)}"
    url = create_database(admin_url, name)
    try:
        await migrate(url, SERVICE, PASSWORDS, (MIGRATIONS,))
        worker_url = role_url(url, role_name(url, SERVICE, "worker"), PASSWORDS.worker)
        async with (
            pool(worker_url, connections, "bench") as worker,
            pool(url, 1, "bench") as admin,
            admin.acquire() as watching,
        ):
            yield Log(worker_url, url, EventStore(SERVICE, worker, worker), Meter(watching))
    finally:
        drop_database(admin_url, name)


async def fill(log: Log, streams: Sequence[str], facts_each: int, largest_write: int = 500) -> None:
    """The same number of facts in each of these cases' streams, then what a planner knows."""
    write = Write()
    for case_id in streams:
        write.facts.extend(chained(case_id, Head(), facts_each))
        if len(write.facts) >= largest_write:
            await log.store.write(write)
            write = Write()
    if write.facts:
        await log.store.write(write)
