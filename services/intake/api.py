"""HTTP in: a body in clear becomes a sealed command for the case.

Who may do what is decided in ``decisions``; sealing stands in ``sealing``, looking in ``looks``.
An application without consent, or from no office that may send it in, is refused here before
anything of it is kept.
"""

from typing import Annotated, Final, TypeVar
from uuid import uuid4

from fastapi import APIRouter, Depends, Path

from services.intake import bodies
from services.intake.decisions.application import (
    AcceptApplication,
    EnterForm,
    ResubmitApplication,
    ReturnApplication,
    SubmitApplication,
    submitter_refused,
)
from services.intake.decisions.consents import ChangeConsent
from services.intake.decisions.registration import (
    EndHardship,
    ForwardFile,
    RegisterFile,
    RejectCase,
)
from services.intake.decisions.signing import SignForm
from services.intake.decisions.visits import (
    CompleteVisit,
    ReconcileVisits,
    RecordReliefOutcome,
    SeenIncident,
)
from services.intake.facts import Asset, Defect, Difference, FoundIncome
from services.intake.looks import look_routes
from services.intake.sealing import Sealing, content_of, form_key
from services.intake.storage import KIND, PersonLookup
from shared.door import KEY_REUSED, Caller, CommandAnswer, Door, problem_of
from shared.looks import view
from shared.problems import Problem
from shared.room import Refusal
from shared.sealed import Category

CaseId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
HEALTH: Final = Category.HEALTH
FREE_TEXT: Final = Category.FREE_TEXT


def routes(door: Door) -> APIRouter:
    """All of intake's routes."""
    router = APIRouter()
    _application_routes(router, door)
    _answer_routes(router, door)
    _visit_routes(router, door)
    _reconciliation_routes(router, door)
    _form_routes(router, door)
    _end_routes(router, door)
    look_routes(router, door)
    return router


async def _applicant(door: Door, caller: Caller, case_id: str) -> str:
    """Under whose key the case's free texts are sealed; unknown and unseen are one answer."""
    document = await view(door, caller, "case", case_id)
    return str(document["applicant_id"])


async def _refuse_at_the_door(
    door: Door, caller: Caller, body: bodies.ApplicationBody, holder: str
) -> None:
    as_named = isinstance(body, bodies.SubmitBody)
    refusal = submitter_refused(body.consents, caller.actor, holder, as_named=as_named)
    if refusal is not None:
        raise await door.refused(caller, "submit", refusal)


class EnteredForm(CommandAnswer):
    """The case of a paper form; ``entered`` is false if it was entered before."""

    entered: bool


FORM_ENTERED_OTHERWISE: Final = Refusal(
    "form_entered_otherwise",
    "该申请人同日的登记表已录入，且内容不同",
    "the applicant's form of that day was entered with other content",
)

Submitting = TypeVar("Submitting", bound=SubmitApplication)


async def _submitted(
    command: type[Submitting],
    door: Door,
    lookup: PersonLookup,
    caller: Caller,
    body: bodies.SubmitBody,
) -> Submitting:
    fact_id, content = await content_of(door, lookup, body)
    applied_on = body.applied_on or door.desk.clock.today()
    return command(
        by=caller.actor,
        fact_id=fact_id,
        occurred_on=applied_on,
        applied_on=applied_on,
        channel=body.channel,
        organisation_id=body.organisation_id,
        without_employer=body.without_employer,
        **content,
    )


def _application_routes(router: APIRouter, door: Door) -> None:
    Calling = Annotated[Caller, Depends(door.caller)]  # noqa: N806 - a type, made for this door
    lookup = PersonLookup(door.desk.store)

    @router.post(
        "/forms",
        summary="录入纸质登记表，一表一次 Enter a paper form once",
        tags=["申请 application"],
    )
    async def enter(caller: Calling, body: bodies.FormBody) -> EnteredForm:
        """同一单位、同一申请人、同一申请日期的登记表只录入一次，无论由谁录入。

        A form is known by its organisation, its applicant and its day, whoever of the office
        enters it: a repeat is answered with the case that the first one opened, and a form with
        other content is refused.
        """
        await _refuse_at_the_door(door, caller, body, body.organisation_id)
        identity = str(uuid4())
        try:
            answer = await door.tell(
                caller,
                KIND,
                identity,
                await _submitted(EnterForm, door, lookup, caller, body),
                office_key=form_key(door, body),
            )
        except Problem as problem:
            if problem.slug == KEY_REUSED.code:
                raise problem_of(FORM_ENTERED_OTHERWISE) from None
            raise
        return EnteredForm(**answer.model_dump(), entered=answer.subject == identity)

    @router.post("/cases", summary="提交申请 Submit an application", tags=["申请 application"])
    async def submit(caller: Calling, body: bodies.SubmitBody) -> CommandAnswer:
        await _refuse_at_the_door(door, caller, body, body.organisation_id)
        command = await _submitted(SubmitApplication, door, lookup, caller, body)
        return await door.tell(caller, KIND, str(uuid4()), command)

    @router.post(
        "/cases/{case_id}/resubmit", summary="补正后重新提交 Resubmit", tags=["申请 application"]
    )
    async def resubmit(
        caller: Calling, case_id: CaseId, body: bodies.ApplicationBody
    ) -> CommandAnswer:
        document = await view(door, caller, "case", case_id)
        await _refuse_at_the_door(door, caller, body, document["organisation_id"])
        fact_id, content = await content_of(door, lookup, body)
        command = ResubmitApplication(by=caller.actor, fact_id=fact_id, **content)
        return await door.tell(caller, KIND, case_id, command)


