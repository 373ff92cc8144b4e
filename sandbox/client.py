"""How the sandbox's people reach the services: over HTTP, with their own tokens, nothing else.

A command that got no answer is sent again with the same idempotency key, so that a service killed
in mid-answer does a thing once; the answer of the second sending is that of the first. Where a
service has several instances, they take turns, as behind a load balancer.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, repeat
from typing import Any, Final

import aiohttp
import orjson

RETRY_SECONDS: Final = 60.0
AT_ONCE: Final = 24
REFUSED: Final = 400
UNAUTHORIZED: Final = 401
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


@dataclass(frozen=True)
class Command:
    """One command of a batch; its key makes it happen once, however often it is sent."""

    path: str
    body: Mapping[str, Any]
    key: str = field(default_factory=lambda: str(uuid.uuid4()))


class Client:
    """One connection pool for everybody, a token for each.

    ``urls`` is by process; "intake-2" is another instance of the service "intake".
    """

    def __init__(self, urls: Mapping[str, str], secret: str) -> None:
        self._urls = urls
        self.instances: dict[str, list[str]] = defaultdict(list)
        for process in urls:
            self.instances[process.partition("-")[0]].append(process)
        self._turns = {service: cycle(names) for service, names in self.instances.items()}
        self._secret = secret
        self.retry_seconds = RETRY_SECONDS
        self._tokens: dict[str, str] = {}
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=30.0),
            connector=aiohttp.TCPConnector(limit=64),
            json_serialize=lambda body: orjson.dumps(body).decode(),
        )
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.commands: Counter[str] = Counter()
        # Told the bytes of every refusal: a test searches them for personal values.
        self.on_refusal: Callable[[bytes], None] = lambda _body: None
        # Told status, media type and body of every answer after which it tries again.
        self.on_put_off: Callable[[int, str, bytes], None] = lambda _status, _type, _body: None
        # Told the service and the answer of every command that was granted.
        self.on_acknowledged: Callable[[str, Any], None] = lambda _service, _answer: None

    async def close(self) -> None:
        await self._http.close()

    async def token(self, person: str) -> str:
        """The person's token from the development issuer."""
        if person not in self._tokens:
            asked = {"subject": person, "secret": self._secret}
            answer = await self._send("POST", "issuer", "/token", {}, data=asked)
            self._tokens[person] = answer["access_token"]
        return self._tokens[person]

    async def get(self, person: str, service: str, path: str, **query: Any) -> Any:
        """Look at something as this person. Raises RefusedError."""
        asked = {n: str(v).lower() if isinstance(v, bool) else v for n, v in query.items()}
        return await self._send("GET", service, path, {}, person=person, params=asked)

    async def post(
        self, person: str, service: str, path: str, body: Mapping[str, Any], key: str = ""
    ) -> Any:
        """Command something as this person, exactly once. Raises RefusedError."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        self.commands[service] += 1
        answer = await self._send("POST", service, path, headers, person=person, json=body)
        return self._acknowledged(service, answer)

    async def batch(
        self, person: str, service: str, commands: Sequence[Command]
    ) -> list[dict[str, Any] | RefusedError]:
        """Command many things at once as this person, each exactly once and by itself.

        Returns an answer or a refusal for each, in their order. At most 200. Raises RefusedError
        if the whole request was refused.
        """
        self.commands[service] += len(commands)
        found: dict[str, Mapping[str, Any]] = {}
        waiting = list(commands)
        deadline = asyncio.get_running_loop().time() + self.retry_seconds
        while waiting:
            body = {"commands": [{"key": c.key, "path": c.path, "body": c.body} for c in waiting]}
            answer = await self._send("POST", service, "/batch", {}, person=person, json=body)
            found.update(zip((c.key for c in waiting), answer["answers"], strict=True))
            waiting = [c for c in waiting if found[c.key]["status"] in TRY_AGAIN]
            if waiting and asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.1 if waiting else 0)
        return [self._told(service, c.path, found[c.key]) for c in commands]

    def _told(
        self, service: str, path: str, answer: Mapping[str, Any]
    ) -> dict[str, Any] | RefusedError:
        """What one command of a batch was answered."""
        body: dict[str, Any] = answer["body"]
        if answer["status"] >= REFUSED:
            self.on_refusal(orjson.dumps(body))
            return RefusedError(answer["status"], body, f"POST {service}{path}")
        self._acknowledged(service, body)
        return body

    async def public(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        """What anybody may do, without a name."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = await self._send("POST", service, path, headers, json=body)
        return self._acknowledged(service, answer)

    def _acknowledged(self, service: str, answer: Any) -> Any:
        self.on_acknowledged(service, answer)
        return answer

    async def open(self, process: str, path: str) -> Any:
        """What one process tells everybody, such as its status."""
        return await self._send("GET", process, path, {}, processes=repeat(process))

    async def _send(
        self,
        method: str,
        service: str,
        path: str,
        headers: Mapping[str, str],
        *,
        person: str = "",
        processes: Iterator[str] | None = None,
        **rest: Any,
    ) -> Any:
        processes = processes or self._turns[service]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.retry_seconds
        while True:
            if person:
                headers = {**headers, "Authorization": f"Bearer {await self.token(person)}"}
            status, body = await self._answer(
                method, processes, path, deadline, headers=headers, **rest
            )
            if status != UNAUTHORIZED or not person or loop.time() > deadline:
                break
            # The issuer was started anew with another key, which services fetch now and then.
            self._tokens.pop(person, None)
            await asyncio.sleep(1.0)
        if status >= REFUSED:
            self.on_refusal(body)
            raise RefusedError(status, _problem(body), f"{method} {service}{path}")
        return orjson.loads(body)

    async def _answer(
        self,
        method: str,
        processes: Iterator[str],
        path: str,
        deadline: float,
        **request: Any,
    ) -> tuple[int, bytes]:
        """Status and body of the first real answer; asked again until the deadline."""
        loop = asyncio.get_running_loop()
        pause = 0.1
        async with self._turn:
            while True:
                url = self._urls[next(processes)] + path
                try:
                    async with self._http.request(method, url, **request) as answer:
                        status, body = answer.status, await answer.read()
                except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError):
                    if loop.time() > deadline:
                        raise
                else:
                    if status not in TRY_AGAIN or loop.time() > deadline:
                        return status, body
                    self.on_put_off(status, answer.content_type, body)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = orjson.loads(body)
    except ValueError:
        return {"title_en": body[:200].decode(errors="replace")}
    return problem if isinstance(problem, dict) else {"title_en": str(problem)[:200]}
