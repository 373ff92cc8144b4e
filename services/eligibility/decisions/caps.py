"""What is used under the caps, as guard rows that all cases of a household share.

The rows' keys, what a request must know of them, and what a fact moves in them. Each row is the
sum of what the facts moved, so it can be rebuilt from them (DESIGN §2).
"""

from collections.abc import Mapping, Sequence

from services.eligibility.facts import AwardComputed, AwardRefused, Programme
from services.eligibility.rules.awards import (
    DisasterRequest,
    EducationRequest,
    LivingRequest,
    MedicalRequest,
    Request,
    Used,
)
from shared.fact import Fact, Recorded


def cap_key(fund: str, programme: Programme, subject: str, year: int) -> str:
    """Awarded fen of one household or student in one cap year."""
    return f"cap|{fund}|{programme}|{subject}|{year}"


def basis_key(fund: str, household: str, year: int) -> str:
    """The self-paid fen that a household has presented in one cap year (reading 10)."""
    return f"basis|{fund}|medical|{household}|{year}"


def incident_key(fund: str, household: str, incident_id: str) -> str:
    """How often one incident was aided: never more than once (reading 11)."""
    return f"incident|{fund}|{household}|{incident_id}"


def subject_of(request: Request) -> str:
    """Whose cap it is: the student's for education, else the household's (readings 8-10)."""
    return request.student if isinstance(request, EducationRequest) else request.household


def programme_of(request: Request) -> Programme:
    """The programme under which it is asked."""
    match request:
        case LivingRequest():
            return "living"
        case EducationRequest():
            return "education"
        case MedicalRequest():
            return "medical"
        case DisasterRequest():
            return "disaster"


def keys_of(request: Request, year: int) -> list[str]:
    """The rows on which the answer depends; they are compared again in the write."""
    if isinstance(request, DisasterRequest):
        return [incident_key(request.fund, request.household, request.incident_id)]
    keys = [cap_key(request.fund, programme_of(request), subject_of(request), year)]
    if isinstance(request, MedicalRequest):
        keys.append(basis_key(request.fund, request.household, year))
    return keys


def used_by(request: Request, year: int, guards: Mapping[str, int]) -> Used:
    """What was used before, from the rows instead of from earlier awards."""
    values = [guards[key] for key in keys_of(request, year)]
    match request:
        case DisasterRequest():
            return Used(incident_aided=values[0] > 0)
        case MedicalRequest():
            return Used(used_fen=values[0], basis_fen=values[1])
        case _:
            return Used(used_fen=values[0])


def guard_changes(fact: Fact, _: Recorded) -> Sequence[tuple[str, int]]:
    """Room is taken when an award is computed and given back when it is refused later.

    Refused when computed, a bill took no room, but counts in the year's basis all the same.
    """
    match fact:
        case AwardComputed():
            return _moves(fact, fact.cap_year, 1)
        case AwardRefused(stage="computing", cap_year=int(year)) if fact.basis_fen:
            return [(basis_key(fact.fund, fact.household_id, year), fact.basis_fen)]
        case AwardRefused(stage="cover" | "closing" | "approval", cap_year=int(year)):
            return _moves(fact, year, -1)
        case _:
            return ()


def _moves(fact: AwardComputed | AwardRefused, year: int, sign: int) -> list[tuple[str, int]]:
    moves = [
        (
            cap_key(fact.fund, fact.programme, fact.cap_subject, year),
            sign * fact.amount_fen,
        )
    ]
    if fact.programme == "medical":
        moves.append((basis_key(fact.fund, fact.household_id, year), sign * fact.basis_fen))
    if fact.programme == "disaster" and fact.incident_id is not None:
        moves.append((incident_key(fact.fund, fact.household_id, fact.incident_id), sign))
    return moves
