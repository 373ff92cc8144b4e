"""Knowing that nothing is on its way any more: marks, queues and timers are at rest.

A simulated day may only end then. One look at everybody suffices, because each answer tells causes
before effects: whatever a service was still to hear, do or publish at its own answer shows there,
or as a position behind an end that another answer shows. The bank, which acts on the services
over HTTP, is asked first; the sandbox's own people wait for their answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sandbox.client import Client
from sandbox.installation import SERVICES

PATIENCE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.03

Statuses = dict[str, Mapping[str, Any]]


class RestlessError(Exception):
    """Something kept moving, or stood still with work before it; the message says what."""


class Rest:
    """Waits for one installation to come to rest."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.latest: Statuses = {}

    async def look(self) -> Statuses:
        """The status of all services and the bank."""
        bank = await self._client.open("bank", "/status")
        answers = await asyncio.gather(*(self._client.open(name, "/status") for name in SERVICES))
        self.latest = {"bank": bank, **dict(zip(SERVICES, answers, strict=True))}
        return self.latest

    async def wait(self, today: str, patience_seconds: float = PATIENCE_SECONDS) -> Statuses:
        """Until a look finds everything at rest. Raises RestlessError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_seconds
        restless: set[str] = set()
        found: list[tuple[str, str]] = []
        first = True
        while True:
            # Whatever was just set going gets a moment: a look costs what the work could use.
            await asyncio.sleep(LOOK_SECONDS)
            # Those that were at work a moment ago are asked alone; only a look at all decides.
            if not first:
                for name in restless:
                    self.latest[name] = await self._client.open(name, "/status")
                found = reasons(self.latest, today)
                restless = {name for name, _ in found}
            if first or not restless:
                first = False
                found = reasons(await self.look(), today)
                restless = {name for name, _ in found}
                if not restless:
                    return self.latest
            if loop.time() > deadline:
                raise RestlessError("; ".join(f"{name}: {why}" for name, why in found))


def reasons(statuses: Mapping[str, Mapping[str, Any]], today: str) -> list[tuple[str, str]]:
    """Who is not at rest and why, in an operator's words."""
    ends: dict[str, int] = {}
    for status in statuses.values():
        for outbox in status.get("relay", {}).get("outboxes", ()):
            for partition, end in outbox["ends"].items():
                ends[f"{outbox['topic']}/{partition}"] = end
    found = [(name, why) for name in SERVICES for why in _restless(statuses[name], ends, today)]
    bank = statuses["bank"]
    if not bank["at_rest"] or _behind(bank, ends):
        found.append(("bank", "at work"))
    return found


def _restless(status: Mapping[str, Any], ends: Mapping[str, int], today: str) -> Iterator[str]:
    facts = status["relay"]["outboxes"][0]
    if not status["relay"]["is_at_rest"] or facts["published"] < status["last_position"]:
        yield f"{status['last_position'] - facts['published']} unpublished"
    if _behind(status, ends):
        yield f"behind on {_behind(status, ends)} partitions"
    if status["in_flight"]:
        yield f"{status['in_flight']} commands in flight"
    if status["timers_rested_on"] != today:
        yield "timers not done"
    if any(status["outgoing"].values()):
        yield f"has {status['outgoing']} to send out"
    if status["held"]:
        yield f"holds {status['held']}"


def _behind(status: Mapping[str, Any], ends: Mapping[str, int]) -> int:
    """Partitions of heard topics whose end lies ahead; one not yet assigned counts as at 0."""
    topics, positions = tuple(status["hears"]), status["positions"]
    return sum(
        1
        for partition, end in ends.items()
        if partition.rpartition("/")[0] in topics and positions.get(partition, 0) < end
    )


def lags(statuses: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Per service: facts not yet published and records not yet heard."""
    return {
        name: int(status["last_position"])
        - int(status["relay"]["outboxes"][0]["published"])
        + sum(status["lag"].values())
        for name, status in statuses.items()
        if name in SERVICES
    }
