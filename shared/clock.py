"""Two kinds of time, kept apart.

Business time is what rules and facts speak of; the sandbox may simulate it through a file that all
processes read. Elapsed time is always real: leases, retries, tokens and lag are measured with it.
Decisions take neither from here: time reaches them as an argument.
"""

import os
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

BUSINESS_ZONE = ZoneInfo("Asia/Shanghai")


class ClockError(Exception):
    """The simulated clock can't be read; guessing a time would put a wrong date into facts."""


class Clock(Protocol):
    """Business time."""

    def now(self) -> datetime:
        """The instant, aware, in Asia/Shanghai."""
        ...

    def today(self) -> date:
        """The calendar day in Asia/Shanghai."""
        ...


class RealClock:
    """Business time that is the real time: the only one that production may use."""

    def now(self) -> datetime:
        return datetime.now(BUSINESS_ZONE)

    def today(self) -> date:
        return self.now().date()


class FileClock:
    """Business time as the sandbox has written it; it stands still between two writings.

    The file is read again only when its stat has changed, since every decision asks for the time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._seen: tuple[int, int, int] | None = None
        self._instant: datetime | None = None

    def now(self) -> datetime:
        try:
            stat = os.stat(self._name)  # noqa: PTH116 - a path object costs as much again
        except OSError as error:
            raise ClockError(f"clock file {self._path}: {error.strerror}") from error
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if self._instant is None or seen != self._seen:
            self._instant = self._read()
            self._seen = seen
        return self._instant

    def today(self) -> date:
        return self.now().date()

    def _read(self) -> datetime:
        try:
            instant = datetime.fromisoformat(self._path.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            raise ClockError(f"clock file {self._path} holds no ISO instant") from error
        if instant.tzinfo is None:
            raise ClockError(f"clock file {self._path}: the instant needs an offset")
        return instant.astimezone(BUSINESS_ZONE)


def set_clock_file(path: Path, instant: datetime) -> None:
    """Move the simulated clock, atomically: a reader sees the old instant or the new one.

    The file's modification time is set to the instant that it holds. So a changed instant always
    shows in its stat, also when two writings fall into one tick of the file system's own clock.
    """
    if instant.tzinfo is None:
        raise ValueError("the instant needs an offset")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(instant.astimezone(BUSINESS_ZONE).isoformat() + "\n")
        modified = int(instant.timestamp() * 1_000_000) * 1_000
        os.utime(temporary, ns=(modified, modified))
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class ElapsedTime:
    """Real time, whatever the business clock says. Tests pass a subclass that they can move."""

    def monotonic(self) -> float:
        """Seconds that only grow: for durations, leases and time-outs within one process."""
        return time.monotonic()

    def wall(self) -> datetime:
        """The real instant, aware, in UTC: for token expiry and `stored_at`."""
        return datetime.now(UTC)
