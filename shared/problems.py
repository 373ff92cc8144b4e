"""Errors over HTTP: RFC 9457 problem details with a stable type, the rule broken and the field.

A problem never repeats what the caller sent. An unexpected error shows a correlation id and
nothing of our insides; the log then holds its type and place, but not its message, since messages
of libraries quote values.
"""

import traceback
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.complaints import complaint

URN = "urn:bangfu:problem:"
MEDIA_TYPE = "application/problem+json"
CORRELATION_SCOPE_KEY = "bangfu.correlation_id"

log = structlog.get_logger()


class Problem(Exception):
    """An answer to a request that could not be done, raised where that is found out."""

    def __init__(
        self,
        slug: str,
        *,
        status: int,
        title_zh: str,
        title_en: str,
        detail: str | None = None,
        rule: str | None = None,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(slug)
        self.slug = slug
        self.status = status
        self.title_zh = title_zh
        self.title_en = title_en
        self.detail = detail
        self.rule = rule
        self.field = field
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @property
    def type(self) -> str:
        return URN + self.slug

    def body(self) -> dict[str, Any]:
        """The problem as it goes out; members without a value are left away."""
        named = {
            "type": self.type,
            "title": self.title_zh,
            "title_en": self.title_en,
            "status": self.status,
            "detail": self.detail,
            "rule": self.rule,
            "field": self.field,
        }
        return self.extra | {name: value for name, value in named.items() if value is not None}

    def response(self) -> Response:
        # A value that JSON can't carry must not turn a refusal into an unexpected error.
        content = orjson.dumps(self.body(), default=str)
        return Response(content, self.status, self.headers, media_type=MEDIA_TYPE)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem."""
    app.exception_handler(Problem)(_on_problem)
    app.exception_handler(RequestValidationError)(_on_invalid_request)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.add_middleware(_LastResort)


async def _on_problem(_request: Request, error: Problem) -> Response:
    return error.response()


async def _on_http_exception(_request: Request, error: HTTPException) -> Response:
    # The exception's own detail is left out: frameworks and handlers put values into it.
    return problem_of_status(error.status_code, error.headers).response()


def problem_of_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """The problem of a status that says enough by itself, such as 404 for an unknown address."""
    slug, title_zh, title_en = _HTTP_TITLES.get(
        status, (f"http-{status}", "请求未能处理", "The request was refused")
    )
    return Problem(slug, status=status, title_zh=title_zh, title_en=title_en, headers=headers)


_HTTP_TITLES = {
    400: ("request-unreadable", "无法读取请求", "The request can't be read"),
    401: ("token-missing", "请先登录", "A bearer token is required"),
    403: ("forbidden", "无权进行此操作", "Not allowed"),
    404: ("not-found", "未找到", "Not found"),
    405: ("method-not-allowed", "不支持该请求方法", "Method not allowed"),
    413: ("request-too-large", "请求内容过大", "The request is too large"),
    415: ("media-type-refused", "不支持的内容类型", "The media type is not supported"),
}


# Requests that do not fit


async def _on_invalid_request(_request: Request, error: RequestValidationError) -> Response:
    return problem_of_invalid(error.errors()).response()


def problem_of_invalid(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of a request that pydantic found not to fit, by its errors."""
    if any(item["type"] == "json_invalid" for item in errors):
        return Problem(
            "body-not-json",
            status=400,
            title_zh="请求正文不是有效的 JSON",
            title_en="The body is not valid JSON",
            field="$",
        )
    complaints = [complaint(item) for item in errors]
    return Problem(
        "request-invalid",
        status=422,
        title_zh="请求内容不符合要求",
        title_en="The request does not fit its schema",
        field=complaints[0]["field"] if complaints else None,
        extra={"errors": complaints},
    )


# What nobody expected


class _LastResort:
    """Turns what no handler took into a problem, and keeps the server from printing the error.

    It also refuses addresses that hold a NUL: no text of ours has one and PostgreSQL takes none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "\x00" in scope["path"] or b"%00" in scope.get("query_string", b""):
            await problem_of_status(400).response()(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - this is where everything ends
            correlation_id = str(scope.get(CORRELATION_SCOPE_KEY) or uuid4())
            answer = problem_of_unexpected(error, scope, correlation_id)
            if started:  # The connection has to break, or half an answer would look whole.
                raise RuntimeError(f"answer cut short, correlation {correlation_id}") from None
            await answer.response()(scope, receive, send)


def problem_of_unexpected(error: BaseException, scope: Scope, correlation_id: str) -> Problem:
    """What nobody expected is recorded here, and told by its correlation alone."""
    _record(error, scope, correlation_id)
    return Problem(
        "unexpected",
        status=500,
        title_zh="系统内部错误",
        title_en="Something went wrong on our side",
        extra={"correlation_id": correlation_id},
    )


def _record(error: BaseException, scope: Scope, correlation_id: str) -> None:
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(kinds) < 8:
        kinds.append(type(cause).__qualname__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    log.error(
        "unexpected_error",
        error_types=kinds,
        frames=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        method=scope["method"],
        correlation_id=correlation_id,
    )
