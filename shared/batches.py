"""Many commands in one request: an office signs twenty forms at once, a bank reports on a hundred.

Each command keeps its own key, transaction, correlation and answer, exactly as if it had been
sent alone: the same route reads it, so its refusals and complaints are word for word the same,
and its key answers a repeat whichever way it comes. What is done once for all of them is what a
request costs: reading the token, finding the office, a connection and its framing.
"""

import asyncio
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote
from uuid import uuid4

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi._compat import ModelField
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Message, Scope

from shared.door import (
    CALLER_SCOPE_KEY,
    LARGEST_BODY_BYTES,
    Caller,
    CommandAnswer,
    Door,
    problem_of,
)
from shared.fact import canonical
from shared.problems import (
    CORRELATION_SCOPE_KEY,
    Problem,
    problem_of_invalid,
    problem_of_status,
    problem_of_unexpected,
)
from shared.room import Refusal
from shared.telemetry import log_context

MOST_COMMANDS: Final = 200
LARGEST_BATCH_BYTES: Final = 8 * 1024 * 1024
BATCH_TOO_LARGE: Final = Refusal(
    "request-too-large",
    f"批量请求超过 {LARGEST_BATCH_BYTES >> 20} MiB，请分几次发送",
    f"the batch is larger than {LARGEST_BATCH_BYTES >> 20} MiB: send fewer commands at a time",
    status=413,
)
# Commands of all batches of a process that go through their routes and are stored one by one. The
# office pool has ten connections: the rest stays for those who send one command and wait.
AT_ONCE: Final = 6
# Commands of one batch that look for what they need at the same time, so that they look together.
LOOKING_AT_ONCE: Final = 24


class BatchedCommand(BaseModel):
    """One command: what would have been its request line, its key and its body."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key: Annotated[
        str,
        Field(
            min_length=8,
            max_length=200,
            pattern=r"^[!-~]+$",
            description="幂等键 What Idempotency-Key is for a single command",
        ),
    ]
    method: Literal["POST"] = "POST"
    path: Annotated[
        str,
        Field(
            max_length=1000,
            pattern=r"^/[!-~]*$",
            description="命令的地址 The command's address at this service",
        ),
    ]
    body: Annotated[Any, Field(description="该命令的请求内容 The command's own body")] = None


class CommandBatch(BaseModel):
    """Up to 200 commands; one that does not fit is answered in its place and hurts no other."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    commands: Annotated[
        list[Any],
        Field(
            min_length=1,
            max_length=MOST_COMMANDS,
            # Each is read by itself, so that one that does not fit is answered in its place.
            json_schema_extra={"items": BatchedCommand.model_json_schema()},
        ),
    ]


class BatchedAnswer(BaseModel):
    """What the command would have been answered alone: a CommandAnswer, or a problem."""

    key: str | None
    status: int
    correlation_id: str
    body: Any


class BatchAnswer(BaseModel):
    """An answer for each command, in their order."""

    answers: list[BatchedAnswer]


@dataclass(frozen=True)
class _Command:
    """A route that a command may go to: what an office or a client sends under its name."""

    route: Any
    pattern: Any
    convertors: Any
    app: ASGIApp
    direct: "_Direct | None"
    # It is sent by another's program, such as a bank's, and by no office.
    is_a_programs: bool

    def named_in(self, path: str) -> dict[str, Any] | None:
        """The parameters of an address of this route; None if it is another's."""
        found = self.pattern.match(path)
        if found is None:
            return None
        return {n: self.convertors[n].convert(text) for n, text in found.groupdict().items()}


@dataclass(frozen=True)
class _Direct:
    """A route whose function takes its caller, ids of its address and one body, and nothing else.

    Such a function can be called with what a command says, if all of it fits; that costs a fifth
    of a request. Whatever does not fit goes to the route, which says what is wrong with it.
    """

    function: Any
    caller: str
    ids: tuple[ModelField, ...]
    body: ModelField | None

    @classmethod
    def of(cls, dependant: Any, door: Door) -> "_Direct | None":
        """None for a route that asks for anything else, or answers otherwise."""
        asked = (
            dependant.query_params,
            dependant.header_params,
            dependant.cookie_params,
            dependant.request_param_name,
            dependant.response_param_name,
            dependant.http_connection_param_name,
            dependant.background_tasks_param_name,
        )
        [first, *more] = dependant.dependencies
        answers = inspect.signature(dependant.call).return_annotation
        if any(asked) or more or len(dependant.body_params) > 1:
            return None
        if first.call not in (door.caller, door.client_caller):
            return None
        if answers is not CommandAnswer or not inspect.iscoroutinefunction(dependant.call):
            return None
        body = dependant.body_params[0] if dependant.body_params else None
        return cls(dependant.call, first.name, tuple(dependant.path_params), body)

    def arguments(self, named: Mapping[str, Any], body: Any) -> dict[str, Any] | None:
        """What the function is called with, but for its caller; None if anything does not fit."""
        found: dict[str, Any] = {}
        fields = [(each, named.get(each.alias)) for each in self.ids]
        if self.body is not None:
            fields.append((self.body, body))
        elif body:
            return None
        for each, said in fields:
            value, errors = each.validate(said)
            if errors:
                return None
            found[each.name] = value
        return found


