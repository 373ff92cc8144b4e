"""From a body in clear to a command that carries sealed values only.

Here, and only here, intake holds personal data in clear: it checks the numbers, looks the persons
up by keyed HMAC, and seals every value under the fact that will first state it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from services.intake.bodies import ApplicationBody, FormBody, IncidentBody
from services.intake.facts import (
    Asset,
    DeclaredIncome,
    Evidence,
    Incident,
    Member,
    Payee,
)
from services.intake.numbers import card_number_holds, id_number_holds, normal_number
from services.intake.storage import PersonLookup
from shared.door import Door
from shared.sealed import Category


class Sealed(dict[str, str]):
    """Sealed values by their place in the fact; a place that was empty has none."""

    def at(self, place: str) -> str | None:
        return self.get(place)


@dataclass
class Sealing:
    """Collects the values of one fact and seals them in one go, each in its place."""

    door: Door
    fact_id: str = field(default_factory=lambda: str(uuid4()))
    _values: list[tuple[str, Category, str, str]] = field(default_factory=list)

    def add(self, person_id: str, category: Category, value: str | None, place: str) -> None:
        """One value, if it is there at all."""
        if value is not None:
            self._values.append((person_id, category, value, place))

    async def seal(self) -> Sealed:
        """All of them; the keys are durable before this returns."""
        tokens = await self.door.seal_all(self._values, self.fact_id)
        return Sealed({v[3]: token for v, token in zip(self._values, tokens, strict=True)})


def applicant_index(body: ApplicationBody) -> int:
    """Who applies; the first member if nobody says so, until the return has cleared it up."""
    return next((i for i, m in enumerate(body.members) if m.relation == "applicant"), 0)


def form_key(door: Door, body: FormBody) -> str:
    """What tells a paper form from others of its office: a keyed hash of applicant and day.

    Keyed, since ID numbers can be enumerated; and it stands among the commands' keys, which are
    rows that can be deleted, and in no fact.
    """
    number = normal_number(body.members[applicant_index(body)].id_number)
    return door.keys.mac("paper form", f"{body.applied_on}\n{number}")


async def content_of(
    door: Door, lookup: PersonLookup, body: ApplicationBody
) -> tuple[str, dict[str, Any]]:
    """The fact id and the sealed content of an application, as its command takes it."""
    macs = [door.keys.mac("id_number", normal_number(m.id_number)) for m in body.members]
    persons, household = await lookup.known(macs, macs[applicant_index(body)])
    applicant = persons[applicant_index(body)]
    sealing = Sealing(door)
    _collect(sealing, body, persons, applicant)
    sealed = await sealing.seal()
    card_doubtful = (
        body.payee is not None
        and body.payee.kind == "card"
        and not body.payee.confirmed
        and not card_number_holds(body.payee.account)
    )
    wrong = (
        p for p, m in zip(persons, body.members, strict=True) if not id_number_holds(m.id_number)
    )
    return sealing.fact_id, {
        "household_id": household,
        "applicant_id": applicant,
        "residence": body.residence,
        "address": sealed["address"],
        "phone": sealed["phone"],
        "members": _members(body, persons, sealed),
        "incomes": tuple(
            DeclaredIncome(person_id=persons[i.member], kind=i.kind, months_fen=i.months_fen)
            for i in body.incomes
        ),
        "assets": tuple(Asset(kind=a.kind, value_fen=a.value_fen) for a in body.assets),
        "causes": tuple(dict.fromkeys(body.causes)),
        "incident": _incident(body.incident, sealed),
        "programmes": tuple(dict.fromkeys(body.programmes)),
        "relief": body.relief,
        "consents": tuple(dict.fromkeys(body.consents)),
        "evidence": tuple(Evidence(**e.model_dump()) for e in body.evidence),
        "payee": _payee(body, persons, sealed),
        "wrong_id_numbers": tuple(dict.fromkeys(wrong)),
        "account_unconfirmed": card_doubtful,
    }


def _collect(sealing: Sealing, body: ApplicationBody, persons: list[str], applicant: str) -> None:
    sealing.add(applicant, Category.IDENTITY, body.address, "address")
    sealing.add(applicant, Category.IDENTITY, body.phone, "phone")
    for index, (person, member) in enumerate(zip(persons, body.members, strict=True)):
        number = normal_number(member.id_number)
        sealing.add(person, Category.IDENTITY, member.name, f"members[{index}].name")
        sealing.add(person, Category.IDENTITY, number, f"members[{index}].id_number")
    if body.incident is not None:
        description = body.incident.description
        sealing.add(applicant, Category.HEALTH, description, "incident.description")
    if body.payee is not None:
        payee = persons[body.payee.member]
        account = normal_number(body.payee.account)
        sealing.add(payee, Category.ACCOUNT, account, "payee.account")
        sealing.add(payee, Category.ACCOUNT, body.payee.holder_name, "payee.holder_name")


def _members(
    body: ApplicationBody, persons: list[str], sealed: Mapping[str, str]
) -> tuple[Member, ...]:
    return tuple(
        Member(
            person_id=person,
            relation=member.relation,
            name=sealed[f"members[{index}].name"],
            id_number=sealed[f"members[{index}].id_number"],
            school=member.school,
            worker=member.worker,
        )
        for index, (person, member) in enumerate(zip(persons, body.members, strict=True))
    )


def _incident(incident: IncidentBody | None, sealed: Sealed) -> Incident | None:
    if incident is None:
        return None
    return Incident(
        incident_id=str(uuid4()),
        kind=incident.kind,
        occurred_on=incident.occurred_on,
        description=sealed.at("incident.description"),
        loss_fen=incident.loss_fen,
    )


def _payee(body: ApplicationBody, persons: list[str], sealed: Mapping[str, str]) -> Payee | None:
    if body.payee is None:
        return None
    return Payee(
        person_id=persons[body.payee.member],
        kind=body.payee.kind,
        account=sealed["payee.account"],
        holder_name=sealed["payee.holder_name"],
    )
