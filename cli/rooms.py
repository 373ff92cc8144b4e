"""The rooms that log commands read: one line a service, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cli.strict_json import printable
from cli.surroundings import refuse
from shared.bus import topic_name
from shared.discarded import HeardFactDiscarded
from shared.fact import Fact
from shared.publisher import Outbox
from shared.room import Room

SERVICES: Final = ("network", "intake", "eligibility", "notice", "payout", "training")
LONGEST_NAME: Final = 100
# Who is who, and whose each case is: what scope is judged by.
NETWORK: Final = "network"
INTAKE: Final = "intake"
# The one with a second outbox: what the bank reads.
PAYOUT: Final = "payout"

# What a fact says, in Chinese and in English; sealed values stand in it as they are, sealed.
Said = tuple[str, str]
Words = Mapping[type[Fact], Callable[[Any], Said]]
# Further lines of a fact that decides by rules: why it came out so.
Reasons = Mapping[type[Fact], Callable[[Any], Sequence[Said]]]


def check_service(service: str, there: Sequence[str], argument: str = "SERVICE") -> None:
    """End with one line unless there is a service of this name."""
    if service not in there:
        said = printable(service, LONGEST_NAME)
        refuse(f"{argument}: 没有这一服务 no such service: {said} ({', '.join(there)})")


def room(service: str) -> Room:
    """A service's own furniture."""
    found: Room = importlib.import_module(f"services.{service}.main").ROOM
    return found


def rooms() -> list[Room]:
    """All of them."""
    return [room(service) for service in SERVICES]


def outboxes(service: str, prefix: str, bank_subscriber: str) -> list[Outbox]:
    """What a service publishes, and where to."""
    found = [Outbox("facts", topic_name(prefix, service))]
    if service == PAYOUT:
        from services.payout import instructions

        topic = prefix + instructions.topic_of(bank_subscriber)
        found.append(Outbox(instructions.TABLE, topic, instructions.KEPT_MS))
    return found


def _discarded(fact: HeardFactDiscarded) -> Said:
    what = f"{fact.type} ({fact.stream} {fact.version})" if fact.stream else "?"
    place = f"{fact.topic} / {fact.partition} / {fact.offset}"
    return (
        f"弃置所听事实 {what}，{place}，由 {fact.operator} 决定：{fact.reason}",
        f"a heard fact was discarded, {what} at {place}, by {fact.operator}: {fact.reason}",
    )


def words() -> tuple[Words, Reasons]:
    """What all facts say, and why."""
    said: dict[type[Fact], Callable[[Any], Said]] = {HeardFactDiscarded: _discarded}
    why: dict[type[Fact], Callable[[Any], Sequence[Said]]] = {}
    for service in SERVICES:
        module = importlib.import_module(f"services.{service}.words")
        said.update(module.WORDS)
        why.update(getattr(module, "REASONS", {}))
    return said, why
