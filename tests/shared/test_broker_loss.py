"""The relay when its broker freezes, dies and comes back: on a broker of this test's own."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from deploy.infrastructure import InfrastructureError
from deploy.native.kafka import Kafka, find_java, jar_folder
from shared import bus, publisher
from tests.conftest import FreshDatabases
from tests.shared.outbox_rows import SERVICE, make_log, write_many
from tests.shared.test_relay import (
    PARTITIONS,
    World,
    check_order,
    outbox,
    published,
    running,
    until,
)

STREAMS = [f"s{n}" for n in range(50)]


async def start(kafka: Kafka) -> None:
    for _ in kafka.starting():
        await asyncio.sleep(0.05)


@pytest.fixture
async def kafka(tmp_path: Path) -> AsyncIterator[Kafka]:
    try:
        find_java()
        jar_folder()
    except InfrastructureError as error:
        pytest.skip(str(error))
    broker = Kafka(tmp_path)
    try:
        await start(broker)
        yield broker
    finally:
        broker.stop(keep_data=False)


@pytest.fixture
async def world(fresh_databases: FreshDatabases, kafka: Kafka) -> AsyncIterator[World]:
    url = await make_log(fresh_databases.postgres_url)
    topic = bus.topic_name("", SERVICE)
    await bus.create_topic(kafka.bootstrap, topic, PARTITIONS)
    async with asyncpg.create_pool(url, min_size=1, max_size=8) as pool:
        yield World(url, fresh_databases.postgres_url, kafka.bootstrap, topic, pool)


async def test_a_broker_lost_for_longer_than_a_send_may_take(
    world: World, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen in a send, then killed between sends: no version is lost or overtakes another."""
    monkeypatch.setattr(publisher, "SEND_SECONDS", 1.0)
    assert kafka.process is not None
    async with running(world.relay()) as relay:
        writing = asyncio.create_task(write_many(world.pool, STREAMS, range(1, 301), padding=1_000))
        await until(lambda: outbox(relay).published > 0)
        kafka.process.send_signal(signal.SIGSTOP)
        await until(lambda: outbox(relay).failures > 0)
        await asyncio.sleep(1.0)
        kafka.process.send_signal(signal.SIGCONT)
        await writing
        await published(relay, 15_000)

        writing = asyncio.create_task(
            write_many(world.pool, STREAMS, range(301, 601), padding=1_000)
        )
        await until(lambda: outbox(relay).published > 15_000)
        kafka.process.kill()
        await until(lambda: outbox(relay).failure != "")
        await writing
        kafka.stop(keep_data=True)
        await start(kafka)
        await published(relay, 30_000)
        await until(lambda: relay.status().is_at_rest())
    check_order(await world.records(), dict.fromkeys(STREAMS, 600))
