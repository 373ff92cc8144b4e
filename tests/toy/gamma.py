"""Gamma notes what it hears of alpha and beta: what one says of the other must have come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.fact import Fact, Recorded, registry_of
from shared.room import Act, Command, Decided, Refusal, Room, Situation, StreamKind, Tell, Todo
from tests.toy import alpha, beta

STREAMS = ("notes",)


class Noted(Fact, name="toy.gamma.Noted"):
    case_id: str
    of: str
    version: int
    # For beta's facts, the version of alpha's that they mirror.
    mirrors: int


@dataclass(frozen=True)
class Notes:
    case_id: str
    noted: tuple[tuple[str, int], ...] = ()


class Note(Command):
    of: str
    version: int
    mirrors: int = 0


def note(state: Notes, command: Note, situation: Situation) -> Decided | Refusal:
    noted = Noted(
        case_id=state.case_id, of=command.of, version=command.version, mirrors=command.mirrors
    )
    return Decided([noted])


def evolve(state: Notes, fact: Fact, recorded: Recorded) -> Notes:
    if isinstance(fact, Noted):
        return replace(state, noted=(*state.noted, (fact.of, fact.version)))
    raise AssertionError(fact)


NOTES = StreamKind(
    name="notes",
    of_case=True,
    initial=Notes,
    evolve=evolve,
    acts={Note: Act(note, opens=True)},
    holder=lambda _state: "city",
)


def on_alpha(fact: alpha.Opened | alpha.Counted, recorded: Recorded) -> Sequence[Todo]:
    return [Tell("notes", fact.case_id, Note(of="alpha", version=recorded.version))]


def on_mirrored(fact: beta.Mirrored, recorded: Recorded) -> Sequence[Todo]:
    noted = Note(of="beta", version=recorded.version, mirrors=fact.alpha_version)
    return [Tell("notes", fact.case_id, noted)]


class Module:
    """The facts of this room as the registry wants to see them."""

    Noted = Noted


def room(**changes: Any) -> Room:
    made = Room(
        name="gamma",
        kinds={"notes": NOTES},
        states=registry_of(Module),
        reads=registry_of(Module, alpha.Module, beta.Module),
        hears={"alpha": alpha.STREAMS, "beta": beta.STREAMS},
        reactions={
            alpha.Opened: on_alpha,
            alpha.Counted: on_alpha,
            beta.Mirrored: on_mirrored,
        },
    )
    return replace(made, **changes)
