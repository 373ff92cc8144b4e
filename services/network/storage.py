"""What the network keeps beside its log: a document per organisation, guards, its own copy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from services.network.decisions.rules import INSTALLATION, ROOT_GUARD, TREE_GUARD, closed_guard
from services.network.decisions.state import Organisation, Tree
from services.network.facts import (
    EdgeClosed,
    EdgeOpened,
    OrganisationClosed,
    OrganisationFounded,
)
from shared.directory import Directory
from shared.fact import Fact, Recorded
from shared.network_copy import reference_row
from shared.room import ReferenceRow, View

ORGANISATION: Final = "organisation"


def holder(state: Organisation) -> str | None:
    """An organisation holds its own stream; those above see it."""
    return state.organisation if state.founded_on else None


def views(state: Organisation) -> Sequence[View]:
    """One document: what the organisation is, where it stood and stands, who holds its offices."""
    document = {
        "organisation": state.organisation,
        "kind": state.kind,
        "name": state.name,
        "founded_on": state.founded_on,
        "closed_on": state.closed_on,
        "edges": [
            {"parent": e.parent, "from_day": e.from_day, "to_day": e.to_day} for e in state.edges
        ],
        "offices": [
            {"person": o.person, "role": o.role, "from_day": o.from_day, "to_day": o.to_day}
            for o in state.offices
        ],
        "delegations": [
            {
                "to_organisation": d.to_organisation,
                "role": d.role,
                "from_day": d.from_day,
                "to_day": d.to_day,
            }
            for d in state.delegations
        ],
    }
    status = "open" if state.closed_on is None else "closed"
    return [View(ORGANISATION, state.organisation, document, state.organisation, status=status)]


def guard_changes(fact: Fact, recorded: Recorded) -> Sequence[tuple[str, int]]:
    """One root; how often the tree changed; which organisations are closed."""
    match fact:
        case OrganisationFounded() if recorded.actor.role == INSTALLATION:
            return [(ROOT_GUARD, 1)]
        case EdgeOpened() | EdgeClosed():
            return [(TREE_GUARD, 1)]
        case OrganisationClosed(organisation=organisation):
            return [(closed_guard(organisation), 1)]
        case _:
            return []


def references(fact: Fact, recorded: Recorded) -> Sequence[ReferenceRow]:
    """The network's own copy of itself, in the shape in which all other services keep theirs."""
    return [reference_row(fact, recorded)]


def build_reference(rows: Sequence[ReferenceRow]) -> Tree:
    """How often the tree changed, as far as this copy knows, and when its edges begin."""
    edges = [row.document for row in rows if row.document["fact"] in ("EdgeOpened", "EdgeClosed")]
    begin = [e["data"]["from_day"] for e in edges if e["fact"] == "EdgeOpened"]
    return Tree(len(edges), frozenset(date.fromisoformat(day) for day in begin))


def tree_of(directory: Directory, day: date) -> list[dict[str, Any]]:
    """All organisations of that day, each with its parent, by id."""
    return [
        {
            "organisation": o.organisation,
            "kind": o.kind,
            "name": o.name,
            "parent": directory.parent(o.organisation, day),
        }
        for o in directory.organisations(day)
    ]
