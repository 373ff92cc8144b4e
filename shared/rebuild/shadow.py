"""The derived rows in temporary tables beside the kept ones: compared, and put in their place.

Temporary, so that a rebuild that dies leaves nothing behind and nobody else can read them. One
session holds them; it says itself when a transaction begins, since what is compared has to be of
one moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.rebuild.derive import Derivation
from shared.rebuild.parts import SCOPES, VIEWS, Part, Wanted

MISSING: Final = "missing"
UNFOUNDED: Final = "follows from no fact"
WRONG: Final = "not what the facts give"


@dataclass(frozen=True, slots=True)
class Differing:
    """One row that is not as the facts give it; ``columns`` are names, never what stands there."""

    part: str
    kind: str
    key: tuple[Any, ...]
    of: str
    columns: Sequence[str] = ()
    # Of a sum: what is kept and what the facts give.
    kept: int = 0
    derived: int = 0

    @property
    def model(self) -> str:
        """What counts are told by: the read model, else the table."""
        return str(self.key[0]) if self.part == VIEWS else self.part

    def __str__(self) -> str:
        key = " ".join(str(each) for each in self.key)
        if self.kept or self.derived:
            return f"{key}: {self.kept}, by the facts {self.derived}"
        return f"{key}: {', '.join(self.columns)}" if self.columns else key


class Shadow:
    """The temporary tables of one session, for the wanted parts of one schema."""

    def __init__(self, connection: Any, schema: str, wanted: Wanted) -> None:
        self.connection = connection
        self._schema = schema
        self.wanted = wanted

    async def create(self) -> None:
        """Empty tables, whatever the session had before."""
        execute = self.connection.execute
        await execute("DROP TABLE IF EXISTS faulty; CREATE TEMP TABLE faulty (name text)")
        for part in self.wanted.parts:
            columns = ", ".join(part.columns)
            keys = ", ".join(part.key)
            extra = "kept bigint, derived bigint" if part.kind == "sum" else "columns text[]"
            await execute(
                f"DROP TABLE IF EXISTS shadow_{part.name}, differing_{part.name};"  # noqa: S608 - names of the code
                f"CREATE TEMP TABLE shadow_{part.name} AS SELECT {columns}"
                f" FROM {self._schema}.{part.name} WITH NO DATA;"
                f"CREATE TEMP TABLE differing_{part.name} AS SELECT {keys}, ''::text AS belongs_to,"
                f" ''::text AS kind FROM {self._schema}.{part.name} WITH NO DATA;"
                f"ALTER TABLE differing_{part.name} ADD {extra.replace(', ', ', ADD ')}"
            )

    async def take(self, derivation: Derivation) -> None:
        """Take away what was derived so far."""
        copy = self.connection.copy_records_to_table
        for name, rows in derivation.rows.items():
            if rows:
                await copy(f"shadow_{name}", records=rows)
        for name, counted in derivation.sums.items():
            sums = [(*key, value) for key, value in counted.items() if value]
            if sums:
                await copy(f"shadow_{name}", records=sums)
        derivation.rows.clear()
        derivation.sums.clear()

    async def compare(self, faulty: Iterable[str]) -> None:
        """Find all differences, as of this transaction's moment.

        Streams (and their subjects) that could not be derived are left out, and with one of them
        all tables that do not say whose a row is: what the facts give is not known then.
        """
        names = sorted(faulty)
        await self.connection.copy_records_to_table("faulty", records=[(n,) for n in names])
        for part in self.wanted.parts:
            shadow = f"shadow_{part.name}"
            if part.kind == "state":
                # For the streams that go on meanwhile.
                await self.connection.execute(f"CREATE INDEX ON {shadow} ({part.of})")
            await self.connection.execute(f"ANALYZE {shadow}")
            if names and not part.of:
                continue
            if part.kind == "sum":
                await self.connection.execute(_sums_that_differ(self._schema, part))
            else:
                await self.connection.execute(self._rows_that_differ(part, ""), *self._models(part))

    async def replace(self, derivation: Derivation, subjects: Mapping[str, str]) -> None:
        """Put the rows of these streams (with their subjects) in place of earlier ones, compare."""
        states = [part for part in self.wanted.parts if part.kind == "state"]
        named = {part.name: _names(part, subjects) for part in states}
        for part in states:
            of = named[part.name]
            await self.connection.execute(
                f"DELETE FROM shadow_{part.name} WHERE {part.of} = ANY ($1)",  # noqa: S608 - as above
                of,
            )
            await self.connection.execute(
                f"DELETE FROM differing_{part.name} WHERE belongs_to = ANY ($1)",  # noqa: S608 - as above
                of,
            )
        for part in self.wanted.parts:
            if part.kind != "state":
                # What new facts add here, their own writes have added and nothing takes away.
                derivation.rows.pop(part.name, None)
                derivation.sums.pop(part.name, None)
        await self.take(derivation)
        for part in states:
            of, models = named[part.name], self._models(part)
            where = f"WHERE {part.of} = ANY (${len(models) + 1})"
            await self.connection.execute(self._rows_that_differ(part, where), *models, of)

    async def differing(self, part: Part, limit: int | None = None) -> list[Differing]:
        """What differs in one part, by key; all or the first so many of each model."""
        keys = ", ".join(part.key)
        group = part.model or "1"
        extra = "kept, derived" if part.kind == "sum" else "columns"
        rows = await self.connection.fetch(
            f"SELECT * FROM (SELECT {keys}, belongs_to, kind, {extra}, row_number() OVER"  # noqa: S608 - as above
            f" (PARTITION BY {group} ORDER BY {keys}) AS number FROM differing_{part.name}) AS d"
            f" WHERE $1::bigint IS NULL OR number <= $1 ORDER BY {keys}",
            limit,
        )
        return [
            Differing(
                part.name,
                row["kind"],
                tuple(row[name] for name in part.key),
                row["belongs_to"] or "",
                *((row["columns"],) if part.kind != "sum" else ((), row["kept"], row["derived"])),
            )
            for row in rows
        ]

    async def counts(self, part: Part) -> dict[str, tuple[int, int]]:
        """Rows by model (or the table's name): kept and derived, as of this moment."""
        model = part.model or f"'{part.name}'"
        found: dict[str, list[int]] = {}
        where, models = ("WHERE model = ANY ($1)", self._models(part))
        tables = (f"{self._schema}.{part.name}", f"shadow_{part.name}")
        for index, table in enumerate(tables):
            count = f"count(DISTINCT ({', '.join(part.key)}))" if part.kind == "sum" else "count(*)"
            rows = await self.connection.fetch(
                f"SELECT {model} AS model, {count} AS rows FROM {table} "  # noqa: S608 - as above
                f"{where if models else ''} GROUP BY 1",
                *models,
            )
            for row in rows:
                found.setdefault(row["model"], [0, 0])[index] = row["rows"]
        return {name: (kept, derived) for name, (kept, derived) in sorted(found.items())}

    async def count_differing(self, part: Part) -> dict[str, dict[str, int]]:
        """How many rows differ, by model and kind of difference."""
        model = part.model or f"'{part.name}'"
        rows = await self.connection.fetch(
            f"SELECT {model} AS model, kind, count(*) AS rows "  # noqa: S608 - as above
            f"FROM differing_{part.name} GROUP BY 1, 2"
        )
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            found.setdefault(row["model"], {})[row["kind"]] = row["rows"]
        return found

    async def mend_sum(self, part: Part) -> None:
        """Bring a part's sums to what the facts give; in a transaction of the caller's."""
        for statement in _mend_sums(self._schema, part):
            await self.connection.execute(statement)

    async def mend_facts(self, part: Part) -> None:
        """The same for rows of single facts, which nothing else may ever change."""
        if await self.connection.fetchval(f"SELECT NOT EXISTS (SELECT FROM differing_{part.name})"):  # noqa: S608 - as above
            return
        table = f"{self._schema}.{part.name}"
        await self.connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await self.mend_rows(part, None)
        await self.connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")

    async def mend_rows(self, part: Part, limit: int | None) -> int:
        """Put so many of the differing rows right (or all) in this transaction; how many."""
        keys, target = ", ".join(part.key), f"{self._schema}.{part.name}"
        columns = ", ".join(part.columns)
        execute = self.connection.execute
        await execute(
            f"DROP TABLE IF EXISTS chosen; CREATE TEMP TABLE chosen ON COMMIT DROP AS "  # noqa: S608 - as above
            f"SELECT DISTINCT {keys} FROM differing_{part.name} LIMIT {limit or 'ALL'}"
        )
        await execute(f"DELETE FROM {target} t USING chosen c WHERE {_same('t', 'c', part)}")  # noqa: S608 - as above
        await execute(
            f"INSERT INTO {target} ({columns}) SELECT {', '.join(f's.{c}' for c in part.columns)}"  # noqa: S608 - as above
            f" FROM shadow_{part.name} s JOIN chosen c ON {_same('s', 'c', part)}"
        )
        await execute(
            f"DELETE FROM differing_{part.name} t USING chosen c "  # noqa: S608 - as above
            f"WHERE {_same('t', 'c', part)}"
        )
        return int(await self.connection.fetchval("SELECT count(*) FROM chosen"))

    def _models(self, part: Part) -> list[Any]:
        chosen = part.name == VIEWS and self.wanted.models is not None
        return [sorted(self.wanted.models or ())] if chosen else []

    def _rows_that_differ(self, part: Part, where: str) -> str:
        """Fill the differences of a part, of all its rows or of those that `where` names."""
        conditions = [where.removeprefix("WHERE ")] if where else []
        models = ["model = ANY ($1)"] if self._models(part) else []
        kept = [*conditions, *models]
        # A stream that could not be derived, or that gave nothing, says nothing of its rows.
        if part.of:
            kept.append(f"NOT EXISTS (SELECT FROM faulty WHERE name = {part.of})")
        columns, keys = ", ".join(part.columns), part.key
        join = " AND ".join(f"k.{name} = d.{name}" for name in keys)
        named = ", ".join(
            f"CASE WHEN k.{name} IS DISTINCT FROM d.{name} THEN '{name}' END"
            for name in part.values
        )
        first = keys[0]
        belongs = f"coalesce(k.{part.of}, d.{part.of})" if part.of else "''"
        return (
            f"INSERT INTO differing_{part.name} "  # noqa: S608 - as above
            f"SELECT {', '.join(f'coalesce(k.{name}, d.{name})' for name in keys)},"
            f" {belongs},"
            f" CASE WHEN k.{first} IS NULL THEN '{MISSING}'"
            f" WHEN d.{first} IS NULL THEN '{UNFOUNDED}' ELSE '{WRONG}' END,"
            f" CASE WHEN k.{first} IS NULL OR d.{first} IS NULL THEN '{{}}'"
            f" ELSE array_remove(ARRAY[{named}], NULL) END "
            f"FROM (SELECT {columns} FROM {self._schema}.{part.name}{_where(kept)}) AS k "
            f"FULL JOIN (SELECT {columns} FROM shadow_{part.name}{_where(conditions)}) AS d"
            f" ON {join} WHERE k.{first} IS NULL OR d.{first} IS NULL OR"
            f" ({', '.join(f'k.{name}' for name in part.values)}) IS DISTINCT FROM"
            f" ({', '.join(f'd.{name}' for name in part.values)})"
        )


def _same(one: str, other: str, part: Part) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in part.key)


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _names(part: Part, subjects: Mapping[str, str]) -> list[str]:
    return list(subjects.values() if part.name == SCOPES else subjects)


