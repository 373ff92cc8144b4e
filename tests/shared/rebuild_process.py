"""`bangfu rebuild alpha` in a process of its own, which stops in the middle for a test to kill it.

It puts one row right under each lock, says so, and stops within the third lock, its rows replaced
and nothing committed. Argument: the database's URL, in BANGFU_POSTGRES_URL.
"""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from cli.__main__ import app
from shared.rebuild.parts import Part
from shared.rebuild.shadow import Shadow
from tests.toy import alpha

STOPS_AT: Final = 3


def main() -> None:
    mend_rows = Shadow.mend_rows
    mended = 0

    async def one_row_and_stop(shadow: Shadow, part: Part, _limit: int | None) -> int:
        nonlocal mended
        count = await mend_rows(shadow, part, 1)
        mended += count
        if mended == STOPS_AT:
            print("in the middle", flush=True)
            await asyncio.Event().wait()
        return count

    patch = pytest.MonkeyPatch()
    patch.setattr(Shadow, "mend_rows", one_row_and_stop)
    patch.setattr("shared.rebuild.service.ROWS_A_LOCK", 1)
    patch.setattr("cli.rebuild.SERVICES", ("alpha",))
    patch.setattr("cli.rebuild.room", lambda _service: alpha.room())
    app(["rebuild", "alpha"])


if __name__ == "__main__":
    main()
