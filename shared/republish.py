"""Setting a service's relay back to the beginning, after Kafka has lost its topics.

Nothing is published here: that is the relay's alone, which takes the new checkpoint up at its next
session. A topic that lost anything is made anew as a whole, under a new generation, so that there
is one way in which listeners find out and begin again, and none in which they have to guess what
stands at their offset. What has aged out of a subscriber's topic stays out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from shared import bus
from shared.lease import Lease, LeaseLostError
from shared.pools import Pool
from shared.publisher import Outbox
from shared.relay import LEASE_NAME
from shared.tail import QUERY_SECONDS
from shared.topic_ahead import first_ahead

LEASE_SECONDS: Final = 30.0
HOLDER: Final = "operator"


class Standing(StrEnum):
    """How a topic stands against the relay's checkpoint."""

    WHOLE = "whole"  # the topic that the checkpoint knows, with all that was acknowledged
    ABSENT = "absent"
    EMPTY = "empty"  # another topic, with no fact in it
    SURVIVOR = "survivor"  # with facts in it, but not the whole that the checkpoint knows
    FORMER = "former"  # the one that the relay was led away from by its name, whole as it was left


class RepublishRefused(Exception):
    """What stands in the way: one line that begins with the setting or option to be changed."""


@dataclass(frozen=True, slots=True)
class OutboxAt:
    """One outbox: how its topic stands, how far its relay is, and which topic that relay knows."""

    outbox: Outbox
    standing: Standing
    reason: str
    published: int
    last: int
    # Empty if no relay has been at its topic yet.
    topic_known: str = ""
    # The ids of the Kafka that was looked at, and of the one that the relay knows.
    cluster: str = ""
    cluster_known: str = ""
    # The topic that the service itself is set to, as its last relay noted it.
    wanted: str = ""
    # Whether a relay has published to the topic that it knows.
    has_published: bool = False
    # The checkpoint as it was before the relay was led to a topic by another name.
    former: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> str:
        """By which the topic is named."""
        prefix = "BANGFU_TOPIC_PREFIX"
        return prefix if self.outbox.table == "facts" else f"{prefix}, BANGFU_BANK_SUBSCRIBER"


