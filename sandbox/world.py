"""The fictional federation of the sandbox: organisations, offices and people.

One city, its county centres with stations and grassroots unions, and one industrial union that
stands in for a station. Nobody here is real; people are named after their office.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CITY: Final = "city"
CENTRES: Final = ("county-east", "county-west")
STATIONS_PER_CENTRE: Final = 3
UNIONS_PER_STATION: Final = 4
UNIONS_OF_INDUSTRY: Final = 3

ROLES: Final = {
    "federation": (
        "reviewer",
        "approver",
        "visitor",
        "maker",
        "checker",
        "account_clerk",
        "fund_keeper",
        "parameter_keeper",
        "parameter_announcer",
        "training_officer",
        "network_keeper",
    ),
    "centre": ("reviewer", "approver", "visitor"),
    "station": ("chair", "handler", "visitor"),
    "industrial_union": ("chair", "handler", "visitor"),
    "union": ("chair", "handler", "visitor"),
}


@dataclass(frozen=True)
class Organisation:
    """One organisation, under its parent (None for the root)."""

    organisation: str
    kind: str
    name: str
    parent: str | None

    @property
    def offices(self) -> tuple[str, ...]:
        return ROLES[self.kind]


@dataclass(frozen=True)
class World:
    """All organisations, parents before their children."""

    organisations: tuple[Organisation, ...]

    @property
    def unions(self) -> tuple[Organisation, ...]:
        return tuple(o for o in self.organisations if o.kind == "union")

    @property
    def stations(self) -> tuple[Organisation, ...]:
        return tuple(o for o in self.organisations if o.kind == "station")

    def people(self) -> list[str]:
        """Every office holder, one person an office."""
        return [person(o.organisation, role) for o in self.organisations for role in o.offices]


def person(organisation: str, role: str) -> str:
    """The subject of the person who holds an office in the sandbox."""
    return f"{organisation}.{role}"


def build_world() -> World:
    """The same world every time: its names are part of what a seed means."""
    return World(tuple(_organisations()))


def _organisations() -> Iterator[Organisation]:
    yield Organisation(CITY, "federation", "样例市总工会", None)
    number = 0
    for index, centre in enumerate(CENTRES):
        yield Organisation(centre, "centre", f"样例市{'东西'[index]}县总工会帮扶中心", CITY)
        for _ in range(STATIONS_PER_CENTRE):
            number += 1
            station = f"station-{number}"
            yield Organisation(station, "station", f"样例{number}街道帮扶工作站", centre)
            for each in range(1, UNIONS_PER_STATION + 1):
                yield Organisation(
                    f"union-{number}-{each}", "union", f"样例{number}街道第{each}厂工会", station
                )
    yield Organisation("industry-1", "industrial_union", "样例市机械产业工会", CITY)
    for each in range(1, UNIONS_OF_INDUSTRY + 1):
        yield Organisation(f"union-m-{each}", "union", f"样例机械{each}厂工会", "industry-1")
