"""Classes: each refers to an order and a menu of the same skill, and is no larger than either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal, cast

from services.training.decisions.heads import planned_guard
from services.training.decisions.offices import day_refused, not_found, office_refused, open_to
from services.training.decisions.slips import EXISTS, Several
from services.training.facts import ClassOpened
from shared.fact import Fact, Recorded
from shared.room import Act, Answer, Command, Condition, Decided, Needs, Refusal, Situation

OTHER_SKILL = Refusal(
    "other_skill",
    "订单与培训课程的技能不一致",
    "order and menu are not of one skill",
    rule="DOMAIN §4",
    field="menu_id",
    status=422,
)
ENDS_BEFORE_START = Refusal(
    "wrong_day", "结束日早于开始日", "the class ends before it starts", field="ends_on", status=422
)
BEFORE_ORDER = Refusal(
    "wrong_day",
    "开班早于订单",
    "the class starts before its order was placed",
    rule="DOMAIN §4",
    field="starts_on",
    status=422,
)
TOO_MANY_FOR_ORDER = Refusal(
    "order_exceeded",
    "班额超过订单剩余人数",
    "more places than the order has heads left",
    rule="DOMAIN §4",
    field="places",
)
TOO_MANY_FOR_MENU = Refusal(
    "menu_exceeded",
    "班额超过课程名额",
    "more places than the course offers",
    rule="DOMAIN §4",
    field="places",
)


@dataclass(frozen=True, slots=True)
class TrainingClass:
    """One class."""

    class_id: str
    opened: ClassOpened | None = None
    opened_on: date | None = None


def evolve(state: TrainingClass, fact: Fact, recorded: Recorded) -> TrainingClass:
    """A class has one fact in its own stream; who takes part stands with the workers."""
    return replace(state, opened=cast(ClassOpened, fact), opened_on=recorded.occurred_on)


class OpenClass(Command):
    """Open a class for an order with a course from the menu."""

    occurred_on: date
    kind: Literal["own", "joint", "commissioned"]
    content: Literal["skill", "start_up", "basic"]
    order_id: str
    menu_id: str
    places: Several
    starts_on: date
    ends_on: date


def needs(_state: TrainingClass, command: OpenClass) -> Needs:
    """Both slips, and how many places the order's other classes have."""
    return Needs(
        guards=[planned_guard(command.order_id)],
        documents=[("order", command.order_id), ("menu", command.menu_id)],
    )


def open_class(state: TrainingClass, command: OpenClass, situation: Situation) -> Answer:
    """A funded class refers to an order; all its classes together train no more than ordered."""
    refusal = office_refused(command.by)
    if refusal is not None:
        return refusal
    if state.opened is not None:
        return EXISTS
    organisation = command.by.organisation
    documents = situation.documents
    order = open_to(organisation, documents.get(("order", command.order_id)), situation)
    if order is None:
        return not_found("order_id")
    menu = open_to(organisation, documents.get(("menu", command.menu_id)), situation)
    if menu is None:
        return not_found("menu_id")
    if order["skill"] != menu["skill"]:
        return OTHER_SKILL
    if command.ends_on < command.starts_on:
        return ENDS_BEFORE_START
    ordered_on = date.fromisoformat(order["placed_on"])
    if command.starts_on < ordered_on:
        return BEFORE_ORDER
    refusal = day_refused(command.occurred_on, ordered_on, situation.today, "opened_on")
    if refusal is not None:
        return refusal
    planned = planned_guard(command.order_id)
    if situation.guards[planned] + command.places > order["heads"]:
        return TOO_MANY_FOR_ORDER
    if command.places > menu["places"]:
        return TOO_MANY_FOR_MENU
    opened = ClassOpened(
        class_id=state.class_id,
        organisation_id=organisation,
        kind=command.kind,
        content=command.content,
        order_id=command.order_id,
        menu_id=command.menu_id,
        skill=order["skill"],
        places=command.places,
        starts_on=command.starts_on,
        ends_on=command.ends_on,
    )
    return Decided((opened,), (Condition(planned, maximum=order["heads"]),))


CLASS_ACTS: Final[Mapping[type[Command], Act]] = {OpenClass: Act(open_class, needs, opens=True)}
