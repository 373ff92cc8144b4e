"""A database that was restored to an earlier moment takes back from Kafka what it lacks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import psycopg
import pytest
from psycopg import sql

from deploy.infrastructure import Infrastructure
from deploy.native.process import free_ports
from shared import bus
from shared.lease import DATABASE_FAILURES
from shared.moment import WentBack
from shared.presence import BeingRecovered, is_alone
from shared.publisher import Outbox
from shared.recovery import InTurn, Recovery, RecoveryRefused, Regained
from shared.relay import Relay
from shared.room import Room
from shared.start import StartRefused, check_log
from shared.verification.check import verify_rooms
from tests.conftest import FreshDatabases
from tests.shared.test_consumers import publish
from tests.shared.test_republish import cases, count, heard_once, rested
from tests.toy import alpha, beta
from tests.toy.world import (
    PARTITIONS,
    World,
    altered,
    facts_of,
    held_of,
    kept_of,
    meaning_of,
    running,
    until,
)

ROOMS = (alpha.room, beta.room)


@pytest.fixture
async def world(
    fresh_databases: FreshDatabases, infrastructure: Infrastructure
) -> AsyncIterator[World]:
    """A world on databases of its own, which it may throw away."""
    databases, name = fresh_databases, fresh_databases.postgres_url.rpartition("/")[2]
    async with AsyncExitStack() as stack:
        bootstrap = infrastructure.kafka_bootstrap
        made = World(databases.postgres_url, databases.keys_url, bootstrap, f"{name}.", stack)
        await made.migrate("alpha", "beta")
        await made.create_topics("alpha", "beta")
        yield made


class Past:
    """A copy of a database, which can be put in its place: what a restore leaves."""

    def __init__(self, url: str) -> None:
        self._server, _, self._name = url.rpartition("/")
        self._copy = f"{self._name}_past"

    def _run(self, *statements: str) -> None:
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            for text in statements:
                statement = sql.SQL(text).format(
                    name=sql.Identifier(self._name), copy=sql.Identifier(self._copy)
                )
                connection.execute(statement)

    def keep(self) -> None:
        self._run("CREATE DATABASE {copy} TEMPLATE {name}")

    def restore(self) -> None:
        self._run("DROP DATABASE {name} WITH (FORCE)", "ALTER DATABASE {copy} RENAME TO {name}")


def outbox(world: World, room: Room) -> Outbox:
    return Outbox("facts", bus.topic_name(world.prefix, room.name))


async def recover(world: World, room: Room, *, hear_again: bool = False) -> Regained:
    async with asyncpg.create_pool(world.postgres_url, min_size=1, max_size=3) as pool:
        outboxes = [outbox(world, room)]
        return await Recovery(pool, room, outboxes, world.bootstrap, hear_again=hear_again).run()


async def may_start(world: World, room: Room) -> None:
    await check_log(
        world.url(room.name, "worker", "w"), room.name, [outbox(world, room)], world.bootstrap
    )


async def test_what_the_log_lacks_comes_back_and_nothing_is_decided_twice(world: World) -> None:
    """Facts, views and guards as they were; what beta never published it states again, once."""
    past = Past(world.postgres_url)
    async with AsyncExitStack() as stack:
        world.stack = stack
        a, b = [await world.start(room()) for room in ROOMS]
        async with running(a, b):
            await count(a, old := cases(6), 2)
            await heard_once(a, b)
            await until(lambda: rested(a))
            await until(lambda: rested(b))
    past.keep()
    for room in ROOMS:
        await may_start(world, room())
    async with AsyncExitStack() as stack:
        world.stack = stack
        a, b = [await world.start(room()) for room in ROOMS]
        async with running(a, b):
            await asyncio.gather(count(a, cases(6), 3), again(a, old, 2))
            await heard_once(a, b)
            await until(lambda: rested(a))
            await until(lambda: rested(b))
        before = {p.room.name: await kept_of(p) for p in (a, b)}
        published = await facts_of(b)
        # The relay of beta is dead already when beta hears the last of these.
        assert b.listening is not None
        hearing = asyncio.create_task(b.listening.run())
        async with running(a):
            await again(a, old, 1)
            await heard_once(a, b)
            await until(lambda: rested(a))
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        ahead = await kept_of(a)
    past.restore()

    for room in ROOMS:
        with pytest.raises(StartRefused, match="bangfu recover"):
            await may_start(world, room())
    for room in ROOMS:
        regained = await recover(world, room())
        assert regained.facts > 0
        assert (await recover(world, room())).facts == 0
        await may_start(world, room())
    async with AsyncExitStack() as stack:
        world.stack = stack
        a, b = [await world.start(room()) for room in ROOMS]
        assert meaning_of(await kept_of(a)) == meaning_of(ahead)
        now = meaning_of(await kept_of(b))
        assert now["facts"] == meaning_of(before["beta"])["facts"]
        assert now["views"] == before["beta"]["views"]
        async with running(a, b):
            await heard_once(a, b)
            await count(a, cases(2), 1)
            await heard_once(a, b)
            await until(lambda: rested(a))
            await until(lambda: rested(b))
        assert await held_of(b) == []
        hashes = {(f.stream, f.version): f.hash for f in await facts_of(b)}
        assert all(hashes[f.stream, f.version] == f.hash for f in published)
    report = await verify_rooms(
        [room() for room in ROOMS], world.postgres_url, world.bootstrap, world.prefix
    )
    assert [str(each) for each in report.differences] == []


async def again(parts, old: list[str], times: int) -> None:  # type: ignore[no-untyped-def]  # as count
    from tests.toy.world import tell

    for case in old:
        for _ in range(times):
            await tell(parts, "tally", case, alpha.Count(amount=1))


async def test_a_recovery_notes_which_topic_it_compared(world: World) -> None:
    """For `republish`, where a build left a checkpoint that does not name it."""
    async with AsyncExitStack() as stack:
        world.stack = stack
        a = await world.start(alpha.room())
        async with running(a):
            await count(a, cases(1), 1)
            await until(lambda: rested(a))
    async with world.admin() as admin:
        await admin.execute("UPDATE alpha.checkpoint SET topic = '', cluster = ''")
        await recover(world, alpha.room())
        [known] = await admin.fetch("SELECT topic, cluster FROM alpha.checkpoint")
    assert known["topic"] == bus.topic_name(world.prefix, "alpha")
    assert known["cluster"] == await bus.read_cluster(world.bootstrap)


async def test_a_fork_is_refused_and_nothing_is_written(world: World) -> None:
    """Somebody wrote over the lost facts: two histories, and no program may choose."""
    async with AsyncExitStack() as stack:
        world.stack = stack
        a = await world.start(alpha.room())
        async with running(a):
            await count(a, cases(3), 2)
            await until(lambda: rested(a))
        facts = await facts_of(a)
    topic = bus.topic_name(world.prefix, "alpha")
    last = facts[-1]
    follows = altered(last, streamversion=str(last.version + 1), previoushash=last.hash)
    unlinked = altered(follows, streamversion=str(last.version + 2))
    for record, told in ((unlinked, "unlinked"), (altered(last, build="other"), "forked")):
        await publish(world, topic, [follows, record])
        with pytest.raises(StartRefused):
            await may_start(world, alpha.room())
        with pytest.raises(RecoveryRefused, match=told):
            await recover(world, alpha.room())
        async with world.admin() as admin:
            assert await admin.fetchval("SELECT count(*) FROM alpha.facts") == len(facts)


async def test_a_running_service_is_not_recovered(world: World) -> None:
    """Its doors and its hearing would write in between."""
    async with AsyncExitStack() as stack:
        world.stack = stack
        await world.start(alpha.room())
        with pytest.raises(RecoveryRefused, match="stop alpha first"):
            await recover(world, alpha.room())


async def test_a_service_that_is_only_starting_is_not_recovered(world: World) -> None:
    """It waits for Kafka's answer; then it would go on from what it has read of the log before."""
    [silent] = free_ports(1)
    starting = asyncio.create_task(
        check_log(
            world.url("alpha", "worker", "w"),
            "alpha",
            [outbox(world, alpha.room())],
            f"127.0.0.1:{silent}",
        )
    )
    try:

        async def is_there() -> bool:
            async with world.admin() as admin:
                return bool(
                    await admin.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND usename <> current_user"
                    )
                )

        await until(is_there)
        with pytest.raises(RecoveryRefused, match="stop alpha first"):
            await recover(world, alpha.room(), hear_again=True)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def test_nothing_of_a_service_begins_beside_its_recovery(world: World) -> None:
    """Neither a new process, nor a new connection of one whose connections were all cut."""
    async with AsyncExitStack() as stack:
        world.stack = stack
        a = await world.start(alpha.room())
        await a.moment.look(a.store.worker)
        async with world.admin() as recovering, world.admin() as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'bangfu-alpha-%'"
            )
            assert await is_alone(recovering, "alpha")
            with pytest.raises(BeingRecovered):
                await may_start(world, alpha.room())
            with pytest.raises(BeingRecovered):
                await world.start(alpha.room())
            with pytest.raises(RecoveryRefused, match="another recovery"):
                await recover(world, alpha.room())
            # The first one may still meet a connection that was cut.
            for _ in range(2):
                with pytest.raises(DATABASE_FAILURES):
                    await a.store.last_position()
            assert a.moment.difference == "bangfu recover"
        # Its memory is of before: it ends, whatever the lock says now.
        with pytest.raises(WentBack):
            await a.store.last_position()
        b = await world.start(alpha.room())
        await count(b, cases(1), 1)


