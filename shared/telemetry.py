"""What a process tells of itself: logs, metrics, traces and health, never personal data.

Logs are JSON lines with the service, the correlation and the case. Metrics are those that an
operator watches: how far behind, how much held, how often in conflict, how long for an answer.
"""

import contextlib
import logging
import sys
import uuid
from collections.abc import Mapping
from typing import Any, TextIO

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars
from structlog.types import Processor

from shared.health import Check, Progress, health_routes
from shared.problems import CORRELATION_SCOPE_KEY
from shared.scrubbing import scrub_entry
from shared.tracing import (
    child_traceparent,
    continued,
    current_traceparent,
    new_span,
    parse_traceparent,
    traceparent,
)

__all__ = [
    "APPENDED_FACTS",
    "BUILD",
    "COMMAND_SECONDS",
    "CONFLICTS",
    "CONSUMER_LAG",
    "CONTENDED",
    "DENIALS",
    "FUTURE_FACTS",
    "HEARD_FACTS",
    "HELD_RECORDS",
    "HELD_RELEASED",
    "HELD_SECONDS",
    "MARK_AGE_SECONDS",
    "OUTGOING",
    "REACHABLE",
    "READY",
    "REFUSED_REACTIONS",
    "REFUSED_TOKENS",
    "REGISTRY",
    "RELAY_ALARM",
    "RELAY_BEHIND_SECONDS",
    "RELAY_HOLDER",
    "RELAY_LAG",
    "SILENT_SECONDS",
    "TIMERS_STUCK",
    "UNANSWERED_SECONDS",
    "Progress",
    "child_traceparent",
    "configure_logging",
    "continued",
    "current_traceparent",
    "install_telemetry",
    "log_context",
    "new_span",
    "parse_traceparent",
    "traceparent",
]

# Metrics. Labels are closed sets of our own words: never an id, never a word of a caller.

