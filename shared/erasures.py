"""The register of erasures as a file: taken out of the keys' database, and played into it again.

A restore of that database brings back keys which were destroyed since. The register has no personal
data: random ids of persons, who erased them, and when. A file only grows: an erasure that a
restored database has forgotten stays in it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import asyncpg
import orjson

from shared.keys import SCHEMA


class RegisterBroken(ValueError):
    """A line of the file is no erasure; the message names its number."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person whose keys were destroyed."""

    person_id: str
    actor: str
    service: str
    erased_at: datetime


async def stored(connection: asyncpg.Connection) -> list[Erasure]:
    """What the keys' database knows; InsufficientPrivilegeError without the right to erase."""
    rows = await connection.fetch(f"SELECT * FROM {SCHEMA}.list_erasures()")  # noqa: S608 - a constant
    return [Erasure(**dict(row)) for row in rows]


async def replay(connection: asyncpg.Connection, erasures: Sequence[Erasure]) -> dict[str, int]:
    """Destroy again whatever came back; by person the keys, for those who were not erased here."""
    rows = await connection.fetch(
        f"SELECT * FROM {SCHEMA}.replay_erasures($1, $2, $3, $4)",  # noqa: S608 - a constant
        [each.person_id for each in erasures],
        [each.actor for each in erasures],
        [each.service for each in erasures],
        [each.erased_at for each in erasures],
    )
    return {row["person_id"]: row["destroyed"] for row in rows}


async def forget_commands(connection: asyncpg.Connection, schema: str, cases: Sequence[str]) -> int:
    """Delete what one service keeps of the commands in the streams of these cases; how many.

    Their keys and hashes lead back to who knows the ID number or the words that were sent: a paper
    form's key is a keyed hash of its applicant, and a client may have put anything into its own.
    They serve repeats alone, and nobody repeats what was sent for somebody who is erased.
    """
    rows = await connection.fetch(
        f"DELETE FROM {schema}.commands WHERE stream IN"  # noqa: S608 - the schema is the room's own name
        f" (SELECT DISTINCT stream FROM {schema}.facts WHERE subject = ANY ($1)) RETURNING true",
        list(cases),
    )
    return len(rows)


def read(path: Path) -> list[Erasure]:
    """The file's erasures; none if it is not there yet. Raises RegisterBroken."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            said = orjson.loads(line)
            said["erased_at"] = datetime.fromisoformat(said["erased_at"])
            if said["erased_at"].tzinfo is None:
                raise ValueError("erased_at")
            for name in ("person_id", "actor", "service"):
                # What PostgreSQL takes for a text.
                if not isinstance(said[name], str) or not said[name] or "\x00" in said[name]:
                    raise ValueError(name)
            found.append(Erasure(**said))
        except (ValueError, TypeError, KeyError) as error:
            raise RegisterBroken(f"line {number}") from error
    return found


def write(path: Path, erasures: Sequence[Erasure]) -> None:
    """All of them, one JSON object a line; the file is there only when it is whole, and durable."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        for each in erasures:
            file.write(orjson.dumps(asdict(each)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def together(kept: Sequence[Erasure], known: Sequence[Erasure]) -> list[Erasure]:
    """Both, the earliest of each person, in the order of their time."""
    first: dict[str, Erasure] = {}
    for each in sorted([*kept, *known], key=lambda e: (e.erased_at, e.person_id)):
        first.setdefault(each.person_id, each)
    return list(first.values())
