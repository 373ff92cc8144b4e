"""Two instances of every service: leases move, relays and whole processes freeze and wake up.

Whoever holds a relay's lease is killed; or frozen for longer than its lease and its session, while
the other takes over; or frozen in the middle of a send, which arrives when the other has long
published the same. That is where repeats come from: they are counted, and they are the same bytes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

import asyncpg
import pytest

from deploy.infrastructure import Infrastructure
from sandbox.installation import SERVICES
from sandbox.run import Plan
from shared.bus import topic_name
from tests.conftest import servers_folder
from tests.demo.conftest import own_installation
from tests.faults.afterwards import AfterAYear
from tests.faults.disturbances import Disturbance, Disturber, spread
from tests.faults.lived import LEASE_SECONDS, SESSION_TIMEOUT_MS, SHORT_LEASES, Lived, lived_through
from tests.faults.slow_wire import SlowWire, WiredKafka

HOUSEHOLDS: Final = 16
FREEZE_SECONDS: Final = LEASE_SECONDS + SESSION_TIMEOUT_MS / 1000 + 2.0
ABSENCE_SECONDS: Final = 1.0
TAKE_OVER_SECONDS: Final = 40.0
CAUGHT_IN_A_SEND: Final = ("intake", "payout")
Act = Callable[[Disturber], Coroutine[Any, Any, None]]
FROZEN: Final = ("eligibility", "intake", "notice")


async def lease_of(connection: asyncpg.Connection, service: str) -> tuple[str, int]:
    """The process that relays for this service, and the lease's epoch."""
    row = await connection.fetchrow(f"SELECT holder, epoch FROM {service}.lease")
    assert row is not None
    instance = int(row["holder"].split("-")[1])
    return service if instance == 0 else f"{service}-{instance + 1}", row["epoch"]


async def until_moved(connection: asyncpg.Connection, service: str, epoch: int) -> str:
    """Until another has the lease; who it is."""
    async with asyncio.timeout(TAKE_OVER_SECONDS):
        while True:
            holder, now = await lease_of(connection, service)
            if now > epoch:
                return f"lease from epoch {epoch} to {now} of {holder}"
            await asyncio.sleep(0.05)


async def until_published(connection: asyncpg.Connection, service: str) -> None:
    """Until the checkpoint has reached the end of the log."""
    behind = (
        f"SELECT position < (SELECT max(position) FROM {service}.facts)"
        f" FROM {service}.checkpoint WHERE name = 'facts'"
    )
    async with asyncio.timeout(TAKE_OVER_SECONDS):
        while await connection.fetchval(behind):  # noqa: ASYNC110 - a table announces nothing
            await asyncio.sleep(0.05)


async def one_at_a_time(disturber: Disturber, *, act: Act) -> None:
    """A quiet day is over in no time: the next fault waits for this one."""
    async with disturber.turns["leases"]:
        await act(disturber)


async def holder_is_killed(disturber: Disturber, *, service: str) -> None:
    """The other instance takes over, and the dead one comes back beside it."""
    connection = await asyncpg.connect(disturber.run.installation.infrastructure.postgres_url)
    try:
        when = await disturber.in_wave(service)
        holder, epoch = await lease_of(connection, service)
        async with disturber.turns[holder]:
            disturber.run.installation.kill(holder)
            moved = await until_moved(connection, service, epoch)
            await asyncio.sleep(ABSENCE_SECONDS)
            disturber.run.installation.start(holder)
        disturber.note("killed while it held the lease", holder, f"{when}; {moved}")
    finally:
        await connection.close()


async def holder_freezes(disturber: Disturber, *, service: str) -> None:
    """For longer than its lease and its session; it wakes among those who took over."""
    connection = await asyncpg.connect(disturber.run.installation.infrastructure.postgres_url)
    try:
        when = await disturber.in_wave(service)
        holder, epoch = await lease_of(connection, service)
        async with disturber.turns[holder]:
            disturber.signal(holder, signal.SIGSTOP)
            try:
                await asyncio.sleep(FREEZE_SECONDS)
                moved = await until_moved(connection, service, epoch)
            finally:
                disturber.signal(holder, signal.SIGCONT)
        disturber.note("frozen", holder, f"{when}, for {FREEZE_SECONDS} s; {moved}")
    finally:
        await connection.close()


async def relay_freezes_in_a_send(disturber: Disturber, *, service: str, wire: SlowWire) -> None:
    """Its bytes are on the wire; they arrive when the other has published the same; it wakes."""
    installation = disturber.run.installation
    connection = await asyncpg.connect(installation.infrastructure.postgres_url)
    try:
        await wire.keep(topic_name(installation.prefix, service))
        holder, epoch = await lease_of(connection, service)
        async with disturber.turns[holder]:
            disturber.signal(holder, signal.SIGSTOP)
            try:
                moved = await until_moved(connection, service, epoch)
                await until_published(connection, service)
                await wire.deliver()
                await asyncio.sleep(0.5)
            finally:
                disturber.signal(holder, signal.SIGCONT)
        disturber.note("frozen in a send", holder, f"{moved}, which published the same first")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def lived(infrastructure: Infrastructure) -> Iterator[Lived]:
    """Sixteen households through 2025, on a broker behind a wire."""
    plan = Plan(HOUSEHOLDS)
    wire = SlowWire()
    kafka = WiredKafka(servers_folder() / "faults-wire", wire)

    async def ordeal(disturber: Disturber) -> None:
        acts: list[Act] = [partial(holder_is_killed, service=service) for service in SERVICES]
        acts += [partial(holder_freezes, service=service) for service in FROZEN]
        acts += [
            partial(relay_freezes_in_a_send, service=service, wire=wire)
            for service in CAUGHT_IN_A_SEND
        ]
        days = spread(plan.year, len(acts), disturber.draw)
        disturber.draw.shuffle(days)
        await disturber.live(
            [
                Disturbance(day, partial(one_at_a_time, act=act))
                for day, act in zip(days, acts, strict=True)
            ]
        )

    try:
        for _ in kafka.starting():
            asyncio.run(asyncio.sleep(0.02))
        servers = Infrastructure(
            infrastructure.postgres_url, infrastructure.keys_url, kafka.bootstrap
        )
        with own_installation(servers, instances=2, **SHORT_LEASES) as installation:
            with lived_through("two instances", plan, installation, ordeal) as year:
                yield year
    finally:
        kafka.stop(keep_data=False)
        wire.end()


class TestAfterLeasesMoved(AfterAYear):
    """The same promises as ever."""

    def test_every_lease_moved(self, lived: Lived) -> None:
        """Of all six relays, by death; of some by a freeze, twice in the middle of a send."""
        told = [(each.whom.partition("-")[0], each.what) for each in lived.struck]
        for service in SERVICES:
            assert (service, "killed while it held the lease") in told
        for service in FROZEN:
            assert (service, "frozen") in told
        for service in CAUGHT_IN_A_SEND:
            assert (service, "frozen in a send") in told

    def test_what_arrived_late_is_a_repeat_and_nothing_else(self, lived: Lived) -> None:
        """The only way to a repeat: a relay that froze in a send (compare the chronicle)."""
        prefix = lived.run.installation.prefix
        for service in CAUGHT_IN_A_SEND:
            assert lived.topics.repeats[topic_name(prefix, service)] > 0
