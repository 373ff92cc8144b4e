"""A small fictional federation, its parameters, and a household's case as eligibility sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

from services.eligibility.decisions.awards import (
    DisasterAsk,
    EducationAsk,
    LivingAsk,
    MedicalAsk,
    RequestAward,
)
from services.eligibility.decisions.determination import DetermineEligibility
from services.eligibility.decisions.files import TakeFileOver
from services.eligibility.decisions.parameters import RulesInForce
from services.eligibility.facts import Student
from services.eligibility.main import ROOM
from services.eligibility.rules.parameter_document import read_document
from shared.directory import Directory, Edge, Office, Organisation
from shared.fact import Actor
from shared.room import Decided, Situation
from tests import given_when_then, worked_examples
from tests.given_when_then import Given, Outcome, given, sealed

DECISIONS = ROOM.kinds["decisions"]
PARAMETERS = ROOM.kinds["parameters"]
FUND, PLACE, SCHOOL = "sample-city", "990802", "school-a"
DAY = date(2015, 11, 2)
SAMPLE = worked_examples.PARAMETERS
BEGINNING = date(2010, 1, 1)
RULES = RulesInForce(read_document(SAMPLE).parameters)

KEEPER = Actor("keeper", "parameter_keeper", "city")
ANNOUNCER = Actor("announcer", "parameter_announcer", "city")
REVIEWER = Actor("reviewer", "reviewer", "centre")
APPROVER = Actor("approver", "approver", "centre")
HANDLER = Actor("handler", "handler", "union")
STATION_HANDLER = Actor("station-handler", "handler", "station")

DIRECTORY = Directory(
    organisations=[
        Organisation("city", "federation", "样例市总工会", BEGINNING),
        Organisation("centre", "centre", "样例县帮扶中心", BEGINNING),
        Organisation("station", "station", "样例街道工作站", BEGINNING),
        Organisation("union", "union", "样例厂工会", BEGINNING),
        Organisation("industry", "industrial_union", "样例产业工会", BEGINNING),
        Organisation("union-m", "union", "样例机械厂工会", BEGINNING),
    ],
    edges=[
        Edge("centre", "city", BEGINNING),
        Edge("station", "centre", BEGINNING),
        Edge("union", "station", BEGINNING),
        Edge("industry", "city", BEGINNING),
        Edge("union-m", "industry", BEGINNING),
    ],
    offices=[
        Office(a.person, a.organisation, a.role, BEGINNING)
        for a in (KEEPER, ANNOUNCER, REVIEWER, APPROVER, HANDLER, STATION_HANDLER)
    ],
)


def situation(
    today: date = DAY, guards: Mapping[str, int] | None = None, rules: RulesInForce = RULES
) -> Situation:
    return given_when_then.situation(today, directory=DIRECTORY, reference=rules, guards=guards)


def values(**changes: Any) -> DetermineEligibility:
    """A household of three, far below the line, with relief refused and hardship found."""
    held: dict[str, Any] = {
        "household_id": "household-1",
        "organisation_id": "union",
        "fund": FUND,
        "residence": PLACE,
        "applied_on": DAY,
        "members": 3,
        "income_12m_fen": 100_000,
        "causes": ("illness",),
        "incident_kind": None,
        "incident_on": None,
        "hardship_found": None,
        "relief": "refused",
        "hardship_after_relief": True,
        "visitors": ("visitor-1", "visitor-2"),
    }
    return DetermineEligibility(**{**held, **changes})


def determined(**changes: Any) -> Given:
    return given(DECISIONS).when(values(**changes), situation()).afterwards()


def file(**changes: Any) -> TakeFileOver:
    taken: dict[str, Any] = {
        "household_id": "household-1",
        "organisation_id": "union",
        "station_id": "station",
        "centre_id": "centre",
        "fund": FUND,
        "programmes": ("living",),
        "persons": ("person-1", "person-2", "person-3"),
        "students": (Student(person_id="person-3", school=SCHOOL),),
        "incident_id": "fire-1",
        "visitors": ("visitor-1", "visitor-2"),
        "signers": ("chair", "handler"),
        "reviewer": "reviewer",
    }
    return TakeFileOver(**{**taken, **changes})


def on_file(identity: str = given_when_then.SUBJECT, **changes: Any) -> Given:
    return given(DECISIONS, (), identity).when(file(**changes), situation()).afterwards()


Ask = LivingAsk | EducationAsk | MedicalAsk | DisasterAsk


def living(asked_fen: int = 80_000) -> LivingAsk:
    return LivingAsk(asked_fen=asked_fen)


def education(asked_fen: int = 300_000, **changes: Any) -> EducationAsk:
    return EducationAsk(**{"asked_fen": asked_fen, "student_id": "person-3", **changes})


def medical(self_paid_fen: int | None = 800_000, **changes: Any) -> MedicalAsk:
    return MedicalAsk(**{"patient_id": "person-1", "self_paid_fen": self_paid_fen, **changes})


def disaster(asked_fen: int = 200_000, **changes: Any) -> DisasterAsk:
    reasons = sealed("free_text", "reasons")
    return DisasterAsk(
        **{"asked_fen": asked_fen, "loss_fen": 3_860_000, "reasons": reasons, **changes}
    )


def ask(asked: Ask, award_id: str = "award-1", day: date = DAY, **changes: Any) -> RequestAward:
    return RequestAward(
        **{
            "by": STATION_HANDLER,
            "occurred_on": day,
            "award_id": award_id,
            "ask": asked,
            **changes,
        }
    )


class Cases:
    """Several cases and the guard rows that they share, as the one write would keep them."""

    def __init__(self, **cases: Given) -> None:
        self.cases = cases
        self.guards: Counter[str] = Counter()
        # The guard rows after each fact: what holds after every prefix of the log.
        self.history: list[Mapping[str, int]] = []

    def tell(self, case: str, command: Any, today: date = DAY) -> Outcome:
        before = self.cases[case]
        outcome = before.when(command, situation(today, self.guards))
        if isinstance(outcome.answer, Decided) and outcome.answer.facts:
            for condition in outcome.answer.conditions:
                assert condition.expect == self.guards[condition.key]
            after = self.cases[case] = outcome.afterwards()
            for recorded in after.recorded[len(before.recorded) :]:
                for key, delta in ROOM.guard_changes(recorded.read(ROOM.reads), recorded):
                    self.guards[key] += delta
                self.history.append(dict(self.guards))
        return outcome
