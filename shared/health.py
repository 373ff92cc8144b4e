"""Whether a process lives and is ready, told to whoever restarts it or sends it work.

Live means progress: a consumer that hangs in a dead connection still answers pings, so a component
that has work and has not got on for a while makes the process count as dead.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from shared.clock import ElapsedTime

PATIENCE_SECONDS = 30.0
CHECK_SECONDS = 2.0

Check = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class _Component:
    beaten_at: float
    has_work: bool = False


class Progress:
    """What the components of a process report of themselves.

    `beat` says that something was done, or looked for and not found. `work` says whether something
    waits to be done; a loop that must never stop simply says so once. A component that never spoke
    of work is never held to be stuck.
    """

    def __init__(
        self, patience_seconds: float = PATIENCE_SECONDS, elapsed: ElapsedTime | None = None
    ) -> None:
        self._patience = patience_seconds
        self._elapsed = elapsed or ElapsedTime()
        self._components: dict[str, _Component] = {}

    def beat(self, name: str) -> None:
        """The component got on just now."""
        self._component(name).beaten_at = self._elapsed.monotonic()

    def work(self, name: str, waiting: bool = True) -> None:
        """Whether the component has work; patience with it begins when there first is some."""
        component = self._component(name)
        if waiting and not component.has_work:
            component.beaten_at = self._elapsed.monotonic()
        component.has_work = waiting

    def silent_seconds(self) -> dict[str, float]:
        """How long ago each component got on, for those that have work."""
        now = self._elapsed.monotonic()
        return {
            name: now - component.beaten_at
            for name, component in self._components.items()
            if component.has_work
        }

    def stuck(self) -> list[str]:
        """The components that have work and have not got on for longer than patience allows."""
        silent = self.silent_seconds().items()
        return sorted(name for name, seconds in silent if seconds > self._patience)

    def _component(self, name: str) -> _Component:
        component = self._components.get(name)
        if component is None:
            component = self._components[name] = _Component(self._elapsed.monotonic())
        return component


def health_routes(progress: Progress, checks: Mapping[str, Check]) -> APIRouter:
    """`/health/live` and `/health/ready`; 503 names what is wrong, without details."""
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> Response:
        stuck = progress.stuck()
        return JSONResponse({"live": not stuck, "stuck": stuck}, 503 if stuck else 200)

    @router.get("/health/ready")
    async def ready() -> Response:
        answers = await asyncio.gather(*(passes(check) for check in checks.values()))
        results = dict(zip(checks, answers, strict=True))
        fit = all(answer == "ok" for answer in answers)
        return JSONResponse({"ready": fit, "checks": results}, 200 if fit else 503)

    return router


async def passes(check: Check) -> str:
    """``ok``, or what came of it within the time that a check has."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return "ok" if await check() else "failed"
    except TimeoutError:
        return "timed out"
    except Exception:  # noqa: BLE001 - whatever it is, the answer is that it is not ready
        return "failed"
