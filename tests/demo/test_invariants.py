"""DOMAIN §5 over every case of a whole demo, from the topics' facts alone, in causal order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from tests.demo import invariants
from tests.demo.conftest import Demo
from tests.demo.log import Case

OF_A_CASE: Final[dict[str, Callable[[Case], Iterator[str]]]] = {
    "1 filed in order": invariants.not_filed_in_order,
    "2 no open objection passed over": invariants.objections_passed_over,
    "7 nothing paid twice": invariants.paid_twice,
    "10 duties apart": invariants.duties_not_apart,
}


@pytest.mark.parametrize("invariant", sorted(OF_A_CASE))
def test_every_case_keeps_the_invariant(demo: Demo, invariant: str) -> None:
    """Each of the two hundred, judged by what each fact knew of the others."""
    check = OF_A_CASE[invariant]
    numbers = demo.run.story.number_by_case
    broken = {
        numbers[case_id]: found
        for case_id, case in demo.log.cases.items()
        if (found := list(check(case)))
    }
    assert broken == {}


def test_no_cap_is_exceeded_after_any_prefix(demo: Demo) -> None:
    """3: computed − refused ≤ cap for every fund, programme, subject and year."""
    assert list(invariants.caps_exceeded(demo.log.facts)) == []
    assert list(invariants.singles_exceeded(demo.log.facts)) == []


def test_causes_stand_before_their_effects(demo: Demo) -> None:
    """The order of replay puts no fact before one that it knew of."""
    for case in demo.log.cases.values():
        for place, told in enumerate(case):
            assert not any(told.knows(later) for later in case[place + 1 :])


# Each check is seen to fail: a registered case with one thing taken away or changed


@pytest.fixture
def registered(demo: Demo) -> Case:
    """A case on file that was paid, with all that belongs to it."""
    return next(
        case
        for case in demo.log.cases.values()
        if case.named("FileRegistered") and case.named("PayoutConfirmed")
    )


@pytest.mark.parametrize(
    "name",
    [
        "VisitCompleted",
        "VisitsReconciled",
        "EligibilityConfirmed",
        "NoticePosted",
        "NoticeElapsed",
        "Signed",
        "FileForwarded",
    ],
)
def test_a_file_without_a_step_is_seen(registered: Case, name: str) -> None:
    """One of the facts on the way to the register is not there."""
    missing = registered.named(name)[0]
    assert list(invariants.not_filed_in_order(Case(t for t in registered if t is not missing)))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("VisitCompleted", "organisation_id", "one-for-both"),
        ("VisitCompleted", "visitors", ["one.for-both"]),
        ("NoticePosted", "last_day", "2025-01-01"),
        ("NoticeElapsed", "form_hash", "another"),
        ("NoticeElapsed", "last_day", "2025-12-31"),
        ("Signed", "form_hash", "another"),
        ("Signed", "signer", "one.for-both"),
    ],
)
def test_a_file_with_a_wrong_step_is_seen(
    registered: Case, name: str, field: str, value: object
) -> None:
    """One value on the way to the register is another."""
    assert list(invariants.not_filed_in_order(changed(registered, name, field, value)))


@pytest.mark.parametrize(
    ("name", "field", "of"),
    [
        ("EligibilityConfirmed", "reviewer", "VisitCompleted"),
        ("FileRegistered", "approver", "Signed"),
        ("AwardApproved", "approver", "EligibilityConfirmed"),
        ("PayoutIssued", "checker", "AwardApproved"),
    ],
)
def test_duties_in_one_hand_are_seen(registered: Case, name: str, field: str, of: str) -> None:
    """The person of one duty also does another."""
    actor = registered.named(of)[0].recorded.actor.person
    assert list(invariants.duties_not_apart(changed(registered, name, field, actor)))


def test_an_award_above_its_cap_is_seen(registered: Case) -> None:
    """A single award as large as two years' standards."""
    spoilt = changed(registered, "AwardComputed", "amount_fen", 3_000_000)
    assert list(invariants.caps_exceeded(spoilt))


def test_a_payment_made_twice_is_seen(registered: Case) -> None:
    """The same confirmation again, as another payout of the same instalment."""
    confirmed = registered.named("PayoutConfirmed")
    assert list(invariants.paid_twice(Case([*registered, confirmed[0]])))
    planned = registered.named("PayoutPlanned")[0]
    again = replace(planned, data={**planned.data, "payout_id": "another"})
    assert list(invariants.paid_twice(Case([*registered, again])))


def changed(case: Case, name: str, field: str, value: object) -> Case:
    """The case with that value in every fact of that name."""
    return Case(
        replace(told, data={**told.data, field: value}) if told.name == name else told
        for told in case
    )
