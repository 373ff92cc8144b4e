"""What the sandbox remembers outside the services: which case is whose, and what comes on a day.

Names and numbers in clear are here and in nobody else's memory; results are compared by
household number, since ids are random.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date

from sandbox.founding import Term
from sandbox.households import Household

Errand = Callable[[], Awaitable[None]]


@dataclass
class Story:
    """The sandbox's own memory of one year."""

    seed: int
    households: dict[int, Household]
    terms: list[Term] = field(default_factory=list)
    number_by_case: dict[str, int] = field(default_factory=dict)
    case_by_number: dict[int, str] = field(default_factory=dict)
    # What people other than office holders do, and what staff put in their diaries.
    agenda: dict[date, list[Errand]] = field(default_factory=lambda: defaultdict(list))
    reconciled: Counter[str] = field(default_factory=Counter)
    # Refused commands by code: the story expects some (a closed file), none may be a surprise.
    refused: Counter[str] = field(default_factory=Counter)

    def household(self, case_id: str) -> Household:
        return self.households[self.number_by_case[case_id]]

    def opened(self, number: int, case_id: str) -> None:
        """A case was opened for this household."""
        self.number_by_case[case_id] = number
        self.case_by_number[number] = case_id

    def later(self, day: date, errand: Errand) -> None:
        """Something to do on a day to come."""
        self.agenda[day].append(errand)

    def due(self, today: date) -> list[Errand]:
        """What was noted for today or before, taken off the agenda."""
        days = sorted(day for day in self.agenda if day <= today)
        return [errand for day in days for errand in self.agenda.pop(day)]
