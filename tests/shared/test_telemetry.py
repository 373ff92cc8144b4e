"""What a process tells of itself, and what it keeps to itself."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import ElapsedTime
from shared.problems import install_problem_handlers
from shared.scrubbing import scrub, scrub_text
from shared.telemetry import (
    APPENDED_FACTS,
    COMMAND_SECONDS,
    CONSUMER_LAG,
    HELD_RECORDS,
    MARK_AGE_SECONDS,
    RELAY_LAG,
    Progress,
    child_traceparent,
    configure_logging,
    continued,
    current_traceparent,
    install_telemetry,
    log_context,
    new_span,
    parse_traceparent,
    traceparent,
)

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CORRELATION = "0198c0de-0000-7000-8000-000000000001"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """A stream that gets the log; all loggers are as before afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("intake", "info", stream)
    yield stream
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_log_entry_is_one_line_of_json(logged: io.StringIO) -> None:
    with log_context(correlation_id=CORRELATION, case_id="case-1"), continued(HEADER):
        structlog.get_logger().info("fact_heard", version=3)
    structlog.get_logger().info("afterwards")
    heard, afterwards = lines(logged)
    assert heard.pop("timestamp").endswith("Z")
    assert heard == {
        "event": "fact_heard",
        "version": 3,
        "level": "info",
        "service": "intake",
        "correlation_id": CORRELATION,
        "case_id": "case-1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    assert "case_id" not in afterwards


def test_entries_of_libraries_become_the_same(logged: io.StringIO) -> None:
    """Also with a traceback, whose message may hold anything."""
    try:
        raise ValueError("ID 999999198001011234")
    except ValueError:
        logging.getLogger("library").exception("failed for %s", "13812345678")
    logging.getLogger("library").debug("too quiet")
    (entry,) = lines(logged)
    assert entry["service"] == "intake"
    assert entry["logger"] == "library"
    assert "ValueError" in entry["exception"]
    assert "999999" not in logged.getvalue()
    assert "138123" not in logged.getvalue()


def test_personal_members_are_hidden_whatever_they_hold(logged: io.StringIO) -> None:
    structlog.get_logger().info("submitted", phone="none", deep={"diagnosis": "肺癌", "count": 1})
    (entry,) = lines(logged)
    assert entry["phone"] == "[removed]"
    assert entry["deep"] == {"diagnosis": "[removed]", "count": 1}


def test_what_json_does_not_know_is_still_logged_and_cleaned(logged: io.StringIO) -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd 999999198001011234"

    structlog.get_logger().info("odd", thing=Odd(), raw=b"999999198001011234", part={1: "\ud800"})
    (entry,) = lines(logged)
    assert entry["thing"] == "odd [removed]"
    assert "999999" not in logged.getvalue()


def test_an_entry_that_can_not_be_written_is_lost_aloud_but_not_told(
    logged: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if getattr(handler, "stream", None) is logged]
    monkeypatch.setattr(root, "handlers", ours)  # pytest's own would fail on it, loudly

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("999999198001011234")

        __repr__ = __str__

    structlog.get_logger("x").info("broken", thing=Broken(), number="999999198001011234")
    logging.getLogger("library").info("wrong %d", "999999198001011234")
    assert [entry["event"] for entry in lines(logged)] == ["log_entry_lost"] * 2
    assert "999999" not in logged.getvalue()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "身份证999999198001011234号",
        "id=99999919800101123X.",
        "99999919800101123x",
        "999999 19800101 1234",
        "999999800101123",
        "卡6222021234567890",
        "6222 0212 3456 7890",
        "6222-0212-3456-7890-123",
        "6222021234567890123",
        "电话13812345678",
        "+86 138 1234 5678",
        "8613812345678",
        "138-1234-5678",
        "sealed:1:identity-00ff:f:members[0].name:AAAA_-",
    ],
)
def test_what_looks_personal_is_taken_out(text: str) -> None:
    cleaned = scrub_text(f"before {text} after")
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert not any(part in cleaned for part in ("1980", "80010", "6222", "7890", "1234", "AAAA"))


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-01T12:00:00.123456+08:00",
        "2025-03-01 2025-04-01",
        CORRELATION,
        "13812345-1381-7138-8138-138123456789",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "0" * 64,
        "offset 1234567890 of 12",
        "bangfu.intake.facts",
        "1735689600000",
    ],
)
def test_days_ids_and_hashes_stay(text: str) -> None:
    assert scrub_text(text) == text


def test_numbers_as_long_as_a_card_are_taken_out() -> None:
    assert scrub({"a": 6222021234567890, "b": 2**40, "c": True}) == {
        "a": "[removed]",
        "b": 2**40,
        "c": True,
    }