REGISTRY = CollectorRegistry()
RELAY_LAG = Gauge(
    "bangfu_relay_lag_facts",
    "Rows of an outbox drawn and not yet published, told by the relay that holds the lease",
    ["service", "outbox"],
    registry=REGISTRY,
)
RELAY_BEHIND_SECONDS = Gauge(
    "bangfu_relay_behind_seconds",
    "How long an outbox has not been published to its end",
    ["service", "outbox"],
    registry=REGISTRY,
)
RELAY_ALARM = Gauge(
    "bangfu_relay_alarm",
    "1 if the outbox stands still until somebody has looked, by the kind of alarm",
    ["service", "outbox", "kind"],
    registry=REGISTRY,
)
RELAY_HOLDER = Gauge(
    "bangfu_relay_holder",
    "1 in the process that holds the relay's lease",
    ["service"],
    registry=REGISTRY,
)
CONSUMER_LAG = Gauge(
    "bangfu_consumer_lag_records",
    "Records of a topic not yet heard",
    ["service", "topic"],
    registry=REGISTRY,
)
HELD_RECORDS = Gauge(
    "bangfu_held_records",
    "Records held, by reason: waiting for a cause or a newer build, or quarantined",
    ["service", "reason"],
    registry=REGISTRY,
)
HELD_SECONDS = Gauge(
    "bangfu_held_oldest_seconds",
    "How long the record that has been held the longest for a reason has been held",
    ["service", "reason"],
    registry=REGISTRY,
)
HELD_RELEASED = Gauge(
    "bangfu_held_released_records",
    "Records that somebody has released and that are not yet taken in again",
    ["service"],
    registry=REGISTRY,
)
MARK_AGE_SECONDS = Gauge(
    "bangfu_mark_age_seconds",
    "How long an open transaction has kept the mark of an outbox from its last position drawn",
    ["service", "outbox"],
    registry=REGISTRY,
)
TIMERS_STUCK = Gauge(
    "bangfu_timers_stuck",
    "Timers that are due and have no effect on the state as it is",
    ["service"],
    registry=REGISTRY,
)
OUTGOING = Gauge(
    "bangfu_outgoing_waiting",
    "What a room still has to send out, such as questions to the bank",
    ["service", "what"],
    registry=REGISTRY,
)
UNANSWERED_SECONDS = Gauge(
    "bangfu_outgoing_unanswered_seconds",
    "How long what a room sends out has met no answer",
    ["service", "what"],
    registry=REGISTRY,
)
SILENT_SECONDS = Gauge(
    "bangfu_component_silent_seconds",
    "How long a part of the process that has work has not got on; liveness fails at 30",
    ["service", "component"],
    registry=REGISTRY,
)
READY = Gauge("bangfu_ready", "1 if the process may be sent work", ["service"], registry=REGISTRY)
REACHABLE = Gauge(
    "bangfu_server_reachable",
    "1 if a server answers this process within two seconds",
    ["service", "server"],
    registry=REGISTRY,
)
CONTENDED = Counter(
    "bangfu_contended",
    "Commands given up after meeting newer versions again and again",
    ["service"],
    registry=REGISTRY,
)
DENIALS = Counter(
    "bangfu_denials",
    "Looks and acts that were refused for want of a right",
    ["service"],
    registry=REGISTRY,
)
REFUSED_TOKENS = Counter(
    "bangfu_refused_tokens",
    "Requests without a token that holds, by what is wrong with it",
    ["service", "reason"],
    registry=REGISTRY,
)
APPENDED_FACTS = Counter(
    "bangfu_appended_facts", "Facts appended to the log", ["service"], registry=REGISTRY
)
CONFLICTS = Counter(
    "bangfu_conflicts", "Writes that met a newer version", ["service"], registry=REGISTRY
)
HEARD_FACTS = Counter(
    "bangfu_heard_facts", "Facts heard and taken into effect", ["service"], registry=REGISTRY
)
FUTURE_FACTS = Counter(
    "bangfu_future_facts",
    "Facts heard that were recorded, by their own word, over an hour from now",
    ["service"],
    registry=REGISTRY,
)
REFUSED_REACTIONS = Counter(
    "bangfu_refused_reactions",
    "Heard facts whose command this service refused, by command and refusal",
    ["service", "command", "code"],
    registry=REGISTRY,
)
COMMAND_SECONDS = Histogram(
    "bangfu_command_seconds",
    "From a command's arrival to its answer",
    ["service", "command"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
BUILD = Info("bangfu_build", "The running build", ["service"], registry=REGISTRY)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)


# Logs


def configure_logging(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """JSON lines on standard error (or the stream given), for our own and for libraries' entries.

    Every entry passes the scrubber last, whoever wrote it.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _service_of(service),
        _add_trace,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            scrub_entry,
            structlog.processors.JSONRenderer(serializer=_as_json),
        ],
    )
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # Addresses of requests are told by metrics; these two would repeat every one of them.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It tells of every batch, which the metrics do already.
    logging.getLogger("faststream").setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class _Handler(logging.StreamHandler[TextIO]):
    """An entry that can't be written is counted as lost; printing it would go past the scrubber."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        kind = type(sys.exc_info()[1]).__name__
        lost = {"event": "log_entry_lost", "logger": record.name, "error": kind}
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(_as_json(lost) + self.terminator)


def log_context(
    *, correlation_id: str = "", case_id: str = ""
) -> contextlib.AbstractContextManager[object]:
    """Within the block every log entry names the correlation and the case."""
    named = {"correlation_id": correlation_id, "case_id": case_id}
    return bound_contextvars(**{name: value for name, value in named.items() if value})


def _service_of(service: str) -> Processor:
    def add(_logger: Any, _method: str, entry: Any) -> Any:
        entry["service"] = service
        return entry

    return add


def _add_trace(_logger: Any, _method: str, entry: Any) -> Any:
    span = current_traceparent()
    if span:
        entry["trace_id"] = span.split("-")[1]
    return entry


def _as_json(entry: Any, **_options: Any) -> str:
    return orjson.dumps(entry).decode()  # The scrubber leaves nothing that JSON does not know.


# HTTP


def install_telemetry(
    app: FastAPI,
    service: str,
    build: str,
    progress: Progress,
    checks: Mapping[str, Check] | None = None,
) -> None:
    """`/metrics`, `/health/live`, `/health/ready`, and a correlation and a trace per request.

    Call it after `install_problem_handlers`, so that an unexpected error finds its correlation.
    """
    BUILD.labels(service).info({"build": build})
    app.include_router(health_routes(progress, checks or {}))

    @app.get("/metrics", include_in_schema=False)
    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(_Correlated)


class _Correlated:
    """Gives each request a correlation and a trace, and tells the caller the former.

    A caller's correlation is taken over only if it is a UUID: any other text could be data.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        correlation_id = _as_uuid(headers.get("x-correlation-id")) or str(uuid.uuid4())
        scope[CORRELATION_SCOPE_KEY] = correlation_id

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-correlation-id"] = correlation_id
            await send(message)

        with continued(headers.get("traceparent")), log_context(correlation_id=correlation_id):
            await self._app(scope, receive, told)


def _as_uuid(text: str | None) -> str | None:
    try:
        return str(uuid.UUID(text)) if text else None
    except ValueError:
        return None
