"""What must be so before a service opens its doors, asked once at every start of every instance.

A database that was restored, or that lost its last writes to a standby that was behind, lacks facts
that Kafka has, and others have acted on them. Whoever took a command then, or heard a fact, would
state other facts under the same versions. And only a synchronous standby keeps that from happening.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from shared import bus
from shared.migrations import missing_of_keys, missing_of_log
from shared.moment import Moment
from shared.presence import attend
from shared.publisher import Outbox
from shared.relay import Relay
from shared.tail import Connection
from shared.topic_ahead import Ahead, checkpoint_of, first_ahead

PAUSE_SECONDS = 1.0
LOOK_SECONDS = 1.0
# What the relay finds only while it runs: a standby took over under it.
LOG_IS_BEHIND = frozenset(("log_shrunk", "forked"))

NO_STANDBY = (
    "BANGFU_STANDBY: 没有同步备库，已确认的事实可能丢失 no synchronous standby"
    " (synchronous_standby_names, synchronous_commit); set it to none to run without"
)

log = structlog.get_logger()


class StartRefused(Exception):
    """The service must not run; the message is one line for the operator."""


async def check_migrations(worker_url: str, keys_url: str, schema: str) -> None:
    """Raise StartRefused if this build's steps are not all applied: it would answer 500 on the way.

    What a newer build has added is no reason: of a rolling update the older build runs on.
    """
    missing: list[str] = []
    for url, ask in (
        (worker_url, partial(missing_of_log, service=schema)),
        (keys_url, missing_of_keys),
    ):
        connection = await _connected(url, schema)
        try:
            missing += await ask(connection)
        finally:
            await connection.close()
    if missing:
        raise StartRefused(
            f"{schema}: 数据库尚未升级，缺少迁移 the database lacks migrations of this build"
            f" ({', '.join(missing)}): bangfu prepare --passwords FILE"
        )


async def check_log(url: str, schema: str, outboxes: Sequence[Outbox], bootstrap: str) -> None:
    """Raise StartRefused if a topic has facts that this database lacks; wait for Kafka to answer.

    A topic that is absent, empty or shrunk is the relay's alarm: the database has everything then.
    """
    connection = await _connected(url, schema)
    try:
        await attend(connection, schema)
        for outbox in outboxes:
            ahead = await _ahead(connection, schema, outbox, bootstrap)
            if ahead is not None:
                known = await checkpoint_of(connection, schema, outbox.table)
                if known.topic not in ("", outbox.topic):
                    # Another installation's, which nobody must take back into this log.
                    raise StartRefused(
                        f"BANGFU_TOPIC_PREFIX: 并非本服务发布过的主题 {schema} has published to"
                        f" {known.topic}, and this one has facts of another log ({ahead})"
                    )
                raise StartRefused(_behind(schema, str(ahead)))
    finally:
        await connection.close()


async def _connected(url: str, schema: str) -> asyncpg.Connection:
    """Under the name of the service, by which whoever asks who runs finds it."""
    name = {"application_name": f"bangfu-{schema}-start"}
    return await asyncpg.connect(url, timeout=10, server_settings=name)


async def _ahead(
    connection: Connection, schema: str, outbox: Outbox, bootstrap: str
) -> Ahead | None:
    known = await checkpoint_of(connection, schema, outbox.table)
    waits = False
    while True:
        try:
            state = await bus.read_topic(bootstrap, outbox.topic)
            generations = {birth for birth in state.births.values() if birth}
            # Of another topic than the relay's all has to be compared.
            is_same = not generations or known.generation in ("", *generations)
            if not is_same or any(end > known.ends.get(p, 0) for p, end in state.ends.items()):
                return await first_ahead(
                    bootstrap,
                    outbox.topic,
                    connection,
                    f"{schema}.{outbox.table}",
                    service=schema,
                    starts=known.ends if is_same else {},
                )
            return None
        except bus.TopicAbsentError:
            return None
        except (bus.BusSilentError, KafkaError, OSError) as error:
            if not waits:
                log.warning("start_waits_for_kafka", error=type(error).__name__)
            waits = True
            await asyncio.sleep(PAUSE_SECONDS)


async def check_standby(*urls: str) -> None:
    """Raise StartRefused unless every commit of these roles waits for a synchronous standby.

    With names set and no such standby there, commits wait: nothing is acknowledged that one server
    alone has.
    """
    for url in urls:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            row = await connection.fetchrow(
                "SELECT current_setting('synchronous_standby_names') AS names,"
                " current_setting('synchronous_commit') AS commit"
            )
        finally:
            await connection.close()
        if row is None or not row["names"] or row["commit"] in ("off", "local"):
            raise StartRefused(NO_STANDBY)


async def watch_relay(schema: str, relay: Relay) -> None:
    """Raise StartRefused once the relay finds that the log lacks what its topic has."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for outbox in relay.status().outboxes:
            if outbox.alarm in LOG_IS_BEHIND:
                raise StartRefused(_behind(schema, outbox.failure))


async def watch_moment(schema: str, moment: Moment) -> None:
    """Raise StartRefused once the database is at an earlier moment than this process has seen."""
    difference = await moment.lost()
    raise StartRefused(
        f"{schema}: 数据库已恢复到另一时刻或由备库接替，须重新启动 the database was put back, or a"
        f" standby took over, under this process ({difference}): start it again"
    )


def _behind(schema: str, detail: str) -> str:
    return (
        f"{schema}: 卡夫卡有本库没有的事实，不得运行 Kafka has facts that the database lacks"
        f" ({detail}): bangfu recover {schema}"
    )
