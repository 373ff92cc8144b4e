"""The rules of the network: who arranges it, and what can never be said of it."""

from datetime import date, timedelta

import pytest

from services.network.decisions.commands import (
    Close,
    EndDelegation,
    EndEdge,
    GiveDelegation,
    Install,
    LeaveOffice,
    Move,
    OpenEdge,
    TakeOffice,
)
from services.network.facts import (
    DelegationEnded,
    DelegationGiven,
    EdgeClosed,
    EdgeOpened,
    OfficeLeft,
    OfficeTaken,
    OrganisationClosed,
    OrganisationFounded,
)
from shared.fact import Actor
from shared.room import Decided
from tests.given_when_then import TODAY, given
from tests.services.network.world import (
    BEGINNING,
    INSTALLATION,
    ORGANISATION,
    World,
    keeper,
    small_network,
)

CITY = keeper("city")
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)


def test_the_installation_founds_the_root_and_seats_its_first_office() -> None:
    """Setting up gives an identity that may, once, found the root and seat its first office."""
    World().install().then(
        OrganisationFounded(
            organisation="city", kind="federation", name="示例市总工会", founded_on=BEGINNING
        ),
        OfficeTaken(
            person="keeper-city",
            organisation="city",
            role="network_keeper",
            from_day=BEGINNING,
        ),
    )


def test_there_is_one_root() -> None:
    """Once: a second root is refused, and two at the same moment fail on the guard row."""
    world = World()
    first = world.install().answer
    assert isinstance(first, Decided)
    assert [(c.key, c.maximum) for c in first.conditions] == [("root", 1)]
    world.install("other").refused("already_installed")


def test_only_the_installation_founds_a_root() -> None:
    command = Install(
        by=CITY,
        organisation="city",
        kind="federation",
        name="x",
        person="p",
        role="network_keeper",
        founded_on=BEGINNING,
    )
    given(ORGANISATION, (), "city").when(command).refused("not_installation")
    World().found("a", "city", by=INSTALLATION).refused("not_network_keeper")


def test_an_organisation_is_founded_with_its_parent_and_first_offices_in_one_write() -> None:
    world = World()
    world.install()
    world.found("county", "city", [("r", "reviewer"), ("a", "approver")]).then_types(
        OrganisationFounded, EdgeOpened, OfficeTaken, OfficeTaken
    )
    directory = world.situation().directory
    assert directory.parent("county", TODAY) == "city"
    assert directory.holder("county", "approver", TODAY) == "a"


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (keeper("county"), None),  # the parent's own keeper
        (keeper("city"), None),  # one above it
        (keeper("union"), "not_network_keeper"),  # one below it
        (keeper("other"), "not_network_keeper"),  # one beside it
        (Actor("p", "chair", "county"), "not_network_keeper"),  # another office
    ],
)
def test_the_keeper_of_the_parent_or_above_founds_a_child(by: Actor, code: str | None) -> None:
    world = small_network()
    world.found("other", "city")
    outcome = world.found("new", "county", by=by)
    if code:
        outcome.refused(code)
    else:
        outcome.then_types(OrganisationFounded, EdgeOpened)


def test_what_is_founded_is_new_not_ahead_of_today_and_under_what_stands() -> None:
    world = small_network()
    world.found("union", "station").refused("organisation_exists")
    assert world.found("new", "city", founded_on=TOMORROW).refused("wrong_day").field
    world.found("new", "city", founded_on=date(2023, 1, 1)).refused("no_such_organisation")
    world.found("new", "nowhere").refused("not_network_keeper")
    world.ask("union", Close(by=CITY, closed_on=TODAY))
    world.found("new", "union").refused("no_such_organisation")


def test_an_office_is_taken_once_and_a_chair_by_one_person() -> None:
    world = small_network()
    take = TakeOffice(by=CITY, person="chair-1", role="chair", from_day=TODAY)
    world.ask("union", take).refused("office_taken")
    other = take.model_copy(update={"person": "chair-2"})
    world.ask("union", other).refused("office_taken")
    world.ask("union", other.model_copy(update={"role": "handler"})).then_types(OfficeTaken)
    world.found("u2", "station", [("p", "visitor"), ("p", "visitor")]).refused("office_taken")


