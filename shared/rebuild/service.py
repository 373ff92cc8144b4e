"""One rebuild of what one service keeps beside its log, while the service goes on.

1. A snapshot of one moment: every fact is folded, what follows goes to shadow tables, and there
   it is compared with what the same snapshot has kept.
2. What was written meanwhile is folded again, stream by stream, until little is left.
3. Under a lock that keeps writers out, but no reader: the last of it, and the rows that differ are
   put right. Many of them take several such locks, each of which is short.

What differs is right afterwards; what does not is not touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import orjson

from shared.rebuild.derive import COLUMNS, Derivation
from shared.rebuild.parts import SCOPES, VIEWS, Part, Wanted, wanted_of
from shared.rebuild.scopes import Moved, TreeHistory
from shared.rebuild.shadow import Differing, Shadow
from shared.room import ReferenceRow, Room
from shared.store_reader import row_pages
from shared.tail import Tail

CONNECT_SECONDS: Final = 10.0
# So many derived rows are taken to the shadow together.
ROWS_AT_ONCE: Final = 2_000
STREAMS_AT_ONCE: Final = 500
# Rounds without a lock go on until a round finds no more streams than this, or were this many.
FEW_STREAMS: Final = 50
MOST_ROUNDS: Final = 8
# So many rows are put right under one lock: about a tenth of a second.
ROWS_A_LOCK: Final = 2_000
# Below the server's deadlock_timeout: whoever we might wait for in a circle is never the victim.
LOCK_MILLISECONDS: Final = 300
MOST_LOCK_ATTEMPTS: Final = 200
MOST_STARTS: Final = 5
SHOWN_KEYS: Final = 20


class NoSuchModel(LookupError):
    """Neither a table nor a read model of the service; ``there`` lists those that there are."""

    def __init__(self, unknown: Sequence[str], there: Sequence[str]) -> None:
        super().__init__(f"{', '.join(unknown)}: {', '.join(there)}")
        self.unknown, self.there = unknown, there


class RebuildBusy(Exception):
    """Another rebuild of the service runs, or writers never let go of the tables."""


class TreeMoved(Exception):
    """The tree of organisations moved meanwhile: who sees what has to be derived anew."""


@dataclass
class ModelRebuilt:
    """One read model or table: rows kept and derived at one moment, and what differed."""

    model: str
    part: Part
    kept: int = 0
    derived: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    keys: list[Differing] = field(default_factory=list)
    mended: bool = False


@dataclass
class Rebuilt:
    """What a rebuild did."""

    service: str
    models: list[ModelRebuilt] = field(default_factory=list)
    facts: int = 0
    streams_again: int = 0
    # Streams that can't be derived, with why; their rows stayed as they were.
    faults: dict[str, str] = field(default_factory=dict)
    # How long writers were kept out, once a lock.
    blocked_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Nothing differed, and everything could be judged."""
        return not self.faults and not any(model.differing for model in self.models)


@dataclass(frozen=True)
class Progress:
    """How far it is: facts folded of those that there were when it began."""

    facts: int
    total: int


OnProgress = Callable[[Progress], None]


async def rebuild(
    room: Room,
    postgres_url: str,
    names: Collection[str] = (),
    *,
    on_progress: OnProgress | None = None,
    mend: bool = True,
) -> Rebuilt:
    """Derive read models (by name) or tables of one room anew; everything without ``names``.

    ``postgres_url`` is an operator's, who owns the schema or is a member of its owner. Raises
    NoSuchModel, RebuildBusy, or what the database raises.
    """
    began = time.monotonic()
    wanted = wanted_of(room, names)
    async with AsyncExitStack() as stack:
        connections = []
        for purpose in ("read", "write"):
            connection = await _connection(postgres_url, f"bangfu-rebuild-{purpose}")
            stack.push_async_callback(connection.close)
            connections.append(connection)
        reading, writing = connections
        if not await writing.fetchval(
            "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", f"bangfu rebuild: {room.name}"
        ):
            raise RebuildBusy("该服务正在重建 another rebuild of this service runs")
        earlier: list[Rebuilt] = []
        for _ in range(MOST_STARTS):
            run = Rebuilding(room, wanted, reading, writing, on_progress)
            try:
                result = await run.run(mend=mend)
                break
            except TreeMoved:
                earlier.append(run.result)
        else:
            raise RebuildBusy("组织树变动过频 the tree of organisations moves too often")
    for before in earlier:
        _add(result, before)
    result.seconds = time.monotonic() - began
    return result


