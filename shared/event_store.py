"""The event store of one service: load streams, and write once.

One write carries guard rows, scopes, read models, the service's own rows, the command's key or
the watermarks, and the facts, in one round trip (``write_facts``). Two doors lead to it: the
worker's (relay, hearing, timers) and the office's, which the database itself holds to the
organisations of the person. This module decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any, Final

import asyncpg
import orjson

from shared.fact import Recorded
from shared.pools import Pool
from shared.room import ReferenceRow
from shared.telemetry import DENIALS
from shared.together import Together
from shared.write import FACT_ARGUMENTS, Write


class Conflict(Exception):
    """The state that was decided on has moved; decide again on a fresh load."""


class Clash(Conflict):
    """A unique index of the room's own said no: a race that was lost, or data that never fits."""


class CommandRepeated(Exception):
    """The key of this command is stored already; its first result is the answer."""


class OutOfScope(Exception):
    """The subject belongs to no organisation of the person, nor to one below them."""


# A connection or a server that failed (SQLSTATE classes: connection, rollback, resources, state of
# an object, operator, system): the same may succeed later, and a COMMIT cut short is unknown.
PASSING_CLASSES: Final = frozenset(("08", "40", "53", "55", "57", "58"))
# What is wrong with the values themselves, for good: too many rows for one key, data, constraint,
# program limit (a key too long for its index), or a function of ours that raised.
DATA_CLASSES: Final = frozenset(("21", "22", "23", "54", "P0"))


def is_passing(error: Exception) -> bool:
    """True for a fault of the moment, which a repeat by key gets over."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate)[:2] in PASSING_CLASSES
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # a value that the client can't even send
    # The last is what the client says of a connection that was cut between two of its steps.
    return isinstance(error, OSError | asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """What is kept of a command: the keyed hash of its body, and where its facts are."""

    body_mac: str
    stream: str
    first_version: int
    last_version: int


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer whose day has come, and the version of its stream when it was looked at."""

    stream: str
    timer: str
    due_on: date
    version: int


def recorded_from_row(row: asyncpg.Record) -> Recorded:
    """A stored fact from the columns envelope, hash, data and traceparent."""
    return Recorded(orjson.loads(row["envelope"]), row["hash"], row["data"], row["traceparent"])


def all_recorded(rows: Iterable[Any]) -> list[Recorded]:
    """The same for many rows that have these four columns (`FACT_COLUMNS`) and no other."""
    loads = orjson.loads
    return [
        Recorded(loads(envelope), hash_, data, traceparent)
        for envelope, data, hash_, traceparent in rows
    ]


FACT_COLUMNS = "envelope, data, hash, traceparent"
WRITE_ARGUMENTS = "$1::jsonb, $2, $3, $4, $5, $6, $7, $8, $9, $10"
WRITE_ARGUMENTS_COUNT = 1 + FACT_ARGUMENTS


# The organisations by whose right something is written; None is the service's own.
Office = tuple[str, ...] | None

# While one bundle of writes waits for its flushes, others are stored.
WRITING_AT_ONCE: Final = 4

_OF_THE_LOG = frozenset(("facts_stream_version_key", "watermarks_pkey"))


def _translate(error: asyncpg.PostgresError) -> Exception:
    """The store's own errors, from what the database says; anything else stays as it is."""
    if isinstance(error, asyncpg.UniqueViolationError) and (
        error.constraint_name == "commands_pkey"
    ):
        return CommandRepeated()
    if isinstance(error, asyncpg.UniqueViolationError) and (
        error.constraint_name not in _OF_THE_LOG
    ):
        return Clash(f"{error.sqlstate} {error.constraint_name}")
    if isinstance(
        error,
        asyncpg.UniqueViolationError | asyncpg.DeadlockDetectedError | asyncpg.SerializationError,
    ) or error.sqlstate in ("BF002", "BF003", "BF004"):
        return Conflict(str(error.sqlstate))
    if error.sqlstate == "BF005":
        return OutOfScope()
    return error


