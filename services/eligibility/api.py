"""Eligibility over HTTP: requests to commands, queries to views.

Reasons of a disaster award enter here in clear and are sealed at once, and are opened again only
for the offices that decide on it; nothing else is personal.
"""

from datetime import date
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import BaseModel, Field

from services.eligibility.decisions.awards import (
    DisasterAsk,
    EducationAsk,
    LivingAsk,
    MedicalAsk,
    RequestAward,
)
from services.eligibility.decisions.cover import ApproveAward
from services.eligibility.decisions.determination import ConfirmEligibility
from services.eligibility.decisions.offices import WRONG_OFFICE
from services.eligibility.decisions.parameters import (
    AnnounceParameter,
    ProposeParameter,
    identity_of,
)
from services.eligibility.facts import ParameterName
from services.eligibility.storage import versions_announced
from shared.door import LARGEST_PAGE, Caller, CommandAnswer, Door
from shared.looks import view, views
from shared.money import LARGEST_FEN
from shared.request_body import RequestBody
from shared.room import UNKNOWN
from shared.sealed import Category

# Ids of funds, places and schools stand in stream names, addresses and guard rows.
ScopeId = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$")]
Id = Annotated[str, Field(min_length=1, max_length=100)]
Fen = Annotated[int, Field(ge=0, le=LARGEST_FEN)]
Asked = Annotated[int, Field(ge=1, le=LARGEST_FEN)]
CaseId = Annotated[str, Path(min_length=1, max_length=100)]


class ProposalBody(RequestBody):
    """One version of one parameter."""

    parameter: ParameterName
    scope: ScopeId
    effective_from: date | None = None
    effective_to: date | None = None
    announced_on: date | None = None
    values: dict[
        Annotated[str, Field(max_length=60)], int | Annotated[str, Field(max_length=60)]
    ] = Field(max_length=40)
    source: Annotated[str, Field(max_length=500)] | None = None


class AnnouncementBody(RequestBody):
    """Which proposal is announced."""

    proposal_id: Id


class ConfirmationBody(RequestBody):
    """Which determination is confirmed: the one that the reviewer has read."""

    determination_id: Id


class AwardBody(RequestBody):
    """What all award requests have; without ``fund`` it is the file's."""

    fund: ScopeId | None = None


class LivingBody(AwardBody):
    """生活救助 K11, K12."""

    programme: Literal["living"]
    asked_fen: Asked


class EducationBody(AwardBody):
    """助学救助 K13."""

    programme: Literal["education"]
    asked_fen: Asked
    student_id: Id
    school: ScopeId | None = None


class MedicalBody(AwardBody):
    """医疗救助 K14: the self-paid part, or the total and every reimbursement."""

    programme: Literal["medical"]
    patient_id: Id
    self_paid_fen: Fen | None = None
    total_fen: Fen | None = None
    reimbursed_fen: Annotated[list[Fen], Field(max_length=200)] | None = None


class DisasterBody(AwardBody):
    """突发事件、意外灾害救助 K15: discretionary, so with the assessed loss and reasons."""

    programme: Literal["disaster"]
    asked_fen: Asked
    incident_id: Id | None = None
    loss_fen: Fen
    reasons: Annotated[str, Field(min_length=1, max_length=2000)]


AnyAwardBody = Annotated[
    LivingBody | EducationBody | MedicalBody | DisasterBody, Field(discriminator="programme")
]


class ReasonsLook(BaseModel):
    """The reasons of a discretionary award in clear; null once the person's key is destroyed."""

    award_id: str
    reasons: str | None


def routes(door: Door) -> APIRouter:
    """All routes of the room but the shared ones."""
    router = APIRouter()
    router.include_router(_parameter_routes(door))
    router.include_router(_command_routes(door))
    router.include_router(_looks(door))
    return router


