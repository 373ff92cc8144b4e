"""Schemas, their steps and their roles, from plain SQL files.

A service's schema is made by `shared/migrations/log/*.sql`, then by
`services/SERVICE/migrations/*.sql`, in the order of their names; the keys' schema by
`shared/migrations/keys/*.sql`. Each file runs once, whole, in one transaction with its line in the
table `migrations`, so a death in between leaves nothing half done.
docs/decisions/0008-migrations.md tells why no tool does this.

What a file may rely on:

- `search_path` is the schema, then pg_temp; `SET search_path FROM CURRENT` in a function keeps it.
- `${schema}`, `${owner}`, `${worker}` and `${api}` stand for quoted names; anything else in `${…}`
  is an error. The keys' files have the first two only, and a function
  `grant_service(service, role)` that is called for each service afterwards.
- What it creates belongs to the schema's owner, a role without login. `worker` gets SELECT, INSERT,
  UPDATE and DELETE on its tables, SELECT on sequences, EXECUTE on functions; of a table whose
  trigger calls `refuse_change()` (facts, an outbox) only SELECT and INSERT. `api` gets nothing but
  USAGE of the schema and what the file itself grants. PUBLIC gets nothing.

Roles belong to the whole server, so their names begin with the database's: DATABASE_SERVICE_worker,
_api and _keys. Passwords never reach the server: it gets their SCRAM verifier.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import asyncpg

CHECKOUT: Final = Path(__file__).resolve().parents[1]
KEYS_SCHEMA: Final = "keys"
KEYS_FOLDER: Final = CHECKOUT / "shared" / "migrations" / "keys"
# Since this step of the keys a service may ask which steps there are.
KEYS_TELL: Final = "keys/0004_applied"
CONNECT_SECONDS: Final = 10.0
STATEMENT_SECONDS: Final = 300.0
LONGEST_NAME_BYTES: Final = 63

Kind = Literal["owner", "worker", "api", "keys"]

# A person waits for the api, a machine for the worker; neither may hold others up for ever.
TIMEOUTS: Final[Mapping[Kind, Mapping[str, str]]] = {
    "worker": {
        "statement_timeout": "60s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "60s",
    },
    "api": {
        "statement_timeout": "30s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
    },
    "keys": {
        "statement_timeout": "10s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
    },
}


class MigrationError(Exception):
    """The schema can't be brought to where the files want it; the message says which file."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of one service's two roles. ASCII, since others would have to be normalised first."""

    worker: str = field(repr=False)
    api: str = field(repr=False)


def role_name(admin_url: str, service: str, kind: Kind) -> str:
    """The name of a role of a service in the database of the URL. Raises MigrationError."""
    database = urlsplit(admin_url).path.lstrip("/")
    if not database:
        raise MigrationError("地址未指明数据库 the address names no database")
    name = "_".join(part for part in (database, service, kind) if part)
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise MigrationError(f"名称过长 PostgreSQL would cut off a name this long: {name}")
    return name


def role_url(admin_url: str, role: str, password: str) -> str:
    """The same database, for another role."""
    parts = urlsplit(admin_url)
    address = parts.netloc.rpartition("@")[2]
    account = f"{quote(role, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{account}@{address}").geturl()


async def migrate_all(admin_url: str, passwords: Mapping[str, Passwords]) -> None:
    """Bring the schemas of these services up to date, side by side. See `migrate`."""
    async with asyncio.TaskGroup() as group:
        for service, pair in passwords.items():
            group.create_task(migrate(admin_url, service, pair))


async def migrate(
    admin_url: str, service: str, passwords: Passwords, folders: Sequence[Path] | None = None
) -> None:
    """Bring one service's schema up to date; at once if it is. Safe to repeat and to run twice.

    `admin_url` is of a role that may create roles and schemas in the database. Raises
    MigrationError for a file that fails or has changed since it was applied.
    """
    folders = folders_of(service) if folders is None else folders
    names = {kind: role_name(admin_url, service, kind) for kind in _SERVICE_KINDS}
    async with _connection(admin_url) as connection:
        async with _lock(connection, "roles"):
            await _close_database(connection)
            await _make_owner(connection, names["owner"])
            await _make_login(connection, names["worker"], passwords.worker, TIMEOUTS["worker"])
            await _make_login(connection, names["api"], passwords.api, TIMEOUTS["api"])
        async with _lock(connection, f"schema {service}"):
            await _make_schema(connection, service, names["owner"], names["worker"])
            await connection.execute(
                f"GRANT USAGE ON SCHEMA {_quoted(service)}"
                f" TO {_quoted(names['worker'])}, {_quoted(names['api'])}"
            )
            await _apply(connection, service, names, folders)


def folders_of(service: str) -> tuple[Path, ...]:
    """Where the steps of one service's schema stand, in their order."""
    return (
        CHECKOUT / "shared" / "migrations" / "log",
        CHECKOUT / "services" / service / "migrations",
    )


