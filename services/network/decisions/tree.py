"""The tree: the root, what stands under it, and how an organisation moves or closes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.network.decisions import refusals
from services.network.decisions.commands import Close, EndEdge, Found, Install, Move, OpenEdge
from services.network.decisions.rules import (
    INSTALLATION,
    ROOT_GUARD,
    TREE_GUARD,
    before_founding,
    closed_guard,
    founded,
    in_future,
    is_taken,
    keeps,
    last_beginning,
    no_parent,
    not_after,
)
from services.network.decisions.state import Organisation, ended, running
from services.network.facts import (
    EdgeClosed,
    EdgeOpened,
    OfficeTaken,
    OrganisationClosed,
    OrganisationFounded,
)
from shared.directory import Edge, Office
from shared.fact import Fact
from shared.room import Answer, Condition, Decided, Situation


def install(state: Organisation, command: Install, situation: Situation) -> Answer:
    """The installation founds the root and seats its first office, once (DESIGN §6)."""
    if command.by.role != INSTALLATION:
        return refusals.NOT_INSTALLATION
    if situation.guards[ROOT_GUARD]:
        return refusals.INSTALLED
    if state.founded_on is not None:
        return refusals.FOUNDED
    refusal = in_future("founded_on", command.founded_on, situation)
    if refusal is not None:
        return refusal
    day = command.founded_on
    facts = (
        OrganisationFounded(
            organisation=state.organisation, kind=command.kind, name=command.name, founded_on=day
        ),
        OfficeTaken(
            person=command.person,
            organisation=state.organisation,
            role=command.role,
            from_day=day,
        ),
    )
    return Decided(facts, (Condition(ROOT_GUARD, maximum=1),))


def found(state: Organisation, command: Found, situation: Situation) -> Answer:
    """An organisation is founded under its parent, with its first offices, in one write."""
    day, parent = command.founded_on, command.parent
    if not keeps(command.by, parent, situation, or_itself=True):
        return refusals.NOT_KEEPER
    if state.founded_on is not None:
        return refusals.FOUNDED
    refusal = in_future("founded_on", day, situation) or no_parent(parent, day, situation)
    if refusal is not None:
        return refusal
    founded = OrganisationFounded(
        organisation=state.organisation, kind=command.kind, name=command.name, founded_on=day
    )
    facts: list[Fact] = [
        founded,
        EdgeOpened(child=state.organisation, parent=parent, from_day=day),
    ]
    offices: tuple[Office, ...] = ()
    for seat in command.offices:
        if is_taken(offices, seat.person, seat.role, day):
            return replace(refusals.OFFICE_TAKEN, field="offices")
        offices = (*offices, Office(seat.person, state.organisation, seat.role, day))
        facts.append(
            OfficeTaken(
                person=seat.person,
                organisation=state.organisation,
                role=seat.role,
                from_day=day,
            )
        )
    return Decided(facts, (Condition(closed_guard(parent), maximum=0),))


def close(state: Organisation, command: Close, situation: Situation) -> Answer:
    """Closed when nothing open stands below; it keeps its place, so that those above still see
    what it held."""
    if not keeps(command.by, state.organisation, situation):
        return refusals.NOT_KEEPER
    if state.closed_on is not None:
        return refusals.CLOSED
    refusal = in_future("closed_on", command.closed_on, situation)
    if refusal is not None:
        return refusal
    if command.closed_on < last_beginning(state):
        return refusals.wrong_day(
            "closed_on",
            "撤销日不得早于设立、隶属、任职或委托之日",
            "not before it was founded, or an edge, office or delegation of it began",
        )
    if situation.guards[TREE_GUARD] != situation.reference.changes:
        return refusals.TREE_MOVED
    directory = situation.directory
    for day in (command.closed_on, situation.today):
        below = directory.subtree(state.organisation, day) - {state.organisation}
        if any(directory.is_open(child, day) for child in below):
            return refusals.HAS_CHILDREN
    return Decided(
        (OrganisationClosed(organisation=state.organisation, closed_on=command.closed_on),),
        (Condition(TREE_GUARD, expect=situation.guards[TREE_GUARD]),),
    )


def open_edge(state: Organisation, command: OpenEdge, situation: Situation) -> Answer:
    """Whoever keeps the parent takes the organisation in; one parent on one day, no circle."""
    if not keeps(command.by, command.parent, situation, or_itself=True):
        return refusals.NOT_KEEPER
    if state.closed_on is not None:
        return refusals.CLOSED
    if running(state.edges) is not None:
        return refusals.TWO_PARENTS
    opened = EdgeOpened(child=state.organisation, parent=command.parent, from_day=command.from_day)
    return _new_parent(state, opened, state.edges, (opened,), situation)


def end_edge(state: Organisation, command: EndEdge, situation: Situation) -> Answer:
    """The organisation leaves its parent; it stands alone until an edge is opened again."""
    if not keeps(command.by, state.organisation, situation):
        return refusals.NOT_KEEPER
    edge = running(state.edges)
    if edge is None or edge.parent != command.parent:
        return refusals.NO_EDGE
    refusal = in_future("to_day", command.to_day, situation) or not_after(
        edge.from_day, command.to_day
    )
    if refusal is not None:
        return refusal
    ended = EdgeClosed(child=state.organisation, parent=edge.parent, to_day=command.to_day)
    return Decided((ended,))


def move(state: Organisation, command: Move, situation: Situation) -> Answer:
    """From one parent to another on one day; both must be the keeper's to arrange."""
    by = command.by
    if not keeps(by, state.organisation, situation):
        return refusals.NOT_KEEPER
    if not keeps(by, command.parent, situation, or_itself=True):
        return refusals.NOT_KEEPER
    if state.closed_on is not None:
        return refusals.CLOSED
    edge = running(state.edges)
    if edge is None:
        return replace(refusals.NO_EDGE, field="")
    if edge.parent == command.parent:
        return refusals.TWO_PARENTS
    refusal = not_after(edge.from_day, command.from_day, "from_day")
    if refusal is not None:
        return refusal
    closed = EdgeClosed(child=state.organisation, parent=edge.parent, to_day=command.from_day)
    opened = EdgeOpened(child=state.organisation, parent=command.parent, from_day=command.from_day)
    earlier = ended(state.edges, [edge], command.from_day)
    return _new_parent(state, opened, earlier, (closed, opened), situation)


def _new_parent(
    state: Organisation,
    opened: EdgeOpened,
    earlier: Sequence[Edge],
    facts: Sequence[Fact],
    situation: Situation,
) -> Answer:
    """One parent on one day, no circle on any day from then on, and nothing ahead of today."""
    day, parent = opened.from_day, opened.parent
    refusal = in_future("from_day", day, situation) or no_parent(parent, day, situation)
    if refusal is not None:
        return refusal
    if day < founded(state):
        return before_founding("from_day")
    if any(edge.to_day is None or day < edge.to_day for edge in earlier):
        return refusals.TWO_PARENTS
    tree = situation.reference
    if situation.guards[TREE_GUARD] != tree.changes:
        return refusals.TREE_MOVED
    days = {day, situation.today, *(begins for begins in tree.edges_begin if begins > day)}
    if any(situation.directory.is_within(parent, state.organisation, d) for d in days):
        return refusals.CIRCLE
    conditions = (
        Condition(TREE_GUARD, expect=situation.guards[TREE_GUARD]),
        Condition(closed_guard(parent), maximum=0),
    )
    return Decided(facts, conditions)
