"""Broker and database are stopped, frozen, cut off and filled up while a year is lived.

On servers of this test's own. Each fault falls into the wave of a drawn day: people are at work, so
commands are answered late, repeated by their key, and lost never.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import orjson
import pytest

from sandbox.client import Client
from sandbox.installation import SERVICES, Installation
from sandbox.run import Plan
from sandbox.world import CITY, person
from tests.conftest import servers_folder
from tests.faults.afterwards import AfterAYear
from tests.faults.commands import command, environment_of
from tests.faults.disk import FULL
from tests.faults.disturbances import Disturbance, Disturber, spread
from tests.faults.lived import SHORT_LEASES, Lived, lived_through
from tests.faults.servers import WENT_DOWN, OwnServers

HOUSEHOLDS: Final = 16
# Longer than a request, a send and a session may take (shared/bus.py, shared/publisher.py).
PAUSE_SECONDS: Final = 17.0
ABSENCE_SECONDS: Final = 3.0
CUTS: Final = 20
CUT_EVERY_SECONDS: Final = 0.1
FULL_SECONDS: Final = 4.0
# What is answered while nothing can be stored: a problem that says so, and to try again.
PUT_OFF: Final = "503 application/problem+json urn:bangfu:problem:log-unreachable"

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
    run = disturber.run
    when = await disturber.in_wave("intake")
    before, ended_before = servers.said(FULL), servers.said(WENT_DOWN)
    over = asyncio.Event()
    with put_off(run.client) as answers:
        with servers.disk.full(run.installation.infrastructure.postgres_url) as how:
            asking = asyncio.create_task(ask_for_room(run.client, answers, over))
            await asyncio.sleep(FULL_SECONDS)
            refused = servers.said(FULL) - before
            if servers.disk.holds_the_server:
                await servers.go_down_for_want_of_room(ended_before)
                await asyncio.sleep(FULL_SECONDS / 2)
        over.set()
        process = servers.postgres.process
        if process is not None and process.poll() is not None:
            await servers.start(servers.postgres)
        asked = await asking
    ended = ", then PostgreSQL went down" if servers.said(WENT_DOWN) > ended_before else ""
    told = ", ".join(f"{n} × {answer}" for answer, n in sorted(answers.items())) or "nobody"
    disturber.note(
        "full",
        "database",
        f"{when}: {how}; {refused} writes refused{ended}; {asked} asked of us; put off by {told}",
    )


async def ask_for_room(client: Client, answers: Counter[str], over: asyncio.Event) -> int:
    """Commands until somebody was put off, one after the other: how many, all acknowledged.

    Whether anybody else is at work just then, the day decides. What is proposed here nobody ever
    announces; a page that has room takes some of it even on a full disk.
    """
    asked = 0
    while not (answers or over.is_set()):
        body = {
            "parameter": "school_living_cost",
            "scope": f"full-disk-{asked}",
            "values": {"fen": 1},
        }
        keeper = person(CITY, "parameter_keeper")
        await client.post(keeper, "eligibility", "/parameters/proposals", body)
        asked += 1
    return asked


@contextmanager
def put_off(client: Client) -> Iterator[Counter[str]]:
    """Status, media type and problem of each answer after which people try again."""
    answers: Counter[str] = Counter()

    def told(status: int, media_type: str, body: bytes) -> None:
        try:
            problem = orjson.loads(body)
            named = problem["type"] if problem["title"] and problem["title_en"] else "untitled"
        except (ValueError, KeyError, TypeError):
            named = "no problem"
        answers[f"{status} {media_type} {named}"] += 1

    client.on_put_off = told
    try:
        yield answers
    finally:
        client.on_put_off = lambda _status, _type, _body: None


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
def servers() -> OwnServers:
    """Not started yet."""
    return OwnServers(servers_folder() / "faults-servers" / "servers")


@pytest.fixture(scope="module")
def lived(servers: OwnServers) -> Iterator[Lived]:
    """Sixteen households through 2025."""
    plan = Plan(HOUSEHOLDS)
    folder = servers.folder.parent

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

    def test_on_a_full_disk_people_were_put_off_and_postgresql_came_back(
        self, lived: Lived, servers: OwnServers
    ) -> None:
        """503 and a problem, and nothing else; what held afterwards is asked above."""
        [full] = [each for each in lived.struck if each.what == "full"]
        told = full.evidence.rpartition("; put off by ")[2]
        assert told.partition(" × ")[2] == PUT_OFF, told
        assert servers.disk.holds_the_server == ("PostgreSQL went down" in full.evidence)