def test_a_chair_changes_on_a_day() -> None:
    """An office is held from a day to a day; the next may begin on the first day after."""
    world = small_network()
    leave = LeaveOffice(by=CITY, person="chair-1", role="chair", to_day=TODAY)
    world.ask("union", leave).then(
        OfficeLeft(person="chair-1", organisation="union", role="chair", to_day=TODAY)
    )
    take = TakeOffice(by=CITY, person="chair-2", role="chair", from_day=YESTERDAY)
    world.ask("union", take).refused("office_taken")
    world.ask("union", take.model_copy(update={"from_day": TODAY})).then_types(OfficeTaken)
    directory = world.situation().directory
    assert directory.holder("union", "chair", YESTERDAY) == "chair-1"
    assert directory.holder("union", "chair", TODAY) == "chair-2"
    world.ask("union", leave).refused("not_in_office")


def test_an_office_may_be_entered_ahead_but_not_before_the_founding() -> None:
    world = small_network()
    take = TakeOffice(by=CITY, person="v", role="visitor", from_day=TOMORROW)
    world.ask("union", take).then_types(OfficeTaken)
    early = take.model_copy(update={"person": "w", "from_day": date(2023, 12, 31)})
    world.ask("union", early).refused("wrong_day")
    leave = LeaveOffice(by=CITY, person="v", role="visitor", to_day=TOMORROW)
    assert world.ask("union", leave).refused("wrong_day").field == "to_day"


def test_the_root_is_arranged_by_its_own_keeper_and_never_left_without_one() -> None:
    world = small_network()
    leave = LeaveOffice(by=CITY, person="keeper-city", role="network_keeper", to_day=TODAY)
    world.ask("city", leave).refused("last_keeper")
    take = TakeOffice(by=CITY, person="successor", role="network_keeper", from_day=TODAY)
    world.ask("city", take).then_types(OfficeTaken)
    world.ask("city", leave).then_types(OfficeLeft)


def test_a_lower_keeper_arranges_what_is_below_and_not_their_own_organisation() -> None:
    world = small_network()
    take = TakeOffice(by=keeper("county"), person="x", role="approver", from_day=TODAY)
    world.ask("county", take).refused("not_network_keeper")
    world.ask("station", take).then_types(OfficeTaken)


def test_an_organisation_moves_in_one_write() -> None:
    world = small_network()
    world.found("county2", "city")
    world.ask("station", Move(by=CITY, parent="county2", from_day=TODAY)).then(
        EdgeClosed(child="station", parent="county", to_day=TODAY),
        EdgeOpened(child="station", parent="county2", from_day=TODAY),
    )
    directory = world.situation().directory
    assert directory.ancestors("union", YESTERDAY) == ["station", "county", "city"]
    assert directory.ancestors("union", TODAY) == ["station", "county2", "city"]


def test_no_circle() -> None:
    """Not under itself, not under what stands below it."""
    world = small_network()
    for below in ("county", "station", "union"):
        outcome = world.ask("county", Move(by=CITY, parent=below, from_day=TODAY))
        outcome.refused("circle")
        assert len(outcome.given.state.edges) == 1
    world.ask("city", OpenEdge(by=CITY, parent="union", from_day=TODAY)).refused("circle")


def test_a_circle_on_a_past_day_is_one_too() -> None:
    """An edge entered late must not close a circle on any day since it began."""
    world = small_network()
    world.found("a", "city")
    world.found("b", "a")
    # b was under a until today; a is put under b from yesterday on.
    world.ask("b", Move(by=CITY, parent="county", from_day=TODAY)).then_types(
        EdgeClosed, EdgeOpened
    )
    world.ask("a", Move(by=CITY, parent="b", from_day=YESTERDAY)).refused("circle")
    world.ask("a", Move(by=CITY, parent="b", from_day=TODAY)).then_types(EdgeClosed, EdgeOpened)


