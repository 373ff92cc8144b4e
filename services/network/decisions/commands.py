"""What a network keeper, or once the installation, may ask for."""

from __future__ import annotations

from datetime import date
from typing import Literal

from shared.fact import Value
from shared.room import Command

Kind = Literal["federation", "centre", "station", "industrial_union", "union", "liaison"]


class Seat(Value):
    """An office to be taken when an organisation is founded."""

    person: str
    role: str


class Install(Command):
    """Found the root and seat its first office, once per installation."""

    organisation: str
    kind: Kind
    name: str
    person: str
    role: str
    founded_on: date


class Found(Command):
    """Found an organisation under a parent, with its first offices."""

    organisation: str
    kind: Kind
    name: str
    parent: str
    offices: tuple[Seat, ...]
    founded_on: date


class Close(Command):
    """End an organisation."""

    closed_on: date


class OpenEdge(Command):
    """Put an organisation that stands under none under a parent."""

    parent: str
    from_day: date


class EndEdge(Command):
    """Leave the present parent."""

    parent: str
    to_day: date


class Move(Command):
    """Leave the present parent for another on one day."""

    parent: str
    from_day: date


class TakeOffice(Command):
    """Seat somebody in an office."""

    person: str
    role: str
    from_day: date


class LeaveOffice(Command):
    """Say when somebody leaves an office."""

    person: str
    role: str
    to_day: date


class GiveDelegation(Command):
    """Let another organisation act in a role for this one."""

    to_organisation: str
    role: str
    from_day: date


class EndDelegation(Command):
    """Take a delegated role back."""

    to_organisation: str
    role: str
    to_day: date
