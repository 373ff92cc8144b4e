"""Turns at a stream: commands of one process on the same stream are decided one after the other.

Of two decided side by side one would be in vain. What other processes and what is heard do to a
stream meanwhile still shows when a command is stored, so a turn is a courtesy and no lock: nobody
waits for long, and where the database hangs, each is told so in its own time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from weakref import WeakValueDictionary

LONGEST_WAIT_SECONDS: Final = 2.0


class Turns:
    """The turns at all streams of one process."""

    def __init__(self) -> None:
        # Kept for as long as somebody holds one or waits for it.
        self._by_stream: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def at(self, stream: str) -> AsyncIterator[None]:
        """Wait for the turn; after so long go on without."""
        turn = self._by_stream.get(stream)
        if turn is None:
            turn = self._by_stream[stream] = asyncio.Lock()
        has_turn = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                    has_turn = await turn.acquire()
            yield
        finally:
            if has_turn:
                turn.release()
