"""In whatever order things happen: no notice elapses while an objection is open (invariant 2)."""

from collections.abc import Sequence
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.notice.decisions.commands import RaiseObjection
from services.notice.facts import NoticeElapsed, NoticePosted, NoticeRemoved
from services.notice.main import ROOM
from shared.room import Command, Decided
from tests.given_when_then import Given
from tests.services.notice.cases import (
    DAY,
    a_form,
    around,
    closed,
    decision,
    elapse,
    investigation,
    objection,
    post,
    registered,
)

IDS = ("o-1", "o-2")
identity = st.sampled_from(IDS)
Step = tuple[int, Command | str]
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.one_of(
            st.just("timer"),
            st.sampled_from(["workplace", "station"]),
            identity.map(objection),
            st.builds(investigation, identity),
            st.builds(decision, st.sampled_from(["dismissed", "dismissed", "upheld"]), identity),
            st.sampled_from([registered(), closed(), "timer", "timer"]),
        ),
    ),
    max_size=30,
)


def command_of(step: Command | str, case: Given, today: date) -> Command | None:
    """A timer fires only if its row is there and due, as it does in the service."""
    match step:
        case "workplace" | "station" as place:
            return post("workplace" if place == "workplace" else "station", today)
        case "timer":
            rows = case.views("timer")
            due = rows[0].due_on if rows else None
            return elapse(due) if due is not None and due <= today else None
        case Command():
            return step
        case _:
            raise AssertionError(step)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_no_notice_elapses_while_an_objection_is_open(history: Sequence[Step]) -> None:
    today = DAY
    # Half of the histories begin with a board hung already, so that most come to their last day.
    begun = a_form(DAY).when(post("station", DAY), around(DAY)).afterwards()
    case = begun if len(history) % 2 else a_form(DAY)
    for wait, step in history:
        today += timedelta(days=wait)
        command = command_of(step, case, today)
        if command is None:
            continue
        if isinstance(command, RaiseObjection) and case.state.objection(command.objection_id):
            continue  # the door gives every objection an id of its own
        outcome = case.when(command, around(today))
        if not isinstance(outcome.answer, Decided):
            continue
        if step == "timer":
            assert outcome.facts, "a timer that fires without effect would be stuck"
        elapsed = [f for f in outcome.facts if isinstance(f, NoticeElapsed)]
        if elapsed:
            assert not case.state.open_objections
            assert all(fact.last_day < today for fact in elapsed)
        case = outcome.afterwards()
    _check_log(case)


def _check_log(case: Given) -> None:
    """By the log alone: each notice comes down at most once, and elapses only while it hangs."""
    facts = [recorded.read(ROOM.states) for recorded in case.recorded]
    posted = [f.notice_id for f in facts if isinstance(f, NoticePosted)]
    removed = [f.notice_id for f in facts if isinstance(f, NoticeRemoved)]
    assert len(set(posted)) == len(posted)
    assert len(set(removed)) == len(removed)
    for index, fact in enumerate(facts):
        if isinstance(fact, NoticeElapsed):
            after = facts[index + 1]
            assert isinstance(after, NoticeRemoved)
            assert (after.notice_id, after.reason) == (fact.notice_id, "elapsed")


@given(st.dates(date(2024, 1, 1), date(2026, 11, 1)))
def test_a_notice_lasts_at_least_five_full_days(day: date) -> None:
    """K8: each notice lasts at least 5 days, whatever day it is posted on."""
    stated = a_form(day).when(post("workplace", day), around(day)).facts[0]
    assert isinstance(stated, NoticePosted)
    assert stated.last_day - day >= timedelta(days=5)