@dataclass(frozen=True)
class Relayed:
    """Whose outboxes, where. The pool is an operator's, who may write the service's schema."""

    pool: Pool
    service: str
    outboxes: Sequence[Outbox]
    bootstrap: str
    partitions: int
    replication: int = 1

    async def look(self) -> list[OutboxAt]:
        """How each outbox stands. Raises bus.BusError if the broker is silent."""
        cluster = await bus.read_cluster(self.bootstrap)
        return [await self._look(outbox, cluster) for outbox in self.outboxes]

    async def _look(self, outbox: Outbox, cluster: str) -> OutboxAt:
        known, last = await self._relayed(outbox)
        former = orjson.loads(known.get("former", "{}"))
        standing, reason = await self._standing(outbox.topic, known)
        if (
            standing is not Standing.WHOLE
            and former.get("topic") == outbox.topic
            and former["cluster"] == cluster
            and (await self._standing(outbox.topic, former))[0] is Standing.WHOLE
        ):
            standing, reason = Standing.FORMER, "former"
        return OutboxAt(
            outbox,
            standing,
            reason,
            known.get("position", 0),
            last,
            known.get("topic", ""),
            cluster,
            known.get("cluster", ""),
            known.get("wanted", ""),
            known.get("ends", "{}") != "{}",
            former,
        )

    async def _relayed(self, outbox: Outbox) -> tuple[dict[str, Any], int]:
        """The outbox's checkpoint, empty if it has none yet, and its last position."""
        [row] = await self.pool.fetch(
            "SELECT coalesce(max(position), 0) AS last, (SELECT to_jsonb(c)::text"  # noqa: S608 - names of the code
            f" FROM {self.service}.checkpoint c WHERE c.name = $1) AS known"
            f" FROM {self.service}.{outbox.table}",
            outbox.table,
            timeout=QUERY_SECONDS,
        )
        return orjson.loads(row["known"] or "{}"), row["last"]

    async def _standing(self, topic: str, known: Mapping[str, Any]) -> tuple[Standing, str]:
        """Of a topic against what a checkpoint says of its generation and its ends."""
        generation = known.get("generation", "")
        ends: dict[str, int] = orjson.loads(known.get("ends", "{}"))
        try:
            state = await bus.read_topic(self.bootstrap, topic)
        except bus.TopicAbsentError:
            return Standing.ABSENT, "absent"
        if len(state.ends) != self.partitions:
            raise RepublishRefused(
                f"BANGFU_PARTITIONS: 与主题的分区数不符 {topic} has {len(state.ends)} partitions,"
                f" the setting says {self.partitions}"
            )
        has_facts = any(end > max(state.starts[p], 1) for p, end in state.ends.items())
        otherwise = Standing.SURVIVOR if has_facts else Standing.EMPTY
        try:
            found = state.generation()
        except bus.BirthAgedError:
            found = generation
        except bus.BusError as error:
            return otherwise, type(error).__name__
        if found != generation:
            return otherwise, "generation_changed"
        shrunk = sorted(int(p) for p, end in ends.items() if state.ends.get(int(p), 0) < end)
        if shrunk:
            return otherwise, f"topic_shrunk: partitions {shrunk}"
        return Standing.WHOLE, ""

    async def set_back(
        self,
        chosen: Sequence[OutboxAt],
        *,
        replace: bool,
        new_name: bool = False,
        new_kafka: bool = False,
        told: Callable[[OutboxAt], None] | None = None,
    ) -> None:
        """Have the relay publish these outboxes from their beginning, to topics made for it.

        The relay's lease is taken over for as long as that takes, so that no relay writes to a
        topic that is being made, and its old epoch is fenced afterwards. A death in between leaves
        an empty topic, which the next call goes on from. Raises RepublishRefused, bus.BusError.
        ``told`` is called with each once nothing stands in the way of any, before all is changed.

        A topic by another name than the relay's is a slip of the prefix, one on another Kafka a
        slip of the address, and following it would take a healthy relay from its topic; unless
        ``new_name`` or ``new_kafka`` says that it is meant. A relay that was led away goes back to
        its former topic, and on from where it was there; nothing is filled again then.
        """
        for each in chosen:
            if not new_kafka:
                _refuse_other_kafka(each)
            _refuse_other_name(each, new_name=new_name)
        for each in chosen:
            if each.standing is Standing.SURVIVOR:
                await self._may_go(each, replace=replace)
        if told is not None:
            for each in chosen:
                told(each)
        async with lease_of(self.pool, self.service) as lease:
            for each in chosen:
                if each.standing is Standing.FORMER:
                    await self._go_back(each, lease.epoch)
                    continue
                await self._prepare(each)
                generation = await bus.create_topic(
                    self.bootstrap,
                    each.outbox.topic,
                    self.partitions,
                    retention_ms=each.outbox.retention_ms,
                    replication=self.replication,
                )
                lease.check()
                await self._set_checkpoint(each, generation, lease.epoch)

    async def _may_go(self, each: OutboxAt, *, replace: bool) -> None:
        if not replace:
            raise RepublishRefused(
                f"--replace: 主题残存，须删除重建 {each.outbox.topic} has facts and is not the"
                f" relay's whole one ({each.reason}); with this option it is deleted and filled"
                " again, if the database has all of it"
            )
        async with self.pool.acquire() as connection:
            table = f"{self.service}.{each.outbox.table}"
            ahead = await first_ahead(
                self.bootstrap, each.outbox.topic, connection, table, service=self.service
            )
        if ahead is not None:
            raise RepublishRefused(
                f"SERVICE: 主题有数据库没有的事实，不得删除 the topic has facts that the database"
                f" lacks ({ahead}): bangfu recover {self.service}"
            )

    async def _prepare(self, each: OutboxAt) -> None:
        if each.standing is Standing.SURVIVOR:
            await bus.delete_topic(self.bootstrap, each.outbox.topic)

    async def _set_checkpoint(self, each: OutboxAt, generation: str, epoch: int) -> None:
        """From the first row that the topic's retention would still have."""
        outbox = each.outbox
        done = await self.pool.fetchval(
            f"INSERT INTO {self.service}.checkpoint AS c"  # noqa: S608 - names of the code
            " (name, position, generation, epoch, topic, cluster)"
            " SELECT $1, coalesce(max(position), 0), $2, $3, $5, $6"
            f" FROM {self.service}.{outbox.table}"
            "  WHERE $4::bigint >= 0"
            "  AND stored_at < clock_timestamp() - $4 * interval '1 millisecond'"
            " ON CONFLICT (name) DO UPDATE SET position = excluded.position, ends = '{}',"
            " generation = excluded.generation, topic = excluded.topic, epoch = excluded.epoch,"
            " cluster = excluded.cluster, former = CASE"
            # Led on from where no relay has been, it goes back to where one was.
            " WHEN c.topic IN ('', excluded.topic) OR c.ends = '{}' THEN c.former"
            " ELSE json_build_object('topic', c.topic, 'generation', c.generation, 'cluster',"
            " c.cluster, 'position', c.position, 'ends', c.ends)::text END"
            " WHERE c.epoch <= excluded.epoch RETURNING true",
            outbox.table,
            generation,
            epoch,
            outbox.retention_ms,
            outbox.topic,
            each.cluster,
            timeout=QUERY_SECONDS,
        )
        if not done:
            raise LeaseLostError(f"{outbox.table}: the checkpoint is a later relay's")

    async def _go_back(self, each: OutboxAt, epoch: int) -> None:
        """To the topic that the relay was led away from, and to where it was there."""
        former = each.former
        done = await self.pool.fetchval(
            f"UPDATE {self.service}.checkpoint SET topic = $2, generation = $3, cluster = $4,"  # noqa: S608 - names of the code
            " position = $5, ends = $6, epoch = $7, former = '{}'"
            " WHERE name = $1 AND epoch <= $7 RETURNING true",
            each.outbox.table,
            *(former[name] for name in ("topic", "generation", "cluster", "position", "ends")),
            epoch,
            timeout=QUERY_SECONDS,
        )
        if not done:
            raise LeaseLostError(f"{each.outbox.table}: the checkpoint is a later relay's")

    async def progress(self) -> list[tuple[Outbox, int, int]]:
        """Each outbox, up to which position it is published, and its last one."""
        found = []
        for outbox in self.outboxes:
            known, last = await self._relayed(outbox)
            found.append((outbox, min(known.get("position", 0), last), last))
        return found


