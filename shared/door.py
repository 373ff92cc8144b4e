"""The door: HTTP requests in, commands to the desk, answers or problems out.

What every room's ``api.py`` needs and none should write again: who is calling and in which
office, the idempotency key, the answer to a command (`looks.py` has what is only looked at). It
knows no rule.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from time import monotonic, perf_counter
from typing import Annotated, Any, Final, NoReturn

import orjson
import structlog
from fastapi import Header, Request
from pydantic import BaseModel

from shared.bounds import LARGEST_DATA_BYTES
from shared.desk import Contended, Desk, Done, Key, KeyReused, own_id
from shared.directory import Directory, Office
from shared.event_store import is_passing
from shared.fact import Actor, FactTooLarge, canonical
from shared.identity import Claims, TokenVerifier
from shared.keys import KeyStore, PersonErasedError
from shared.problems import CORRELATION_SCOPE_KEY, Problem
from shared.room import Command, Refusal, Tell
from shared.sealed import Category, is_sealed, seal
from shared.telemetry import COMMAND_SECONDS, REFUSED_TOKENS, child_traceparent
from shared.workspace import Cause

log = structlog.get_logger()

LARGEST_PAGE: Final = 1000
# What no fact could hold is not even looked at.
LARGEST_BODY_BYTES: Final = 4 * LARGEST_DATA_BYTES
# Who sent the batch that a command came in; nobody outside can write into a request's scope.
CALLER_SCOPE_KEY: Final = "bangfu.caller"

UNAUTHENTICATED: Final = 401
# What another's program acts as: it holds no office.
PROGRAM_ROLE: Final = "client"
# The actor of a refusal whose token proves nobody.
NOBODY: Final = "nobody"
NOBODY_SECONDS: Final = 60.0

TOO_LARGE: Final = Refusal(
    "request-too-large", "请求内容过大", "the request is too large for a fact", status=413
)
KEY_REUSED: Final = Refusal(
    "idempotency-key-reused",
    "同一幂等键对应的内容不同",
    "the idempotency key was used with another body",
    field="Idempotency-Key",
)
UNREACHABLE: Final = Refusal(
    "log-unreachable",
    "数据库暂时不可用，请稍后用同一键重试",
    "the log can't be reached: retry with the same key",
    status=503,
)

ERASED: Final = Refusal(
    "erased",
    "当事人信息已依法销毁，不得再录入",
    "the person's data was destroyed, nothing more is recorded of them",
    status=410,
)

# Printable ASCII: it is stored, and shown in the operator's tools.
IdempotencyKey = Annotated[str, Header(min_length=8, max_length=200, pattern=r"^[!-~]+$")]


class StatedFact(BaseModel):
    """One fact that a command led to; ``ids`` are its own identifiers, never personal."""

    id: str
    type: str
    version: int
    ids: dict[str, str]


class CommandAnswer(BaseModel):
    """What a command led to, first or repeated; no facts if nothing needed to happen."""

    stream: str
    subject: str
    version: int
    facts: list[StatedFact]


@dataclass(frozen=True)
class Sent:
    """What a request says besides its body: correlation, trace and the command's key."""

    correlation_id: str
    traceparent: str
    idempotency_key: str
    body_mac: str


NOTHING_SENT: Final = Sent("", "", "", "")


@dataclass
class Caller:
    """A person who acts in one of their offices, with the request they sent."""

    actor: Actor
    organisations: Sequence[str]
    offices: Sequence[Office]
    sent: Sent = NOTHING_SENT
    client: bool = False
    # One of many that come at the same moment, and are stored together.
    is_of_batch: bool = False


