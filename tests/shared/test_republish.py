"""A log that Kafka has lost is published again by its relay, and heard again without effect."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import asyncpg
import pytest

from deploy.infrastructure import InfrastructureError
from deploy.native.kafka import Kafka
from shared import bus
from shared.births import BirthWatch
from shared.publisher import Outbox
from shared.relay import Relay
from shared.republish import Relayed, RepublishRefused, Standing
from shared.service import Parts
from tests.conftest import servers_folder
from tests.shared.test_consumers import Process, publish
from tests.toy import alpha, beta
from tests.toy.world import (
    PARTITIONS,
    World,
    altered,
    facts_of,
    held_of,
    new_case,
    running,
    tell,
    until,
)


@asynccontextmanager
async def relayed(world: World, service: str) -> AsyncIterator[Relayed]:
    topic = bus.topic_name(world.prefix, service)
    async with asyncpg.create_pool(world.postgres_url, min_size=1, max_size=3) as pool:
        yield Relayed(pool, service, [Outbox("facts", topic)], world.bootstrap, PARTITIONS)


async def republish(
    world: World, service: str, *, replace: bool = False, new_name: bool = False
) -> None:
    async with relayed(world, service) as each:
        lost = [at for at in await each.look() if at.standing is not Standing.WHOLE]
        assert lost
        await each.set_back(lost, replace=replace, new_name=new_name)


async def count(parts: Parts, cases: Sequence[str], times: int) -> None:
    """Open new cases and count in them, one after the other in each."""

    async def in_case(case: str) -> None:
        await tell(parts, "tally", case, alpha.Open())
        for _ in range(times):
            await tell(parts, "tally", case, alpha.Count(amount=0))

    await asyncio.gather(*(in_case(case) for case in cases))


def cases(number: int) -> list[str]:
    return [new_case() for _ in range(number)]


async def heard_once(a: Parts, b: Parts) -> None:
    """Beta has stated one fact for each of alpha's, in the order of each case."""
    stated = await facts_of(a)

    async def all_heard() -> bool:
        found = await b.store.worker.fetchval("SELECT count(*) FROM beta.facts")
        return bool(found >= len(stated))

    await until(all_heard, seconds=30)
    effects = await facts_of(b)
    assert Counter(f.attributes["causationid"] for f in effects) == Counter(
        f.fact_id for f in stated
    )
    assert await held_of(b) == []


async def stands_in_topic(world: World, a: Parts) -> int:
    """The topic is alpha's log, first occurrences in stream order; answers the repeats."""
    hashes: dict[tuple[str, int], str] = {}
    last: dict[str, int] = defaultdict(int)
    repeats = 0
    async for record in bus.read_records(world.bootstrap, bus.topic_name(world.prefix, "alpha")):
        if bus.is_birth(record):
            continue
        place = (
            bus.header(record, "ce_stream") or "",
            int(bus.header(record, "ce_streamversion") or 0),
        )
        digest = bus.header(record, "ce_hash") or ""
        if place in hashes:
            assert hashes[place] == digest
            repeats += 1
        else:
            assert place[1] == last[place[0]] + 1
            hashes[place] = digest
            last[place[0]] += 1
    assert hashes == {(f.stream, f.version): f.hash for f in await facts_of(a)}
    return repeats