def _sums_that_differ(schema: str, part: Part) -> str:
    keys, value = part.key, part.values[0]
    join = " AND ".join(f"k.{name} = d.{name}" for name in keys)
    return (
        f"INSERT INTO differing_{part.name} "  # noqa: S608 - as above
        f"SELECT {', '.join(f'coalesce(k.{name}, d.{name})' for name in keys)}, '', '{WRONG}',"
        f" coalesce(k.{value}, 0), coalesce(d.{value}, 0) FROM {schema}.{part.name} AS k"
        f" FULL JOIN (SELECT {', '.join(keys)}, sum({value})::bigint AS {value}"
        f" FROM shadow_{part.name} GROUP BY {', '.join(keys)}) AS d ON {join}"
        f" WHERE coalesce(k.{value}, 0) <> coalesce(d.{value}, 0)"
    )


def _mend_sums(schema: str, part: Part) -> Sequence[str]:
    """Moves each sum by what it is off: whatever others add to it meanwhile stays added."""
    keys, target, value = part.key, f"{schema}.{part.name}", part.values[0]
    same = " AND ".join(f"t.{name} = d.{name}" for name in keys)
    order = ", ".join(f'd.{name} COLLATE "C"' for name in keys)
    names = ", ".join(keys)
    return (
        f"INSERT INTO {target} ({names}, {value}) SELECT {names}, 0 FROM differing_{part.name} d"  # noqa: S608 - names of the code
        f" ORDER BY {order} ON CONFLICT DO NOTHING",
        # In the order in which writers lock them.
        f"SELECT FROM {target} t JOIN differing_{part.name} d ON {same}"
        f" ORDER BY {order} FOR UPDATE OF t",
        f"UPDATE {target} t SET {value} = t.{value} + d.derived - d.kept"  # noqa: S608 - as above
        f" FROM differing_{part.name} d WHERE {same}",
    )
