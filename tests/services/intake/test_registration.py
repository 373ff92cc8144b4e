"""Forwarding, registration, rejection by a person, and the end of hardship."""

from datetime import timedelta
from typing import Any

import pytest

from services.intake.decisions.registration import (
    EndHardship,
    ForwardFile,
    RegisterFile,
    RejectCase,
    TakePlacement,
)
from services.intake.decisions.state import stage_of
from services.intake.facts import (
    CaseRejected,
    FileDeregistered,
    FileForwarded,
    FileRegistered,
    HardshipEndDeclined,
    HardshipEnded,
    HardshipEndProposed,
    Student,
)
from services.intake.main import ROOM
from shared.directory import Office
from tests.given_when_then import SUBJECT, TODAY, Given, sealed
from tests.services.intake.world import (
    APPLICANT,
    CHILD,
    FUND,
    LONG_AGO,
    a_visit,
    acceptance,
    accepted,
    actor,
    confirmation,
    elapsed,
    forwarded,
    hash_of,
    new_case,
    on,
    person,
    reconciled,
    reconciliation,
    registered,
    signature,
    signed,
    signing,
    submission,
    submitted,
    tell,
)

APPROVER = actor("county", "approver")
STATION = actor("station-1", "handler")


def test_the_station_forwards_to_the_centre_above() -> None:
    """K9, K10: only after both signatures, to the help centre that reviews."""
    case = signed()
    case.when(ForwardFile(by=STATION), on()).then(
        FileForwarded(case_id=SUBJECT, form_hash=hash_of(case), centre_id="county")
    )
    case.when(ForwardFile(by=actor("union-1", "handler")), on()).refused("wrong_office")
    signing().when(ForwardFile(by=STATION), on()).refused("wrong_stage")


def test_under_an_industrial_union_the_city_is_the_centre() -> None:
    """No centre stands in between, so the root of the tree acts as one."""
    case = tell(
        new_case(),
        submission("union-2"),
        acceptance("industry"),
        a_visit("grassroots", actor("union-2", "visitor")),
        a_visit("station", actor("industry", "visitor")),
        reconciliation("industry"),
        confirmation(reviewer=person("city", "reviewer")),
    )
    case = tell(case, elapsed(case, "workplace"), elapsed(case, "station"))
    case = tell(
        case,
        signature(case, "handler", actor("union-2", "handler")),
        signature(case, "chair", actor("union-2", "chair")),
        ForwardFile(by=actor("industry", "handler")),
    )
    assert case.work()["register"].organisation == "city"
    case.when(RegisterFile(by=actor("city", "approver")), on()).then_types(FileRegistered)


def test_registration_says_once_what_the_others_need() -> None:
    """K10: class, fund, persons, workers, students, payee, and who did what."""
    fact = forwarded().when(RegisterFile(by=APPROVER), on()).then_types(FileRegistered).facts[0]
    assert isinstance(fact, FileRegistered)
    assert fact.fund == FUND
    assert fact.persons == (APPLICANT, CHILD)
    assert fact.workers == (APPLICANT,)
    assert fact.students == (Student(person_id=CHILD, school="school-a"),)
    assert fact.payee is not None
    assert fact.visitors == (person("union-1", "visitor"), person("station-1", "visitor"))
    assert fact.signers == (person("union-1", "handler"), person("union-1", "chair"))
    assert (fact.reviewer, fact.approver) == (person("county", "reviewer"), APPROVER.person)


def test_only_the_centres_approver_registers() -> None:
    for by in (actor("county", "reviewer"), actor("city", "approver"), STATION):
        forwarded().when(RegisterFile(by=by), on()).refused("wrong_office")
    signed().when(RegisterFile(by=APPROVER), on()).refused("wrong_stage")


@pytest.mark.parametrize(
    "who",
    [
        person("county", "reviewer"),
        person("union-1", "visitor"),
        person("station-1", "visitor"),
        person("union-1", "handler"),
        person("union-1", "chair"),
    ],
)
def test_the_approver_did_nothing_else_in_the_case(who: str) -> None:
    """Reading 18, invariant 10: reviewer ≠ approver, and neither visited nor signed."""
    seat = Office(who, "county", "approver", LONG_AGO)
    told = RegisterFile(by=actor("county", "approver", who))
    forwarded().when(told, on(TODAY, seat)).refused("duties_not_apart")


def test_a_reviewer_who_visited_blocks_registration() -> None:
    """Reading 18 holds whatever another service has let pass."""
    case = tell(reconciled(), confirmation(reviewer=person("station-1", "visitor")))
    case = tell(case, elapsed(case, "workplace"), elapsed(case, "station"))
    case = tell(case, signature(case, "handler"), signature(case, "chair"), ForwardFile(by=STATION))
    case.when(RegisterFile(by=APPROVER), on()).refused("duties_not_apart")


# Rejection by a person


