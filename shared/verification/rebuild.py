"""One service's store, stream by stream: its own chain, and all that can be derived from its log.

States are compared as each chunk of streams is read. What follows from them goes the same way as in
`bangfu rebuild` (`shared/rebuild`): into shadow tables, and is compared there at the end. What a
room alone can judge, a `Further` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from shared.chain import ChainCheck
from shared.fact import Fact, Recorded, canonical
from shared.rebuild.derive import Derivation
from shared.rebuild.parts import GUARDS, SCOPES, VIEWS
from shared.rebuild.shadow import MISSING, UNFOUNDED, WRONG, Shadow
from shared.room import ReferenceRow
from shared.verification.kafka_side import PartitionLog, Side
from shared.verification.report import Report
from shared.verification.snapshot import Place, Snapshot, Stored

FLUSHED_ROWS: Final = 2_000


class Further(Protocol):
    """What a room keeps beside the generic tables, rebuilt from its facts and compared."""

    def compare(self, facts: Sequence[tuple[Fact, Recorded]], report: Report) -> None:
        """Some streams' facts, all of which are given."""

    async def finish(
        self, snapshot: Snapshot, guards: Mapping[str, int], place: Place, report: Report
    ) -> None:
        """What can be judged only when all facts were seen."""


class Rebuild:
    """What follows from one service's log, as far as it was read."""

    def __init__(
        self,
        side: Side,
        report: Report,
        further: Further | None,
        shadow: Shadow,
        derivation: Derivation,
    ) -> None:
        self.side = side
        self._report = report
        self._further = further
        self._shadow = shadow
        self._derivation = derivation
        self._reference: dict[str, tuple[str, str]] = {}

    @property
    def _service(self) -> str:
        return self.side.room.name

    async def compare(self, streams: Sequence[str], kafka: PartitionLog) -> None:
        """Everything of these streams, against their chain and against Kafka."""
        snapshot = self.side.snapshot
        stored = await snapshot.facts(streams)
        check = ChainCheck()
        read: list[tuple[Fact, Recorded]] = []
        for stream in streams:
            state = self._fold(stream, stored[stream], check, read)
            self._compare_with_kafka(stream, check, state, kafka)
        check.finish()
        for finding in check.findings:
            subject = self._subject(finding.stream)
            self._report.add_finding(self._service, "store", finding, subject)
        self._report.tallies[self._service].streams += len(streams)
        if self._derivation.waiting() >= FLUSHED_ROWS:
            await self._shadow.take(self._derivation)
        if self._further is not None:
            self._further.compare(read, self._report)

    def _fold(
        self,
        stream: str,
        stored: Sequence[Stored],
        check: ChainCheck,
        read: list[tuple[Fact, Recorded]],
    ) -> Any:
        """The state from the store's log; None if a fact can't be taken in."""
        room, derivation = self.side.room, self._derivation
        derivation.begin(stream)
        if stream in derivation.faults:
            self._add("store", derivation.faults[stream], stream=stream)
        for recorded, position, contradiction in stored:
            if contradiction:
                self._add("store", "row is not its envelope", contradiction, stream=stream)
            check.take(recorded)
            if stream in derivation.faults:
                continue
            try:
                fact = recorded.read(room.reads)
            except Exception as error:  # noqa: BLE001 - whatever a damaged log does is a finding
                derivation.fault(type(error).__name__)
            else:
                derivation.take(fact, recorded, position)
                read.append((fact, recorded))
                for row in room.references(fact, recorded):
                    self.expect(row)
            if stream in derivation.faults:
                version = recorded.attributes.get("streamversion")
                detail = f"version {version}: {derivation.faults[stream]}"
                self._add("store", "unreadable", detail, stream=stream)
        state = derivation.state
        derivation.end()
        if state is not None and stream in derivation.faults:
            self._add("store", "nothing follows", derivation.faults[stream], stream=stream)
        return state

    def expect(self, row: ReferenceRow) -> None:
        """A reference row that must be there; its key's first row counts."""
        self._reference.setdefault(row.key, (row.kind, canonical(row.document).decode()))

    def _compare_with_kafka(
        self, stream: str, check: ChainCheck, state: Any, kafka: PartitionLog
    ) -> None:
        """The same facts up to the snapshot's version, and so the same state."""
        version = self.side.snapshot.streams[stream].version
        theirs = kafka.checks[self._service].chains.get(stream)
        ours = check.chains.get(stream)
        reached = theirs.version if theirs is not None else 0
        if reached < version:
            detail = f"ends at {reached}, the store at {version}"
            self._add("kafka", "missing", detail, stream=stream, version=reached + 1)
            return
        if ours is None or theirs is None:
            return
        if ours.digests(version) != theirs.digests(version):
            for each in range(1, version + 1):
                if ours.version >= each and ours.hash_at(each) != theirs.hash_at(each):
                    detail = f"store {ours.hash_at(each)[:12]}, kafka {theirs.hash_at(each)[:12]}"
                    self._add("store", "another hash", detail, stream=stream, version=each)
        folded = kafka.folded.get(stream)
        if state is None or folded is None or folded.is_broken:
            return  # named where it broke
        if folded.state != state:
            detail = ", ".join(_differing(folded.state, state))
            self._add("kafka", "another state", detail, stream=stream, version=version)

    async def finish(self, place: Place) -> None:
        """All that was derived, when all streams were seen, and what the room alone can judge."""
        snapshot, derivation = self.side.snapshot, self._derivation
        await self._shadow.take(derivation)
        await self._shadow.compare([*derivation.faults, *derivation.faulty_subjects])
        for part in self._shadow.wanted.parts:
            for differing in await self._shadow.differing(part):
                stream = differing.of if part.of == "stream" else ""
                subject = self._subject(stream) or differing.of
                self._report.add(
                    self._service,
                    part.name,
                    differing.kind,
                    str(differing),
                    stream=stream,
                    subject=subject,
                )
        await self._count()
        await self._compare_references(snapshot)
        if self._further is not None:
            await self._further.finish(snapshot, await snapshot.guards(), place, self._report)

    async def _count(self) -> None:
        tally = self._report.tallies[self._service]
        for part in self._shadow.wanted.parts:
            counts = (await self._shadow.counts(part)).values()
            if part.name == GUARDS:
                tally.guards = sum(kept for kept, _ in counts)
            elif part.name == VIEWS:
                tally.views = sum(derived for _, derived in counts)
            elif part.name == SCOPES:
                tally.scopes = sum(derived for _, derived in counts)

    async def _compare_references(self, snapshot: Snapshot) -> None:
        rows = await snapshot.reference()
        for key in sorted(rows.keys() | self._reference.keys()):
            if rows.get(key) != self._reference.get(key):
                kind = MISSING if key not in rows else UNFOUNDED
                if key in rows and key in self._reference:
                    kind = WRONG
                self._add("reference", kind, key)

    def _subject(self, stream: str) -> str:
        stored = self.side.snapshot.streams.get(stream)
        return stored.subject if stored is not None else ""

    def _add(
        self, where: str, kind: str, detail: str = "", *, stream: str = "", version: int = 0
    ) -> None:
        subject = self._subject(stream)
        self._report.add(
            self._service, where, kind, detail, stream=stream, version=version, subject=subject
        )


def _differing(one: Any, other: Any) -> list[str]:
    """The fields in which two states differ; never their values, which may be personal."""
    names = getattr(one, "__dataclass_fields__", {})
    found = [name for name in names if getattr(one, name) != getattr(other, name, None)]
    return found or ["state"]
