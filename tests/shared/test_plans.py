"""What a service reads does not grow with its tables, though it planned while they were empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import orjson

from shared.event_store import WRITE_ARGUMENTS
from shared.migrations import migrate, role_name, role_url
from shared.pools import PLANS_BY_INDEX
from tests.conftest import FreshDatabases
from tests.shared.outbox_rows import PASSWORDS, columns

SERVICE = "payout"
FILLED_ROWS = 3_000
A_HANDFUL = 40
OFFICE = "office"
NAMES = ("before", "after")

Call = tuple[str, tuple[Any, ...]]

# What other streams have had meanwhile, so many of each.
FILLING = f"""
INSERT INTO {SERVICE}.facts (stream, version, fact_id, type, subject, envelope, data, hash)
    SELECT 'filler-' || n, 1, n::text, 'test.Happened', n::text, '{{}}', '{{}}', ''
    FROM generate_series(1, {FILLED_ROWS}) AS n;
INSERT INTO {SERVICE}.views (model, key, stream, subject, organisation, role, status, document)
    SELECT model, n::text, 'filler-' || n, n::text, 'elsewhere', 'cashier', 'open', '{{}}'
    FROM generate_series(1, {FILLED_ROWS}) AS n, unnest(ARRAY['work', 'payout']) AS model;
INSERT INTO {SERVICE}.case_scope (subject, organisation, holder, from_day)
    SELECT n::text, 'elsewhere', true, '2025-01-01' FROM generate_series(1, {FILLED_ROWS}) AS n;
INSERT INTO {SERVICE}.watermarks (stream, version)
    SELECT 'filler-' || n, 1 FROM generate_series(1, {FILLED_ROWS}) AS n
"""


def rest(name: str) -> str:
    """A read model's row for the cashier, and who sees the case."""
    row = {"model": "work", "key": name, "stream": f"case-{name}", "subject": name, "status": ""}
    row |= {"organisation": OFFICE, "role": "cashier", "document": "{}"}
    scope = {"subject": name, "from_day": "2025-01-01", "organisations": [OFFICE]}
    return orjson.dumps({"views": [row], "scopes": [scope]}).decode()


def hear(name: str) -> Call:
    """Facts of one stream, the later ones after those that are stored."""
    versions = range(1, 4) if name == NAMES[0] else range(4, 6)
    facts = columns([("heard", version) for version in versions])
    return f"SELECT {SERVICE}.write_facts({WRITE_ARGUMENTS})", ("{}", *facts)


def mark(name: str) -> Call:
    """How far two streams were heard, of which one was heard before."""
    was = 1 if name == NAMES[0] else 2
    known = {"stream": "known", "was": was, "version": was + 1}
    marks = [{"stream": name, "was": 0, "version": 1}, known]
    return f"SELECT {SERVICE}.write_facts({WRITE_ARGUMENTS})", (
        orjson.dumps({"watermarks": marks}).decode(),
        *([] for _ in columns([])),
    )


def act(name: str) -> Call:
    facts = columns([(name, 1), (name, 2)])
    return f"SELECT {SERVICE}.api_write($11, {WRITE_ARGUMENTS})", (rest(name), *facts, [OFFICE])


def look_up(name: str) -> Call:
    return f"SELECT * FROM {SERVICE}.api_documents($1, $2)", (["payout"], [name])


def look_on(name: str) -> Call:
    return f"SELECT * FROM {SERVICE}.api_views($1, $2, $3)", (OFFICE, "work", [name, "none"])


def list_work(name: str) -> Call:
    return f"SELECT * FROM {SERVICE}.api_work($1, $2, '', 200)", ([OFFICE], ["cashier"])


async def rows_read(connection: asyncpg.Connection, call: Call) -> int:
    """How many rows of the service's tables one call fetched, by the server's own count."""
    statement, arguments = call
    async with connection.transaction():
        await connection.fetch(statement, *arguments)
        return int(
            await connection.fetchval(
                "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))"
                " FROM pg_stat_xact_user_tables WHERE schemaname = $1",
                SERVICE,
            )
        )


WAYS: dict[str, tuple[Any, Callable[[str], Call]]] = {
    "hear": ("worker", hear),
    "mark": ("worker", mark),
    "act": ("api", act),
    "look_up": ("api", look_up),
    "look_on": ("api", look_on),
    "list_work": ("api", list_work),
}


async def test_a_call_reads_as_little_from_full_tables_as_from_empty_ones(
    fresh_databases: FreshDatabases,
) -> None:
    url = fresh_databases.postgres_url
    await migrate(url, SERVICE, PASSWORDS)
    connections = {
        kind: await asyncpg.connect(
            role_url(url, role, password), server_settings=dict(PLANS_BY_INDEX)
        )
        for kind, role, password in (
            ("worker", role_name(url, SERVICE, "worker"), PASSWORDS.worker),
            ("api", role_name(url, SERVICE, "api"), PASSWORDS.api),
        )
    }
    admin = await asyncpg.connect(url)
    try:
        before, after = NAMES
        await admin.execute(f"INSERT INTO {SERVICE}.watermarks VALUES ('known', 1)")
        for kind, make in WAYS.values():
            assert await rows_read(connections[kind], make(before)) <= A_HANDFUL
        await admin.execute(FILLING)
        read = {
            way: await rows_read(connections[kind], make(after))
            for way, (kind, make) in WAYS.items()
        }
    finally:
        for connection in (admin, *connections.values()):
            await connection.close()
    assert {way: count for way, count in read.items() if count > A_HANDFUL} == {}, read
