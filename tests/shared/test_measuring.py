"""What a process tells of itself while what it needs is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared import health, measuring
from shared.measuring import Measuring
from shared.migrations import role_name
from shared.service import Parts
from tests.toy import alpha, beta
from tests.toy.world import World, new_case, running, tell, until

PATIENCE_SECONDS = 1.0


@asynccontextmanager
async def database_away(world: World, name: str) -> AsyncIterator[None]:
    """The service's worker is cut off and let in no more; everybody else is."""
    role = role_name(world.postgres_url, name, "worker")
    async with world.admin() as admin:
        await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
        try:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role
            )
            yield
        finally:
            await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")


async def backlog(a: Parts, b: Parts) -> None:
    """Facts that B has to hear and has not, as it knows itself."""
    await tell(a, "tally", new_case(), alpha.Open())
    listening = b.listening
    assert listening is not None

    async def behind() -> bool:
        return any(listening.lag().values())

    await until(behind)


async def test_hearing_with_a_backlog_lives_while_the_database_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would restart it in vain; where the database answers and it hangs, it is told."""
    monkeypatch.setattr(health.Progress.__init__, "__defaults__", (PATIENCE_SECONDS, None))
    monkeypatch.setattr(measuring, "METRICS_SECONDS", 0.05)
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    # Its loops and gauges only: how timers fare is another test's.
    async with running(a, b):
        told = asyncio.create_task(Measuring(b).run())

        async def at_rest() -> bool:
            return bool(b.hearing.positions)

        async def hearing_is_stuck() -> bool:
            return "hearing" in b.progress.stuck()

        async def heard() -> bool:
            return b.listening is not None and not any(b.listening.lag().values())

        try:
            await until(at_rest)
            async with database_away(world, "beta"):
                await backlog(a, b)
                for _ in range(30):
                    await asyncio.sleep(PATIENCE_SECONDS / 10)
                    assert "hearing" not in b.progress.stuck()
                assert not await heard()
            await until(heard)
            async with world.admin() as admin, admin.transaction():
                await admin.execute("LOCK TABLE beta.watermarks IN ACCESS EXCLUSIVE MODE")
                await backlog(a, b)
                await until(hearing_is_stuck)
            await until(heard)
        finally:
            told.cancel()
