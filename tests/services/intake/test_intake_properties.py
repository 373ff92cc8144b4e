"""Invariants 1, 2, 6 and 10 over random interleavings of everything that can be asked of a case.

People hold offices at random, several at once too; whatever they try in whatever order, what is
stated keeps the invariants of the domain. Many steps are those that lead on, so that runs get
as far as a registered file.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.intake.decisions.consents import ChangeConsent
from services.intake.decisions.registration import (
    EndHardship,
    ForwardFile,
    RegisterFile,
    RejectCase,
    TakePlacement,
)
from services.intake.decisions.signing import SignForm, TakeNotice, TakeObjection
from services.intake.decisions.state import stage_of
from services.intake.facts import (
    ClassTakenOver,
    FileForwarded,
    FileRegistered,
    FormDrawnUp,
    NoticePassed,
    ObjectionTakenOver,
    Signed,
    VisitCompleted,
    VisitsReconciled,
)
from services.intake.main import CASE, ROOM
from shared.directory import Directory, Office
from shared.fact import Actor, Fact
from shared.room import Command, Decided
from tests.given_when_then import SUBJECT, Given, given, sealed
from tests.services.intake.world import (
    LONG_AGO,
    a_visit,
    acceptance,
    confirmation,
    directory,
    on,
    reconciliation,
    submission,
)

PEOPLE = [f"worker-{number}" for number in range(12)]
SEATS = [
    *(("union-1", role) for role in ("chair", "handler", "visitor")),
    *(("station-1", role) for role in ("chair", "handler", "visitor")),
    ("county", "reviewer"),
    ("county", "approver"),
]
PLACES: Any = st.sampled_from(["workplace", "station"])
VISITS: Any = st.sampled_from(["grassroots", "station"])
ROLES: Any = st.sampled_from(["chair", "handler"])
OBJECTIONS: Any = st.sampled_from(["raised", "dismissed"])


class AnythingAsked(RuleBasedStateMachine):
    """One case, and everybody who might do something about it."""

    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.case: Given = given(CASE)
        self.directory = Directory()

    @initialize(
        seats=st.lists(
            st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=2, unique=True),
            min_size=len(SEATS),
            max_size=len(SEATS),
        )
    )
    def people_take_office(self, seats: list[list[str]]) -> None:
        offices = [
            Office(person, organisation, role, LONG_AGO)
            for (organisation, role), people in zip(SEATS, seats, strict=True)
            for person in people
        ]
        empty = directory(vacant=set(SEATS))
        for office in offices:
            empty.apply(
                "OfficeTaken",
                {
                    "person": office.person,
                    "organisation": office.organisation,
                    "role": office.role,
                    "from_day": office.from_day,
                },
            )
        self.directory = empty

    # Who asks

    def holder(self, data: st.DataObject, organisation: str, role: str) -> Actor:
        people = self.directory.holders(organisation, role, date(2025, 3, 3))
        return Actor(data.draw(st.sampled_from(people)), role, organisation)

    def anybody(self, data: st.DataObject) -> Actor:
        organisation, role = data.draw(st.sampled_from(SEATS))
        return self.holder(data, organisation, role)

    def ask(self, command: Command) -> None:
        outcome = self.case.when(command, replace(on(), directory=self.directory))
        if isinstance(outcome.answer, Decided):
            self.case = outcome.afterwards()
            self.reached[stage_of(self.case.state)] += 1

    # What is asked

    @rule(data=st.data(), steps=st.integers(1, 6))
    def what_leads_on(self, data: st.DataObject, steps: int) -> None:
        """The next steps, each by somebody who holds the office for it."""
        for _ in range(steps):
            command = self.next_step(data)
            if command is not None:
                self.ask(command)

    def next_step(self, data: st.DataObject) -> Command | None:
        station = self.holder(data, "station-1", "handler")
        match stage_of(self.case.state):
            case "none":
                return submission(by=self.holder(data, "union-1", "handler"))
            case "submitted":
                return acceptance().model_copy(update={"by": station})
            case "visiting":
                return self.any_visit(data)
            case "visited":
                return reconciliation().model_copy(update={"by": station})
            case "determining":
                return confirmation(reviewer=self.holder(data, "county", "reviewer").person)
            case "on_notice":
                return self.any_notice(data)
            case "signing":
                return self.any_signature(data)
            case "signed":
                return ForwardFile(by=station)
            case "forwarded":
                return RegisterFile(by=self.holder(data, "county", "approver"))
            case _:
                return None

    def any_visit(self, data: st.DataObject) -> Command:
        which = data.draw(VISITS)
        organisation = "union-1" if which == "grassroots" else "station-1"
        by = self.holder(data, organisation, data.draw(st.sampled_from(["visitor", "handler"])))
        return a_visit(which, by)

    def form_hash(self) -> str:
        form = self.case.state.form
        return "no form yet" if form is None else str(form.form_hash)

    def any_notice(self, data: st.DataObject) -> Command:
        return TakeNotice(notice_id="notice", place=data.draw(PLACES), form_hash=self.form_hash())

    def any_signature(self, data: st.DataObject) -> Command:
        role = data.draw(ROLES)
        organisation = data.draw(st.sampled_from(["union-1", "union-1", "station-1"]))
        by = self.holder(data, organisation, role)
        return SignForm(by=by, role=role, form_hash=self.form_hash())

    @rule(data=st.data())
    def a_visit_out_of_turn(self, data: st.DataObject) -> None:
        visitors = data.draw(st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3))
        told = a_visit(data.draw(VISITS), self.anybody(data), visitors=tuple(visitors))
        self.ask(told)

    @rule(data=st.data())
    def a_step_out_of_turn(self, data: st.DataObject) -> None:
        by = self.anybody(data)
        asked: Sequence[Command] = (
            ForwardFile(by=by),
            RegisterFile(by=by),
            confirmation(reviewer=data.draw(st.sampled_from(PEOPLE))),
            reconciliation().model_copy(update={"by": by}),
            TakeNotice(notice_id="notice", place=data.draw(PLACES), form_hash="another"),
            self.any_notice(data),
            self.any_signature(data),
            SignForm(by=by, role=data.draw(ROLES), form_hash=self.form_hash()),
        )
        self.ask(data.draw(st.sampled_from(asked)))

    @rule(state=OBJECTIONS, number=st.integers(1, 2))
    def an_objection(self, state: Any, number: int) -> None:
        self.ask(TakeObjection(objection_id=f"objection-{number}", state=state))

    @rule()
    def the_objections_are_dismissed(self) -> None:
        for objection in sorted(self.case.state.open_objections):
            self.ask(TakeObjection(objection_id=objection, state="dismissed"))

    @rule(data=st.data(), chance=st.integers(0, 9))
    def an_end(self, data: st.DataObject, chance: int) -> None:
        """Rare, or no run would get far."""
        if chance:
            return
        by = self.anybody(data)
        asked: Sequence[Command] = (
            TakeObjection(objection_id="objection-1", state="upheld"),
            RejectCase(by=by, rule="K6", reasons=("other",)),
            ChangeConsent(by=by, purpose="publication", given=data.draw(st.booleans())),
            ChangeConsent(by=by, purpose="processing", given=data.draw(st.booleans())),
            TakePlacement(person_id="person-1", placement_id="placement-1"),
            EndHardship(
                by=by,
                placement_id="placement-1",
                confirm=data.draw(st.booleans()),
                reasons=sealed("free_text", "reasons"),
            ),
        )
        self.ask(data.draw(st.sampled_from(asked)))

    # What must hold

    @invariant()
    def the_file_rests_on_the_whole_procedure(self) -> None:
        """Invariants 1 and 10, judged on the log up to the registration."""
        facts = self.facts()
        at = next((i for i, fact in enumerate(facts) if isinstance(fact, FileRegistered)), None)
        if at is None:
            return
        registered_fact = facts[at]
        assert isinstance(registered_fact, FileRegistered)
        _judge_procedure(facts[:at])
        _judge_duties(facts[:at], registered_fact)

    @invariant()
    def an_open_objection_stops_every_step(self) -> None:
        """Invariant 2, after every prefix of the log."""
        open_now: set[str] = set()
        for fact in self.facts():
            match fact:
                case ObjectionTakenOver(state="raised"):
                    open_now.add(fact.objection_id)
                case ObjectionTakenOver():
                    open_now.discard(fact.objection_id)
                case Signed() | FileForwarded() | FileRegistered():
                    assert not open_now

    @invariant()
    def signatures_are_on_the_form_as_it_stands(self) -> None:
        """Invariant 2: what was signed is the newest form, after both of its notices, and by two
        people of whom neither is the reviewer (reading 18)."""
        form, places, busy = "", set[str](), set[str]()
        for fact in self.facts():
            match fact:
                case FormDrawnUp():
                    form, places, busy = fact.form_hash, set(), {fact.reviewer}
                case NoticePassed():
                    assert fact.form_hash == form
                    places.add(fact.place)
                case Signed():
                    assert fact.form_hash == form
                    assert places == {"workplace", "station"}
                    assert fact.signer not in busy
                    busy.add(fact.signer)

    @invariant()
    def each_person_has_at_most_one_open_file(self) -> None:
        sums: Counter[str] = Counter()
        for recorded in self.case.recorded:
            for key, delta in ROOM.guard_changes(recorded.read(ROOM.reads), recorded):
                sums[key] += delta
                assert 0 <= sums[key] <= 1

    @invariant()
    def replaying_the_log_gives_the_same_state(self) -> None:
        """Invariant 6: the stored bytes, read again and folded from nothing."""
        assert ROOM.fold(CASE.stream(SUBJECT), self.case.recorded) == self.case.state

    @invariant()
    def work_and_timers_have_keys_of_their_own(self) -> None:
        keys = [(view.model, view.key) for view in CASE.views(self.case.state)]
        assert len(keys) == len(set(keys))

    def facts(self) -> list[Fact]:
        return [recorded.read(ROOM.reads) for recorded in self.case.recorded]


def _judge_procedure(facts: Sequence[Fact]) -> None:
    """Two visits, two notices, two signatures, in that order and on one form."""
    order = [
        VisitCompleted,
        VisitCompleted,
        VisitsReconciled,
        ClassTakenOver,
        FormDrawnUp,
        NoticePassed,
        NoticePassed,
        Signed,
        Signed,
        FileForwarded,
    ]
    assert [type(fact) for fact in facts if type(fact) in order] == order
    visits = [fact for fact in facts if isinstance(fact, VisitCompleted)]
    assert len({visit.organisation_id for visit in visits}) == 2
    assert not set(visits[0].visitors) & set(visits[1].visitors)
    assert {fact.place for fact in facts if isinstance(fact, NoticePassed)} == {
        "workplace",
        "station",
    }
    named = [fact for fact in facts if isinstance(fact, FormDrawnUp | NoticePassed | Signed)]
    assert len({fact.form_hash for fact in named}) == 1


def _judge_duties(facts: Sequence[Fact], registered_fact: FileRegistered) -> None:
    """Visitors, signers, reviewer and approver are different people, as far as reading 18 says."""
    signers = [fact.signer for fact in facts if isinstance(fact, Signed)]
    visitors = {p for fact in facts if isinstance(fact, VisitCompleted) for p in fact.visitors}
    assert len(set(signers)) == 2
    assert registered_fact.reviewer != registered_fact.approver
    assert not {registered_fact.reviewer, registered_fact.approver} & (visitors | set(signers))
    assert set(registered_fact.visitors) == visitors
    assert set(registered_fact.signers) == set(signers)


class TestAnythingAsked(AnythingAsked.TestCase):  # type: ignore[misc, valid-type]  # made by hypothesis
    """Run by pytest; and some runs must have got to the end, or nothing was tested."""

    settings = settings(
        max_examples=80,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    @classmethod
    def tearDownClass(cls) -> None:
        assert AnythingAsked.reached["registered"] > 0
