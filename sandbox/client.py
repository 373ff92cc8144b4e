"""How the sandbox's people reach the services: over HTTP, with their own tokens, nothing else.

A command that got no answer is sent again with the same idempotency key, so that a service killed
in mid-answer does a thing once; the answer of the second sending is that of the first.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

RETRY_SECONDS: Final = 60.0
AT_ONCE: Final = 24
REFUSED: Final = 400
TRY_AGAIN: Final = frozenset((429, 502, 503, 504))


class RefusedError(Exception):
    """A service said no; ``problem`` is its RFC 9457 body."""

    def __init__(self, status: int, problem: Mapping[str, Any], what: str) -> None:
        where = problem.get("errors") or problem.get("field") or ""
        super().__init__(f"{what}: {status} {problem.get('type')} {where}")
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        return str(self.problem.get("type", "")).rpartition(":")[2]


class Client:
    """One connection pool for everybody, a token for each."""

    def __init__(self, urls: Mapping[str, str], secret: str) -> None:
        self._urls = urls
        self._secret = secret
        self._tokens: dict[str, str] = {}
        self._http = httpx.AsyncClient(
            timeout=30.0, limits=httpx.Limits(max_connections=64, max_keepalive_connections=64)
        )
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.commands: Counter[str] = Counter()
        # Told the bytes of every refusal: a test searches them for personal values.
        self.on_refusal: Callable[[bytes], None] = lambda _body: None

    async def close(self) -> None:
        await self._http.aclose()

    async def token(self, person: str) -> str:
        """The person's token from the development issuer."""
        if person not in self._tokens:
            answer = await self._http.post(
                self._urls["issuer"] + "/token",
                data={"subject": person, "secret": self._secret},
            )
            answer.raise_for_status()
            self._tokens[person] = answer.json()["access_token"]
        return self._tokens[person]

    async def get(self, person: str, service: str, path: str, **query: Any) -> Any:
        """Look at something as this person. Raises RefusedError."""
        headers = {"Authorization": f"Bearer {await self.token(person)}"}
        return await self._send("GET", service, path, headers, params=query)

    async def post(
        self, person: str, service: str, path: str, body: Mapping[str, Any], key: str = ""
    ) -> Any:
        """Command something as this person, exactly once. Raises RefusedError."""
        headers = {
            "Authorization": f"Bearer {await self.token(person)}",
            "Idempotency-Key": key or str(uuid.uuid4()),
        }
        self.commands[service] += 1
        return await self._send("POST", service, path, headers, json=body)

    async def public(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        """What anybody may do, without a name."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return await self._send("POST", service, path, headers, json=body)

    async def open(self, service: str, path: str) -> Any:
        """What a process tells everybody, such as its status."""
        return await self._send("GET", service, path, {})

    async def _send(
        self, method: str, service: str, path: str, headers: Mapping[str, str], **rest: Any
    ) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETRY_SECONDS
        pause = 0.1
        async with self._turn:
            while True:
                try:
                    answer = await self._http.request(
                        method, self._urls[service] + path, headers=headers, **rest
                    )
                except httpx.TransportError:
                    if loop.time() > deadline:
                        raise
                else:
                    if answer.status_code not in TRY_AGAIN or loop.time() > deadline:
                        break
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
        if answer.status_code >= REFUSED:
            self.on_refusal(answer.content)
            raise RefusedError(answer.status_code, _problem(answer), f"{method} {service}{path}")
        return answer.json()


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {"title_en": answer.text[:200]}
    return body if isinstance(body, dict) else {"title_en": str(body)[:200]}
