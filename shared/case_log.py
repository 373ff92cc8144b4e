"""One case as Kafka alone tells it: its facts in causal order, verified, and who may see them.

Reads one partition of each service's topic (the case's), and the network's topic whole, for the
names of organisations and the offices that people hold. No database is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from shared.bus import partition_of, topic_name
from shared.chain import CausalCheck, ChainCheck, Finding, Kind
from shared.clock import BUSINESS_ZONE
from shared.directory import Directory, DirectoryError
from shared.fact import Fact, Recorded
from shared.log_reader import LogReader, open_log, record_of, where
from shared.network_copy import reference_row
from shared.room import Room, StreamKind

_UNREADABLE: Final = (KeyError, ValueError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact of the case, read by the room that states it."""

    room: Room
    recorded: Recorded
    fact: Fact


@dataclass
class CaseLog:
    """What Kafka has of one case. ``entries`` are in causal order; the first of repeats counts."""

    case_id: str
    entries: list[Entry] = field(default_factory=list)
    repeats: int = 0
    findings: list[Finding] = field(default_factory=list)
    directory: Directory = field(default_factory=Directory)

    def seen(self, as_of: date | None, valid_on: date | None) -> list[Entry]:
        """What was known by a day (recorded), and had happened by a day (occurred)."""
        return [
            entry
            for entry in self.entries
            if (as_of is None or recorded_on(entry.recorded) <= as_of)
            and (valid_on is None or entry.recorded.occurred_on <= valid_on)
        ]

    def holder(self, service: str) -> str | None:
        """The organisation that holds the case, by the facts of that service."""
        for folded in states([e for e in self.entries if e.room.name == service]):
            if folded.fault == "":
                return folded.kind.holder(folded.state)
        return None

    def may_be_seen_by(self, person: str, service: str, today: date) -> bool:
        """Whether an office of the person today is in the case's organisation or above it."""
        holder = self.holder(service)
        if holder is None:
            return False
        above = {holder, *self.directory.ancestors(holder, today)}
        return not above.isdisjoint(self.directory.organisations_of(person, today))


def recorded_on(recorded: Recorded) -> date:
    """The business day on which a fact became known."""
    return recorded.recorded_at.astimezone(BUSINESS_ZONE).date()


@dataclass(slots=True)
class Folded:
    """One stream's state; ``fault`` names what kept a fact from being taken in."""

    room: Room
    kind: StreamKind
    state: Any
    version: int = 0
    fault: str = ""


def states(entries: Sequence[Entry]) -> list[Folded]:
    """The state of each stream after these facts, in the order in which the streams begin."""
    found: dict[str, Folded] = {}
    for entry in entries:
        stream = entry.recorded.stream
        folded = found.get(stream)
        if folded is None:
            kind, identity = entry.room.kind_of(stream)
            folded = found[stream] = Folded(entry.room, kind, kind.initial(identity))
        try:
            folded.state = folded.kind.evolve(folded.state, entry.fact, entry.recorded)
            folded.version = entry.recorded.version
        except Exception as error:  # noqa: BLE001 - a damaged log may leave out any fact before it
            folded.fault = (
                folded.fault or f"version {entry.recorded.version}: {type(error).__name__}"
            )
    return list(found.values())


async def read_case(
    bootstrap: str, prefix: str, rooms: Sequence[Room], case_id: str, network: str
) -> CaseLog:
    """Read and verify one case; no entries if there is no such case.

    ``network`` names the room whose facts tell who is who. Raises BusError if a topic is absent
    or the broker silent.
    """
    by_topic = {topic_name(prefix, room.name): room for room in rooms}
    log = CaseLog(case_id)
    async with open_log(bootstrap, by_topic) as reader:
        await _read_facts(reader, by_topic, log)
        network_room = next(room for room in rooms if room.name == network)
        await _read_network(reader, topic_name(prefix, network), network_room, log)
    return log


async def _read_facts(reader: LogReader, by_topic: Mapping[str, Room], log: CaseLog) -> None:
    case_id = log.case_id
    key = case_id.encode("utf-8", "surrogatepass")
    chosen = [(t, partition_of(case_id, count)) for t, count in reader.partitions.items()]
    check, causal = ChainCheck(), CausalCheck()
    turns: list[tuple[Room, Recorded]] = []
    room_of: dict[str, Room] = {}
    async for records in reader.read(chosen):
        for record in records:
            if record.key != key:
                continue
            recorded = record_of(record)
            room = by_topic[record.topic]
            room_of.setdefault(recorded.attributes.get("stream", ""), room)
            turns += [(room, turn) for turn in check.take(recorded, where(record))]
    turns += [(room_of[late.stream], late) for late in check.finish()]
    log.repeats = check.repeats
    log.findings += check.findings
    for room, recorded in turns:
        try:
            if recorded.subject != case_id:
                raise KeyError("subject")
            causal.take(recorded)
            room.kind_of(recorded.stream)
            log.entries.append(Entry(room, recorded, recorded.read(room.reads)))
        except _UNREADABLE as error:
            detail = type(error).__name__
            found = Finding(recorded.stream, recorded.version, Kind.UNREADABLE, detail)
            log.findings.append(found)
    # What led to a fact may be no fact of this case: a released batch, for instance.
    causal.finish()
    log.findings += causal.findings
    log.entries.sort(key=lambda entry: entry.recorded.replay_key)


async def _read_network(reader: LogReader, topic: str, room: Room, log: CaseLog) -> None:
    check = ChainCheck()
    turns: list[Recorded] = []
    async for records in reader.read([(topic, n) for n in range(reader.partitions[topic])]):
        for record in records:
            turns += check.take(record_of(record), where(record))
    turns += check.finish()
    for recorded in turns:
        try:
            fact = recorded.read(room.reads)
            row = reference_row(fact, recorded)
            log.directory.apply(row.document["fact"], row.document["data"])
        except (*_UNREADABLE, DirectoryError) as error:
            detail = type(error).__name__
            found = Finding(recorded.stream, recorded.version, Kind.UNREADABLE, detail)
            log.findings.append(found)
    log.findings += check.findings
