"""Facts in, derived rows out: one stream after the other, each fact decoded once.

Nothing is checked here that was checked when it was written, and nothing is kept of a stream that
is done but its rows, which whoever folds takes away from time to time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any, Final

import asyncpg
import orjson

from shared.clock import BUSINESS_ZONE
from shared.fact import Fact, Recorded, UnknownFact, canonical
from shared.rebuild.parts import GUARDS, SCOPES, VIEWS, Wanted
from shared.rebuild.scopes import Held, TreeHistory, scopes_of
from shared.room import DerivedTable, Room, StreamKind

# What `fold` takes, in this order.
COLUMNS: Final = "stream, subject, type, envelope, data, hash, traceparent, position"
_SCHEMA_VERSION: Final = '"schemaversion":"'

Row = tuple[Any, ...]
Stored = Sequence[Any] | asyncpg.Record
# What the envelope of a schema version says, and who reads the data of such a fact.
Reader = tuple[str, Callable[[str], Fact]]


class StoredFact(Recorded):
    """A row of the facts' table as a fact; its envelope is decoded when somebody asks."""

    def __init__(self, row: Stored) -> None:
        self.row = row

    @cached_property
    def attributes(self) -> Mapping[str, str]:  # type: ignore[override]  # as good as a field
        found: dict[str, str] = orjson.loads(self.row[3])
        return found

    @property
    def data(self) -> str:  # type: ignore[override]  # as above
        return str(self.row[4])

    @property
    def hash(self) -> str:  # type: ignore[override]  # as above
        return str(self.row[5])

    @property
    def traceparent(self) -> str:  # type: ignore[override]  # as above
        return str(self.row[6])


def _unread(_data: str) -> Fact:
    raise AssertionError("no envelope says this")


# No envelope holds a raw NUL, so nothing is ever read by it.
_NO_READER: Final[Reader] = ("\x00", _unread)


def schema_version_of(envelope: str) -> int:
    """The one attribute that reading needs, out of canonical JSON; no value looks like its name."""
    begin = envelope.index(_SCHEMA_VERSION) + len(_SCHEMA_VERSION)
    return int(envelope[begin : envelope.index('"', begin)])


