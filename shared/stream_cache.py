"""The states of the streams that were used last, in so much memory and no more.

What a state takes differs by a factor of ten between kinds of streams and grows with a case, so a
number of them bounds nothing. Weighing each would cost more than loading some: a few are weighed,
drawn at random, and each of the others is taken to weigh what its like does (the same kind of state
after as many facts). What is held is the sum of these, entry by entry.

So the sum is late where states of one kind and age come to weigh otherwise than they did: by some
hundred of them, until sixteen have been drawn. That is bounded, and made good as they are replaced.
"""

from __future__ import annotations

import gc
import random
import sys
import types
from collections import OrderedDict
from enum import Enum
from typing import Any, Final

from shared.workspace import Entry

MOST_BYTES: Final = 192 * 2**20
# Of each kind the first ones are all weighed.
WEIGHED_FIRST: Final = 4
# Objects looked at for one that is stored, on average: three or four microseconds.
LOOKED_AT_EACH: Final = 6
# How much of what its like weighs the one weighed last makes up.
SHARE_OF_LAST: Final = 1 / 16
# Versions are told apart one by one so far, then by eighths of a doubling.
FINE_VERSIONS: Final = 16
# Key, place in the order and the entry itself, beside what the entry holds.
PLACE_BYTES: Final = 400
# Everybody's, and so nobody's weight.
_SHARED: Final = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    Enum,
)


class StreamCache:
    """States by stream; the one that was stored the longest ago goes first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        # With the weight that each was taken in at.
        self._entries: OrderedDict[str, tuple[Entry, int]] = OrderedDict()
        self._held_bytes = 0
        # By kind and age of a state: what it weighs, and of how many that is known.
        self._likes: dict[tuple[type, int], tuple[int, int]] = {}
        self._until_weighed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, stream: str) -> Entry | None:
        """The state that is held of a stream, which may be older than the log's."""
        held = self._entries.get(stream)
        return None if held is None else held[0]

    def put(self, stream: str, entry: Entry) -> None:
        """Hold a state, unless a later one of the stream is held."""
        known = self._entries.get(stream)
        if known is not None:
            if known[0].head.version > entry.head.version:
                return
            self._held_bytes -= known[1]
        weight = self._weight(entry)
        self._held_bytes += weight
        self._entries[stream] = (entry, weight)
        self._entries.move_to_end(stream)
        # One stays, however heavy: it is the one at work.
        while self._held_bytes > self._most_bytes and len(self._entries) > 1:
            self._held_bytes -= self._entries.popitem(last=False)[1][1]

    def drop(self, stream: str) -> None:
        held = self._entries.pop(stream, None)
        if held is not None:
            self._held_bytes -= held[1]

    def clear(self) -> None:
        self._entries.clear()
        self._held_bytes = 0

    def _weight(self, entry: Entry) -> int:
        """Its bytes if its turn has come, else those of its like."""
        like = (type(entry.state), _age(entry.head.version))
        known, times = self._likes.get(like, (0, 0))
        self._until_weighed -= 1
        if times >= WEIGHED_FIRST and self._until_weighed > 0:
            return known
        weight, objects = weighed(entry)
        weight += PLACE_BYTES
        share = max(1 / (times + 1), SHARE_OF_LAST)
        self._likes[like] = (known + int((weight - known) * share), times + 1)
        if self._until_weighed <= 0:
            # Drawn, for what is stored may come in step with any number; rarer after a large one.
            most = max(1, 2 * objects // LOOKED_AT_EACH)
            self._until_weighed = random.randint(1, most)  # noqa: S311 - no secret in a sample
        return weight


def _age(version: int) -> int:
    """Versions that are near each other, as one number."""
    if version < FINE_VERSIONS:
        return version
    shift = version.bit_length() - 4
    return FINE_VERSIONS + 8 * shift + ((version >> shift) & 7)


def weight_bytes(thing: Any) -> int:
    """The memory of everything that is reached from here, each object once, classes aside."""
    return weighed(thing)[0]


def weighed(thing: Any) -> tuple[int, int]:
    """The same, and how many objects that are."""
    seen: set[int] = set()
    left = [thing]
    total = 0
    while left:
        each = left.pop()
        if each is None or id(each) in seen or isinstance(each, _SHARED):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        left += gc.get_referents(each)
    return total, len(seen)
