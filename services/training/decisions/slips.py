"""Two of the three slips 三单: the employer's order and the institution's menu."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Final, cast

from pydantic import Field

from services.training.decisions.offices import day_refused, office_refused
from services.training.facts import MenuOffered, OrderPlaced
from shared.fact import Fact, Fen, Recorded
from shared.room import Act, Answer, Command, Decided, Refusal, Situation

Several = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]

EXISTS = Refusal("exists_already", "已登记", "it was entered already")


@dataclass(frozen=True, slots=True)
class Order:
    """An employer's order."""

    order_id: str
    placed: OrderPlaced | None = None


@dataclass(frozen=True, slots=True)
class Menu:
    """A course that an institution offers."""

    menu_id: str
    offered: MenuOffered | None = None


def evolve_order(state: Order, fact: Fact, _recorded: Recorded) -> Order:
    """An order has one fact."""
    return replace(state, placed=cast(OrderPlaced, fact))


def evolve_menu(state: Menu, fact: Fact, _recorded: Recorded) -> Menu:
    """A menu has one fact."""
    return replace(state, offered=cast(MenuOffered, fact))


class PlaceOrder(Command):
    """An employer wants so many people with a skill for a post."""

    employer: str
    post: str
    skill: str
    heads: Several
    placed_on: date


class OfferMenu(Command):
    """An institution offers a course with places and a price per place."""

    institution: str
    course: str
    skill: str
    places: Several
    price_fen: Fen


def place_order(state: Order, command: PlaceOrder, situation: Situation) -> Answer:
    """The employer's slip, entered by the training officer of whoever the employer asked."""
    refusal = office_refused(command.by) or day_refused(
        command.placed_on, None, situation.today, "placed_on"
    )
    if refusal is not None:
        return refusal
    if state.placed is not None:
        return EXISTS
    placed = OrderPlaced(
        order_id=state.order_id,
        organisation_id=command.by.organisation,
        employer=command.employer,
        post=command.post,
        skill=command.skill,
        heads=command.heads,
        placed_on=command.placed_on,
    )
    return Decided((placed,))


def offer_menu(state: Menu, command: OfferMenu, _situation: Situation) -> Answer:
    """The institution's slip."""
    refusal = office_refused(command.by)
    if refusal is not None:
        return refusal
    if state.offered is not None:
        return EXISTS
    offered = MenuOffered(
        menu_id=state.menu_id,
        organisation_id=command.by.organisation,
        institution=command.institution,
        course=command.course,
        skill=command.skill,
        places=command.places,
        price_fen=command.price_fen,
    )
    return Decided((offered,))


ORDER_ACTS: Final[Mapping[type[Command], Act]] = {PlaceOrder: Act(place_order, opens=True)}
MENU_ACTS: Final[Mapping[type[Command], Act]] = {OfferMenu: Act(offer_menu, opens=True)}