class Derivation:
    """What follows from the facts of one room, as far as they were given."""

    def __init__(self, room: Room, wanted: Wanted, tree: TreeHistory) -> None:
        self._room = room
        self._wanted = wanted
        self._tree = tree
        self._models = wanted.models
        self._has_views = wanted.has(VIEWS)
        self._has_scopes = wanted.has(SCOPES)
        self._has_guards = wanted.has(GUARDS)
        self._own: list[DerivedTable] = [t for t in room.derived if wanted.has(t.name)]
        self._readers: dict[str, Reader] = {}
        self._follows = self._has_guards or bool(self._own)
        # What was derived and not taken away yet: rows by part, sums by part and key.
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.sums: dict[str, Counter[Any]] = defaultdict(Counter)
        # Streams with a fact that can't be taken in, each with where and why; they give no rows.
        self.faults: dict[str, str] = {}
        self.faulty_subjects: set[str] = set()
        # Every read model that some stream has shown.
        self.models_seen: set[str] = set()
        self.facts = 0
        self._stream = ""
        self._subject = ""
        self._kind: StreamKind | None = None
        self._identity = ""
        self._state: Any = None
        self._holder: str | None = None
        self._held: list[Held] = []
        self._following: list[tuple[Fact, Recorded]] = []

    def fold(self, rows: Sequence[Stored]) -> None:
        """Take in rows of the facts' table (`COLUMNS`), in order of stream and version.

        A stream may go on in the next call; `end` ends the last one.
        """
        readers = self._readers
        for row in rows:
            stream = row[0]
            if stream != self._stream:
                self.end()
                self.begin(stream)
            if self._kind is None:
                continue
            try:
                said, read = readers.get(row[2], _NO_READER)
                if said not in row[3]:
                    said, read = self._reader_for(row)
                fact = read(row[4])
            except Exception:  # noqa: BLE001 - a damaged row spoils its stream, not the rest
                self.fault(_why_unreadable(self._room, row))
                continue
            self.take(fact, StoredFact(row), row[7])
        self.facts += len(rows)

    def _reader_for(self, row: Stored) -> Reader:
        """For the facts of this row's type and version; the last version of a type is kept."""
        version = schema_version_of(row[3])
        said = f'{_SCHEMA_VERSION}{version}"'
        found = self._readers[row[2]] = (said, self._room.reads.reader(row[2], version))
        return found

    def begin(self, stream: str) -> None:
        """A stream follows; the one before it was ended."""
        self._stream = self._subject = stream
        try:
            self._kind, self._identity = self._room.kind_of(stream)
        except KeyError:
            self.fault("unknown kind of stream")
            return
        self._subject = self._kind.subject(self._identity)
        self._state = self._kind.initial(self._identity)
        self._holder = None
        self._held = []
        self._following = []

    def take(self, fact: Fact, recorded: Recorded, position: int) -> None:
        """The next fact of the stream."""
        kind = self._kind
        if kind is None:
            return
        try:
            self._state = kind.evolve(self._state, fact, recorded)
            if self._follows:
                self._following.append((fact, recorded))
            if self._has_scopes:
                holder = kind.holder(self._state)
                if holder is not None and holder != self._holder:
                    self._held.append(Held(position, _day(recorded), holder))
                self._holder = holder
        except Exception as error:  # noqa: BLE001 - as above
            self.fault(type(error).__name__)

    def fault(self, why: str) -> None:
        """The stream that is being taken in gives nothing: not all of it can be read."""
        self._kind = None
        self.faults[self._stream] = why
        self.faulty_subjects.add(self._subject)

    @property
    def state(self) -> Any:
        """Of the stream that is being taken in; None if it can't be."""
        return self._state if self._kind is not None else None

    def end(self) -> None:
        """The stream is whole: its rows follow."""
        kind = self._kind
        if kind is None:
            return
        try:
            if self._has_views:
                self._derive_views(kind)
            if self._follows:
                self._derive_from_facts()
        except Exception as error:  # noqa: BLE001 - as above
            self.fault(type(error).__name__)
            return
        if self._held:
            self.rows[SCOPES] += [
                (self._subject, s.organisation, s.from_day, s.holder, s.to_day)
                for s in scopes_of(self._held, self._tree)
            ]
        self._kind = None
        self._stream = ""

    def _derive_views(self, kind: StreamKind) -> None:
        stream, subject, models = self._stream, self._subject, self._models
        views = kind.views(self._state)
        if models is not None:
            self.models_seen.update(view.model for view in views)
            views = [view for view in views if view.model in models]
        self.rows[VIEWS] += [
            (
                view.model,
                view.key,
                stream,
                subject,
                view.organisation,
                view.role,
                view.status,
                view.due_on,
                canonical(view.document).decode(),
            )
            for view in views
        ]

    def _derive_from_facts(self) -> None:
        """Sums and rows of single facts; together, so that a stream gives all or nothing."""
        sums: dict[str, Counter[Any]] = defaultdict(Counter)
        rows: dict[str, list[Row]] = defaultdict(list)
        guard_changes: Callable[..., Any] = self._room.guard_changes
        for fact, recorded in self._following:
            if self._has_guards:
                for key, delta in guard_changes(fact, recorded):
                    sums[GUARDS][(key,)] += delta
            for table in self._own:
                for given in table.rows(fact, recorded):
                    key = tuple(given[name] for name in table.key)
                    if table.is_sum:
                        sums[table.name][key] += given[table.values[0]]
                    else:
                        rows[table.name].append((*key, *(given[name] for name in table.values)))
        for name, counted in sums.items():
            self.sums[name].update(counted)
        for name, found in rows.items():
            self.rows[name] += found

    def waiting(self) -> int:
        """How many rows and sums there are to be taken away."""
        return sum(map(len, self.rows.values())) + sum(map(len, self.sums.values()))


def _why_unreadable(room: Room, row: Stored) -> str:
    """The name of what is wrong with a row; what stands in it may be personal."""
    try:
        room.reads.read(row[2], schema_version_of(row[3]), row[4])
    except UnknownFact:
        return "fact of a newer build"
    except Exception as error:  # noqa: BLE001 - as above
        return type(error).__name__
    return "unreadable"


def _day(recorded: Recorded) -> date:
    return recorded.recorded_at.astimezone(BUSINESS_ZONE).date()
