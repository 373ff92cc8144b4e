"""What a service keeps beside its log and can be derived from it: one part for each table.

Three kinds. Rows of a stream's state (read models, scopes), which each write of the stream
replaces; rows of single facts, which never change once they are there; and sums over facts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shared.room import DerivedTable, Room

VIEWS: Final = "views"
GUARDS: Final = "guards"
SCOPES: Final = "case_scope"
REFERENCE: Final = "reference"

Kind = Literal["state", "fact", "sum"]


@dataclass(frozen=True, slots=True)
class Part:
    """A derived table: what names a row, what it says, and whose it is."""

    name: str
    kind: Kind
    key: Sequence[str]
    values: Sequence[str]
    # By this the rows of one stream (or subject) are found; empty for sums.
    of: str = ""
    # Of the key, in front: what counts are told by. Only read models have it.
    model: str = ""
    # False for what outsiders have read already: it is compared, and a person has to see to it.
    mended: bool = True

    @property
    def columns(self) -> Sequence[str]:
        return (*self.key, *self.values)


PART_OF_VIEWS: Final = Part(
    VIEWS,
    "state",
    ("model", "key"),
    ("stream", "subject", "organisation", "role", "status", "due_on", "document"),
    of="stream",
    model="model",
)
PART_OF_GUARDS: Final = Part(GUARDS, "sum", ("key",), ("value",))
PART_OF_SCOPES: Final = Part(
    SCOPES, "state", ("subject", "organisation", "from_day"), ("holder", "to_day"), of="subject"
)
# Own facts alone give these; what is heard of others comes from their logs.


def parts_of(room: Room) -> tuple[Part, ...]:
    """All that can be derived of one room."""
    own = tuple(map(_own, room.derived))
    return (PART_OF_GUARDS, *own, PART_OF_SCOPES, PART_OF_VIEWS)


def _own(table: DerivedTable) -> Part:
    if table.is_sum:
        return Part(table.name, "sum", table.key, table.values)
    return Part(table.name, "fact", table.key, table.values, of=table.of, mended=table.mended)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is derived: parts by name, and of the read models all or these."""

    parts: tuple[Part, ...]
    models: frozenset[str] | None = None

    def has(self, name: str) -> bool:
        return any(part.name == name for part in self.parts)

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)


def wanted_of(room: Room, names: Collection[str] = ()) -> Wanted:
    """The parts and read models of these names, tables or models; all without any."""
    parts = parts_of(room)
    if not names:
        return Wanted(parts)
    chosen = tuple(part for part in parts if part.name in names)
    models = frozenset(names) - {part.name for part in parts}
    if VIEWS in names:
        return Wanted(chosen)
    return Wanted((*chosen, PART_OF_VIEWS) if models else chosen, models)
