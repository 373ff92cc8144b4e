"""The operator's side of held records: look, let go, put aside. One connection, any service.

An operator only leaves a word (``released``, or a row of ``discards``); the consumer that runs
carries it out in its one write. Nothing here opens a sealed value or changes a byte.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from shared.arrival import (
    BLOCKS_ITS_KEY,
    EFFECT_FAILED,
    QUARANTINED,
    WAITING_BEHIND,
    WAITING_FOR_BUILD,
    WAITS_FOR_OTHERS,
    Arrival,
)
from shared.discarded import DISCARDED_KIND, LONGEST_OPERATOR, LONGEST_REASON
from shared.held import DECIDED_ON, LOCK_QUEUES, held_and_discards
from shared.scrubbing import scrub_text

# A person may put aside whatever keeps others behind it; what merely waits has a way to leave,
# unless what it waits for is in no log.
DISCARDABLE: Final = QUARANTINED | WAITS_FOR_OTHERS | {WAITING_FOR_BUILD}
BEHIND_SHOWN: Final = 20


class NotPossibleError(Exception):
    """What was asked of a held record can't be; in one line, Chinese and English."""


@dataclass(frozen=True, slots=True)
class Held:
    """One held record, as far as a list tells it. Its own words are claims if it is unreadable."""

    service: str
    held_id: int
    key: str
    topic: str
    partition: int
    offset: int
    type: str
    stream: str
    version: int
    reason: str
    waits_for: str
    since: datetime
    seconds: float
    behind: int
    # "", "released" or "to be discarded": what an operator has decided and is yet to be done.
    decided: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one and the same thing in one service."""

    service: str
    reason: str
    waits_for: str
    records: int
    cases: int
    since: datetime
    seconds: float
    # The held_id of one of them, by which it can be looked at.
    first_id: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A record whole, and what waits behind it (the first few)."""

    held: Held
    arrival: Arrival
    behind: Sequence[Held] = field(default_factory=tuple)


def _select(s: str) -> str:
    """The held records of a schema, with what has been decided on each."""
    return f"""
SELECT h.*, {DECIDED_ON},
       extract(epoch FROM clock_timestamp() - h.held_since)::float8 AS seconds,
       (SELECT count(*) FROM {s}.held b WHERE b.key = h.key AND b.held_id > h.held_id) AS behind,
       CASE WHEN d.held_id IS NOT NULL THEN 'to be discarded'
            WHEN h.released THEN 'released' ELSE '' END AS decided
FROM {held_and_discards(s)}
"""  # noqa: S608 - a name of the code


# Behind which record: the first of its key that keeps others back.
_WAITING: Final = """
WITH first_of_key AS (
    SELECT DISTINCT ON (key) key, held_id FROM {s}.held
    WHERE reason = ANY ($1) ORDER BY key, held_id
), told AS (
    SELECT h.held_id, h.key, h.reason, h.held_since,
           CASE WHEN h.reason = $2 THEN coalesce('held ' || f.held_id, '')
                ELSE h.waits_for END AS waits_for
    FROM {s}.held h LEFT JOIN first_of_key f ON f.key = h.key WHERE NOT h.reason = ANY ($3)
)
SELECT reason, waits_for, count(*) AS records, count(DISTINCT key) AS cases,
       min(held_since) AS since,
       extract(epoch FROM clock_timestamp() - min(held_since))::float8 AS seconds,
       min(held_id) AS first_id
FROM told GROUP BY reason, waits_for ORDER BY since LIMIT $4
"""


async def quarantined(connection: asyncpg.Connection, service: str, most: int) -> list[Held]:
    """What a person has to decide on in one service, the oldest first."""
    rows = await connection.fetch(
        _select(service) + "WHERE h.reason = ANY ($1) ORDER BY h.held_since, h.held_id LIMIT $2",
        list(QUARANTINED),
        most,
    )
    return [_held(service, row) for row in rows]


async def waiting(connection: asyncpg.Connection, service: str, most: int) -> list[Waiting]:
    """What waits by itself in one service, by what it waits for, the oldest first."""
    rows = await connection.fetch(
        _WAITING.format(s=service),
        list(BLOCKS_ITS_KEY),
        WAITING_BEHIND,
        list(QUARANTINED),
        most,
    )
    return [Waiting(service, *row) for row in rows]


async def count(connection: asyncpg.Connection, service: str) -> dict[str, int]:
    """How many records are held in one service, by reason."""
    rows = await connection.fetch(
        f"SELECT reason, count(*) AS records FROM {service}.held GROUP BY reason"  # noqa: S608 - a name of the code
    )
    return {row["reason"]: row["records"] for row in rows}


async def failed(connection: asyncpg.Connection, service: str) -> list[int]:
    """All whose effect failed and nobody has decided on, in their order."""
    s = service
    rows = await connection.fetch(
        f"SELECT h.held_id FROM {held_and_discards(s)} "  # noqa: S608 - as above
        "WHERE h.reason = $1 AND d.held_id IS NULL ORDER BY h.held_id",
        EFFECT_FAILED,
    )
    return [row["held_id"] for row in rows]


