"""A filed worker's way: enrolled in a class, certified, placed in a job against the order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, assert_never, cast

from services.training.decisions.heads import heads_guard, placed_guard, places_guard
from services.training.decisions.offices import day_refused, not_found, office_refused, open_to
from services.training.facts import (
    FileClosed,
    TraineeCertified,
    TraineeEnrolled,
    TraineePlaced,
    WorkerTakenOver,
)
from shared.fact import Fact, Recorded
from shared.room import (
    NOTHING_NEEDED,
    Act,
    Answer,
    Command,
    Condition,
    Decided,
    Needs,
    Refusal,
    Situation,
)

Stated = WorkerTakenOver | FileClosed | TraineeEnrolled | TraineeCertified | TraineePlaced

FILE_CLOSED = Refusal(
    "file_closed", "档案已注销，不再安排培训", "a closed file takes no new enrolment"
)
NOT_A_WORKER = Refusal(
    "not_a_worker",
    "不是该档案中可参训的成员",
    "not one of the file's members who may be trained",
    field="person_id",
    status=422,
)
ENROLLED = Refusal("enrolled_already", "已在该班", "enrolled in this class already")
CLASS_FULL = Refusal("class_full", "班额已满", "the class has no place left", rule="DOMAIN §4")
ORDER_FULL = Refusal("order_full", "订单人数已满", "the order has no head left", rule="DOMAIN §4")
CLASS_OVER = Refusal("class_over", "该班已结束", "the class has ended", field="class_id")
NOT_ENROLLED = Refusal("not_enrolled", "未参加该班", "not enrolled in this class", field="class_id")
CERTIFIED = Refusal("certified_already", "已发证", "certified already")
NOT_CERTIFIED = Refusal("not_certified", "尚未取得证书", "not certified yet: a job comes after")
PLACED = Refusal("placed_already", "已安置就业", "placed already")


# State


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One person's place in one class, and what came of it."""

    person_id: str
    class_id: str
    order_id: str
    enrolled_on: date
    certificate_id: str = ""
    certified_on: date | None = None
    placement_id: str = ""


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of one case's file."""

    case_id: str
    household_id: str = ""
    organisation_id: str = ""
    workers: tuple[str, ...] = ()
    on_file_since: date | None = None
    enrolments: tuple[Enrolment, ...] = ()
    closed: str = ""

    def enrolment(self, person_id: str, class_id: str) -> Enrolment | None:
        named = (person_id, class_id)
        return next((e for e in self.enrolments if (e.person_id, e.class_id) == named), None)


def evolve(state: Workers, fact: Fact, recorded: Recorded) -> Workers:
    """Copy a fact into the state."""
    day = recorded.occurred_on
    match cast(Stated, fact):
        case WorkerTakenOver() as taken:
            return replace(
                state,
                household_id=taken.household_id,
                organisation_id=taken.organisation_id,
                workers=taken.workers,
                on_file_since=day,
            )
        case FileClosed(exit=reason):
            return replace(state, closed=reason)
        case TraineeEnrolled(person_id=person, class_id=class_id, order_id=order_id):
            enrolled = Enrolment(person, class_id, order_id, day)
            return replace(state, enrolments=(*state.enrolments, enrolled))
        case TraineeCertified(person_id=person, class_id=class_id, certificate_id=certificate):
            return _changed(
                state,
                (person, class_id),
                lambda e: replace(e, certificate_id=certificate, certified_on=day),
            )
        case TraineePlaced(person_id=person, class_id=class_id, placement_id=placement):
            return _changed(state, (person, class_id), lambda e: replace(e, placement_id=placement))
        case other:
            assert_never(other)


def _changed(
    state: Workers, named: tuple[str, str], change: Callable[[Enrolment], Enrolment]
) -> Workers:
    return replace(
        state,
        enrolments=tuple(
            change(each) if (each.person_id, each.class_id) == named else each
            for each in state.enrolments
        ),
    )


# Commands


class TakeOverWorkers(Command):
    """Intake has registered the file."""

    household_id: str
    organisation_id: str
    workers: tuple[str, ...]


class CloseFile(Command):
    """Intake has deregistered the file."""

    exit: str


class Enrol(Command):
    """A place in a class; ``order_id`` is the class's own order, read beforehand."""

    occurred_on: date
    person_id: str
    class_id: str
    order_id: str


class Certify(Command):
    """The trainee has finished with a certificate."""

    occurred_on: date
    person_id: str
    class_id: str
    certificate_id: str


class PlaceTrainee(Command):
    """The trainee has started in the post that was ordered."""

    occurred_on: date
    person_id: str
    class_id: str
    placement_id: str


# Decisions


def take_over_workers(state: Workers, command: TakeOverWorkers, _situation: Situation) -> Answer:
    """On file: these members may be trained; a file without any is none of training's."""
    if state.on_file_since is not None or not command.workers:
        return Decided()
    taken = WorkerTakenOver(
        case_id=state.case_id,
        household_id=command.household_id,
        organisation_id=command.organisation_id,
        workers=command.workers,
    )
    return Decided((taken,))


