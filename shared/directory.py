"""Who belongs where, and who holds which office, on a given day.

A directory is a value built from the network's facts: each service keeps its own heard copy, and
decisions take it as reference data. It knows no I/O and no clock; every question names its day.
It does not judge whether a fact should have been stated: that is the network's business.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import NamedTuple, TypeVar

from shared.fact import Actor


class DirectoryError(ValueError):
    """A fact that this directory can't take in, such as the end of an office never taken."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """Something of the network, from its founding until, not including, `closed_on`."""

    organisation: str
    kind: str
    name: str
    founded_on: date
    closed_on: date | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """`child` stands under `parent` from a day until, not including, `to_day`."""

    child: str
    parent: str
    from_day: date
    to_day: date | None = None


@dataclass(frozen=True, slots=True)
class Office:
    """`person` holds `role` in `organisation` from a day until, not including, `to_day`."""

    person: str
    organisation: str
    role: str
    from_day: date
    to_day: date | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """Who holds `role` in `to_organisation` also acts in that role for `organisation`."""

    organisation: str
    to_organisation: str
    role: str
    from_day: date
    to_day: date | None = None


Dated = TypeVar("Dated", Edge, Office, Delegation)


class _Span(NamedTuple):
    from_day: date
    to_day: date | None

    def holds(self, day: date) -> bool:
        return self.from_day <= day and (self.to_day is None or day < self.to_day)


def _holds(item: Edge | Office | Delegation, day: date) -> bool:
    return _Span(item.from_day, item.to_day).holds(day)


