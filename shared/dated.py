"""Values that hold from a day to a day: which version was in force, as known on some day.

For anything that is announced and then holds: `versions.in_force(on, known_on)`. Not for what
the values mean. Days are plain dates; the last day of a version belongs to it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Generic, Literal, TypeVar

Value = TypeVar("Value")
Other = TypeVar("Other")
VersionField = Literal["effective_from", "effective_to"]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def parse_day(text: str) -> date:
    """Read an existing day written YYYY-MM-DD, and nothing else; raise `ValueError`.

    `date.fromisoformat` alone takes week dates and days without hyphens too.
    """
    if _DAY.fullmatch(text) is None:
        raise ValueError("a day is written YYYY-MM-DD")
    return date.fromisoformat(text)


@dataclass(frozen=True)
class Version(Generic[Value]):
    """One announced value. `effective_to` is its last day; None leaves the end open."""

    effective_from: date
    announced_on: date
    value: Value
    effective_to: date | None = None
    source: str | None = None

    def has_passed(self, day: date) -> bool:
        """Say whether the last day of this version lies before `day`."""
        return self.effective_to is not None and self.effective_to < day


class VersionsConflict(ValueError):
    """Two versions that cannot both stand, or one whose end lies before its beginning.

    `index` is the place of the faulty version in the iterable that was given, `field` the field
    of it that is wrong.
    """

    def __init__(self, index: int, field: VersionField, text: str) -> None:
        super().__init__(text)
        self.index = index
        self.field: VersionField = field


@dataclass(frozen=True)
class Versions(Generic[Value]):
    """The versions of one value in order of `effective_from`. Build it with `Versions.of`."""

    in_order: tuple[Version[Value], ...] = ()

    @classmethod
    def of(cls, versions: Iterable[Version[Value]]) -> "Versions[Value]":
        """Order and check `versions`, given in any order; raise `VersionsConflict`.

        No two begin on one day, none ends before it begins, none reaches into a later one.
        """
        given = tuple(versions)
        conflict = _conflict_in(given)
        if conflict is not None:
            raise conflict
        return cls(tuple(sorted(given, key=lambda version: version.effective_from)))

    def __iter__(self) -> Iterator[Version[Value]]:
        return iter(self.in_order)

    def in_force(self, on: date, known_on: date) -> Version[Value] | None:
        """The version in force on the day `on`, of those announced by the day `known_on`.

        The latest `effective_from` that is not after `on` decides. If that version's end has
        passed there is none: an earlier one never comes back, and a gap is never filled.
        """
        for version in reversed(self.in_order):
            if version.effective_from <= on and version.announced_on <= known_on:
                return None if version.has_passed(on) else version
        return None

    def mapped(self, change: Callable[[Value], Other]) -> "Versions[Other]":
        """The same versions with each value changed: the part of a rule that somebody needs."""
        return Versions(
            tuple(
                Version(v.effective_from, v.announced_on, change(v.value), v.effective_to, v.source)
                for v in self.in_order
            )
        )

    def with_added(self, version: Version[Value]) -> "Versions[Value]":
        """These and one more; raise `VersionsConflict` if they cannot stand together."""
        return Versions.of((*self.in_order, version))

    def with_corrected(self, version: Version[Value]) -> "Versions[Value]":
        """These with the version of the same `effective_from` replaced.

        Raise `LookupError` if there is none, `VersionsConflict` if the result cannot stand.
        """
        others = [v for v in self.in_order if v.effective_from != version.effective_from]
        if len(others) == len(self.in_order):
            raise LookupError(f"no version begins on {version.effective_from.isoformat()}")
        return Versions.of((*others, version))


def in_force_for(
    versions: Mapping[str, Versions[Value]], key: str, on: date, known_on: date
) -> Version[Value] | None:
    """`in_force` among the versions kept under `key`; None too if the key is unknown."""
    kept = versions.get(key)
    return None if kept is None else kept.in_force(on, known_on)


def _conflict_in(given: tuple[Version[Value], ...]) -> VersionsConflict | None:
    """The first conflict in order of `effective_from`, with the faulty version's given place."""
    order = sorted(range(len(given)), key=lambda index: given[index].effective_from)
    for position, index in enumerate(order):
        version = given[index]
        end = version.effective_to
        if end is not None and end < version.effective_from:
            return VersionsConflict(index, "effective_to", "the end lies before the beginning")
        if position + 1 == len(order):
            break
        later = given[order[position + 1]]
        if later.effective_from == version.effective_from:
            return VersionsConflict(
                order[position + 1], "effective_from", "two versions begin on the same day"
            )
        if end is not None and end >= later.effective_from:
            return VersionsConflict(index, "effective_to", "the end reaches into a later version")
    return None
