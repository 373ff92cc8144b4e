"""What the sandbox's people write on the forms: a household's story as request bodies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sandbox.households import Household

DIFFERENCE_FEN: Final = 120_000


def application(household: Household, card: str, *, complete: bool) -> dict[str, Any]:
    """The application; an incomplete one lacks the proof of income."""
    evidence = ["id_proof", "medical_proof", "school_proof"]
    if complete:
        evidence.append("income_proof")
    consents = ["processing"]
    if household.consents_to_publication:
        consents.append("publication")
    return {
        "residence": household.residence,
        "address": household.address,
        "phone": household.phone,
        "members": [
            {
                "relation": member.relation,
                "name": member.name,
                "id_number": member.id_number,
                "school": member.school,
                "worker": member.worker,
            }
            for member in household.members
        ],
        "incomes": [
            {"member": index, "kind": kind, "months_fen": _months(amount)}
            for index, member in enumerate(household.members)
            for kind, amount in member.incomes
        ],
        "assets": [{"kind": "deposit", "value_fen": 300_000}],
        "causes": list(household.causes),
        "incident": _incident(household, described=True),
        "programmes": sorted({wish.programme for wish in household.wishes}),
        "relief": household.relief,
        "consents": consents,
        "evidence": [_evidence(household, kind) for kind in evidence],
        "payee": {
            "member": 0,
            "kind": "card",
            "account": card,
            "holder_name": household.members[0].name,
        },
    }


def submission(household: Household, card: str, *, complete: bool) -> dict[str, Any]:
    """A first application, at the window of its office."""
    return {
        **application(household, card, complete=complete),
        "channel": "window",
        "organisation_id": household.organisation,
        "without_employer": household.without_employer,
    }


def visit(
    household: Household, which: str, visitor: str, members: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a visit finds; the station's sometimes differs from what was declared."""
    differs = which == "station" and household.visits_differ
    incomes = _found_incomes(household, members)
    if differs:
        incomes[0]["income_12m_fen"] += DIFFERENCE_FEN
    return {
        "visit": which,
        "visitors": [visitor],
        "incomes": incomes,
        "assets": [{"kind": "deposit", "value_fen": 300_000}],
        "causes": list(household.causes),
        "incident": _incident(household, described=False),
        "relief": household.relief,
        "recommendation": "help",
        "remarks": f"入户所见与{household.members[0].name}所述相符",
    }


def reconciliation(
    household: Household,
    members: Sequence[Mapping[str, Any]],
    differences: Sequence[Any],
    *,
    again: bool,
) -> dict[str, Any]:
    """The values that hold; asked again, the finding is made."""
    incident = _incident(household, described=False)
    if incident is not None and household.event is not None:
        found = household.event.found
        incident["hardship_found"] = True if again and found is None else found
    after = None if household.relief == "not_applied" else household.after_relief
    return {
        "incomes": _found_incomes(household, members),
        "assets": [{"kind": "deposit", "value_fen": 300_000}],
        "causes": list(household.causes),
        "incident": incident,
        "relief": household.relief,
        "hardship_after_relief": after,
        "finding_reasons": f"经核查认定，申请人{household.members[0].name}家庭情况属实",
        "differences": [
            {"field": each, "reason": "以工资流水与存折为准"} for each in map(_field, differences)
        ],
    }


def relief_outcome(household: Household) -> dict[str, Any]:
    """What came of the referral to the government's relief."""
    relief, still_in_hardship = household.relief_outcome
    return {
        "relief": relief,
        "hardship_after_relief": still_in_hardship,
        "reasons": "民政部门书面答复",
    }


def _field(difference: Any) -> str:
    return difference if isinstance(difference, str) else str(difference["field"])


def _months(amount_fen: int) -> list[int]:
    month = amount_fen // 12
    return [amount_fen - 11 * month] + [month] * 11


def _found_incomes(
    household: Household, members: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Members come in the order of the application, so their places say who is who."""
    return [
        {"person_id": known["person_id"], "kind": kind, "income_12m_fen": amount}
        for known, member in zip(members, household.members, strict=True)
        for kind, amount in member.incomes
    ]


def _incident(household: Household, *, described: bool) -> dict[str, Any] | None:
    event = household.event
    if event is None:
        return None
    found: dict[str, Any] = {
        "kind": event.kind,
        "occurred_on": event.occurred_on.isoformat(),
        "loss_fen": event.loss_fen,
    }
    if described:
        found["description"] = event.description
    return found


def _evidence(household: Household, kind: str) -> dict[str, str]:
    blob = f"blob-{household.number}-{kind}"
    digest = hashlib.sha256(blob.encode()).hexdigest()
    return {"kind": kind, "blob_id": blob, "ciphertext_sha256": digest}