def close_file(state: Workers, command: CloseFile, _situation: Situation) -> Answer:
    """A closed file takes no new enrolment; what was begun is finished."""
    if state.closed:
        return Decided()
    return Decided((FileClosed(case_id=state.case_id, exit=command.exit),))


def needs_of_enrolment(_state: Workers, command: Enrol) -> Needs:
    """The class and its order, and how much of both is taken."""
    return Needs(
        guards=[places_guard(command.class_id), heads_guard(command.order_id)],
        documents=[("class", command.class_id), ("order", command.order_id)],
    )


def enrol(state: Workers, command: Enrol, situation: Situation) -> Answer:
    """A worker of an open file, once, while the class has a place and the order a head."""
    refusal = office_refused(command.by)
    if refusal is not None:
        return refusal
    if state.closed:
        return FILE_CLOSED
    if command.person_id not in state.workers:
        return NOT_A_WORKER
    documents = situation.documents
    training = open_to(state.organisation_id, documents.get(("class", command.class_id)), situation)
    order = documents.get(("order", command.order_id))
    if training is None or order is None or training["order_id"] != command.order_id:
        return not_found("class_id")
    if state.enrolment(command.person_id, command.class_id) is not None:
        return ENROLLED
    begun = max(state.on_file_since or date.min, date.fromisoformat(training["opened_on"]))
    refusal = day_refused(command.occurred_on, begun, situation.today, "enrolled_on")
    if refusal is not None:
        return refusal
    if command.occurred_on > date.fromisoformat(training["ends_on"]):
        return CLASS_OVER
    places, heads = places_guard(command.class_id), heads_guard(command.order_id)
    if situation.guards[places] >= training["places"]:
        return CLASS_FULL
    if situation.guards[heads] >= order["heads"]:
        return ORDER_FULL
    enrolled = TraineeEnrolled(
        case_id=state.case_id,
        person_id=command.person_id,
        class_id=command.class_id,
        order_id=command.order_id,
    )
    conditions = (
        Condition(places, maximum=training["places"]),
        Condition(heads, maximum=order["heads"]),
    )
    return Decided((enrolled,), conditions)


def needs_of_certificate(_state: Workers, command: Certify) -> Needs:
    """When the class ends."""
    return Needs(documents=[("class", command.class_id)])


def certify(state: Workers, command: Certify, situation: Situation) -> Answer:
    """Who was enrolled is certified once, from the last day of the class on."""
    refusal = office_refused(command.by)
    if refusal is not None:
        return refusal
    enrolment = state.enrolment(command.person_id, command.class_id)
    if enrolment is None:
        return NOT_ENROLLED
    if enrolment.certificate_id:
        return CERTIFIED
    training = situation.documents[("class", command.class_id)]
    begun = max(enrolment.enrolled_on, date.fromisoformat(training["ends_on"]))
    refusal = day_refused(command.occurred_on, begun, situation.today, "certified_on")
    if refusal is not None:
        return refusal
    certified = TraineeCertified(
        case_id=state.case_id,
        person_id=command.person_id,
        class_id=command.class_id,
        certificate_id=command.certificate_id,
    )
    return Decided((certified,))


def needs_of_placement(state: Workers, command: PlaceTrainee) -> Needs:
    """The order that the trainee was trained for, and its jobs given."""
    enrolment = state.enrolment(command.person_id, command.class_id)
    if enrolment is None:
        return NOTHING_NEEDED
    return Needs(
        guards=[placed_guard(enrolment.order_id)], documents=[("order", enrolment.order_id)]
    )


def place_trainee(state: Workers, command: PlaceTrainee, situation: Situation) -> Answer:
    """A job after the certificate, within the heads of the order; intake then proposes that the
    hardship has ended."""
    refusal = office_refused(command.by)
    if refusal is not None:
        return refusal
    enrolment = state.enrolment(command.person_id, command.class_id)
    if enrolment is None:
        return NOT_ENROLLED
    if not enrolment.certificate_id:
        return NOT_CERTIFIED
    if enrolment.placement_id:
        return PLACED
    day = command.occurred_on
    refusal = day_refused(day, enrolment.certified_on, situation.today, "started_on")
    if refusal is not None:
        return refusal
    order = situation.documents[("order", enrolment.order_id)]
    placed = placed_guard(enrolment.order_id)
    if situation.guards[placed] >= order["heads"]:
        return ORDER_FULL
    fact = TraineePlaced(
        case_id=state.case_id,
        person_id=command.person_id,
        class_id=command.class_id,
        order_id=enrolment.order_id,
        placement_id=command.placement_id,
        post=order["post"],
        started_on=day,
    )
    return Decided((fact,), (Condition(placed, maximum=order["heads"]),))


WORKER_ACTS: Final[Mapping[type[Command], Act]] = {
    TakeOverWorkers: Act(take_over_workers, opens=True),
    CloseFile: Act(close_file, ends=True),
    Enrol: Act(enrol, needs_of_enrolment),
    Certify: Act(certify, needs_of_certificate),
    PlaceTrainee: Act(place_trainee, needs_of_placement),
}