class Directory:
    """The dated tree, the offices and the delegations."""

    def __init__(
        self,
        organisations: Iterable[Organisation] = (),
        edges: Iterable[Edge] = (),
        offices: Iterable[Office] = (),
        delegations: Iterable[Delegation] = (),
    ) -> None:
        # How often the tree had moved when this copy was read, by the store's count.
        self.moves = 0
        self._organisations: dict[str, Organisation] = {}
        self._parents: dict[str, list[Edge]] = defaultdict(list)
        self._children: dict[str, set[str]] = defaultdict(set)
        self._offices: dict[str, list[Office]] = defaultdict(list)
        self._holders: dict[str, set[str]] = defaultdict(set)
        self._delegations: dict[str, list[Delegation]] = defaultdict(list)
        for organisation in organisations:
            self._organisations[organisation.organisation] = organisation
        for edge in edges:
            self._put_edge(edge)
        for office in offices:
            self._put_office(office)
        for delegation in delegations:
            self._delegations[delegation.organisation].append(delegation)

    # Questions

    def organisation(self, organisation: str) -> Organisation | None:
        return self._organisations.get(organisation)

    def organisations(self, day: date) -> list[Organisation]:
        """All that exist on that day, by id."""
        found = [item for name, item in self._organisations.items() if self.is_open(name, day)]
        return sorted(found, key=lambda item: item.organisation)

    def is_open(self, organisation: str, day: date) -> bool:
        """Founded by that day, and not closed; one that was never heard of is not open."""
        known = self._organisations.get(organisation)
        return known is not None and _Span(known.founded_on, known.closed_on).holds(day)

    def offices_of(self, person: str, day: date) -> list[Office]:
        """The offices that the person holds; an office in a closed organisation gives no right."""
        return [
            office
            for office in self._offices.get(person, ())
            if _holds(office, day) and self.is_open(office.organisation, day)
        ]

    def organisations_of(self, person: str, day: date) -> list[str]:
        """The person's own organisations: by an office held, or by delegation to such an office."""
        offices = self.offices_of(person, day)
        own = {office.organisation for office in offices}
        seats = {(office.organisation, office.role) for office in offices}
        delegated = {
            delegation.organisation
            for given in self._delegations.values()
            for delegation in given
            if (delegation.to_organisation, delegation.role) in seats
            and _holds(delegation, day)
            and self.is_open(delegation.organisation, day)
        }
        return sorted(own | delegated)

    def holders(self, organisation: str, role: str, day: date) -> list[str]:
        """Everyone in that office, the longest in it first."""
        found = [
            office
            for person in self._holders.get(organisation, ())
            for office in self.offices_of(person, day)
            if office.organisation == organisation and office.role == role
        ]
        found.sort(key=lambda office: (office.from_day, office.person))
        return list(dict.fromkeys(office.person for office in found))

    def holder(self, organisation: str, role: str, day: date) -> str | None:
        """Who is in that office; of several, the one who has been in it longest."""
        found = self.holders(organisation, role, day)
        return found[0] if found else None

    def holds(self, actor: Actor, day: date) -> bool:
        """Whether the actor's claim is true: their own office, or one delegated to it."""
        seats = {
            (office.organisation, office.role) for office in self.offices_of(actor.person, day)
        }
        if (actor.organisation, actor.role) in seats:
            return True
        return self.is_open(actor.organisation, day) and any(
            (delegate, actor.role) in seats
            for delegate in self.delegates(actor.organisation, actor.role, day)
        )

    def delegates(self, organisation: str, role: str, day: date) -> list[str]:
        """The organisations to which that role is delegated."""
        return sorted(
            {
                delegation.to_organisation
                for delegation in self._delegations.get(organisation, ())
                if delegation.role == role and _holds(delegation, day)
            }
        )

    def parent(self, organisation: str, day: date) -> str | None:
        """The next higher organisation; should two edges hold, the one opened last."""
        holding = [edge for edge in self._parents.get(organisation, ()) if _holds(edge, day)]
        return (
            max(holding, key=lambda edge: (edge.from_day, edge.parent)).parent if holding else None
        )

    def ancestors(self, organisation: str, day: date) -> list[str]:
        """From the parent up to the root, without the organisation itself.

        It ends at a repeated organisation, so that a cycle stated by mistake hangs nobody.
        """
        path: list[str] = []
        current = self.parent(organisation, day)
        while current is not None and current != organisation and current not in path:
            path.append(current)
            current = self.parent(current, day)
        return path

    def above(self, organisation: str) -> list[str]:
        """As ``ancestors``, by the edges without an end: what scope follows, whatever the day.

        The tree is entered on the day or late, never ahead.
        """
        return self.ancestors(organisation, date.max)

    def below(self, organisation: str) -> set[str]:
        """The organisation and all that stand below it by edges without an end."""
        return self.subtree(organisation, date.max)

    def is_within(self, organisation: str, ancestor: str, day: date) -> bool:
        """Whether the organisation is the ancestor itself or stands below it."""
        return organisation == ancestor or ancestor in self.ancestors(organisation, day)

    def subtree(self, organisation: str, day: date) -> set[str]:
        """The organisation and all that stand below it."""
        found = {organisation}
        todo = [organisation]
        while todo:
            above = todo.pop()
            for child in self._children.get(above, ()):
                if child not in found and self.parent(child, day) == above:
                    found.add(child)
                    todo.append(child)
        return found

    # The network's facts

    def apply(self, kind: str, payload: Mapping[str, object]) -> None:
        """Take in one of the network's eight facts; a repeat changes nothing.

        Days may be `date` or ISO text. DirectoryError on an unknown kind, and on the end of
        something that was never begun.
        """
        match kind:
            case "OrganisationFounded":
                self._found(payload)
            case "OrganisationClosed":
                self._close(_text(payload, "organisation"), _day(payload, "closed_on"))
            case "EdgeOpened":
                child, parent = _text(payload, "child"), _text(payload, "parent")
                self._put_edge(Edge(child, parent, _day(payload, "from_day")))
            case "EdgeClosed":
                child, parent = _text(payload, "child"), _text(payload, "parent")
                edges = self._parents[child]
                _end(edges, [e for e in edges if e.parent == parent], _day(payload, "to_day"), kind)
            case "OfficeTaken":
                self._put_office(Office(*_seat(payload), _day(payload, "from_day")))
            case "OfficeLeft":
                person, organisation, role = _seat(payload)
                offices = self._offices[person]
                those = [o for o in offices if (o.organisation, o.role) == (organisation, role)]
                _end(offices, those, _day(payload, "to_day"), kind)
            case "DelegationGiven":
                given = Delegation(*_delegated(payload), _day(payload, "from_day"))
                _add(self._delegations[given.organisation], given)
            case "DelegationEnded":
                organisation, to_organisation, role = _delegated(payload)
                delegations = self._delegations[organisation]
                ended = [
                    d for d in delegations if (d.to_organisation, d.role) == (to_organisation, role)
                ]
                _end(delegations, ended, _day(payload, "to_day"), kind)
            case _:
                raise DirectoryError(f"not a fact of the network: {kind}")

    def _found(self, payload: Mapping[str, object]) -> None:
        name = _text(payload, "organisation")
        if name not in self._organisations:
            self._organisations[name] = Organisation(
                name, _text(payload, "kind"), _text(payload, "name"), _day(payload, "founded_on")
            )

    def _close(self, organisation: str, closed_on: date) -> None:
        known = self._organisations.get(organisation)
        if known is None:
            raise DirectoryError("closed, but never founded")
        self._organisations[organisation] = replace(known, closed_on=closed_on)

    def _put_edge(self, edge: Edge) -> None:
        _add(self._parents[edge.child], edge)
        self._children[edge.parent].add(edge.child)

    def _put_office(self, office: Office) -> None:
        _add(self._offices[office.person], office)
        self._holders[office.organisation].add(office.person)


def _add(items: list[Dated], item: Dated) -> None:
    """Add what begins, unless the same beginning was heard before (it may have ended since)."""
    if all(replace(known, to_day=item.to_day) != item for known in items):
        items.append(item)


def _end(items: list[Dated], those: list[Dated], to_day: date, kind: str) -> None:
    """End the open one of `those`, which are some of `items`."""
    running = [item for item in those if item.to_day is None]
    if running:
        items[items.index(running[0])] = replace(running[0], to_day=to_day)
    elif all(item.to_day != to_day for item in those):
        raise DirectoryError(f"{kind}: nothing open to end")


def _text(payload: Mapping[str, object], field: str) -> str:
    value = payload[field]
    if not isinstance(value, str):
        raise DirectoryError(f"{field} is not text")
    return value


def _day(payload: Mapping[str, object], field: str) -> date:
    value = payload[field]
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise DirectoryError(f"{field} is not a day")


def _seat(payload: Mapping[str, object]) -> tuple[str, str, str]:
    return _text(payload, "person"), _text(payload, "organisation"), _text(payload, "role")


def _delegated(payload: Mapping[str, object]) -> tuple[str, str, str]:
    return (
        _text(payload, "organisation"),
        _text(payload, "to_organisation"),
        _text(payload, "role"),
    )