async def show(connection: asyncpg.Connection, service: str, held_id: int) -> Shown:
    """One held record whole. Raises NotPossibleError if there is none."""
    row = await _row(connection, service, held_id)
    rows = await connection.fetch(
        _select(service) + "WHERE h.key = $1 AND h.held_id > $2 ORDER BY h.held_id LIMIT $3",
        row["key"],
        held_id,
        BEHIND_SHOWN,
    )
    return Shown(_held(service, row), Arrival.of_held(row), [_held(service, r) for r in rows])


async def release(connection: asyncpg.Connection, service: str, held_ids: Sequence[int]) -> None:
    """Mark them: the consumer tries each once more, then what waits behind.

    All or, where one of them can't be, none. Raises NotPossibleError.
    """
    async with connection.transaction():
        for row in await _to_decide_on(connection, service, held_ids):
            if row["reason"] not in QUARANTINED:
                raise NotPossibleError(
                    f"ID: {service} {row['held_id']} 并未隔离，会自行放行 is not quarantined "
                    f"({row['reason']}): it leaves by itself"
                )
        await connection.execute(
            f"UPDATE {service}.held SET released = true WHERE held_id = ANY ($1)",  # noqa: S608 - as above
            list(held_ids),
        )


async def ask_discard(
    connection: asyncpg.Connection,
    service: str,
    held_id: int,
    *,
    reason: str,
    operator: str,
    skip_version: bool = False,
) -> str:
    """Ask the consumer to put it aside; the id of the fact by which that will be stated.

    Raises NotPossibleError.
    """
    check_words(reason, operator)
    fact_id = str(uuid.uuid4())
    async with connection.transaction():
        [row] = await _to_decide_on(connection, service, [held_id])
        if row["reason"] not in DISCARDABLE:
            raise NotPossibleError(
                f"ID: {service} {held_id} 并未隔离 is not quarantined ({row['reason']}): "
                "it waits for the one before it"
            )
        stream, version = await _passes(connection, service, row, skip_version=skip_version)
        await connection.execute(
            f"INSERT INTO {service}.discards (held_id, topic, partition, record_offset, "  # noqa: S608 - as above
            "generation, stream, version, reason, operator, skip_version, fact_id) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            held_id,
            row["topic"],
            row["partition"],
            row["record_offset"],
            row["generation"],
            stream,
            version,
            reason,
            operator,
            skip_version,
            fact_id,
        )
    return fact_id


def check_words(reason: str, operator: str) -> None:
    """Both stand in the log for good, so they must be fit for it. Raises NotPossibleError."""
    for name, text, longest in (
        ("reason", reason, LONGEST_REASON),
        ("operator", operator, LONGEST_OPERATOR),
    ):
        if not text.strip():
            raise NotPossibleError(f"--{name}: 不得为空 must not be empty")
        if not text.isprintable() or len(text) > longest:
            raise NotPossibleError(
                f"--{name}: 须为一行，至多 {longest} 字 must be one line, at most {longest} letters"
            )
        # Also in the full-width digits of an input method.
        plain = unicodedata.normalize("NFKC", text)
        if scrub_text(plain) != plain:
            raise NotPossibleError(
                f"--{name}: 不得含个人信息，日志不可删改 must hold nothing personal, it is for good"
            )


async def _passes(
    connection: asyncpg.Connection, service: str, row: asyncpg.Record, *, skip_version: bool
) -> tuple[str, int]:
    """The stream and version that its discarding passes, or nothing. Raises NotPossibleError."""
    arrival = Arrival.of_held(row)
    if row["reason"] in WAITS_FOR_OTHERS and not skip_version:
        await _refuse_unless_strange(connection, service, arrival)
        return "", 0
    if arrival.recorded is not None:
        if skip_version:
            raise NotPossibleError(
                "--skip-version: 此记录可读，弃置即越过 only for an unreadable record; the version "
                "of this one is passed anyway"
            )
        return arrival.recorded.stream, arrival.recorded.version
    if not skip_version:
        return "", 0
    claimed = arrival.claimed_place()
    if claimed is None:
        raise NotPossibleError(
            "--skip-version: 此记录未说明事实流与版本 the record names no stream and version"
        )
    stream, version = claimed
    mark = await connection.fetchval(
        f"SELECT version FROM {service}.watermarks WHERE stream = $1",  # noqa: S608 - as above
        stream,
    )
    if version != (mark or 0) + 1:
        raise NotPossibleError(
            f"--skip-version: 所称版本 {version} 并非下一版本 it claims version {version}, "
            f"{service} has heard up to {mark or 0}: nothing to skip"
        )
    return claimed


