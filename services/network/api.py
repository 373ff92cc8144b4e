"""HTTP in: the network's commands and looks.

The tree is what scope is made of, so it cannot be held to a scope of its own: each decision asks
the directory whether the caller keeps a higher organisation (``system`` at the door).
"""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, status
from fastapi import Path as InPath
from pydantic import Field

from services.network.decisions.commands import (
    Close,
    EndDelegation,
    EndEdge,
    Found,
    GiveDelegation,
    Install,
    Kind,
    LeaveOffice,
    Move,
    OpenEdge,
    Seat,
    TakeOffice,
)
from services.network.facts import ORGANISATION_ID
from services.network.storage import ORGANISATION, tree_of
from shared.door import LARGEST_PAGE, Caller, CommandAnswer, Door
from shared.looks import view, views
from shared.request_body import RequestBody
from shared.room import Command

WORD = r"^[a-z][a-z0-9_]{0,62}$"
OrganisationId = Annotated[str, Field(pattern=ORGANISATION_ID)]
Identity = Annotated[OrganisationId, InPath()]
Person = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")]
Role = Annotated[str, Field(pattern=WORD)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class SeatBody(RequestBody):
    """A first office of a new organisation."""

    person: Person
    role: Role


class InstallationBody(RequestBody):
    """The root and its first office."""

    organisation: OrganisationId
    kind: Kind
    name: Name
    person: Person
    role: Role = "network_keeper"
    founded_on: date | None = None


class FoundingBody(RequestBody):
    """A new organisation, its parent and its first offices."""

    organisation: OrganisationId
    kind: Kind
    name: Name
    parent: OrganisationId
    offices: Annotated[tuple[SeatBody, ...], Field(max_length=50)] = ()
    founded_on: date | None = None


class ClosingBody(RequestBody):
    """The first day on which the organisation no longer is."""

    closed_on: date | None = None


class EdgeBody(RequestBody):
    """A new parent."""

    parent: OrganisationId
    from_day: date | None = None


class EdgeEndBody(RequestBody):
    """The end of standing under a parent."""

    parent: OrganisationId
    to_day: date | None = None


class OfficeBody(RequestBody):
    """Somebody takes an office."""

    person: Person
    role: Role
    from_day: date | None = None


class OfficeEndBody(RequestBody):
    """Somebody leaves an office."""

    person: Person
    role: Role
    to_day: date | None = None


class DelegationBody(RequestBody):
    """A role is given to another organisation to act in."""

    to_organisation: OrganisationId
    role: Role
    from_day: date | None = None


class DelegationEndBody(RequestBody):
    """That role is taken back."""

    to_organisation: OrganisationId
    role: Role
    to_day: date | None = None


def routes(door: Door) -> APIRouter:
    """All routes of the network."""
    router = APIRouter(tags=["组织 network"])
    _founding_routes(router, door)
    _edge_routes(router, door)
    _office_routes(router, door)
    _looks(router, door)
    return router


def _day(door: Door, day: date | None) -> date:
    return day or door.desk.clock.today()


def _happened(door: Door, day: date) -> date:
    """What is entered ahead is stated today; what is entered late, on its day."""
    return min(day, door.desk.clock.today())


async def _tell(door: Door, caller: Caller, identity: str, command: Command) -> CommandAnswer:
    return await door.tell(caller, ORGANISATION, identity, command, system=True)


def _founding_routes(router: APIRouter, door: Door) -> None:
    @router.post(
        "/installation",
        status_code=status.HTTP_201_CREATED,
        summary="设立根组织 Found the root and seat its first office, once",
    )
    async def install(
        caller: Annotated[Caller, Depends(door.caller)], body: InstallationBody
    ) -> CommandAnswer:
        day = _day(door, body.founded_on)
        command = Install(
            by=caller.actor,
            occurred_on=_happened(door, day),
            organisation=body.organisation,
            kind=body.kind,
            name=body.name,
            person=body.person,
            role=body.role,
            founded_on=day,
        )
        return await _tell(door, caller, body.organisation, command)

    @router.post(
        "/organisations",
        status_code=status.HTTP_201_CREATED,
        summary="设立组织 Found an organisation under a parent, with its first offices",
    )
    async def found(
        caller: Annotated[Caller, Depends(door.caller)], body: FoundingBody
    ) -> CommandAnswer:
        day = _day(door, body.founded_on)
        command = Found(
            by=caller.actor,
            occurred_on=_happened(door, day),
            organisation=body.organisation,
            kind=body.kind,
            name=body.name,
            parent=body.parent,
            offices=tuple(Seat(person=s.person, role=s.role) for s in body.offices),
            founded_on=day,
        )
        return await _tell(door, caller, body.organisation, command)

    @router.post("/organisations/{identity}/close", summary="撤销组织 Close an organisation")
    async def close(
        caller: Annotated[Caller, Depends(door.caller)], identity: Identity, body: ClosingBody
    ) -> CommandAnswer:
        day = _day(door, body.closed_on)
        command = Close(by=caller.actor, occurred_on=_happened(door, day), closed_on=day)
        return await _tell(door, caller, identity, command)


def _edge_routes(router: APIRouter, door: Door) -> None:
    @router.post("/organisations/{identity}/edges", summary="划入上级 Put under a parent")
    async def open_edge(
        caller: Annotated[Caller, Depends(door.caller)], identity: Identity, body: EdgeBody
    ) -> CommandAnswer:
        day = _day(door, body.from_day)
        command = OpenEdge(
            by=caller.actor, occurred_on=_happened(door, day), parent=body.parent, from_day=day
        )
        return await _tell(door, caller, identity, command)

    @router.post("/organisations/{identity}/edges/end", summary="脱离上级 Leave the parent")
    async def end_edge(
        caller: Annotated[Caller, Depends(door.caller)], identity: Identity, body: EdgeEndBody
    ) -> CommandAnswer:
        day = _day(door, body.to_day)
        command = EndEdge(
            by=caller.actor, occurred_on=_happened(door, day), parent=body.parent, to_day=day
        )
        return await _tell(door, caller, identity, command)

    @router.post("/organisations/{identity}/move", summary="改变隶属 Move to another parent")
    async def move(
        caller: Annotated[Caller, Depends(door.caller)], identity: Identity, body: EdgeBody
    ) -> CommandAnswer:
        day = _day(door, body.from_day)
        command = Move(
            by=caller.actor, occurred_on=_happened(door, day), parent=body.parent, from_day=day
        )
        return await _tell(door, caller, identity, command)


def _office_routes(router: APIRouter, door: Door) -> None:
    @router.post("/organisations/{identity}/offices", summary="任职 Take an office")
    async def take_office(
        caller: Annotated[Caller, Depends(door.caller)], identity: Identity, body: OfficeBody
    ) -> CommandAnswer:
        day = _day(door, body.from_day)
        command = TakeOffice(
            by=caller.actor,
            occurred_on=_happened(door, day),
            person=body.person,
            role=body.role,
            from_day=day,
        )
        return await _tell(door, caller, identity, command)

    @router.post("/organisations/{identity}/offices/end", summary="离任 Leave an office")
    async def leave_office(
        caller: Annotated[Caller, Depends(door.caller)], identity: Identity, body: OfficeEndBody
    ) -> CommandAnswer:
        day = _day(door, body.to_day)
        command = LeaveOffice(
            by=caller.actor,
            occurred_on=_happened(door, day),
            person=body.person,
            role=body.role,
            to_day=day,
        )
        return await _tell(door, caller, identity, command)

    @router.post("/organisations/{identity}/delegations", summary="委托 Delegate a role")
    async def give_delegation(
        caller: Annotated[Caller, Depends(door.caller)], identity: Identity, body: DelegationBody
    ) -> CommandAnswer:
        day = _day(door, body.from_day)
        command = GiveDelegation(
            by=caller.actor,
            occurred_on=_happened(door, day),
            to_organisation=body.to_organisation,
            role=body.role,
            from_day=day,
        )
        return await _tell(door, caller, identity, command)

    @router.post("/organisations/{identity}/delegations/end", summary="终止委托 End a delegation")
    async def end_delegation(
        caller: Annotated[Caller, Depends(door.caller)],
        identity: Identity,
        body: DelegationEndBody,
    ) -> CommandAnswer:
        day = _day(door, body.to_day)
        command = EndDelegation(
            by=caller.actor,
            occurred_on=_happened(door, day),
            to_organisation=body.to_organisation,
            role=body.role,
            to_day=day,
        )
        return await _tell(door, caller, identity, command)


def _looks(router: APIRouter, door: Door) -> None:
    @router.get("/organisations", summary="本级及下级组织 The organisations in one's own subtree")
    async def organisations(
        caller: Annotated[Caller, Depends(door.reader)],
        after: Annotated[str, Query(max_length=100)] = "",
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 200,
    ) -> list[dict[str, Any]]:
        return await views(door, caller, ORGANISATION, after=after, limit=limit)

    @router.get("/organisations/{identity}", summary="组织 One organisation and its history")
    async def organisation(
        caller: Annotated[Caller, Depends(door.reader)], identity: Identity
    ) -> dict[str, Any]:
        return dict(await view(door, caller, ORGANISATION, identity))

    @router.get("/tree", summary="组织体系 The whole tree on a day, without people")
    async def tree(
        caller: Annotated[Caller, Depends(door.reader)],  # noqa: ARG001 - nobody looks without an office
        day: date | None = None,
    ) -> list[dict[str, Any]]:
        return tree_of(door.desk.reference.directory, _day(door, day))