async def missing_of_log(connection: asyncpg.Connection, service: str) -> list[str]:
    """The steps of this build that a service's schema lacks, asked as its role `worker`.

    Steps that only the schema knows are a newer build's: what is added leaves this one alone.
    """
    try:
        rows = await connection.fetch(f"SELECT name FROM {_quoted(service)}.migrations")  # noqa: S608 - a quoted name
    except _NOT_PREPARED:
        rows = []
    return _lacking({row["name"] for row in rows}, folders_of(service))


async def missing_of_keys(connection: asyncpg.Connection) -> list[str]:
    """The steps of this build that the keys' schema lacks, asked as a service's role `keys`.

    Of a schema that can't be asked yet, those from which on it can; earlier ones may lack as well.
    """
    try:
        rows = await connection.fetch(f"SELECT name FROM {KEYS_SCHEMA}.applied_migrations() name")  # noqa: S608 - a constant
    except _NOT_PREPARED:
        steps = _lacking((), (KEYS_FOLDER,))
        return steps[steps.index(KEYS_TELL) :]
    return _lacking({row["name"] for row in rows}, (KEYS_FOLDER,))


# A schema, a table or a right that `migrate` and `migrate_keys` would have made.
_NOT_PREPARED: Final = (
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
)


async def migrate_keys(
    admin_url: str, passwords: Mapping[str, str], folder: Path | None = None
) -> None:
    """Bring the keys' schema up to date, with one role for each service (service: password)."""
    owner = role_name(admin_url, "", "owner")
    async with _connection(admin_url) as connection, _lock(connection, "roles"):
        await _close_database(connection)
        await _make_owner(connection, owner)
        for service, password in passwords.items():
            name = role_name(admin_url, service, "keys")
            await _make_login(connection, name, password, TIMEOUTS["keys"])
        await _make_schema(connection, KEYS_SCHEMA, owner, None)
        await _apply(connection, KEYS_SCHEMA, {"owner": owner}, (folder or KEYS_FOLDER,))
        async with _as_owner(connection, KEYS_SCHEMA, owner):
            for service in passwords:
                await connection.execute(
                    f"SELECT {KEYS_SCHEMA}.grant_service($1, $2)",
                    service,
                    role_name(admin_url, service, "keys"),
                )


_SERVICE_KINDS: Final[tuple[Kind, ...]] = ("owner", "worker", "api")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        url, timeout=CONNECT_SECONDS, command_timeout=STATEMENT_SECONDS
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _lock(connection: asyncpg.Connection, what: str) -> AsyncIterator[None]:
    """One at a time; a process that dies lets go of it with its connection."""
    key = f"bangfu migrations: {what}"
    await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", key)
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", key)


@asynccontextmanager
async def _as_owner(connection: asyncpg.Connection, schema: str, owner: str) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute(
            f"SET LOCAL ROLE {_quoted(owner)};SET LOCAL search_path = {_quoted(schema)}, pg_temp"
        )
        yield


async def _close_database(connection: asyncpg.Connection) -> None:
    """Nobody may connect, make temporary tables or use `public` but those who are told so."""
    database = _quoted(await connection.fetchval("SELECT current_database()"))
    await connection.execute(
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC"
    )


async def _make_owner(connection: asyncpg.Connection, owner: str) -> None:
    if not await _exists(connection, owner):
        # Its functions are nobody's until granted; by default PUBLIC could execute them.
        name = _quoted(owner)
        await connection.execute(
            f"CREATE ROLE {name} NOLOGIN; GRANT {name} TO CURRENT_USER;"
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {name} REVOKE ALL ON FUNCTIONS FROM PUBLIC;"
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {name} REVOKE ALL ON TYPES FROM PUBLIC"
        )


async def _make_login(
    connection: asyncpg.Connection, role: str, password: str, settings: Mapping[str, str]
) -> None:
    verb = "ALTER" if await _exists(connection, role) else "CREATE"
    database = _quoted(await connection.fetchval("SELECT current_database()"))
    statements = [f"{verb} ROLE {_quoted(role)} LOGIN PASSWORD '{_scram_verifier(password)}'"]
    statements.append(f"GRANT CONNECT ON DATABASE {database} TO {_quoted(role)}")
    for name, value in settings.items():
        statements.append(f"ALTER ROLE {_quoted(role)} SET {name} = '{value}'")
    await connection.execute(";".join(statements))


