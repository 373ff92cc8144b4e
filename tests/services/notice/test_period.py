"""How long a notice runs (K8, reading 15)."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notice.period import (
    Interruption,
    NoticePeriod,
    NoticeRule,
    notice_period,
    out_of_order,
)
from shared.calendar import BusinessCalendar, DayUnit, PublishedYear
from shared.dated import Version, Versions, parse_day
from tests.worked_examples import PARAMETERS, examples_of, name_of

CALENDAR = BusinessCalendar()
NATURAL = NoticeRule(5, "natural")
FROM_AUGUST_2015 = Version(date(2015, 8, 1), date(2015, 8, 1), NATURAL)
RULES = Versions.of([FROM_AUGUST_2015])


def run(
    posted_on: str,
    *interruptions: tuple[str, str | None],
    unit: DayUnit | None = None,
    rules: Versions[NoticeRule] = RULES,
    calendar: BusinessCalendar = CALENDAR,
) -> NoticePeriod:
    return notice_period(
        parse_day(posted_on),
        [Interruption(parse_day(d), r if r is None else parse_day(r)) for d, r in interruptions],
        rules,
        calendar,
        unit,
    )


def ends(period: NoticePeriod) -> str | None:
    return None if period.last_day is None else period.last_day.isoformat()


@pytest.mark.parametrize("example", examples_of("notice"), ids=name_of)
def test_worked_example(example: dict[str, Any]) -> None:
    asked, expected = example["given"], example["expect"]
    rules = Versions.of(
        Version(
            parse_day(entry["effective_from"]),
            parse_day(entry["announced_on"]),
            NoticeRule(entry["notice_days"], entry["notice_unit"]),
        )
        for entry in PARAMETERS["fund_rules"][asked["fund"]]
    )
    interrupted = [(each["down"], each["reposted"]) for each in asked.get("interrupted", [])]
    period = run(asked["posted_on"], *interrupted, unit=asked.get("unit"), rules=rules)
    if "reason" in expected:
        assert period.reason == expected["reason"]
        assert period.last_day is None
    else:
        sign_from = None if period.sign_from is None else period.sign_from.isoformat()
        assert (ends(period), sign_from) == (expected["last_day"], expected["sign_from"])


def test_signing_opens_the_next_day_even_if_it_rests() -> None:
    """Posted on Sunday 2015-09-13: over on Friday the 18th, signed from Saturday the 19th."""
    period = run("2015-09-13")
    assert (period.last_day, period.sign_from) == (date(2015, 9, 18), date(2015, 9, 19))


@pytest.mark.parametrize(
    ("down", "expected"),
    [("2015-09-14", "2015-09-28"), ("2015-09-21", "2015-09-28"), ("2015-09-22", "2015-09-21")],
)
def test_down_through_the_last_day_starts_again_later_does_not(down: str, expected: str) -> None:
    """Posted on the 14th, the fifth day is a Saturday, so the last day is Monday the 21st."""
    assert ends(run("2015-09-14", (down, "2015-09-23"))) == expected


def test_each_interruption_starts_again_from_zero() -> None:
    assert ends(run("2015-10-12", ("2015-10-14", "2015-10-15"), ("2015-10-16", "2015-10-19"))) == (
        "2015-10-26"
    )


def test_a_later_interruption_of_an_elapsed_notice_does_nothing_even_if_still_down() -> None:
    assert ends(run("2015-09-14", ("2015-09-22", None))) == "2015-09-21"


def test_a_posting_runs_under_the_rule_of_its_own_day() -> None:
    """From 2016 on ten working days are asked; a notice of 2015 posted again then runs so."""
    longer = Version(date(2016, 1, 1), date(2015, 12, 20), NoticeRule(10, "working"))
    rules = Versions.of([FROM_AUGUST_2015, longer])
    assert ends(run("2015-12-31", rules=rules)) == "2016-01-05"
    again = run("2015-12-31", ("2016-01-04", "2016-01-04"), rules=rules)
    assert ends(again) == "2016-01-18"
    assert [each.days for each in again.runs] == [5, 10]
    assert ends(run("2015-12-31", ("2016-01-04", "2016-01-04"), rules=rules, unit="natural")) == (
        "2016-01-14"
    )


def test_a_rule_not_announced_on_the_posting_day_does_not_count() -> None:
    late = Version(date(2016, 1, 1), date(2016, 1, 10), NoticeRule(7, "natural"))
    rules = Versions.of([FROM_AUGUST_2015, late])
    assert run("2016-01-09", rules=rules).runs[0].days == 5
    assert run("2016-01-10", rules=rules).runs[0].days == 7
    again = run("2016-01-08", ("2016-01-09", "2016-01-11"), rules=rules)
    assert [each.days for each in again.runs] == [5, 7], "known by the day of reposting"


def test_a_gap_in_the_rules_never_yields_a_day() -> None:
    bounded = Version(date(2015, 8, 1), date(2015, 8, 1), NATURAL, date(2015, 12, 31))
    rules = Versions.of([bounded])
    assert run("2015-07-31").reason == "NO_RULE_IN_FORCE"
    assert run("2016-01-01", rules=rules).reason == "NO_RULE_IN_FORCE"
    assert run("2015-12-30", ("2015-12-31", "2016-01-01"), rules=rules).reason == (
        "NO_RULE_IN_FORCE"
    )
    assert ends(run("2015-12-31", rules=rules)) == "2016-01-05", "the posting day decides"


def test_an_unpublished_year_matters_only_if_a_day_of_it_must_be_judged() -> None:
    assert ends(run("2026-12-26")) == "2026-12-31"
    assert run("2026-12-27").reason == "HOLIDAYS_UNPUBLISHED"
    assert run("2026-12-27").unpublished_year == 2027
    assert run("2026-12-28", unit="working").reason == "HOLIDAYS_UNPUBLISHED"


@pytest.mark.parametrize("unit", ["natural", "working"])
def test_a_notice_torn_down_early_needs_no_calendar(unit: DayUnit) -> None:
    """However the holidays fall, it cannot have been over: nobody has to judge a day."""
    period = run("2099-03-02", ("2099-03-03", None), unit=unit)
    assert (period.reason, period.last_day, period.sign_from) == (None, None, None)
    again = run("2026-12-30", ("2026-12-31", "2099-03-02"), unit=unit)
    assert (again.reason, again.unpublished_year) == ("HOLIDAYS_UNPUBLISHED", 2099)
    later = run("2099-03-02", ("2099-03-20", None), unit=unit)
    assert later.reason == "HOLIDAYS_UNPUBLISHED"


def test_entered_holidays_are_used() -> None:
    calendar = BusinessCalendar({2099: PublishedYear(2099, frozenset({date(2099, 3, 9)}))})
    assert ends(run("2099-03-02", calendar=calendar)) == "2099-03-10"


def test_the_end_of_time_is_an_unpublished_year() -> None:
    assert run("9999-12-30").reason == "HOLIDAYS_UNPUBLISHED"
    rules = Versions.of(
        [Version(date(2015, 8, 1), date(2015, 8, 1), NoticeRule(10**15, "working"))]
    )
    assert run("2015-09-14", rules=rules).reason == "HOLIDAYS_UNPUBLISHED"
    calendar = BusinessCalendar({9999: PublishedYear(9999)})
    assert run("9999-12-26", calendar=calendar).reason == "HOLIDAYS_UNPUBLISHED"


@pytest.mark.parametrize(
    ("interruptions", "index", "field"),
    [
        ([("2015-10-11", None)], 0, "down"),
        ([("2015-10-13", "2015-10-12")], 0, "reposted"),
        ([("2015-10-13", "2015-10-15"), ("2015-10-14", "2015-10-16")], 1, "down"),
        ([("2015-10-13", None), ("2015-10-14", "2015-10-16")], 1, "down"),
    ],
)
def test_interruptions_out_of_order_are_found(
    interruptions: list[tuple[str, str | None]], index: int, field: str
) -> None:
    found = out_of_order(
        date(2015, 10, 12),
        [Interruption(parse_day(d), r if r is None else parse_day(r)) for d, r in interruptions],
    )
    assert found is not None
    assert (found.index, found.field) == (index, field)
    with pytest.raises(ValueError):
        run("2015-10-12", *interruptions)


@given(
    st.dates(date(2015, 8, 1), date(2026, 9, 1)),
    st.integers(1, 12),
    st.sampled_from(["natural", "working"]),
)
def test_at_least_the_days_pass_and_the_last_one_is_worked(
    posted_on: date, days: int, unit: DayUnit
) -> None:
    """K8: at least the days in full, the posting day not counted; the end never rests."""
    rules = Versions.of([Version(date(2015, 8, 1), date(2015, 8, 1), NoticeRule(days, unit))])
    period = notice_period(posted_on, [], rules, CALENDAR)
    assert period.last_day is not None
    assert period.last_day >= posted_on + timedelta(days=days)
    assert CALENDAR.is_working_day(period.last_day)
    between = [
        posted_on + timedelta(days=n) for n in range(1, (period.last_day - posted_on).days + 1)
    ]
    if unit == "working":
        assert sum(CALENDAR.is_working_day(day) for day in between) == days
    else:
        assert not any(CALENDAR.is_working_day(day) for day in between[days - 1 : -1])
