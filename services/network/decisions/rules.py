"""The rules that many of the network's decisions share: who arranges what, and which days fit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from services.network.decisions.refusals import no_organisation, wrong_day
from services.network.decisions.state import Organisation
from shared.directory import Office
from shared.fact import Actor
from shared.room import Refusal, Situation

KEEPER: Final = "network_keeper"
INSTALLATION: Final = "installation"
# A union has one chair at a time; every other office may be held by several people.
HELD_BY_ONE: Final = frozenset(("chair",))

# Guard rows: how many roots there are (one at most), and how often the tree has changed.
ROOT_GUARD: Final = "root"
TREE_GUARD: Final = "tree"


def closed_guard(organisation: str) -> str:
    """1 once the organisation is closed: nothing is founded or moved under it any more."""
    return f"closed|{organisation}"


def keeps(by: Actor, organisation: str, situation: Situation, *, or_itself: bool = False) -> bool:
    """The network keeper of a higher organisation arranges it; the root has none but its own.

    ``or_itself``: of a new child's parent also that parent's own keeper.
    """
    if by.role != KEEPER:
        return False
    directory, today = situation.directory, situation.today
    above = directory.ancestors(organisation, today)
    if by.organisation == organisation:
        return or_itself or not above
    return by.organisation in above


def founded(state: Organisation) -> date:
    """The day of founding; commands reach a stream only after its first fact."""
    return state.founded_on or date.max


def last_beginning(state: Organisation) -> date:
    """The day on which the latest of its edges, offices and delegations began, or it itself."""
    return max(
        founded(state),
        *(edge.from_day for edge in state.edges),
        *(office.from_day for office in state.offices),
        *(delegation.from_day for delegation in state.delegations),
        date.min,
    )


def in_future(field: str, day: date, situation: Situation) -> Refusal | None:
    """The tree is entered on the day or late, never ahead: scope follows it at once."""
    if day > situation.today:
        return wrong_day(field, "日期不得晚于今天", "not after today")
    return None


def before_founding(field: str) -> Refusal:
    """Nothing of an organisation is older than itself."""
    return wrong_day(field, "不得早于组织设立之日", "not before the organisation was founded")


def not_after(begins: date, ends: date, field: str = "to_day") -> Refusal | None:
    """An end is the first day on which something no longer holds; it held for a day at least."""
    if ends <= begins:
        return wrong_day(field, "须晚于开始之日", "after the day on which it began")
    return None


def no_parent(parent: str, day: date, situation: Situation) -> Refusal | None:
    """The parent exists from that day until today, and has not been closed since."""
    directory = situation.directory
    if situation.guards[closed_guard(parent)]:
        return no_organisation("parent")
    if not (directory.is_open(parent, day) and directory.is_open(parent, situation.today)):
        return no_organisation("parent")
    return None


def is_taken(offices: Iterable[Office], person: str, role: str, day: date) -> bool:
    """From ``day`` on somebody would hold twice what is held once."""
    return any(
        (office.person == person or role in HELD_BY_ONE)
        and office.role == role
        and (office.to_day is None or day < office.to_day)
        for office in offices
    )
