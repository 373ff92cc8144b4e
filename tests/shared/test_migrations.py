"""Schemas and roles: applied once, whole, and nobody reaches what is not his."""

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from shared import migrations
from shared.migrations import MigrationError, Passwords, migrate, migrate_all, role_name, role_url
from tests.conftest import FreshDatabases
from tests.connections import connected

SERVICES = ("intake", "eligibility", "notice", "payout", "training", "network")
PASSWORDS = {service: Passwords(f"{service}-worker", f"{service}-api") for service in SERVICES}


def worker_url(admin_url: str, service: str) -> str:
    return role_url(admin_url, role_name(admin_url, service, "worker"), PASSWORDS[service].worker)


def api_url(admin_url: str, service: str) -> str:
    return role_url(admin_url, role_name(admin_url, service, "api"), PASSWORDS[service].api)


async def test_six_schemas_side_by_side_and_again(fresh_databases: FreshDatabases) -> None:
    """All six in a moment, twice at once without harm, and a repeat changes nothing."""
    url = fresh_databases.postgres_url
    begun = time.monotonic()
    await migrate_all(url, PASSWORDS)
    assert time.monotonic() - begun < 5  # 0.3 s on two idle cores
    await asyncio.gather(migrate_all(url, PASSWORDS), migrate_all(url, PASSWORDS))
    async with connected(url) as connection:
        for service in SERVICES:
            names = await connection.fetch(f"SELECT name FROM {service}.migrations")
            assert {"log/0001_log", "log/0002_write"} <= {row["name"] for row in names}


DENIED = (
    "SELECT 1 FROM intake.facts",
    "SELECT 1 FROM eligibility.facts",
    "INSERT INTO eligibility.guards VALUES ('a', 1)",
    "SELECT eligibility.write_facts('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
    "SELECT 1 FROM eligibility.migrations",
    "CREATE TABLE intake.mine (n int)",
    "CREATE TABLE public.mine (n int)",
    "CREATE TEMPORARY TABLE facts (n int)",
    "CREATE SCHEMA mine",
)


@pytest.mark.parametrize("statement", DENIED)
async def test_an_api_reaches_nothing_that_was_not_granted(
    fresh_databases: FreshDatabases, statement: str
) -> None:
    """No facts of its own service, nothing of another's, no place of its own."""
    url = fresh_databases.postgres_url
    for service in ("intake", "eligibility"):
        await migrate(url, service, PASSWORDS[service])
    async with connected(api_url(url, "intake")) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await connection.execute(statement)


async def test_a_worker_writes_facts_and_never_changes_them(
    fresh_databases: FreshDatabases,
) -> None:
    """Its own schema, but append-only where the log is; nothing of another's."""
    url = fresh_databases.postgres_url
    for service in ("intake", "eligibility"):
        await migrate(url, service, PASSWORDS[service])
    async with connected(worker_url(url, "intake")) as connection:
        await connection.execute(
            "SELECT intake.write_facts('{}', '{s}', '{1}', '{i}', '{t}', '{s}', '{e}', '{d}',"
            " '{h}', '{\"\"}')"
        )
        await connection.execute("INSERT INTO intake.guards VALUES ('a', 1)")
        await connection.execute("UPDATE intake.guards SET value = 2")
        await connection.execute("DELETE FROM intake.guards")
        assert await connection.fetchval("SELECT last_value FROM intake.facts_position_seq") == 1
        for statement in (
            "UPDATE intake.facts SET data = ''",
            "DELETE FROM intake.facts",
            "TRUNCATE intake.facts",
            "SELECT nextval('intake.facts_position_seq')",
            "UPDATE intake.migrations SET sha256 = ''",
            "ALTER TABLE intake.facts DISABLE TRIGGER ALL",
            *DENIED[1:],
        ):
            with pytest.raises(
                asyncpg.InsufficientPrivilegeError, match=r"permission denied|must be owner"
            ):
                await connection.execute(statement)


async def test_public_may_execute_and_use_nothing(fresh_databases: FreshDatabases) -> None:
    """PostgreSQL lets everybody execute a new function, and connect; here nobody unnamed may."""
    url = fresh_databases.postgres_url
    await migrate(url, "intake", PASSWORDS["intake"])
    async with connected(url) as connection:
        open_to_all = await connection.fetch(
            "SELECT proname FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner)))"
            " a WHERE pronamespace = 'intake'::regnamespace AND a.grantee = 0"
        )
        assert open_to_all == []
        rights = await connection.fetch(
            "SELECT unnest(nspacl)::text AS entry FROM pg_namespace"
            " WHERE nspname IN ('intake', 'public') UNION ALL"
            " SELECT unnest(datacl)::text FROM pg_database WHERE datname = current_database()"
        )
        assert rights
        assert [row["entry"] for row in rights if row["entry"].startswith("=")] == []


