"""Business days of the mainland: which day is worked, which is a rest day (reading 15).

Weekends and public holidays rest; make-up working days (调休上班) are working days. The years
that the government has published come from `chinesecalendar`; further ones are entered as data
and win over the package. A year of which nothing is known is an error, never "no holidays".
Not for durations of a rule: how many days a notice lasts is the caller's matter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from types import MappingProxyType
from typing import Final, Literal

DayUnit = Literal["natural", "working"]

_FIRST_DAY_OF_WEEKEND: Final = 5


class HolidaysUnpublished(LookupError):
    """Whether a day is worked cannot be said: the holidays of its `year` are not known yet."""

    def __init__(self, year: int) -> None:
        super().__init__(f"the holidays of {year} are not published")
        self.year = year


@dataclass(frozen=True, slots=True)
class PublishedYear:
    """One year's announcement: weekdays that rest, and weekend days that are worked instead.

    Weekends need not be listed as rest days. A day on both lists, or of another year, is
    `ValueError`.
    """

    year: int
    rest_days: frozenset[date] = frozenset()
    working_days: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if self.rest_days & self.working_days:
            raise ValueError("a day cannot be both a rest day and a working day")
        if any(day.year != self.year for day in self.rest_days | self.working_days):
            raise ValueError(f"every day of the announcement must lie in {self.year}")

    def is_working_day(self, day: date) -> bool:
        """Say whether `day`, one of this year, is worked."""
        if day in self.working_days:
            return True
        return day.weekday() < _FIRST_DAY_OF_WEEKEND and day not in self.rest_days


@cache
def packaged_years() -> Mapping[int, PublishedYear]:
    """The years that the installed `chinesecalendar` knows, by year."""
    # Imported on first use: a command that asks for no day should not pay for the tables.
    from chinese_calendar import constants

    known = {day.year for day in constants.holidays}
    return MappingProxyType(
        {
            year: PublishedYear(
                year,
                frozenset(day for day in constants.holidays if day.year == year),
                frozenset(day for day in constants.workdays if day.year == year),
            )
            for year in sorted(known)
        }
    )


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """The calendar that decisions ask; `entered` holds years that were entered as data."""

    entered: Mapping[int, PublishedYear] = field(default_factory=dict)

    def knows(self, year: int) -> bool:
        """Say whether the holidays of `year` are known."""
        return year in self.entered or year in packaged_years()

    def is_working_day(self, day: date) -> bool:
        """Say whether `day` is worked; raise `HolidaysUnpublished` if its year is not known."""
        published = self.entered.get(day.year) or packaged_years().get(day.year)
        if published is None:
            raise HolidaysUnpublished(day.year)
        return published.is_working_day(day)

    def working_days(self, first: date, before: date | None = None) -> Iterator[date]:
        """The working days from `first` on, in order, and before the day `before` if given.

        A day is judged when its turn comes: where the known years end, `HolidaysUnpublished`
        is raised, but not for days that nobody asked for.
        """
        day = first
        while before is None or day < before:
            if self.is_working_day(day):
                yield day
            day = day_after(day)


def day_after(day: date, days: int = 1) -> date:
    """The day `days` ≥ 0 natural days later.

    Past the last year that a date can name no holidays are published either: that raises
    `HolidaysUnpublished` for the year after it.
    """
    if days > date.max.toordinal() - day.toordinal():
        raise HolidaysUnpublished(date.max.year + 1)
    return date.fromordinal(day.toordinal() + days)
