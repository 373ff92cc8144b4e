"""Heads and places that several cases take at once: guard rows, and what a fact moves in them."""

from __future__ import annotations

from collections.abc import Sequence

from services.training.facts import ClassOpened, TraineeEnrolled, TraineePlaced
from shared.fact import Fact, Recorded


def planned_guard(order_id: str) -> str:
    """Places of the classes that were opened on an order."""
    return f"order|{order_id}|planned"


def heads_guard(order_id: str) -> str:
    """Trainees enrolled against an order: never more than the heads that were ordered."""
    return f"order|{order_id}|heads"


def placed_guard(order_id: str) -> str:
    """Jobs given against an order."""
    return f"order|{order_id}|placed"


def places_guard(class_id: str) -> str:
    """Trainees enrolled in a class."""
    return f"class|{class_id}|places"


def guard_changes(fact: Fact, _recorded: Recorded) -> Sequence[tuple[str, int]]:
    """What one fact takes."""
    match fact:
        case ClassOpened(order_id=order_id, places=places):
            return [(planned_guard(order_id), places)]
        case TraineeEnrolled(order_id=order_id, class_id=class_id):
            return [(heads_guard(order_id), 1), (places_guard(class_id), 1)]
        case TraineePlaced(order_id=order_id):
            return [(placed_guard(order_id), 1)]
        case _:
            return []
