"""A log made by hand: facts chained as services chain them, sent to Kafka as relays send them.

For tests of what reads Kafka alone; whoever damages a log changes `records` before sending them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from shared import bus
from shared.clock import BUSINESS_ZONE
from shared.fact import SYSTEM, Actor, Draft, Fact, Head, Origin, Recorded, merge_heard, record

PARTITIONS = 3


@dataclass(frozen=True)
class Sent:
    """One Kafka record that is to be."""

    topic: str
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]

    def with_header(self, name: str, value: str) -> Sent:
        return replace(self, headers={**self.headers, name: value.encode()})


def record_of(topic: str, recorded: Recorded) -> Sent:
    """A fact as its relay publishes it."""
    headers = {f"ce_{name}": text.encode() for name, text in recorded.attributes.items()}
    headers["content-type"] = headers.pop("ce_datacontenttype")
    headers["ce_hash"] = recorded.hash.encode()
    return Sent(topic, recorded.subject.encode(), recorded.raw, headers)


@dataclass
class KafkaLog:
    """Streams of several services under one prefix."""

    bootstrap: str
    prefix: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}.")
    heads: dict[str, Head] = field(default_factory=dict)
    facts: dict[str, Recorded] = field(default_factory=dict)
    records: list[Sent] = field(default_factory=list)

    def state(
        self,
        service: str,
        stream: str,
        fact: Fact,
        *,
        subject: str = "",
        on: date = date(2025, 3, 3),
        recorded_on: date | None = None,
        by: Actor = SYSTEM,
        after: Recorded | None = None,
    ) -> Recorded:
        """State a fact, next in its stream; ``after`` is the fact of its case that it follows."""
        head = self.heads.get(stream, Head())
        known = recorded_on or on
        heard = {} if after is None else merge_heard(after.heard, {after.stream: after.version})
        made = record(
            Draft(
                str(uuid.uuid4()), fact, on, by, after.fact_id if after else "", str(uuid.uuid4())
            ),
            origin=Origin(f"test/{service}", "test"),
            stream=stream,
            subject=subject or stream,
            head=head,
            heard_lamport=after.lamport if after else 0,
            heard=heard,
            now=datetime(known.year, known.month, known.day, 9, tzinfo=BUSINESS_ZONE),
        )
        self.heads[stream] = made.head
        self.facts[made.fact_id] = made
        self.records.append(record_of(bus.topic_name(self.prefix, service), made))
        return made

    async def send(self, services: Sequence[str], records: Sequence[Sent] | None = None) -> None:
        """Create the topics and put the records there, in order."""
        for service in services:
            topic = bus.topic_name(self.prefix, service)
            await bus.create_topic(self.bootstrap, topic, PARTITIONS)
        producer: Any = await bus.new_producer(self.bootstrap)
        try:
            for sent in self.records if records is None else records:
                await producer.send(
                    sent.topic,
                    sent.value,
                    key=sent.key,
                    partition=bus.partition_of(sent.key.decode(), PARTITIONS),
                    timestamp_ms=bus.now_ms(),
                    headers=list(sent.headers.items()),
                )
            await producer.flush()
        finally:
            await bus.discard(producer)
