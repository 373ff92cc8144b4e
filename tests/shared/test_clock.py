"""Business time may be simulated by a file; elapsed time is real."""

import threading
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from shared.clock import (
    BUSINESS_ZONE,
    ClockError,
    ElapsedTime,
    FileClock,
    RealClock,
    set_clock_file,
)

NOON = datetime(2025, 3, 1, 12, tzinfo=BUSINESS_ZONE)


def test_the_real_clock_is_in_shanghai() -> None:
    now = RealClock().now()
    assert now.utcoffset() == timedelta(hours=8)
    assert abs((now - datetime.now(UTC)).total_seconds()) < 5


def test_the_day_is_that_of_shanghai(tmp_path: Path) -> None:
    """17:00 UTC is the next day there."""
    file = tmp_path / "clock"
    set_clock_file(file, datetime(2025, 12, 31, 17, tzinfo=UTC))
    assert FileClock(file).today() == date(2026, 1, 1)


def test_the_clock_stands_still_until_it_is_set(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    set_clock_file(file, NOON)
    clock = FileClock(file)
    assert clock.now() == clock.now() == NOON
    assert clock.now().tzinfo is BUSINESS_ZONE
    set_clock_file(file, NOON + timedelta(days=1))
    assert clock.today() == date(2025, 3, 2)


def test_every_setting_shows_even_within_one_tick_of_the_file_system(tmp_path: Path) -> None:
    """Two replacements in a tick may give back the inode and the size of the file read before."""
    file = tmp_path / "clock"
    set_clock_file(file, NOON)
    clock = FileClock(file)
    for second in range(1, 500):
        instant = NOON + timedelta(seconds=second)
        set_clock_file(file, instant - timedelta(minutes=10))
        set_clock_file(file, instant)
        assert clock.now() == instant
        assert file.stat().st_mtime == instant.timestamp()


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    set_clock_file(file, NOON)
    done = threading.Event()

    def turn() -> None:
        for minute in range(1000):
            set_clock_file(file, NOON + timedelta(minutes=minute))
        done.set()

    turning = threading.Thread(target=turn)
    turning.start()
    clock = FileClock(file)
    while not done.is_set():
        assert clock.now() >= NOON
    turning.join()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", ["", "soon", "2025-03-01T12:00:00", "\udcff"])
def test_a_garbled_file_is_an_error(tmp_path: Path, content: str) -> None:
    """An instant without an offset is one, too: whose noon would it be?"""
    file = tmp_path / "clock"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ClockError):
        FileClock(file).now()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClockError, match="No such file"):
        FileClock(tmp_path / "clock").now()


def test_a_clock_is_not_set_to_nobodys_noon(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="offset"):
        set_clock_file(tmp_path / "clock", NOON.replace(tzinfo=None))


def test_an_instant_from_elsewhere_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    set_clock_file(file, NOON.astimezone(timezone(timedelta(hours=-5))))
    assert FileClock(file).now() == NOON


def test_elapsed_time_is_real() -> None:
    elapsed = ElapsedTime()
    first = elapsed.monotonic()
    assert elapsed.monotonic() >= first
    assert elapsed.wall().utcoffset() == timedelta(0)
