"""Whoever enrols whom in whichever class: never more than places and ordered heads."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from services.training.main import ROOM
from shared.room import Decided
from tests.given_when_then import given as given_stream
from tests.services.training.slips import (
    CLASS,
    around,
    certify,
    enrol,
    on_file,
    open_class,
    place,
)

CLASSES = ("class-1", "class-2", "class-3")
step = st.tuples(
    st.sampled_from(["enrol", "enrol", "certify", "place"]),
    st.integers(0, 3),
    st.sampled_from(["worker-1", "worker-2"]),
    st.sampled_from(CLASSES),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=3, max_size=3),
    st.integers(1, 4),
    st.lists(step, max_size=30),
)
def test_heads_and_places_are_never_exceeded(
    sizes: list[int], heads: int, steps: list[tuple[str, int, str, str]]
) -> None:
    guards: Counter[str] = Counter()
    slips = around(order={"heads": heads}, menu={"places": 3})
    documents = dict(slips.documents)
    for class_id, places in zip(CLASSES, sizes, strict=True):
        situation = around(guards=guards, order={"heads": heads}, menu={"places": 3})
        outcome = given_stream(CLASS, identity=class_id).when(open_class(places=places), situation)
        if isinstance(outcome.answer, Decided):
            after = outcome.afterwards()
            guards.update(dict(ROOM.guard_changes(outcome.facts[0], after.recorded[0])))
            (view,) = after.views("class")
            days = {"opened_on": view.document["opened_on"].isoformat()}
            documents["class", class_id] = {**view.document, **days}
        else:
            documents.pop(("class", class_id), None)
    cases = [on_file() for _ in range(4)]
    commands = {"enrol": enrol, "certify": certify, "place": place}
    for name, number, person_id, class_id in steps:
        command = commands[name](person_id=person_id, class_id=class_id)
        situation = replace(around(guards=guards), documents=documents)
        outcome = cases[number].when(command, situation)
        if isinstance(outcome.answer, Decided):
            before = len(cases[number].recorded)
            cases[number] = outcome.afterwards()
            for recorded in cases[number].recorded[before:]:
                fact = recorded.read(ROOM.states)
                guards.update(dict(ROOM.guard_changes(fact, recorded)))
    enrolled = Counter(e.class_id for case in cases for e in case.state.enrolments)
    assert sum(enrolled.values()) <= heads
    assert all(
        enrolled[class_id] <= documents["class", class_id]["places"] for class_id in enrolled
    )
    placed = [e for case in cases for e in case.state.enrolments if e.placement_id]
    assert all(e.certificate_id for e in placed)
    assert guards["order|order-1|placed"] == len(placed) <= heads