async def test_a_deleted_topic_is_filled_again_and_heard_by_those_who_listen(
    world: World,
) -> None:
    """Nobody is started again: the relay goes back, the listener notices, nothing happens twice."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    topic = bus.topic_name(world.prefix, "alpha")
    async with running(a, b):
        await count(a, cases(12), 4)
        await heard_once(a, b)
        born = await bus.read_generation(world.bootstrap, topic)
        await bus.delete_topic(world.bootstrap, topic)
        # Commands are taken all the while.
        await count(a, cases(3), 1)
        await republish(world, "alpha")
        await count(a, cases(3), 1)
        await heard_once(a, b)

        async def at_rest() -> bool:
            return (
                a.relay.status().is_at_rest()
                and set(await b.store.worker.fetch("SELECT topic FROM beta.offsets")) != set()
            )

        await until(at_rest)
        anew = await bus.read_generation(world.bootstrap, topic)
        assert anew != born

        async def followed() -> bool:
            rows = await b.store.worker.fetch(
                "SELECT next_offset FROM beta.offsets WHERE generation = $1", anew
            )
            ends = await bus.end_offsets(world.bootstrap, topic)
            return bool(sum(row["next_offset"] for row in rows) == sum(ends.values()))

        await until(followed)
    assert await stands_in_topic(world, a) == 0


async def test_a_topic_that_was_replaced_by_a_longer_one_is_noticed(world: World) -> None:
    """Frozen meanwhile, a listener meets no error: its offset exists in the new topic as well.

    What stands there is another record, since the old topic had repeats. Its birth tells.
    """
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha", "beta")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    topic = bus.topic_name(world.prefix, "alpha")
    # Frozen for less than its session lasts, so that its group keeps it.
    with Process(world, "beta", "0", session_timeout_ms=60_000) as listener:
        async with running(a):

            async def listens() -> bool:
                return await listener.partitions() == PARTITIONS

            await until(listens, seconds=90)
            await count(a, cases(12), 0)
            await heard_once(a, b)
            await publish(world, topic, await facts_of(a))
            await asyncio.sleep(1.0)
            listener.freeze()
            await bus.delete_topic(world.bootstrap, topic)
            await count(a, cases(12), 4)
            await republish(world, "alpha")
            await until(lambda: rested(a))
            listener.wake()
            await heard_once(a, b)


async def test_what_survived_of_a_topic_goes_only_if_it_is_in_the_log(world: World) -> None:
    """Not without being told to; and never where Kafka knows more than the database."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha")
    a = await world.start(alpha.room())
    topic = bus.topic_name(world.prefix, "alpha")
    async with running(a):
        await count(a, cases(6), 2)
        await until(lambda: rested(a))
    # As an election of a broker that was behind leaves it: acknowledged records are gone.
    async with world.admin() as admin:
        await admin.execute('UPDATE alpha.checkpoint SET ends = \'{"0":99,"1":99,"2":99}\'')
    with pytest.raises(RepublishRefused, match="topic_shrunk"):
        await republish(world, "alpha")
    [last] = (await facts_of(a))[-1:]
    unknown = altered(last, streamversion=str(last.version + 1), previoushash=last.hash)
    await publish(world, topic, [unknown])
    with pytest.raises(RepublishRefused, match="ahead"):
        await republish(world, "alpha", replace=True)
    await bus.delete_topic(world.bootstrap, topic)
    await world.create_topics("alpha")
    await publish(world, topic, (await facts_of(a))[:5])
    with pytest.raises(RepublishRefused, match="generation_changed"):
        await republish(world, "alpha")
    async with running(a):
        await republish(world, "alpha", replace=True)
        await until(lambda: rested(a))
    assert await stands_in_topic(world, a) == 0
    async with relayed(world, "alpha") as each:
        assert [at.standing for at in await each.look()] == [Standing.WHOLE]


async def test_a_relay_is_led_to_no_topic_that_its_service_is_not_set_to(world: World) -> None:
    """A slip of the prefix makes no topic and moves no relay, whatever options are given."""
    await world.migrate("alpha")
    await world.create_topics("alpha")
    a = await world.start(alpha.room())
    other = f"{world.prefix}other.facts"
    async with relayed(world, "alpha") as own, running(a):
        slip = replace(own, outboxes=[Outbox("facts", other)])
        await count(a, cases(3), 1)
        await until(lambda: rested(a))
        epoch = a.relay.status().epoch
        for new_name in (False, True):
            found = await slip.look()
            with pytest.raises(
                RepublishRefused, match=rf"^BANGFU_TOPIC_PREFIX: .*\({world.prefix}alpha.facts\)"
            ):
                await slip.set_back(found, replace=True, new_name=new_name)
        with pytest.raises(bus.TopicAbsentError):
            await bus.read_topic(world.bootstrap, other)
        await count(a, cases(3), 1)
        await until(lambda: rested(a))
        assert a.relay.status().epoch == epoch
        assert [at.standing for at in await own.look()] == [Standing.WHOLE]


async def renamed(parts: Parts) -> None:
    """Until the relay says that its topic has another name than the one published to last."""

    async def told() -> bool:
        return parts.relay.status().outboxes[0].alarm == "topic_renamed"

    await until(told)


