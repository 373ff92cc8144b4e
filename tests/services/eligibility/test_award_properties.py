"""What holds for awards whatever order people, cases and payout act in (invariants 3, 4, 6-8).

Several cases of two households share the guard rows, as they would in the store.
"""

from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.eligibility.decisions.cover import ApproveAward, RefuseCover, TakeCover
from services.eligibility.decisions.files import CloseFile
from services.eligibility.facts import AwardComputed, AwardRefused
from services.eligibility.main import ROOM
from tests.services.eligibility.world import (
    APPROVER,
    DAY,
    FUND,
    RULES,
    Ask,
    Cases,
    ask,
    disaster,
    education,
    living,
    medical,
    on_file,
)

NEXT_YEAR = date(2016, 3, 1)
FEN = st.integers(1, 3_000_000)
CASE = st.sampled_from(["one", "two", "other"])

asks = st.one_of(
    st.builds(living, FEN),
    st.builds(education, FEN, school=st.sampled_from(["school-a", "school-b"])),
    st.builds(medical, st.integers(0, 30_000_000)),
    st.builds(disaster, FEN, loss_fen=st.integers(0, 3_000_000)),
)
steps = st.one_of(
    st.tuples(st.just("ask"), CASE, asks, st.sampled_from([DAY, NEXT_YEAR])),
    st.tuples(st.sampled_from(["cover", "refuse", "approve"]), CASE, st.integers(0, 9)),
    st.tuples(st.just("close"), CASE),
)


def cases() -> Cases:
    return Cases(
        one=on_file("case-1"),
        two=on_file("case-2"),
        other=on_file("case-3", household_id="household-2", persons=("person-1", "person-3")),
    )


def play(told: list[tuple[Any, ...]]) -> Cases:
    world = cases()
    for number, (what, case, *rest) in enumerate(told):
        if what == "ask":
            asked, day = rest
            world.tell(case, ask(asked, f"award-{number}", day), day)
        elif what == "close":
            world.tell(case, CloseFile(exit="reemployed"))
        else:
            act_on(world, what, case, rest[0])
    return world


def act_on(world: Cases, what: str, case: str, which: int) -> None:
    awards = world.cases[case].state.awards
    if not awards:
        return
    award = awards[which % len(awards)]
    amount_fen = award.computed.amount_fen if award.computed else 0
    commands: dict[str, Any] = {
        "cover": TakeCover(award_id=award.award_id, amount_fen=amount_fen),
        "refuse": RefuseCover(award_id=award.award_id, reason="INSUFFICIENT_FUNDS"),
        "approve": ApproveAward(by=APPROVER, award_id=award.award_id),
    }
    world.tell(case, commands[what])


def limit_of(key: str) -> int:
    """The law's cap, straight from the parameters; a disaster's cap is one award an incident."""
    kind, _, *rest = key.split("|")
    if kind == "incident":
        return 1
    if kind == "basis":
        return 2**53
    programme, year = rest[0], int(rest[2])
    day = DAY if year == DAY.year else NEXT_YEAR
    rules = RULES.parameters.rules(FUND, day, day)
    assert rules is not None
    if programme == "living":
        months = [date(year, month, 1) for month in range(1, 13)]
        found = [RULES.parameters.standard(FUND, m, day) for m in months]
        return sum(version.value for version in found if version is not None)
    return {
        "education": rules.value.education_annual_fen,
        "medical": rules.value.medical_annual_fen,
        "disaster": rules.value.disaster_single_fen,
    }[programme]


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=25))
def test_no_cap_is_exceeded_after_any_prefix_of_the_log(told: list[tuple[Any, ...]]) -> None:
    """Computed − refused ≤ cap, for every fund, programme, subject and year (invariant 3)."""
    for prefix in play(told).history:
        for key, value in prefix.items():
            assert 0 <= value <= limit_of(key), key


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
def test_guard_rows_are_the_sums_of_the_facts(told: list[tuple[Any, ...]]) -> None:
    """Rebuilt from what still holds, they are those that were kept."""
    world = play(told)
    awarded: dict[str, int] = {}
    for case in world.cases.values():
        for award in case.state.awards:
            if award.computed is not None and award.refused is None:
                fact = award.computed
                key = f"cap|{fact.fund}|{fact.programme}|{fact.cap_subject}|{fact.cap_year}"
                awarded[key] = awarded.get(key, 0) + fact.amount_fen
    kept = {key: value for key, value in world.guards.items() if key.startswith("cap|") and value}
    assert kept == {key: value for key, value in awarded.items() if value}


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=20))
def test_replay_gives_the_same_state_and_the_same_amounts(told: list[tuple[Any, ...]]) -> None:
    """With the versions that the facts name, the same amounts come out again (invariant 6)."""
    world = play(told)
    for case in world.cases.values():
        stream = case.kind.stream(case.identity)
        assert ROOM.fold(stream, case.recorded) == case.state
        for award in case.state.awards:
            if award.computed is not None:
                bounds = [cap.room_fen for cap in award.computed.caps]
                if award.requested.asked_fen is not None:
                    bounds.append(award.requested.asked_fen)
                assert award.computed.amount_fen == min(bounds)
                assert award.computed.versions


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(CASE.filter(lambda c: c != "other"), st.integers(0, 4_000_000)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_splitting_or_reordering_bills_changes_no_years_total(
    bills: list[tuple[str, int]], random: Any
) -> None:
    """Whichever of the household's cases presents which bill (invariant 4)."""
    presented = [*bills, *[("one", 7)] * 2]
    shuffled = list(presented)
    random.shuffle(shuffled)
    split = [
        (case, part)
        for case, fen in presented
        for part in ((fen // 3, fen - fen // 3) if fen else (0,))
    ]
    totals = {_medical_total(order) for order in (presented, shuffled, split)}
    assert len(totals) == 1


def _medical_total(bills: list[tuple[str, int]]) -> int:
    world = cases()
    for number, (case, fen) in enumerate(bills):
        world.tell(case, ask(medical(fen), f"award-{number}"))
    return world.guards[f"cap|{FUND}|medical|household-1|{DAY.year}"]


@settings(max_examples=60, deadline=None)
@given(asks, st.dates(date(2013, 1, 1), date(2015, 7, 31)))
def test_a_gap_in_the_rules_never_yields_an_amount(asked: Ask, day: date) -> None:
    """Before the fund's rule, and for a fund without one, nothing is awarded (invariant 8)."""
    for fund, when in ((FUND, day), ("sample-district", DAY)):
        world = cases()
        outcome = world.tell("one", ask(asked, fund=fund, day=when), when)
        assert not [f for f in outcome.facts if isinstance(f, AwardComputed)]
        (refusal,) = [f for f in outcome.facts if isinstance(f, AwardRefused)]
        assert refusal.reason == "NO_RULE_IN_FORCE"
        assert not +world.guards


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
def test_only_covered_awards_are_approved_and_each_ends_once(told: list[tuple[Any, ...]]) -> None:
    """An award is approved under its cover, and what is approved is never refused after."""
    for case in play(told).cases.values():
        names: dict[str, list[str]] = {}
        for recorded in case.recorded:
            fact = recorded.read(ROOM.reads)
            award_id = getattr(fact, "award_id", None)
            if award_id is not None:
                names.setdefault(award_id, []).append(type(fact).__name__)
        for stated in names.values():
            assert len(stated) == len(set(stated))
            if "AwardApproved" in stated:
                assert stated == [
                    "AwardRequested",
                    "AwardComputed",
                    "CoverTakenOver",
                    "AwardApproved",
                ]