async def _exists(connection: asyncpg.Connection, role: str) -> bool:
    found = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    return bool(found)


def _scram_verifier(password: str) -> str:
    """What the server keeps instead of the password (RFC 5803, as pg_authid has it)."""
    if not password or not password.isascii():
        raise MigrationError(
            "口令须为 ASCII 且不得为空 a role's password is ASCII text and not empty"
        )
    salt, rounds = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${rounds}:{text[0]}${text[1]}:{text[2]}"


async def _make_schema(
    connection: asyncpg.Connection, schema: str, owner: str, worker: str | None
) -> None:
    name = _quoted(schema)
    if await connection.fetchval("SELECT to_regclass($1)", f"{name}.migrations") is not None:
        return
    async with connection.transaction():
        await connection.execute(
            f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {_quoted(owner)}"
        )
        async with _as_owner(connection, schema, owner):
            await connection.execute(
                "CREATE TABLE migrations (name text PRIMARY KEY, sha256 text NOT NULL,"
                " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
            )
            if worker is not None:
                rights = (
                    f"ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT {{}} TO {_quoted(worker)}"
                )
                await connection.execute(
                    f"GRANT SELECT ON migrations TO {_quoted(worker)};"
                    + rights.format("SELECT, INSERT, UPDATE, DELETE ON TABLES")
                    + ";"
                    + rights.format("SELECT ON SEQUENCES")
                    + ";"
                    + rights.format("EXECUTE ON FUNCTIONS")
                )


async def _apply(
    connection: asyncpg.Connection,
    schema: str,
    roles: Mapping[Kind, str],
    folders: Sequence[Path],
) -> None:
    rows = await connection.fetch(f"SELECT name, sha256 FROM {_quoted(schema)}.migrations")  # noqa: S608 - a quoted name
    applied = {row["name"]: row["sha256"] for row in rows}
    words: dict[str, str] = {kind: _quoted(name) for kind, name in roles.items()}
    words["schema"] = _quoted(schema)
    for step, path in _steps(folders):
        text = path.read_text(encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        if step not in applied:
            async with _as_owner(connection, schema, roles["owner"]):
                await _run_file(connection, path, _fill_in(path, text, words))
                await connection.execute(
                    "INSERT INTO migrations (name, sha256) VALUES ($1, $2)", step, digest
                )
                if "worker" in roles:
                    await _keep_append_only(connection, schema, roles["worker"])
        elif applied[step] != digest:
            raise MigrationError(
                f"迁移在施行后被改动 {path} has changed since it was applied to {schema}"
            )


def _steps(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """The names under which files are noted as applied, in their order."""
    for folder in folders:
        for path in sorted(folder.glob("*.sql")):
            yield f"{folder.name}/{path.stem}", path


def _lacking(applied: Collection[str], folders: Sequence[Path]) -> list[str]:
    return [step for step, _ in _steps(folders) if step not in applied]


def _fill_in(path: Path, text: str, words: Mapping[str, str]) -> str:
    def word(found: re.Match[str]) -> str:
        if found[1] not in words:
            raise MigrationError(f"没有此变量 {path}: {found[0]} stands for nothing here")
        return words[found[1]]

    return re.sub(r"\$\{([^}]*)\}", word, text)


async def _run_file(connection: asyncpg.Connection, path: Path, text: str) -> None:
    try:
        # Without arguments this is the simple protocol: the server itself parses the whole file.
        await connection.execute(text)
    except asyncpg.PostgresError as error:
        position = getattr(error, "position", None)
        line = text.count("\n", 0, int(position)) + 1 if position else "?"
        raise MigrationError(f"迁移失败 a step fails: {path}, line {line}: {error}") from error


async def _keep_append_only(connection: asyncpg.Connection, schema: str, worker: str) -> None:
    """The trigger stops everybody, a missing right stops the worker before it gets there."""
    tables = await connection.fetch(
        "SELECT DISTINCT c.relname FROM pg_trigger t"
        " JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE p.proname = 'refuse_change' AND c.relnamespace = $1::text::regnamespace",
        _quoted(schema),
    )
    for row in tables:
        table = f"{_quoted(schema)}.{_quoted(row['relname'])}"
        await connection.execute(
            f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {_quoted(worker)}"
        )
