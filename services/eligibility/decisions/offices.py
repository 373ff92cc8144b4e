"""Who may do what, as far as eligibility's steps need to know (K10, reading 18)."""

from collections.abc import Collection
from datetime import date
from typing import Final

from shared.directory import Directory
from shared.fact import Actor
from shared.room import Refusal

WRONG_OFFICE: Final = Refusal(
    "wrong_office", "此事不由本岗位办理", "this is not for your office to do", status=403
)


def centre_of(directory: Directory, organisation: str, day: date) -> str:
    """The help centre of a case: the nearest one above its holder, else the root of the tree.

    Where no centre stands between, the city federation acts as one (K10).
    """
    above = directory.ancestors(organisation, day)
    for each in above:
        known = directory.organisation(each)
        if known is not None and known.kind == "centre":
            return each
    return above[-1] if above else organisation


def not_in_office(by: Actor, role: str, organisations: Collection[str]) -> Refusal | None:
    """Refuse whoever does not hold `role` in one of `organisations`."""
    if by.role == role and by.organisation in organisations:
        return None
    return WRONG_OFFICE


def acted_before(
    by: Actor, visitors: Collection[str], signers: Collection[str] = (), reviewer: str = ""
) -> Refusal | None:
    """Keep duties apart: whoever acted at an earlier step does not decide here (reading 18)."""
    if by.person not in visitors and by.person not in signers and by.person != reviewer:
        return None
    return Refusal(
        "duties_apart",
        "入户、签字、审核与审批须由不同的人办理",
        "visiting, signing, reviewing and approving are done by different people",
        rule="reading 18",
    )
