"""What every bench is told: where the servers are, and how much to do how often."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.infrastructure import Infrastructure


@dataclass(frozen=True, slots=True)
class Options:
    """One run's measure: facts for each arm in each round, and how many write side by side."""

    infrastructure: Infrastructure
    rounds: int = 7
    facts: int = 20_000
    writers: int = 16
    # Of the journey: cases a second, seconds of warm-up and measured, processes a service.
    rate: float = 40.0
    warm_up_seconds: float = 110.0
    seconds: float = 60.0
    day_seconds: float = 2.0
    instances: int = 1
    # How many times as long as it was lived the store is made before the measured seconds.
    history: int = 1


def tiny(infrastructure: Infrastructure) -> Options:
    """So little that a test may do it: it shows that a bench works, and measures nothing."""
    return Options(
        infrastructure,
        rounds=1,
        facts=400,
        writers=4,
        rate=2.0,
        warm_up_seconds=20.0,
        seconds=5.0,
        day_seconds=0.4,
    )
