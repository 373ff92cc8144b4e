"""The furniture of a room: what a service must say so that the shared machinery can run it.

A service describes its kinds of streams (state, evolve, one pure function per command, views,
timers), what it does when it hears a fact, and what its facts change in guard rows. Nothing here
does any I/O, so ``decisions.py`` may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.calendar import BusinessCalendar
from shared.directory import Directory
from shared.discarded import DISCARDED_KIND, HeardFactDiscarded
from shared.fact import SYSTEM, Actor, Fact, Recorded, Registry


class Command(BaseModel):
    """What somebody wants. ``occurred_on`` is the day of the fact if it is entered late."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Actor = SYSTEM
    occurred_on: date | None = None
    # Personal values are sealed under the id of the fact that first states them, so a command
    # that carries some names the id of the first fact of its decision.
    fact_id: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of a guard row when the write happens: its value before, bounds after."""

    key: str
    expect: int | None = None
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """One row of a read model, a work list (model ``work``) or a timer (model ``timer``)."""

    model: str
    key: str
    document: Mapping[str, Any]
    organisation: str = ""
    role: str = ""
    status: str = ""
    due_on: date | None = None


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """A copy of a fact of nobody's case that this service decides with."""

    kind: str
    key: str
    document: Mapping[str, Any]
    # The how-manieth move of the tree it is, as stored; 0 for what moves nothing.
    move: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A decision's 'no', with its reasons; an answer, not an exception.

    ``code`` is stable and machine-readable, ``rule`` the rule's number in the domain (K9,
    reading 18), ``field`` the input that broke it, ``status`` the HTTP status for the door.
    """

    code: str
    zh: str
    en: str
    rule: str = ""
    field: str = ""
    status: int = 409


@dataclass(frozen=True, slots=True)
class Decided:
    """The facts that follow from a command, and what must hold of guard rows when written.

    No facts at all means that nothing needed to happen (a repeat): it is answered, not stored.
    """

    facts: Sequence[Fact] = ()
    conditions: Sequence[Condition] = ()


Answer = Decided | Refusal

# One answer for what is not there and for what one may not see, so that neither tells the other.
UNKNOWN = Refusal("unknown", "没有这一项，或无权查看", "not found, or not yours to see", status=404)


@dataclass(frozen=True)
class Situation:
    """What a decision may look at besides its own stream's state: all of it is an argument."""

    now: datetime
    today: date
    directory: Directory
    calendar: BusinessCalendar
    # Whatever else the room derives from its reference rows (rule parameters, for instance).
    reference: Any
    guards: Mapping[str, int]
    documents: Mapping[tuple[str, str], Mapping[str, Any]]
    new_id: Callable[[], str]
    # Keyed hash of (domain, text), for hashes over personal content such as a form's.
    mac: Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Needs:
    """Guard rows and own read-model documents that a decision must be given."""

    guards: Sequence[str] = ()
    documents: Sequence[tuple[str, str]] = ()


NOTHING_NEEDED = Needs()


# The machinery moves states and commands of every room, so here their types are open; inside a
# room they are exact.
State = Any
Decide = Callable[[State, Any, Situation], Answer]
NeedsOf = Callable[[State, Any], Needs]


@dataclass(frozen=True)
class Act:
    """One command's pure function and what it needs to be given."""

    decide: Decide
    needs: NeedsOf = lambda _state, _command: NOTHING_NEEDED
    # True if the command may open a stream; any other command to a stream that has no fact yet
    # is answered "unknown" before it is decided.
    opens: bool = False
    # True if it only ends what there may be: of a stream without a fact nothing is refused then.
    ends: bool = False


@dataclass(frozen=True, slots=True)
class _Evolve:
    """A room's ``evolve``, past which the machinery's own fact goes: it changes no state."""

    of_room: Callable[[State, Fact, Recorded], State]

    def __call__(self, state: State, fact: Fact, recorded: Recorded) -> State:
        return state if type(fact) is HeardFactDiscarded else self.of_room(state, fact, recorded)


