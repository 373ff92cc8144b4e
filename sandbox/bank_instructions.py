"""Reading the instructions' topic as an outsider: records are bytes, and the chain is checked.

Nothing of the services' own code is used: what a subscriber must know stands in docs/log-format.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BORN: Final = b"bangfu.topic.born"
ISSUED: Final = "bangfu.payout.InstructionIssued"
SCHEMA_VERSION: Final = "1"
GENESIS: Final = "0" * 64
# Headers that are no attributes of the hashed object.
APART: Final = frozenset(("ce_hash", "ce_traceparent"))

Headers = Sequence[tuple[str, bytes | None]]


class BrokenInstruction(ValueError):
    """A record that is no instruction, or whose hash does not hold."""


@dataclass(frozen=True)
class Instruction:
    """One record of the topic, checked against its own hash."""

    stream: str
    version: int
    previous_hash: str
    hash: str
    payout_id: str
    end_to_end_id: str
    amount_fen: int
    currency: str
    state: str


def is_birth(headers: Headers) -> bool:
    """Whether the record is the topic's own."""
    return any(name == "ce_type" and value == BORN for name, value in headers)


def read(headers: Headers, value: bytes | None) -> Instruction:
    """Read and check one record. Raises BrokenInstruction."""
    try:
        named = {name: (text or b"").decode() for name, text in headers}
        attributes = {
            name.removeprefix("ce_"): text
            for name, text in named.items()
            if name.startswith("ce_") and name not in APART
        }
        attributes["datacontenttype"] = named["content-type"]
        data = json.loads(value or b"")
        if _hash(attributes, data) != named["ce_hash"]:
            raise BrokenInstruction("hash")
        if attributes["type"] != ISSUED or attributes["schemaversion"] != SCHEMA_VERSION:
            raise BrokenInstruction("type")
        return Instruction(
            stream=attributes["stream"],
            version=int(attributes["streamversion"]),
            previous_hash=attributes["previoushash"],
            hash=named["ce_hash"],
            **{name: data[name] for name in DATA},
        )
    except BrokenInstruction:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenInstruction(type(error).__name__) from error


DATA: Final = ("payout_id", "end_to_end_id", "amount_fen", "currency", "state")


def _hash(attributes: dict[str, str], data: object) -> str:
    """SHA-256 over the canonical JSON (RFC 8785) of all attributes with the data put in."""
    whole = json.dumps(
        {**attributes, "data": data}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(whole.encode()).hexdigest()
