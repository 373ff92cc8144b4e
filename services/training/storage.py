"""What training keeps beside its log: slips, classes with what is left, who may be trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from services.training.decisions.classes import TrainingClass
from services.training.decisions.heads import (
    heads_guard,
    placed_guard,
    places_guard,
    planned_guard,
)
from services.training.decisions.slips import Menu, Order
from services.training.decisions.workers import Enrolment, Workers
from shared.event_store import EventStore
from shared.room import View

ORDER: Final = "order"
MENU: Final = "menu"
CLASS: Final = "class"
WORKER: Final = "worker"


def order_holder(state: Order) -> str | None:
    """Streams without a case belong to the organisation that opened them."""
    return state.placed.organisation_id if state.placed else None


def menu_holder(state: Menu) -> str | None:
    """As an order's."""
    return state.offered.organisation_id if state.offered else None


def class_holder(state: TrainingClass) -> str | None:
    """As an order's."""
    return state.opened.organisation_id if state.opened else None


def worker_holder(state: Workers) -> str | None:
    """The organisation that holds the file."""
    return state.organisation_id or None


def order_views(state: Order) -> Sequence[View]:
    """The order as it was placed."""
    placed = state.placed
    if placed is None:
        return []
    return [View(ORDER, placed.order_id, placed.model_dump(mode="json"), placed.organisation_id)]


def menu_views(state: Menu) -> Sequence[View]:
    """The menu as it was offered."""
    offered = state.offered
    if offered is None:
        return []
    return [View(MENU, offered.menu_id, offered.model_dump(mode="json"), offered.organisation_id)]


def class_views(state: TrainingClass) -> Sequence[View]:
    """The class as it was opened, and when."""
    opened = state.opened
    if opened is None:
        return []
    document = {**opened.model_dump(mode="json"), "opened_on": state.opened_on}
    return [View(CLASS, opened.class_id, document, opened.organisation_id)]


def worker_views(state: Workers) -> Sequence[View]:
    """One row a person: where they stand on their way into a job."""
    return [
        View(
            WORKER,
            f"{state.case_id}:{person_id}",
            {
                "case_id": state.case_id,
                "household_id": state.household_id,
                "person_id": person_id,
                "may_be_enrolled": not state.closed,
                "enrolments": [_enrolment(e) for e in state.enrolments if e.person_id == person_id],
            },
            state.organisation_id,
            status=standing(state, person_id),
        )
        for person_id in state.workers
    ]


def standing(state: Workers, person_id: str) -> str:
    """In one word: ``waiting``, ``in_class``, ``certified``, ``placed``, or ``closed``.

    The furthest step counts; a closed file only where nothing was reached.
    """
    own = [e for e in state.enrolments if e.person_id == person_id]
    if any(e.placement_id for e in own):
        return "placed"
    if any(e.certificate_id for e in own):
        return "certified"
    if own:
        return "in_class"
    return "closed" if state.closed else "waiting"


def _enrolment(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "class_id": enrolment.class_id,
        "order_id": enrolment.order_id,
        "enrolled_on": enrolment.enrolled_on,
        "certificate_id": enrolment.certificate_id or None,
        "certified_on": enrolment.certified_on,
        "placement_id": enrolment.placement_id or None,
    }


async def with_heads(
    store: EventStore, orders: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Orders with what is left of their heads: to plan classes, to enrol, to place."""
    listed = list(orders)
    ids = [order["order_id"] for order in listed]
    guards = await store.guards(
        key for each in ids for key in (planned_guard(each), heads_guard(each), placed_guard(each))
    )
    return [
        {
            **order,
            "heads_unplanned": order["heads"] - guards[planned_guard(order["order_id"])],
            "heads_left": order["heads"] - guards[heads_guard(order["order_id"])],
            "jobs_left": order["heads"] - guards[placed_guard(order["order_id"])],
        }
        for order in listed
    ]


async def with_places(
    store: EventStore, classes: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Classes with the places that are left."""
    listed = list(classes)
    guards = await store.guards(places_guard(each["class_id"]) for each in listed)
    return [
        {**each, "places_left": each["places"] - guards[places_guard(each["class_id"])]}
        for each in listed
    ]


async def order_of_class(store: EventStore, class_id: str) -> str | None:
    """The order that a class was opened for, so that its heads can be read before deciding."""
    found = await store.documents([(CLASS, class_id)])
    document = found.get((CLASS, class_id))
    return str(document["order_id"]) if document else None
