"""The rules of training: three slips, and a filed worker's way into a job (DOMAIN §4)."""

from datetime import date, timedelta

import pytest

from services.training.decisions.slips import OfferMenu, PlaceOrder
from services.training.decisions.workers import CloseFile, TakeOverWorkers
from services.training.facts import (
    ClassOpened,
    FileClosed,
    MenuOffered,
    OrderPlaced,
    TraineeCertified,
    TraineeEnrolled,
    TraineePlaced,
)
from shared.fact import Actor
from shared.room import Condition, Decided
from tests.given_when_then import SUBJECT, given
from tests.services.training.slips import (
    AFTERWARDS,
    CLASS,
    ENDS,
    MENU,
    OFFICER,
    OPENED,
    ORDER,
    ORDERED,
    STARTS,
    WORKER,
    around,
    certified,
    certify,
    enrol,
    enrolled,
    on_file,
    open_class,
    place,
)

ORDER_SLIP = PlaceOrder(
    by=OFFICER,
    occurred_on=ORDERED,
    employer="示例机床厂",
    post="车工",
    skill="turning",
    heads=3,
    placed_on=ORDERED,
)
MENU_SLIP = OfferMenu(
    by=OFFICER,
    institution="示例职工学校",
    course="车工初级",
    skill="turning",
    places=2,
    price_fen=120_000,
)


# The slips


def test_an_employer_orders_heads_with_a_skill_for_a_post() -> None:
    case = given(ORDER, identity="order-1")
    outcome = case.when(ORDER_SLIP, around())
    outcome.then(
        OrderPlaced(
            order_id="order-1",
            organisation_id="city",
            employer="示例机床厂",
            post="车工",
            skill="turning",
            heads=3,
            placed_on=ORDERED,
        )
    )
    outcome.afterwards().when(ORDER_SLIP, around()).refused("exists_already")
    ahead = ORDER_SLIP.model_copy(update={"placed_on": AFTERWARDS + timedelta(days=1)})
    case.when(ahead, around()).refused("wrong_day")


def test_an_institution_offers_a_course() -> None:
    outcome = given(MENU, identity="menu-1").when(MENU_SLIP, around()).then_types(MenuOffered)
    assert outcome.afterwards().views("menu")[0].document["price_fen"] == 120_000
    outcome.afterwards().when(MENU_SLIP, around()).refused("exists_already")


@pytest.mark.parametrize("by", [Actor("p", "handler", "city"), Actor("public", "public")])
def test_slips_and_steps_are_the_training_officers(by: Actor) -> None:
    for kind, command in ((ORDER, ORDER_SLIP), (MENU, MENU_SLIP), (CLASS, open_class())):
        asked = command.model_copy(update={"by": by})
        given(kind, identity="x").when(asked, around()).refused("wrong_office")
    on_file().when(enrol(by=by), around()).refused("wrong_office")
    enrolled().when(certify(by=by), around()).refused("wrong_office")
    certified().when(place(by=by), around()).refused("wrong_office")


# Classes


def test_a_class_refers_to_an_order_and_a_menu_of_its_skill() -> None:
    """A funded class refers to at least one order."""
    outcome = given(CLASS, identity="class-1").when(open_class(), around())
    outcome.then(
        ClassOpened(
            class_id="class-1",
            organisation_id="city",
            kind="commissioned",
            content="skill",
            order_id="order-1",
            menu_id="menu-1",
            skill="turning",
            places=2,
            starts_on=STARTS,
            ends_on=ENDS,
        )
    )
    assert isinstance(outcome.answer, Decided)
    assert outcome.answer.conditions == (Condition("order|order-1|planned", maximum=3),)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"order_id": "nothing"}, "not_open_to_them", "order_id"),
        ({"menu_id": "nothing"}, "not_open_to_them", "menu_id"),
        ({"ends_on": STARTS - timedelta(days=1)}, "wrong_day", "ends_on"),
        ({"starts_on": ORDERED - timedelta(days=1)}, "wrong_day", "starts_on"),
        ({"occurred_on": AFTERWARDS + timedelta(days=1)}, "wrong_day", "opened_on"),
        ({"occurred_on": ORDERED - timedelta(days=1)}, "wrong_day", "opened_on"),
        ({"places": 4}, "order_exceeded", "places"),
        ({"places": 3}, "menu_exceeded", "places"),
    ],
)
def test_a_class_fits_its_slips(changes: dict[str, object], code: str, field: str) -> None:
    asked = given(CLASS, identity="class-1").when(open_class(**changes), around())
    assert asked.refused(code).field == field


def test_all_classes_of_an_order_train_no_more_than_ordered() -> None:
    guards = {"order|order-1|planned": 2}
    case = given(CLASS, identity="class-2")
    case.when(open_class(places=1), around(guards=guards)).then_types(ClassOpened)
    case.when(open_class(places=2), around(guards=guards)).refused("order_exceeded")


def test_order_and_menu_are_of_one_skill() -> None:
    case = given(CLASS, identity="class-1")
    case.when(open_class(), around(menu={"skill": "welding"})).refused("other_skill")


