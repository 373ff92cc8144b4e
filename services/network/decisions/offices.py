"""Offices and delegations: who holds what, from a day to a day."""

from __future__ import annotations

from services.network.decisions import refusals
from services.network.decisions.commands import (
    EndDelegation,
    GiveDelegation,
    LeaveOffice,
    TakeOffice,
)
from services.network.decisions.rules import (
    KEEPER,
    before_founding,
    founded,
    is_taken,
    keeps,
    not_after,
)
from services.network.decisions.state import Organisation, running
from services.network.facts import DelegationEnded, DelegationGiven, OfficeLeft, OfficeTaken
from shared.room import Answer, Decided, Situation


def take_office(state: Organisation, command: TakeOffice, situation: Situation) -> Answer:
    """An office is taken once; a chair by one person at a time. It may be entered ahead."""
    if not keeps(command.by, state.organisation, situation):
        return refusals.NOT_KEEPER
    if state.closed_on is not None:
        return refusals.CLOSED
    if command.from_day < founded(state):
        return before_founding("from_day")
    if is_taken(state.offices, command.person, command.role, command.from_day):
        return refusals.OFFICE_TAKEN
    taken = OfficeTaken(
        person=command.person,
        organisation=state.organisation,
        role=command.role,
        from_day=command.from_day,
    )
    return Decided((taken,))


def leave_office(state: Organisation, command: LeaveOffice, situation: Situation) -> Answer:
    """The first day on which the office is no longer held; the root never loses its last keeper."""
    if not keeps(command.by, state.organisation, situation):
        return refusals.NOT_KEEPER
    held = [o for o in state.offices if o.role == command.role and o.to_day is None]
    office = next((o for o in held if o.person == command.person), None)
    if office is None:
        return refusals.NOT_IN_OFFICE
    refusal = not_after(office.from_day, command.to_day)
    if refusal is not None:
        return refusal
    stay = [o for o in held if o.person != command.person and o.from_day <= command.to_day]
    if command.role == KEEPER and not state.edges and not stay:
        return refusals.LAST_KEEPER
    left = OfficeLeft(
        person=command.person,
        organisation=state.organisation,
        role=command.role,
        to_day=command.to_day,
    )
    return Decided((left,))


def give_delegation(state: Organisation, command: GiveDelegation, situation: Situation) -> Answer:
    """Whoever holds the role in another organisation also acts in it for this one."""
    if not keeps(command.by, state.organisation, situation):
        return refusals.NOT_KEEPER
    if state.closed_on is not None:
        return refusals.CLOSED
    to, day = command.to_organisation, command.from_day
    if to == state.organisation:
        return refusals.TO_ITSELF
    if day < founded(state):
        return before_founding("from_day")
    if not situation.directory.is_open(to, day):
        return refusals.no_organisation("to_organisation")
    same = [d for d in state.delegations if (d.to_organisation, d.role) == (to, command.role)]
    if any(d.to_day is None or day < d.to_day for d in same):
        return refusals.DELEGATED
    given = DelegationGiven(
        organisation=state.organisation, to_organisation=to, role=command.role, from_day=day
    )
    return Decided((given,))


def end_delegation(state: Organisation, command: EndDelegation, situation: Situation) -> Answer:
    """The first day on which the delegation no longer holds."""
    if not keeps(command.by, state.organisation, situation):
        return refusals.NOT_KEEPER
    to, role = command.to_organisation, command.role
    same = (d for d in state.delegations if (d.to_organisation, d.role) == (to, role))
    given = running(same)
    if given is None:
        return refusals.NOT_DELEGATED
    refusal = not_after(given.from_day, command.to_day)
    if refusal is not None:
        return refusal
    ended = DelegationEnded(
        organisation=state.organisation, to_organisation=to, role=role, to_day=command.to_day
    )
    return Decided((ended,))
