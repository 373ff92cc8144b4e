"""What training states: the three slips 三单, classes, and a worker's way through them.

Streams: ``worker-<case_id>``, ``order-<order_id>``, ``menu-<menu_id>``, ``class-<class_id>``.
"""

from datetime import date
from typing import Literal

from shared.fact import Count, Fact, Fen

STREAMS = ("worker", "order", "menu", "class", "fair")


class OrderPlaced(Fact, name="bangfu.training.OrderPlaced"):
    """The employer's slip: a post, how many heads, which skill."""

    order_id: str
    organisation_id: str
    employer: str
    post: str
    skill: str
    heads: Count
    placed_on: date


class MenuOffered(Fact, name="bangfu.training.MenuOffered"):
    """The institution's slip: a course with places and a price per place."""

    menu_id: str
    organisation_id: str
    institution: str
    course: str
    skill: str
    places: Count
    price_fen: Fen


class ClassOpened(Fact, name="bangfu.training.ClassOpened"):
    """A class refers to an order and a menu of the same skill; places <= ordered heads."""

    class_id: str
    organisation_id: str
    kind: Literal["own", "joint", "commissioned"]
    content: Literal["skill", "start_up", "basic"]
    order_id: str
    menu_id: str
    skill: str
    places: Count
    starts_on: date
    ends_on: date


class WorkerTakenOver(Fact, name="bangfu.training.WorkerTakenOver"):
    """The file is registered: these members may be trained."""

    case_id: str
    household_id: str
    organisation_id: str
    workers: tuple[str, ...]


class FileClosed(Fact, name="bangfu.training.FileClosed"):
    """The file left the files: nobody of it is enrolled any more."""

    case_id: str
    exit: str


class TraineeEnrolled(Fact, name="bangfu.training.TraineeEnrolled"):
    """A filed worker takes a place of a class, and one of the heads that were ordered."""

    case_id: str
    person_id: str
    class_id: str
    order_id: str


class TraineeCertified(Fact, name="bangfu.training.TraineeCertified"):
    """The trainee finished the class with a certificate."""

    case_id: str
    person_id: str
    class_id: str
    certificate_id: str


class TraineePlaced(Fact, name="bangfu.training.TraineePlaced"):
    """A job against the order; intake hears it and proposes that the hardship has ended."""

    case_id: str
    person_id: str
    class_id: str
    order_id: str
    placement_id: str
    post: str
    started_on: date
