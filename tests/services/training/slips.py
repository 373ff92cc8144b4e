"""One order, one menu, one class, and a registered file's workers."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from services.training.decisions.classes import OpenClass
from services.training.decisions.workers import Certify, Enrol, PlaceTrainee, TakeOverWorkers
from services.training.main import ROOM
from shared.directory import Directory, Edge, Organisation
from shared.fact import Actor
from shared.room import Situation
from tests import given_when_then as gwt
from tests.given_when_then import Given, given

BEGINNING = date(2015, 1, 1)
ORDERED = date(2025, 2, 1)
OPENED = date(2025, 2, 10)
STARTS, ENDS = date(2025, 3, 3), date(2025, 4, 30)
AFTERWARDS = date(2025, 5, 12)
OFFICER = Actor("officer", "training_officer", "city")

WORKER, CLASS = ROOM.kinds["worker"], ROOM.kinds["class"]
ORDER, MENU = ROOM.kinds["order"], ROOM.kinds["menu"]

DIRECTORY = Directory(
    [
        Organisation(name, "union", name, BEGINNING)
        for name in ("city", "county", "other-county", "union")
    ],
    [
        Edge("county", "city", BEGINNING),
        Edge("other-county", "city", BEGINNING),
        Edge("union", "county", BEGINNING),
    ],
)

DOCUMENTS: Mapping[tuple[str, str], dict[str, Any]] = {
    ("order", "order-1"): {
        "order_id": "order-1",
        "organisation_id": "city",
        "post": "车工",
        "skill": "turning",
        "heads": 3,
        "placed_on": ORDERED.isoformat(),
    },
    ("menu", "menu-1"): {
        "menu_id": "menu-1",
        "organisation_id": "city",
        "skill": "turning",
        "places": 2,
    },
    ("class", "class-1"): {
        "class_id": "class-1",
        "organisation_id": "city",
        "order_id": "order-1",
        "places": 2,
        "starts_on": STARTS.isoformat(),
        "ends_on": ENDS.isoformat(),
        "opened_on": OPENED.isoformat(),
    },
}


def around(
    today: date = AFTERWARDS,
    guards: Mapping[str, int] | None = None,
    **changes: Mapping[str, Any],
) -> Situation:
    """``changes`` are of documents by kind: ``order={"heads": 1}``; ``training`` is the class."""
    documents = {
        (kind, key): {**document, **changes.get("training" if kind == "class" else kind, {})}
        for (kind, key), document in DOCUMENTS.items()
    }
    return gwt.situation(today, directory=DIRECTORY, guards=guards, documents=documents)


def open_class(**changes: Any) -> OpenClass:
    asked: dict[str, Any] = {
        "by": OFFICER,
        "occurred_on": OPENED,
        "kind": "commissioned",
        "content": "skill",
        "order_id": "order-1",
        "menu_id": "menu-1",
        "places": 2,
        "starts_on": STARTS,
        "ends_on": ENDS,
    }
    return OpenClass(**{**asked, **changes})


def on_file() -> Given:
    """A registered file with two workers."""
    command = TakeOverWorkers(
        occurred_on=OPENED,
        household_id="household",
        organisation_id="union",
        workers=("worker-1", "worker-2"),
    )
    return given(WORKER).when(command, around()).afterwards()


def enrol(**changes: Any) -> Enrol:
    asked: dict[str, Any] = {
        "by": OFFICER,
        "occurred_on": STARTS,
        "person_id": "worker-1",
        "class_id": "class-1",
        "order_id": "order-1",
    }
    return Enrol(**{**asked, **changes})


def certify(**changes: Any) -> Certify:
    asked: dict[str, Any] = {
        "by": OFFICER,
        "occurred_on": ENDS,
        "person_id": "worker-1",
        "class_id": "class-1",
        "certificate_id": "certificate-1",
    }
    return Certify(**{**asked, **changes})


def place(**changes: Any) -> PlaceTrainee:
    asked: dict[str, Any] = {
        "by": OFFICER,
        "occurred_on": AFTERWARDS,
        "person_id": "worker-1",
        "class_id": "class-1",
        "placement_id": "placement-1",
    }
    return PlaceTrainee(**{**asked, **changes})


def enrolled() -> Given:
    return on_file().when(enrol(), around()).afterwards()


def certified() -> Given:
    return enrolled().when(certify(), around()).afterwards()