class Door:
    """Shared by all routes of one service."""

    def __init__(
        self, desk: Desk, verifier: TokenVerifier, keys: KeyStore, installation_subject: str | None
    ) -> None:
        self.desk = desk
        self.keys = keys
        self._verifier = verifier
        self._installation_subject = installation_subject
        self.in_flight = 0
        # By route and reason, so it holds no more than there are of both.
        self._nobody_recorded_at: dict[str, float] = {}

    async def reader(
        self,
        request: Request,
        authorization: Annotated[str | None, Header()] = None,
        acting_office: Annotated[str | None, Header(description="organisation/role")] = None,
    ) -> Caller:
        """Dependency for a look: any person with an office."""
        if len(await request.body()) > LARGEST_BODY_BYTES:
            raise problem_of(TOO_LARGE)
        return await self._known(request, authorization, acting_office)

    async def caller(
        self,
        request: Request,
        idempotency_key: IdempotencyKey,
        authorization: Annotated[str | None, Header()] = None,
        acting_office: Annotated[str | None, Header(description="organisation/role")] = None,
    ) -> Caller:
        """Dependency for a command: the same, with its idempotency key."""
        return await self._caller(request, authorization, acting_office, idempotency_key)

    async def client_reader(
        self, request: Request, authorization: Annotated[str | None, Header()] = None
    ) -> Caller:
        """Dependency for a look that another's program has, such as a bank's; the route asks
        which program it is."""
        return await self._program(request, authorization, "")

    async def client_caller(
        self,
        request: Request,
        idempotency_key: IdempotencyKey,
        authorization: Annotated[str | None, Header()] = None,
    ) -> Caller:
        """Dependency for a command of another's program."""
        return await self._program(request, authorization, idempotency_key)

    async def public(
        self,
        request: Request,
        idempotency_key: IdempotencyKey,
    ) -> Caller:
        """Dependency for what anybody may do without a name, such as object to a notice."""
        sent = await self._sent(request, idempotency_key)
        return Caller(Actor("public", "public"), (), (), sent)

    async def batch_caller(
        self,
        request: Request,
        authorization: Annotated[str | None, Header()] = None,
        acting_office: Annotated[str | None, Header(description="organisation/role")] = None,
    ) -> Caller:
        """Dependency for a batch: who sends it, once; its commands bring keys of their own."""
        return await self._known(request, authorization, acting_office)

    async def shared_batch_caller(
        self,
        request: Request,
        authorization: Annotated[str | None, Header()] = None,
        acting_office: Annotated[str | None, Header(description="organisation/role")] = None,
    ) -> Caller:
        """The same where some commands are another's program's: each refuses whom it is not for."""
        return await self._known(request, authorization, acting_office, with_programs=True)

    async def _caller(
        self, request: Request, authorization: str | None, acting_office: str | None, key: str
    ) -> Caller:
        caller: Caller | None = request.scope.get(CALLER_SCOPE_KEY)
        if caller is None:
            caller = await self._known(request, authorization, acting_office)
        elif caller.client:
            await self._refuse_program(caller.actor.person, request)
        return replace(caller, sent=await self._sent(request, key))

    async def _program(self, request: Request, authorization: str | None, key: str) -> Caller:
        known: Caller | None = request.scope.get(CALLER_SCOPE_KEY)
        if known is not None:
            person, client = known.actor.person, known.client
        else:
            claims = await self._claims(request, authorization)
            person, client = claims.subject, claims.client
        sent = await self._sent(request, key)
        return Caller(Actor(person, PROGRAM_ROLE), (), (), sent, client=client)

    async def _refuse_program(self, person: str, request: Request) -> NoReturn:
        """A program has no office, and comes in nowhere but at its own routes."""
        await self.deny(person, request)
        raise _no_office(unnamed=False)

    async def _known(
        self,
        request: Request,
        authorization: str | None,
        acting_office: str | None,
        *,
        with_programs: bool = False,
    ) -> Caller:
        """Who calls and in which office, whatever it is that they send."""
        claims = await self._claims(request, authorization)
        if claims.client and with_programs:
            return Caller(Actor(claims.subject, PROGRAM_ROLE), (), (), client=True)
        await self.desk.reference.keep_fresh()
        today = self.desk.clock.today()
        directory = self.desk.reference.directory
        offices = directory.offices_of(claims.subject, today)
        if claims.client:
            await self._refuse_program(claims.subject, request)
        if claims.subject == self._installation_subject:
            return Caller(Actor(claims.subject, "installation"), (), ())
        office = _office_of(directory, claims.subject, acting_office, today)
        # Another instance may have seated them a moment ago: no refusal on yesterday's copy.
        if office is None and await self.desk.reference.refresh():
            directory = self.desk.reference.directory
            offices = directory.offices_of(claims.subject, today)
            office = _office_of(directory, claims.subject, acting_office, today)
        if office is None:
            await self.deny(claims.subject, request)
            raise _no_office(unnamed=acting_office is None and bool(offices))
        organisations = directory.organisations_of(claims.subject, today)
        actor = Actor(claims.subject, office.role, office.organisation)
        return Caller(actor, organisations, offices)

    async def _claims(self, request: Request, authorization: str | None) -> Claims:
        """Who is calling; a token that does not hold is counted, and recorded as nobody's."""
        try:
            return await self._verifier.from_header(authorization)
        except Problem as problem:
            if problem.status == UNAUTHENTICATED:
                await self._refused_token(request, problem.slug)
            raise

    async def _refused_token(self, request: Request, reason: str) -> None:
        """One row a minute for each route and reason: whoever has no name fills no table."""
        REFUSED_TOKENS.labels(self.desk.room.name, reason).inc()
        attempt = f"{_attempt(request)}: {reason}"
        recorded_at = self._nobody_recorded_at.get(attempt, -NOBODY_SECONDS)
        if monotonic() - recorded_at < NOBODY_SECONDS:
            return
        self._nobody_recorded_at[attempt] = monotonic()
        try:
            await self.desk.store.deny(NOBODY, attempt, "")
        except Exception as error:
            # Without a database he is refused all the same.
            if not is_passing(error):
                raise

    async def deny(self, person: str, request: Request) -> None:
        """Record a refused request by its route: its path holds whatever somebody typed into it."""
        ids = (own_id(str(value)) for value in request.path_params.values())
        subject = next(filter(None, ids), "")
        await self.desk.store.deny(person, _attempt(request), subject)

    async def _sent(self, request: Request, key: str) -> Sent:
        raw = await request.body()
        if len(raw) > LARGEST_BODY_BYTES:
            raise problem_of(TOO_LARGE)
        try:
            body = canonical(orjson.loads(raw)).decode() if raw else ""
        except (orjson.JSONDecodeError, TypeError):
            # What reads the body may read more than this does (UTF-16, lone surrogates): the
            # bytes themselves tell one such body from another.
            body = raw.decode("latin-1")
        return self.sent(
            f"{request.method} {request.url.path}",
            body,
            key,
            request.scope.get(CORRELATION_SCOPE_KEY) or str(uuid.uuid4()),
            request.headers.get("traceparent"),
        )

    def sent(
        self, line: str, body: str, key: str, correlation_id: str, traceparent: str | None
    ) -> Sent:
        """What a command brings besides its caller: ``line`` is its method and path, ``body`` its
        canonical JSON."""
        mac = self.keys.mac("command", f"{line}\n{body}")
        return Sent(correlation_id, child_traceparent(traceparent), key, mac)

    async def tell(
        self,
        caller: Caller,
        kind: str,
        identity: str,
        command: Command,
        *,
        system: bool = False,
        office_key: str = "",
    ) -> CommandAnswer:
        """Have a command decided and stored; its refusal becomes a problem.

        ``system`` is for those whom no office binds (a client, the public, the installation):
        the route has checked them by other means, and the write goes by the service's own right.
        ``office_key`` replaces the caller's own key by one of the organisation they act for, so
        that a thing happens once whoever of them commands it.
        """
        tell = Tell(kind, identity, command)
        # No name of a person holds a line break: the two kinds of keys never meet.
        named = (
            f"{caller.actor.organisation}\n{office_key}"
            if office_key
            else f"{caller.actor.person}:{caller.sent.idempotency_key}"
        )
        key = Key(named, caller.sent.body_mac)
        cause = Cause(
            correlation_id=caller.sent.correlation_id, traceparent=caller.sent.traceparent
        )
        organisations = None if system else caller.organisations
        done = await self._handled(
            tell, caller.actor, organisations, key, cause, together=caller.is_of_batch
        )
        if isinstance(done, Refusal):
            raise problem_of(done)
        return _answer(done)

    async def _handled(
        self,
        tell: Tell,
        actor: Actor,
        organisations: Sequence[str] | None,
        key: Key,
        cause: Cause,
        *,
        together: bool,
    ) -> Done | Refusal:
        """What the desk makes of a command; what it raises becomes a problem."""
        began = perf_counter()
        self.in_flight += 1
        try:
            return await self.desk.handle(tell, actor, organisations, key, cause, together=together)
        except KeyReused:
            raise problem_of(KEY_REUSED) from None
        except Contended:
            raise problem_of(
                Refusal("contended", "请稍后用同一键重试", "retry with the same key", status=503)
            ) from None
        except FactTooLarge:
            raise problem_of(TOO_LARGE) from None
        except Exception as error:
            if not is_passing(error):
                raise
            log.warning("command_gave_up", error=type(error).__name__)
            raise problem_of(UNREACHABLE) from None
        finally:
            self.in_flight -= 1
            COMMAND_SECONDS.labels(self.desk.room.name, type(tell.command).__name__).observe(
                perf_counter() - began
            )

    async def refused(
        self, caller: Caller, attempt: str, refusal: Refusal, subject: str = ""
    ) -> Problem:
        """What a route refuses by itself, once it is on record as the desk's own refusals are."""
        await self.desk.record(refusal, caller.actor, attempt, subject)
        return problem_of(refusal)

    async def seal(
        self, person_id: str, category: Category, value: str, fact_id: str, field: str
    ) -> str:
        """Seal one personal value where it enters."""
        return (await self.seal_all([(person_id, category, value, field)], fact_id))[0]

    async def seal_all(
        self, values: Sequence[tuple[str, Category, str, str]], fact_id: str
    ) -> list[str]:
        """Seal (person, category, value, field) under the fact that first states them."""
        try:
            keys = await self.keys.ensure({(p, category) for p, category, _, _ in values})
        except PersonErasedError:
            raise problem_of(ERASED) from None
        return [seal(v, keys[person, category], fact_id, f) for person, category, v, f in values]


