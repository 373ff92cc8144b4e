"""Who an ID number belongs to: learned again after a restore, forgotten with an erasure.

The lookup (`storage.PersonLookup`) follows from no fact alone: its HMACs stand nowhere else, so
that an erasure leaves nothing. But the ID numbers stand sealed in the applications; whoever may
open them can fill in what the restored table lacks. Without it a known person would get a new id,
and a second open file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson

from services.intake.facts import (
    ApplicationAccepted,
    ApplicationResubmitted,
    ApplicationSubmitted,
)
from shared.keys import KeyStore

ROWS_AT_ONCE: Final = 200
APPLICATIONS: Final = (ApplicationSubmitted.stored_name, ApplicationResubmitted.stored_name)
ACTOR: Final = "operator"
PURPOSE: Final = "person lookup after a restore"

_UNKNOWN: Final = (
    "SELECT position, data FROM {schema}.facts f WHERE position > $1 AND type = ANY ($2)"
    " AND EXISTS (SELECT FROM jsonb_array_elements(f.data::jsonb->'members') AS m WHERE NOT EXISTS"
    " (SELECT FROM {schema}.persons p WHERE p.person_id = m->>'person_id'))"
    " ORDER BY position LIMIT $3"
)
_ACCEPTED: Final = (
    "UPDATE {schema}.persons p SET household_id = a.household FROM ("
    "SELECT DISTINCT ON (m.person) m.person, f.data::jsonb->>'household_id' AS household"
    " FROM {schema}.facts f, jsonb_array_elements_text(f.data::jsonb->'persons') AS m(person)"
    " WHERE f.type = $1 AND m.person = ANY ($2) ORDER BY m.person, f.position DESC) a"
    " WHERE p.person_id = a.person AND p.household_id IS DISTINCT FROM a.household"
)


async def learn_again(connection: asyncpg.Connection, schema: str, keys: KeyStore) -> int:
    """Fill in every member of an application who is missing; how many. Safe to repeat.

    Of an erased person nothing opens, and nothing is filled in.
    """
    after, learned = 0, 0
    unknown = _UNKNOWN.format(schema=schema)
    while True:
        rows = await connection.fetch(unknown, after, list(APPLICATIONS), ROWS_AT_ONCE)
        if not rows:
            return learned
        after = rows[-1]["position"]
        for row in rows:
            learned += await _learn(connection, schema, keys, orjson.loads(row["data"]))


async def forget(connection: asyncpg.Connection, schema: str, persons: Sequence[str]) -> int:
    """Delete the lookup rows of erased persons; how many there were."""
    rows = await connection.fetch(
        f"DELETE FROM {schema}.persons WHERE person_id = ANY ($1) RETURNING true",  # noqa: S608 - as above
        list(persons),
    )
    return len(rows)


async def cases_of(
    connection: asyncpg.Connection, schema: str, persons: Sequence[str]
) -> list[str]:
    """Every case in whose application one of them ever was."""
    rows = await connection.fetch(
        f"SELECT DISTINCT subject FROM {schema}.facts f WHERE type = ANY ($1) AND EXISTS"  # noqa: S608 - as above
        " (SELECT FROM jsonb_array_elements(f.data::jsonb->'members') AS m"
        "  WHERE m->>'person_id' = ANY ($2))",
        list(APPLICATIONS),
        list(persons),
    )
    return [row["subject"] for row in rows]


async def _learn(
    connection: asyncpg.Connection, schema: str, keys: KeyStore, application: Mapping[str, Any]
) -> int:
    person_of = {m["id_number"]: m["person_id"] for m in application["members"]}
    opened = await keys.open(list(person_of), ACTOR, PURPOSE)
    macs = {
        keys.mac("id_number", number): person_of[token]
        for token, number in opened.items()
        if number is not None
    }
    async with connection.transaction():
        added = await connection.fetch(
            f"INSERT INTO {schema}.persons (mac, person_id)"  # noqa: S608 - the schema is the room's own name
            " SELECT * FROM unnest($1::text[], $2::text[])"
            " AS n(mac, person_id) ORDER BY mac ON CONFLICT DO NOTHING RETURNING person_id",
            list(macs),
            list(macs.values()),
        )
        await connection.execute(
            f"UPDATE {schema}.persons SET household_id = coalesce(household_id, $2)"  # noqa: S608 - as above
            " WHERE person_id = $1",
            application["applicant_id"],
            application["household_id"],
        )
        await connection.execute(
            _ACCEPTED.format(schema=schema),
            ApplicationAccepted.stored_name,
            [row["person_id"] for row in added],
        )
    return len(added)
