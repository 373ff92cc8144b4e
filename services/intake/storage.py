"""What intake keeps beside its log: views, work lists, timers, guard rows, and the person lookup.

Views, guard rows and own rows follow from state and facts alone and can be rebuilt. The lookup
table can't: an HMAC of an ID number may stand in no fact, so the api writes it durably before the
command whose facts name the person (README). No view but ``case_personal`` holds a personal
value, and that one holds it sealed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from services.intake.decisions.grounds import defects_of, open_file
from services.intake.decisions.state import BOTH, ON_FORM, Case, certain, stage_of
from services.intake.decisions.visits import differences_of
from services.intake.facts import (
    ApplicationAccepted,
    CaseRejected,
    FileDeregistered,
    FindingAsked,
)
from shared.calendar import day_after
from shared.event_store import EventStore, is_passing
from shared.fact import Fact, Recorded
from shared.room import View
from shared.together import Together

KIND = "case"
LAPSE = "lapse"


# Guard rows and own rows


def guard_changes(fact: Fact, _: Recorded) -> Sequence[tuple[str, int]]:
    """One open file per person, from acceptance until the case is rejected or the file removed."""
    match fact:
        case ApplicationAccepted():
            return [(open_file(person), 1) for person in fact.persons]
        case CaseRejected() | FileDeregistered():
            return [(open_file(person), -1) for person in fact.persons]
        case _:
            return []


def own_rows(fact: Fact, _: Recorded) -> Sequence[dict[str, Any]]:
    """Acceptance makes this household the last one of all its members."""
    if not isinstance(fact, ApplicationAccepted):
        return []
    return [{"household_id": fact.household_id, "person_id": person} for person in fact.persons]


class PersonLookup:
    """Who an ID number belongs to, by its keyed HMAC; the only place where that HMAC stands."""

    def __init__(self, store: EventStore) -> None:
        self._pool = store.office
        self._known = f"SELECT * FROM {store.schema}.known_persons($1, $2, $3)"  # noqa: S608 - the schema is the room's own name
        self._together = Together(self._all_known, is_passing)

    async def known(self, macs: Sequence[str], applicant: str) -> tuple[list[str], str]:
        """The person of each HMAC, known or new, and the household of the applicant's last file.

        What is new is stored before this returns. ``applicant`` is one of the HMACs.
        """
        return await self._together.answer((macs, applicant))

    async def _all_known(
        self, asked: Sequence[tuple[Sequence[str], str]]
    ) -> list[tuple[list[str], str]]:
        macs = list({mac: None for members, _ in asked for mac in members})
        applicants = {applicant for _, applicant in asked}
        rows = await self._pool.fetch(
            self._known,
            macs,
            [str(uuid4()) for _ in macs],
            [str(uuid4()) if mac in applicants else None for mac in macs],
        )
        persons = {mac: person for mac, person, _ in rows}
        households = {mac: household for mac, _, household in rows}
        return [
            ([persons[mac] for mac in members], households[applicant])
            for members, applicant in asked
        ]


# Views


def views(state: Case) -> list[View]:
    """Everything that is shown of a case, from its state alone."""
    if state.application is None:
        return []
    return [_case(state), _personal(state), *_work(state), *_timers(state)]


def _case(state: Case) -> View:
    application, stage = certain(state.application), stage_of(state)
    document: dict[str, Any] = {
        "case_id": state.case_id,
        "stage": stage,
        "household_id": state.accepted.household_id if state.accepted else application.household_id,
        "applicant_id": application.applicant_id,
        "organisation_id": application.organisation_id,
        "station_id": application.station_id,
        "without_employer": application.without_employer,
        "channel": application.channel,
        "applied_on": application.applied_on.isoformat(),
        "residence": application.residence,
        "members": _members(state),
        "causes": list(application.causes),
        "programmes": list(application.programmes),
        "relief": application.relief,
        "consents": sorted(state.consents),
        "fund": state.accepted.fund if state.accepted else None,
        "visits": [
            {"visit": v.visit, "organisation_id": v.organisation_id, "visitors": list(v.visitors)}
            for v in state.visits
        ],
        "open_objections": sorted(state.open_objections),
        **_open_ends(state),
        **_settled(state),
    }
    return View("case", state.case_id, document, application.organisation_id, status=stage)


def _members(state: Case) -> list[dict[str, Any]]:
    return [
        {
            "person_id": member.person_id,
            "relation": member.relation,
            "school": member.school,
            "worker": member.worker,
        }
        for member in certain(state.application).members
    ]


def _open_ends(state: Case) -> dict[str, Any]:
    """What somebody still has to see to."""
    returned, asked = state.returned, state.asked
    found = defects_of(state) if state.accepted is None else ()
    return {
        "defects": [d.model_dump() for d in (returned.defects if returned else found)],
        "answer_by": returned.answer_by.isoformat() if returned else None,
        "differences": list(differences_of(state)) if len(state.visits) == BOTH else [],
        "asked": None if asked is None else asked.reason,
        "ends_proposed": [p.placement_id for p in state.ends_proposed],
    }


def _settled(state: Case) -> dict[str, Any]:
    """What has been decided about the case."""
    values, taken, form = state.reconciled, state.class_taken, state.form
    forwarded, registered, rejected = state.forwarded, state.registered, state.rejected
    return {
        "income_12m_fen": values.income_12m_fen if values else None,
        "classes": list(taken.classes) if taken else [],
        "primary": taken.primary if taken else None,
        "reviewer": taken.reviewer if taken else None,
        "form_hash": form.form_hash if form else None,
        "notices_passed": sorted(state.passed),
        "signatures": [
            {"role": s.role, "signer": s.signer, "organisation_id": s.office_organisation_id}
            for s in state.signatures
        ],
        "centre_id": forwarded.centre_id if forwarded else None,
        "approver": registered.approver if registered else None,
        "rejected": rejected.model_dump(mode="json", include=REJECTION) if rejected else None,
        "exit": state.deregistered.exit if state.deregistered else None,
    }


REJECTION = {"stage", "rule", "reasons", "review_until"}


def _personal(state: Case) -> View:
    """Sealed values only; who may open them is the api's question."""
    application = certain(state.application)
    incident, payee = application.incident, application.payee
    document: dict[str, Any] = {
        "address": application.address,
        "phone": application.phone,
        "members": [
            {"person_id": m.person_id, "name": m.name, "id_number": m.id_number}
            for m in application.members
        ],
        "incident_description": incident.description if incident else None,
        "account": payee.account if payee else None,
        "account_holder": payee.holder_name if payee else None,
        "remarks": [v.remarks for v in state.visits if v.remarks is not None],
    }
    return View("case_personal", state.case_id, document, application.organisation_id)