@dataclass(frozen=True)
class StreamKind:
    """One kind of stream of a room; a stream's name is ``<kind>-<id>``."""

    name: str
    # True if the stream belongs to a case: its subject (and record key) is the case, else itself.
    of_case: bool
    initial: Callable[[str], State]
    evolve: Callable[[State, Fact, Recorded], State]
    acts: Mapping[type[Command], Act]
    # The organisation that holds the subject (its ancestors see it too); None while unknown.
    holder: Callable[[State], str | None]
    views: Callable[[State], Sequence[View]] = lambda _state: ()

    def __post_init__(self) -> None:
        if not isinstance(self.evolve, _Evolve):
            object.__setattr__(self, "evolve", _Evolve(self.evolve))

    def stream(self, identity: str) -> str:
        return f"{self.name}-{identity}"

    def subject(self, identity: str) -> str:
        return identity if self.of_case else self.stream(identity)


# No office holds it and nothing is decided in it: it only tells.
DISCARDED = StreamKind(
    name=DISCARDED_KIND,
    of_case=False,
    initial=lambda _identity: None,
    evolve=lambda state, _fact, _recorded: state,
    acts={},
    holder=lambda _state: None,
)


@dataclass(frozen=True, slots=True)
class Tell:
    """A command for one own stream, as a reaction or a timer asks for it."""

    kind: str
    identity: str
    command: Command


Todo = Tell | ReferenceRow
Reaction = Callable[[Any, Recorded], Sequence[Todo]]
Timer = Callable[[str, date], Tell]


@dataclass(frozen=True, slots=True)
class DerivedTable:
    """A table of the room's own that follows from its facts alone.

    Either rows of single facts, which never change, or (``is_sum``) the sum of one number by key.
    ``rows`` gives what one fact adds, by column; ``of`` is the column of the fact's stream, if any.
    """

    name: str
    key: Sequence[str]
    values: Sequence[str]
    rows: Callable[[Fact, Recorded], Sequence[Mapping[str, Any]]]
    of: str = ""
    is_sum: bool = False
    # False for what outsiders have read already: it is compared, and never changed by a rebuild.
    mended: bool = True


@dataclass(frozen=True)
class Room:
    """One service, as data."""

    name: str
    kinds: Mapping[str, StreamKind]
    # The facts that this service states, and those that it can read (its own and the heard ones).
    states: Registry
    reads: Registry
    # Whose topics it listens to (its own name where its streams act on one another), each with
    # the kinds of streams that stand in that topic.
    hears: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # By the fact's class; facts without a reaction are taken in and change nothing.
    reactions: Mapping[type[Fact], Reaction] = field(default_factory=dict)
    # By the timer's name in its view document: (identity of the stream, day due) -> command.
    timers: Mapping[str, Timer] = field(default_factory=dict)
    # Pure functions of one own fact: the guard rows that it moves, further rows, reference rows.
    guard_changes: Callable[[Fact, Recorded], Sequence[tuple[str, int]]] = lambda _f, _r: ()
    own_rows: Callable[[Fact, Recorded], Sequence[dict[str, Any]]] = lambda _f, _r: ()
    references: Callable[[Fact, Recorded], Sequence[ReferenceRow]] = lambda _f, _r: ()
    # The tables that ``own_rows`` fill, as far as they can be derived again.
    derived: Sequence[DerivedTable] = ()
    # Builds Situation.reference from all reference rows (pure; called when they change).
    build_reference: Callable[[Sequence[ReferenceRow]], Any] = lambda _rows: None

    def __post_init__(self) -> None:
        """Every room can state, and read from any other, that a heard record was discarded."""
        self.states.add(HeardFactDiscarded)
        self.reads.add(HeardFactDiscarded)
        object.__setattr__(self, "kinds", {**self.kinds, DISCARDED_KIND: DISCARDED})

    def streams_of_case(self, case: str) -> list[str]:
        """The streams that this room may have of a case."""
        return [kind.stream(case) for kind in self.kinds.values() if kind.of_case]

    @property
    def discarded_stream(self) -> str:
        """Where a discarded record is told of that belongs to no stream of this room."""
        return DISCARDED.stream(self.name)

    def kind_of(self, stream: str) -> tuple[StreamKind, str]:
        """The kind and identity of a stream by its name. Raises KeyError for a foreign one."""
        kind, _, identity = stream.partition("-")
        return self.kinds[kind], identity

    def fold(self, stream: str, facts: Sequence[Recorded], state: State | None = None) -> State:
        """The state of a stream after ``facts``, from nothing or from a state before them."""
        kind, identity = self.kind_of(stream)
        if state is None:
            state = kind.initial(identity)
        for recorded in facts:
            state = kind.evolve(state, recorded.read(self.reads), recorded)
        return state