def _parameter_routes(door: Door) -> APIRouter:
    router = APIRouter(tags=["参数 parameters"])

    @router.post("/parameters/proposals", summary="提出参数版本 Propose a version of a parameter")
    async def propose(
        body: ProposalBody, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = ProposeParameter(
            by=caller.actor,
            proposal_id=str(uuid4()),
            **{**body.model_dump(), "source": body.source or ""},
        )
        return await door.tell(
            caller, "parameters", identity_of(body.parameter, body.scope), command
        )

    @router.post(
        "/parameters/{scope}/announcements", summary="发布参数版本 Announce a proposed version"
    )
    async def announce(
        scope: Annotated[
            str, Path(pattern=r"^(fund|place|school):[0-9A-Za-z][0-9A-Za-z_-]{0,63}$")
        ],
        body: AnnouncementBody,
        caller: Annotated[Caller, Depends(door.caller)],
    ) -> CommandAnswer:
        command = AnnounceParameter(by=caller.actor, proposal_id=body.proposal_id)
        return await door.tell(caller, "parameters", scope, command)

    @router.get("/parameters", summary="已发布的参数 Announced parameters, all or on a day")
    async def announced(
        _: Annotated[Caller, Depends(door.reader)],
        parameter: Annotated[ParameterName | None, Query()] = None,
        scope: Annotated[str, Query(max_length=64)] = "",
        on: date | None = None,
    ) -> list[dict[str, Any]]:
        desk = door.desk
        return versions_announced(
            desk.reference.built, desk.clock.today(), on, parameter or "", scope
        )

    return router


def _command_routes(door: Door) -> APIRouter:
    router = APIRouter(tags=["资格与救助 eligibility and awards"])

    @router.post("/cases/{case_id}/confirmation", summary="确认资格 Confirm the determined class")
    async def confirm(
        case_id: CaseId, body: ConfirmationBody, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = ConfirmEligibility(by=caller.actor, determination_id=body.determination_id)
        return await door.tell(caller, "decisions", case_id, command)

    @router.post("/cases/{case_id}/awards", summary="申请救助 Ask for an award")
    async def ask(
        case_id: CaseId,
        body: Annotated[AnyAwardBody, Body()],
        caller: Annotated[Caller, Depends(door.caller)],
    ) -> CommandAnswer:
        fact_id = str(uuid4())
        command = RequestAward(
            by=caller.actor,
            occurred_on=door.desk.clock.today(),
            fact_id=fact_id,
            award_id=str(uuid4()),
            fund=body.fund,
            ask=await _ask(door, caller, case_id, body, fact_id),
        )
        return await door.tell(caller, "decisions", case_id, command)

    @router.post("/cases/{case_id}/awards/{award_id}/approval", summary="审批救助 Approve an award")
    async def approve(
        case_id: CaseId,
        award_id: Annotated[str, Path(min_length=1, max_length=100)],
        caller: Annotated[Caller, Depends(door.caller)],
    ) -> CommandAnswer:
        command = ApproveAward(by=caller.actor, award_id=award_id)
        return await door.tell(caller, "decisions", case_id, command)

    return router


def _looks(door: Door) -> APIRouter:
    router = APIRouter(tags=["查询 looks"])

    @router.get("/cases/{case_id}", summary="本案的认定与救助 Determination and awards of a case")
    async def decisions_of(
        case_id: CaseId, caller: Annotated[Caller, Depends(door.reader)]
    ) -> dict[str, Any]:
        return dict(await view(door, caller, "decisions", case_id))

    @router.get(
        "/cases/{case_id}/awards/{award_id}/reasons",
        summary="灾害救助的理由 Reasons of a discretionary award, in clear",
    )
    async def reasons(
        case_id: CaseId,
        award_id: Annotated[str, Path(min_length=1, max_length=100)],
        caller: Annotated[Caller, Depends(door.reader)],
    ) -> ReasonsLook:
        return await _reasons(door, caller, case_id, award_id)

    @router.get("/files", summary="可申请救助的档案 Files for which awards may be asked")
    async def files(
        caller: Annotated[Caller, Depends(door.reader)],
        status: Literal["", "open", "closed"] = "",
        after: Annotated[str, Query(max_length=300)] = "",
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 200,
    ) -> list[dict[str, Any]]:
        return await views(door, caller, "file", status=status, after=after, limit=limit)

    return router


async def _reasons(door: Door, caller: Caller, case_id: str, award_id: str) -> ReasonsLook:
    """Opened for an office that decides on the award; the look is on record."""
    kept = await view(door, caller, "award_reasons", award_id)
    if kept["case_id"] != case_id:
        raise await door.refused(caller, "read reasons", UNKNOWN, award_id)
    if f"{caller.actor.organisation}/{caller.actor.role}" not in kept["readers"]:
        raise await door.refused(caller, "read reasons", WRONG_OFFICE, award_id)
    token = kept["reasons"]
    opened = await door.keys.open([token], caller.actor.person, "reasons of an award")
    return ReasonsLook(award_id=award_id, reasons=opened[token])


async def _ask(
    door: Door, caller: Caller, case_id: str, body: AnyAwardBody, fact_id: str
) -> LivingAsk | EducationAsk | MedicalAsk | DisasterAsk:
    """The request as a command takes it, with the reasons sealed."""
    given = body.model_dump(exclude={"fund"})
    match body:
        case LivingBody():
            return LivingAsk(**given)
        case EducationBody():
            return EducationAsk(**given)
        case MedicalBody():
            return MedicalAsk(**given)
        case DisasterBody():
            # The reasons tell of the household; its first person's key seals them.
            file = await view(door, caller, "file", case_id)
            given["reasons"] = await door.seal(
                file["persons"][0], Category.FREE_TEXT, body.reasons, fact_id, "reasons"
            )
            return DisasterAsk(**given)
