"""Arrivals: records as Kafka delivers them or as the table ``held`` gives them back.

What is known of each, and why it has to wait. Nothing here decides anything; that is
``shared.hearing``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from shared.bounds import BrokenRecord
from shared.chain import place_of
from shared.fact import BORN, Recorded
from shared.record_headers import claimed_by_headers, recorded_from_headers
from shared.room import Todo

Headers = Sequence[tuple[str, bytes | None]]

WAITING_FOR_CAUSE: Final = "waiting_for_cause"
WAITING_FOR_VERSION: Final = "waiting_for_version"
WAITING_BEHIND: Final = "waiting_behind_another"
WAITING_FOR_BUILD: Final = "waiting_for_a_newer_build"
UNREADABLE: Final = "quarantined_unreadable"
EFFECT_FAILED: Final = "quarantined_effect_failed"

# What waits by itself and leaves by itself; everything else needs a person.
LEAVES_BY_ITSELF: Final = frozenset(
    (WAITING_FOR_CAUSE, WAITING_FOR_VERSION, WAITING_BEHIND, WAITING_FOR_BUILD)
)
# These keep later records of the same key behind them.
BLOCKS_ITS_KEY: Final = frozenset((UNREADABLE, EFFECT_FAILED, WAITING_FOR_BUILD))
# These wait for one thing that others state.
WAITS_FOR_OTHERS: Final = frozenset((WAITING_FOR_CAUSE, WAITING_FOR_VERSION))
# Only a person lets these go.
QUARANTINED: Final = frozenset((UNREADABLE, EFFECT_FAILED))
REASONS: Final = (*sorted(LEAVES_BY_ITSELF), UNREADABLE, EFFECT_FAILED)

LONGEST_KEY: Final = 500
BIRTH_HEADER: Final = ("ce_type", BORN.encode())


@dataclass(frozen=True, slots=True)
class Discard:
    """What an operator asked of a held record; a row of the table ``discards``."""

    reason: str
    operator: str
    skip_version: bool
    fact_id: str
    # Whether the mark of its stream passes it: not what a stranger put where our own will stand.
    passes: bool = True


class Place(NamedTuple):
    """Where a record stands; the same record delivered again stands in the same place."""

    topic: str
    partition: int
    offset: int
    generation: str


def storable_key(key: bytes | None) -> str:
    """A record's key as text that the database takes, whatever bytes somebody sent.

    Records with an odd key are unreadable, since no subject of ours is like that; what matters is
    that the same bytes give the same key.
    """
    text = (key or b"").decode("utf-8", "replace").replace("\x00", "\ufffd")
    return text if len(text) <= LONGEST_KEY else text[:LONGEST_KEY] + "\u2026"


def _why_unreadable(error: BrokenRecord | UnicodeDecodeError) -> str:
    """One word, which operators read; how Python calls it, they need not know."""
    return "utf-8" if isinstance(error, UnicodeDecodeError) else str(error)[:200]


@dataclass
class Arrival:
    """One Kafka record, new or taken back from ``held``, with what is known of it."""

    topic: str
    partition: int
    offset: int
    generation: str
    key: str
    headers: Headers
    value: bytes | None
    held_id: int | None = None
    recorded: Recorded | None = None
    reason: str = ""
    waits_for: str = ""
    released: bool = False
    # Reason, what it waits for and whether it was released, as the table has it.
    held_as: tuple[str, str, bool] = ("", "", False)
    discard: Discard | None = None
    # What the room does with the fact, once that has been asked; it follows from the fact alone.
    todos: Sequence[Todo] | None = None

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset, self.generation)

    def parse(self) -> None:
        """Read the record; what can't be read is marked, never lost."""
        try:
            named = {name: (text or b"").decode() for name, text in self.headers}
            self.recorded = recorded_from_headers(named, self.value)
            if self.recorded.subject != self.key:
                raise BrokenRecord("key")
        except (BrokenRecord, UnicodeDecodeError) as error:
            self.recorded = None
            self.reason, self.waits_for = UNREADABLE, _why_unreadable(error)

    def is_birth(self) -> bool:
        return BIRTH_HEADER in self.headers

    def claimed(self) -> Recorded:
        """What the record says of itself, readable or not; nothing of it is checked."""
        named = {name: (text or b"").decode("utf-8", "replace") for name, text in self.headers}
        return claimed_by_headers(named, self.value)

    def claimed_place(self) -> tuple[str, int] | None:
        """The stream and version that it says it is; None if it names none that could be."""
        return place_of(self.claimed())

    def packed(self) -> list[list[str | None]]:
        """The headers as text, each value in base64."""
        return [[n, None if t is None else base64.b64encode(t).decode()] for n, t in self.headers]

    def row(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "topic": self.topic,
            "partition": self.partition,
            "record_offset": self.offset,
            "generation": self.generation,
            "headers": base64.b64encode(orjson.dumps(self.packed())).decode(),
            "value": None if self.value is None else base64.b64encode(self.value).decode(),
            "reason": self.reason,
            "waits_for": self.waits_for,
        }

    @classmethod
    def of_held(cls, row: asyncpg.Record) -> Arrival:
        headers = [
            (name, None if text is None else base64.b64decode(text))
            for name, text in orjson.loads(row["headers"])
        ]
        held = cls(
            row["topic"],
            row["partition"],
            row["record_offset"],
            row["generation"],
            row["key"],
            headers,
            row["value"],
            row["held_id"],
        )
        held.parse()
        held.released = row["released"]
        held.held_as = (row["reason"], row["waits_for"], row["released"])
        if held.recorded is not None or row["reason"] in QUARANTINED:
            held.reason, held.waits_for = row["reason"], row["waits_for"]
        if row.get("discard_reason") is not None:
            held.discard = Discard(
                row["discard_reason"],
                row["operator"],
                row["skip_version"],
                row["fact_id"],
                passes=row["discard_stream"] != "",
            )
        return held


def in_causal_order(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """A batch mixes topics: lamport order lets most facts follow their cause without waiting.

    What is of no case goes first, for it is what cases are decided with (the tree, parameters).
    With an unreadable record among them the order of arrival stays, for what is behind it in
    its partition must stay behind it.
    """
    for arrival in arrivals:
        if arrival.recorded is None and not arrival.reason:
            arrival.parse()
    if any(a.recorded is None for a in arrivals):
        return list(arrivals)
    return sorted(arrivals, key=_rank)


def _rank(arrival: Arrival) -> tuple[bool, int]:
    recorded = arrival.recorded
    return (
        (False, 0)
        if recorded is None
        else (
            recorded.stream != recorded.subject,
            recorded.lamport,
        )
    )
