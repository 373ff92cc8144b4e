"""The bank's door: its own routes in, and our questions out.

The bank comes as a client with its own identity. It learns an account only here, encrypted to its
key, and each look is on record; what it reports goes through the same decision whether it came by
itself or as an answer. Which payouts are asked about is decided by a timer; this file only asks.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date
from time import monotonic
from typing import Annotated, Any, Final

import httpx
import orjson
import structlog
from fastapi import APIRouter, Depends, Path
from joserfc import jwe
from pydantic import Field, ValidationError

from services.payout.damaged import DamagedAccounts
from services.payout.decisions.reports import RecordReport, ReportedState
from services.payout.facts import FailureReason
from services.payout.settings import PayoutSettings
from services.payout.storage import END_TO_END_MODEL, QUERY_MODEL
from shared.desk import Contended, Key, KeyReused
from shared.door import Caller, CommandAnswer, Door, problem_of
from shared.fact import Actor, canonical
from shared.keys import KeyRefusedError
from shared.lease import DATABASE_FAILURES
from shared.request_body import RequestBody
from shared.room import UNKNOWN, Refusal, Tell
from shared.sealed import SealedError
from shared.service import Background, Parts
from shared.workspace import Cause
from shared.write import Write

log = structlog.get_logger()

JWE_HEADER: Final = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
JWE_ALGORITHMS: Final = list(JWE_HEADER.values())
ASKED_AT_ONCE: Final = 8
MOST_ACCOUNTS: Final = 200
SHORTEST_PAUSE_SECONDS: Final = 0.02
IDLE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 5.0
CLIENT_ROLE: Final = "client"

NOT_THE_BANK: Final = Refusal("not_the_bank", "仅限银行", "for the bank only", status=403)
ERASED: Final = Refusal("erased", "个人信息已销毁", "the payee's data is destroyed", status=410)
# Ours to mend: the bank neither pays nor reports a failure, and asks again.
ACCOUNT_DAMAGED: Final = Refusal(
    "account_damaged",
    "账户密文无法打开，请勿付款或退回，稍后再查",
    "the sealed account does not open: neither pay nor fail it, ask again later",
    status=500,
)

END_TO_END_PATTERN: Final = r"^[A-Za-z0-9]{1,35}$"
EndToEndId = Annotated[str, Path(pattern=END_TO_END_PATTERN)]


class ReportBody(RequestBody):
    """What the bank says of one payment."""

    end_to_end_id: Annotated[str, Field(pattern=END_TO_END_PATTERN)]
    state: ReportedState
    bank_reference: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
    reason: FailureReason | None = None
    credited_on: date | None = None


class AccountsBody(RequestBody):
    """The payments whose accounts are asked for."""

    end_to_end_ids: Annotated[
        list[Annotated[str, Field(pattern=END_TO_END_PATTERN)]],
        Field(min_length=1, max_length=MOST_ACCOUNTS),
    ]


class SealedAccount(RequestBody):
    """Where to pay, readable by the subscriber alone."""

    end_to_end_id: str
    sealed: str


class SealedAccounts(RequestBody):
    """Each payment that was asked for is in one of the four; ``sealed`` is one JWE, within it
    ``{"accounts": [{"end_to_end_id", "account", "holder_name"}, …]}``. One in ``damaged`` is the
    problem that it would have met alone, with its ``end_to_end_id``."""

    sealed: str
    unknown: list[str]
    erased: list[str]
    damaged: list[dict[str, Any]] = Field(default_factory=list)


def routes(door: Door, settings: PayoutSettings) -> APIRouter:
    """The routes under ``/bank``; nobody but the configured subscriber gets an answer."""
    router = APIRouter(prefix="/bank", tags=["银行 bank"])
    seen = DamagedAccounts()

    @router.get("/accounts/{end_to_end_id}", summary="收款账户 The account of an instruction")
    async def account(
        end_to_end_id: EndToEndId, caller: Annotated[Caller, Depends(door.client_reader)]
    ) -> SealedAccount:
        await _only_the_bank(door, settings, caller, "GET /bank/accounts/{end_to_end_id}")
        known = await _found(door, [end_to_end_id])
        if not known:
            raise problem_of(UNKNOWN)
        opened = (await _opened(door, caller, known, seen))[end_to_end_id]
        if isinstance(opened, Refusal):
            raise problem_of(opened)
        sealed = _sealed(settings, opened)
        return SealedAccount(end_to_end_id=end_to_end_id, sealed=sealed)

    @router.post("/accounts", summary="成批收款账户 The accounts of many instructions")
    async def accounts(
        body: AccountsBody, caller: Annotated[Caller, Depends(door.client_reader)]
    ) -> SealedAccounts:
        """逐笔记录查询。Each account is a look of its own, and on record as such."""
        await _only_the_bank(door, settings, caller, "POST /bank/accounts")
        known = await _found(door, body.end_to_end_ids)
        opened = await _opened(door, caller, known, seen)
        accounts = [each for each in opened.values() if not isinstance(each, Refusal)]
        return SealedAccounts(
            sealed=_sealed(settings, {"accounts": accounts}),
            unknown=sorted(set(body.end_to_end_ids) - known.keys()),
            erased=sorted(name for name, each in opened.items() if each is ERASED),
            damaged=[
                {**problem_of(ACCOUNT_DAMAGED).body(), "end_to_end_id": name}
                for name, each in sorted(opened.items())
                if each is ACCOUNT_DAMAGED
            ],
        )

    @router.post("/reports", summary="银行回执 The bank's report")
    async def report(
        body: ReportBody, caller: Annotated[Caller, Depends(door.client_caller)]
    ) -> CommandAnswer:
        await _only_the_bank(door, settings, caller, "POST /bank/reports")
        known = (await _found(door, [body.end_to_end_id])).get(body.end_to_end_id)
        if known is None:
            raise problem_of(UNKNOWN)
        command = report_of(body, known["payout_id"], caller.actor)
        return await door.tell(caller, "payouts", known["case_id"], command, system=True)

    return router


async def _only_the_bank(
    door: Door, settings: PayoutSettings, caller: Caller, attempt: str
) -> None:
    if not (caller.client and caller.actor.person == settings.bank_subscriber):
        raise await door.refused(caller, attempt, NOT_THE_BANK)


async def _found(door: Door, end_to_end_ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """What is known of these payments, by end-to-end id, in their order."""
    wanted = {end_to_end_id: (END_TO_END_MODEL, end_to_end_id) for end_to_end_id in end_to_end_ids}
    found = await door.desk.store.documents(wanted.values())
    return {name: found[key] for name, key in wanted.items() if key in found}


async def _opened(
    door: Door, caller: Caller, known: Mapping[str, Mapping[str, Any]], seen: DamagedAccounts
) -> dict[str, dict[str, str] | Refusal]:
    """These accounts in clear, each look on record; ERASED or ACCOUNT_DAMAGED in a place of one."""

    async def opened(end_to_end_id: str, payment: Mapping[str, Any]) -> dict[str, str] | Refusal:
        tokens = {name: str(payment.get(name)) for name in ("account", "holder_name")}
        purpose = f"bank account of {end_to_end_id}"
        try:
            texts = await door.keys.open(set(tokens.values()), caller.actor.person, purpose)
        except (SealedError, KeyRefusedError) as error:
            # Of this payment alone: the others are paid meanwhile. A key of another category than
            # an account's is refused, so a row that names one is damaged as well.
            seen.note(end_to_end_id, str(payment.get("payout_id")), error)
            return ACCOUNT_DAMAGED
        seen.forget(end_to_end_id)
        clear = {name: text for name, token in tokens.items() if (text := texts[token]) is not None}
        return {"end_to_end_id": end_to_end_id, **clear} if len(clear) == len(tokens) else ERASED

    # They look at the same moment, so they look together.
    found = await asyncio.gather(*(opened(*each) for each in known.items()))
    return dict(zip(known, found, strict=True))


def _sealed(settings: PayoutSettings, document: Any) -> str:
    """Encrypted to the bank's public key: a compact JWE."""
    payload = orjson.dumps(document)
    return jwe.encrypt_compact(dict(JWE_HEADER), payload, settings.bank_key, JWE_ALGORITHMS)


