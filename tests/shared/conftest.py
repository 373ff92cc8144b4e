"""A world of toy rooms for the tests of the shared machinery."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import psycopg
import pytest

from deploy.infrastructure import Infrastructure, create_database, drop_database
from tests.conftest import FreshDatabases
from tests.toy.world import World

ROOMS = ("alpha", "beta", "gamma")


@pytest.fixture(scope="session")
def toy_databases(infrastructure: Infrastructure) -> Iterator[FreshDatabases]:
    """One pair for all worlds: making and dropping databases takes seconds, emptying one none."""
    name = f"toys_{secrets.token_hex(4)}"
    yield FreshDatabases(
        create_database(infrastructure.postgres_url, name),
        create_database(infrastructure.keys_url, f"{name}_keys"),
    )
    drop_database(infrastructure.postgres_url, name)
    drop_database(infrastructure.keys_url, f"{name}_keys")


@pytest.fixture
async def world(
    toy_databases: FreshDatabases, infrastructure: Infrastructure
) -> AsyncIterator[World]:
    """Empty databases and a topic prefix of its own; no room is migrated yet."""
    with psycopg.connect(toy_databases.postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        empty(connection)
    async with AsyncExitStack() as stack:
        yield World(
            toy_databases.postgres_url,
            toy_databases.keys_url,
            infrastructure.kafka_bootstrap,
            f"test-{secrets.token_hex(4)}.",
            stack,
        )


def empty(connection: psycopg.Connection) -> None:
    """Leave the schemas of the rooms as they were made; only a superuser gets past the triggers."""
    rows = connection.execute(
        "SELECT schemaname || '.' || tablename FROM pg_tables"
        " WHERE schemaname = ANY (%s) AND tablename <> 'migrations'",
        [list(ROOMS)],
    ).fetchall()
    if rows:
        tables = ", ".join(row[0] for row in rows)
        connection.execute("SET session_replication_role = replica")
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
