"""HTTP in: requests become commands, queries become views. The bank's own door is ``bank.py``."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, SecretStr
from stdnum import luhn

from services.payout.decisions.accounts import ConfirmReissue, CorrectAccount, ProposeReissue
from services.payout.decisions.batch import PAYOUT_MODEL, PrepareBatch, ReleaseBatch
from services.payout.decisions.fund import CreditFund
from services.payout.facts import AccountKind, Source
from services.payout.storage import BATCH_MODEL, CASE_MODEL, FUND_MODEL, balances
from shared.door import Caller, CommandAnswer, Door, problem_of
from shared.fact import Fen
from shared.looks import view, views
from shared.request_body import RequestBody
from shared.room import Refusal
from shared.sealed import Category

MOST_ITEMS = 400
SHORTEST_CARD, LONGEST_CARD = 16, 19

FundName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class CreditBody(RequestBody):
    """Money that came into a fund."""

    source: Source
    amount_fen: Fen
    occurred_on: date | None = None


class ItemBody(RequestBody):
    """One planned payout."""

    case_id: UUID
    payout_id: UUID


class BatchBody(RequestBody):
    """The payouts to be paid together."""

    items: Annotated[list[ItemBody], Field(min_length=1, max_length=MOST_ITEMS)]


class AccountBody(RequestBody):
    """Another account of the payee; the holder's name stands as on the card."""

    account: Annotated[SecretStr, Field(min_length=4, max_length=34)]
    kind: AccountKind
    holder_name: Annotated[SecretStr, Field(min_length=1, max_length=140)]
    confirmed: bool = False
    payee_id: str | None = None


def routes(door: Door) -> APIRouter:
    """All routes of people; the bank has its own."""
    router = APIRouter()
    router.include_router(_fund_routes(door))
    router.include_router(_batch_routes(door))
    router.include_router(_case_routes(door))
    return router


def _fund_routes(door: Door) -> APIRouter:
    router = APIRouter(tags=["资金 funds"])

    @router.post("/funds/{fund}/credits", summary="资金到账 Credit a fund")
    async def credit(
        fund: FundName, body: CreditBody, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = CreditFund(
            by=caller.actor,
            occurred_on=body.occurred_on,
            credit_id=str(uuid4()),
            source=body.source,
            amount_fen=body.amount_fen,
        )
        return await door.tell(caller, "fund", fund, command)

    @router.get("/funds/{fund}", summary="资金余额 Balances of a fund")
    async def fund_balances(
        fund: FundName, caller: Annotated[Caller, Depends(door.reader)]
    ) -> dict[str, Any]:
        document = await view(door, caller, FUND_MODEL, fund)
        return {**document, "accounts": await balances(door.desk.store, fund, caller.organisations)}

    return router


def _batch_routes(door: Door) -> APIRouter:
    router = APIRouter(tags=["批次 batches"])

    @router.post("/batches", summary="编制批次 Prepare a batch (maker)")
    async def prepare(
        body: BatchBody, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        items = tuple((str(item.case_id), str(item.payout_id)) for item in body.items)
        command = PrepareBatch(by=caller.actor, items=items)
        return await door.tell(caller, "batch", str(uuid4()), command)

    @router.post("/batches/{batch_id}/release", summary="复核发放 Release a batch (checker)")
    async def release(
        batch_id: UUID, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        return await door.tell(caller, "batch", str(batch_id), ReleaseBatch(by=caller.actor))

    @router.get("/batches/{batch_id}", summary="查看批次 One batch")
    async def batch(
        batch_id: UUID, caller: Annotated[Caller, Depends(door.reader)]
    ) -> dict[str, Any]:
        return dict(await view(door, caller, BATCH_MODEL, str(batch_id)))

    return router


def _case_routes(door: Door) -> APIRouter:
    router = APIRouter(tags=["发放 payouts"])

    @router.post("/cases/{case_id}/account", summary="更正账户 Correct the payee's account")
    async def correct(
        case_id: UUID, body: AccountBody, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = await _sealed(door, caller, str(case_id), body)
        return await door.tell(caller, "payouts", str(case_id), command)

    @router.post(
        "/cases/{case_id}/payouts/{payout_id}/reissue-proposal",
        summary="提出重发 Propose another attempt (maker)",
    )
    async def propose(
        case_id: UUID, payout_id: UUID, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = ProposeReissue(by=caller.actor, payout_id=str(payout_id))
        return await door.tell(caller, "payouts", str(case_id), command)

    @router.post(
        "/cases/{case_id}/payouts/{payout_id}/reissue",
        summary="复核重发 Confirm another attempt (checker)",
    )
    async def confirm(
        case_id: UUID, payout_id: UUID, caller: Annotated[Caller, Depends(door.caller)]
    ) -> CommandAnswer:
        command = ConfirmReissue(by=caller.actor, payout_id=str(payout_id))
        return await door.tell(caller, "payouts", str(case_id), command)

    @router.get("/cases/{case_id}", summary="一案的资金与发放 Cover and payouts of a case")
    async def case(
        case_id: UUID, caller: Annotated[Caller, Depends(door.reader)]
    ) -> dict[str, Any]:
        return dict(await view(door, caller, CASE_MODEL, str(case_id)))

    @router.get("/payouts", summary="发放列表 Payouts by state")
    async def payouts(
        caller: Annotated[Caller, Depends(door.reader)],
        status: Annotated[str, Query(max_length=30)] = "",
        after: Annotated[str, Query(max_length=100)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> list[dict[str, Any]]:
        return await views(door, caller, PAYOUT_MODEL, status=status, after=after, limit=limit)

    return router


async def _sealed(door: Door, caller: Caller, case_id: str, body: AccountBody) -> CorrectAccount:
    """The command, with the account sealed under the fact that will state it."""
    account = body.account.get_secret_value()
    if body.kind == "card" and not body.confirmed and not _is_card(account):
        raise problem_of(
            Refusal(
                "account_check_failed",
                "卡号校验未通过，请核对；确认无误请注明",
                "the card number fails its check: confirm it if it is right",
                field="account",
                status=422,
            )
        )
    known = await view(door, caller, CASE_MODEL, case_id)
    payee_id = body.payee_id or known["payee_id"]
    if payee_id is None:
        raise problem_of(
            Refusal(
                "payee_missing",
                "请指明收款人",
                "the file names no payee: say who it is",
                field="payee_id",
                status=422,
            )
        )
    fact_id = str(uuid4())
    sealed = await door.seal_all(
        [
            (payee_id, Category.ACCOUNT, account, "account"),
            (payee_id, Category.ACCOUNT, body.holder_name.get_secret_value(), "holder_name"),
        ],
        fact_id,
    )
    return CorrectAccount(
        by=caller.actor,
        fact_id=fact_id,
        payee_id=payee_id,
        account_kind=body.kind,
        account=sealed[0],
        holder_name=sealed[1],
    )


def _is_card(number: str) -> bool:
    """16 to 19 digits with a Luhn check digit; passbooks follow no such rule."""
    fits = SHORTEST_CARD <= len(number) <= LONGEST_CARD and number.isascii() and number.isdigit()
    return fits and luhn.is_valid(number)
