"""The rooms that log commands read: one line a service, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from shared.fact import Fact
from shared.room import Room

SERVICES: Final = ("network", "intake", "eligibility", "notice", "payout", "training")
# Who is who, and whose each case is: what scope is judged by.
NETWORK: Final = "network"
INTAKE: Final = "intake"

# What a fact says, in Chinese and in English; sealed values stand in it as they are, sealed.
Said = tuple[str, str]
Words = Mapping[type[Fact], Callable[[Any], Said]]
# Further lines of a fact that decides by rules: why it came out so.
Reasons = Mapping[type[Fact], Callable[[Any], Sequence[Said]]]


def room(service: str) -> Room:
    """A service's own furniture."""
    found: Room = importlib.import_module(f"services.{service}.main").ROOM
    return found


def rooms() -> list[Room]:
    """All of them."""
    return [room(service) for service in SERVICES]


def words() -> tuple[Words, Reasons]:
    """What all facts say, and why."""
    said: dict[type[Fact], Callable[[Any], Said]] = {}
    why: dict[type[Fact], Callable[[Any], Sequence[Said]]] = {}
    for service in SERVICES:
        module = importlib.import_module(f"services.{service}.words")
        said.update(module.WORDS)
        why.update(getattr(module, "REASONS", {}))
    return said, why
