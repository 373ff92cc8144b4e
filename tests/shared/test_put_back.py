"""A database that is put back to an earlier moment while services run on it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import pytest

from deploy.native.process import free_ports
from shared.bus import end_offsets, topic_name
from shared.lease import DATABASE_FAILURES
from shared.moment import Moment, WentBack
from shared.service import Parts
from shared.start import StartRefused
from shared.verification.check import verify_rooms
from tests.shared.test_consumers import CHECKOUT, environment
from tests.shared.test_recovery import Past, again, may_start, recover, world
from tests.shared.test_republish import cases, count, heard_once, rested
from tests.toy import alpha, beta
from tests.toy.world import World, held_of, running, tell, until

__all__ = ["world"]

ROOMS = (alpha.room, beta.room)
END_SECONDS = 30.0


@contextmanager
def listener(world: World) -> Iterator[subprocess.Popen[str]]:
    """Beta as a process of its own."""
    [port] = free_ports(1)
    settings = world.settings("beta", port=port, log_level="warning")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.toy.process", "beta"],
        cwd=CHECKOUT,
        env=environment(settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@asynccontextmanager
async def both(world: World) -> AsyncIterator[tuple[Parts, Parts]]:
    """Alpha and beta, until they have nothing left to do."""
    async with AsyncExitStack() as stack:
        world.stack = stack
        a, b = [await world.start(room()) for room in ROOMS]
        async with running(a, b):
            yield a, b
            await heard_once(a, b)
            await until(lambda: rested(a))
            await until(lambda: rested(b))


async def total(world: World, name: str) -> int:
    async with world.admin() as admin:
        return int(await admin.fetchval(f"SELECT count(*) FROM {name}.facts"))


async def differences(world: World) -> list[str]:
    rooms = [room() for room in ROOMS]
    report = await verify_rooms(rooms, world.postgres_url, world.bootstrap, world.prefix)
    return [str(each) for each in report.differences]


async def test_no_process_works_on_when_its_database_is_put_back(world: World) -> None:
    """A listener ends in one line, a command writes nothing; all of it comes back by the drill."""
    past = Past(world.postgres_url)
    async with both(world) as (a, _):
        await count(a, old := cases(4), 2)
    past.keep()
    at_the_moment = await total(world, "alpha")
    async with AsyncExitStack() as stack:
        world.stack = stack
        a = await world.start(alpha.room())
        with listener(world) as process:
            async with running(a):
                await count(a, cases(4), 2)
                stated = await total(world, "alpha")

                async def all_heard() -> bool:
                    topic = topic_name(world.prefix, "beta")
                    ends = await end_offsets(world.bootstrap, topic)
                    # A birth in each partition, and what beta has stated of each fact.
                    return sum(ends.values()) - len(ends) >= stated

                await until(all_heard, seconds=60)
                await until(lambda: rested(a))
                past.restore()
                with pytest.raises(DATABASE_FAILURES):
                    await tell(a, "tally", old[0], alpha.Count(amount=0))
                _, told = await asyncio.to_thread(process.communicate, timeout=END_SECONDS)
                assert process.returncode == 2
                assert told.splitlines()[-1].startswith("beta: 数据库已恢复到另一时刻")
                with pytest.raises(WentBack):
                    await a.moment.look(a.store.worker)
    assert await total(world, "alpha") == at_the_moment
    for room in ROOMS:
        with pytest.raises(StartRefused, match="bangfu recover"):
            await may_start(world, room())
        await recover(world, room())
    async with both(world) as (a, _):
        await again(a, old, 1)
    assert await differences(world) == []


async def test_what_a_listener_has_passed_over_is_heard_again(world: World) -> None:
    """A release before this one went on listening on a database that was put back under it."""
    past = Past(world.postgres_url)
    async with both(world) as (a, _):
        await count(a, old := cases(4), 2)
    past.keep()
    async with both(world) as (a, _):
        await count(a, cases(4), 2)
        await again(a, old[:2], 1)
    async with world.admin() as admin:
        ahead = await admin.fetch("SELECT * FROM beta.offsets")
    past.restore()
    for room in ROOMS:
        await recover(world, room())
    async with world.admin() as admin:
        await admin.executemany(
            "UPDATE beta.offsets SET next_offset = $3 WHERE topic = $1 AND partition = $2",
            [(row["topic"], row["partition"], row["next_offset"]) for row in ahead],
        )
    async with AsyncExitStack() as stack:
        world.stack = stack
        a, b = [await world.start(room()) for room in ROOMS]
        async with running(a, b):
            await again(a, old, 1)

            async def waits() -> bool:
                return [reason for reason, _ in await held_of(b)] == ["waiting_for_version"] * 2

            await until(waits)
            await until(lambda: rested(a))
    assert await differences(world) != []
    assert (await recover(world, beta.room(), hear_again=True)).facts == 0
    async with both(world):
        pass
    assert await differences(world) == []


class Slow:
    """A connection whose answer comes when it may."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def fetchrow(self, *args: Any, **named: Any) -> Any:
        row = await self._connection.fetchrow(*args, **named)
        self.asked.set()
        await self.may_answer.wait()
        return row


async def test_an_answer_that_was_overtaken_is_no_way_back(world: World) -> None:
    """Many connections ask at once, and the log grows meanwhile."""
    async with world.admin() as first, world.admin() as second:
        moment, slow = Moment("alpha"), Slow(first)
        await moment.look(second)
        early = asyncio.create_task(moment.look(slow))
        await slow.asked.wait()
        await second.execute("CREATE TABLE grows (n int)")
        await moment.look(second)
        slow.may_answer.set()
        await early
        assert moment.difference == ""
