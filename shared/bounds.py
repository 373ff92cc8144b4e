"""What a fact may say of itself: how large it is, how its numbers are written, how long a name is.

Our own facts keep to it by themselves. What comes by Kafka anybody may have written, and its hash
may hold.
"""

from __future__ import annotations

from typing import Final

LARGEST_DATA_BYTES: Final = 256 * 1024
# What the tables that a fact goes to can hold: versions are integers, and names stand in indexes.
LARGEST_VERSION: Final = 2**31 - 1
LARGEST_LAMPORT: Final = 2**53 - 1
LONGEST_NAME_BYTES: Final = 500


class BrokenRecord(ValueError):
    """A Kafka record that is no fact of ours, or whose hash does not hold."""


def ordinal(text: str, largest: int) -> int:
    """A number from 1 on, written as we write it. Raises BrokenRecord."""
    number = int(text) if text.isdecimal() and len(text) <= len(str(largest)) else 0
    if not 0 < number <= largest or str(number) != text:
        raise BrokenRecord("order")
    return number


def is_name(text: str) -> bool:
    """Whether a stream, a subject, an id may be called so."""
    return "\x00" not in text and len(text.encode()) <= LONGEST_NAME_BYTES


def is_heard(heard: object) -> bool:
    """Versions by stream, as others wrote it."""
    return isinstance(heard, dict) and all(
        isinstance(stream, str)
        and is_name(stream)
        and type(version) is int
        and 0 <= version <= LARGEST_VERSION
        for stream, version in heard.items()
    )