class EventStore:
    """Reads and writes of one service's schema, through the worker's and the office's pool."""

    def __init__(self, schema: str, worker: Pool, office: Pool) -> None:
        self.schema = schema
        self.worker = worker
        self.office = office
        s = schema
        columns = ", ".join(f"f.{c.strip()}" for c in FACT_COLUMNS.split(","))
        self._load_many = (
            f"SELECT {columns} FROM unnest($1::text[], $2::int[]) AS n(stream, since) "  # noqa: S608 - the schema is the room's own name
            f"JOIN {s}.facts f ON f.stream = n.stream AND f.version > n.since "
            f"WHERE (SELECT {s}.flushed()) ORDER BY f.stream, f.version"
        )
        self._load = (
            f"SELECT {FACT_COLUMNS} FROM {s}.facts "  # noqa: S608 - as above
            f"WHERE stream = $1 AND version > $2 AND (SELECT {s}.flushed()) ORDER BY version"
        )
        self._write = f"SELECT {s}.write_facts({WRITE_ARGUMENTS})"
        self._office_write = f"SELECT {s}.api_write($11, {WRITE_ARGUMENTS})"
        self._office_load = f"SELECT {FACT_COLUMNS} FROM {s}.api_load($1, $2, $3)"  # noqa: S608 - as above
        self._guards = f"SELECT key, value FROM {s}.guards WHERE key = ANY ($1)"  # noqa: S608 - as above
        self._views = f"SELECT key, document FROM {s}.api_views($1, $2, $3)"  # noqa: S608 - as above
        each = ", ".join(f"${number}" for number in range(1, 3 + WRITE_ARGUMENTS_COUNT))
        self._write_each = f"CALL {s}.write_each({each}, NULL)"
        self._writes_together = Together(self._all_writes, is_passing, WRITING_AT_ONCE)
        self._guards_together = Together(self._all_guards, is_passing)
        self._views_together = Together(self._all_documents, is_passing)
        self._own_together = Together(self._all_own_documents, is_passing)

    async def load_many(self, since: Mapping[str, int]) -> dict[str, list[Recorded]]:
        """The facts after a version, of several streams, in one round trip."""
        found: dict[str, list[Recorded]] = {stream: [] for stream in since}
        if since:
            if len(since) == 1:
                [(stream, version)] = since.items()
                return {stream: all_recorded(await self.worker.fetch(self._load, stream, version))}
            rows = await self.worker.fetch(self._load_many, list(since), list(since.values()))
            for recorded in all_recorded(rows):
                found[recorded.stream].append(recorded)
        return found

    async def office_load(
        self, stream: str, since: int, organisations: Sequence[str]
    ) -> list[Recorded]:
        """The same for one stream and a person's organisations. Raises OutOfScope."""
        try:
            rows = await self.office.fetch(
                self._office_load, stream, since + 1, list(organisations)
            )
        except asyncpg.PostgresError as error:
            raise _translate(error) from error
        return all_recorded(rows)

    async def write(
        self,
        write: Write,
        organisations: Sequence[str] | None = None,
        *,
        together: bool = False,
    ) -> None:
        """Store everything or nothing.

        With ``organisations`` the write goes through the office's door and its scope check. One
        of many is stored ``together`` with those that come at the same moment, each in a
        transaction of its own. Raises Conflict, CommandRepeated or OutOfScope.
        """
        office = None if organisations is None else tuple(organisations)
        try:
            if together:
                failed = await self._writes_together.answer((office, write.arguments()))
                if failed is not None:
                    raise failed
            else:
                await self._write_alone(office, write.arguments())
        except asyncpg.PostgresError as error:
            raise _translate(error) from error

    async def _write_alone(self, office: Office, arguments: tuple[Any, ...]) -> None:
        if office is None:
            await self.worker.fetchval(self._write, *arguments)
        else:
            await self.office.fetchval(self._office_write, *arguments, list(office))

    async def _all_writes(
        self, asked: Sequence[tuple[Office, tuple[Any, ...]]]
    ) -> list[asyncpg.PostgresError | None]:
        """What went wrong with each write; they are stored in this order within an office."""
        if len(asked) == 1:
            await self._write_alone(*asked[0])
            return [None]
        indexes_by_office: dict[Office, list[int]] = {}
        for index, (office, _) in enumerate(asked):
            indexes_by_office.setdefault(office, []).append(index)
        failed: list[asyncpg.PostgresError | None] = [None] * len(asked)
        for office, indexes in indexes_by_office.items():
            rests, *columns = zip(*(asked[index][1] for index in indexes), strict=True)
            pool = self.worker if office is None else self.office
            errors = await pool.fetchval(
                self._write_each,
                None if office is None else list(office),
                rests,
                [len(streams) for streams in columns[0]],
                *(list(chain.from_iterable(column)) for column in columns),
            )
            for index, text in zip(indexes, errors, strict=True):
                state, _, violated = text.partition(" ")
                if state:
                    failed[index] = asyncpg.PostgresError.new({"C": state, "n": violated, "M": ""})
        return failed

    async def guards(self, keys: Iterable[str]) -> dict[str, int]:
        """The values of guard rows; a row that is not there yet counts 0."""
        wanted = list(keys)
        return await self._guards_together.answer(wanted) if wanted else {}

    async def _all_guards(self, asked: Sequence[Sequence[str]]) -> list[dict[str, int]]:
        wanted = {key for keys in asked for key in keys}
        rows = await self.worker.fetch(self._guards, list(wanted))
        values = {key: value for key, value in rows}  # noqa: C416 - rows are no pairs to the types
        return [{key: values.get(key, 0) for key in keys} for keys in asked]

    async def documents(
        self, wanted: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Own read-model documents to decide with, by (model, key); absent ones are left out."""
        pairs = list(wanted)
        return await self._own_together.answer(pairs) if pairs else {}

    async def _all_own_documents(
        self, asked: Sequence[Sequence[tuple[str, str]]]
    ) -> list[dict[tuple[str, str], Mapping[str, Any]]]:
        wanted = list({pair for pairs in asked for pair in pairs})
        rows = await self.office.fetch(
            f"SELECT model, key, document FROM {self.schema}.api_documents($1, $2)",  # noqa: S608 - as above
            [model for model, _ in wanted],
            [key for _, key in wanted],
        )
        found = {(model, key): orjson.loads(document) for model, key, document in rows}
        return [{pair: found[pair] for pair in pairs if pair in found} for pairs in asked]

    async def command(self, key: str) -> StoredCommand | None:
        row = await self.office.fetchrow(
            f"SELECT * FROM {self.schema}.api_command($1)",  # noqa: S608 - as above
            key,
        )
        return None if row is None else StoredCommand(**dict(row))

    async def deny(self, actor: str, attempt: str, subject: str) -> None:
        """Record a refused look or act, by actor, outside the case."""
        DENIALS.labels(self.schema).inc()
        await self.office.execute(
            f"SELECT {self.schema}.api_deny($1, $2, $3)",
            actor,
            attempt,
            subject,
        )

    async def reference_mark(self) -> tuple[int, int]:
        """Changes whenever a reference row was added (ordinals alone commit out of order)."""
        [row] = await self.worker.fetch(
            "SELECT count(*) AS rows, coalesce(max(ordinal), 0) AS last "  # noqa: S608 - as above
            f"FROM {self.schema}.reference"
        )
        return (row["rows"], row["last"])

    async def reference_rows(self) -> list[ReferenceRow]:
        """All reference rows, in the order in which they were taken in."""
        rows = await self.worker.fetch(
            f"SELECT kind, key, document, move FROM {self.schema}.reference "  # noqa: S608 - as above
            f"WHERE (SELECT {self.schema}.flushed()) ORDER BY ordinal"
        )
        return [
            ReferenceRow(r["kind"], r["key"], orjson.loads(r["document"]), r["move"] or 0)
            for r in rows
        ]

    async def last_position(self) -> int:
        """The last position drawn, committed or not."""
        found = await self.worker.fetchval(
            f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END "  # noqa: S608 - as above
            f"FROM {self.schema}.facts_position_seq"
        )
        return int(found)

    async def due(self, today: date, limit: int) -> list[DueTimer]:
        """Timers that have fallen due, the oldest first."""
        rows = await self.worker.fetch(
            "SELECT stream, due_on, document, (SELECT max(version) "  # noqa: S608 - as above
            f"FROM {self.schema}.facts f WHERE f.stream = v.stream) AS version "
            f"FROM {self.schema}.views v "
            "WHERE model = 'timer' AND due_on <= $1 ORDER BY due_on, stream, key LIMIT $2",
            today,
            limit,
        )
        return [
            DueTimer(r["stream"], orjson.loads(r["document"])["timer"], r["due_on"], r["version"])
            for r in rows
        ]

    async def overview(self) -> dict[str, Any]:
        """Work that waits, by office; the day of the next timer; cases by stage."""
        s = self.schema
        work = await self.worker.fetch(
            f"SELECT organisation, role, count(*) AS items FROM {s}.views "  # noqa: S608 - as above
            "WHERE model = 'work' GROUP BY organisation, role ORDER BY organisation, role"
        )
        next_timer = await self.worker.fetchval(
            f"SELECT min(due_on) FROM {s}.views WHERE model = 'timer'"  # noqa: S608 - as above
        )
        stages = await self.worker.fetch(
            f"SELECT status, count(*) AS cases FROM {s}.views "  # noqa: S608 - as above
            "WHERE model = 'case' GROUP BY status ORDER BY status"
        )
        return {
            "stages": {row["status"]: row["cases"] for row in stages},
            "work": {f"{row['organisation']}/{row['role']}": row["items"] for row in work},
            "next_timer_on": next_timer,
        }

    async def document(
        self, organisations: Sequence[str], model: str, key: str
    ) -> Mapping[str, Any] | None:
        """One document of a read model, if row-level security lets these organisations see it."""
        found = await self._views_together.answer((",".join(organisations), model, key))
        return None if found is None else dict(orjson.loads(found))

    async def _all_documents(self, asked: Sequence[tuple[str, str, str]]) -> list[str | None]:
        keys_by_look: dict[tuple[str, str], list[str]] = {}
        for organisations, model, key in asked:
            keys_by_look.setdefault((organisations, model), []).append(key)
        found: dict[tuple[str, str, str], str] = {}
        for look, keys in keys_by_look.items():
            rows = await self.office.fetch(self._views, *look, keys)
            found.update(((*look, key), document) for key, document in rows)
        return [found.get(each) for each in asked]

    async def work(
        self, organisations: Sequence[str], roles: Sequence[str], after: str, limit: int
    ) -> list[asyncpg.Record]:
        """Rows of the work lists of these organisations' own offices, by key; documents as JSON."""
        rows: list[asyncpg.Record] = await self.office.fetch(
            f"SELECT * FROM {self.schema}.api_work($1, $2, $3, $4)",  # noqa: S608 - as above
            list(organisations),
            list(roles),
            after,
            limit,
        )
        return rows

    async def query_views(
        self, organisations: Sequence[str], where: str, *arguments: Any
    ) -> list[dict[str, Any]]:
        """Rows of read models that row-level security lets these organisations see.

        ``where`` is written by the room, with $1… for the arguments.
        """
        async with self.office.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute(
                "SELECT set_config('app.organisations', $1, true)", ",".join(organisations)
            )
            rows = await connection.fetch(
                "SELECT model, key, stream, subject, organisation, role, status, due_on, document "  # noqa: S608 - where comes from the room's code
                f"FROM {self.schema}.views WHERE {where}",
                *arguments,
            )
        return [{**dict(row), "document": orjson.loads(row["document"])} for row in rows]
