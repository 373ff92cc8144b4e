"""A run of the sandbox in a thread and loop of its own, for as long as tests look at it.

Tests have loops of their own, one each; the run's connections live in this one. Its processes die
with the thread that started them (the kernel ties them to it), so they outlive no session.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from sandbox.installation import Installation
from sandbox.run import Plan, Run, started

LONGEST_RUN_SECONDS: Final = 900.0
STOP_SECONDS: Final = 60.0

T = TypeVar("T")
Life = Callable[[Run], Awaitable[None]]


class Host:
    """Starts a run, lets it live, and keeps it until ``end``."""

    def __init__(self, plan: Plan, installation: Installation, life: Life) -> None:
        self.plan = plan
        self.installation = installation
        self._life = life
        self._thread = threading.Thread(target=self._hold, name="demo", daemon=True)
        self._settled = threading.Event()
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run: Run | None = None
        self._error: BaseException | None = None

    @property
    def run(self) -> Run:
        assert self._run is not None
        return self._run

    def begin(self) -> None:
        """Returns when the life is lived; raises what ended it."""
        self._thread.start()
        if not self._settled.wait(LONGEST_RUN_SECONDS):
            self.end()
            raise TimeoutError(f"the run is not over after {LONGEST_RUN_SECONDS} s")
        if self._error is not None:
            self._thread.join(STOP_SECONDS)
            raise self._error

    def ask(self, work: Coroutine[Any, Any, T], patience_seconds: float = 120.0) -> T:
        """Have something done in the run's own loop."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(patience_seconds)

    def end(self) -> None:
        """Stop all processes of the run."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(STOP_SECONDS)

    def _hold(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits for it
            self._error = error
        finally:
            self._settled.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with started(self.plan, self.installation) as run:
            self._run = run
            life = asyncio.ensure_future(self._life(run))
            over = asyncio.ensure_future(self._over.wait())
            await asyncio.wait({life, over}, return_when=asyncio.FIRST_COMPLETED)
            if not life.done():
                life.cancel()
            else:
                life.result()
                self._settled.set()
                await over