def _attempt(request: Request) -> str:
    """The method and the route, never the path as it was sent."""
    return f"{request.method} {getattr(request.scope.get('route'), 'path', '')}"


def _office_of(directory: Directory, person: str, named: str | None, today: date) -> Office | None:
    """The office acted in: the one named, own or delegated, or the only one."""
    offices = directory.offices_of(person, today)
    if named is None:
        return offices[0] if len(offices) == 1 else None
    own = next((o for o in offices if f"{o.organisation}/{o.role}" == named), None)
    return own or _delegated(directory, person, named, today)


def _delegated(directory: Directory, person: str, named: str, today: date) -> Office | None:
    """An office of another organisation that is delegated to one of the person's own."""
    organisation, _, role = named.partition("/")
    if not directory.holds(Actor(person, role, organisation), today):
        return None
    return Office(person, organisation, role, today)


def _no_office(*, unnamed: bool) -> Problem:
    if unnamed:
        return problem_of(
            Refusal(
                "office-not-named",
                "任多个职务，请在 Acting-Office 中写明以哪一个办理",
                "you hold several offices: name the one you act in",
                field="Acting-Office",
                status=400,
            )
        )
    return problem_of(
        Refusal("no-office", "当日未任职", "you hold no such office today", status=403)
    )


def problem_of(refusal: Refusal) -> Problem:
    """A refusal as the problem that goes out."""
    return Problem(
        refusal.code.replace("_", "-"),
        status=refusal.status,
        title_zh=refusal.zh,
        title_en=refusal.en,
        rule=refusal.rule or None,
        field=refusal.field or None,
    )


def _answer(done: Done) -> CommandAnswer:
    return CommandAnswer(
        stream=done.stream,
        subject=done.subject,
        version=done.facts[-1].version if done.facts else 0,
        facts=[
            StatedFact(id=f.fact_id, type=f.type, version=f.version, ids=_ids(f.raw))
            for f in done.facts
        ],
    )


def _ids(raw: bytes) -> dict[str, str]:
    data: dict[str, Any] = orjson.loads(raw)
    return {
        name: value
        for name, value in data.items()
        if name.endswith("_id") and isinstance(value, str) and not is_sealed(value)
    }
