"""A small network, its staff, and one household's case, step by step, for intake's rules."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from services.intake.decisions.application import AcceptApplication, SubmitApplication
from services.intake.decisions.form import TakeClass
from services.intake.decisions.registration import ForwardFile, RegisterFile
from services.intake.decisions.signing import SignForm, TakeNotice
from services.intake.decisions.visits import CompleteVisit, ReconcileVisits, SeenIncident
from services.intake.facts import (
    Asset,
    DeclaredIncome,
    Difference,
    Evidence,
    FoundIncome,
    Incident,
    Member,
    Payee,
    Place,
    Visit,
)
from services.intake.main import CASE
from shared.directory import Directory, Edge, Office, Organisation
from shared.fact import Actor
from shared.room import Command, Situation
from tests.given_when_then import TODAY, Given, given, sealed, situation

LONG_AGO = date(2020, 1, 1)
FUND = "sample-city"
APPLICANT, CHILD = "person-1", "person-2"

_KINDS = {
    "city": "federation",
    "county": "centre",
    "station-1": "station",
    "industry": "industrial_union",
    "union-1": "union",
    "union-2": "union",
    "union-small": "union",
}
_PARENTS = {
    "county": "city",
    "station-1": "county",
    "industry": "city",
    "union-1": "station-1",
    "union-small": "station-1",
    "union-2": "industry",
}
_SEATS = (
    *((o, r) for o in ("union-1", "union-2") for r in ("chair", "handler", "visitor")),
    *((o, r) for o in ("station-1", "industry") for r in ("chair", "handler", "visitor")),
    *((o, r) for o in ("county", "city") for r in ("reviewer", "approver", "visitor")),
)


def person(organisation: str, role: str) -> str:
    return f"{organisation}.{role}"


def actor(organisation: str, role: str, who: str = "") -> Actor:
    return Actor(who or person(organisation, role), role, organisation)


def directory(*further: Office, vacant: Collection[tuple[str, str]] = ()) -> Directory:
    """The network; in ``union-small`` one person is chair and handler."""
    offices = [Office(person(o, r), o, r, LONG_AGO) for o, r in _SEATS if (o, r) not in vacant]
    offices += [Office("solo", "union-small", r, LONG_AGO) for r in ("chair", "handler", "visitor")]
    return Directory(
        [Organisation(o, kind, f"名称 {o}", LONG_AGO) for o, kind in _KINDS.items()],
        [Edge(child, parent, LONG_AGO) for child, parent in _PARENTS.items()],
        [*offices, *further],
    )


def on(today: date = TODAY, *further: Office, guards: Mapping[str, int] | None = None) -> Situation:
    """A day in that network; keyed hashes stay short."""
    around = situation(today, directory=directory(*further), guards=guards)
    return replace(around, mac=lambda domain, text: hash_text(f"{domain}:{text}"))


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# The household


def members() -> tuple[Member, ...]:
    return (
        Member(
            person_id=APPLICANT,
            relation="applicant",
            name=sealed(field="members[0].name"),
            id_number=sealed(field="members[0].id_number"),
            worker=True,
        ),
        Member(
            person_id=CHILD,
            relation="child",
            name=sealed(field="members[1].name"),
            id_number=sealed(field="members[1].id_number"),
            school="school-a",
        ),
    )


def evidence(*kinds: Any) -> tuple[Evidence, ...]:
    return tuple(Evidence(kind=k, blob_id=f"blob-{k}", ciphertext_sha256="0" * 64) for k in kinds)


def content(**changes: Any) -> dict[str, Any]:
    """What a household without defects says."""
    said: dict[str, Any] = {
        "household_id": "household-1",
        "applicant_id": APPLICANT,
        "residence": "990802",
        "address": sealed(field="address"),
        "phone": sealed(field="phone"),
        "members": members(),
        "incomes": (
            DeclaredIncome(person_id=APPLICANT, kind="wage", months_fen=(60_000,) * 12),
            DeclaredIncome(person_id=CHILD, kind="other", months_fen=(0,) * 12),
        ),
        "assets": (Asset(kind="deposit", value_fen=300_000),),
        "causes": ("schooling",),
        "incident": None,
        "programmes": ("living", "education"),
        "relief": "receiving",
        "consents": ("processing", "publication"),
        "evidence": evidence("id_proof", "income_proof"),
        "payee": Payee(
            person_id=APPLICANT,
            kind="card",
            account=sealed("account", "payee.account"),
            holder_name=sealed("account", "payee.holder_name"),
        ),
    }
    return {**said, **changes}


def fire(**changes: Any) -> Incident:
    incident = Incident(
        incident_id="incident-1",
        kind="accident",
        occurred_on=date(2025, 2, 1),
        description=sealed("health", "incident.description"),
        loss_fen=500_000,
    )
    return incident.model_copy(update=changes)


# The commands, each by the office that gives it


def submission(
    organisation: str = "union-1",
    *,
    without_employer: bool = False,
    by: Actor | None = None,
    applied_on: date = TODAY,
    **changes: Any,
) -> SubmitApplication:
    handler = "solo" if organisation == "union-small" else ""
    return SubmitApplication(
        by=by or actor(organisation, "handler", handler),
        occurred_on=applied_on,
        channel="window",
        applied_on=applied_on,
        organisation_id=organisation,
        without_employer=without_employer,
        **content(**changes),
    )


def acceptance(station: str = "station-1") -> AcceptApplication:
    return AcceptApplication(by=actor(station, "handler"), fund=FUND)


def found(wage_fen: int = 720_000) -> tuple[FoundIncome, ...]:
    return (
        FoundIncome(person_id=APPLICANT, kind="wage", income_12m_fen=wage_fen),
        FoundIncome(person_id=CHILD, kind="other", income_12m_fen=0),
    )


def a_visit(which: Visit, by: Actor, **changes: Any) -> CompleteVisit:
    told: dict[str, Any] = {
        "by": by,
        "visit": which,
        "visited_on": TODAY,
        "visitors": (by.person,),
        "incomes": found(),
        "assets": (Asset(kind="deposit", value_fen=300_000),),
        "causes": ("schooling",),
        "incident": None,
        "relief": "receiving",
        "recommendation": "help",
        "remarks": None,
    }
    told.update(changes)
    return CompleteVisit(**told)


def reconciliation(station: str = "station-1", **changes: Any) -> ReconcileVisits:
    told: dict[str, Any] = {
        "by": actor(station, "handler"),
        "incomes": found(),
        "assets": (Asset(kind="deposit", value_fen=300_000),),
        "causes": ("schooling",),
        "incident": None,
        "relief": "receiving",
        "hardship_after_relief": True,
        "finding_reasons": sealed("free_text", "finding_reasons"),
        "differences": (),
    }
    told.update(changes)
    return ReconcileVisits(**told)


def seen(incident: Incident, **changes: Any) -> SeenIncident:
    told = incident.model_dump(exclude={"incident_id", "description"})
    return SeenIncident(**{**told, **changes})


def difference(field: str) -> Difference:
    return Difference(field=field, reason=sealed("free_text", "differences[0].reason"))


def confirmation(**changes: Any) -> TakeClass:
    told: dict[str, Any] = {
        "determination_id": "determination-1",
        "outcome": "eligible",
        "classes": ("low_income",),
        "primary": "low_income",
        "reason": None,
        "reviewer": person("county", "reviewer"),
    }
    told.update(changes)
    return TakeClass(**told)


def elapsed(case: Given, place: Place) -> TakeNotice:
    return TakeNotice(notice_id=f"notice-{place}", place=place, form_hash=hash_of(case))


def hash_of(case: Given) -> str:
    return str(case.state.form.form_hash)


def signature(case: Given, role: Any, by: Actor | None = None) -> SignForm:
    return SignForm(by=by or actor("union-1", role), role=role, form_hash=hash_of(case))


# The case, up to a stage


def new_case() -> Given:
    return given(CASE)


def tell(case: Given, *commands: Command, around: Situation | None = None) -> Given:
    """The case after these commands, none of which may be refused."""
    for command in commands:
        case = case.when(command, around or on()).afterwards()
    return case


def submitted(**changes: Any) -> Given:
    return tell(new_case(), submission(**changes))


def accepted(**changes: Any) -> Given:
    return tell(submitted(**changes), acceptance())


def visited(
    grassroots: Mapping[str, Any] | None = None,
    station: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Given:
    return tell(
        accepted(**changes),
        a_visit("grassroots", actor("union-1", "visitor"), **(grassroots or {})),
        a_visit("station", actor("station-1", "visitor"), **(station or {})),
    )


def reconciled(**changes: Any) -> Given:
    return tell(visited(**changes), reconciliation())


def on_notice(**changes: Any) -> Given:
    return tell(reconciled(**changes), confirmation())


def signing() -> Given:
    case = on_notice()
    return tell(case, elapsed(case, "workplace"), elapsed(case, "station"))


def signed() -> Given:
    case = signing()
    return tell(case, signature(case, "handler"), signature(case, "chair"))


def forwarded() -> Given:
    return tell(signed(), ForwardFile(by=actor("station-1", "handler")))


def registered() -> Given:
    return tell(forwarded(), RegisterFile(by=actor("county", "approver")))
