"""Reading a whole log from its store, in order, page by page, with the next page under way.

For rebuilding, verifying and whoever else goes through everything. While the caller works on one
page, the server prepares the next, so both have something to do. What is above the mark of the
moment in which the reading began is not read; `tail.py` tells why there is a mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from shared.event_store import recorded_from_row
from shared.fact import Recorded
from shared.tail import Chunk, Connection, Tail

PAGE_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Page:
    """Facts in order of position; everything up to and with `cursor` has been read."""

    facts: list[Recorded]
    cursor: int


async def pages(
    connection: Connection,
    schema: str,
    table: str = "facts",
    *,
    after: int = 0,
    page_rows: int = PAGE_ROWS,
) -> AsyncIterator[Page]:
    """All facts after a position. The connection is the reader's own, and in no transaction.

    Wrap it in `contextlib.aclosing` if it may be left early: a page may be under way.
    """
    tail = await Tail.open(connection, schema, table)
    await tail.advance()
    coming: asyncio.Task[Chunk] = asyncio.create_task(tail.read(after, page_rows))
    try:
        while (chunk := await coming).rows:
            coming = asyncio.create_task(tail.read(chunk.cursor, page_rows))
            # Once round the loop, so that the question is sent before the answer is worked on.
            await asyncio.sleep(0)
            yield Page([recorded_from_row(row) for row in chunk.rows], chunk.cursor)
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming
