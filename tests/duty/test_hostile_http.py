"""Requests that no client of ours sends: refused in order, and the process serves the next one."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from cli.rooms import SERVICES
from tests.demo.host import Host
from tests.services.intake.running import HANDLER, submission

ANSWER_SECONDS: Final = 20.0
LIES: Final = (b"zzz\r\nhello\r\n", b"5\r\nhel", b"ffffffffffffffff\r\n", b"-1\r\n\r\n")
UNEXPECTED: Final = 500
PROBLEM: Final = "application/problem+json"


@pytest.fixture(scope="module")
def token(duty: Host) -> str:
    return duty.ask(duty.run.client.token(HANDLER))


@pytest.fixture
def http(token: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(timeout=ANSWER_SECONDS, headers=headers) as client:
        yield client


@pytest.fixture(autouse=True)
def still_serving(duty: Host) -> Iterator[None]:
    """Whatever was sent, every process answers afterwards."""
    yield
    for service in SERVICES:
        answer = httpx.get(duty.installation.url(service) + "/health/live", timeout=ANSWER_SECONDS)
        assert answer.status_code == httpx.codes.OK, service


def raw(host: Host, service: str, *parts: bytes, answers: int = 1) -> list[bytes]:
    """The status lines of what a service answers to bytes; it may also close without one."""
    parsed = urlsplit(host.installation.url(service))
    address = (parsed.hostname, parsed.port)
    with closing(socket.create_connection(address, timeout=ANSWER_SECONDS)) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break
        received, deadline = b"", monotonic() + ANSWER_SECONDS
        while received.count(b"HTTP/1.1 ") < answers and monotonic() < deadline:
            try:
                more = connection.recv(65536)
            except (TimeoutError, ConnectionResetError):
                break
            if not more:
                break
            received += more
    return [b"HTTP/1.1 " + each[:3] for each in received.split(b"HTTP/1.1 ")[1:]]


def request(path: str, token: str, *headers: str, method: str = "POST") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        f"Idempotency-Key: {uuid.uuid4()}",
        "Content-Type: application/json",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


# Bytes that are hardly HTTP


@dataclass(frozen=True)
class Liars:
    """How somebody else was answered meanwhile, and what each was, once that is over."""

    meanwhile: int
    answered: list[tuple[bytes, Future[list[bytes]]]]


@pytest.fixture(scope="module", autouse=True)
def liars(duty: Host, token: str) -> Iterator[Liars]:
    """Chunks that lie, sent before all else here and at once: some are never answered, for the
    service waits for the rest that was promised, and everything below is asked meanwhile."""
    chunked = request("/cases", token, "Transfer-Encoding: chunked")
    with ThreadPoolExecutor(len(LIES)) as threads:
        answered = [
            (body, threads.submit(raw, duty, "intake", chunked + body + b"\r\n\r\n"))
            for body in LIES
        ]
        headers = {"Authorization": f"Bearer {token}"}
        url = duty.installation.url("intake") + "/work"
        meanwhile = httpx.get(url, headers=headers, timeout=ANSWER_SECONDS)
        yield Liars(meanwhile.status_code, answered)


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_no_http_gets_no_5xx(duty: Host, token: str, service: str) -> None:
    """Garbage, headers without end, chunks that lie, a body that never comes."""
    start = request("/work", token, method="GET").removesuffix(b"\r\n")
    for parts in (
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",),
        (b"GET\r\n\r\n",),
        (b"GET / HTTP/9.9\r\n\r\n",),
        (b"\x00" * 100 + b"\r\n\r\n",),
        (start + b"X: " + b"a" * 300_000 + b"\r\n\r\n",),
        (start + b"".join(b"X-%d: y\r\n" % n for n in range(5_000)) + b"\r\n",),
        (start + b"X\x00Y: z\r\n\r\n",),
        (start + b"Content-Length: -5\r\n\r\n",),
        (start + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",),
    ):
        for line in raw(duty, service, *parts):
            assert line[9:10] != b"5", (parts[0][:60], line)


def test_length_and_chunks_together_are_refused(duty: Host, token: str) -> None:
    """Two readers that disagree on where a request ends would let one smuggle another."""
    both = request("/cases", token, "Content-Length: 4", "Transfer-Encoding: chunked")
    smuggled = both + b"0\r\n\r\n" + request("/work", token, method="GET")
    assert b"HTTP/1.1 200" not in raw(duty, "intake", smuggled, answers=2)


def test_pipelined_requests_are_answered_in_order(duty: Host, token: str) -> None:
    """Each by itself, the bad among the good."""
    good = request("/work", token, method="GET")
    bad = request("/work", "x", method="GET")
    lines = raw(duty, "intake", good + bad + good + good, answers=4)
    assert [line[-3:] for line in lines] == [b"200", b"401", b"200", b"200"]


def test_slow_bodies_hold_up_nobody(duty: Host, token: str, http: httpx.Client) -> None:
    """Sixty connections that promise a body and send a byte; others are served meanwhile."""
    parsed = urlsplit(duty.installation.url("intake"))
    begun = request("/cases", token, "Content-Length: 1000") + b"{"
    waiting = []
    try:
        for _ in range(60):
            connection = socket.create_connection((parsed.hostname, parsed.port), timeout=10)
            connection.sendall(begun)
            waiting.append(connection)
        assert http.get(duty.installation.url("intake") + "/work").status_code == httpx.codes.OK
    finally:
        for connection in waiting:
            connection.close()


# Bodies and paths that are hardly ours


def post(host: Host, http: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    sent = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json", **headers}
    return http.post(host.installation.url("intake") + "/cases", content=content, headers=sent)


def whole(**changes: Any) -> bytes:
    return json.dumps({**submission(9), **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        '{"channel": "\ud800"}'.encode("utf-8", "surrogatepass"),
        b'{"channel": "\\ud800"}',
        b'{"channel": "\\u0000"}',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"channel": NaN}',
        b'{"channel": -Infinity}',
        b'{"channel": 1e999999}',
        b'{"channel": ' + b"9" * 10_000 + b"}",
        b'{"channel": "window", "channel": "window"}',
        b'{"__proto__": {"channel": "window"}}',
        whole(phone="\u202e" * 50),
        whole(address="\U0001f600" * 500),
        whole(causes=["illness"] * 10_000),
        whole(members={"0": "x"}),
        whole(unknown="x"),
        whole(programmes=[["living"]]),
        b" " * 2_000_000,
    ],
    ids=lambda content: str(content[:24]),
)
def test_a_body_that_does_not_fit_is_a_problem(
    duty: Host, http: httpx.Client, content: bytes
) -> None:
    answer = post(duty, http, content)
    assert httpx.codes.BAD_REQUEST <= answer.status_code < UNEXPECTED, answer.text[:300]
    assert answer.headers["content-type"] == PROBLEM
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "",
    ],
)
def test_another_content_type_is_no_5xx(duty: Host, http: httpx.Client, kind: str) -> None:
    answer = post(duty, http, whole(), **{"Content-Type": kind})
    assert answer.status_code < UNEXPECTED, answer.text[:300]


@pytest.mark.parametrize(
    "path",
    [
        "/cases/%00",
        "/cases/%2e%2e%2fwork",
        "/cases/..%2f..%2fmetrics",
        "/cases/%ff%fe",
        "/cases/%E6%AC%A7%E9%98%B3",
        "/cases/" + "a" * 8_000,
        "/cases/00000000-0000-4000-8000-00000000000%30",
        "/cases/00000000-0000-4000-8000-000000000000%0d%0aSet-Cookie:x",
        "/cases/1%27%20OR%20%271%27=%271",
        "/work?limit=-1",
        "/work?limit=99999999999999999999",
        "/work?after=%00",
        "/work?after=" + "a" * 5_000,
        "/cases?status=%27;DROP%20TABLE%20facts;--",
        "/cases?limit=1&limit=2",
        "//cases",
        "/cases/",
    ],
)
def test_an_odd_path_is_no_5xx(duty: Host, http: httpx.Client, path: str) -> None:
    answer = http.get(duty.installation.url("intake") + path)
    assert answer.status_code < UNEXPECTED, answer.text[:300]
    assert "set-cookie" not in answer.headers
    assert "facts_position" not in answer.text


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_another_method_is_refused(duty: Host, http: httpx.Client, method: str) -> None:
    for path in ("/cases", "/work", "/status", "/nowhere"):
        answer = http.request(method, duty.installation.url("intake") + path)
        assert httpx.codes.BAD_REQUEST <= answer.status_code < UNEXPECTED
        # What is no method at all is refused before it is ours to refuse.
        if method not in ("HEAD", "BREW"):
            assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    "key", ["", "short", "a" * 201, "with space inside", "tab\there", "\u00e9" * 10]
)
def test_a_key_that_is_none_is_refused(duty: Host, http: httpx.Client, key: str) -> None:
    answer = http.post(
        duty.installation.url("intake") + "/cases",
        content=whole(),
        headers=[
            (b"Idempotency-Key", key.encode("latin-1")),
            (b"Content-Type", b"application/json"),
        ],
    )
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert answer.json()["type"] == "urn:bangfu:problem:request-invalid"


# What was begun first


def test_chunks_that_lie_end_the_request_alone(liars: Liars) -> None:
    """The last one here, so that nobody has to wait for those that are never answered."""
    assert liars.meanwhile == httpx.codes.OK
    for body, answered in liars.answered:
        assert not any(line[9:10] == b"5" for line in answered.result()), body