async def test_facts_take_their_turn(world: World) -> None:
    """Whatever the clocks of two instances said, a stream's versions come in order."""
    async with AsyncExitStack() as stack:
        world.stack = stack
        a = await world.start(alpha.room())
        await count(a, [case := "one"], 3)
        facts = await facts_of(a)
    turn = InTurn({facts[0].stream: 1})
    found = [each for fact in reversed(facts) for each in turn.take(fact)]
    assert found == facts
    assert Counter(f.subject for f in found) == {case: 4}


async def test_what_a_subscriber_acts_on_leaves_after_the_fact_that_led_to_it(
    world: World,
) -> None:
    """Else it could stand in their topic alone, once the database has lost the fact."""
    facts, letters = f"{world.prefix}late.facts", f"{world.prefix}letters"
    await bus.create_topic(world.bootstrap, letters, PARTITIONS)
    async with AsyncExitStack() as stack:
        world.stack = stack
        await count(await world.start(alpha.room()), cases(1), 1)
    async with world.admin() as admin, asyncpg.create_pool(world.postgres_url) as pool:
        await admin.execute("CREATE TABLE alpha.letters (LIKE alpha.facts INCLUDING ALL)")
        columns = "stream, version, fact_id, type, subject, envelope, data, hash, traceparent"
        await admin.execute(
            f"INSERT INTO alpha.letters ({columns}) SELECT {columns} FROM alpha.facts"
        )
        outboxes = [Outbox("facts", facts), Outbox("letters", letters)]
        relay = Relay(
            pool,
            "alpha",
            outboxes,
            world.bootstrap,
            partitions=PARTITIONS,
            holder="here",
            lease_seconds=1.0,
        )
        running_ = asyncio.create_task(relay.run())
        try:

            async def facts_stand_still() -> bool:
                return relay.status().outboxes[0].alarm == "topic_not_ours"

            async def both_published() -> bool:
                return relay.status().is_at_rest() and relay.status().outboxes[1].published == 2

            await until(facts_stand_still)
            await asyncio.sleep(2.0)
            ends = await bus.end_offsets(world.bootstrap, letters)
            assert set(ends.values()) == {1}
            await bus.create_topic(world.bootstrap, facts, PARTITIONS)
            await until(both_published)
        finally:
            running_.cancel()
            await asyncio.wait({running_})