async def test_a_relay_that_was_led_away_by_mistake_goes_back_to_where_it_was(world: World) -> None:
    """As the command of an older release did: the former topic is whole, so it is not filled again,
    and what was stated meanwhile follows in it."""
    await world.migrate("alpha", "beta")
    await world.create_topics("alpha")
    a, b = await world.start(alpha.room()), await world.start(beta.room())
    wrong = f"{world.prefix}wrong.facts"
    async with relayed(world, "alpha") as own:
        async with running(a, b):
            await count(a, cases(3), 1)
            await heard_once(a, b)
        async with world.admin() as admin:
            await admin.execute("UPDATE alpha.checkpoint SET wanted = ''")
        slip = replace(own, outboxes=[Outbox("facts", wrong)])
        for _ in range(2):
            await slip.set_back(await slip.look(), replace=False, new_name=True)
        a = await world.start(alpha.room())
        async with running(a, b):
            await renamed(a)
            await count(a, cases(3), 1)
            [at] = await own.look()
            assert (at.standing, at.topic_known) == (Standing.FORMER, wrong)
            await own.set_back([at], replace=False)
            await until(lambda: rested(a))
            await heard_once(a, b)
        assert [at.standing for at in await own.look()] == [Standing.WHOLE]
    assert await stands_in_topic(world, a) == 0


async def test_a_log_gets_another_name_if_its_service_is_started_with_it(world: World) -> None:
    """And back again, on purpose: then, too, the former topic is gone on with."""
    await world.migrate("alpha")
    await world.create_topics("alpha")
    moved = replace(world, prefix=f"{world.prefix}moved.")
    a = await world.start(alpha.room())
    async with running(a):
        await count(a, cases(3), 1)
        await until(lambda: rested(a))
    for there in (moved, world):
        a = await there.start(alpha.room())
        async with relayed(there, "alpha") as each, running(a):
            await renamed(a)
            with pytest.raises(RepublishRefused, match=r"^BANGFU_TOPIC_PREFIX: .*--new-name"):
                await each.set_back(await each.look(), replace=True)
            await each.set_back(await each.look(), replace=False, new_name=True)
            await count(a, cases(1), 1)
            await until(partial(rested, a))
        assert await stands_in_topic(there, a) == 0


@pytest.fixture
def other_kafka() -> Iterator[str]:
    """Another broker, with nothing on it: what a wrong address leads to, or a new one in place."""
    kafka = Kafka(servers_folder() / f"other_{secrets.token_hex(4)}")
    try:
        for _ in kafka.starting():
            time.sleep(0.02)
    except InfrastructureError as error:
        kafka.stop(keep_data=False)
        pytest.skip(str(error))
    yield kafka.bootstrap
    kafka.stop(keep_data=False)


async def test_another_kafka_is_the_relays_only_if_that_is_said(
    world: World, other_kafka: str
) -> None:
    """A slip of the address touches nothing; a Kafka in the other's place is filled when told so.

    The relay itself says which of the two it is, and so the command that is right.
    """
    await world.migrate("alpha")
    await world.create_topics("alpha")
    a = await world.start(alpha.room())
    topic = bus.topic_name(world.prefix, "alpha")
    async with relayed(world, "alpha") as own, running(a):
        slip = replace(own, bootstrap=other_kafka)
        await count(a, cases(3), 1)
        await until(lambda: rested(a))
        epoch = a.relay.status().epoch
        with pytest.raises(RepublishRefused, match=r"BANGFU_KAFKA_BOOTSTRAP.*--new-kafka"):
            await slip.set_back(await slip.look(), replace=True, new_name=True)
        with pytest.raises(bus.TopicAbsentError):
            await bus.read_topic(other_kafka, topic)
        await count(a, cases(3), 1)
        await until(lambda: rested(a))
        assert a.relay.status().epoch == epoch
    moved = replace(world, bootstrap=other_kafka)
    a = await moved.start(alpha.room())
    async with relayed(moved, "alpha") as own, running(a):

        async def told() -> bool:
            return a.relay.status().outboxes[0].alarm == "kafka_replaced"

        await until(told)
        await own.set_back(await own.look(), replace=True, new_kafka=True)
        await until(lambda: rested(a))
        assert [at.standing for at in await own.look()] == [Standing.WHOLE]
    assert await stands_in_topic(moved, a) == 0