def report_of(body: ReportBody, payout_id: str, by: Actor) -> RecordReport:
    """The command that a report or an answer stands for; a credit happened on its own day."""
    return RecordReport(
        by=by,
        occurred_on=body.credited_on if body.state == "confirmed" else None,
        payout_id=payout_id,
        state=body.state,
        bank_reference=body.bank_reference,
        reason=body.reason,
        credited_on=body.credited_on,
    )


class Questions:
    """Asks the bank about the payouts that a timer has put to it, once for each question."""

    def __init__(self, parts: Parts, settings: PayoutSettings, client: httpx.AsyncClient) -> None:
        self._parts = parts
        self._settings = settings
        self._client = client
        # Answered, with or without news, by payout: the number of the question.
        self._answered: dict[str, int] = {}
        self._open = 0
        self._failing_since: float | None = None
        self._woken = asyncio.Event()
        self._woken.set()
        parts.desk.after_write.append(self.wake)
        parts.outgoing["bank_questions"] = self.waiting
        parts.unanswered["bank_questions"] = self.unanswered_seconds

    def wake(self, write: Write) -> None:
        """Facts were written: there may be a new question among them."""
        if write.rows_of(QUERY_MODEL):
            self._woken.set()

    def waiting(self) -> int:
        """How many questions may still have to be put."""
        return max(self._open, int(self._woken.is_set()))

    def unanswered_seconds(self) -> float:
        """For how long a question has not met an answer."""
        since = self._failing_since
        return 0.0 if since is None else monotonic() - since

    async def run(self) -> None:
        """Ask until cancelled. A time-out changes nothing: the question is put again."""
        pause = SHORTEST_PAUSE_SECONDS
        while True:
            self._woken.clear()
            failed = await self._round()
            self._failing_since = (self._failing_since or monotonic()) if failed else None
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if failed else SHORTEST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            if not failed:
                # Looked at without being woken, too: another instance may have put a question.
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._woken.wait()

    async def _round(self) -> bool:
        """Put every open question; True if one could not be put."""
        try:
            rows = await self._parts.store.worker.fetch(
                f"SELECT document FROM {self._parts.store.schema}.views WHERE model = $1",  # noqa: S608 - the schema is the room's own name
                QUERY_MODEL,
            )
            asked = [orjson.loads(row["document"]) for row in rows]
            known = {each["payout_id"] for each in asked}
            self._answered = {p: n for p, n in self._answered.items() if p in known}
            open_ = [e for e in asked if self._answered.get(e["payout_id"]) != e["query"]]
            self._open = len(open_)
            turns = asyncio.Semaphore(ASKED_AT_ONCE)
            done = await asyncio.gather(*(self._ask(turns, each) for each in open_))
            self._open = done.count(False)
            self._parts.progress.beat("bank_questions")
        except DATABASE_FAILURES as error:
            log.warning("questions_wait_for_database", error=type(error).__name__)
            self._woken.set()
            return True
        return self._open > 0

    async def _ask(self, turns: asyncio.Semaphore, asked: Mapping[str, Any]) -> bool:
        """True if the bank answered, whatever it said."""
        end_to_end_id = asked["end_to_end_id"]
        async with turns:
            try:
                url = f"{self._settings.bank_url}/payments/{end_to_end_id}"
                response = await self._client.get(url)
                if response.status_code != httpx.codes.NOT_FOUND:
                    response.raise_for_status()
                    await self._take(asked, response.content)
                else:
                    # It never received the instruction; the relay's topic still has it.
                    log.info("bank_does_not_know", end_to_end_id=end_to_end_id)
            except (httpx.HTTPError, Contended) as error:
                log.warning("bank_did_not_answer", error=type(error).__name__)
                return False
        self._answered[asked["payout_id"]] = asked["query"]
        return True

    async def _take(self, asked: Mapping[str, Any], content: bytes) -> None:
        """Turn the answer into the same command that a report is."""
        try:
            body = ReportBody.model_validate_json(content)
        except ValidationError:
            log.error("bank_answer_unreadable", end_to_end_id=asked["end_to_end_id"])
            return
        if body.end_to_end_id != asked["end_to_end_id"]:
            log.error("bank_answers_of_another", end_to_end_id=asked["end_to_end_id"])
            return
        bank = Actor(self._settings.bank_subscriber, CLIENT_ROLE)
        tell = Tell("payouts", asked["case_id"], report_of(body, asked["payout_id"], bank))
        text = canonical(body.model_dump(mode="json")).decode()
        mac = self._parts.keys.mac("bank answer", text)
        # A question that is put twice has one effect; another answer to it is another command.
        key = Key(f"{bank.person}:answer:{body.end_to_end_id}:{asked['query']}:{mac[:16]}", mac)
        try:
            done = await self._parts.desk.handle(tell, bank, None, key, Cause())
        except KeyReused:
            log.error("bank_answer_contradicts_itself", end_to_end_id=body.end_to_end_id)
            return
        if isinstance(done, Refusal):
            log.error("bank_answer_refused", end_to_end_id=body.end_to_end_id, code=done.code)


def questions(settings: PayoutSettings) -> Background:
    """The background task of the service that puts questions to the bank."""

    async def run(parts: Parts) -> None:
        async with httpx.AsyncClient(timeout=settings.bank_timeout_seconds) as client:
            await Questions(parts, settings, client).run()

    return run
