"""Which days are worked: weekends, public holidays, make-up days, and years not yet known."""

from datetime import date
from itertools import islice

import pytest
from chinese_calendar import is_workday

from shared.calendar import (
    BusinessCalendar,
    HolidaysUnpublished,
    PublishedYear,
    day_after,
    packaged_years,
)

CALENDAR = BusinessCalendar()


def test_make_up_days_are_worked_and_holidays_are_not() -> None:
    """Spring Festival 2016: 7-13 February rest, Saturday the 6th and Sunday the 14th work."""
    assert not CALENDAR.is_working_day(date(2016, 2, 8))
    assert CALENDAR.is_working_day(date(2016, 2, 6))
    assert CALENDAR.is_working_day(date(2016, 2, 14))
    assert next(CALENDAR.working_days(date(2016, 2, 7))) == date(2016, 2, 14)


def test_every_packaged_day_is_judged_as_the_package_judges_it() -> None:
    first, last = min(packaged_years()), max(packaged_years())
    assert first == 2004
    assert last >= 2026
    day = date(first, 1, 1)
    while day.year <= last:
        assert CALENDAR.is_working_day(day) == is_workday(day), day
        day = day_after(day)


@pytest.mark.parametrize("year", [2003, 2099, 9999])
def test_an_unknown_year_is_an_error_not_a_year_without_holidays(year: int) -> None:
    assert not CALENDAR.knows(year)
    with pytest.raises(HolidaysUnpublished) as raised:
        CALENDAR.is_working_day(date(year, 3, 3))
    assert raised.value.year == year


def test_further_years_are_entered_as_data() -> None:
    entered = PublishedYear(
        2099, frozenset({date(2099, 1, 1)}), frozenset({date(2099, 1, 3), date(2099, 1, 4)})
    )
    calendar = BusinessCalendar({2099: entered})
    assert calendar.knows(2099)
    assert list(islice(calendar.working_days(date(2099, 1, 1)), 3)) == [
        date(2099, 1, 2),
        date(2099, 1, 3),
        date(2099, 1, 4),
    ]
    assert calendar.is_working_day(date(2016, 2, 6)), "packaged years stay known"


def test_an_entered_year_stands_above_the_packaged_one() -> None:
    calendar = BusinessCalendar({2020: PublishedYear(2020, frozenset({date(2020, 1, 31)}))})
    assert CALENDAR.is_working_day(date(2020, 1, 3))
    assert not calendar.is_working_day(date(2020, 1, 31))


def test_an_announcement_that_contradicts_itself_is_refused() -> None:
    day = date(2099, 1, 1)
    with pytest.raises(ValueError):
        PublishedYear(2099, frozenset({day}), frozenset({day}))
    with pytest.raises(ValueError):
        PublishedYear(2098, frozenset({day}))


def test_no_day_is_judged_before_its_turn() -> None:
    """31 December 2026 is a Thursday; what comes after it is not known."""
    assert list(CALENDAR.working_days(date(2026, 12, 31), before=date(2027, 1, 1))) == [
        date(2026, 12, 31)
    ]
    assert next(CALENDAR.working_days(date(2026, 12, 31))) == date(2026, 12, 31)
    assert list(CALENDAR.working_days(date(2099, 1, 1), before=date(2099, 1, 1))) == []


def test_no_day_follows_the_last_that_can_be_named() -> None:
    with pytest.raises(HolidaysUnpublished):
        day_after(date.max)
    with pytest.raises(HolidaysUnpublished):
        day_after(date(2016, 1, 1), 10**15)
