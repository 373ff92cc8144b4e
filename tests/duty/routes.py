"""Every route that a service tells of in its OpenAPI, and requests to it that fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from cli.rooms import SERVICES

UNKNOWN_ID: Final = "00000000-0000-4000-8000-000000000000"
# What goes with an answer by chance.
OF_THE_REQUEST: Final = frozenset(("correlation_id", "instance"))


@dataclass(frozen=True)
class Route:
    """One operation of one service."""

    service: str
    method: str
    path: str
    has_body: bool
    needs_key: bool
    is_public: bool

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path}"

    def filled(self, ids: Mapping[str, str] | None = None) -> str:
        """The path with an id in each place: those given, else one that is nobody's."""
        known = ids or {}
        return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], _like(found[1])), self.path)


def _like(parameter: str) -> str:
    return UNKNOWN_ID if parameter.endswith("_id") else "no-such-one"


def routes(urls: Mapping[str, str]) -> Iterator[Route]:
    """All routes of all services."""
    for service in SERVICES:
        document = httpx.get(urls[service] + "/openapi.json", timeout=30).raise_for_status().json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                names = {each["name"].lower() for each in operation.get("parameters", ())}
                yield Route(
                    service,
                    method.upper(),
                    path,
                    "requestBody" in operation,
                    "idempotency-key" in names,
                    "authorization" not in names,
                )


def told(answer: httpx.Response) -> tuple[int, Any]:
    """Status and body without what only names the request."""
    body = answer.json()
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in OF_THE_REQUEST}
    return answer.status_code, body
