"""The last steps to the file, the ways a case is rejected by a person, and the end of hardship.

K10: the centre registers what the grassroots union has signed and the station forwarded. The
approver has done nothing else in the case (reading 18, invariants 1 and 10).
"""

from collections.abc import Iterator
from itertools import combinations

from services.intake.decisions.endings import Stage, rejected, removed
from services.intake.decisions.grounds import persons_of
from services.intake.decisions.offices import (
    APPROVER,
    HANDLER,
    centre_of,
    first_refusal,
    office_refused,
    stage_refused,
    visitors_of,
)
from services.intake.decisions.readings import RejectionReason
from services.intake.decisions.signing import objection_refused
from services.intake.decisions.state import BEFORE_FORM, BOTH, ON_FILE, Case, certain, stage_of
from services.intake.facts import (
    FileForwarded,
    FileRegistered,
    HardshipEndDeclined,
    HardshipEnded,
    HardshipEndProposed,
    Student,
)
from shared.room import Answer, Command, Decided, Refusal, Situation

REEMPLOYED = "reemployed"


class ForwardFile(Command):
    """The signed form goes up to the centre."""


class RegisterFile(Command):
    """The centre puts the household on file."""


class RejectCase(Command):
    """A person's no, with its rule and reasons as codes; what they write is sealed."""

    rule: str
    reasons: tuple[RejectionReason, ...]
    explanation: str | None = None


class TakePlacement(Command):
    """A member has a job through training: a cause to end the hardship, which a person judges."""

    person_id: str
    placement_id: str


class EndHardship(Command):
    """A person's word on a proposed end: confirmed, or declined with reasons (reading 17)."""

    placement_id: str
    confirm: bool
    reasons: str | None = None


def forward(state: Case, command: ForwardFile, situation: Situation) -> Answer:
    """Only after both signatures the form goes up to the centre (K9, K10)."""
    refusal = first_refusal(stage_refused(state, "signed"), objection_refused(state))
    if refusal is not None:
        return refusal
    form = certain(state.form)
    refusal = office_refused(command.by, HANDLER, form.station_id)
    if refusal is not None:
        return refusal
    centre = centre_of(situation.directory, form.organisation_id, situation.today)
    if centre is None:
        return Refusal("centre_missing", "没有上级帮扶中心", "no centre stands above", rule="K10")
    return Decided(
        [FileForwarded(case_id=state.case_id, form_hash=form.form_hash, centre_id=centre)]
    )


def register(state: Case, command: RegisterFile, _situation: Situation) -> Answer:
    """The household is on file: by the centre's approver, and with every duty kept apart."""
    if (refusal := stage_refused(state, "forwarded")) is not None:
        return refusal
    centre = certain(state.forwarded).centre_id
    refusal = first_refusal(
        office_refused(command.by, APPROVER, centre),
        objection_refused(state),
        procedure_refused(state),
        _duties_refused(state, command.by.person),
    )
    if refusal is not None:
        return refusal
    return Decided([_registered(state, command.by.person, centre)])


def _registered(state: Case, approver: str, centre_id: str) -> FileRegistered:
    application = certain(state.application)
    form = certain(state.form)
    values = certain(state.reconciled)
    return FileRegistered(
        case_id=state.case_id,
        household_id=form.household_id,
        organisation_id=form.organisation_id,
        station_id=form.station_id,
        centre_id=centre_id,
        fund=form.fund,
        classes=form.classes,
        primary=form.primary,
        programmes=application.programmes,
        persons=persons_of(state),
        workers=tuple(m.person_id for m in application.members if m.worker),
        students=tuple(
            Student(person_id=m.person_id, school=m.school)
            for m in application.members
            if m.school is not None
        ),
        incident=values.incident,
        payee=application.payee,
        visitors=visitors_of(state),
        signers=tuple(s.signer for s in state.signatures),
        reviewer=form.reviewer,
        approver=approver,
    )