def test_one_parent_on_one_day() -> None:
    world = small_network()
    world.found("county2", "city")
    open_edge = OpenEdge(by=CITY, parent="county2", from_day=TODAY)
    world.ask("station", open_edge).refused("two_parents")
    world.ask("station", EndEdge(by=CITY, parent="county2", to_day=TODAY)).refused("no_such_edge")
    world.ask("station", EndEdge(by=CITY, parent="county", to_day=TODAY)).then_types(EdgeClosed)
    early = open_edge.model_copy(update={"from_day": YESTERDAY})
    world.ask("station", early).refused("two_parents")
    world.ask("station", open_edge).then_types(EdgeOpened)


def test_whoever_keeps_both_sides_moves_an_organisation() -> None:
    world = small_network()
    world.found("county2", "city", [("keeper-county2", "network_keeper")])
    for half in (keeper("county"), keeper("county2")):
        move = Move(by=half, parent="county2", from_day=TODAY)
        world.ask("station", move).refused("not_network_keeper")


def test_a_tree_that_changed_behind_ones_back_is_looked_at_again() -> None:
    """Circles are judged on a copy of the tree: an older one decides nothing."""
    world = small_network()
    world.found("county2", "city")
    world.guards["tree"] += 1
    move = Move(by=CITY, parent="county2", from_day=TODAY)
    world.ask("station", move).refused("tree_moved")
    world.ask("union", Close(by=CITY, closed_on=TODAY)).refused("tree_moved")


def test_an_organisation_closes_when_nothing_open_stands_below() -> None:
    world = small_network()
    close = Close(by=CITY, closed_on=TODAY)
    world.ask("station", close).refused("has_children")
    world.ask("union", close).then(OrganisationClosed(organisation="union", closed_on=TODAY))
    world.ask("union", close).refused("organisation_closed")
    assert world.situation().directory.offices_of("chair-1", TODAY) == []
    take = TakeOffice(by=CITY, person="x", role="visitor", from_day=TODAY)
    world.ask("union", take).refused("organisation_closed")
    world.ask("station", close).then_types(OrganisationClosed)


def test_a_closed_organisation_keeps_its_place() -> None:
    """Those above still see what it held."""
    world = small_network()
    world.ask("union", Close(by=CITY, closed_on=TODAY))
    assert world.situation().directory.ancestors("union", TODAY) == ["station", "county", "city"]


def test_an_end_lies_after_its_beginning_and_not_ahead() -> None:
    world = small_network()
    for command, field in (
        (Close(by=CITY, closed_on=TOMORROW), "closed_on"),
        (Close(by=CITY, closed_on=date(2023, 12, 31)), "closed_on"),
        (EndEdge(by=CITY, parent="station", to_day=BEGINNING), "to_day"),
        (EndEdge(by=CITY, parent="station", to_day=TOMORROW), "to_day"),
        (Move(by=CITY, parent="county", from_day=TOMORROW), "from_day"),
        (Move(by=CITY, parent="county", from_day=BEGINNING), "from_day"),
    ):
        assert world.ask("union", command).refused("wrong_day").field == field


def test_a_role_is_delegated_from_a_day_to_a_day() -> None:
    world = small_network()
    give = GiveDelegation(by=CITY, to_organisation="station", role="handler", from_day=YESTERDAY)
    world.ask("union", give).then_types(DelegationGiven)
    world.ask("union", give).refused("delegated_already")
    assert world.situation().directory.delegates("union", "handler", TODAY) == ["station"]
    end = EndDelegation(by=CITY, to_organisation="station", role="handler", to_day=TODAY)
    world.ask("union", end).then_types(DelegationEnded)
    assert world.situation().directory.delegates("union", "handler", TODAY) == []
    world.ask("union", end).refused("not_delegated")
    itself = give.model_copy(update={"to_organisation": "union"})
    world.ask("union", itself).refused("delegated_to_itself")
    nowhere = give.model_copy(update={"to_organisation": "nowhere"})
    world.ask("union", nowhere).refused("no_such_organisation")


def test_nothing_is_arranged_of_what_was_never_founded() -> None:
    World().ask("x", Close(by=CITY, closed_on=TODAY)).refused("unknown")


def test_its_document_shows_offices_and_edges_with_their_days() -> None:
    (view,) = small_network().streams["union"].views("organisation")
    assert view.status == "open"
    assert view.document["edges"] == [{"parent": "station", "from_day": BEGINNING, "to_day": None}]
    assert [office["role"] for office in view.document["offices"]] == ["chair", "handler"]
