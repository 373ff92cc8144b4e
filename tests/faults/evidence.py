"""What Kafka, the stores and the bank's books show when a disturbed year is over.

Written from the promises (P1 to P4 and P8), not from the code that keeps them. Each check answers
the breaches it found, in words.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import ConsumerRecord

from sandbox.installation import INSTRUCTIONS, SERVICES
from shared.bounds import BrokenRecord
from shared.bus import header, is_birth, read_records, topic_name
from shared.discarding import OPERATOR_ROLE
from tests.demo.log import Log, Told, log_of, told_by

# Whose acts the driver is not told of: the services' own, the bank's, and those of an operator.
NOT_ANSWERED: Final = ("system", "client", "installation", OPERATOR_ROLE)


@dataclass(frozen=True)
class Topics:
    """Every fact's record of an installation's topics, by topic, in the order of each partition.

    What is no fact, whoever sent it, stands apart as topic/partition/offset.
    """

    records: Mapping[str, Sequence[ConsumerRecord]]
    foreign: Sequence[str] = ()

    @property
    def repeats(self) -> dict[str, int]:
        """How many records repeat an earlier one, by topic."""
        return {
            topic: len(records) - len({_identity(record) for record in records})
            for topic, records in self.records.items()
        }

    def out_of_order(self) -> Iterator[str]:
        """First occurrences stand in stream order, without a gap (P4)."""
        for topic, records in self.records.items():
            last: dict[str, int] = defaultdict(int)
            for record in records:
                stream, version = _identity(record)
                if version > last[stream] + 1:
                    yield f"{topic} {stream}: {version} after {last[stream]}"
                last[stream] = max(version, last[stream])

    def unlike_repeats(self) -> Iterator[str]:
        """A repeat is the same record to the byte, in the same partition."""
        for topic, records in self.records.items():
            first: dict[tuple[str, int], tuple[object, ...]] = {}
            for record in records:
                content = (record.partition, record.key, tuple(record.headers), record.value)
                if first.setdefault(_identity(record), content) != content:
                    yield f"{topic} {_identity(record)} at offset {record.offset}"

    def log(self, prefix: str) -> Log:
        """The services' facts, each once."""
        facts: dict[tuple[str, int], Told] = {}
        for service in SERVICES:
            for record in self.records[topic_name(prefix, service)]:
                told = told_by(record)
                facts.setdefault((told.recorded.stream, told.recorded.version), told)
        return log_of(facts.values())


def place_of(record: ConsumerRecord) -> str:
    """Where a record stands."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def _is_fact(record: ConsumerRecord) -> bool:
    try:
        told_by(record)
    except (BrokenRecord, UnicodeDecodeError, TypeError):
        return False
    return True


def _identity(record: ConsumerRecord) -> tuple[str, int]:
    return header(record, "ce_stream") or "", int(header(record, "ce_streamversion") or 0)


async def read_topics(bootstrap: str, prefix: str) -> Topics:
    """All topics of an installation, birth records left out."""
    records: dict[str, list[ConsumerRecord]] = {}
    foreign: list[str] = []
    for service in SERVICES:
        name = topic_name(prefix, service)
        found = [r async for r in read_records(bootstrap, name) if not is_birth(r)]
        records[name] = [record for record in found if _is_fact(record)]
        foreign += [place_of(record) for record in found if not _is_fact(record)]
    name = prefix + INSTRUCTIONS
    records[name] = [r async for r in read_records(bootstrap, name) if not is_birth(r)]
    return Topics(records, foreign)


async def held_rows(postgres_url: str) -> dict[str, list[tuple[str, str]]]:
    """What is held or waits, as (place, reason), by the service that holds it."""
    connection = await asyncpg.connect(postgres_url)
    try:
        found = {
            service: await connection.fetch(
                f"SELECT topic || '/' || partition || '/' || record_offset AS place, reason"
                f" FROM {service}.held ORDER BY 1"
            )
            for service in SERVICES
        }
    finally:
        await connection.close()
    return {name: [(r["place"], r["reason"]) for r in rows] for name, rows in found.items() if rows}


@dataclass
class Acknowledged:
    """What people were told of, by the driver that was told: ids of facts and of objections.

    Who objects without a name is told the objection's id and nothing else.
    """

    facts: set[str] = field(default_factory=set)
    objections: set[str] = field(default_factory=set)
    commands: int = 0

    def take(self, _service: str, answer: Any) -> None:
        """One granted command's answer."""
        self.commands += 1
        self.facts.update(fact["id"] for fact in answer.get("facts", ()))
        if "objection_id" in answer and "facts" not in answer:
            self.objections.add(answer["objection_id"])

    def lost(self, log: Log) -> list[str]:
        """Acknowledged, and not in the log (P1)."""
        raised = {told.data["objection_id"] for told in log.named("ObjectionRaised")}
        stated = {told.recorded.fact_id for told in log.facts}
        return sorted((self.facts - stated) | (self.objections - raised))

    def never_told(self, log: Log) -> list[str]:
        """Stated for a person about a case, and told to nobody: a command that acted twice."""
        return [
            str(told)
            for case in log.cases.values()
            for told in case
            if not told.recorded.attributes.get("causationid")
            and told.recorded.actor.role not in NOT_ANSWERED
            and told.recorded.fact_id not in self.facts
            and told.data.get("objection_id") not in self.objections
        ]


