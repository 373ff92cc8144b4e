"""Alpha's door: as small as a room's can be."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from shared.door import Caller, CommandAnswer, Door
from shared.looks import view
from shared.request_body import RequestBody
from shared.room import Refusal
from tests.toy import alpha
from tests.toy.world import new_case


class OpenBody(RequestBody):
    organisation_id: str = Field(max_length=40)


class CountBody(RequestBody):
    amount: int
    label: str = ""


def routes(door: Door) -> APIRouter:
    router = APIRouter()

    @router.post("/tallies")
    async def opened(
        body: OpenBody, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = alpha.Open(by=caller.actor, organisation_id=body.organisation_id)
        return await door.tell(caller, "tally", new_case(), command)

    @router.post("/tallies/{case_id}/counts")
    async def counted(
        case_id: str, body: CountBody, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = alpha.Count(by=caller.actor, amount=body.amount, label=body.label)
        return await door.tell(caller, "tally", case_id, command)

    @router.get("/tallies/{case_id}")
    async def looked(case_id: str, caller: Annotated[Caller, Depends(door.reader)]) -> Any:
        return await view(door, caller, "tally", case_id)

    return router


def program_routes(door: Door) -> APIRouter:
    """What another's program may do, as a bank reports."""
    router = APIRouter()
    not_a_program = Refusal("not_a_program", "仅限程序", "for programs only", status=403)

    @router.post("/program/tallies")
    async def told(
        body: OpenBody, caller: Annotated[Caller, Depends(door.client_caller)]
    ) -> CommandAnswer:
        if not caller.client:
            raise await door.refused(caller, "POST /program/tallies", not_a_program)
        command = alpha.Open(by=caller.actor, organisation_id=body.organisation_id)
        return await door.tell(caller, "tally", new_case(), command, system=True)

    return router
