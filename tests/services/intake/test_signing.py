"""Notices that passed, objections, and two signatures on one form."""

from dataclasses import replace
from typing import Any

import pytest

from services.intake.decisions.consents import ChangeConsent
from services.intake.decisions.registration import ForwardFile, RegisterFile
from services.intake.decisions.signing import SignForm, TakeNotice, TakeObjection
from services.intake.decisions.state import stage_of
from services.intake.facts import (
    CaseRejected,
    ConsentWithdrawn,
    FileDeregistered,
    FileForwarded,
    FileRegistered,
    NoticePassed,
    ObjectionTakenOver,
    Signed,
    SigningScheduled,
)
from shared.directory import Office
from shared.room import Situation
from tests.given_when_then import SUBJECT, TODAY, Given
from tests.services.intake.world import (
    LONG_AGO,
    a_visit,
    acceptance,
    accepted,
    actor,
    confirmation,
    directory,
    elapsed,
    forwarded,
    hash_of,
    new_case,
    on,
    on_notice,
    person,
    reconciliation,
    registered,
    signature,
    signed,
    signing,
    submission,
    tell,
)

CHAIR = actor("union-1", "chair")


def objection(state: Any, number: int = 1) -> TakeObjection:
    return TakeObjection(objection_id=f"objection-{number}", state=state)


# The notices


def test_the_second_notice_passed_sends_out_the_signing_order() -> None:
    """K7, K9: both notices have to pass; then chair and handler sign."""
    case = on_notice()
    first = case.when(elapsed(case, "station"), on()).then_types(NoticePassed).afterwards()
    assert first.work() == {}
    second = first.when(elapsed(case, "workplace"), on())
    second.then_types(NoticePassed, SigningScheduled, SigningScheduled)
    work = second.afterwards().work()
    assert {task: (view.organisation, view.role) for task, view in work.items()} == {
        "sign_handler": ("union-1", "handler"),
        "sign_chair": ("union-1", "chair"),
    }
    assert work["sign_chair"].document["form_hash"] == hash_of(case)


def test_a_notice_of_another_form_is_ignored() -> None:
    """The elapse names the form's hash; one for an older form is no gate."""
    case = on_notice()
    other = TakeNotice(notice_id="notice-9", place="station", form_hash="another")
    case.when(other, on()).then()


def test_a_place_passes_once() -> None:
    """Two notices at one place are not two notices."""
    case = on_notice()
    once = tell(case, elapsed(case, "station"))
    once.when(elapsed(case, "station"), on()).then()
    assert stage_of(once.state) == "on_notice"


# The signatures


def test_chair_and_handler_sign_the_same_form_in_any_order() -> None:
    """K9: only with both is the form forwarded."""
    case = signing()
    for first, second in (("handler", "chair"), ("chair", "handler")):
        once = tell(case, signature(case, first))
        assert set(once.work()) == {f"sign_{second}"}
        once.when(ForwardFile(by=actor("station-1", "handler")), on()).refused("wrong_stage")
        outcome = once.when(signature(case, second), on())
        outcome.then(
            Signed(
                case_id=SUBJECT,
                role=second,  # type: ignore[arg-type]  # one of the two words above
                signer=person("union-1", second),
                office_organisation_id="union-1",
                office_role=second,
                form_hash=hash_of(case),
            )
        )
        assert set(outcome.afterwards().work()) == {"forward"}


def test_nobody_signs_before_both_notices_have_passed() -> None:
    """Reading 16: notices, then signatures."""
    case = on_notice()
    once = tell(case, elapsed(case, "workplace"))
    once.when(signature(case, "handler"), on()).refused("wrong_stage")


def test_a_signature_names_the_form_that_was_read() -> None:
    """Invariant 1: two signatures on one form hash."""
    case = signing()
    other = SignForm(by=CHAIR, role="chair", form_hash="another")
    case.when(other, on()).refused("other_form")


def test_the_office_is_held_on_the_day_of_the_signature() -> None:
    """Chairs change: who signs is who holds the office that day, which the door has proven; the
    decision checks that it is the right office."""
    case = signing()
    for by in (
        actor("union-1", "handler"),
        actor("station-1", "chair"),
        actor("union-2", "chair"),
        actor("county", "reviewer"),
    ):
        case.when(signature(case, "chair", by), on()).refused("wrong_office")


