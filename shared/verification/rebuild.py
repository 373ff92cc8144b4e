"""One service's store, stream by stream: its own chain, and all that can be rebuilt from its log.

States and views are compared as each chunk of streams is read; guard rows and reference rows are
summed up on the way and compared at the end. A room with tables of its own brings a `Further`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from shared.chain import ChainCheck
from shared.fact import Fact, Recorded, canonical
from shared.room import ReferenceRow, StreamKind
from shared.verification.kafka_side import PartitionLog, Side
from shared.verification.report import Report
from shared.verification.snapshot import Place, Snapshot


class Further(Protocol):
    """What a room keeps beside the generic tables, rebuilt from its facts and compared."""

    async def compare(
        self,
        snapshot: Snapshot,
        streams: Sequence[str],
        facts: Sequence[tuple[Fact, Recorded]],
        report: Report,
    ) -> None:
        """The rows of these streams' facts, all of which are given."""

    async def finish(
        self, snapshot: Snapshot, guards: Counter[str], place: Place, report: Report
    ) -> None:
        """What can be judged only when all facts were seen."""


class Rebuild:
    """What follows from one service's log, as far as it was read."""

    def __init__(self, side: Side, report: Report, further: Further | None) -> None:
        self.side = side
        self._report = report
        self._further = further
        self._guards: Counter[str] = Counter()
        self._reference: dict[str, tuple[str, str]] = {}

    @property
    def _service(self) -> str:
        return self.side.room.name

    async def compare(self, streams: Sequence[str], kafka: PartitionLog) -> None:
        """Everything of these streams, against their rows and against Kafka."""
        snapshot = self.side.snapshot
        stored = await snapshot.facts(streams)
        views = await snapshot.views(streams)
        check = ChainCheck()
        read: list[tuple[Fact, Recorded]] = []
        for stream in streams:
            state = self._fold(stream, stored[stream], check, read)
            self._compare_with_kafka(stream, check, state, kafka)
            if state is not None:
                kind, identity = self.side.room.kind_of(stream)
                self._compare_views(kind, identity, state, views[stream])
        check.finish()
        for finding in check.findings:
            subject = self._subject(finding.stream)
            self._report.add_finding(self._service, "store", finding, subject)
        self._report.tallies[self._service].streams += len(streams)
        if self._further is not None:
            await self._further.compare(snapshot, streams, read, self._report)

    def _fold(
        self,
        stream: str,
        stored: Sequence[tuple[Recorded, str]],
        check: ChainCheck,
        read: list[tuple[Fact, Recorded]],
    ) -> Any:
        """The state from the store's log; None if a fact can't be taken in."""
        room = self.side.room
        try:
            kind, identity = room.kind_of(stream)
        except KeyError:
            self._add("store", "unknown kind of stream", stream=stream)
            return None
        state: Any = kind.initial(identity)
        for recorded, contradiction in stored:
            if contradiction:
                self._add("store", "row is not its envelope", contradiction, stream=stream)
            check.take(recorded)
            if state is None:
                continue
            try:
                fact = recorded.read(room.reads)
                state = kind.evolve(state, fact, recorded)
                self._derive(fact, recorded)
            except Exception as error:  # noqa: BLE001 - whatever a damaged log does is a finding
                state = None
                detail = (
                    f"version {recorded.attributes.get('streamversion')}: {type(error).__name__}"
                )
                self._add("store", "unreadable", detail, stream=stream)
            else:
                read.append((fact, recorded))
        return state

    def _derive(self, fact: Fact, recorded: Recorded) -> None:
        room = self.side.room
        for key, delta in room.guard_changes(fact, recorded):
            self._guards[key] += delta
        for row in room.references(fact, recorded):
            self.expect(row)

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

    def _compare_views(
        self, kind: StreamKind, identity: str, state: Any, held: dict[tuple[str, str], Any]
    ) -> None:
        stream, subject = kind.stream(identity), kind.subject(identity)
        tally = self._report.tallies[self._service]
        for view in kind.views(state):
            tally.views += 1
            row = held.pop((view.model, view.key), None)
            if row is None:
                self._add("views", "missing", f"{view.model} {view.key}", stream=stream)
                continue
            rebuilt = {
                "subject": subject,
                "organisation": view.organisation,
                "role": view.role,
                "status": view.status,
                "due_on": view.due_on,
                "document": canonical(view.document).decode(),
            }
            wrong = [name for name, value in rebuilt.items() if row[name] != value]
            if wrong:
                detail = f"{view.model} {view.key}: {', '.join(wrong)}"
                self._add("views", "not what the facts give", detail, stream=stream)
        for model, key in held:
            self._add("views", "follows from no fact", f"{model} {key}", stream=stream)

    async def finish(self, place: Place) -> None:
        """Guard rows, reference rows and the room's own tables, when all streams were seen."""
        snapshot, report = self.side.snapshot, self._report
        held = await snapshot.guards()
        report.tallies[self._service].guards = len(held)
        for key in sorted(held.keys() | self._guards.keys()):
            if held.get(key, 0) != self._guards[key]:
                detail = f"{key}: {held.get(key, 0)}, by the facts {self._guards[key]}"
                self._add("guards", "not what the facts give", detail)
        rows = await snapshot.reference()
        for key in sorted(rows.keys() | self._reference.keys()):
            if rows.get(key) != self._reference.get(key):
                kind = "missing" if key not in rows else "follows from no fact"
                if key in rows and key in self._reference:
                    kind = "not what the facts give"
                self._add("reference", kind, key)
        for stream in await snapshot.views_of_nothing():
            self._add("views", "follows from no fact", stream=stream)
        if self._further is not None:
            await self._further.finish(snapshot, self._guards, place, report)

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
