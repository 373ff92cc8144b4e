"""Synthetic households and what becomes of them, drawn from (seed, household number) alone.

The spread is realistic where the rules are sharp: incomes near the line and near half above it,
illness, students, fires, missing consent, returned applications, objections, and people who find
a job after a class. What is drawn here is what the people of the story know or do, never an
answer of the system.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from sandbox import people
from sandbox.world import World

PARAMETERS: Final = (
    Path(__file__).resolve().parents[1]
    / "services"
    / "eligibility"
    / "parameters"
    / "sample-city.json"
)
FUND: Final = "sample-city"
PLACES: Final = ("990802", "990803", "990881", "990882")
SCHOOLS: Final = ("school-a", "school-b", "school-c", "school-d")
LAST_DAY: Final = (10, 31)
DIAGNOSES: Final = (
    "慢性肾功能衰竭尿毒症期",
    "急性淋巴细胞白血病",
    "系统性红斑狼疮肾炎",
    "帕金森综合征晚期",
)

Objection = Literal["none", "dismissed", "upheld"]
AnswerToReturn = Literal["none", "resubmitted", "lapsed"]


@dataclass(frozen=True)
class Person:
    """One member, in clear: it exists in the sandbox's memory only."""

    relation: str
    name: str
    id_number: str
    school: str | None
    worker: bool
    incomes: tuple[tuple[str, int], ...]  # (kind, twelve-month sum in fen)


@dataclass(frozen=True)
class Event:
    """A sudden event of the household; ``found`` is what the reconciliation finds at first."""

    kind: str
    occurred_on: date
    description: str
    loss_fen: int
    found: bool | None


@dataclass(frozen=True)
class Wish:
    """An award that the household will be asked for once it is on file."""

    programme: str
    asked_fen: int | None = None
    bills_fen: tuple[int, ...] = ()
    split: bool = False


@dataclass(frozen=True)
class Household:
    """Everything about one household that the sandbox's people act upon."""

    number: int
    applied_on: date
    organisation: str
    without_employer: bool
    residence: str
    address: str
    phone: str
    members: tuple[Person, ...]
    causes: tuple[str, ...]
    event: Event | None
    relief: str
    relief_outcome: tuple[str, bool]
    after_relief: bool
    consents_to_publication: bool
    returned: AnswerToReturn
    visits_differ: bool
    wishes: tuple[Wish, ...]
    objection: Objection
    trains: bool
    finds_job: bool
    declines_end: bool

    @property
    def income_12m_fen(self) -> int:
        return sum(amount for member in self.members for _, amount in member.incomes)

    @property
    def students(self) -> tuple[int, ...]:
        return tuple(i for i, member in enumerate(self.members) if member.school)


@cache
def _lines() -> dict[str, list[dict[str, Any]]]:
    lines: dict[str, list[dict[str, Any]]] = json.loads(PARAMETERS.read_text())["lines"]
    return lines


def line_fen(place: str, day: date) -> int:
    """The line of a place on a day, so that incomes can be drawn near it."""
    versions = [v for v in _lines()[place] if v["effective_from"] <= day.isoformat()]
    return int(max(versions, key=lambda v: str(v["effective_from"]))["fen"])


def household(seed: int, number: int, year: int, world: World) -> Household:
    """The household with this number; the same for the same seed, number and year."""
    draw = Random(f"{seed}/{number}")
    last = date(year, *LAST_DAY)
    first = date(year, 1, 6)
    applied_on = first + timedelta(days=draw.randint(0, (last - first).days))
    without_employer = draw.random() < 0.2
    offices = world.stations if without_employer else world.unions
    place = draw.choice(PLACES)
    event = _event(draw, applied_on)
    members = _members(draw, number, year)
    total = _income(draw, 12 * len(members) * line_fen(place, applied_on))
    causes = _causes(draw, members)
    relief = "not_applied" if draw.random() < 0.12 else draw.choice(("receiving", "refused"))
    return Household(
        number=number,
        applied_on=applied_on,
        organisation=draw.choice(offices).organisation,
        without_employer=without_employer,
        residence=place,
        address=people.address(draw, number),
        phone=people.phone(number, 0),
        members=_with_income(draw, members, total),
        causes=causes,
        event=event,
        relief=relief,
        relief_outcome=(draw.choice(("receiving", "refused")), draw.random() < 0.85),
        after_relief=draw.random() < 0.95,
        consents_to_publication=draw.random() >= 0.04,
        returned=_returned(draw),
        visits_differ=draw.random() < 0.3,
        wishes=_wishes(draw, members, causes, event),
        objection=_objection(draw),
        trains=(trains := draw.random() < 0.35),
        finds_job=trains and draw.random() < 0.7,
        declines_end=draw.random() < 0.15,
    )


