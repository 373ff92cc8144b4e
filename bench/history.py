"""More history in the stores than was lived: copies of what there is, under ids of their own.

A store that has grown for years differs from a new one in the depth of its indexes and in what its
caches can't hold. So every row of a case is stored again and again with the hexadecimal digits of
its ids exchanged, one way for each copy. What makes a service act is left out: work that waits,
timers, offsets, sums. Copies of outbox rows stand before the first position, where no relay looks.
They are no facts that would verify, and are made for the bench's own databases alone.
"""

from __future__ import annotations

from typing import Final

import asyncpg

# What grows with the number of cases.
GROWING: Final = (
    *("facts", "views", "guards", "case_scope", "commands", "watermarks"),
    *("persons", "postings", "instructions"),
)
# Named by the program or by the tree of organisations, and few.
NEVER_COPIED_AS_IDS: Final = frozenset(
    ("type", "model", "organisation", "role", "status", "fund", "account", "traceparent")
)
# Of what acts, or is the installation's and not a case's.
LEFT_OUT: Final = {
    "views": "model NOT IN ('work', 'timer', 'query')",
    "guards": "key NOT LIKE 'fund|%'",
}
HEX: Final = "0123456789abcdef"
COPY_SECONDS: Final = 300


async def grow(url: str, schemas: tuple[str, ...], times: int) -> int:
    """Make the stores of these services ``times`` as long as they are; the facts added."""
    connection = await asyncpg.connect(url, command_timeout=COPY_SECONDS)
    added = 0
    try:
        for schema in schemas:
            columns = await _columns(connection, schema)
            # Each copy is of what was lived: the first rows, which stand at positive positions.
            for table in GROWING:
                if table in columns:
                    rows = await _copy(connection, f"{schema}.{table}", columns[table], times)
                    added += rows if table == "facts" else 0
            await connection.execute(f"ANALYZE {schema}.facts, {schema}.views")
    finally:
        await connection.close()
    return added


async def _columns(connection: asyncpg.Connection, schema: str) -> dict[str, dict[str, str]]:
    """Types of columns by table."""
    found: dict[str, dict[str, str]] = {}
    rows = await connection.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = $1 ORDER BY ordinal_position",
        schema,
    )
    for table, column, type_ in rows:
        found.setdefault(table, {})[column] = type_
    return found


async def _copy(
    connection: asyncpg.Connection, table: str, types: dict[str, str], times: int
) -> int:
    """Store the rows of a table again, ``times`` - 1 times over."""
    values = [_value(name, type_) for name, type_ in types.items()]
    is_lived = LEFT_OUT.get(table.rpartition(".")[2], "true")
    done = await connection.execute(
        f"INSERT INTO {table} ({', '.join(types)}) OVERRIDING SYSTEM VALUE"  # noqa: S608 - names of the catalogue
        f" SELECT {', '.join(values)} FROM {table}"
        f" CROSS JOIN generate_series(1, {times - 1}) AS g(copy)"
        f" CROSS JOIN LATERAL (SELECT substr('{HEX * 2}', copy + 1, 16) AS digits) AS d"
        f" WHERE {is_lived} ON CONFLICT DO NOTHING"
    )
    return int(done.rpartition(" ")[2])


def _value(name: str, type_: str) -> str:
    if name == "position":
        return "-(position * 16 + copy)"
    if type_ == "text" and name not in NEVER_COPIED_AS_IDS:
        return f"translate({name}, '{HEX}', digits)"
    return name
