"""Knowing that nothing is on its way any more: marks, queues and timers are at rest.

A simulated day may only end then. One look at everybody suffices, because each answer tells causes
before effects: whatever a service was still to hear, do or publish at its own answer shows there,
or as a position behind an end that another answer shows. The bank, which acts on the services
over HTTP, is asked first; the sandbox's own people wait for their answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sandbox.client import Client
from sandbox.installation import SERVICES

PATIENCE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.03
HOLDS: Final = "holds"

Statuses = dict[str, Mapping[str, Any]]


class RestlessError(Exception):
    """Something kept moving, or stood still with work before it; the message says what."""


class Rest:
    """Waits for one installation to come to rest."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.patience_seconds = PATIENCE_SECONDS
        # What waits for a person does not move, and the days go on without it.
        self.goes_on_with_held = False
        self.latest: Statuses = {}

    async def look(self) -> Statuses:
        """The status of all services and the bank."""
        bank = await self._ask("bank")
        answers = await asyncio.gather(*(self._ask(name) for name in SERVICES))
        self.latest = {"bank": bank, **dict(zip(SERVICES, answers, strict=True))}
        return self.latest

    async def _ask(self, service: str) -> Mapping[str, Any]:
        """How a service stands: all of its instances as one."""
        asked = (self._client.open(name, "/status") for name in self._client.instances[service])
        answers = await asyncio.gather(*asked)
        return answers[0] if len(answers) == 1 else as_one(answers)

    def _reasons(self, today: str) -> list[tuple[str, str]]:
        found = reasons(self.latest, today)
        if self.goes_on_with_held:
            return [(name, why) for name, why in found if not why.startswith(HOLDS)]
        return found

    async def wait(self, today: str) -> Statuses:
        """Until a look finds everything at rest. Raises RestlessError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience_seconds
        restless: set[str] = set()
        found: list[tuple[str, str]] = []
        first = True
        while True:
            # Whatever was just set going gets a moment: a look costs what the work could use.
            await asyncio.sleep(LOOK_SECONDS)
            # Those that were at work a moment ago are asked alone; only a look at all decides.
            if not first:
                for name in restless:
                    self.latest[name] = await self._ask(name)
                found = self._reasons(today)
                restless = {name for name, _ in found}
            if first or not restless:
                first = False
                await self.look()
                found = self._reasons(today)
                restless = {name for name, _ in found}
                if not restless:
                    return self.latest
            if loop.time() > deadline:
                raise RestlessError("; ".join(f"{name}: {why}" for name, why in found))


def as_one(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The statuses of several instances of one service, as if one had answered.

    What is on its way in any of them is on its way; where one has heard up to, all have. The relay
    is the one that holds the lease.
    """
    relays = [answer["relay"] for answer in answers]
    rested = {answer["timers_rested_on"] for answer in answers}
    return {
        **answers[0],
        "in_flight": sum(answer["in_flight"] for answer in answers),
        "timers_rested_on": rested.pop() if len(rested) == 1 else None,
        "timers_stuck": max(answer["timers_stuck"] for answer in answers),
        "outgoing": _highest([answer["outgoing"] for answer in answers]),
        "positions": _highest([answer["positions"] for answer in answers]),
        "held": _highest([answer["held"] for answer in answers]),
        "last_position": max(answer["last_position"] for answer in answers),
        "relay": max(relays, key=lambda relay: (relay["is_holder"], relay["epoch"])),
        "lag": dict(sum((Counter(answer["lag"]) for answer in answers), Counter())),
    }


def _highest(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    highest: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            highest[name] = max(count, highest.get(name, count))
    return highest


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
        yield f"{HOLDS} {status['held']}"


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
