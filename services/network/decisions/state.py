"""One organisation as its own stream tells it, and how each fact changes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar, assert_never, cast

from services.network.facts import (
    DelegationEnded,
    DelegationGiven,
    EdgeClosed,
    EdgeOpened,
    OfficeLeft,
    OfficeTaken,
    OrganisationClosed,
    OrganisationFounded,
)
from shared.directory import Delegation, Edge, Office
from shared.fact import Fact, Recorded

Stated = (
    OrganisationFounded
    | OrganisationClosed
    | EdgeOpened
    | EdgeClosed
    | OfficeTaken
    | OfficeLeft
    | DelegationGiven
    | DelegationEnded
)


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation as its own stream tells it; not founded while ``founded_on`` is None."""

    organisation: str
    kind: str = ""
    name: str = ""
    founded_on: date | None = None
    closed_on: date | None = None
    edges: tuple[Edge, ...] = ()
    offices: tuple[Office, ...] = ()
    delegations: tuple[Delegation, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """What the reference rows tell of the tree besides the directory: how often it has changed,
    and every day on which an edge begins."""

    changes: int = 0
    edges_begin: frozenset[date] = frozenset()


Dated = TypeVar("Dated", Edge, Office, Delegation)


def ended(items: tuple[Dated, ...], those: Sequence[Dated], day: date) -> tuple[Dated, ...]:
    """The same items, those of ``those`` that were open now ended."""
    return tuple(
        replace(item, to_day=day) if item in those and item.to_day is None else item
        for item in items
    )


def running(items: Iterable[Dated]) -> Dated | None:
    """The first one that is open, if any."""
    return next((item for item in items if item.to_day is None), None)


def initial(identity: str) -> Organisation:
    """An organisation of which nothing is known but its id."""
    return Organisation(identity)


def evolve(state: Organisation, fact: Fact, recorded: Recorded) -> Organisation:  # noqa: ARG001 - every room's evolve is given the envelope
    """Copy a fact into the state."""
    match cast(Stated, fact):
        case OrganisationFounded(kind=kind, name=name, founded_on=day):
            return replace(state, kind=kind, name=name, founded_on=day)
        case OrganisationClosed(closed_on=day):
            return replace(state, closed_on=day)
        case EdgeOpened(child=child, parent=parent, from_day=day):
            return replace(state, edges=(*state.edges, Edge(child, parent, day)))
        case EdgeClosed(parent=parent, to_day=day):
            left_edges = [e for e in state.edges if e.parent == parent]
            return replace(state, edges=ended(state.edges, left_edges, day))
        case OfficeTaken(person=person, organisation=organisation, role=role, from_day=day):
            taken = Office(person, organisation, role, day)
            return replace(state, offices=(*state.offices, taken))
        case OfficeLeft(person=person, role=role, to_day=day):
            left = [o for o in state.offices if (o.person, o.role) == (person, role)]
            return replace(state, offices=ended(state.offices, left, day))
        case DelegationGiven(organisation=organisation, to_organisation=to, role=role) as begun:
            given = Delegation(organisation, to, role, begun.from_day)
            return replace(state, delegations=(*state.delegations, given))
        case DelegationEnded(to_organisation=to, role=role, to_day=day):
            given_up = [d for d in state.delegations if (d.to_organisation, d.role) == (to, role)]
            return replace(state, delegations=ended(state.delegations, given_up, day))
        case other:
            assert_never(other)
