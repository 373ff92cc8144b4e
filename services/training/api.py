"""HTTP in: slips and classes, a worker's steps, and what is left of heads and places."""

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, status
from fastapi import Path as InPath
from pydantic import Field

from services.training.decisions.classes import OpenClass
from services.training.decisions.offices import not_found
from services.training.decisions.slips import OfferMenu, PlaceOrder, Several
from services.training.decisions.workers import Certify, Enrol, PlaceTrainee
from services.training.storage import (
    CLASS,
    MENU,
    ORDER,
    WORKER,
    order_of_class,
    with_heads,
    with_places,
)
from shared.door import LARGEST_PAGE, Caller, CommandAnswer, Door, problem_of
from shared.fact import Fen
from shared.looks import views
from shared.request_body import RequestBody

CaseId = Annotated[UUID, InPath()]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Skill = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
After = Annotated[str, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]


class OrderBody(RequestBody):
    """The employer's slip."""

    employer: Name
    post: Name
    skill: Skill
    heads: Several
    placed_on: date | None = None


class MenuBody(RequestBody):
    """The institution's slip."""

    institution: Name
    course: Name
    skill: Skill
    places: Several
    price_fen: Fen


class ClassBody(RequestBody):
    """A class for an order with a course from the menu."""

    kind: Literal["own", "joint", "commissioned"]
    content: Literal["skill", "start_up", "basic"] = "skill"
    order_id: UUID
    menu_id: UUID
    places: Several
    starts_on: date
    ends_on: date
    opened_on: date | None = None


class EnrolmentBody(RequestBody):
    """A place in a class for a worker of the file."""

    person_id: Annotated[str, Field(min_length=1, max_length=100)]
    class_id: UUID
    enrolled_on: date | None = None


class CertificateBody(RequestBody):
    """A certificate for a trainee."""

    person_id: Annotated[str, Field(min_length=1, max_length=100)]
    class_id: UUID
    certified_on: date | None = None


class PlacementBody(RequestBody):
    """A job for a certified trainee, in the post that was ordered."""

    person_id: Annotated[str, Field(min_length=1, max_length=100)]
    class_id: UUID
    started_on: date | None = None


def routes(door: Door) -> APIRouter:
    """All routes of training."""
    router = APIRouter(tags=["培训就业 training"])
    _slip_routes(router, door)
    _class_routes(router, door)
    _worker_routes(router, door)
    _looks(router, door)
    return router


def _day(door: Door, day: date | None) -> date:
    return day or door.desk.clock.today()


def _slip_routes(router: APIRouter, door: Door) -> None:
    @router.post(
        "/orders",
        status_code=status.HTTP_201_CREATED,
        summary="用工订单 An employer's order",
    )
    async def place_order(
        caller: Annotated[Caller, Depends(door.caller)], body: OrderBody
    ) -> CommandAnswer:
        day = _day(door, body.placed_on)
        command = PlaceOrder(
            by=caller.actor,
            occurred_on=day,
            employer=body.employer,
            post=body.post,
            skill=body.skill,
            heads=body.heads,
            placed_on=day,
        )
        return await door.tell(caller, ORDER, str(uuid4()), command)

    @router.post(
        "/menus",
        status_code=status.HTTP_201_CREATED,
        summary="培训菜单 An institution's course",
    )
    async def offer_menu(
        caller: Annotated[Caller, Depends(door.caller)], body: MenuBody
    ) -> CommandAnswer:
        command = OfferMenu(
            by=caller.actor,
            institution=body.institution,
            course=body.course,
            skill=body.skill,
            places=body.places,
            price_fen=body.price_fen,
        )
        return await door.tell(caller, MENU, str(uuid4()), command)