def test_nobody_signs_twice_and_no_role_is_signed_twice() -> None:
    """Reading 18: two different signers."""
    case = signing()
    once = tell(case, signature(case, "handler"))
    second = actor("union-1", "handler", "deputy")
    once.when(signature(case, "handler", second), on()).refused("signed_already")
    both = Office(person("union-1", "handler"), "union-1", "chair", LONG_AGO)
    same = actor("union-1", "chair", person("union-1", "handler"))
    once.when(signature(case, "chair", same), on(TODAY, both)).refused("duties_not_apart")


def test_the_reviewer_signs_nothing() -> None:
    """Reading 18: the reviewer has neither visited nor signed."""
    case = signing()
    reviewer = person("county", "reviewer")
    moved = Office(reviewer, "union-1", "chair", LONG_AGO)
    told = signature(case, "chair", actor("union-1", "chair", reviewer))
    case.when(told, on(TODAY, moved)).refused("duties_not_apart")


# One person for both signatures


def small_union(around: Situation | None = None) -> Given:
    """On notice in a union whose chair and handler are one person."""
    solo = actor("union-small", "handler", "solo")
    case = tell(
        new_case(),
        submission("union-small", by=solo),
        acceptance(),
        a_visit("grassroots", solo),
        a_visit("station", actor("station-1", "visitor")),
        reconciliation(),
        confirmation(),
    )
    return tell(case, elapsed(case, "workplace"), elapsed(case, "station"), around=around)


def test_the_next_higher_union_signs_as_chair_where_one_person_holds_both() -> None:
    """Reading 18: and the fact says so."""
    case = small_union()
    assert case.work()["sign_chair"].organisation == "station-1"
    solo_as_chair = signature(case, "chair", actor("union-small", "chair", "solo"))
    case.when(solo_as_chair, on()).refused("wrong_office")
    outcome = case.when(signature(case, "chair", actor("station-1", "chair")), on())
    fact = outcome.then_types(Signed).facts[0]
    assert isinstance(fact, Signed)
    assert fact.office_organisation_id == "station-1"
    solo = signature(case, "handler", actor("union-small", "handler", "solo"))
    outcome.afterwards().when(solo, on()).then_types(Signed)


def test_a_second_person_in_office_signs_at_the_union_itself() -> None:
    """As soon as two people hold the two offices, the higher union's chair signs no more."""
    case = small_union()
    second = Office("second", "union-small", "handler", LONG_AGO)
    told = signature(case, "handler", actor("union-small", "handler", "second"))
    outcome = case.when(told, on(TODAY, second))
    outcome.then_types(Signed, SigningScheduled)
    assert outcome.afterwards().work()["sign_chair"].organisation == "union-small"
    solo = signature(case, "chair", actor("union-small", "chair", "solo"))
    outcome.afterwards().when(solo, on(TODAY, second)).then_types(Signed)


def test_the_order_changes_if_the_only_chair_signs_as_handler() -> None:
    """Reading 18: then the next higher union signs as chair, and its work list says so."""
    second = Office("second", "union-small", "handler", LONG_AGO)
    case = small_union(on(TODAY, second))
    assert case.work()["sign_chair"].organisation == "union-small"
    told = signature(case, "handler", actor("union-small", "handler", "solo"))
    outcome = case.when(told, on(TODAY, second)).then_types(Signed, SigningScheduled)
    assert outcome.afterwards().work()["sign_chair"].organisation == "station-1"


def test_a_union_without_a_chair_is_signed_for_by_the_next_higher_one() -> None:
    """The chair left and nobody followed yet."""
    around = replace(on(), directory=directory(vacant={("union-1", "chair")}))
    case = on_notice()
    case = tell(case, elapsed(case, "workplace"), elapsed(case, "station"), around=around)
    assert case.work()["sign_chair"].organisation == "station-1"
    case.when(signature(case, "chair", actor("station-1", "chair")), around).then_types(Signed)


# Objections


