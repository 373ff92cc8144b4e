"""What others state becomes a command of ours, and the case takes it in."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from services.eligibility.decisions.cover import RefuseCover, TakeCover
from services.eligibility.facts import (
    AwardRefused,
    EligibilityDetermined,
    FileClosed,
    FileTakenOver,
    RejectionTakenOver,
)
from services.eligibility.main import ROOM
from services.intake import facts as intake
from services.payout import facts as payout
from shared.fact import Fact, Recorded
from shared.room import Tell
from tests.given_when_then import SUBJECT, Given, given
from tests.services.eligibility.neighbours import (
    cover_reserved,
    file_registered,
    visits_reconciled,
)
from tests.services.eligibility.world import DECISIONS, ask, living, on_file, situation

HEARD: Recorded = on_file().recorded[0]
DAY = date(2025, 3, 3)


def told(fact: Fact) -> Tell:
    todos: Sequence[Any] = ROOM.reactions[type(fact)](fact, HEARD)
    (tell,) = todos
    assert isinstance(tell, Tell)
    assert (tell.kind, tell.identity) == ("decisions", SUBJECT)
    return tell


def after(case: Given, *facts: Fact) -> Given:
    for fact in facts:
        case = case.when(told(fact).command, situation(DAY)).afterwards()
    return case


def test_reconciled_visits_are_determined_on_the_values_that_hold() -> None:
    incident = intake.Incident(
        incident_id="fire", kind="accident", occurred_on=date(2025, 1, 9), hardship_found=True
    )
    fact = visits_reconciled(SUBJECT, "household-1", incident=incident)
    (stated,) = [r.read(ROOM.reads) for r in after(given(DECISIONS), fact).recorded]
    assert isinstance(stated, EligibilityDetermined)
    assert stated.classes == ("low_income", "stricken")
    assert (stated.incident_kind, stated.incident_on) == ("accident", date(2025, 1, 9))


def test_the_outcome_of_a_referral_is_determined_again() -> None:
    referred = visits_reconciled(
        SUBJECT, "household-1", relief="not_applied", hardship_after_relief=None
    )
    outcome = intake.ReliefOutcomeRecorded(
        case_id=SUBJECT, relief="refused", hardship_after_relief=True, reasons=None
    )
    state = after(given(DECISIONS), referred, outcome).state
    assert (state.determined.outcome, state.determined.relief) == ("eligible", "refused")


def test_a_rejected_case_is_taken_off_the_list() -> None:
    rejected = intake.CaseRejected(
        case_id=SUBJECT,
        stage="eligibility",
        rule="K6",
        reasons=("visit_refused",),
        review_until=DAY,
        persons=(),
    )
    case = after(given(DECISIONS), visits_reconciled(SUBJECT, "household-1"), rejected)
    assert isinstance(case.recorded[-1].read(ROOM.reads), RejectionTakenOver)


def test_a_registered_file_is_taken_over_and_a_deregistered_one_closed() -> None:
    closed = intake.FileDeregistered(
        case_id=SUBJECT, household_id="household-1", exit="reemployed", persons=()
    )
    case = after(given(DECISIONS), file_registered(SUBJECT, "household-1"), closed)
    taken, left = [r.read(ROOM.reads) for r in case.recorded]
    assert isinstance(taken, FileTakenOver)
    assert (taken.incident_id, taken.students[0].school) == ("household-1-fire", "school-a")
    assert isinstance(left, FileClosed)
    assert left.exit == "reemployed"


def test_cover_reserved_and_refused_reach_the_award() -> None:
    refused = payout.CoverRefused(
        case_id=SUBJECT, award_id="award-1", fund="sample-city", amount_fen=80_000, reason="EMPTY"
    )
    assert told(refused).command == RefuseCover(award_id="award-1", reason="EMPTY")
    reserved = cover_reserved(SUBJECT, "award-1", 80_000)
    assert told(reserved).command == TakeCover(award_id="award-1", amount_fen=80_000)
    case = on_file().when(ask(living()), situation()).afterwards()
    stated = after(case, refused).recorded[-1].read(ROOM.reads)
    assert isinstance(stated, AwardRefused)
    assert (stated.stage, stated.reason, stated.amount_fen) == ("cover", "EMPTY", 80_000)
