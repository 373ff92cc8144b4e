"""The states of the streams that were used last, in so much memory and no more.

What a state takes differs by a factor of ten between kinds of streams and grows with a case, so a
number of them bounds nothing. Weighing each would cost more than loading some: one in a few is
weighed, and the average says how many fit.
"""

from __future__ import annotations

import gc
import sys
import types
from collections import OrderedDict
from enum import Enum
from typing import Any, Final

from shared.workspace import Entry

MOST_BYTES: Final = 192 * 2**20
# The first ones are all weighed, for there is no average yet.
WEIGHED_FIRST: Final = 16
WEIGHED_EVERY: Final = 64
# How much of the average the one weighed last makes up.
SHARE_OF_LAST: Final = 1 / 16
# Key, place in the order and the entry itself, beside what the entry holds.
PLACE_BYTES: Final = 300
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
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._stored = 0
        self._average_bytes = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, stream: str) -> Entry | None:
        """The state that is held of a stream, which may be older than the log's."""
        return self._entries.get(stream)

    def put(self, stream: str, entry: Entry) -> None:
        """Hold a state, unless a later one of the stream is held."""
        known = self._entries.get(stream)
        if known is not None and known.head.version > entry.head.version:
            return
        self._entries[stream] = entry
        self._entries.move_to_end(stream)
        self._weigh(entry)
        # One stays, however heavy: it is the one at work.
        most = max(1, int(self._most_bytes / self._average_bytes))
        while len(self._entries) > most:
            self._entries.popitem(last=False)

    def drop(self, stream: str) -> None:
        self._entries.pop(stream, None)

    def clear(self) -> None:
        self._entries.clear()

    def _weigh(self, entry: Entry) -> None:
        self._stored += 1
        if self._stored > WEIGHED_FIRST and self._stored % WEIGHED_EVERY:
            return
        share = max(1 / self._stored, SHARE_OF_LAST)
        self._average_bytes += (weight_bytes(entry) + PLACE_BYTES - self._average_bytes) * share


def weight_bytes(thing: Any) -> int:
    """The memory of everything that is reached from here, each object once, classes aside."""
    seen: set[int] = set()
    left = [thing]
    total = 0
    while left:
        each = left.pop()
        if id(each) in seen or each is None or isinstance(each, _SHARED):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        left += gc.get_referents(each)
    return total
