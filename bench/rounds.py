"""Ours and its limit in turn, several times, so that a noisy machine is noisy for both."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

# Does its work and answers how much a second; what it prepares before does not count.
Arm = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Rates:
    """How much a second each arm did, round by round."""

    by_arm: Mapping[str, Sequence[float]]

    def median(self, arm: str) -> float:
        return median(self.by_arm[arm])

    def ratio(self, arm: str, limit: str) -> float:
        """The middle one of the rounds' ratios: both of a pair met the same machine."""
        pairs = zip(self.by_arm[arm], self.by_arm[limit], strict=True)
        return round(median(ours / theirs for ours, theirs in pairs), 3)

    def spread(self, arm: str) -> str:
        """From the slowest round to the fastest."""
        return f"{min(self.by_arm[arm]):,.0f}–{max(self.by_arm[arm]):,.0f}"


async def alternate(arms: Mapping[str, Arm], rounds: int) -> Rates:
    """Every arm in every round; each round begins with another one. The first round warms up."""
    names = list(arms)
    found: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds + 1):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            gc.collect()  # what the arm before has left is not this one's to clear away
            rate = await arms[name]()
            if index > 0:
                found[name].append(rate)
    return Rates(found)