def procedure_refused(state: Case) -> Refusal | None:
    """Invariant 1: two visits, two notices, two signatures, apart, and on one form."""
    for flaw in _flaws(state):
        return Refusal(
            "procedure_flawed",
            f"程序不完备：{flaw}",
            f"the procedure is flawed: {flaw}",
            rule="invariant 1",
        )
    return None


def _flaws(state: Case) -> Iterator[str]:
    form = state.form
    if len({visit.organisation_id for visit in state.visits}) != BOTH:
        yield "visits"
    if any(set(a.visitors) & set(b.visitors) for a, b in combinations(state.visits, 2)):
        yield "visitors"
    if len(state.passed) != BOTH:
        yield "notices"
    if len({signed.signer for signed in state.signatures}) != BOTH:
        yield "signers"
    if form is None or {s.form_hash for s in state.signatures} != {form.form_hash}:
        yield "form"


def _duties_refused(state: Case, approver: str) -> Refusal | None:
    """Reading 18: reviewer and approver are two people, and neither has visited or signed."""
    field_workers = {*visitors_of(state), *(s.signer for s in state.signatures)}
    reviewer = certain(state.form).reviewer
    if approver != reviewer and not field_workers & {approver, reviewer}:
        return None
    return Refusal(
        "duties_not_apart",
        "审核人与审批人须不同，且均未参与入户或签字",
        "reviewer and approver are different people, and neither has visited or signed",
        rule="reading 18",
    )


def reject(state: Case, command: RejectCase, situation: Situation) -> Answer:
    """A person's rejection, with rule and reasons: by the station before the class is settled, by
    the centre's approver instead of registering."""
    application = certain(state.application)
    refusal = stage_refused(state, *BEFORE_FORM, "forwarded")
    if refusal is not None:
        return refusal
    if state.forwarded is not None:
        refusal = office_refused(command.by, APPROVER, state.forwarded.centre_id)
    else:
        refusal = office_refused(command.by, HANDLER, application.station_id)
    if refusal is not None:
        return refusal
    stage: Stage = "registration" if state.forwarded is not None else "application"
    reasons = tuple(dict.fromkeys(command.reasons))
    return Decided(
        [rejected(state, stage, command.rule, reasons, situation, explanation=command.explanation)]
    )


# The end of hardship


def take_placement(state: Case, command: TakePlacement, _: Situation) -> Answer:
    """A job proposes that the hardship has ended: of a file, and once for each job."""
    on_file = stage_of(state) in ON_FILE
    if not on_file or command.placement_id in state.placements:
        return Decided()
    return Decided(
        [
            HardshipEndProposed(
                case_id=state.case_id,
                exit=REEMPLOYED,
                person_id=command.person_id,
                placement_id=command.placement_id,
            )
        ]
    )


def end_hardship(state: Case, command: EndHardship, _situation: Situation) -> Answer:
    """Confirmed, the escape and the removal are one write (K17); declined, the file goes on."""
    if (refusal := stage_refused(state, "end_proposed")) is not None:
        return refusal
    refusal = first_refusal(
        office_refused(command.by, HANDLER, certain(state.registered).station_id),
        _end_refused(state, command),
    )
    if refusal is not None:
        return refusal
    if not command.confirm:
        return Decided(
            [
                HardshipEndDeclined(
                    case_id=state.case_id,
                    placement_id=command.placement_id,
                    reasons=certain(command.reasons),
                )
            ]
        )
    ended = HardshipEnded(case_id=state.case_id, exit=REEMPLOYED, placement_id=command.placement_id)
    return Decided([ended, removed(state, REEMPLOYED)])


def _end_refused(state: Case, command: EndHardship) -> Refusal | None:
    if all(p.placement_id != command.placement_id for p in state.ends_proposed):
        return Refusal(
            "nothing_proposed",
            "没有这一脱困提议",
            "no end was proposed for this placement",
            rule="reading 17",
            field="placement_id",
            status=422,
        )
    if not command.confirm and not command.reasons:
        return Refusal(
            "reasons_missing",
            "不予认定须写明理由",
            "to decline needs reasons",
            rule="reading 17",
            field="reasons",
            status=422,
        )
    return None
