"""Notices that passed, objections, and the two signatures on one form (K7, K9, reading 18).

Notices and objections are heard; only signing is a person's. An open objection stops every next
step once it is heard (invariant 2).
"""

from typing import Literal

from services.intake.decisions.endings import rejected, removed
from services.intake.decisions.offices import (
    first_refusal,
    signing_organisation,
    stage_refused,
)
from services.intake.decisions.state import BOTH, ON_FILE, ON_FORM, Case, certain, stage_of
from services.intake.facts import (
    NoticePassed,
    ObjectionTakenOver,
    Place,
    Signed,
    SigningRole,
    SigningScheduled,
)
from shared.fact import Fact
from shared.room import Answer, Command, Decided, Refusal, Situation


class TakeNotice(Command):
    """A notice has run its days."""

    notice_id: str
    place: Place
    form_hash: str


class TakeObjection(Command):
    """What notice says of an objection."""

    objection_id: str
    state: Literal["raised", "dismissed", "upheld"]


class SignForm(Command):
    """A signature on the form that the signer has before them."""

    role: SigningRole
    form_hash: str


def take_notice(state: Case, command: TakeNotice, situation: Situation) -> Answer:
    """The gate for signing: a notice of the present form only, and each place once.

    With the second one the signing order goes out.
    """
    form = state.form
    if form is None or stage_of(state) != "on_notice":
        return Decided()
    if command.form_hash != form.form_hash or command.place in state.passed:
        return Decided()
    passed = NoticePassed(
        case_id=state.case_id,
        notice_id=command.notice_id,
        place=command.place,
        form_hash=command.form_hash,
    )
    if len(state.passed) + 1 < BOTH:
        return Decided([passed])
    orders = [_order(state, "handler", situation), _order(state, "chair", situation)]
    return Decided([passed, *orders])


def _order(state: Case, role: SigningRole, situation: Situation) -> SigningScheduled:
    """Who signs in this role; if no chair is left anywhere, the order waits at the holder."""
    form, organisation = certain(state.form), signing_organisation(state, role, situation)
    return SigningScheduled(
        case_id=state.case_id,
        role=role,
        organisation_id=organisation or form.organisation_id,
        form_hash=form.form_hash,
    )


def take_objection(state: Case, command: TakeObjection, situation: Situation) -> Answer:
    """An objection opens or closes; upheld it rejects the case, or ends a file already made."""
    stage = stage_of(state)
    if stage not in (*ON_FORM, *ON_FILE):
        return Decided()
    taken = ObjectionTakenOver(
        case_id=state.case_id, objection_id=command.objection_id, state=command.state
    )
    if command.state != "upheld":
        return Decided([taken])
    if stage in ON_FORM:
        ended: Fact = rejected(state, "notice", "K7", ("objection_upheld",), situation)
    else:
        ended = removed(state, "not_eligible_on_review")
    return Decided([taken, ended])


def objection_refused(state: Case) -> Refusal | None:
    """Invariant 2: an open objection, once heard, stops signing, forwarding and registration."""
    if not state.open_objections:
        return None
    return Refusal(
        "objection_open",
        "公示异议尚未处理完毕",
        "an objection to a notice is still open",
        rule="invariant 2",
    )


def sign(state: Case, command: SignForm, situation: Situation) -> Answer:
    """One of the two signatures, in an office held today, on the form as it stands (K9)."""
    refusal = first_refusal(
        stage_refused(state, "signing"),
        objection_refused(state),
    )
    if refusal is not None:
        return refusal
    form = certain(state.form)
    refusal = first_refusal(
        _form_refused(form.form_hash, command.form_hash),
        _signed_already(state, command.role),
        _signer_refused(state, command, situation),
    )
    if refusal is not None:
        return refusal
    signed = Signed(
        case_id=state.case_id,
        role=command.role,
        signer=command.by.person,
        office_organisation_id=command.by.organisation,
        office_role=command.by.role,
        form_hash=form.form_hash,
    )
    return Decided([signed, *_order_changed(state, signed, situation)])


def _order_changed(state: Case, signed: Signed, situation: Situation) -> list[SigningScheduled]:
    """If the only chair has just signed as handler, the next higher union signs as chair."""
    chair_to_come = signed.role == "handler" and not state.signatures
    if not chair_to_come:
        return []
    after = Case(state.case_id, form=state.form, signatures=(signed,))
    order = _order(after, "chair", situation)
    return [] if order in state.signing else [order]


def _form_refused(present: str, seen: str) -> Refusal | None:
    if present == seen:
        return None
    return Refusal(
        "other_form",
        "登记表已变更，请核对后再签字",
        "this is not the form as it stands",
        rule="invariant 1",
        field="form_hash",
    )


def _signed_already(state: Case, role: SigningRole) -> Refusal | None:
    if all(s.role != role for s in state.signatures):
        return None
    return Refusal("signed_already", "该签字已完成", "this signature was given", rule="K9")


def _signer_refused(state: Case, command: SignForm, situation: Situation) -> Refusal | None:
    """The office today, a second person for the second signature, and never the reviewer."""
    by, organisation = command.by, signing_organisation(state, command.role, situation)
    if by.role != command.role or by.organisation != organisation:
        return Refusal(
            "wrong_office",
            f"须由 {organisation} 的 {command.role} 签字",
            f"the {command.role} of {organisation} signs",
            rule="K9",
            status=403,
        )
    people: dict[str, str] = {"reviewer": certain(state.form).reviewer}
    people.update((s.role, s.signer) for s in state.signatures)
    duty = next((duty for duty, person in people.items() if person == by.person), None)
    if duty is None:
        return None
    return Refusal(
        "duties_not_apart",
        f"本案的 {duty} 不得再签字",
        f"the {duty} of this case may not give this signature",
        rule="reading 18",
    )
