"""HTTP in: the offices' commands, the public's objections, and the boards."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, status
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from services.notice import board
from services.notice.decisions.commands import (
    DecideObjection,
    InvestigateObjection,
    PostNotice,
    RaiseObjection,
)
from services.notice.decisions.offices import HANDLER, REVIEWER
from services.notice.facts import Place
from services.notice.storage import (
    CASE,
    OBJECTION,
    Posted,
    case_of_notice,
    public_notice,
    public_notices,
    standing_on_board,
)
from shared.door import Caller, CommandAnswer, Door, problem_of
from shared.looks import view
from shared.masks import mask_name
from shared.request_body import RequestBody
from shared.room import UNKNOWN, Refusal
from shared.sealed import Category

NOTICES: Final = "notices"
PUBLIC: Final = "public"

CaseId = Annotated[UUID, InPath()]
Text = Annotated[str, Field(min_length=1, max_length=4000)]

WRONG_OFFICE: Final = Refusal(
    "wrong_office", "此事不由本岗位办理", "this is not for your office to do", status=403
)


class PostingBody(RequestBody):
    """Which board, and since when if it is entered late."""

    place: Place
    posted_on: date | None = None


class ObjectionBody(RequestBody):
    """What somebody objects; without a contact it is anonymous."""

    text: Text
    contact: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class FindingsBody(RequestBody):
    """What the station found out."""

    findings: Text


class DecisionBody(RequestBody):
    """The centre's word, with its reasons."""

    outcome: Literal["dismissed", "upheld"]
    reasons: Text


class ObjectionReceipt(BaseModel):
    """What the public is told of its objection."""

    objection_id: str


class PublicNotice(BaseModel):
    """A standing notice on the web: surname and a mask, counts and days, nothing more."""

    notice_id: str
    place: Place
    organisation_id: str
    organisation: str
    name: str
    household_size: int
    programmes: int
    posted_on: date
    last_day: date
    objections_at: str


class ObjectionText(BaseModel):
    """An objection, opened for those who have to judge it; null where it was erased."""

    objection_id: str
    notice_id: str
    anonymous: bool
    text: str | None
    contact: str | None
    findings: str | None


def routes(door: Door) -> APIRouter:
    """All routes of notice."""
    router = APIRouter(tags=["公示 notice"])
    _posting_routes(router, door)
    _objection_routes(router, door)
    _public_routes(router, door)
    _board_routes(router, door)
    return router


def _posting_routes(router: APIRouter, door: Door) -> None:
    @router.post(
        "/cases/{case_id}/notices",
        status_code=status.HTTP_201_CREATED,
        summary="张贴公示 Post a notice on one of the two boards",
    )
    async def post(
        caller: Annotated[Caller, Depends(door.caller)], case_id: CaseId, body: PostingBody
    ) -> CommandAnswer:
        day = body.posted_on or door.desk.clock.today()
        command = PostNotice(
            by=caller.actor,
            occurred_on=day,
            notice_id=str(uuid4()),
            place=body.place,
            posted_on=day,
        )
        return await door.tell(caller, NOTICES, str(case_id), command)

    @router.get("/cases/{case_id}", summary="公示与异议 A case's notices and objections")
    async def case(
        caller: Annotated[Caller, Depends(door.reader)], case_id: CaseId
    ) -> dict[str, Any]:
        return dict(await view(door, caller, CASE, str(case_id)))


def _objection_routes(router: APIRouter, door: Door) -> None:
    @router.post(
        "/cases/{case_id}/objections/{objection_id}/investigation",
        summary="调查异议 State what was found out",
    )
    async def investigate(
        caller: Annotated[Caller, Depends(door.caller)],
        case_id: CaseId,
        objection_id: UUID,
        body: FindingsBody,
    ) -> CommandAnswer:
        fact_id, objection = str(uuid4()), await _objection(door, caller, case_id, objection_id)
        findings = await door.seal(
            objection, Category.FREE_TEXT, body.findings, fact_id, "findings"
        )
        command = InvestigateObjection(
            by=caller.actor, fact_id=fact_id, objection_id=objection, findings=findings
        )
        return await door.tell(caller, NOTICES, str(case_id), command)

    @router.post(
        "/cases/{case_id}/objections/{objection_id}/decision",
        summary="处理异议 Dismiss or uphold",
    )
    async def decide(
        caller: Annotated[Caller, Depends(door.caller)],
        case_id: CaseId,
        objection_id: UUID,
        body: DecisionBody,
    ) -> CommandAnswer:
        fact_id, objection = str(uuid4()), await _objection(door, caller, case_id, objection_id)
        reasons = await door.seal(objection, Category.FREE_TEXT, body.reasons, fact_id, "reasons")
        command = DecideObjection(
            by=caller.actor,
            fact_id=fact_id,
            objection_id=objection,
            outcome=body.outcome,
            reasons=reasons,
        )
        return await door.tell(caller, NOTICES, str(case_id), command)

    @router.get(
        "/cases/{case_id}/objections/{objection_id}",
        summary="异议内容 What was objected, for those who judge it; each look is recorded",
    )
    async def objection(
        caller: Annotated[Caller, Depends(door.reader)], case_id: CaseId, objection_id: UUID
    ) -> ObjectionText:
        document = await _objected(door, caller, case_id, objection_id)
        if not _judges(caller, document):
            raise await door.refused(caller, "read objection", WRONG_OFFICE, str(objection_id))
        sealed = {name: document[name] for name in ("text", "contact", "findings")}
        tokens = [token for token in sealed.values() if token]
        opened = await door.keys.open(tokens, caller.actor.person, "judge an objection")
        clear = {name: opened[token] if token else None for name, token in sealed.items()}
        return ObjectionText(
            objection_id=document["objection_id"],
            notice_id=document["notice_id"],
            anonymous=document["anonymous"],
            **clear,
        )


