"""A whole network in memory: every organisation's stream, and the directory that follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

from services.network.decisions.commands import Found, Install, Seat
from services.network.main import ROOM
from shared.directory import Directory
from shared.fact import Actor, Fact
from shared.room import Command, Decided, ReferenceRow, Situation
from tests.given_when_then import TODAY, Given, Outcome, given, situation

ORGANISATION = ROOM.kinds["organisation"]
INSTALLATION = Actor("setup", "installation")
BEGINNING = date(2024, 1, 1)


def keeper(organisation: str) -> Actor:
    return Actor(f"keeper-{organisation}", "network_keeper", organisation)


class World:
    """Commands are decided one after the other, each on all that was stated before."""

    def __init__(self) -> None:
        self.streams: dict[str, Given] = {}
        self.guards: Counter[str] = Counter()
        self.rows: list[ReferenceRow] = []

    def situation(self, today: date = TODAY) -> Situation:
        directory = Directory()
        for row in self.rows:
            directory.apply(row.document["fact"], row.document["data"])
        reference = ROOM.build_reference(self.rows)
        return situation(today, directory=directory, reference=reference, guards=self.guards)

    def ask(self, organisation: str, command: Command, today: date = TODAY) -> Outcome:
        """Decide; what is stated is kept, as long as its conditions hold."""
        before = self.streams.get(organisation) or given(ORGANISATION, (), organisation)
        outcome = before.when(command, self.situation(today))
        if isinstance(outcome.answer, Decided) and outcome.answer.facts:
            after = outcome.afterwards()
            for recorded in after.recorded[len(before.recorded) :]:
                self._take(recorded.read(ROOM.reads), after, recorded.version)
            for condition in outcome.answer.conditions:
                assert condition.maximum is None or self.guards[condition.key] <= condition.maximum
            self.streams[organisation] = after
        return outcome

    def _take(self, fact: Fact, after: Given, version: int) -> None:
        recorded = after.recorded[version - 1]
        self.guards.update(dict(ROOM.guard_changes(fact, recorded)))
        rows = ROOM.references(fact, recorded)
        self.rows += [
            ReferenceRow(row.kind, f"{after.identity} {version}", row.document) for row in rows
        ]

    def install(self, organisation: str = "city") -> Outcome:
        return self.ask(
            organisation,
            Install(
                by=INSTALLATION,
                occurred_on=BEGINNING,
                organisation=organisation,
                kind="federation",
                name="示例市总工会",
                person=f"keeper-{organisation}",
                role="network_keeper",
                founded_on=BEGINNING,
            ),
        )

    def found(
        self,
        organisation: str,
        parent: str,
        offices: Sequence[tuple[str, str]] = (),
        by: Actor | None = None,
        founded_on: date = BEGINNING,
    ) -> Outcome:
        return self.ask(
            organisation,
            Found(
                by=by or keeper("city"),
                occurred_on=founded_on,
                organisation=organisation,
                kind="union",
                name=f"示例{organisation}",
                parent=parent,
                offices=tuple(Seat(person=person, role=role) for person, role in offices),
                founded_on=founded_on,
            ),
        )


def small_network() -> World:
    """city → county → station → union, and a keeper in the county too."""
    world = World()
    world.install()
    world.found("county", "city", [("keeper-county", "network_keeper")])
    world.found("station", "county")
    world.found("union", "station", [("chair-1", "chair"), ("handler-1", "handler")])
    return world
