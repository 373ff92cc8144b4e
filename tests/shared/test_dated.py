"""Versions of a value: which is in force on a day, as known on a day (reading 3)."""

from datetime import date, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dated import Version, Versions, VersionsConflict, parse_day

OLD = Version(date(2015, 1, 1), date(2014, 12, 20), "old")
NEW = Version(date(2016, 7, 1), date(2016, 6, 28), "new")


def value_on(versions: Versions[str], on: date, known_on: date | None = None) -> str | None:
    version = versions.in_force(on, known_on or on)
    return None if version is None else version.value


def test_an_open_end_lasts_until_the_next_version_begins() -> None:
    versions = Versions.of([NEW, OLD])
    assert value_on(versions, date(2014, 12, 31)) is None
    assert value_on(versions, date(2015, 1, 1)) == "old"
    assert value_on(versions, date(2016, 6, 30)) == "old"
    assert value_on(versions, date(2016, 7, 1)) == "new"


def test_what_is_not_announced_yet_does_not_count() -> None:
    versions = Versions.of([OLD, NEW])
    assert value_on(versions, date(2016, 7, 1), known_on=date(2016, 6, 27)) == "old"
    assert value_on(versions, date(2016, 7, 1), known_on=date(2016, 6, 28)) == "new"
    assert value_on(versions, date(2015, 1, 1), known_on=date(2014, 12, 19)) is None


def test_a_bounded_version_holds_through_its_last_day_and_leaves_a_gap() -> None:
    bounded = Version(NEW.effective_from, NEW.announced_on, "new", date(2016, 12, 31))
    versions = Versions.of([OLD, bounded])
    assert value_on(versions, date(2016, 12, 31)) == "new"
    assert value_on(versions, date(2017, 1, 1)) is None, "the older version does not come back"


def test_a_late_announcement_reaches_back() -> None:
    late = Version(date(2016, 1, 1), date(2016, 3, 1), "late")
    versions = Versions.of([OLD, late])
    assert value_on(versions, date(2016, 2, 1), known_on=date(2016, 2, 29)) == "old"
    assert value_on(versions, date(2016, 2, 1), known_on=date(2016, 3, 1)) == "late"


@pytest.mark.parametrize(
    ("versions", "index", "field"),
    [
        ([NEW, OLD, NEW], 2, "effective_from"),
        ([NEW, Version(OLD.effective_from, OLD.announced_on, "x", NEW.effective_from)], 1,
         "effective_to"),
        ([Version(date(2016, 1, 2), date(2016, 1, 1), "x", date(2016, 1, 1))], 0, "effective_to"),
    ],
)  # fmt: skip
def test_versions_that_cannot_stand_together_are_refused(
    versions: list[Version[str]], index: int, field: str
) -> None:
    with pytest.raises(VersionsConflict) as raised:
        Versions.of(versions)
    assert (raised.value.index, raised.value.field) == (index, field)


def test_a_version_may_end_the_day_before_the_next() -> None:
    until = NEW.effective_from - timedelta(days=1)
    versions = Versions.of([Version(OLD.effective_from, OLD.announced_on, "x", until), NEW])
    assert value_on(versions, until) == "x"


def test_a_correction_replaces_the_version_of_the_same_beginning() -> None:
    corrected = Version(OLD.effective_from, OLD.announced_on, "corrected")
    versions = Versions.of([OLD, NEW]).with_corrected(corrected)
    assert [version.value for version in versions] == ["corrected", "new"]
    with pytest.raises(LookupError):
        versions.with_corrected(Version(date(2017, 1, 1), date(2017, 1, 1), "x"))
    with pytest.raises(VersionsConflict):
        versions.with_added(OLD)


DAYS = st.dates(date(2015, 1, 1), date(2015, 3, 1))


@st.composite
def sound_versions(draw: st.DrawFn) -> list[Version[int]]:
    begins = sorted(draw(st.sets(DAYS, max_size=6)))
    versions = []
    for index, begin in enumerate(begins):
        last = begins[index + 1] - timedelta(days=1) if index + 1 < len(begins) else date.max
        end = draw(st.none() | st.dates(begin, min(last, begin + timedelta(days=20))))
        versions.append(Version(begin, draw(DAYS), index, end))
    return versions


@given(sound_versions(), DAYS, DAYS, st.randoms())
def test_the_latest_known_beginning_decides_whatever_the_order(
    versions: list[Version[int]], on: date, known_on: date, random: Random
) -> None:
    """The rule again, written as its sentence: latest beginning, and then its end."""
    known = [v for v in versions if v.effective_from <= on and v.announced_on <= known_on]
    latest = max(known, key=lambda version: version.effective_from, default=None)
    if latest is not None and latest.effective_to is not None and latest.effective_to < on:
        latest = None
    random.shuffle(versions)
    assert Versions.of(versions).in_force(on, known_on) == latest


@pytest.mark.parametrize(
    "text", ["2015-02-29", "20150228", "2015-W09-6", "2015-2-28", "2015-02-28T00:00", "２015-02-28",
             "0000-01-01", "2015-02-28\n", ""],
)  # fmt: skip
def test_a_day_is_an_existing_one_written_in_one_way(text: str) -> None:
    with pytest.raises(ValueError):
        parse_day(text)
    assert parse_day("2016-02-29") == date(2016, 2, 29)
