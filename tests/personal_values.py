"""Every personal value that the sandbox puts into a demo in clear, under a label that may be shown.

Names, ID numbers, phones, addresses, cards, diagnoses, and the free text that its people write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sandbox import bodies, cards
from sandbox.households import Household

# What staff and the public write into forms, the same for every household.
PERSONAL_FIELDS: Final = frozenset(("remarks", "finding_reasons", "reasons", "reason"))


def personal_values(households: Iterable[Household]) -> dict[str, str]:
    """Label (``household 7 member 1 name``) to value; the last word is the kind of value."""
    return dict(pair for each in households for pair in _of_one(each))


def _of_one(each: Household) -> Iterator[tuple[str, str]]:
    where = f"household {each.number}"
    yield f"{where} address", each.address
    yield f"{where} phone", each.phone
    yield f"{where} card", cards.test_card(each.number)
    yield f"{where} corrected card", cards.test_card(each.number, variant=1)
    for index, member in enumerate(each.members):
        yield f"{where} member {index} name", member.name
        yield f"{where} member {index} id_number", member.id_number
    if each.event is not None:
        kind = "diagnosis" if each.event.kind == "serious_illness" else "incident"
        yield f"{where} {kind}", each.event.description
    for index, text in enumerate(sorted(_free_text(each))):
        yield f"{where} text {index} free_text", text


def _free_text(each: Household) -> set[str]:
    """What is written about this household on the forms, read off the forms themselves."""
    members = [{"person_id": str(index)} for index in range(len(each.members))]
    forms: list[Mapping[str, Any]] = [
        bodies.visit(each, "station", "visitor", members),
        bodies.reconciliation(each, members, ["relief"], again=True),
        bodies.relief_outcome(each),
    ]
    return {text for form in forms for text in _texts(form)}


def _texts(form: Mapping[str, Any]) -> Iterator[str]:
    for name, value in form.items():
        if name in PERSONAL_FIELDS and isinstance(value, str):
            yield value
        for part in value if isinstance(value, list) else ():
            if isinstance(part, dict):
                yield from _texts(part)