def test_an_open_objection_stops_signing_forwarding_and_registration() -> None:
    """Invariant 2: once heard; dismissed, the case goes on."""
    case = tell(signing(), objection("raised"))
    assert case.work() == {}
    case.when(signature(case, "handler"), on()).refused("objection_open")
    freed = tell(case, objection("dismissed"))
    freed.when(signature(freed, "handler"), on()).then_types(Signed)

    forward = ForwardFile(by=actor("station-1", "handler"))
    case = tell(signed(), objection("raised"))
    case.when(forward, on()).refused("objection_open")
    tell(case, objection("dismissed")).when(forward, on()).then_types(FileForwarded)

    register = RegisterFile(by=actor("county", "approver"))
    case = tell(forwarded(), objection("raised"), objection("raised", 2), objection("dismissed"))
    case.when(register, on()).refused("objection_open")
    tell(case, objection("dismissed", 2)).when(register, on()).then_types(FileRegistered)


def test_an_objection_does_not_stop_the_other_notice_from_being_taken_over() -> None:
    """Whether it elapses is the notices' question; here it only stops the next step."""
    case = tell(on_notice(), objection("raised"))
    case.when(elapsed(case, "station"), on()).then_types(NoticePassed)


@pytest.mark.parametrize("stage", ["on_notice", "signing", "signed", "forwarded"])
def test_an_upheld_objection_rejects_the_case(stage: str) -> None:
    case = {
        "on_notice": on_notice,
        "signing": signing,
        "signed": signed,
        "forwarded": forwarded,
    }[stage]()
    outcome = tell(case, objection("raised")).when(objection("upheld"), on())
    outcome.then_types(ObjectionTakenOver, CaseRejected)
    rejection = outcome.facts[1]
    assert isinstance(rejection, CaseRejected)
    assert (rejection.stage, rejection.reasons) == ("notice", ("objection_upheld",))
    outcome.afterwards().when(objection("upheld"), on()).then()


def test_an_objection_upheld_after_registration_ends_the_file() -> None:
    """Heard after the gate: the file is removed as not eligible on review (reading 22)."""
    outcome = tell(registered(), objection("raised")).when(objection("upheld"), on())
    outcome.then_types(ObjectionTakenOver, FileDeregistered)
    assert outcome.afterwards().state.deregistered.exit == "not_eligible_on_review"


def test_objections_to_nothing_are_not_taken_over() -> None:
    accepted().when(objection("raised"), on()).then()


# Consent withdrawn


@pytest.mark.parametrize("stage", ["on_notice", "signing", "signed", "forwarded"])
def test_consent_to_publication_withdrawn_ends_a_case_on_its_way(stage: str) -> None:
    """Reading 20: no form may stay published; notice hears the rejection."""
    case = {
        "on_notice": on_notice,
        "signing": signing,
        "signed": signed,
        "forwarded": forwarded,
    }[stage]()
    told = ChangeConsent(by=actor("union-1", "handler"), purpose="publication", given=False)
    outcome = case.when(told, on()).then_types(ConsentWithdrawn, CaseRejected)
    rejection = outcome.facts[1]
    assert isinstance(rejection, CaseRejected)
    assert (rejection.rule, rejection.reasons) == ("reading 20", ("consent_refused",))


def test_after_registration_only_publication_ends() -> None:
    """Reading 20: consent withdrawn later ends publication, not what was lawful before."""
    told = ChangeConsent(by=actor("union-1", "handler"), purpose="publication", given=False)
    outcome = registered().when(told, on()).then_types(ConsentWithdrawn)
    assert stage_of(outcome.afterwards().state) == "registered"


def test_consent_to_processing_withdrawn_ends_the_case_or_the_file() -> None:
    """Reading 22: consent_withdrawn is an exit."""
    told = ChangeConsent(by=actor("station-1", "handler"), purpose="processing", given=False)
    outcome = signing().when(told, on()).then_types(ConsentWithdrawn, CaseRejected)
    assert outcome.afterwards().state.rejected.reasons == ("consent_withdrawn",)
    outcome = registered().when(told, on()).then_types(ConsentWithdrawn, FileDeregistered)
    assert outcome.afterwards().state.deregistered.exit == "consent_withdrawn"
    # Before acceptance it is a defect: returned for it, the application lapses.
    case = tell(new_case(), submission())
    case = case.when(told, on()).then_types(ConsentWithdrawn).afterwards()
    (defect,) = case.work()["decide_application"].document["defects"]
    assert defect["code"] == "processing_consent_missing"