def _members(draw: Random, number: int, year: int) -> list[Person]:
    count = draw.choices((1, 2, 3, 4, 5), (1, 3, 5, 3, 1))[0]
    found = []
    for index in range(count):
        relation = "applicant" if index == 0 else "spouse" if index == 1 else "child"
        age = draw.randint(28, 58) if index < 2 else draw.randint(7, 22)
        school = draw.choice(SCHOOLS) if relation == "child" and age > 14 else None
        number_ = people.id_number(number, index, date(year - age, draw.randint(1, 12), 28))
        worker = index < 2
        found.append(Person(relation, people.name(draw), number_, school, worker, ()))
    return found


def _income(draw: Random, line_sum_fen: int) -> int:
    """Twelve months' income of all: often well below, sometimes to the fen at a threshold."""
    kind = draw.random()
    if kind < 0.08:
        return line_sum_fen - 1
    if kind < 0.14:
        return line_sum_fen
    if kind < 0.18:
        return line_sum_fen * 3 // 2
    if kind < 0.22:
        return line_sum_fen * 3 // 2 + 1
    if kind < 0.62:
        return line_sum_fen * draw.randint(30, 99) // 100
    if kind < 0.92:
        return line_sum_fen * draw.randint(101, 149) // 100
    return line_sum_fen * draw.randint(151, 260) // 100


def _with_income(draw: Random, members: list[Person], total_fen: int) -> tuple[Person, ...]:
    """Spread the sum over the earners; the first also has a second kind of income."""
    pension = total_fen * draw.randint(0, 20) // 100
    earners = [i for i, member in enumerate(members) if member.worker]
    spouse = (total_fen - pension) // 3 if len(earners) > 1 else 0
    shares: dict[int, tuple[tuple[str, int], ...]] = {
        0: (("wage", total_fen - pension - spouse), ("transfer", pension)),
        1: (("wage", spouse),),
    }
    return tuple(
        Person(m.relation, m.name, m.id_number, m.school, m.worker, shares.get(i, (("other", 0),)))
        for i, m in enumerate(members)
    )


def _causes(draw: Random, members: list[Person]) -> tuple[str, ...]:
    found = []
    if draw.random() < 0.45:
        found.append("illness")
    if any(member.school for member in members) and draw.random() < 0.9:
        found.append("schooling")
    if len(members) <= 2 and draw.random() < 0.3:
        found.append("single_parent")
    if draw.random() < 0.12:
        found.append("disability")
    return tuple(found)


def _event(draw: Random, applied_on: date) -> Event | None:
    if draw.random() >= 0.14:
        return None
    kind = draw.choice(("sudden_event", "accident", "serious_illness"))
    text = draw.choice(DIAGNOSES) if kind == "serious_illness" else "厨房失火烧毁全部家具"
    found = draw.choices((True, False, None), (6, 2, 3))[0]
    occurred_on = applied_on - timedelta(days=draw.randint(5, 60))
    return Event(kind, occurred_on, text, draw.randint(50_000, 4_000_000), found)


def _wishes(
    draw: Random, members: list[Person], causes: tuple[str, ...], event: Event | None
) -> tuple[Wish, ...]:
    found = [Wish("living", asked_fen=draw.choice((60_000, 80_000, 100_000, 150_000)))]
    if "illness" in causes:
        bills = tuple(_bill(draw) for _ in range(draw.choice((1, 1, 2))))
        found.append(Wish("medical", bills_fen=bills, split=draw.random() < 0.5))
    if any(member.school for member in members) and draw.random() < 0.8:
        found.append(Wish("education", asked_fen=draw.choice((200_000, 450_000, 600_000))))
    if event is not None and event.kind in ("sudden_event", "accident"):
        found.append(Wish("disaster", asked_fen=draw.choice((100_000, 200_000, 250_000))))
    return tuple(found)


def _bill(draw: Random) -> int:
    """What a household paid itself: at times too little to give a fen, at times beyond the cap."""
    kind = draw.random()
    if kind < 0.06:
        return draw.randint(1, 9)
    if kind < 0.16:
        return draw.randint(10_000_000, 25_000_000)
    return draw.randint(10, 6_000_000)


def _returned(draw: Random) -> AnswerToReturn:
    if draw.random() >= 0.15:
        return "none"
    return "lapsed" if draw.random() < 0.3 else "resubmitted"


def _objection(draw: Random) -> Objection:
    if draw.random() >= 0.1:
        return "none"
    return "upheld" if draw.random() < 0.4 else "dismissed"