async def test_time_outs_are_kept_by_the_server(fresh_databases: FreshDatabases) -> None:
    """Also for a client that forgets its own."""
    url = fresh_databases.postgres_url
    await migrate(url, "intake", PASSWORDS["intake"])
    for role, statement_timeout in ((worker_url, "1min"), (api_url, "30s")):
        async with connected(role(url, "intake")) as connection:
            assert await connection.fetchval("SHOW statement_timeout") == statement_timeout
            assert await connection.fetchval("SHOW lock_timeout") != "0"
            assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") != "0"


async def test_a_changed_password_holds(fresh_databases: FreshDatabases) -> None:
    """The roles are there already; the new password is the one that counts."""
    url = fresh_databases.postgres_url
    await migrate(url, "intake", PASSWORDS["intake"])
    await migrate(url, "intake", Passwords("new", "other"))
    async with connected(url) as connection:
        verifier = await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = $1",
            role_name(url, "intake", "worker"),
        )
    assert verifier.startswith("SCRAM-SHA-256$4096:")
    role = role_name(url, "intake", "worker")
    async with connected(role_url(url, role, "new")) as connection:
        assert await connection.fetchval("SELECT session_user") == role


async def test_a_file_is_applied_whole_or_not_at_all(
    fresh_databases: FreshDatabases, tmp_path: Path
) -> None:
    """An error in its middle leaves nothing behind, and the corrected file runs from its start."""
    url = fresh_databases.postgres_url
    file = tmp_path / "0001_first.sql"
    good = (
        "CREATE TABLE a (n int);\n"
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\n"
        "BEGIN\n    RETURN 1; -- a semicolon; inside\nEND $$;\n"
        "GRANT EXECUTE ON FUNCTION f() TO ${api};\n"
    )
    file.write_text(good + "SELECT nonsense;\n")
    with pytest.raises(MigrationError, match=r"0001_first\.sql, line 7"):
        await migrate(url, "intake", PASSWORDS["intake"], [tmp_path])
    file.write_text(good)
    await migrate(url, "intake", PASSWORDS["intake"], [tmp_path])
    async with connected(api_url(url, "intake")) as connection:
        assert await connection.fetchval("SELECT intake.f()") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("SELECT n FROM intake.a")


async def test_an_applied_file_may_not_change(
    fresh_databases: FreshDatabases, tmp_path: Path
) -> None:
    """What has run is history; a change is a new file. A later file runs alone."""
    url = fresh_databases.postgres_url
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE a (n int);")
    await migrate(url, "intake", PASSWORDS["intake"], [tmp_path])
    (tmp_path / "0002_second.sql").write_text("CREATE TABLE b (n int);")
    await migrate(url, "intake", PASSWORDS["intake"], [tmp_path])
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE a (n bigint);")
    with pytest.raises(MigrationError, match="changed"):
        await migrate(url, "intake", PASSWORDS["intake"], [tmp_path])


async def test_an_unknown_placeholder_is_an_error(
    fresh_databases: FreshDatabases, tmp_path: Path
) -> None:
    """A misspelt role must not become a grant to nobody."""
    (tmp_path / "0001_first.sql").write_text("GRANT USAGE ON SCHEMA ${schema} TO ${wroker};")
    with pytest.raises(MigrationError, match="wroker"):
        await migrate(fresh_databases.postgres_url, "intake", PASSWORDS["intake"], [tmp_path])


async def test_a_role_of_the_keys_has_only_its_functions(fresh_databases: FreshDatabases) -> None:
    """One role for each service, tied to it; no table of the keys is open to it."""
    url = fresh_databases.keys_url
    passwords = {service: f"{service}-keys" for service in SERVICES}
    await asyncio.gather(
        migrations.migrate_keys(url, passwords), migrations.migrate_keys(url, passwords)
    )
    payout = role_url(url, role_name(url, "payout", "keys"), "payout-keys")
    async with connected(payout) as connection:
        assert await connection.fetchval("SELECT keys.master_key_fingerprint('f')") == "f"
        for statement in (
            "SELECT 1 FROM keys.personal_keys",
            "SELECT keys.grant_service('intake', session_user)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await connection.execute(statement)


def test_names_that_would_be_cut_off_are_refused() -> None:
    """PostgreSQL shortens them silently, and two databases would share a role."""
    with pytest.raises(MigrationError):
        role_name("postgresql://localhost/" + "d" * 50, "eligibility", "worker")
    with pytest.raises(MigrationError):
        role_name("postgresql://localhost", "intake", "worker")


def test_a_role_url_keeps_the_rest() -> None:
    """Address, database and options stay; signs in a password are quoted."""
    url = role_url("postgresql://a:b@[::1]:5432/d?sslmode=disable", "d_x_api", "p@s/s")
    assert url == "postgresql://d_x_api:p%40s%2Fs@[::1]:5432/d?sslmode=disable"