JSON_LIKE = st.recursive(
    st.text() | st.integers() | st.binary() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(JSON_LIKE)
def test_cleaning_takes_everything(value: Any) -> None:
    json.dumps(scrub({"value": value}))


# Traces


def test_a_child_stays_in_the_trace() -> None:
    parent = parse_traceparent(HEADER)
    assert parent is not None
    assert traceparent(parent) == HEADER
    child = parse_traceparent(child_traceparent(HEADER))
    assert child is not None
    assert child.trace_id == parent.trace_id
    assert child.span_id != parent.span_id
    assert child.trace_flags == parent.trace_flags
    assert new_span(parent).trace_id == parent.trace_id


@pytest.mark.parametrize(
    "header",
    [None, "", "nonsense", HEADER.replace("4bf9", "zzzz"), f"00-{'0' * 32}-00f067aa0ba902b7-01"],
)
def test_a_malformed_header_begins_a_new_trace(header: str | None) -> None:
    assert parse_traceparent(header) is None
    assert parse_traceparent(child_traceparent(header)) is not None
    assert child_traceparent(header) != child_traceparent(header)


def test_the_current_trace_ends_with_its_block() -> None:
    assert current_traceparent() == ""
    with continued(HEADER) as mine:
        assert current_traceparent() == mine
        assert mine[:35] == HEADER[:35]
        with continued(None) as other:
            assert current_traceparent() == other
        assert current_traceparent() == mine
    assert current_traceparent() == ""


# Progress, health and metrics over HTTP


class Moved(ElapsedTime):
    def __init__(self) -> None:
        self.added = 0.0

    def monotonic(self) -> float:
        return self.added


def test_idle_is_not_stuck_and_busy_without_progress_is() -> None:
    elapsed = Moved()
    progress = Progress(30, elapsed)
    progress.beat("relay")
    elapsed.added = 1000
    assert progress.stuck() == []
    progress.work("relay")
    elapsed.added += 29
    assert progress.stuck() == []
    elapsed.added += 2
    assert progress.stuck() == ["relay"]
    progress.beat("relay")
    assert progress.stuck() == []


def test_more_work_does_not_excuse_a_component_that_hangs() -> None:
    elapsed = Moved()
    progress = Progress(30, elapsed)
    for _ in range(40):
        progress.work("hearing")
        elapsed.added += 1
    assert progress.stuck() == ["hearing"]
    assert progress.silent_seconds() == {"hearing": 40}
    progress.work("hearing", waiting=False)
    assert progress.stuck() == []


def application(progress: Progress, **checks: Any) -> httpx.AsyncClient:
    app = FastAPI()
    install_problem_handlers(app)
    install_telemetry(app, "intake", "build-7", progress, checks)

    @app.get("/traced")
    async def traced() -> dict[str, str]:
        bound = structlog.contextvars.get_contextvars()
        return {"trace": current_traceparent(), "correlation": bound["correlation_id"]}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("broken")

    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_live_means_progress() -> None:
    elapsed = Moved()
    progress = Progress(30, elapsed)
    progress.work("relay")
    async with application(progress) as client:
        assert (await client.get("/health/live")).status_code == 200
        elapsed.added = 31
        answer = await client.get("/health/live")
    assert answer.status_code == 503
    assert answer.json() == {"live": False, "stuck": ["relay"]}


async def test_ready_names_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an error's message nor a check that hangs comes through."""
    monkeypatch.setattr("shared.health.CHECK_SECONDS", 0.05)

    async def well() -> bool:
        return True

    async def ill() -> bool:
        return False

    async def broken() -> bool:
        raise OSError("password=hunter2")

    async def hangs() -> bool:
        await asyncio.sleep(60)
        return True

    async with application(Progress(), database=well) as client:
        assert (await client.get("/health/ready")).json() == {
            "ready": True,
            "checks": {"database": "ok"},
        }
    async with application(Progress(), a=well, b=ill, c=broken, d=hangs) as client:
        answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"a": "ok", "b": "failed", "c": "failed", "d": "timed out"}
    assert "hunter2" not in answer.text


async def test_the_metrics_of_an_operator_are_there() -> None:
    RELAY_LAG.labels("intake", "facts").set(3)
    CONSUMER_LAG.labels("intake", "notice.facts").set(4)
    HELD_RECORDS.labels("intake", "waiting").set(1)
    HELD_RECORDS.labels("intake", "quarantined").set(2)
    MARK_AGE_SECONDS.labels("intake", "facts").set(0.5)
    APPENDED_FACTS.labels("intake").inc(7)
    COMMAND_SECONDS.labels("intake", "SubmitApplication").observe(0.03)
    async with application(Progress()) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for line in (
        'bangfu_relay_lag_facts{outbox="facts",service="intake"} 3.0',
        'bangfu_consumer_lag_records{service="intake",topic="notice.facts"} 4.0',
        'bangfu_held_records{reason="quarantined",service="intake"} 2.0',
        'bangfu_mark_age_seconds{outbox="facts",service="intake"} 0.5',
        'bangfu_build_info{build="build-7",service="intake"} 1.0',
        'bangfu_command_seconds_count{command="SubmitApplication",service="intake"} 1.0',
        "bangfu_appended_facts_total",
        "bangfu_conflicts_total",
        "bangfu_heard_facts_total",
        "process_resident_memory_bytes",
    ):
        assert line in answer.text


async def test_a_request_has_a_correlation_and_a_trace() -> None:
    headers = {"traceparent": HEADER, "X-Correlation-Id": CORRELATION.upper()}
    async with application(Progress()) as client:
        answer = await client.get("/traced", headers=headers)
        other = await client.get("/traced", headers={"X-Correlation-Id": "999999198001011234"})
    assert answer.headers["x-correlation-id"] == answer.json()["correlation"] == CORRELATION
    assert answer.json()["trace"][:35] == HEADER[:35]
    assert other.headers["x-correlation-id"] == other.json()["correlation"]
    assert "999999" not in other.text


async def test_an_unexpected_error_has_the_correlation_of_its_request() -> None:
    async with application(Progress()) as client:
        with structlog.testing.capture_logs() as entries:
            answer = await client.get("/broken", headers={"X-Correlation-Id": CORRELATION})
    assert answer.status_code == 500
    assert answer.json()["correlation_id"] == CORRELATION
    assert answer.headers["x-correlation-id"] == CORRELATION
    assert entries[0]["correlation_id"] == CORRELATION
