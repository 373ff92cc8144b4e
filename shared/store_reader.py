"""Reading many facts from their store: by a cursor, with the next page under way.

For rebuilding, verifying and whoever else goes through a log. While the caller works on one page,
the server prepares the next, so both have something to do. What is read is of the transaction's
one moment; who follows a log that grows reads below the mark instead (`tail.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg

from shared.tail import Connection

# A page that fits the processor's cache is parsed twice as fast as one of a thousand rows.
PAGE_ROWS: Final = 100
LEAST_PAGE_ROWS: Final = 20
PAGE_BYTES: Final = 4 * 1024 * 1024
SAMPLED_ROWS: Final = 10


async def row_pages(
    connection: Connection, query: str, *arguments: Any
) -> AsyncGenerator[list[asyncpg.Record], None]:
    """The rows of a query that names the columns envelope and data, page by page.

    The connection is the reader's own and in a transaction. Wrap it in `contextlib.aclosing` if it
    may be left early: a page may be under way.
    """
    cursor = await connection.cursor(query, *arguments)
    size = PAGE_ROWS
    coming: asyncio.Future[list[asyncpg.Record]] = asyncio.ensure_future(cursor.fetch(size))
    try:
        while rows := await coming:
            size = _next_size(rows)
            coming = asyncio.ensure_future(cursor.fetch(size))
            # Once round the loop, so that the question is sent before the answer is worked on.
            await asyncio.sleep(0)
            yield rows
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming


def _next_size(rows: Sequence[asyncpg.Record]) -> int:
    """How many rows to ask for next, so that they stay within a few mebibytes."""
    some = rows[:: max(1, len(rows) // SAMPLED_ROWS)]
    largest = max(len(row["data"]) + len(row["envelope"]) for row in some)
    return max(LEAST_PAGE_ROWS, min(PAGE_ROWS, PAGE_BYTES // largest))