def _answer_routes(router: APIRouter, door: Door) -> None:
    Calling = Annotated[Caller, Depends(door.caller)]  # noqa: N806 - as above

    @router.post("/cases/{case_id}/accept", summary="受理 Accept", tags=["申请 application"])
    async def accept(caller: Calling, case_id: CaseId, body: bodies.AcceptBody) -> CommandAnswer:
        command = AcceptApplication(by=caller.actor, fund=body.fund)
        return await door.tell(caller, KIND, case_id, command)

    @router.post(
        "/cases/{case_id}/return",
        summary="一次性告知并退回补正 Return with all defects at once",
        tags=["申请 application"],
    )
    async def send_back(caller: Calling, case_id: CaseId, body: bodies.ReturnBody) -> CommandAnswer:
        named = tuple(Defect(code=d.code, field=d.field) for d in body.defects)
        return await door.tell(
            caller, KIND, case_id, ReturnApplication(by=caller.actor, named=named)
        )

    @router.post(
        "/cases/{case_id}/consents",
        summary="给予或撤回同意 Give or withdraw consent",
        tags=["申请 application"],
    )
    async def consent(caller: Calling, case_id: CaseId, body: bodies.ConsentBody) -> CommandAnswer:
        command = ChangeConsent(by=caller.actor, purpose=body.purpose, given=body.given)
        return await door.tell(caller, KIND, case_id, command)


def _incomes(incomes: tuple[bodies.FoundBody, ...]) -> tuple[FoundIncome, ...]:
    return tuple(FoundIncome(**income.model_dump()) for income in incomes)


def _assets(assets: tuple[bodies.AssetBody, ...]) -> tuple[Asset, ...]:
    return tuple(Asset(**asset.model_dump()) for asset in assets)


def _visit_routes(router: APIRouter, door: Door) -> None:
    Calling = Annotated[Caller, Depends(door.caller)]  # noqa: N806 - as above

    @router.post("/cases/{case_id}/visits", summary="入户调查 A home visit", tags=["入户 visits"])
    async def visit(caller: Calling, case_id: CaseId, body: bodies.VisitBody) -> CommandAnswer:
        applicant, sealing = await _applicant(door, caller, case_id), Sealing(door)
        if body.incident is not None:
            sealing.add(applicant, HEALTH, body.incident.description, "incident.description")
        sealing.add(applicant, FREE_TEXT, body.remarks, "remarks")
        sealed = await sealing.seal()
        incident = None
        if body.incident is not None:
            seen = body.incident.model_dump(exclude={"description"})
            incident = SeenIncident(**seen, description=sealed.at("incident.description"))
        visited_on = body.visited_on or door.desk.clock.today()
        command = CompleteVisit(
            by=caller.actor,
            fact_id=sealing.fact_id,
            occurred_on=visited_on,
            visit=body.visit,
            visited_on=visited_on,
            visitors=body.visitors,
            incomes=_incomes(body.incomes),
            assets=_assets(body.assets),
            causes=body.causes,
            incident=incident,
            relief=body.relief,
            recommendation=body.recommendation,
            remarks=sealed.at("remarks"),
        )
        return await door.tell(caller, KIND, case_id, command)


