"""The two visits, what they found, and the values that hold after reconciliation.

K6: both establish every member's income and the assets. Every field on which the declaration and
the visits differ is settled by a person with a reason; so are the findings that the rules leave
to people (reading 5).
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Literal

from services.intake.decisions.grounds import persons_of
from services.intake.decisions.offices import (
    HANDLER,
    VISITING,
    day_refused,
    first_refusal,
    office_refused,
    stage_refused,
    visitors_of,
)
from services.intake.decisions.state import Case, certain
from services.intake.facts import (
    Asset,
    Cause,
    Difference,
    FoundIncome,
    Incident,
    IncidentKind,
    Relief,
    ReliefOutcomeRecorded,
    Visit,
    VisitCompleted,
    VisitScheduled,
    VisitsReconciled,
)
from shared.fact import Fen, Value
from shared.room import Answer, Command, Decided, Refusal, Situation


class SeenIncident(Value):
    """An incident as a visit or a reconciliation says it; whose id it has follows from the case."""

    kind: IncidentKind
    occurred_on: date
    description: str | None = None
    loss_fen: Fen | None = None
    hardship_found: bool | None = None


class CompleteVisit(Command):
    """What a visit found (K6)."""

    visit: Visit
    visited_on: date
    visitors: tuple[str, ...]
    incomes: tuple[FoundIncome, ...]
    assets: tuple[Asset, ...]
    causes: tuple[Cause, ...]
    incident: SeenIncident | None
    relief: Relief
    recommendation: Literal["help", "no_help"]
    remarks: str | None


class ReconcileVisits(Command):
    """The values that hold, with a difference named and explained wherever the sources differ."""

    incomes: tuple[FoundIncome, ...]
    assets: tuple[Asset, ...]
    causes: tuple[Cause, ...]
    incident: SeenIncident | None
    relief: Relief
    hardship_after_relief: bool | None
    finding_reasons: str | None
    differences: tuple[Difference, ...]


class RecordReliefOutcome(Command):
    """What the government answered."""

    relief: Literal["receiving", "refused", "ceased"]
    hardship_after_relief: bool | None
    reasons: str | None


def visit(state: Case, command: CompleteVisit, situation: Situation) -> Answer:
    """One of the two visits, by the organisation that the visit order names (K6, reading 18)."""
    if (refusal := stage_refused(state, "visiting")) is not None:
        return refusal
    order = next(s for s in state.scheduled if s.visit == command.visit)
    refusal = first_refusal(
        office_refused(command.by, VISITING, order.organisation_id),
        _visited_already(state, command.visit),
        day_refused(command.visited_on, certain(state.accepted_on), situation.today, "visited_on"),
        _visitors_refused(state, command, order, situation),
        _incomes_refused(state, command.incomes),
    )
    if refusal is not None:
        return refusal
    return Decided(
        [
            VisitCompleted(
                case_id=state.case_id,
                visit=command.visit,
                organisation_id=order.organisation_id,
                visitors=tuple(dict.fromkeys(command.visitors)),
                visited_on=command.visited_on,
                incomes=command.incomes,
                assets=command.assets,
                causes=tuple(sorted(set(command.causes))),
                incident=_incident(state, command.incident, situation),
                relief=command.relief,
                recommendation=command.recommendation,
                remarks=command.remarks,
            )
        ]
    )


def _visited_already(state: Case, which: Visit) -> Refusal | None:
    if all(v.visit != which for v in state.visits):
        return None
    return Refusal("visited_already", "该次入户已完成", "this visit was made", rule="K6")


def _visitors_refused(
    state: Case, command: CompleteVisit, order: VisitScheduled, situation: Situation
) -> Refusal | None:
    """Visitors held an office there on that day; the two visits have nobody in common."""
    if not command.visitors:
        return Refusal(
            "visitors_missing", "未写明入户人员", "who visited?", "K6", "visitors", status=422
        )
    seated = {
        person
        for role in VISITING
        for person in situation.directory.holders(order.organisation_id, role, command.visited_on)
    }
    if not seated.issuperset(command.visitors):
        return Refusal(
            "visitor_without_office",
            "入户人员当日未在该组织任职",
            "a visitor held no such office there on that day",
            rule="K6",
            field="visitors",
            status=422,
        )
    same = any(other.organisation_id == order.organisation_id for other in state.visits)
    if same or set(command.visitors) & set(visitors_of(state)):
        return Refusal(
            "visits_not_apart",
            "两次入户须由不同组织的不同人员完成",
            "the two visits are made by different organisations and different people",
            rule="reading 18",
            field="visitors",
        )
    return None


def _incomes_refused(state: Case, incomes: Iterable[FoundIncome]) -> Refusal | None:
    """Every member has a line, an explicit zero if there is nothing; nobody else has one."""
    persons, found = set(persons_of(state)), {income.person_id for income in incomes}
    if persons == found:
        return None
    missing = ", ".join(p for p in persons_of(state) if p not in found)
    return Refusal(
        "incomes_incomplete",
        f"每名家庭成员都须有收入结论（可为零），缺：{missing}",
        f"every member has an income line (zero if none), and nobody else; missing: {missing}",
        rule="K6",
        field="incomes",
        status=422,
    )


def _incident(state: Case, seen: SeenIncident | None, situation: Situation) -> Incident | None:
    """The incident keeps the id under which the case first knew it; there is one at most."""
    if seen is None:
        return None
    known = [i for i in _known_incidents(state) if i is not None]
    return Incident(
        incident_id=known[0].incident_id if known else situation.new_id(),
        kind=seen.kind,
        occurred_on=seen.occurred_on,
        description=seen.description or next((i.description for i in known), None),
        loss_fen=seen.loss_fen,
        hardship_found=seen.hardship_found,
    )


def _known_incidents(state: Case) -> list[Incident | None]:
    declared = [state.application.incident] if state.application else []
    return [*declared, *(v.incident for v in state.visits)]


# Reconciliation

Answers = Mapping[str, object]


def differences_of(state: Case) -> tuple[str, ...]:
    """The fields on which the declaration and the two visits do not all say the same."""
    return _differing(_sources(state))


def _sources(state: Case) -> list[Answers]:
    application = certain(state.application)
    declared = [
        (income.person_id, income.kind, sum(income.months_fen)) for income in application.incomes
    ]
    said = [
        _answers(
            declared,
            application.assets,
            application.causes,
            application.incident,
            application.relief,
        )
    ]
    said += [
        _answers(_found(v.incomes), v.assets, v.causes, v.incident, v.relief) for v in state.visits
    ]
    if state.relief_outcome is not None:
        # What came of the referral is known since: nobody's earlier word on relief counts.
        said = [{**answers, "relief": state.relief_outcome.relief} for answers in said]
    return said


def _found(incomes: Iterable[FoundIncome]) -> Iterable[tuple[str, str, int]]:
    return ((income.person_id, income.kind, income.income_12m_fen) for income in incomes)


def _answers(
    incomes: Iterable[tuple[str, str, int]],
    assets: Iterable[Asset],
    causes: Iterable[Cause],
    incident: Incident | SeenIncident | None,
    relief: Relief,
) -> Answers:
    """What one source says, field by field; sums of nothing are left out, so that 0 = no line."""
    sums: dict[str, int] = {}
    for person_id, kind, fen in incomes:
        key = f"incomes.{person_id}.{kind}"
        sums[key] = sums.get(key, 0) + fen
    for asset in assets:
        sums[f"assets.{asset.kind}"] = sums.get(f"assets.{asset.kind}", 0) + asset.value_fen
    facts = None if incident is None else (incident.kind, incident.occurred_on, incident.loss_fen)
    return {
        **{field: fen for field, fen in sums.items() if fen},
        "causes": frozenset(causes),
        "incident": facts,
        "relief": relief,
    }


def _differing(sources: list[Answers]) -> tuple[str, ...]:
    fields = sorted({field for source in sources for field in source})
    return tuple(f for f in fields if len({source.get(f) for source in sources}) > 1)


def reconcile(state: Case, command: ReconcileVisits, situation: Situation) -> Answer:
    """The values that hold; again as long as eligibility asks for a finding or a relief outcome.

    Not beside a proposal that a reviewer may be confirming this moment: the class would then be
    confirmed on values that hold no more.
    """
    application = certain(state.application)
    refusal = first_refusal(
        office_refused(command.by, HANDLER, application.station_id),
        stage_refused(state, "visited", "finding_asked", "referred"),
        _incomes_refused(state, command.incomes),
        _incident_refused(command.incident, application.applied_on),
        _differences_refused(state, command),
        _findings_refused(command),
    )
    if refusal is not None:
        return refusal
    return Decided(
        [
            VisitsReconciled(
                case_id=state.case_id,
                household_id=certain(state.accepted).household_id,
                organisation_id=application.organisation_id,
                fund=certain(state.accepted).fund,
                applied_on=application.applied_on,
                residence=application.residence,
                members=len(persons_of(state)),
                incomes=command.incomes,
                income_12m_fen=sum(income.income_12m_fen for income in command.incomes),
                assets=command.assets,
                causes=tuple(sorted(set(command.causes))),
                incident=_incident(state, command.incident, situation),
                relief=command.relief,
                hardship_after_relief=command.hardship_after_relief,
                finding_reasons=command.finding_reasons,
                differences=command.differences,
                visitors=visitors_of(state),
            )
        ]
    )


def _differences_refused(state: Case, command: ReconcileVisits) -> Refusal | None:
    """Each field on which the sources, or the value that holds, differ has its reason."""
    incomes = _found(command.incomes)
    holding = _answers(incomes, command.assets, command.causes, command.incident, command.relief)
    differing = set(_differing([*_sources(state), holding]))
    explained = {difference.field for difference in command.differences}
    if missing := sorted(differing - explained):
        return Refusal(
            "differences_unresolved",
            f"下列各项不一致，须说明理由：{', '.join(missing)}",
            f"these differ and need a reason: {', '.join(missing)}",
            rule="K6",
            field="differences",
        )
    if explained - differing:
        return Refusal(
            "difference_unknown",
            "所列项目并无不一致",
            "nothing differs there",
            rule="K6",
            field="differences",
            status=422,
        )
    return None


def _incident_refused(incident: SeenIncident | None, applied_on: date) -> Refusal | None:
    """Eligibility is decided for the application day: what came later is no ground (K3)."""
    if incident is None or incident.occurred_on <= applied_on:
        return None
    return Refusal(
        "incident_after_application",
        "事件发生在申请之后",
        "the incident is later than the application",
        rule="K3",
        field="incident.occurred_on",
        status=422,
    )


def _findings_refused(command: ReconcileVisits) -> Refusal | None:
    """What no published test decides, a person finds, with reasons (reading 5)."""
    found = command.hardship_after_relief is not None or (
        command.incident is not None and command.incident.hardship_found is not None
    )
    return _reasons_refused(found, command.finding_reasons, "finding_reasons")


def _reasons_refused(found: bool, reasons: str | None, field: str) -> Refusal | None:
    if not found or reasons:
        return None
    return Refusal(
        "reasons_missing",
        "认定须写明理由",
        "a finding needs its reasons",
        rule="reading 5",
        field=field,
        status=422,
    )


def record_relief_outcome(
    state: Case, command: RecordReliefOutcome, _situation: Situation
) -> Answer:
    """What came of the referral to government relief (K1, reading 4)."""
    application = certain(state.application)
    refusal = first_refusal(
        office_refused(command.by, HANDLER, application.station_id),
        stage_refused(state, "referred"),
        _reasons_refused(command.hardship_after_relief is not None, command.reasons, "reasons"),
    )
    if refusal is not None:
        return refusal
    return Decided(
        [
            ReliefOutcomeRecorded(
                case_id=state.case_id,
                relief=command.relief,
                hardship_after_relief=command.hardship_after_relief,
                reasons=command.reasons,
            )
        ]
    )