async def test_a_relay_notes_its_topic_before_anything_can_be_wrong_with_it(world: World) -> None:
    """A checkpoint of an older build, or of a recovery, names none; then the topic is lost."""
    topic = bus.topic_name(world.prefix, "alpha")
    await world.migrate("alpha")
    await world.create_topics("alpha")
    a = await world.start(alpha.room())
    async with running(a):
        await count(a, cases(3), 1)
        await until(lambda: rested(a))
    async with world.admin() as admin:
        await admin.execute("UPDATE alpha.checkpoint SET topic = '', cluster = ''")
    await bus.delete_topic(world.bootstrap, topic)
    with pytest.raises(RepublishRefused, match=r"start the service first.*--new-name"):
        await republish(world, "alpha")
    async with world.admin() as admin:
        await admin.execute("UPDATE alpha.checkpoint SET topic = $1", topic)
    with pytest.raises(RepublishRefused, match=r"start the service first.*--new-kafka"):
        await republish(world, "alpha")
    async with running(a):

        async def told() -> bool:
            return a.relay.status().outboxes[0].alarm == "topic_not_ours"

        await until(told)
        await republish(world, "alpha")
        await until(lambda: rested(a))


async def test_a_topic_that_is_there_needs_no_name_to_be_known(world: World) -> None:
    """Made anew by hand while its service was down, after an upgrade."""
    await world.migrate("alpha")
    await world.create_topics("alpha")
    a = await world.start(alpha.room())
    async with running(a):
        await count(a, cases(3), 1)
        await until(lambda: rested(a))
    async with world.admin() as admin:
        await admin.execute("UPDATE alpha.checkpoint SET topic = '', cluster = ''")
    await bus.delete_topic(world.bootstrap, bus.topic_name(world.prefix, "alpha"))
    await world.create_topics("alpha")
    await republish(world, "alpha")
    async with running(a):
        await until(lambda: rested(a))


async def rested(parts: Parts) -> bool:
    stated = await parts.store.last_position()
    [outbox] = parts.relay.status().outboxes
    return parts.relay.status().is_at_rest() and outbox.published >= stated


async def test_a_subscribers_topic_gets_what_retention_would_have_left(world: World) -> None:
    """A bank that has forgotten an old payment must not be told of it again."""
    await world.migrate("alpha")
    topic = f"{world.prefix}alpha.subscriber"
    a = await world.start(alpha.room())
    await count(a, cases(2), 1)
    async with world.admin() as admin:
        await admin.execute("SET session_replication_role = replica")
        await admin.execute(
            "UPDATE alpha.facts SET stored_at = stored_at - interval '2 days' WHERE position <= 3"
        )
    async with asyncpg.create_pool(world.postgres_url, min_size=1, max_size=3) as pool:
        outbox = Outbox("facts", topic, retention_ms=24 * 3600 * 1000)
        each = Relayed(pool, "alpha", [outbox], world.bootstrap, PARTITIONS)
        # No relay has been there, so none says which topic is its own.
        with pytest.raises(RepublishRefused, match="--new-name"):
            await each.set_back(await each.look(), replace=False)
        await each.set_back(await each.look(), replace=False, new_name=True)
        assert await each.progress() == [(outbox, 3, 4)]


async def test_births_that_have_aged_out_stop_neither_relay_nor_watcher(world: World) -> None:
    """Finite retention takes the birth records and the oldest facts; offsets then tell enough."""
    await world.migrate("alpha")
    topic = f"{world.prefix}alpha.subscriber"
    created = (world.bootstrap, topic, PARTITIONS)
    await bus.create_topic(*created, retention_ms=1_000)
    a = await world.start(alpha.room())
    async with asyncpg.create_pool(world.postgres_url, min_size=1, max_size=3) as pool:
        outbox = Outbox("facts", topic, retention_ms=1_000)
        each = Relayed(pool, "alpha", [outbox], world.bootstrap, PARTITIONS)

        async def published() -> bool:
            return all(there == last > 0 for _, there, last in await each.progress())

        async def aged() -> bool:
            state = await bus.read_topic(world.bootstrap, topic)
            return min(state.starts.values()) > 0

        for _ in range(2):
            relay = Relay(
                pool,
                "alpha",
                [outbox],
                world.bootstrap,
                partitions=PARTITIONS,
                holder="here",
                lease_seconds=1.0,
            )
            running_ = asyncio.create_task(relay.run())
            try:
                await count(a, cases(6), 1)
                await until(published)
                assert relay.status().outboxes[0].alarm == ""
            finally:
                running_.cancel()
                await asyncio.wait({running_})
            await until(aged, seconds=30)
        assert await bus.create_topic(*created, retention_ms=1_000) == ""
        assert [at.standing for at in await each.look()] == [Standing.WHOLE]
        watch = BirthWatch(world.bootstrap, [topic])
        assert await watch.look() == {}
        await watch.close()
