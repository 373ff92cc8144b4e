"""Eligibility's confirmed answer: the form on the class, or the end of the case."""

from datetime import timedelta
from typing import Any

import pytest

from services.intake.decisions.consents import ChangeConsent
from services.intake.decisions.readings import INCOME_BANDS, income_band
from services.intake.decisions.state import stage_of
from services.intake.facts import CaseRejected, ClassTakenOver, FormDrawnUp
from services.intake.main import ROOM
from tests.given_when_then import SUBJECT, TODAY
from tests.services.intake.world import (
    APPLICANT,
    CHILD,
    FUND,
    accepted,
    actor,
    confirmation,
    fire,
    on,
    on_notice,
    person,
    reconciled,
    reconciliation,
    seen,
    tell,
    visited,
)


def the_form(**changes: Any) -> FormDrawnUp:
    form = on_notice(**changes).state.form
    assert isinstance(form, FormDrawnUp)
    return form


def test_the_confirmed_class_and_its_form_are_one_write() -> None:
    """Intake alone draws up the form, when it hears the class confirmed."""
    outcome = reconciled().when(confirmation(), on()).then_types(ClassTakenOver, FormDrawnUp)
    form = outcome.facts[1]
    assert isinstance(form, FormDrawnUp)
    assert (form.workplace_id, form.station_id, form.fund) == ("union-1", "station-1", FUND)
    assert form.reviewer == person("county", "reviewer")
    assert form.publication_consent


def test_the_form_publishes_the_whitelist_and_nothing_else() -> None:
    """§6: name (sealed), unit, size, band, class, cause category, programmes; never a sum, a
    diagnosis, an address, a child's name."""
    told = seen(fire())
    case = tell(
        visited(grassroots={"incident": told}, station={"incident": told}, incident=fire()),
        reconciliation(incident=seen(fire(), hardship_found=True)),
        confirmation(classes=("low_income", "stricken")),
    )
    published = case.state.form.published
    assert set(type(published).model_fields) == {
        "name",
        "unit",
        "household_size",
        "income_band",
        "hardship_class",
        "cause_categories",
        "programmes",
    }
    applicant = case.state.application.members[0]
    assert published.name == applicant.name
    assert published.unit == "名称 union-1"
    assert published.cause_categories == (
        "子女上学 schooling",
        "突发事件或意外 a sudden event or accident",
    )
    shown = published.model_dump_json()
    assert "720000" not in shown
    assert case.state.application.members[1].name not in shown


@pytest.mark.parametrize("members", [1, 3])
def test_bands_are_compared_without_rounding(members: int) -> None:
    """One fen either side of a band's start decides."""
    for start, label in INCOME_BANDS[1:]:
        exactly = start * 12 * members
        assert income_band(exactly, members) == label
        assert income_band(exactly - 1, members) != label


def test_the_forms_hash_is_keyed_and_follows_every_noticed_value() -> None:
    """Every hash of personal content is keyed; another content is another form."""
    usual = the_form()
    assert usual.form_hash == the_form().form_hash
    others = [
        the_form(programmes=("living",)).form_hash,
        tell(reconciled(), confirmation(classes=("low_income", "marginal"))).state.form.form_hash,
        tell(reconciled(), confirmation(reviewer=person("city", "reviewer"))).state.form.form_hash,
    ]
    assert len({usual.form_hash, *others}) == len(others) + 1


def test_without_consent_to_publication_the_case_ends() -> None:
    """Reading 20: separate consent is a precondition of a notice; without it, consent_refused."""
    outcome = reconciled(consents=("processing",)).when(confirmation(), on())
    outcome.then_types(ClassTakenOver, CaseRejected)
    assert outcome.facts[1] == CaseRejected(
        case_id=SUBJECT,
        stage="form",
        rule="reading 20",
        reasons=("consent_refused",),
        review_until=TODAY + timedelta(days=30),
        persons=(APPLICANT, CHILD),
    )
    assert outcome.afterwards().work() == {}


@pytest.mark.parametrize(
    ("outcome", "reason", "rule"),
    [
        ("not_eligible", "ABOVE_MARGIN", "K2"),
        ("not_eligible", "CAUSE_MISSING", "K2"),
        ("not_eligible", "HARDSHIP_RELIEVED", "K1"),
        ("no_rule", "NO_RULE_IN_FORCE", "DOMAIN §3"),
        ("not_eligible", "SOMETHING_NEW", "K1, K2, K3"),
    ],
)
def test_not_eligible_is_a_rejection_with_rule_and_reason(
    outcome: str, reason: str, rule: str
) -> None:
    told = confirmation(outcome=outcome, classes=(), primary=None, reason=reason)
    stated = reconciled().when(told, on()).then_types(ClassTakenOver, CaseRejected).facts[1]
    assert isinstance(stated, CaseRejected)
    assert (stated.stage, stated.rule, stated.reasons) == ("eligibility", rule, (reason.lower(),))


def test_a_class_heard_twice_or_too_late_changes_nothing() -> None:
    on_notice().when(confirmation(), on()).then()
    accepted().when(confirmation(), on()).then()


def test_a_rejection_frees_every_person() -> None:
    """Guard rows: +1 at acceptance, −1 at the end, so the sum is 0 again."""
    case = tell(reconciled(consents=("processing",)), confirmation())
    sums: dict[str, int] = {}
    for recorded in case.recorded:
        for key, delta in ROOM.guard_changes(recorded.read(ROOM.reads), recorded):
            sums[key] = sums.get(key, 0) + delta
    assert sums == {f"open_file|{APPLICANT}": 0, f"open_file|{CHILD}": 0}


# Consents


def consent(purpose: Any, given: bool, organisation: str = "station-1") -> ChangeConsent:
    return ChangeConsent(by=actor(organisation, "handler"), purpose=purpose, given=given)


def test_consent_may_still_be_given_before_the_form() -> None:
    """Asked again by the handler, a household that agrees goes on to the notices."""
    case = tell(reconciled(consents=("processing",)), consent("publication", True))
    case.when(confirmation(), on()).then_types(ClassTakenOver, FormDrawnUp)


def test_a_repeat_of_what_stands_changes_nothing() -> None:
    reconciled().when(consent("publication", True), on()).then()


def test_consent_withdrawn_before_the_form_ends_the_case_when_the_form_is_due() -> None:
    """Reading 20."""
    case = tell(reconciled(), consent("publication", False, "union-1"))
    assert stage_of(case.state) == "determining"
    case.when(confirmation(), on()).then_types(ClassTakenOver, CaseRejected)


def test_only_the_cases_handlers_enter_a_consent() -> None:
    reconciled().when(consent("publication", False, "union-2"), on()).refused("wrong_office")
