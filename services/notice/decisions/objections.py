"""Objections: raised by anybody, investigated by the station, decided by the centre.

Reading: the station's handler finds out, a reviewer of the centre decides, and these are two
people; so nobody judges what they found themselves. The reviewer who confirmed the class may
decide: the class rested on what the visits found, the objection brings what they did not.
"""

from __future__ import annotations

from services.notice.decisions.commands import (
    DecideObjection,
    InvestigateObjection,
    RaiseObjection,
)
from services.notice.decisions.offices import HANDLER, REVIEWER, centre_of, office_refused
from services.notice.decisions.posting import CASE_CLOSED, CASE_REJECTED, NO_FORM, removals
from services.notice.decisions.state import Notices
from services.notice.facts import (
    ObjectionDismissed,
    ObjectionInvestigated,
    ObjectionRaised,
    ObjectionUpheld,
)
from shared.room import UNKNOWN, Answer, Decided, Refusal, Situation

TOO_LATE = Refusal(
    "objections_closed",
    "已建档，不再受理对公示的异议",
    "the file is registered: objections to its notices are not taken any more",
)
INVESTIGATED = Refusal("already_investigated", "该异议已调查", "it was investigated already")
NOT_INVESTIGATED = Refusal("not_investigated", "该异议尚未调查", "it has not been investigated yet")
DECIDED = Refusal("already_decided", "该异议已处理", "it was decided already")
OWN_FINDINGS = Refusal(
    "duties_apart",
    "调查人不得处理同一异议",
    "whoever investigated an objection does not decide it",
    rule="reading 18",
    status=403,
)


def raise_objection(state: Notices, command: RaiseObjection, situation: Situation) -> Answer:
    """Anybody, also without a name, from the posting until the file is registered.

    One that comes after the notices elapsed stops the next step instead (DESIGN §2).
    """
    if all(notice.notice_id != command.notice_id for notice in state.notices):
        return UNKNOWN
    if state.closed:
        return CASE_CLOSED
    if state.is_rejected:
        return CASE_REJECTED
    if state.registered:
        return TOO_LATE
    if state.form is None:
        return NO_FORM
    holder = state.form.organisation_id
    raised = ObjectionRaised(
        case_id=state.case_id,
        notice_id=command.notice_id,
        objection_id=command.objection_id,
        centre_id=centre_of(situation.directory, holder, situation.today),
        anonymous=command.contact is None,
        text=command.text,
        contact=command.contact,
    )
    return Decided((raised,))


def investigate(state: Notices, command: InvestigateObjection, _situation: Situation) -> Answer:
    """The station's handler states what was found."""
    objection = state.objection(command.objection_id)
    if objection is None or state.form is None:
        return UNKNOWN
    refusal = office_refused(command.by, HANDLER, state.form.station_id)
    if refusal is not None:
        return refusal
    if state.closed:
        return CASE_CLOSED
    if state.is_rejected:
        return CASE_REJECTED
    if objection.progress != "raised":
        return INVESTIGATED
    found = ObjectionInvestigated(
        case_id=state.case_id, objection_id=objection.objection_id, findings=command.findings
    )
    return Decided((found,))


def decide(state: Notices, command: DecideObjection, _situation: Situation) -> Answer:
    """Dismissed, and the notices go on; or upheld, and they come down and the case is rejected."""
    objection = state.objection(command.objection_id)
    if objection is None:
        return UNKNOWN
    refusal = office_refused(command.by, REVIEWER, objection.raised.centre_id)
    if refusal is not None:
        return refusal
    if command.by.person == objection.investigator:
        return OWN_FINDINGS
    if state.closed:
        return CASE_CLOSED
    if not objection.is_open:
        return DECIDED
    if state.is_rejected:
        return CASE_REJECTED
    if objection.progress != "investigated":
        return NOT_INVESTIGATED
    if command.outcome == "dismissed":
        dismissed = ObjectionDismissed(
            case_id=state.case_id,
            objection_id=objection.objection_id,
            reasons=command.reasons,
        )
        return Decided((dismissed,))
    upheld = ObjectionUpheld(
        case_id=state.case_id,
        objection_id=objection.objection_id,
        outcome="reject",
        reasons=command.reasons,
    )
    return Decided((upheld, *removals(state, state.standing, "rejected")))