# Work lists


def _work(state: Case) -> Iterator[View]:
    """What each office has to do next; nothing while an objection holds the case up."""
    application = certain(state.application)
    holder, station = application.organisation_id, application.station_id
    details = {"case_id": state.case_id}
    match stage_of(state):
        case "submitted":
            defects = {"defects": [d.model_dump() for d in defects_of(state)]}
            yield _task(state, "decide_application", station, "handler", {**details, **defects})
        case "returned":
            yield _resubmission(state, holder)
        case "visiting":
            yield from _visits_to_make(state)
        case "visited" | "finding_asked":
            yield _reconciliation(state, station)
        case "referred":
            reason = {"reason": state.asked.reason if state.asked else None}
            yield _task(state, "record_relief_outcome", station, "handler", {**details, **reason})
        case "end_proposed":
            for proposal in state.ends_proposed:
                yield _end_to_confirm(state, proposal.placement_id, proposal.person_id, station)
        case stage if stage in ON_FORM and not state.open_objections:
            yield from _work_on_form(state)


def _task(state: Case, task: str, organisation: str, role: str, details: Mapping[str, Any]) -> View:
    return View("work", f"{KIND}-{state.case_id}:{task}", details, organisation, role, task)


def _resubmission(state: Case, holder: str) -> View:
    returned = certain(state.returned)
    return View(
        "work",
        f"{KIND}-{state.case_id}:resubmit",
        {
            "case_id": state.case_id,
            "defects": [defect.model_dump() for defect in returned.defects],
            "answer_by": returned.answer_by.isoformat(),
        },
        holder,
        "handler",
        "resubmit",
        returned.answer_by,
    )


def _visits_to_make(state: Case) -> Iterator[View]:
    made = {visit.visit for visit in state.visits}
    for order in state.scheduled:
        if order.visit not in made:
            yield _task(
                state,
                f"visit_{order.visit}",
                order.organisation_id,
                "visitor",
                {"case_id": state.case_id, "visit": order.visit, "members": _members(state)},
            )


def _reconciliation(state: Case, station: str) -> View:
    asked = state.asked
    return _task(
        state,
        "reconcile",
        station,
        "handler",
        {
            "case_id": state.case_id,
            "members": _members(state),
            "differences": list(differences_of(state)),
            "reason": asked.reason if isinstance(asked, FindingAsked) else None,
        },
    )


def _work_on_form(state: Case) -> Iterator[View]:
    form = certain(state.form)
    details = {"case_id": state.case_id, "form_hash": form.form_hash}
    match stage_of(state):
        case "signing":
            signed = {signature.role for signature in state.signatures}
            for order in state.signing:
                if order.role not in signed:
                    yield _task(
                        state,
                        f"sign_{order.role}",
                        order.organisation_id,
                        order.role,
                        {**details, "role": order.role},
                    )
        case "signed":
            yield _task(state, "forward", form.station_id, "handler", details)
        case "forwarded":
            centre = certain(state.forwarded).centre_id
            yield _task(state, "register", centre, "approver", details)


def _end_to_confirm(state: Case, placement_id: str, person_id: str, station: str) -> View:
    return View(
        "work",
        f"{KIND}-{state.case_id}:confirm_hardship_end:{placement_id}",
        {"case_id": state.case_id, "placement_id": placement_id, "person_id": person_id},
        station,
        "handler",
        "confirm_hardship_end",
    )


# Timers


def _timers(state: Case) -> Iterator[View]:
    """The day after the last day for an answer, a returned application lapses."""
    if stage_of(state) == "returned":
        last_day = certain(state.returned).answer_by
        yield View(
            "timer", f"{KIND}-{state.case_id}:{LAPSE}", {"timer": LAPSE}, due_on=day_after(last_day)
        )
