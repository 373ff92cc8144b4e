"""A heard batch as it is judged: what took effect, what has to wait, and what is stored of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.arrival import Arrival, Place


class EffectFailed(Exception):
    """The effect of one arrival raised; a fault of data or program, for decisions do no I/O."""

    def __init__(self, arrival: Arrival, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.arrival = arrival


@dataclass
class Judged:
    """A batch after its pass: what took effect (or was a repeat), and the marks it led to."""

    done: list[Arrival] = field(default_factory=list)
    left: list[Arrival] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    heard: int = 0
    discarded: int = 0
    # Refused commands of reactions, by command and code.
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Heard facts that say they were recorded in the future.
    future: int = 0
    # Something is left for another write that need not wait.
    unfinished: bool = False

    @property
    def effects(self) -> int:
        return self.heard + self.discarded


@dataclass
class OneByOne:
    """How a batch is taken in whose write failed: one effect a write, to find the one at fault."""

    tried: Arrival | None = None
    # Reason and what it waits for, by the place of what could not be stored.
    failed: dict[Place, tuple[str, str]] = field(default_factory=dict)
    clashes: int = 0

    def begin(self) -> None:
        self.tried = None


def is_repeat(arrival: Arrival, marks: Mapping[str, int]) -> bool:
    """True for what was taken in before; it changes nothing, whatever stands before it."""
    recorded = arrival.recorded
    return recorded is not None and recorded.version <= marks.get(recorded.stream, 0)


def offsets_after(arrivals: Sequence[Arrival]) -> list[dict[str, Any]]:
    """Where to go on behind these, a row a partition."""
    last: dict[tuple[str, int], Arrival] = {}
    for arrival in arrivals:
        known = last.get((arrival.topic, arrival.partition))
        if known is None or arrival.offset > known.offset:
            last[arrival.topic, arrival.partition] = arrival
    return [
        {
            "topic": a.topic,
            "partition": a.partition,
            "generation": a.generation,
            "next_offset": a.offset + 1,
        }
        for a in last.values()
    ]
