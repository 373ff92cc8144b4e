"""Tokens that do not hold, at every route of every service: refused, recorded, nothing told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Final

import asyncpg
import httpx
import pytest

from cli.rooms import SERVICES
from tests.demo.host import Host
from tests.duty import tokens
from tests.duty.routes import Route, routes, told
from tests.duty.tokens import PERSON

# What a challenge may say by chance is shorter than the end of any token.
LONGEST_WORD: Final = 16


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def every_route(duty: Host) -> list[Route]:
    return list(routes(duty.installation.urls()))


@pytest.fixture(scope="module")
def bad_tokens(duty: Host) -> dict[str, str]:
    return tokens.bad_tokens(duty.installation)


def _asked(
    http: httpx.Client, host: Host, route: Route, authorization: str, **ids: str
) -> httpx.Response:
    headers: list[tuple[bytes, bytes]] = []
    if authorization:
        headers.append((b"Authorization", authorization.encode("latin-1")))
    if route.needs_key:
        headers.append((b"Idempotency-Key", str(uuid.uuid4()).encode()))
    url = host.installation.url(route.service) + route.filled(ids)
    body: dict[str, str] | None = {} if route.has_body else None
    return http.request(route.method, url, headers=headers, json=body)


def test_the_public_routes_are_those_of_the_notice_board(every_route: list[Route]) -> None:
    """Whoever adds a route without a token adds it here."""
    assert {str(route) for route in every_route if route.is_public} == {
        "notice GET /public/notices",
        "notice GET /public/notices/{notice_id}",
        "notice POST /public/notices/{notice_id}/objections",
    }


def test_no_bad_token_opens_any_route(
    duty: Host, http: httpx.Client, every_route: list[Route], bad_tokens: dict[str, str]
) -> None:
    """401 with a challenge, a problem that repeats nothing of the token, whatever the id."""
    for route in every_route:
        if route.is_public:
            continue
        for what, authorization in bad_tokens.items():
            answer = _asked(http, duty, route, authorization)
            assert answer.status_code == httpx.codes.UNAUTHORIZED, (str(route), what, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer ")
            if len(authorization) > LONGEST_WORD:
                assert authorization[-LONGEST_WORD:] not in answer.text
            assert PERSON not in answer.text


def test_a_bad_token_learns_nothing_of_a_case(
    duty: Host,
    http: httpx.Client,
    every_route: list[Route],
    bad_tokens: dict[str, str],
    case_id: str,
) -> None:
    """The same answer for a case that exists and for one that does not."""
    for route in every_route:
        if "{case_id}" not in route.path:
            continue
        for authorization in (bad_tokens["none"], bad_tokens["expired"], bad_tokens["a wrong key"]):
            known = _asked(http, duty, route, authorization, case_id=case_id)
            assert told(known) == told(_asked(http, duty, route, authorization)), str(route)
            assert case_id not in known.text


def test_every_refusal_is_on_record(
    duty: Host, http: httpx.Client, every_route: list[Route], bad_tokens: dict[str, str]
) -> None:
    """By route and reason, as nobody's; counted each, and a row at most once a minute."""
    before = {service: _refused(http, duty, service) for service in SERVICES}
    for route in every_route:
        if not route.is_public:
            for _ in range(3):
                _asked(http, duty, route, bad_tokens["expired"])
    for service in SERVICES:
        own = [route for route in every_route if route.service == service and not route.is_public]
        assert _refused(http, duty, service) - before[service] == 3 * len(own)
        rows = asyncio.run(_denied(duty, service))
        for route in own:
            assert 1 <= rows.get(f"{route.method} {route.path}: token-expired", 0) <= 4, str(route)


def _refused(http: httpx.Client, host: Host, service: str) -> float:
    text = http.get(host.installation.url(service) + "/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("bangfu_refused_tokens_total")]
    return sum(float(line.split()[-1]) for line in lines if '"token-expired"' in line)


async def _denied(host: Host, service: str) -> dict[str, int]:
    connection = await asyncpg.connect(host.installation.infrastructure.postgres_url)
    try:
        rows = await connection.fetch(
            "SELECT attempt, count(*) AS times, bool_and(subject = '') AS bare "
            f"FROM {service}.denials WHERE actor = 'nobody' GROUP BY attempt"
        )
    finally:
        await connection.close()
    assert all(row["bare"] for row in rows)
    return {row["attempt"]: row["times"] for row in rows}
