"""What must hold when a fault has healed, the same for every fault; a test class a file takes it.

A class that inherits these has a fixture ``lived`` in its module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.demo import invariants
from tests.faults.evidence import doubled_effects
from tests.faults.lived import Lived


class Afterwards:
    """Promises P1 to P4 and P8, looked at from outside."""

    def test_lag_is_zero_again_and_nothing_is_stuck(self, lived: Lived) -> None:
        """Everybody caught up (P8)."""
        assert lived.restless == []
        assert set(lived.lag.values()) == {0}
        assert lived.stuck == []

    def test_nobody_was_told_of_a_fault(self, lived: Lived) -> None:
        """It delays an answer and is never the answer (the codes: shared/door.py, problems.py)."""
        told = {refused.rpartition(": ")[2] for refused in lived.run.story.refused}
        assert told & {"unexpected", "contended", "log-unreachable"} == set()

    def test_no_acknowledged_fact_is_lost(self, lived: Lived) -> None:
        """Whatever anybody was told of is in Kafka (P1, P4)."""
        assert len(lived.acknowledged.facts) > len(lived.run.story.households)
        assert lived.acknowledged.lost(lived.log) == []

    def test_nothing_had_two_effects(self, lived: Lived) -> None:
        """No command acted twice, though sent again, and no heard fact."""
        assert lived.acknowledged.never_told(lived.log) == []
        assert list(doubled_effects(lived.log)) == []

    def test_first_occurrences_are_in_order_and_repeats_are_the_same_bytes(
        self, lived: Lived
    ) -> None:
        """Of all six services and of the instructions; how many repeats is told at the end."""
        assert list(lived.topics.out_of_order()) == []
        assert list(lived.topics.unlike_repeats()) == []

    def test_nothing_was_paid_twice(self, lived: Lived) -> None:
        """Counted in the bank's own books, and again by our facts (P3)."""
        assert lived.books.credits
        assert list(lived.books.paid_twice(lived.log)) == []
        assert sorted(lived.books.credits) == lived.books.confirmed_by(lived.log)
        for name in ("ordered_twice", "broken_chain", "unreadable"):
            assert lived.books.counters.get(name, 0) == 0, name
        for case in lived.log.cases.values():
            assert list(invariants.paid_twice(case)) == []


class AfterAYear(Afterwards):
    """Where nothing was bad and the whole year was lived, it is as if nothing had happened."""

    def test_verification_finds_no_difference(self, lived: Lived) -> None:
        """Kafka, stores, read models, guard rows and ledger agree in spite of it."""
        assert lived.differences == []

    def test_quarantine_holds_nothing(self, lived: Lived) -> None:
        """Nothing was bad, so nothing is held, and nothing waits (P8)."""
        assert lived.held == {}
        assert lived.topics.foreign == []

    def test_the_outcomes_are_those_of_an_undisturbed_year(
        self, lived: Lived, undisturbed: Mapping[int, Mapping[str, Any]]
    ) -> None:
        """Household by household: stage, reason, class, awards and payments to the fen."""
        differing = {
            number: (lived.outcomes.get(number), undisturbed[number])
            for number in lived.run.story.households
            if lived.outcomes.get(number) != undisturbed[number]
        }
        assert differing == {}