async def _objected(
    door: Door, caller: Caller, case_id: UUID, objection_id: UUID
) -> Mapping[str, Any]:
    """The objection to this case, if the caller may know of it."""
    document = await view(door, caller, OBJECTION, str(objection_id))
    if document["case_id"] != str(case_id):
        raise await door.refused(caller, "read objection", UNKNOWN, str(objection_id))
    return document


async def _objection(door: Door, caller: Caller, case_id: UUID, objection_id: UUID) -> str:
    """Under whose key a text about it is sealed: of what the caller may not know, no key is made
    and nothing is told, not even that it was destroyed."""
    document = await _objected(door, caller, case_id, objection_id)
    return str(document["objection_id"])


def _judges(caller: Caller, document: Mapping[str, Any]) -> bool:
    seats = {(office.organisation, office.role) for office in caller.offices}
    judges = {(document["station_id"], HANDLER), (document["centre_id"], REVIEWER)}
    return not seats.isdisjoint(judges)


def _public_routes(router: APIRouter, door: Door) -> None:
    @router.get("/public/notices", summary="网上公示 The notices that stand, for everybody")
    async def notices(
        place: Place | None = None,
        organisation: Annotated[str, Query(max_length=100)] = "",
        after: Annotated[str, Query(max_length=100)] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> list[PublicNotice]:
        store = door.desk.store
        posted = await public_notices(
            store, place=place or "", organisation=organisation, after=after, limit=limit
        )
        return await _shown_to_all(door, posted)

    @router.get("/public/notices/{notice_id}", summary="一则公示 One standing notice")
    async def notice(notice_id: UUID) -> PublicNotice:
        posted = await public_notice(door.desk.store, str(notice_id))
        if posted is None:
            raise problem_of(UNKNOWN)
        return (await _shown_to_all(door, [posted]))[0]

    @router.post(
        "/public/notices/{notice_id}/objections",
        status_code=status.HTTP_201_CREATED,
        summary="提出异议 Object, with or without a name, until the file is registered",
    )
    async def raise_objection(
        caller: Annotated[Caller, Depends(door.public)], notice_id: UUID, body: ObjectionBody
    ) -> ObjectionReceipt:
        case_id = await case_of_notice(door.desk.store, str(notice_id))
        if case_id is None:
            raise problem_of(UNKNOWN)
        objection_id, fact_id = str(uuid4()), str(uuid4())
        values = [(objection_id, Category.FREE_TEXT, body.text, "text")]
        if body.contact is not None:
            values.append((objection_id, Category.FREE_TEXT, body.contact, "contact"))
        text, *contact = await door.seal_all(values, fact_id)
        command = RaiseObjection(
            by=caller.actor,
            fact_id=fact_id,
            notice_id=str(notice_id),
            objection_id=objection_id,
            text=text,
            contact=contact[0] if contact else None,
        )
        answer = await door.tell(caller, NOTICES, case_id, command, system=True)
        return ObjectionReceipt(objection_id=answer.facts[0].ids["objection_id"])


async def _shown_to_all(door: Door, posted: Sequence[Posted]) -> list[PublicNotice]:
    await door.desk.reference.keep_fresh()
    names = await door.keys.open([p.name for p in posted], PUBLIC, "public notice")
    return [
        PublicNotice(
            notice_id=p.notice_id,
            place=p.place,
            organisation_id=p.organisation_id,
            organisation=_name_of(door, p.organisation_id),
            name=mask_name(names[p.name] or ""),
            household_size=p.household_size,
            programmes=len(p.programmes),
            posted_on=p.posted_on,
            last_day=p.last_day,
            objections_at=f"/public/notices/{p.notice_id}/objections",
        )
        for p in posted
    ]


def _name_of(door: Door, organisation: str) -> str:
    known = door.desk.reference.directory.organisation(organisation)
    return known.name if known else organisation


def _board_routes(router: APIRouter, door: Door) -> None:
    @router.get(
        "/board/{organisation}",
        response_class=HTMLResponse,
        summary="公示栏 The board inside an organisation, to look at and to print",
    )
    async def show(
        caller: Annotated[Caller, Depends(door.reader)],
        organisation: Annotated[str, InPath(max_length=100)],
        lang: board.Language = "zh",
    ) -> HTMLResponse:
        if organisation not in caller.organisations:
            known = door.desk.reference.directory.organisation(organisation)
            subject = organisation if known else ""
            await door.desk.store.deny(caller.actor.person, "board", subject)
            raise problem_of(UNKNOWN)
        store = door.desk.store
        posted = await standing_on_board(store, caller.organisations, organisation)
        names = await door.keys.open([p.name for p in posted], caller.actor.person, "board")
        entries = [
            board.Entry(
                notice_id=p.notice_id,
                place=p.place,
                name=names[p.name],
                unit=p.unit,
                household_size=p.household_size,
                income_band=p.income_band,
                hardship_class=p.hardship_class,
                cause_categories=p.cause_categories,
                programmes=p.programmes,
                posted_on=p.posted_on,
                last_day=p.last_day,
            )
            for p in posted
        ]
        today = door.desk.clock.today()
        page = board.page(entries, _name_of(door, organisation), today, lang)
        return HTMLResponse(page, headers=board.HEADERS)
