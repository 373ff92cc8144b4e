"""This process's copy of the reference rows: the tree with its offices, and what the room builds.

Decisions are taken by it without asking the database; who moves the tree takes along what is held
below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from time import monotonic
from typing import Any, Final

from shared.directory import Directory
from shared.event_store import EventStore
from shared.network_copy import NETWORK_KIND, moved_by
from shared.room import ReferenceRow, Room
from shared.write import TreeMove, Write

REFERENCE_SECONDS: Final = 0.2


class ReferenceCopy:
    """This process's copy of the reference rows: directory and whatever the room builds."""

    def __init__(self, room: Room, store: EventStore) -> None:
        self._room = room
        self._store = store
        self.mark = (-1, -1)
        self._looked_at = -REFERENCE_SECONDS
        self.directory = Directory()
        self.built: Any = room.build_reference(())

    async def keep_fresh(self, seconds: float = REFERENCE_SECONDS) -> None:
        """Look for rows that another process added, unless somebody looked within this time."""
        now = monotonic()
        if now - self._looked_at > seconds:
            self._looked_at = now
            await self.refresh()

    async def refresh(self) -> bool:
        """Read the rows again if any was added; True if so."""
        mark = await self._store.reference_mark()
        if mark == self.mark:
            return False
        rows = await self._store.reference_rows()
        self.directory = directory_of(rows)
        self.built = self._room.build_reference(rows)
        self.mark = mark
        return True

    async def directory_with(self, rows: Sequence[ReferenceRow]) -> Directory:
        """The directory as it will be once these rows are stored."""
        return directory_of([*await self._store.reference_rows(), *rows])


def directory_of(rows: Sequence[ReferenceRow]) -> Directory:
    """The tree as these rows tell it, in their order."""
    directory = Directory()
    for row in rows:
        if row.kind == NETWORK_KIND:
            directory.apply(row.document["fact"], row.document["data"])
        directory.moves = max(directory.moves, row.move)
    return directory


def rescope(write: Write, directory: Directory, today: date) -> None:
    """Have a write that moves the tree take along what is held below, by the tree as it will be."""
    moved = {row.key: child for row in write.reference if (child := moved_by(row))}
    if write.tree is None:
        write.tree = directory.moves
    below = {each for child in moved.values() for each in directory.below(child)}
    write.move = TreeMove(
        frozenset(moved),
        today,
        [[holder, *directory.above(holder)] for holder in sorted(below)],
    )
    # What this write itself gives a holder was scoped by the tree as it was before.
    for subject, row in list(write.scopes_by_subject.items()):
        holder = row["organisations"][0]
        write.scope(subject, [holder, *directory.above(holder)], row["from_day"])