def doubled_effects(log: Log) -> Iterator[str]:
    """No heard fact had its effect on a stream twice (P4)."""
    effects: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for told in log.facts:
        if cause := told.recorded.attributes.get("causationid"):
            effects[cause, told.recorded.stream].append(told)
    for (cause, stream), facts in effects.items():
        versions = sorted(told.recorded.version for told in facts)
        if versions != list(range(versions[0], versions[0] + len(versions))):
            yield f"{stream}: effects of {cause} at versions {versions}"
        same = Counter((t.name, json.dumps(dict(t.data), sort_keys=True)) for t in facts)
        yield from (f"{stream}: {name} of {cause} {n}×" for (name, _), n in same.items() if n > 1)


@dataclass(frozen=True)
class Books:
    """The bank's own ledger, read from its file."""

    credits: Sequence[tuple[str, int]]
    counters: Mapping[str, int]

    @classmethod
    def of(cls, folder: Path) -> Books:
        """The books of the bank that keeps them in this folder."""
        path = folder / "bank.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            paid = connection.execute(
                "SELECT end_to_end_id, amount_fen FROM payments WHERE state = 'confirmed'"
            ).fetchall()
            counters = dict(connection.execute("SELECT name, value FROM counters").fetchall())
        return cls([(row[0], row[1]) for row in paid], counters)

    def paid_twice(self, log: Log) -> Iterator[str]:
        """At most one credit an award and instalment, however many attempts were issued (P3)."""
        planned = {t.data["payout_id"]: t.data for t in log.named("PayoutPlanned")}
        issued = {t.data["end_to_end_id"]: t.data["payout_id"] for t in log.named("PayoutIssued")}
        credited: Counter[tuple[str, int]] = Counter()
        for end_to_end_id, _ in self.credits:
            if end_to_end_id not in issued:
                yield f"{end_to_end_id}: credited and never issued"
                continue
            plan = planned[issued[end_to_end_id]]
            credited[plan["award_id"], plan["instalment"]] += 1
        for (award, instalment), times in credited.items():
            if times > 1:
                yield f"award {award} instalment {instalment}: credited {times}×"

    def confirmed_by(self, log: Log) -> list[tuple[str, int]]:
        """What our own facts say was credited."""
        issued = {t.data["payout_id"]: t.data["end_to_end_id"] for t in log.named("PayoutIssued")}
        return sorted(
            (issued[t.data["payout_id"]], t.data["amount_fen"])
            for t in log.named("PayoutConfirmed")
        )