def _add(result: Rebuilt, earlier: Rebuilt) -> None:
    """What an attempt that had to start again had found, and may have put right already."""
    result.blocked_seconds += earlier.blocked_seconds
    found = {model.model: model for model in earlier.models if model.differing}
    names = {model.model for model in result.models}
    result.models += [model for name, model in found.items() if name not in names]
    for model in result.models:
        if not model.differing and model.model in found:
            model.differing, model.keys = found[model.model].differing, found[model.model].keys
            model.mended = model.part.mended


class Rebuilding:
    """One attempt, on two sessions: one reads a snapshot, the other writes."""

    def __init__(
        self,
        room: Room,
        wanted: Wanted,
        reading: asyncpg.Connection,
        writing: asyncpg.Connection,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._room = room
        self._schema = room.name
        self._wanted = wanted
        self._reading = reading
        self._writing = writing
        self._on_progress = on_progress
        self._shadow = Shadow(writing, room.name, wanted)
        self._tree = TreeHistory()
        self._moves = 0
        # Facts up to the position, and these beyond it, are in the shadow.
        self._position = 0
        self._beyond: list[int] = []
        self.result = Rebuilt(room.name)

    async def run(self, *, mend: bool) -> Rebuilt:
        """All of it; without ``mend`` only what differs is told."""
        await self._shadow.create()
        tail = await Tail.open(self._writing, self._schema, "facts")
        self._position = await tail.advance()
        await self.derive()
        if mend:
            await self._mend(tail)
        return self.result

    async def derive(self) -> None:
        """Fill the shadow from a snapshot and compare it with what the snapshot has kept."""
        async with self._reading.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await self._reading.fetchval("SELECT pg_export_snapshot()")
            async with self._writing.transaction(isolation="repeatable_read"):
                await self._writing.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
                self._beyond = await self._positions_beyond(self._position)
                if self._wanted.has(SCOPES):
                    self._tree, self._moves = await tree_of(self._writing, self._schema)
                derivation = Derivation(self._room, self._wanted, self._tree)
                await self._fold_all(derivation)
                await self._judge(derivation)

    async def _fold_all(self, derivation: Derivation) -> None:
        """Fold the snapshot while its next rows are on their way."""
        total = await self._reading.fetchval(f"SELECT count(*) FROM {self._schema}.facts")  # noqa: S608 - the schema is the room's own name
        facts = row_pages(
            self._reading,
            f"SELECT {COLUMNS} FROM {self._schema}.facts ORDER BY stream, version",  # noqa: S608 - as above
        )
        async with aclosing(facts) as pages:
            async for rows in pages:
                derivation.fold(rows)
                if derivation.waiting() >= ROWS_AT_ONCE:
                    await self._shadow.take(derivation)
                if self._on_progress is not None:
                    self._on_progress(Progress(derivation.facts, total))
        derivation.end()
        await self._shadow.take(derivation)
        self.result.facts = derivation.facts

    async def _judge(self, derivation: Derivation) -> None:
        """Compare, and note what is told of it."""
        self.result.faults = dict(derivation.faults)
        await self._shadow.compare([*derivation.faults, *derivation.faulty_subjects])
        for part in self._wanted.parts:
            counts = await self._shadow.counts(part)
            differing = await self._shadow.count_differing(part)
            keys = await self._shadow.differing(part, SHOWN_KEYS)
            if part.name == VIEWS and self._wanted.models is not None:
                self._refuse_unknown(counts, derivation)
            for model in sorted(counts.keys() | differing.keys()):
                kept, derived = counts.get(model, (0, 0))
                told = [each for each in keys if each.model == model]
                found = differing.get(model, {})
                self.result.models.append(ModelRebuilt(model, part, kept, derived, found, told))

    def _refuse_unknown(self, counts: Collection[str], derivation: Derivation) -> None:
        unknown = (self._wanted.models or frozenset()) - set(counts) - derivation.models_seen
        if unknown:
            tables = {part.name for part in wanted_of(self._room).parts}
            raise NoSuchModel(sorted(unknown), sorted(derivation.models_seen | tables))

    # Putting right

    async def _mend(self, tail: Tail) -> None:
        states = [p for p in self._wanted.parts if p.kind == "state"]
        if any(m.differing for m in self.result.models):
            await self._locked(self._mend_what_stays, [])
        for _ in range(MOST_ROUNDS):
            position = await tail.advance()
            async with self._writing.transaction(isolation="repeatable_read"):
                streams = await self._catch_up()
                beyond = await self._positions_beyond(position)
            self._position, self._beyond = position, beyond
            if streams <= FEW_STREAMS:
                break
        while states and await self._locked(self._swap, [*(p.name for p in states), "facts"]):
            pass
        for model in self.result.models:
            model.mended = bool(model.differing) and model.part.mended

    async def _locked(self, act: Callable[[], Any], tables: Sequence[str]) -> Any:
        """Run it in a transaction of its own that keeps writers out of these tables."""
        for _ in range(MOST_LOCK_ATTEMPTS):
            began = time.monotonic()
            try:
                async with self._writing.transaction():
                    await self._writing.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                    for table in tables:
                        # In the order in which a write comes to them.
                        await self._writing.execute(
                            f"LOCK TABLE {self._schema}.{table} IN SHARE ROW EXCLUSIVE MODE"
                        )
                    return await act()
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                await asyncio.sleep(0.05)
            finally:
                if tables:
                    self.result.blocked_seconds.append(time.monotonic() - began)
        raise RebuildBusy("写入者一直不放开各表 writers never let go of the tables")

    async def _mend_what_stays(self) -> None:
        """Sums, and rows of single facts: what is off there stays off by the same, lock or not."""
        for part in self._wanted.parts:
            if part.kind == "sum" and part.mended:
                await self._shadow.mend_sum(part)
            elif part.kind == "fact" and part.mended:
                await self._shadow.mend_facts(part)

    async def _swap(self) -> bool:
        """The last of what was written, then rows that differ; True if there are more."""
        await self._catch_up()
        self._position = await self._writing.fetchval(
            f"SELECT coalesce(max(position), 0) FROM {self._schema}.facts"  # noqa: S608 - as above
        )
        self._beyond = []
        for part in self._wanted.parts:
            if part.kind != "state":
                continue
            if await self._shadow.mend_rows(part, ROWS_A_LOCK) == ROWS_A_LOCK:
                return True
        return False

    async def _catch_up(self) -> int:
        """Fold the streams again that have facts which the shadow has not; how many they were."""
        if self._wanted.has(SCOPES) and self._moves != await last_move(self._writing, self._schema):
            raise TreeMoved
        rows = await self._writing.fetch(
            f"SELECT DISTINCT stream, subject FROM {self._schema}.facts"  # noqa: S608 - as above
            " WHERE position > $1 AND position <> ALL ($2)",
            self._position,
            self._beyond,
        )
        subjects = {row["stream"]: row["subject"] for row in rows}
        for some in _in_parts(sorted(subjects), STREAMS_AT_ONCE):
            derivation = Derivation(self._room, self._wanted, self._tree)
            facts = await self._writing.fetch(
                f"SELECT {COLUMNS} FROM {self._schema}.facts"  # noqa: S608 - as above
                " WHERE stream = ANY ($1) ORDER BY stream, version",
                some,
            )
            derivation.fold(facts)
            derivation.end()
            self.result.faults.update(derivation.faults)
            sound = {s: subjects[s] for s in some if s not in derivation.faults}
            await self._shadow.replace(derivation, sound)
        self.result.streams_again += len(subjects)
        return len(subjects)

    async def _positions_beyond(self, position: int) -> list[int]:
        rows = await self._writing.fetch(
            f"SELECT position FROM {self._schema}.facts WHERE position > $1",  # noqa: S608 - as above
            position,
        )
        return [row["position"] for row in rows]


async def tree_of(connection: Any, schema: str) -> tuple[TreeHistory, int]:
    """How the tree moved as this service took it in, and the number of the last move."""
    rows = await connection.fetch(
        "SELECT kind, key, document, move, moved_on, after_position "  # noqa: S608 - as above
        f"FROM {schema}.reference WHERE move IS NOT NULL ORDER BY move"
    )
    moves = [
        Moved(
            ReferenceRow(row["kind"], row["key"], orjson.loads(row["document"]), row["move"]),
            row["moved_on"],
            row["after_position"],
        )
        for row in rows
    ]
    return TreeHistory(moves), moves[-1].row.move if moves else 0


async def last_move(connection: Any, schema: str) -> int:
    """The number of the tree's last move, 0 if it never moved."""
    found = await connection.fetchval(f"SELECT coalesce(max(move), 0) FROM {schema}.reference")  # noqa: S608 - as above
    return int(found)


def _in_parts(names: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield list(names[start : start + size])


async def _connection(postgres_url: str, name: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        postgres_url,
        timeout=CONNECT_SECONDS,
        server_settings={"application_name": name, "statement_timeout": "0"},
    )