def _refuse_other_kafka(each: OutboxAt) -> None:
    if each.cluster_known == each.cluster:
        return
    if not each.cluster_known:
        if each.topic_known and each.standing is Standing.ABSENT:
            raise RepublishRefused(
                f"BANGFU_KAFKA_BOOTSTRAP: 主题不存在，中继尚未记下其卡夫卡 {each.outbox.topic} is"
                " absent, and the relay has not noted its Kafka yet: 先启动服务 start the service"
                " first; 地址确实无误则 if the address is certainly right: --new-kafka"
            )
        return
    raise RepublishRefused(
        f"BANGFU_KAFKA_BOOTSTRAP: 并非该中继所在的卡夫卡 not the relay's Kafka ({each.cluster},"
        f" {each.cluster_known}): 改正地址 correct the address;"
        " 确已更换则 if Kafka was replaced: --new-kafka"
    )


def _refuse_other_name(each: OutboxAt, *, new_name: bool) -> None:
    topic, known = each.outbox.topic, each.topic_known
    if not known:
        # One that is there is no slip; one that is not may be, and nothing says whose it would be.
        if each.standing is Standing.ABSENT and not new_name:
            raise RepublishRefused(
                f"{each.settings}: 主题不存在，中继尚未记下其主题 {topic} is absent, and the relay"
                " has not noted its topic yet: 先启动服务 start the service first;"
                " 名称确实无误则 if the name is certainly right: --new-name"
            )
        return
    if each.wanted not in ("", topic):
        # Who is led to another name than the one that it publishes to stands still.
        raise RepublishRefused(
            f"{each.settings}: 与服务的设置不同 {topic} is not what the service is set to"
            f" ({each.wanted}): 改正此处 correct it here;"
            " 服务有误或确要改名，则先以新设置启动服务 if the service is wrong, or shall have"
            " another name, start it with the new setting first"
        )
    is_way_back = each.standing is Standing.FORMER and each.wanted and not each.has_published
    if known != topic and not new_name and not is_way_back:
        raise RepublishRefused(
            f"{each.settings}: 不是该中继的主题 {topic} is not the relay's topic ({known}):"
            " 改正此处与服务的设置 correct it, here and of the service;"
            " 确已改名则 if it has another name now: --new-name"
        )


@asynccontextmanager
async def lease_of(pool: Pool, service: str) -> AsyncIterator[Lease]:
    """The relay's lease, taken from whoever holds it once that one has certainly stopped."""
    lease = Lease(pool, service, LEASE_NAME, HOLDER, LEASE_SECONDS)
    left = await lease.take_over()
    keeping = asyncio.create_task(lease.keep())
    try:
        await asyncio.sleep(left)
        yield lease
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await lease.release()
