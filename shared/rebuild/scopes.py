"""Who sees a subject on which day: a pure function of its holders and of the tree's moves.

The same rows as `write_scopes` (0004_scopes.sql) writes step by step: what held for no day leaves
no row, what never ended stays one row, a day before the last change counts as the day of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from shared.directory import Directory
from shared.network_copy import moved_by
from shared.room import ReferenceRow


@dataclass(frozen=True, slots=True)
class Moved:
    """A move of the tree as it was taken in: facts up to the position were scoped before it."""

    row: ReferenceRow
    day: date
    after_position: int


@dataclass(frozen=True, slots=True)
class Above:
    """From the facts after a position on: those above an organisation, and since which day."""

    after_position: int
    day: date
    organisations: Sequence[str]


@dataclass(frozen=True, slots=True)
class Scope:
    """An organisation sees a subject from a day until, not including, another."""

    organisation: str
    holder: bool
    from_day: date
    to_day: date | None = None


class TreeHistory:
    """For each organisation, those above it after each move that concerned it."""

    def __init__(self, moves: Iterable[Moved] = ()) -> None:
        self._above: dict[str, list[Above]] = defaultdict(list)
        directory = Directory()
        for moved in moves:
            document = moved.row.document
            directory.apply(document["fact"], document["data"])
            for each in directory.below(moved_by(moved.row) or ""):
                above = Above(moved.after_position, moved.day, directory.above(each))
                self._above[each].append(above)

    def at(self, organisation: str, position: int) -> Sequence[str]:
        """Those above it when the fact at that position was written."""
        steps = self._above.get(organisation, ())
        index = bisect_left(steps, position, key=lambda step: step.after_position)
        return steps[index - 1].organisations if index else ()

    def between(self, organisation: str, first: int, last: int | None) -> Sequence[Above]:
        """The moves that were taken in after the fact at `first` and before that at `last`."""
        steps = self._above.get(organisation, ())
        begin = bisect_left(steps, first, key=lambda step: step.after_position)
        if last is None:
            return steps[begin:]
        return steps[begin : bisect_left(steps, last, key=lambda step: step.after_position)]


@dataclass(frozen=True, slots=True)
class Held:
    """A fact gave the subject a holder: its position and day."""

    position: int
    day: date
    holder: str


def scopes_of(held: Sequence[Held], tree: TreeHistory) -> list[Scope]:
    """All rows of one subject, from the facts that gave it its holders, in order."""
    rows: list[Scope] = []
    following: list[Held | None] = [*held[1:], None]
    for step, next_step in zip(held, following, strict=True):
        rows = _moved(rows, step.day, [step.holder, *tree.at(step.holder, step.position)])
        last = next_step.position if next_step is not None else None
        for above in tree.between(step.holder, step.position, last):
            rows = _moved(rows, above.day, [step.holder, *above.organisations])
    return rows


def _moved(rows: Sequence[Scope], day: date, organisations: Sequence[str]) -> list[Scope]:
    """The rows after one change, on the day or that of the last change if it is later."""
    day = max([day, *(row.to_day or row.from_day for row in rows)])
    wanted = {organisation: not index for index, organisation in enumerate(organisations)}
    kept: list[Scope] = []
    for row in rows:
        if row.to_day is None and wanted.get(row.organisation) != row.holder:
            if row.from_day == day:
                continue
            kept.append(replace(row, to_day=day))
        elif row.to_day == day and wanted.get(row.organisation) == row.holder:
            kept.append(replace(row, to_day=None))
        else:
            kept.append(row)
    there = {row.organisation for row in kept if row.to_day is None}
    return kept + [
        Scope(organisation, holder, day)
        for organisation, holder in wanted.items()
        if organisation not in there
    ]
