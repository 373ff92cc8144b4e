"""W3C trace context: carried in a header over HTTP and with each record through Kafka.

A span here is an identity that is passed on (OpenTelemetry's `SpanContext`), no measurement: who
exports traces installs an OpenTelemetry SDK, and its spans then take these as parents.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_ids = RandomIdGenerator()
_propagator = TraceContextTextMapPropagator()


def parse_traceparent(header: str | None) -> SpanContext | None:
    """The span that a traceparent names; None if there is none or it is malformed."""
    if not header:
        return None
    context = _propagator.extract({"traceparent": header})
    span = trace.get_current_span(context).get_span_context()
    return span if span.is_valid else None


def new_span(parent: SpanContext | None = None) -> SpanContext:
    """A child of the parent, in its trace; without a parent the root of a new trace."""
    return SpanContext(
        trace_id=parent.trace_id if parent else _ids.generate_trace_id(),
        span_id=_ids.generate_span_id(),
        is_remote=False,
        trace_flags=parent.trace_flags if parent else TraceFlags(TraceFlags.SAMPLED),
    )


def traceparent(span: SpanContext) -> str:
    """The header of a span, version 00."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 0xFF:02x}"


def child_traceparent(header: str | None = None) -> str:
    """The header of a new child of the span named; a malformed header begins a new trace."""
    return traceparent(new_span(parse_traceparent(header)))


@contextmanager
def continued(header: str | None) -> Iterator[str]:
    """Within the block a child of the span named is the current one; gives its header."""
    span = new_span(parse_traceparent(header))
    token = attach(trace.set_span_in_context(NonRecordingSpan(span)))
    try:
        yield traceparent(span)
    finally:
        detach(token)


def current_traceparent() -> str:
    """The header of the current span; empty outside of any."""
    span = trace.get_current_span().get_span_context()
    return traceparent(span) if span.is_valid else ""
