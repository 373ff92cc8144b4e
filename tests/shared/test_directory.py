"""Who belongs where and holds which office, on a given day."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory import (
    Delegation,
    Directory,
    DirectoryError,
    Edge,
    Office,
    Organisation,
)
from shared.fact import Actor

BEGIN = date(2025, 1, 1)
JUNE = date(2025, 6, 1)
JULY = date(2025, 7, 1)


def network() -> Directory:
    """A city, two counties, and a union that moves from the first to the second in July."""
    directory = Directory()
    for name in ("city", "north", "south", "union"):
        directory.apply(
            "OrganisationFounded",
            {"organisation": name, "kind": "any", "name": name, "founded_on": BEGIN},
        )
    edges = [("north", "city", BEGIN), ("south", "city", BEGIN), ("union", "north", BEGIN)]
    for child, parent, day in edges:
        directory.apply("EdgeOpened", {"child": child, "parent": parent, "from_day": day})
    directory.apply("EdgeClosed", {"child": "union", "parent": "north", "to_day": JULY})
    directory.apply("EdgeOpened", {"child": "union", "parent": "south", "from_day": JULY})
    return directory


def take(directory: Directory, person: str, organisation: str, role: str, day: date) -> None:
    directory.apply(
        "OfficeTaken",
        {"person": person, "organisation": organisation, "role": role, "from_day": day},
    )


def leave(directory: Directory, person: str, organisation: str, role: str, day: date) -> None:
    directory.apply(
        "OfficeLeft",
        {"person": person, "organisation": organisation, "role": role, "to_day": day},
    )


def test_the_tree_is_that_of_the_day() -> None:
    """The last day under the old parent is the day before `to_day`."""
    directory = network()
    assert directory.parent("union", date(2025, 6, 30)) == "north"
    assert directory.parent("union", JULY) == "south"
    assert directory.ancestors("union", JUNE) == ["north", "city"]
    assert directory.ancestors("union", JULY) == ["south", "city"]
    assert directory.ancestors("union", date(2024, 12, 31)) == []
    assert directory.ancestors("city", JULY) == []


def test_within_is_itself_and_all_below() -> None:
    directory = network()
    assert directory.is_within("city", "city", JUNE)
    assert directory.is_within("union", "north", JUNE)
    assert not directory.is_within("union", "north", JULY)
    assert not directory.is_within("city", "union", JUNE)
    assert directory.subtree("north", JUNE) == {"north", "union"}
    assert directory.subtree("north", JULY) == {"north"}
    assert directory.subtree("city", JULY) == {"city", "north", "south", "union"}


def test_an_office_is_held_from_a_day_to_a_day() -> None:
    directory = network()
    take(directory, "wang", "union", "chair", BEGIN)
    leave(directory, "wang", "union", "chair", JULY)
    take(directory, "li", "union", "chair", JULY)
    assert directory.holder("union", "chair", JUNE) == "wang"
    assert directory.holder("union", "chair", JULY) == "li"
    assert directory.offices_of("wang", JUNE) == [Office("wang", "union", "chair", BEGIN, JULY)]
    assert directory.offices_of("wang", JULY) == []
    assert directory.organisations_of("li", JUNE) == []
    assert directory.organisations_of("li", JULY) == ["union"]


def test_of_several_holders_the_longest_in_office_comes_first() -> None:
    directory = network()
    take(directory, "b", "union", "handler", JUNE)
    take(directory, "a", "union", "handler", JULY)
    assert directory.holders("union", "handler", JULY) == ["b", "a"]
    assert directory.holder("union", "handler", JULY) == "b"
    assert directory.holder("union", "handler", BEGIN) is None


def test_a_closed_organisation_gives_no_right() -> None:
    directory = network()
    take(directory, "wang", "union", "chair", BEGIN)
    directory.apply("OrganisationClosed", {"organisation": "union", "closed_on": JULY})
    assert directory.organisations_of("wang", JUNE) == ["union"]
    assert directory.organisations_of("wang", JULY) == []
    assert directory.holder("union", "chair", JULY) is None
    assert not directory.is_open("union", JULY)
    assert [item.organisation for item in directory.organisations(JULY)] == [
        "city",
        "north",
        "south",
    ]


def test_delegation_lets_the_holders_of_that_role_act_and_no_others() -> None:
    directory = network()
    take(directory, "zhao", "north", "reviewer", BEGIN)
    take(directory, "qian", "north", "cashier", BEGIN)
    given = {"organisation": "south", "to_organisation": "north", "role": "reviewer"}
    directory.apply("DelegationGiven", given | {"from_day": JUNE})
    directory.apply("DelegationEnded", given | {"to_day": JULY})
    assert directory.organisations_of("zhao", BEGIN) == ["north"]
    assert directory.organisations_of("zhao", JUNE) == ["north", "south"]
    assert directory.organisations_of("zhao", JULY) == ["north"]
    assert directory.organisations_of("qian", JUNE) == ["north"]
    assert directory.holds(Actor("zhao", "reviewer", "south"), JUNE)
    assert directory.holds(Actor("zhao", "reviewer", "north"), JULY)
    assert not directory.holds(Actor("zhao", "reviewer", "south"), JULY)
    assert not directory.holds(Actor("qian", "reviewer", "south"), JUNE)
    assert not directory.holds(Actor("zhao", "cashier", "north"), JUNE)


def test_a_repeated_fact_changes_nothing() -> None:
    directory = network()
    for _ in range(2):
        take(directory, "wang", "union", "chair", BEGIN)
        leave(directory, "wang", "union", "chair", JULY)
    assert directory.offices_of("wang", JUNE) == [Office("wang", "union", "chair", BEGIN, JULY)]
    assert directory.offices_of("wang", JULY) == []


def test_an_office_may_be_taken_again() -> None:
    directory = network()
    take(directory, "wang", "union", "chair", BEGIN)
    leave(directory, "wang", "union", "chair", JUNE)
    take(directory, "wang", "union", "chair", JULY)
    assert directory.holder("union", "chair", JUNE) is None
    assert directory.holder("union", "chair", JULY) == "wang"


def test_days_may_be_text() -> None:
    directory = network()
    directory.apply(
        "OfficeTaken",
        {"person": "wang", "organisation": "union", "role": "chair", "from_day": "2025-06-01"},
    )
    assert directory.holder("union", "chair", JUNE) == "wang"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("Unheard", {}),
        ("OrganisationClosed", {"organisation": "nowhere", "closed_on": JUNE}),
        ("EdgeClosed", {"child": "north", "parent": "south", "to_day": JUNE}),
        ("EdgeClosed", {"child": "union", "parent": "north", "to_day": JUNE}),
        ("OfficeLeft", {"person": "x", "organisation": "union", "role": "chair", "to_day": JUNE}),
        ("EdgeOpened", {"child": "union", "parent": "north", "from_day": 20250601}),
        ("EdgeOpened", {"child": 1, "parent": "north", "from_day": JUNE}),
    ],
)
def test_what_can_not_be_taken_in_is_an_error(kind: str, payload: dict[str, object]) -> None:
    """The second closing of an edge names another day than the first."""
    with pytest.raises(DirectoryError):
        network().apply(kind, payload)


def test_rows_and_facts_make_the_same_directory() -> None:
    rows = Directory(
        [Organisation("city", "any", "city", BEGIN), Organisation("north", "any", "north", BEGIN)],
        [Edge("north", "city", BEGIN)],
        [Office("wang", "north", "chair", BEGIN)],
        [Delegation("city", "north", "chair", BEGIN)],
    )
    assert rows.ancestors("north", JUNE) == ["city"]
    assert rows.organisations_of("wang", JUNE) == ["city", "north"]


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


@given(st.lists(st.tuples(NAMES, NAMES), max_size=20))
def test_a_cycle_hangs_nobody(pairs: list[tuple[str, str]]) -> None:
    """Whatever edges were stated by mistake, every question ends."""
    directory = Directory(edges=[Edge(child, parent, BEGIN) for child, parent in pairs])
    for name in "abcde":
        ancestors = directory.ancestors(name, JUNE)
        assert len(ancestors) == len(set(ancestors))
        assert name not in ancestors
        assert all(directory.is_within(name, ancestor, JUNE) for ancestor in ancestors)
        assert all(
            directory.is_within(below, name, JUNE) for below in directory.subtree(name, JUNE)
        )