def _reconciliation_routes(router: APIRouter, door: Door) -> None:
    Calling = Annotated[Caller, Depends(door.caller)]  # noqa: N806 - as above

    @router.post(
        "/cases/{case_id}/reconcile",
        summary="核对两次入户，确定各项数值 Settle the values that hold",
        tags=["入户 visits"],
    )
    async def reconcile(
        caller: Calling, case_id: CaseId, body: bodies.ReconcileBody
    ) -> CommandAnswer:
        applicant, sealing = await _applicant(door, caller, case_id), Sealing(door)
        for index, difference in enumerate(body.differences):
            sealing.add(applicant, FREE_TEXT, difference.reason, f"differences[{index}].reason")
        sealing.add(applicant, FREE_TEXT, body.finding_reasons, "finding_reasons")
        sealed = await sealing.seal()
        command = ReconcileVisits(
            by=caller.actor,
            fact_id=sealing.fact_id,
            incomes=_incomes(body.incomes),
            assets=_assets(body.assets),
            causes=body.causes,
            incident=SeenIncident(**body.incident.model_dump()) if body.incident else None,
            relief=body.relief,
            hardship_after_relief=body.hardship_after_relief,
            finding_reasons=sealed.at("finding_reasons"),
            differences=tuple(
                Difference(field=d.field, reason=sealed[f"differences[{index}].reason"])
                for index, d in enumerate(body.differences)
            ),
        )
        return await door.tell(caller, KIND, case_id, command)

    @router.post(
        "/cases/{case_id}/relief-outcome",
        summary="记录政府救助结果 Record the outcome of government relief",
        tags=["入户 visits"],
    )
    async def relief_outcome(
        caller: Calling, case_id: CaseId, body: bodies.ReliefOutcomeBody
    ) -> CommandAnswer:
        sealing = Sealing(door)
        sealing.add(await _applicant(door, caller, case_id), FREE_TEXT, body.reasons, "reasons")
        command = RecordReliefOutcome(
            by=caller.actor,
            fact_id=sealing.fact_id,
            relief=body.relief,
            hardship_after_relief=body.hardship_after_relief,
            reasons=(await sealing.seal()).at("reasons"),
        )
        return await door.tell(caller, KIND, case_id, command)


def _form_routes(router: APIRouter, door: Door) -> None:
    Calling = Annotated[Caller, Depends(door.caller)]  # noqa: N806 - as above

    @router.post("/cases/{case_id}/signatures", summary="签字 Sign", tags=["建档 file"])
    async def sign(caller: Calling, case_id: CaseId, body: bodies.SignatureBody) -> CommandAnswer:
        command = SignForm(by=caller.actor, role=body.role, form_hash=body.form_hash)
        return await door.tell(caller, KIND, case_id, command)

    @router.post("/cases/{case_id}/forward", summary="报送 Forward", tags=["建档 file"])
    async def forward(caller: Calling, case_id: CaseId, _: bodies.EmptyBody) -> CommandAnswer:
        return await door.tell(caller, KIND, case_id, ForwardFile(by=caller.actor))

    @router.post("/cases/{case_id}/register", summary="建档 Register", tags=["建档 file"])
    async def register(caller: Calling, case_id: CaseId, _: bodies.EmptyBody) -> CommandAnswer:
        return await door.tell(caller, KIND, case_id, RegisterFile(by=caller.actor))


def _end_routes(router: APIRouter, door: Door) -> None:
    Calling = Annotated[Caller, Depends(door.caller)]  # noqa: N806 - as above

    @router.post("/cases/{case_id}/reject", summary="不予建档 Reject", tags=["建档 file"])
    async def reject(caller: Calling, case_id: CaseId, body: bodies.RejectBody) -> CommandAnswer:
        applicant, sealing = await _applicant(door, caller, case_id), Sealing(door)
        sealing.add(applicant, FREE_TEXT, body.explanation, "explanation")
        command = RejectCase(
            by=caller.actor,
            fact_id=sealing.fact_id,
            rule=body.rule,
            reasons=body.reasons,
            explanation=(await sealing.seal()).at("explanation"),
        )
        return await door.tell(caller, KIND, case_id, command)

    @router.post(
        "/cases/{case_id}/hardship-end",
        summary="认定或不予认定脱困 Confirm or decline the end of hardship",
        tags=["脱困 escape"],
    )
    async def hardship_end(
        caller: Calling, case_id: CaseId, body: bodies.HardshipEndBody
    ) -> CommandAnswer:
        applicant, sealing = await _applicant(door, caller, case_id), Sealing(door)
        sealing.add(applicant, FREE_TEXT, body.reasons, "reasons")
        command = EndHardship(
            by=caller.actor,
            fact_id=sealing.fact_id,
            placement_id=body.placement_id,
            confirm=body.confirm,
            reasons=(await sealing.seal()).at("reasons"),
        )
        return await door.tell(caller, KIND, case_id, command)
