"""One partition number of every service's topic, read from Kafka: chains, causes and states.

All streams of a case stand in the same partition number, whatever the service, so causes can be
judged here. Only states, digests and lamports are kept, not the facts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from shared.bus import partition_of
from shared.chain import CausalCheck, ChainCheck, Finding, Kind
from shared.fact import Fact, Recorded
from shared.log_reader import record_of, where
from shared.room import Room
from shared.verification.report import Report
from shared.verification.snapshot import Snapshot


@dataclass(frozen=True)
class Side:
    """One service: its room, its topic and the snapshot of its store."""

    room: Room
    topic: str
    snapshot: Snapshot


@dataclass
class Folded:
    """A stream's state after the snapshot's version; broken if a fact could not be taken in."""

    state: Any
    is_broken: bool = False


class Listener:
    """What one service should have heard by its stored offsets, of one partition."""

    def __init__(self, snapshot: Snapshot, generations: Mapping[str, str]) -> None:
        self._snapshot = snapshot
        self._generations = generations
        self.taken_in: dict[str, int] = {}

    def take(self, record: ConsumerRecord, stream: str, version: int) -> None:
        place = (record.topic, record.partition)
        generation, next_offset = self._snapshot.next_offsets.get(place, ("", 0))
        # Offsets of a topic that was wiped and born again say nothing about the new one.
        if generation != self._generations.get(record.topic, generation):
            return
        if record.offset >= next_offset or (*place, record.offset) in self._snapshot.held:
            return
        self.taken_in[stream] = max(self.taken_in.get(stream, 0), version)


@dataclass
class PartitionLog:
    """The facts of one partition number, as they are read."""

    sides: Mapping[str, Side]
    report: Report
    checks: dict[str, ChainCheck] = field(default_factory=lambda: defaultdict(ChainCheck))
    causal: CausalCheck = field(default_factory=CausalCheck)
    folded: dict[str, Folded] = field(default_factory=dict)
    # Facts of no case, from which reference rows follow, by service.
    uncased: dict[str, list[tuple[Fact, Recorded]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    listeners: dict[str, Listener] = field(default_factory=dict)
    # By the service that is heard: those who listen to it.
    _heard_by: dict[str, list[Listener]] = field(default_factory=lambda: defaultdict(list))
    _subjects: dict[str, str] = field(default_factory=dict)

    def listen(self, generations: Mapping[str, str]) -> None:
        """Every room that hears a topic is asked how far it got."""
        for name, side in self.sides.items():
            listener = self.listeners[name] = Listener(side.snapshot, generations)
            for heard in side.room.hears:
                self._heard_by[heard].append(listener)

    def take(self, service: str, record: ConsumerRecord, partitions: int) -> None:
        """Take one record in: its chain, its place, its effect on the state."""
        recorded = record_of(record)
        check = self.checks[service]
        for turn in check.take(recorded, where(record)):
            self._fold(service, turn)
        attributes = recorded.attributes
        stream, subject = attributes.get("stream", ""), attributes.get("subject", "")
        key = (record.key or b"").decode("utf-8", "backslashreplace")
        if key != subject or partition_of(key, partitions) != record.partition:
            self._find(service, recorded, Kind.FLIPPED, "the record's key is not the fact's")
        if not attributes.get("source", "").endswith(f"/{service}"):
            self._find(service, recorded, Kind.UNREADABLE, "another service's fact")
        version = attributes.get("streamversion", "")
        for listener in self._heard_by[service]:
            listener.take(record, stream, int(version) if version.isdecimal() else 0)

    def finish(self) -> list[str]:
        """All was read: judge gaps and causes; answers causations that must be elsewhere."""
        for service, check in self.checks.items():
            for late in check.finish():
                self._fold(service, late)
            for finding in check.findings:
                self.report.add_finding(service, "kafka", finding, self.subject(finding.stream))
        elsewhere = self.causal.finish()
        for finding in self.causal.findings:
            service = self._service_of(finding.stream)
            self.report.add_finding(service, "kafka", finding, self.subject(finding.stream))
        return [caused.causation_id for caused in elsewhere]

    def subject(self, stream: str) -> str:
        return self._subjects.get(stream, "")

    def version(self, service: str, stream: str) -> int:
        """The last version that Kafka has, 0 if none."""
        chain = self.checks[service].chains.get(stream)
        return chain.version if chain is not None else 0

    def _service_of(self, stream: str) -> str:
        return next((s for s, check in self.checks.items() if stream in check.chains), "")

    def _fold(self, service: str, recorded: Recorded) -> None:
        stream = recorded.stream
        subject = self._subjects.setdefault(stream, recorded.attributes.get("subject", ""))
        side = self.sides[service]
        tally = self.report.tallies[service]
        stored = side.snapshot.streams.get(stream)
        within = stored is not None and recorded.version <= stored.version
        try:
            self.causal.take(recorded, judged=within)
        except (KeyError, ValueError):
            return  # unreadable, and named so by its chain
        if not within:
            tally.newer += 1
            return
        tally.facts += 1
        room = side.room
        try:
            kind, identity = room.kind_of(stream)
            folded = self.folded.get(stream)
            if folded is None:
                folded = self.folded[stream] = Folded(kind.initial(identity))
            fact = recorded.read(room.reads)
            if subject == stream:
                self.uncased[service].append((fact, recorded))
            folded.state = kind.evolve(folded.state, fact, recorded)
        except Exception as error:  # noqa: BLE001 - whatever a damaged log does is a finding
            self.folded.setdefault(stream, Folded(None)).is_broken = True
            self._find(service, recorded, Kind.UNREADABLE, type(error).__name__)

    def _find(self, service: str, recorded: Recorded, kind: Kind, detail: str) -> None:
        stream = recorded.attributes.get("stream", "")
        version = recorded.attributes.get("streamversion", "")
        number = int(version) if version.isdecimal() else 0
        finding = Finding(stream, number, kind, detail)
        self.report.add_finding(service, "kafka", finding, self.subject(stream))