def _commands_among(routes: Sequence[BaseRoute], door: Door) -> Iterable[_Command]:
    """Those that an authenticated caller posts to; looks and what the public may do are none."""
    for context in iter_route_contexts(routes):
        asked = [each.call for each in context.dependant.dependencies]
        programs = door.client_caller in asked
        if "POST" in (context.methods or ()) and (programs or door.caller in asked):
            pattern, _, convertors = compile_path(context.path or "")
            direct = _Direct.of(context.dependant, door)
            yield _Command(
                context.original_route, pattern, convertors, context.app, direct, programs
            )


@dataclass
class _Item:
    """One command on its way to its answer."""

    correlation_id: str = field(default_factory=lambda: str(uuid4()))
    key: str | None = None
    path: str = ""
    body: Any = None
    # Nothing in the batch is a number with a fraction, of which readers make different things.
    plain: bool = True
    command: _Command | None = None
    named: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    answer: bytes = b""

    def is_answered(self) -> bool:
        return self.status != 0

    def refuse(self, problem: Problem) -> None:
        self.status, self.answer = problem.status, orjson.dumps(problem.body(), default=str)

    def order(self) -> str:
        """Items with the same word here are done one after the other, as they were given.

        That is what their addresses name first, such as a case; those that name nothing open
        something of their own.
        """
        return str(next(iter(self.named.values()), self.key))

    def told(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "status": self.status,
            "correlation_id": self.correlation_id,
            "body": orjson.Fragment(self.answer),
        }


class Batches:
    """Takes batches apart, and has each command answered by its own route."""

    def __init__(self, door: Door, routes: Sequence[BaseRoute]) -> None:
        self._door = door
        self._commands = list(_commands_among(routes, door))
        programs = any(command.is_a_programs for command in self._commands)
        # Who may send a batch here; it is a dependency of the route.
        self.caller = door.shared_batch_caller if programs else door.batch_caller
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def answer(
        self, request: Request, caller: Caller, commands: Sequence[Any], *, plain: bool
    ) -> bytes:
        """The answers of a batch as JSON, in the order of its commands."""
        items = [self._read(raw, index, plain=plain) for index, raw in enumerate(commands)]
        rows: dict[str, list[_Item]] = {}
        for item in items:
            if not item.is_answered():
                rows.setdefault(item.order(), []).append(item)
        waiting = iter(rows.values())

        async def work() -> None:
            # All take from one iterator: who is done with a row takes the next.
            for row in waiting:
                for item in row:
                    await self._do(item, request, caller)

        # A batch is under way until its last answer, also between two of its commands.
        self._door.in_flight += 1
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(LOOKING_AT_ONCE, len(rows))):
                    group.create_task(work())
        finally:
            self._door.in_flight -= 1
        return orjson.dumps({"answers": [item.told() for item in items]})

    def _read(self, raw: Any, index: int, *, plain: bool) -> _Item:
        item = _Item(plain=plain)
        try:
            asked = BatchedCommand.model_validate(raw)
        except ValidationError as error:
            found = error.errors(include_url=False)
            where = ("body", "commands", index)
            item.refuse(problem_of_invalid([{**e, "loc": (*where, *e["loc"])} for e in found]))
            return item
        item.key, item.path, item.body = asked.key, unquote(asked.path), asked.body
        if "\x00" in item.path:
            item.refuse(problem_of_status(400))
            return item
        for command in self._commands:
            named = command.named_in(item.path)
            if named is not None:
                item.command, item.named = command, named
                return item
        item.refuse(problem_of_status(404))
        return item

    async def _do(self, item: _Item, request: Request, caller: Caller) -> None:
        """Send one command through its route, as a request whose caller is known already."""
        command = item.command
        if command is None or await self._done_directly(item, request, caller):
            return
        scope = _scope_of(item, command, request, caller)
        answer = bytearray()

        async def receive() -> Message:
            # Escapes bring every text through as it came; numbers of any length stay as they are.
            body = b"" if item.body is None else json.dumps(item.body).encode()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                item.status = message["status"]
            else:
                answer.extend(message.get("body", b""))

        with log_context(correlation_id=item.correlation_id):
            try:
                async with self._turn:
                    await command.app(scope, receive, send)
                item.answer = bytes(answer) or b"null"
            except Exception as error:  # noqa: BLE001 - it must not end the others
                item.refuse(problem_of_unexpected(error, scope, item.correlation_id))

    async def _done_directly(self, item: _Item, request: Request, caller: Caller) -> bool:
        """Call the route's function itself, if the command is plain enough; False if it is not."""
        command = item.command
        if command is None or command.is_a_programs != caller.client:
            # Its route refuses whom it is not for, and puts that on record.
            return False
        direct = command.direct
        if direct is None or not item.plain or not _PLAIN_PATH.fullmatch(item.path):
            return False
        arguments = direct.arguments(item.named, item.body)
        text = _canonical(item.body)
        if arguments is None or text is None or len(text) > LARGEST_BODY_BYTES:
            return False
        traceparent = request.headers.get("traceparent")
        sent = self._door.sent(
            f"POST {item.path}", text, item.key or "", item.correlation_id, traceparent
        )
        with log_context(correlation_id=item.correlation_id):
            try:
                known = replace(caller, sent=sent, is_of_batch=True)
                answer = await direct.function(**arguments, **{direct.caller: known})
                item.status, item.answer = 200, answer.model_dump_json().encode()
            except Problem as problem:
                item.refuse(problem)
            except Exception as error:  # noqa: BLE001 - it must not end the others
                await self._failed(item, request, error)
        return True

    async def _failed(self, item: _Item, request: Request, error: Exception) -> None:
        """The answer that the application has for such an error."""
        handlers = request.app.exception_handlers
        known = [handlers[kind] for kind in type(error).__mro__ if kind in handlers]
        try:
            if not known or type(error).__mro__[0] is Exception:
                raise error
            response = await known[0](request, error)
            item.status, item.answer = response.status_code, response.body
        except Exception as unknown:  # noqa: BLE001 - as above
            item.refuse(problem_of_unexpected(unknown, request.scope, item.correlation_id))


