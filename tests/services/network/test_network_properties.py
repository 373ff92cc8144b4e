"""Whatever keepers ask for, in any order: one root, one parent on a day, no circle."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.network.decisions.commands import Close, EndEdge, Move, OpenEdge
from shared.room import Command
from tests.given_when_then import TODAY
from tests.services.network.world import BEGINNING, World, keeper

NAMES = ("city", "a", "b", "c", "d")
CITY = keeper("city")
name = st.sampled_from(NAMES)
day = st.integers(0, 3).map(lambda back: TODAY - timedelta(days=back))
asked: st.SearchStrategy[tuple[str, Command]] = st.one_of(
    st.tuples(name, st.builds(Move, by=st.just(CITY), parent=name, from_day=day)),
    st.tuples(name, st.builds(OpenEdge, by=st.just(CITY), parent=name, from_day=day)),
    st.tuples(name, st.builds(EndEdge, by=st.just(CITY), parent=name, to_day=day)),
    st.tuples(name, st.builds(Close, by=st.just(CITY), closed_on=day)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(asked, max_size=12))
def test_the_tree_stays_a_tree(commands: list[tuple[str, Command]]) -> None:
    world = World()
    world.install()
    for child in NAMES[1:]:
        world.found(child, "city")
    for organisation, command in commands:
        world.ask(organisation, command)
    directory = world.situation().directory
    for organisation in NAMES:
        edges = world.streams[organisation].state.edges
        for back in range(6):
            on = TODAY - timedelta(days=back)
            holding = [e for e in edges if e.from_day <= on and (e.to_day is None or on < e.to_day)]
            assert len(holding) <= 1
            assert organisation not in _way_up(world, organisation, on)
        assert directory.is_open(organisation, BEGINNING)
    assert world.guards["root"] == 1
    assert not world.streams["city"].state.edges or directory.parent("city", TODAY) != "city"


def _way_up(world: World, organisation: str, on: object) -> list[str]:
    """The parents by the streams themselves, independent of the directory's own care."""
    path: list[str] = []
    current = organisation
    while True:
        above = [
            e.parent
            for e in world.streams[current].state.edges
            if e.from_day <= on and (e.to_day is None or on < e.to_day)
        ]
        if not above or above[0] in path:
            return path
        path.append(above[0])
        current = above[0]
