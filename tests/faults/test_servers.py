"""Broker and database are stopped, frozen, cut off and filled up while a year is lived.

On servers of this test's own. Each fault falls into the wave of a drawn day: people are at work, so
commands are answered late, repeated by their key, and lost never.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

import pytest

from sandbox.installation import SERVICES, Installation
from sandbox.run import Plan
from tests.conftest import servers_folder
from tests.faults.afterwards import AfterAYear
from tests.faults.commands import command, environment_of
from tests.faults.disturbances import Disturbance, Disturber, spread
from tests.faults.lived import SHORT_LEASES, Lived, lived_through
from tests.faults.servers import FULL, OwnServers, exhaust_wal

HOUSEHOLDS: Final = 16
# Longer than a request, a send and a session may take (shared/bus.py, shared/publisher.py).
PAUSE_SECONDS: Final = 17.0
ABSENCE_SECONDS: Final = 3.0
CUTS: Final = 20
CUT_EVERY_SECONDS: Final = 0.1
FULL_SECONDS: Final = 4.0

Act = Callable[[Disturber], Coroutine[Any, Any, None]]


async def one_at_a_time(disturber: Disturber, *, act: Act) -> None:
    """A quiet day is over in no time: the next fault waits for this one."""
    async with disturber.turns["servers"]:
        await act(disturber)


async def broker_ends(
    disturber: Disturber, *, servers: OwnServers, number: signal.Signals, what: str
) -> None:
    """The broker goes, by power failure or in order, and comes back with its data."""
    when = await disturber.in_wave("intake")
    await servers.stop(servers.kafka, number)
    await asyncio.sleep(ABSENCE_SECONDS)
    await servers.start(servers.kafka)
    disturber.note(what, "broker", when)


async def broker_pauses(disturber: Disturber, *, servers: OwnServers) -> None:
    """Connections stay open, and nobody answers."""
    when = await disturber.in_wave("intake")
    await servers.freeze(servers.kafka, PAUSE_SECONDS)
    disturber.note("paused", "broker", f"{when}, for {PAUSE_SECONDS} s")


async def database_ends(disturber: Disturber, *, servers: OwnServers) -> None:
    """An immediate shutdown: whatever was not committed is gone, and recovery follows."""
    when = await disturber.in_wave("intake")
    await servers.stop(servers.postgres, signal.SIGQUIT)
    await asyncio.sleep(ABSENCE_SECONDS / 2)
    await servers.start(servers.postgres)
    disturber.note("restarted", "database", when)


async def connections_are_cut(disturber: Disturber, *, servers: OwnServers) -> None:
    """All of them, so many times, at any moment of their work."""
    when = await disturber.in_wave("intake")
    cut = 0
    for _ in range(CUTS):
        cut += servers.cut_connections()
        await asyncio.sleep(CUT_EVERY_SECONDS)
    disturber.note("cut", "database", f"{when}, {cut} connections in {CUTS} turns")


async def disk_fills_up(disturber: Disturber, *, servers: OwnServers) -> None:
    """First no table grows any more, then the log of what is written finds no room either."""
    own = disturber.run.installation.infrastructure
    when = await disturber.in_wave("intake")
    before = servers.said(FULL)
    with servers.disk.full(own.postgres_url) as how:
        await asyncio.sleep(FULL_SECONDS)
        refused = servers.said(FULL) - before
        if servers.disk.is_mounted:
            exhaust_wal(servers.postgres.admin_url)
            await asyncio.sleep(FULL_SECONDS / 2)
    process = servers.postgres.process
    went_down = process is not None and process.poll() is not None
    if went_down:
        await servers.start(servers.postgres)
    down = ", then PostgreSQL went down" if went_down else ""
    disturber.note("full", "database", f"{when}: {how}; {refused} writes refused{down}")


async def broker_is_wiped(disturber: Disturber, *, servers: OwnServers) -> None:
    """All topics and groups are gone; an operator has each service's log published again."""
    when = await disturber.in_wave("intake")
    await servers.stop(servers.kafka, signal.SIGKILL)
    servers.wipe_kafka()
    await servers.start(servers.kafka)
    environment = environment_of(disturber.run.installation)
    # Formatted anew it is another Kafka; as the screen says it.
    options = ("--new-kafka", "--replace")
    said = [await command(environment, "republish", service, *options) for service in SERVICES]
    assert all(said), said
    disturber.note("wiped", "broker", f"{when}, then bangfu republish --new-kafka for each service")


@pytest.fixture(scope="module")
def lived() -> Iterator[Lived]:
    """Sixteen households through 2025."""
    plan = Plan(HOUSEHOLDS)
    folder = servers_folder() / "faults-servers"
    servers = OwnServers(folder / "servers")

    async def ordeal(disturber: Disturber) -> None:
        acts: list[Act] = [
            partial(broker_ends, servers=servers, number=signal.SIGKILL, what="killed"),
            partial(broker_ends, servers=servers, number=signal.SIGTERM, what="stopped"),
            partial(broker_pauses, servers=servers),
            partial(database_ends, servers=servers),
            partial(connections_are_cut, servers=servers),
            partial(disk_fills_up, servers=servers),
            partial(broker_is_wiped, servers=servers),
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
        installation = Installation(folder, servers.begin(), prefix="lost.", **SHORT_LEASES)
        with lived_through("servers", plan, installation, ordeal) as year:
            yield year
    finally:
        servers.end()


class TestAfterServersWereLost(AfterAYear):
    """The same promises as ever."""

    def test_every_fault_of_a_server_was_there(self, lived: Lived) -> None:
        """The broker killed, stopped and paused; the database restarted, cut off and full."""
        done = Counter((each.whom, each.what) for each in lived.struck)
        assert done == {
            ("broker", "killed"): 1,
            ("broker", "stopped"): 1,
            ("broker", "paused"): 1,
            ("broker", "wiped"): 1,
            ("database", "restarted"): 1,
            ("database", "cut"): 1,
            ("database", "full"): 1,
        }
        [full] = [each for each in lived.struck if each.what == "full"]
        assert "; 0 writes refused" not in full.evidence
