"""What the machine can see wrong in an application: one visible list of grounds for its return.

Pure functions of the application and the consents that stand; what only a person sees is named
by them. K5: a written application with valid personal proof.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from services.intake.decisions.state import Case
from services.intake.facts import Application, ConsentPurpose, Defect, Member

Consents = frozenset[ConsentPurpose]
Ground = Callable[[Application, Consents], Iterator[Defect]]


def id_proof_missing(application: Application, _: Consents) -> Iterator[Defect]:
    """K5: valid personal proof."""
    if all(evidence.kind != "id_proof" for evidence in application.evidence):
        yield Defect(code="id_proof_missing", field="evidence")


def income_proof_missing(application: Application, _: Consents) -> Iterator[Defect]:
    """K5: the income is proven, too."""
    if all(evidence.kind != "income_proof" for evidence in application.evidence):
        yield Defect(code="income_proof_missing", field="evidence")


def id_number_wrong(application: Application, _: Consents) -> Iterator[Defect]:
    """GB 11643: 17 digits and a check character."""
    for index, member in enumerate(application.members):
        if member.person_id in application.wrong_id_numbers:
            yield Defect(code="id_number_wrong", field=f"members[{index}].id_number")


def income_undeclared(application: Application, _: Consents) -> Iterator[Defect]:
    """Every member declares twelve months, if only of nothing (reading 2)."""
    declared = {income.person_id for income in application.incomes}
    for index, member in enumerate(application.members):
        if member.person_id not in declared:
            yield Defect(code="income_undeclared", field=f"members[{index}]")


def applicant_unclear(application: Application, _: Consents) -> Iterator[Defect]:
    """Exactly one member of the household applies."""
    applicants = sum(member.relation == "applicant" for member in application.members)
    if applicants == 0:
        yield Defect(code="applicant_missing", field="members")
    elif applicants > 1:
        yield Defect(code="applicant_twice", field="members")


def person_twice(application: Application, _: Consents) -> Iterator[Defect]:
    """A household counts each of its members once."""
    times = Counter(member.person_id for member in application.members)
    for index, member in enumerate(application.members):
        if times[member.person_id] > 1:
            yield Defect(code="person_twice", field=f"members[{index}].id_number")


def student_missing(application: Application, _: Consents) -> Iterator[Defect]:
    """Help with schooling is for a student at a school (K13)."""
    if "education" in application.programmes and all(
        member.school is None for member in application.members
    ):
        yield Defect(code="student_missing", field="programmes")


def medical_proof_missing(application: Application, _: Consents) -> Iterator[Defect]:
    """Help with medical costs rests on their proof (K14, K5)."""
    if "medical" in application.programmes and all(
        evidence.kind != "medical_proof" for evidence in application.evidence
    ):
        yield Defect(code="medical_proof_missing", field="evidence")


def incident_missing(application: Application, _: Consents) -> Iterator[Defect]:
    """Help after a disaster names the event (K15)."""
    if "disaster" in application.programmes and application.incident is None:
        yield Defect(code="incident_missing", field="incident")


def incident_after_application(application: Application, _: Consents) -> Iterator[Defect]:
    """What has not happened yet is no ground for help (K3)."""
    incident = application.incident
    if incident is not None and incident.occurred_on > application.applied_on:
        yield Defect(code="incident_after_application", field="incident.occurred_on")


def account_missing(application: Application, _: Consents) -> Iterator[Defect]:
    """K16: help in money goes to a card or a passbook."""
    if application.programmes and application.payee is None:
        yield Defect(code="account_missing", field="payee")


def account_unconfirmed(application: Application, _: Consents) -> Iterator[Defect]:
    """A card that fails Luhn asks for confirmation; in the end the bank decides (§6)."""
    if application.account_unconfirmed:
        yield Defect(code="account_unconfirmed", field="payee.account")


def processing_consent_missing(_: Application, consents: Consents) -> Iterator[Defect]:
    """Withdrawn since it was sent in: without it nothing is processed."""
    if "processing" not in consents:
        yield Defect(code="processing_consent_missing", field="consents")


GROUNDS_FOR_RETURN: Final[tuple[Ground, ...]] = (
    id_proof_missing,
    income_proof_missing,
    id_number_wrong,
    income_undeclared,
    applicant_unclear,
    person_twice,
    student_missing,
    medical_proof_missing,
    incident_missing,
    incident_after_application,
    account_missing,
    account_unconfirmed,
    processing_consent_missing,
)


def defects_of(state: Case) -> tuple[Defect, ...]:
    """All that the machine finds, at once."""
    application = state.application
    if application is None:
        return ()
    return tuple(d for ground in GROUNDS_FOR_RETURN for d in ground(application, state.consents))


def persons_of(state: Case) -> tuple[str, ...]:
    """The household's members, once each."""
    members = state.application.members if state.application else ()
    return tuple(dict.fromkeys(member.person_id for member in members))


def open_file(person_id: str) -> str:
    """The guard row that counts a person's open files: at most one."""
    return f"open_file|{person_id}"


def in_open_files(state: Case, guards: Mapping[str, int]) -> tuple[Defect, ...]:
    """Members who are in another open file: one file per household, so one per person."""
    return members_in_open_files(state.application.members if state.application else (), guards)


def members_in_open_files(
    members: Sequence[Member], guards: Mapping[str, int]
) -> tuple[Defect, ...]:
    """The same of members whose application is not stated yet."""
    return tuple(
        Defect(code="member_in_open_file", field=f"members[{index}]")
        for index, member in enumerate(members)
        if guards[open_file(member.person_id)] > 0
    )
