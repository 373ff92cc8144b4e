"""What PostgreSQL and Kafka say by themselves, also when no service runs.

The heads of the logs against what is published, the stored offsets against the ends of the topics,
what is held: the same values under the same names as a process would tell them. Nothing is
written, and nothing is waited for longer than a few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import asyncpg
import orjson

from cli.rooms import SERVICES
from cli.watching.rule import Sample
from services.payout.bank_waits import QUERY, WITH_THE_BANK, days_since
from shared.bus import BirthAgedError, BusError, TopicState, read_cluster, read_topic
from shared.clock import Clock
from shared.held import held_and_discards
from shared.publisher import LOST_KINDS

ANSWER_SECONDS: Final = 4.0
CONNECT_SECONDS: Final = 2.5

_HELD: Final = (
    "SELECT h.reason, count(*) AS records,"
    " count(*) FILTER (WHERE h.released OR d.held_id IS NOT NULL) AS decided,"
    " extract(epoch FROM clock_timestamp() - min(h.held_since))::float8 AS seconds"
    " FROM {tables} GROUP BY h.reason"
)
_OUTBOXES: Final = (
    "SELECT c.relname AS name, coalesce(p.position, 0) AS position,"
    " coalesce(p.ends, '{{}}') AS ends, coalesce(p.generation, '') AS generation,"
    " coalesce(to_jsonb(p) ->> 'cluster', '') AS cluster,"
    " coalesce(to_jsonb(p) ->> 'topic', '') AS topic,"
    " coalesce(to_jsonb(p) ->> 'wanted', '') AS wanted FROM pg_class c"
    " LEFT JOIN {schema}.checkpoint p ON p.name = c.relname"
    " WHERE c.relnamespace = '{schema}'::regnamespace AND c.relname IN ('facts', 'instructions')"
    " AND c.relkind = 'r'"
)
_DRAWN: Final = (
    "SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END"
    " FROM {schema}.{table}_position_seq) AS drawn,"
    " (SELECT extract(epoch FROM clock_timestamp() - stored_at)::float8 FROM {schema}.{table}"
    " WHERE position > $1 ORDER BY position LIMIT 1) AS seconds"
)
_LEASE: Final = (
    "SELECT coalesce((SELECT expires_at > clock_timestamp() FROM {schema}.lease"
    " WHERE name = 'relay'), false)"
)
# Who keeps a mark from moving: a writer of an outbox that has not ended.
_WRITERS: Final = (
    "SELECT n.nspname AS service, c.relname AS outbox, a.pid, a.application_name AS name,"
    " extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds FROM pg_locks l"
    " JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.mode = 'RowExclusiveLock' AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND n.nspname = ANY ($1) AND c.relname IN ('facts', 'instructions')"
    " AND a.xact_start IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Server:
    """How a server answered: milliseconds, or why not."""

    name: str
    milliseconds: float = 0.0
    failure: str = ""

    def sample(self) -> Sample:
        labels = {"service": "bangfu status", "server": self.name}
        return Sample("bangfu_server_reachable", labels, float(not self.failure), self.failure)


@dataclass(frozen=True, slots=True)
class Outbox:
    """An outbox as its checkpoint knows it."""

    service: str
    table: str
    ends: Mapping[int, int]
    generation: str
    # The id of its Kafka, its topic, and the topic that its service is set to: each empty if no
    # relay has noted it.
    cluster: str
    topic: str
    wanted: str


@dataclass
class Stored:
    """What the database said."""

    server: Server
    samples: list[Sample] = field(default_factory=list)
    outboxes: list[Outbox] = field(default_factory=list)
    # (service, topic, partition): generation and next offset.
    offsets: dict[tuple[str, str, int], tuple[str, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


@dataclass
class Topics:
    """What Kafka said, by topic; a topic that is not as it should be has a failure."""

    server: Server
    states: dict[str, TopicState] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    # The id of this Kafka; empty if it did not answer.
    cluster: str = ""


async def ask_database(url: str, clock: Clock) -> Stored:
    """Everything of all services through one connection. Never raises."""
    began = monotonic()
    stored = Stored(Server("database"))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await asyncpg.connect(
                url,
                timeout=CONNECT_SECONDS,
                command_timeout=CONNECT_SECONDS,
                server_settings={"application_name": "bangfu-status"},
            )
            try:
                await connection.fetchval("SELECT true")
                milliseconds = (monotonic() - began) * 1000
                for service in SERVICES:
                    await _read_service(connection, service, stored)
                await _read_writers(connection, stored)
                await _read_payouts(connection, clock, stored)
            finally:
                connection.terminate()
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        # The driver's message may quote an address with its password; its type may not.
        stored.server = Server("database", failure=type(e).__name__)
    else:
        stored.server = Server("database", milliseconds)
    return stored


async def _read_service(connection: asyncpg.Connection, service: str, stored: Stored) -> None:
    if await connection.fetchval("SELECT to_regclass($1)", f"{service}.checkpoint") is None:
        stored.missing.append(service)
        return
    holds = await connection.fetchval(_LEASE.format(schema=service))
    stored.samples.append(Sample("bangfu_relay_holder", {"service": service}, float(holds)))
    for row in await connection.fetch(_OUTBOXES.format(schema=service)):
        labels = {"service": service, "outbox": row["name"]}
        [drawn] = await connection.fetch(
            _DRAWN.format(schema=service, table=row["name"]), row["position"]
        )
        behind = float(drawn["drawn"] - row["position"])
        stored.samples += (
            Sample("bangfu_relay_lag_facts", labels, max(0.0, behind)),
            Sample("bangfu_relay_behind_seconds", labels, drawn["seconds"] or 0.0),
        )
        ends = {int(p): int(end) for p, end in orjson.loads(row["ends"]).items()}
        known = (row["generation"], row["cluster"], row["topic"], row["wanted"])
        stored.outboxes.append(Outbox(service, row["name"], ends, *known))
    decided = 0
    for row in await connection.fetch(_HELD.format(tables=held_and_discards(service))):
        labels = {"service": service, "reason": row["reason"]}
        decided += row["decided"]
        stored.samples += (
            Sample("bangfu_held_records", labels, float(row["records"])),
            Sample("bangfu_held_oldest_seconds", labels, row["seconds"]),
        )
    stored.samples.append(
        Sample("bangfu_held_released_records", {"service": service}, float(decided))
    )
    offsets = f"SELECT topic, partition, generation, next_offset FROM {service}.offsets"  # noqa: S608 - a name of the code
    for row in await connection.fetch(offsets):
        place = (service, row["topic"], row["partition"])
        stored.offsets[place] = (row["generation"], row["next_offset"])


async def _read_writers(connection: asyncpg.Connection, stored: Stored) -> None:
    for row in await connection.fetch(_WRITERS, list(SERVICES)):
        labels = {"service": row["service"], "outbox": row["outbox"]}
        detail = f"pid {row['pid']} {row['name']}".strip()
        stored.samples.append(Sample("bangfu_mark_age_seconds", labels, row["seconds"], detail))


async def _read_payouts(connection: asyncpg.Connection, clock: Clock, stored: Stored) -> None:
    if "payout" in stored.missing:
        return
    query = QUERY.format(schema="payout")
    for row in await connection.fetch(query, "payout", list(WITH_THE_BANK)):
        labels = {"service": "payout", "state": row["status"]}
        days = float(days_since(row["oldest_on"], clock.today()))
        stored.samples += (
            Sample("bangfu_payouts_with_bank", labels, float(row["payouts"])),
            Sample("bangfu_payouts_with_bank_oldest_days", labels, days),
        )


async def ask_kafka(bootstrap: str, names: Sequence[str]) -> Topics:
    """Ends and birth records of these topics, side by side, and whose they are. Never raises."""
    began = monotonic()
    asking = {name: asyncio.create_task(read_topic(bootstrap, name)) for name in names}
    cluster = asyncio.create_task(read_cluster(bootstrap))
    done, late = await asyncio.wait([*asking.values(), cluster], timeout=ANSWER_SECONDS)
    topics = Topics(Server("kafka", (monotonic() - began) * 1000))
    if cluster in done and not cluster.cancelled() and cluster.exception() is None:
        topics.cluster = cluster.result()
    for task in late:
        task.cancel()
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    unreachable = "TimeoutError" if late else ""
    for name, task in asking.items():
        if task not in done:
            continue
        if task.cancelled():
            unreachable = "CancelledError"
        elif isinstance(error := task.exception(), BusError):
            topics.failures[name] = type(error).__name__
            if isinstance(error, TimeoutError):
                unreachable = type(error).__name__
        elif error is not None:
            unreachable = type(error).__name__
        else:
            topics.states[name] = task.result()
    if unreachable:
        topics.server = Server("kafka", failure=unreachable)
    return topics


def consumer_lags(stored: Stored, topics: Topics) -> list[Sample]:
    """Records not yet heard, by service and topic, from offsets and ends."""
    behind: dict[tuple[str, str], int] = {}
    for (service, topic, partition), (generation, offset) in stored.offsets.items():
        state = topics.states.get(topic)
        if state is None:
            continue
        known = offset if _generation(state) in ("", generation) else 0
        lag = max(0, state.ends.get(partition, 0) - known)
        behind[service, topic] = behind.get((service, topic), 0) + lag
    return [
        Sample("bangfu_consumer_lag_records", {"service": s, "topic": t}, float(lag))
        for (s, t), lag in behind.items()
    ]


def relay_alarms(
    stored: Stored, topics: Topics, topic_of: Mapping[tuple[str, str], str]
) -> list[Sample]:
    """The alarms that a relay would raise on its start, for each outbox (service, table)."""
    found = []
    for outbox in stored.outboxes:
        topic = topic_of.get((outbox.service, outbox.table))
        if topic is None or topics.server.failure:
            continue
        kind = _alarm(outbox, topics, topic)
        if kind in LOST_KINDS and topics.cluster and outbox.cluster not in ("", topics.cluster):
            kind = "kafka_replaced"
        elif kind in LOST_KINDS and outbox.topic not in ("", topic):
            kind = "topic_renamed"
        if kind:
            detail = topics.failures.get(topic, "")
            if kind == "topic_renamed":
                detail = _names(outbox, topic)
            labels = {"service": outbox.service, "outbox": outbox.table, "kind": kind}
            found.append(Sample("bangfu_relay_alarm", labels, 1.0, detail))
    return found


def _names(outbox: Outbox, topic: str) -> str:
    """Which name is whose, so that a slip of this shell is told from one of the service."""
    told = f"此处 here {topic}，最近发布于 last published to {outbox.topic}"
    if outbox.wanted not in ("", topic):
        told += f"，服务所设 the service is set to {outbox.wanted}"
    return told


def _alarm(outbox: Outbox, topics: Topics, topic: str) -> str:
    state = topics.states.get(topic)
    if state is None:
        return "topic_not_ours"
    try:
        generation = state.generation()
    except BirthAgedError:
        generation = outbox.generation
    except BusError:
        return "topic_not_ours"
    if outbox.generation and generation != outbox.generation:
        return "generation_changed"
    if any(state.ends.get(partition, 0) < end for partition, end in outbox.ends.items()):
        return "topic_shrunk"
    return ""


def _generation(state: TopicState) -> str:
    """The topic's generation, or nothing where only its offsets can tell."""
    try:
        return state.generation()
    except BusError:
        return ""
