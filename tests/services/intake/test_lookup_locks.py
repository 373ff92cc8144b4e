"""Writers of the same persons' lookup rows wait for each other, and never in a circle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import pytest

from shared.migrations import Passwords, migrate_all
from shared.pools import PLANS_BY_INDEX
from tests.conftest import FreshDatabases
from tests.toy.world import until

# Keyed hashes as intake keeps them, in their order, and whose they are.
MACS = ("0" * 64, "5" * 64, "f" * 64)
PERSONS = ("zhang", "li", "wang")

Call = Callable[[asyncpg.Connection, Sequence[int]], Coroutine[None, None, object]]


async def apply(connection: asyncpg.Connection, order: Sequence[int]) -> object:
    """Applications at once of people who so far were members of no household."""
    macs = [MACS[n] for n in order]
    new = [f"new-{n}" for n in order]
    return await connection.fetch("SELECT * FROM known_persons($1, $2, $2)", macs, new)


async def accept(connection: asyncpg.Connection, order: Sequence[int]) -> object:
    """What the acceptance of a household writes of its members."""
    rows = [{"person_id": PERSONS[n], "household_id": "accepted"} for n in order]
    return await connection.execute("SELECT own_rows($1::jsonb)", json.dumps(rows))


@dataclass(frozen=True)
class Table:
    """The lookup table of a migrated intake, and connections to it as a service has them."""

    url: str
    stack: AsyncExitStack

    async def connection(self) -> asyncpg.Connection:
        settings = {**PLANS_BY_INDEX, "search_path": "intake", "application_name": "writer"}
        made = await asyncpg.connect(self.url, server_settings=settings, command_timeout=30)
        self.stack.push_async_callback(made.close)
        return made


@pytest.mark.parametrize("other", [apply, accept], ids=["apply", "accept"])
async def test_two_writers_of_the_same_persons_both_get_on(
    fresh_databases: FreshDatabases, other: Call
) -> None:
    """Each is let get as far as a row that a third one holds; then that one lets go."""
    await migrate_all(fresh_databases.postgres_url, {"intake": Passwords(worker="w", api="a")})
    async with AsyncExitStack() as stack:
        table = Table(fresh_databases.postgres_url, stack)
        holder, first, second = [await table.connection() for _ in range(3)]
        await holder.executemany(
            "INSERT INTO persons (mac, person_id) VALUES ($1, $2)",
            list(zip(MACS, PERSONS, strict=True)),
        )

        async def waiting(number: int) -> None:
            async def there() -> bool:
                found = await holder.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = 'writer' AND wait_event_type = 'Lock'"
                )
                return bool(found == number)

            await until(there)

        async with holder.transaction():
            await holder.execute("SELECT FROM persons WHERE mac = $1 FOR UPDATE", MACS[1])
            writers = [asyncio.create_task(apply(first, (0, 1, 2)))]
            await waiting(1)
            writers.append(asyncio.create_task(other(second, (2, 1, 0))))
            await waiting(2)
        told = await asyncio.gather(*writers, return_exceptions=True)
        assert [each for each in told if isinstance(each, Exception)] == []
        households = await holder.fetch("SELECT household_id FROM persons ORDER BY mac")
    kept = ["accepted"] * 3 if other is accept else ["new-0", "new-1", "new-2"]
    assert [row["household_id"] for row in households] == kept
