"""Ours and its limit in turn, several times, so that a noisy machine is noisy for both.

Beside the rate stands what each arm cost in processor time, of this process and of the server's:
neighbours on the same machine slow an arm down, but hardly make it cost more.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from shared.tail import Connection

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Measure:
    """One arm in one round: how much a second, and processor time for each, in microseconds."""

    rate: float
    client_us: float
    server_us: float


# Prepares what it needs, then measures its work.
Arm = Callable[[], Awaitable[Measure]]


def _stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text()


class Meter:
    """Measures a piece of work by the clock, and by what it took of the processors."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def measure(self, work: Awaitable[object], done: int) -> Measure:
        """``done`` is how much the work does."""
        server = await self._server_ticks()
        client, began = time.process_time(), time.perf_counter()
        await work
        seconds, client = time.perf_counter() - began, time.process_time() - client
        after = await self._server_ticks()
        ticks = sum(value - server.get(pid, 0) for pid, value in after.items())
        return Measure(done / seconds, client / done * 1e6, ticks / TICKS_PER_SECOND / done * 1e6)

    async def _server_ticks(self) -> dict[int, int]:
        """What each of the server's processes has used, if they run on this machine."""
        rows = await self._connection.fetch("SELECT pid FROM pg_stat_activity")
        found: dict[int, int] = {}
        for row in rows:
            try:
                told = _stat(row["pid"])
            except OSError:
                continue
            name, _, rest = told.partition("(")[2].rpartition(")")
            fields = rest.split()
            if name == "postgres":
                found[row["pid"]] = int(fields[11]) + int(fields[12])
        return found


@dataclass(frozen=True)
class Rates:
    """What each arm did, round by round."""

    by_arm: Mapping[str, Sequence[Measure]]

    def rate(self, arm: str) -> float:
        return median(each.rate for each in self.by_arm[arm])

    def ratio(self, arm: str, limit: str) -> float:
        """The middle one of the rounds' ratios: both of a pair met the same machine."""
        pairs = zip(self.by_arm[arm], self.by_arm[limit], strict=True)
        return round(median(ours.rate / theirs.rate for ours, theirs in pairs), 3)

    def row(self, label: str, arm: str, limit: str) -> list[str]:
        """What COLUMNS name."""
        each = self.by_arm[arm]
        rates = [measure.rate for measure in each]
        return [
            label,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f}–{max(rates):,.0f}",
            f"{self.ratio(arm, limit):.3f}",
            f"{median(m.client_us for m in each):,.1f}",
            f"{median(m.server_us for m in each):,.1f}",
        ]

    def figures(self, prefix: str = "") -> dict[str, float]:
        """Rates and costs of every arm, by name."""
        found: dict[str, float] = {}
        for arm, measures in self.by_arm.items():
            found[f"{prefix}{arm}_per_second"] = round(self.rate(arm))
            found[f"{prefix}{arm}_client_us"] = round(median(m.client_us for m in measures), 1)
            found[f"{prefix}{arm}_server_us"] = round(median(m.server_us for m in measures), 1)
        return found


COLUMNS: Final = ("", "每秒 a second", "spread", "to limit", "client µs", "server µs")


async def alternate(arms: Mapping[str, Arm], rounds: int) -> Rates:
    """Every arm in every round; each round begins with another one. The first round warms up."""
    names = list(arms)
    found: dict[str, list[Measure]] = {name: [] for name in names}
    for index in range(rounds + 1):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            gc.collect()  # what the arm before has left is not this one's to clear away
            measure = await arms[name]()
            if index > 0:
                found[name].append(measure)
    return Rates(found)