def test_slips_are_open_to_those_below_whoever_entered_them() -> None:
    """Streams without a case belong to the organisation that opened them."""
    case = given(CLASS, identity="class-1")
    below = open_class(by=Actor("p", "training_officer", "county"))
    case.when(below, around()).then_types(ClassOpened)
    beside = around(order={"organisation_id": "other-county"})
    assert case.when(below, beside).refused("not_open_to_them").field == "order_id"


# Workers


def test_only_a_file_with_workers_is_taken_over_and_once() -> None:
    nobody = TakeOverWorkers(household_id="h", organisation_id="union", workers=())
    given(WORKER).when(nobody, around()).then()
    again = nobody.model_copy(update={"workers": ("x",)})
    on_file().when(again, around()).then()
    given(WORKER).when(enrol(), around()).refused("unknown")


def test_a_worker_of_the_file_takes_a_place_and_a_head() -> None:
    outcome = on_file().when(enrol(), around())
    outcome.then(
        TraineeEnrolled(
            case_id=SUBJECT, person_id="worker-1", class_id="class-1", order_id="order-1"
        )
    )
    assert isinstance(outcome.answer, Decided)
    assert outcome.answer.conditions == (
        Condition("class|class-1|places", maximum=2),
        Condition("order|order-1|heads", maximum=3),
    )
    assert [v.status for v in outcome.afterwards().views("worker")] == ["in_class", "waiting"]


def test_nobody_is_enrolled_twice_or_without_being_on_file() -> None:
    enrolled().when(enrol(), around()).refused("enrolled_already")
    enrolled().when(enrol(person_id="worker-2"), around()).then_types(TraineeEnrolled)
    assert on_file().when(enrol(person_id="child"), around()).refused("not_a_worker").field


def test_enrolled_are_no_more_than_places_and_ordered_heads() -> None:
    """Enrolled ≤ ordered heads."""
    case = on_file()
    case.when(enrol(), around(guards={"class|class-1|places": 2})).refused("class_full")
    case.when(enrol(), around(guards={"order|order-1|heads": 3})).refused("order_full")
    almost = {"class|class-1|places": 1, "order|order-1|heads": 2}
    case.when(enrol(), around(guards=almost)).then_types(TraineeEnrolled)


def test_a_closed_file_takes_no_new_enrolment_but_finishes_what_was_begun() -> None:
    close = CloseFile(exit="reemployed")
    outcome = enrolled().when(close, around()).then_types(FileClosed)
    case = outcome.afterwards()
    case.when(close, around()).then()
    case.when(enrol(person_id="worker-2"), around()).refused("file_closed")
    case = case.when(certify(), around()).then_types(TraineeCertified).afterwards()
    case.when(place(), around()).then_types(TraineePlaced)
    assert [v.status for v in case.views("worker")] == ["certified", "closed"]
    assert not case.views("worker")[1].document["may_be_enrolled"]


@pytest.mark.parametrize(
    ("day", "code"),
    [
        (OPENED - timedelta(days=1), "wrong_day"),
        (ENDS + timedelta(days=1), "class_over"),
        (AFTERWARDS + timedelta(days=1), "wrong_day"),
    ],
)
def test_enrolment_lies_between_opening_and_end_of_the_class(day: date, code: str) -> None:
    on_file().when(enrol(occurred_on=day), around()).refused(code)


def test_a_class_is_open_to_workers_below_whoever_opened_it() -> None:
    elsewhere = around(training={"organisation_id": "other-county"})
    on_file().when(enrol(), elsewhere).refused("not_open_to_them")
    on_file().when(enrol(class_id="nothing"), around()).refused("not_open_to_them")
    on_file().when(enrol(order_id="order-2"), around()).refused("not_open_to_them")


def test_a_certificate_comes_once_to_who_was_enrolled_when_the_class_ends() -> None:
    on_file().when(certify(), around()).refused("not_enrolled")
    early = certify(occurred_on=ENDS - timedelta(days=1))
    assert enrolled().when(early, around()).refused("wrong_day").field == "certified_on"
    enrolled().when(certify(), around()).then(
        TraineeCertified(
            case_id=SUBJECT,
            person_id="worker-1",
            class_id="class-1",
            certificate_id="certificate-1",
        )
    )
    certified().when(certify(), around()).refused("certified_already")


def test_a_job_comes_after_the_certificate_in_the_post_that_was_ordered() -> None:
    on_file().when(place(), around()).refused("not_enrolled")
    enrolled().when(place(), around()).refused("not_certified")
    outcome = certified().when(place(), around())
    outcome.then(
        TraineePlaced(
            case_id=SUBJECT,
            person_id="worker-1",
            class_id="class-1",
            order_id="order-1",
            placement_id="placement-1",
            post="车工",
            started_on=AFTERWARDS,
        )
    )
    after = outcome.afterwards()
    after.when(place(), around()).refused("placed_already")
    assert after.views("worker")[0].status == "placed"
    before = place(occurred_on=ENDS - timedelta(days=1))
    assert certified().when(before, around()).refused("wrong_day").field == "started_on"


def test_placements_are_no_more_than_ordered_heads() -> None:
    certified().when(place(), around(guards={"order|order-1|placed": 3})).refused("order_full")
