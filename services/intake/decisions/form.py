"""What eligibility answers, and the registration form that follows from the confirmed class.

The commands here come from heard facts, never from a person: eligibility's reviewer has confirmed
by then (reading 17). The form is hashed under a key, over what it says with its sealed values, so
that notices and signatures can name it without telling it.
"""

from typing import Literal

from services.intake.decisions.endings import rejected
from services.intake.decisions.readings import (
    CAUSE_CATEGORIES,
    INCIDENT_CATEGORY,
    RULE_OF_CLASSES,
    RULE_OF_REASON,
    income_band,
)
from services.intake.decisions.state import BEFORE_FORM, Case, certain, stage_of
from services.intake.facts import (
    CaseRejected,
    ClassTakenOver,
    FindingAsked,
    FormDrawnUp,
    HardshipClass,
    PublishedFields,
    ReliefReferralMade,
)
from shared.fact import canonical
from shared.room import Answer, Command, Decided, Situation

CONSENT_REFUSED = "consent_refused"
CONSENT_RULE = "reading 20"


class TakeProposal(Command):
    """Eligibility's proposal on the values that hold."""

    determination_id: str
    outcome: Literal["eligible", "not_eligible", "refer", "needs_determination", "no_rule"]
    reason: str | None


class TakeClass(Command):
    """Eligibility's answer, confirmed by its reviewer."""

    determination_id: str
    outcome: Literal["eligible", "not_eligible", "no_rule"]
    classes: tuple[HardshipClass, ...]
    primary: HardshipClass | None
    reason: str | None
    reviewer: str


def take_proposal(state: Case, command: TakeProposal, _: Situation) -> Answer:
    """Refer (reading 4) or ask for a finding (reading 5); any other proposal awaits its reviewer.

    A case that has ended meanwhile asks nothing any more.
    """
    if stage_of(state) != "determining":
        return Decided()
    match command.outcome:
        case "refer":
            return Decided([ReliefReferralMade(case_id=state.case_id, reason=command.reason or "")])
        case "needs_determination":
            return Decided(
                [
                    FindingAsked(
                        case_id=state.case_id,
                        determination_id=command.determination_id,
                        reason=command.reason or "",
                    )
                ]
            )
        case "eligible" | "not_eligible" | "no_rule":
            return Decided()


def take_class(state: Case, command: TakeClass, situation: Situation) -> Answer:
    """The confirmed class, and in the same write its form, or the end of the case."""
    if state.reconciled is None or stage_of(state) not in BEFORE_FORM:
        return Decided()
    taken = ClassTakenOver(
        case_id=state.case_id,
        determination_id=command.determination_id,
        outcome=command.outcome,
        classes=command.classes,
        primary=command.primary,
        reason=command.reason,
        reviewer=command.reviewer,
    )
    if command.outcome != "eligible" or command.primary is None:
        return Decided([taken, _not_eligible(state, command, situation)])
    if "publication" not in state.consents:
        return Decided(
            [taken, rejected(state, "form", CONSENT_RULE, (CONSENT_REFUSED,), situation)]
        )
    return Decided([taken, _drawn_up(state, command, command.primary, situation)])


def _not_eligible(state: Case, command: TakeClass, situation: Situation) -> CaseRejected:
    reason = command.reason or command.outcome
    rule = RULE_OF_REASON.get(reason, RULE_OF_CLASSES)
    return rejected(state, "eligibility", rule, (reason.lower(),), situation)


def _drawn_up(
    state: Case, command: TakeClass, primary: HardshipClass, situation: Situation
) -> FormDrawnUp:
    application = certain(state.application)
    accepted = certain(state.accepted)
    form = FormDrawnUp(
        case_id=state.case_id,
        form_hash="",
        household_id=accepted.household_id,
        organisation_id=application.organisation_id,
        workplace_id=application.organisation_id,
        station_id=application.station_id,
        fund=accepted.fund,
        classes=command.classes,
        primary=primary,
        published=_published(state, primary, situation),
        publication_consent=True,
        reviewer=command.reviewer,
    )
    return form.model_copy(update={"form_hash": form_hash(state, form, situation)})


def form_hash(state: Case, form: FormDrawnUp, situation: Situation) -> str:
    """Keyed, over all that the form says: its own fields, the household, the values that hold."""
    application, values = certain(state.application), certain(state.reconciled)
    content = {
        "form": form.model_dump(mode="json", exclude={"form_hash"}),
        "members": [member.model_dump(mode="json") for member in application.members],
        "programmes": list(application.programmes),
        "values": values.model_dump(mode="json"),
    }
    return situation.mac("form", canonical(content).decode())


def _published(state: Case, primary: HardshipClass, situation: Situation) -> PublishedFields:
    """The whitelist of §6 and nothing else: band, class, categories; no sum, no diagnosis."""
    application = certain(state.application)
    values = certain(state.reconciled)
    applicant = next(m for m in application.members if m.person_id == application.applicant_id)
    workplace = situation.directory.organisation(application.organisation_id)
    categories = [CAUSE_CATEGORIES[cause] for cause in values.causes]
    if values.incident is not None:
        categories.append(INCIDENT_CATEGORY)
    return PublishedFields(
        name=applicant.name,
        unit=workplace.name if workplace else application.organisation_id,
        household_size=values.members,
        income_band=income_band(values.income_12m_fen, values.members),
        hardship_class=primary,
        cause_categories=tuple(categories),
        programmes=application.programmes,
    )