# Addresses that mean the same however they are written, and need no unquoting.
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/_:.-]+", re.ASCII)


def _canonical(body: Any) -> str | None:
    """A body as its hash sees it; None if it holds what JSON's readers disagree on."""
    if body is None:
        return ""
    try:
        return canonical(body).decode()
    except TypeError:
        return None


def _scope_of(item: _Item, command: _Command, request: Request, caller: Caller) -> Scope:
    headers = [
        (b"idempotency-key", (item.key or "").encode()),
        (b"content-type", b"application/json"),
    ]
    traceparent = request.headers.get("traceparent")
    if traceparent:
        headers.append((b"traceparent", traceparent.encode("latin-1")))
    return {
        **request.scope,
        "path": item.path,
        "raw_path": item.path.encode(),
        "query_string": b"",
        "headers": headers,
        "path_params": item.named,
        "route": command.route,
        "endpoint": command.route.endpoint,
        CALLER_SCOPE_KEY: caller,
        CORRELATION_SCOPE_KEY: item.correlation_id,
    }


def batch_routes(door: Door, routes: Sequence[BaseRoute]) -> APIRouter:
    """`POST /batch`, the same at every service, for the commands among these routes."""
    router = APIRouter(tags=["成批 batch"])
    batches = Batches(door, routes)

    @router.post(
        "/batch",
        summary="成批办理 Many commands in one request",
        response_model=BatchAnswer,
        openapi_extra={"requestBody": _DESCRIBED},
    )
    async def batch(
        request: Request, caller: Annotated[Caller, Depends(batches.caller)]
    ) -> Response:
        """每条命令各自成一事务，各有其键与答复；一条不合格，不影响其他。

        Each command is a transaction of its own with its own key and answer; one that is refused
        or does not fit hurts no other. Commands on the same thing (the first id in their address)
        are done in the order given, others side by side. A repeat is answered as the first.
        """
        commands, plain = await _commands_of(request)
        answers = await batches.answer(request, caller, commands, plain=plain)
        return Response(answers, media_type="application/json")

    return router


_DESCRIBED: Final = {
    "required": True,
    "content": {"application/json": {"schema": CommandBatch.model_json_schema()}},
}


async def _commands_of(request: Request) -> tuple[Sequence[Any], bool]:
    """What the body holds, and whether it holds whole numbers only.

    Read only now that the token was good, and no further than it may go: FastAPI would read all
    of it first.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise problem_of_status(415)
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > LARGEST_BATCH_BYTES:
            raise problem_of(BATCH_TOO_LARGE)
    odd: list[str] = []

    def number(text: str) -> float:
        odd.append(text)
        return float(text)

    try:
        found = json.loads(raw, parse_float=number, parse_constant=number)
    except json.JSONDecodeError:
        raise problem_of_invalid([{"type": "json_invalid"}]) from None
    except (ValueError, RecursionError):
        raise problem_of_status(400) from None
    try:
        return CommandBatch.model_validate(found).commands, not odd
    except ValidationError as error:
        complaints = error.errors(include_url=False)
        raise problem_of_invalid([{**e, "loc": ("body", *e["loc"])} for e in complaints]) from None
