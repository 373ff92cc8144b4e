"""The shape of a parameter file, and how it becomes a `ParameterSet`.

Takes an already decoded JSON value; reading bytes and wording errors is the caller's matter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from services.eligibility.rules.parameters import UNDATED, FundRules, ParameterSet
from shared.calendar import PublishedYear
from shared.dated import Version, Versions, VersionsConflict, parse_day
from shared.fact import Fen, Value

Held = TypeVar("Held")


def _day(value: object) -> date:
    if isinstance(value, str):
        return parse_day(value)
    raise ValueError("a day is written YYYY-MM-DD")


# A day that exists, as text YYYY-MM-DD and in no other form.
Day = Annotated[date, BeforeValidator(_day)]
Name = Annotated[str, Field(min_length=1)]
YearName = Annotated[str, Field(pattern=r"^[0-9]{4}$")]


class DatedEntry(Value):
    """When a version holds, when it was announced, and where that is written."""

    effective_from: Day
    announced_on: Day
    effective_to: Day | None = None
    source: str | None = None


class SumEntry(DatedEntry):
    """A version of a line or a standard, fen a month."""

    fen: Fen


class FundRulesEntry(DatedEntry, FundRules):
    """A version of a fund's rules."""

    def rules(self) -> FundRules:
        """The rules alone, without their dates."""
        return FundRules.model_construct(
            **{name: getattr(self, name) for name in FundRules.model_fields}
        )


class HolidaysEntry(Value):
    """A year's public holidays on weekdays, and the weekend days worked instead."""

    rest_days: tuple[Day, ...]
    working_days: tuple[Day, ...]


class ParameterDocument(Value):
    """A parameter file. `holidays` adds years that the installed calendar does not know."""

    note: str = ""
    lines: dict[Name, tuple[SumEntry, ...]]
    city_standard: dict[Name, tuple[SumEntry, ...]]
    fund_rules: dict[Name, tuple[FundRulesEntry, ...]]
    school_living_cost: dict[Name, Fen]
    holidays: dict[YearName, HolidaysEntry] = Field(default_factory=dict)


class UnsoundDocument(ValueError):
    """Versions or days that contradict one another; `path` leads to the faulty field."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


Entry = TypeVar("Entry", bound=DatedEntry)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a parameter file holds: the rules' parameters, and further years of holidays."""

    parameters: ParameterSet
    holidays: Mapping[int, PublishedYear]


def read_document(value: Any) -> Reading:
    """Read a decoded parameter file.

    Raise `pydantic.ValidationError` for a wrong shape, `UnsoundDocument` for two versions with
    one `effective_from`, an `effective_to` that reaches into a later version or lies before its
    beginning, and for holidays outside their year.
    """
    document = ParameterDocument.model_validate(value)
    parameters = ParameterSet(
        lines=_kept("lines", document.lines, _fen),
        city_standard=_kept("city_standard", document.city_standard, _fen),
        fund_rules=_kept("fund_rules", document.fund_rules, FundRulesEntry.rules),
        school_living_cost={
            school: Versions.of([Version(UNDATED, UNDATED, fen)])
            for school, fen in document.school_living_cost.items()
        },
    )
    return Reading(parameters, _holidays(document.holidays))


def _fen(entry: SumEntry) -> int:
    return entry.fen


def _kept(
    name: str, entries: Mapping[str, Sequence[Entry]], value: Callable[[Entry], Held]
) -> dict[str, Versions[Held]]:
    kept = {}
    for key, given in entries.items():
        versions = [
            Version(e.effective_from, e.announced_on, value(e), e.effective_to, e.source)
            for e in given
        ]
        try:
            kept[key] = Versions.of(versions)
        except VersionsConflict as conflict:
            path = (name, key, conflict.index, conflict.field)
            raise UnsoundDocument(path, str(conflict)) from None
    return kept


def _holidays(entries: Mapping[str, HolidaysEntry]) -> dict[int, PublishedYear]:
    published = {}
    for name, entry in entries.items():
        year = int(name)
        try:
            published[year] = PublishedYear(
                year, frozenset(entry.rest_days), frozenset(entry.working_days)
            )
        except ValueError as error:
            raise UnsoundDocument(("holidays", name), str(error)) from None
    return published