async def _refuse_unless_strange(
    connection: asyncpg.Connection, service: str, arrival: Arrival
) -> None:
    """Raise NotPossibleError if what it waits for is in a log, or it is itself.

    What was stated will be heard, and a fact of ours whose cause is gone is for a programmer.
    """
    stream, _, version = arrival.waits_for.rpartition(" ")
    if await _is_in_a_log(connection, stream, int(version)):
        raise NotPossibleError(
            f"ID: {service} {arrival.held_id} 所等者在日志中，将会到来 what it waits for is in "
            f"the log ({arrival.waits_for}) and will come: look at its service and relay; "
            f"已在卡夫卡而被越过 if {service} has passed it by in Kafka (bangfu verify): "
            f"bangfu recover {service} --hear-again"
        )
    recorded = arrival.recorded
    if recorded is not None and await _is_in_a_log(
        connection, recorded.stream, recorded.version, recorded.hash
    ):
        raise NotPossibleError(
            f"ID: {service} {arrival.held_id} 是日志中的事实，其原因却无处可寻 is a fact of a log, "
            f"and its cause ({arrival.waits_for}) is in none: bangfu verify"
        )


async def _is_in_a_log(
    connection: asyncpg.Connection, stream: str, version: int, hash_: str = ""
) -> bool:
    """Whether any service has stated this; streams are named after their kind, so one at most."""
    logs = await connection.fetch(
        "SELECT quote_ident(table_schema) AS name FROM information_schema.tables "
        "WHERE table_name = 'facts' AND table_type = 'BASE TABLE'"
    )
    for log in logs:
        if await connection.fetchval(
            f"SELECT EXISTS (SELECT FROM {log['name']}.facts "  # noqa: S608 - quoted by the database
            "WHERE stream = $1 AND version = $2 AND $3 IN ('', hash))",
            stream,
            version,
            hash_,
        ):
            return True
    return False


async def outcome(
    connection: asyncpg.Connection, service: str, held_id: int
) -> asyncpg.Record | None:
    """The row as it is now (reason, waits_for, released); None if it has left."""
    return await connection.fetchrow(
        f"SELECT reason, waits_for, released FROM {service}.held WHERE held_id = $1",  # noqa: S608 - as above
        held_id,
    )


async def stated(
    connection: asyncpg.Connection, service: str, key: str, fact_id: str
) -> tuple[str, int] | None:
    """The stream and version of the fact that states a discarding, if it is there."""
    row = await connection.fetchrow(
        f"SELECT stream, version FROM {service}.facts "  # noqa: S608 - as above
        "WHERE subject = ANY ($1) AND fact_id = $2",
        [key, f"{DISCARDED_KIND}-{service}"],
        fact_id,
    )
    return None if row is None else (row["stream"], row["version"])


async def is_running(connection: asyncpg.Connection, service: str) -> bool:
    """Whether a process of the service holds a lease; one that runs always renews it."""
    found = await connection.fetchval(
        f"SELECT bool_or(expires_at > clock_timestamp()) FROM {service}.lease"  # noqa: S608 - as above
    )
    return bool(found)


async def _to_decide_on(
    connection: asyncpg.Connection, service: str, held_ids: Sequence[int]
) -> list[asyncpg.Record]:
    """The rows, under the locks of their queues, if nobody has decided to put any aside yet."""
    # All locks at once, for the consumer takes them in the order of their hashes.
    rows = [await _row(connection, service, held_id) for held_id in held_ids]
    await connection.execute(LOCK_QUEUES, service, [row["key"] for row in rows])
    rows = [await _row(connection, service, held_id) for held_id in held_ids]
    for row in rows:
        if row["decided"] == "to be discarded":
            raise NotPossibleError(
                f"ID: {service} {row['held_id']} 已决定弃置 is to be discarded already: "
                f"{row['discard_reason']}"
            )
    return rows


async def _row(connection: asyncpg.Connection, service: str, held_id: int) -> asyncpg.Record:
    row = await connection.fetchrow(_select(service) + "WHERE h.held_id = $1", held_id)
    if row is not None:
        return row
    gone = await connection.fetchrow(
        f"SELECT reason, operator, carried_out_at FROM {service}.discards WHERE held_id = $1",  # noqa: S608 - as above
        held_id,
    )
    if gone is not None:
        raise NotPossibleError(
            f"ID: {service} {held_id} 已弃置 was discarded already by {gone['operator']}: "
            f"{gone['reason']}"
        )
    raise NotPossibleError(f"ID: {service} 没有暂存记录 holds no record {held_id}")


def _held(service: str, row: asyncpg.Record) -> Held:
    claimed = Arrival.of_held(row)
    place = claimed.claimed_place() or ("", 0)
    return Held(
        service,
        row["held_id"],
        row["key"],
        row["topic"],
        row["partition"],
        row["record_offset"],
        claimed.claimed().attributes.get("type", ""),
        *place,
        row["reason"],
        row["waits_for"],
        row["held_since"],
        row["seconds"],
        row["behind"],
        row["decided"],
    )