def _class_routes(router: APIRouter, door: Door) -> None:
    @router.post(
        "/classes",
        status_code=status.HTTP_201_CREATED,
        summary="开班 Open a class against an order",
    )
    async def open_class(
        caller: Annotated[Caller, Depends(door.caller)], body: ClassBody
    ) -> CommandAnswer:
        command = OpenClass(
            by=caller.actor,
            occurred_on=_day(door, body.opened_on),
            kind=body.kind,
            content=body.content,
            order_id=str(body.order_id),
            menu_id=str(body.menu_id),
            places=body.places,
            starts_on=body.starts_on,
            ends_on=body.ends_on,
        )
        return await door.tell(caller, CLASS, str(uuid4()), command)


def _worker_routes(router: APIRouter, door: Door) -> None:
    @router.post(
        "/cases/{case_id}/enrolments",
        status_code=status.HTTP_201_CREATED,
        summary="参训 Enrol a worker of the file",
    )
    async def enrol(
        caller: Annotated[Caller, Depends(door.caller)], case_id: CaseId, body: EnrolmentBody
    ) -> CommandAnswer:
        order_id = await order_of_class(door.desk.store, str(body.class_id))
        if order_id is None:
            raise problem_of(not_found("class_id"))
        command = Enrol(
            by=caller.actor,
            occurred_on=_day(door, body.enrolled_on),
            person_id=body.person_id,
            class_id=str(body.class_id),
            order_id=order_id,
        )
        return await door.tell(caller, WORKER, str(case_id), command)

    @router.post(
        "/cases/{case_id}/certificates",
        status_code=status.HTTP_201_CREATED,
        summary="发证 Certify a trainee",
    )
    async def certify(
        caller: Annotated[Caller, Depends(door.caller)], case_id: CaseId, body: CertificateBody
    ) -> CommandAnswer:
        command = Certify(
            by=caller.actor,
            occurred_on=_day(door, body.certified_on),
            person_id=body.person_id,
            class_id=str(body.class_id),
            certificate_id=str(uuid4()),
        )
        return await door.tell(caller, WORKER, str(case_id), command)

    @router.post(
        "/cases/{case_id}/placements",
        status_code=status.HTTP_201_CREATED,
        summary="安置就业 Place a trainee in a job",
    )
    async def place(
        caller: Annotated[Caller, Depends(door.caller)], case_id: CaseId, body: PlacementBody
    ) -> CommandAnswer:
        command = PlaceTrainee(
            by=caller.actor,
            occurred_on=_day(door, body.started_on),
            person_id=body.person_id,
            class_id=str(body.class_id),
            placement_id=str(uuid4()),
        )
        return await door.tell(caller, WORKER, str(case_id), command)


def _looks(router: APIRouter, door: Door) -> None:
    reader = Depends(door.reader)

    @router.get("/orders", summary="订单 Orders, with the heads that are left")
    async def orders(
        caller: Annotated[Caller, reader], after: After = "", limit: Limit = 200
    ) -> list[dict[str, Any]]:
        listed = await views(door, caller, ORDER, after=after, limit=limit)
        return await with_heads(door.desk.store, listed)

    @router.get("/menus", summary="菜单 Courses on offer")
    async def menus(
        caller: Annotated[Caller, reader], after: After = "", limit: Limit = 200
    ) -> list[dict[str, Any]]:
        return await views(door, caller, MENU, after=after, limit=limit)

    @router.get("/classes", summary="班次 Classes, with the places that are left")
    async def classes(
        caller: Annotated[Caller, reader], after: After = "", limit: Limit = 200
    ) -> list[dict[str, Any]]:
        listed = await views(door, caller, CLASS, after=after, limit=limit)
        return await with_places(door.desk.store, listed)

    @router.get("/workers", summary="可参训职工 Who may be trained, and how far they are")
    async def workers(
        caller: Annotated[Caller, reader],
        standing: Annotated[str, Query(max_length=20)] = "",
        after: After = "",
        limit: Limit = 200,
    ) -> list[dict[str, Any]]:
        return await views(door, caller, WORKER, status=standing, after=after, limit=limit)
