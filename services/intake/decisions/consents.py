"""Consents, given and withdrawn at any time; what is lawful without them ends (reading 20)."""

from services.intake.decisions.endings import Stage, rejected, removed
from services.intake.decisions.form import CONSENT_REFUSED, CONSENT_RULE
from services.intake.decisions.offices import HANDLER, office_refused, stage_refused
from services.intake.decisions.state import (
    BEFORE_ACCEPTANCE,
    BEFORE_FORM,
    ON_FILE,
    ON_FORM,
    Case,
    certain,
    stage_of,
)
from services.intake.facts import ConsentGiven, ConsentPurpose, ConsentWithdrawn
from shared.fact import Fact
from shared.room import Answer, Command, Decided, Refusal, Situation

CONSENT_WITHDRAWN = "consent_withdrawn"


class ChangeConsent(Command):
    """Given, or withdrawn."""

    purpose: ConsentPurpose
    given: bool


def change_consent(state: Case, command: ChangeConsent, situation: Situation) -> Answer:
    """The household's word, entered by a handler; a repeat of what stands changes nothing."""
    refusal = _office_refused(state, command) or stage_refused(
        state, *BEFORE_ACCEPTANCE, *BEFORE_FORM, *ON_FORM, *ON_FILE
    )
    if refusal is not None:
        return refusal
    if command.given == (command.purpose in state.consents):
        return Decided()
    if command.given:
        return Decided([ConsentGiven(case_id=state.case_id, purpose=command.purpose)])
    withdrawn = ConsentWithdrawn(case_id=state.case_id, purpose=command.purpose)
    if command.purpose == "publication":
        return Decided([withdrawn, *_without_publication(state, situation)])
    return Decided([withdrawn, *_without_processing(state, situation)])


def _office_refused(state: Case, command: ChangeConsent) -> Refusal | None:
    application = certain(state.application)
    offices = dict.fromkeys((application.organisation_id, application.station_id))
    refusals = [office_refused(command.by, HANDLER, o) for o in offices]
    return refusals[0] if all(refusals) else None


def _without_publication(state: Case, situation: Situation) -> list[Fact]:
    """A form may not be published any more: the case ends. Before it nothing is due yet, and
    after registration what was lawful stays (reading 20)."""
    if stage_of(state) not in ON_FORM:
        return []
    return [rejected(state, "form", CONSENT_RULE, (CONSENT_REFUSED,), situation)]


def _without_processing(state: Case, situation: Situation) -> list[Fact]:
    """Nothing may go on: the file is removed (reading 22), the accepted case rejected; before
    acceptance it is a defect, on which the application is returned and lapses."""
    stage = stage_of(state)
    if stage in ON_FILE:
        return [removed(state, CONSENT_WITHDRAWN)]
    if stage in BEFORE_ACCEPTANCE:
        return []
    where: Stage = "form" if stage in ON_FORM else "application"
    return [rejected(state, where, "reading 22", (CONSENT_WITHDRAWN,), situation)]
