"""Every stream of every service: Kafka against the store, and what is kept against the facts.

On a running system each service's store is taken as of one moment, and Kafka is compared up to
the versions of that moment. Memory holds one partition's streams at a time, never the whole log.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

from shared.bus import topic_name
from shared.log_reader import LogReader, open_log
from shared.rebuild.derive import Derivation
from shared.rebuild.parts import wanted_of
from shared.rebuild.service import tree_of
from shared.room import ReferenceRow, Room
from shared.verification.kafka_side import PartitionLog, Side
from shared.verification.rebuild import Further, Rebuild
from shared.verification.report import CaseChecked, OnCase, Report, Tally
from shared.verification.snapshot import (
    Place,
    heads_now,
    open_shadow,
    open_snapshot,
    published_up_to,
)

STREAMS_AT_ONCE: Final = 200
PATIENCE_SECONDS: Final = 10.0


class Verification:
    """One verification of one installation."""

    def __init__(
        self,
        sides: Mapping[str, Side],
        reader: LogReader,
        rebuilds: Mapping[str, Rebuild],
        on_case: OnCase | None,
        report: Report,
    ) -> None:
        self.report = report
        self._sides = sides
        self._reader = reader
        self._on_case = on_case
        self._rebuilds = rebuilds
        self._streams = {
            name: side.snapshot.by_partition(reader.partitions[side.topic])
            for name, side in sides.items()
        }
        # A number for each id is enough to tell whether a fact exists at all.
        self._ids: set[int] = set()
        self._caused_elsewhere: set[str] = set()
        self._cases = len(
            {
                stored.subject
                for side in sides.values()
                for stream, stored in side.snapshot.streams.items()
                if stored.subject != stream
            }
        )
        self._marks_found: dict[str, int] = defaultdict(int)
        # Streams whose last version in Kafka lies beyond the snapshot, by service.
        self.newer: dict[str, dict[str, int]] = defaultdict(dict)

    async def partition(self, number: int) -> None:
        """Read and compare one partition number of all topics."""
        kafka = PartitionLog(self._sides, self.report)
        kafka.listen(self._reader.generations)
        services = {side.topic: name for name, side in self._sides.items()}
        chosen = [
            (topic, number) for topic in services if number < self._reader.partitions.get(topic, 0)
        ]
        async for records in self._reader.read(chosen):
            for record in records:
                service = services[record.topic]
                kafka.take(service, record, self._reader.partitions[record.topic])
        self._caused_elsewhere.update(kafka.finish())
        self._ids.update(hash(fact_id) for fact_id in kafka.causal.fact_ids)
        for name in self._sides:
            self.report.tallies[name].repeats += kafka.checks[name].repeats
            streams = sorted(self._streams[name].get(number, []))
            for start in range(0, len(streams), STREAMS_AT_ONCE):
                await self._rebuilds[name].compare(streams[start : start + STREAMS_AT_ONCE], kafka)
            self._note_newer(name, kafka)
        await self._compare_watermarks(kafka)
        self._tell_cases(kafka)

    def _note_newer(self, name: str, kafka: PartitionLog) -> None:
        stored = self._sides[name].snapshot.streams
        for stream, chain in kafka.checks[name].chains.items():
            if chain.version > (stored[stream].version if stream in stored else 0):
                self.newer[name][stream] = chain.version

    async def _compare_watermarks(self, kafka: PartitionLog) -> None:
        """Each listener took in what its offsets say, no less, and no more than Kafka has."""
        for name, side in self._sides.items():
            streams: dict[str, int] = {}
            for heard in side.room.hears:
                streams.update((s, kafka.version(heard, s)) for s in kafka.checks[heard].chains)
            if not streams:
                continue
            marks = await side.snapshot.marks(list(streams))
            self._marks_found[name] += len(marks)
            taken_in = kafka.listeners[name].taken_in
            for stream, last in streams.items():
                mark, least = marks.get(stream, 0), taken_in.get(stream, 0)
                if not least <= mark <= last:
                    detail = f"{mark}, by its offsets {least}, in Kafka {last}"
                    self.report.add(name, "watermarks", "not what was heard", detail, stream=stream)
            for heard in side.room.hears:
                self._expect_references(name, kafka, heard, marks)

    def _expect_references(
        self, name: str, kafka: PartitionLog, heard: str, marks: Mapping[str, int]
    ) -> None:
        """What a listener copies from facts of no case, as far as it has heard them."""
        room, rebuild = self._sides[name].room, self._rebuilds[name]
        discarded = self._sides[name].snapshot.discarded
        for fact, recorded in kafka.uncased[heard]:
            reaction = room.reactions.get(type(fact))
            if reaction is None or recorded.version > marks.get(recorded.stream, 0):
                continue
            if (recorded.stream, recorded.version) in discarded:
                continue
            for todo in reaction(fact, recorded):
                if isinstance(todo, ReferenceRow):
                    rebuild.expect(todo)

    def _tell_cases(self, kafka: PartitionLog) -> None:
        facts: dict[str, list[int]] = defaultdict(list)
        for check in kafka.checks.values():
            for stream, chain in check.chains.items():
                subject = kafka.subject(stream)
                if subject and subject != stream:
                    facts[subject].append(chain.version)
        if self._on_case is None:
            self.report.cases += len(facts)
            return
        wrong: dict[str, int] = defaultdict(int)
        for difference in self.report.differences:
            wrong[difference.subject] += 1
        for case_id, versions in facts.items():
            self.report.cases += 1
            self._on_case(
                CaseChecked(
                    case_id,
                    len(versions),
                    sum(versions),
                    wrong[case_id],
                    self.report.cases,
                    max(self._cases, self.report.cases),
                )
            )

    async def finish(self, place: Place) -> None:
        """What can be judged only when all partitions were read."""
        for fact_id in sorted(self._caused_elsewhere):
            if hash(fact_id) not in self._ids:
                self.report.add("", "kafka", "caused by a fact that is nowhere", fact_id)
        for name, streams in self.newer.items():
            now = await heads_now(place.postgres_url, name, list(streams))
            for stream, version in sorted(streams.items()):
                if now.get(stream, 0) < version:
                    detail = f"Kafka has version {version}, the store {now.get(stream, 0)}"
                    self.report.add(name, "store", "missing", detail, stream=stream)
        for name, rebuild in self._rebuilds.items():
            await rebuild.finish(place)
            marks = self._sides[name].snapshot.watermarks
            if marks != self._marks_found[name]:
                detail = f"{marks} watermarks, {self._marks_found[name]} of streams in Kafka"
                self.report.add(name, "watermarks", "of streams that are not there", detail)


async def verify_rooms(
    rooms: Sequence[Room],
    postgres_url: str,
    bootstrap: str,
    prefix: str = "",
    *,
    further: Mapping[str, Further] | None = None,
    on_case: OnCase | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Report:
    """Compare everything once.

    ``postgres_url`` is an operator's, who sees all schemas; nothing is written. Raises what the
    database or the bus raise if they can't be reached or a topic is absent.
    """
    began = time.monotonic()
    place = Place(postgres_url, bootstrap, prefix, patience_seconds)
    async with AsyncExitStack() as stack:
        snapshots = {
            room.name: await stack.enter_async_context(open_snapshot(postgres_url, room.name))
            for room in rooms
        }
        positions = {name: snapshot.position for name, snapshot in snapshots.items()}
        await published_up_to(place, positions)
        sides = {
            room.name: Side(room, topic_name(prefix, room.name), snapshots[room.name])
            for room in rooms
        }
        topics = [side.topic for side in sides.values()]
        reader = await stack.enter_async_context(open_log(bootstrap, topics))
        report = Report({name: Tally() for name in sides})
        rebuilds = {}
        for name, side in sides.items():
            wanted = wanted_of(side.room)
            shadow = await stack.enter_async_context(
                open_shadow(postgres_url, side.snapshot, wanted)
            )
            tree, _ = await tree_of(side.snapshot.connection, name)
            derivation = Derivation(side.room, wanted, tree)
            rebuilds[name] = Rebuild(side, report, (further or {}).get(name), shadow, derivation)
        verification = Verification(sides, reader, rebuilds, on_case, report)
        for number in range(max(reader.partitions.values())):
            await verification.partition(number)
        await verification.finish(place)
        verification.report.seconds = time.monotonic() - began
        return verification.report