def rejection(by: Any, **changes: Any) -> RejectCase:
    told: dict[str, Any] = {"by": by, "rule": "K6", "reasons": ("visit_refused",)}
    return RejectCase(**{**told, **changes})


def test_the_station_rejects_before_the_class_is_settled() -> None:
    """After acceptance a case is rejected, with rule and reasons, and its persons are free."""
    explanation = sealed("free_text", "explanation")
    told = rejection(STATION, reasons=("false_statement", "moved_out"), explanation=explanation)
    accepted().when(told, on()).then(
        CaseRejected(
            case_id=SUBJECT,
            stage="application",
            rule="K6",
            reasons=("false_statement", "moved_out"),
            review_until=TODAY + timedelta(days=30),
            persons=(APPLICANT, CHILD),
            explanation=explanation,
        )
    )
    reconciled().when(rejection(STATION), on()).then_types(CaseRejected)
    accepted().when(rejection(actor("union-1", "handler")), on()).refused("wrong_office")


def test_the_approver_rejects_instead_of_registering() -> None:
    fact = forwarded().when(rejection(APPROVER), on()).then_types(CaseRejected).facts[0]
    assert isinstance(fact, CaseRejected)
    assert fact.stage == "registration"
    forwarded().when(rejection(STATION), on()).refused("wrong_office")


def test_nothing_is_rejected_before_acceptance_nor_twice_nor_once_on_file() -> None:
    """Before acceptance an application is returned and lapses; a file ends otherwise."""
    submitted().when(rejection(STATION), on()).refused("wrong_stage")
    signing().when(rejection(STATION), on()).refused("wrong_stage")
    registered().when(rejection(APPROVER), on()).refused("wrong_stage")
    tell(accepted(), rejection(STATION)).when(rejection(STATION), on()).refused("wrong_stage")


# The end of hardship


def placement(number: int = 1) -> TakePlacement:
    return TakePlacement(person_id=APPLICANT, placement_id=f"placement-{number}")


def ending(confirm: bool, reasons: str | None = None, number: int = 1) -> EndHardship:
    return EndHardship(
        by=STATION, placement_id=f"placement-{number}", confirm=confirm, reasons=reasons
    )


def test_a_placement_proposes_the_end_and_a_person_confirms_it() -> None:
    """Reading 17: the engine proposes; the escape and the removal are one write."""
    outcome = registered().when(placement(), on())
    outcome.then(
        HardshipEndProposed(
            case_id=SUBJECT, exit="reemployed", person_id=APPLICANT, placement_id="placement-1"
        )
    )
    case = outcome.afterwards()
    assert set(case.work()) == {"confirm_hardship_end"}
    ended = case.when(ending(True), on())
    ended.then(
        HardshipEnded(case_id=SUBJECT, exit="reemployed", placement_id="placement-1"),
        FileDeregistered(
            case_id=SUBJECT,
            household_id="household-1",
            exit="reemployed",
            persons=(APPLICANT, CHILD),
        ),
    )
    assert stage_of(ended.afterwards().state) == "deregistered"
    assert ended.afterwards().work() == {}


def test_a_declined_end_lets_the_file_go_on() -> None:
    case = tell(registered(), placement())
    case.when(ending(False), on()).refused("reasons_missing")
    reasons = sealed("free_text", "reasons")
    outcome = case.when(ending(False, reasons), on())
    outcome.then(HardshipEndDeclined(case_id=SUBJECT, placement_id="placement-1", reasons=reasons))
    case = outcome.afterwards()
    assert stage_of(case.state) == "registered"
    case.when(placement(), on()).then()
    case.when(placement(2), on()).then_types(HardshipEndProposed)


def test_each_placement_is_judged_by_itself() -> None:
    """Two members found work: two proposals, two tasks."""
    case = tell(registered(), placement(), placement(2))
    assert len(case.views("work")) == len({view.key for view in case.views("work")}) == 2
    case.when(ending(True, number=3), on()).refused("nothing_proposed")
    case = tell(case, ending(False, sealed("free_text", "reasons"), 2))
    assert stage_of(case.state) == "end_proposed"
    case.when(ending(True), on()).then_types(HardshipEnded, FileDeregistered)


def test_only_a_file_ends_so_and_only_the_station_says_so() -> None:
    signed().when(placement(), on()).then()
    registered().when(ending(True), on()).refused("wrong_stage")
    by_union = EndHardship(by=actor("union-1", "handler"), placement_id="placement-1", confirm=True)
    tell(registered(), placement()).when(by_union, on()).refused("wrong_office")


def test_a_removed_file_frees_its_persons_for_another() -> None:
    case: Given = tell(registered(), placement(), ending(True))
    removed = case.recorded[-1]
    assert ROOM.guard_changes(removed.read(ROOM.reads), removed) == [
        (f"open_file|{APPLICANT}", -1),
        (f"open_file|{CHILD}", -1),
    ]
