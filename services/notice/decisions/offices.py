"""Who may act on the notices of a case, and on which day a fact may lie."""

from __future__ import annotations

from datetime import date
from typing import Final

from shared.directory import Directory
from shared.fact import Actor
from shared.room import Refusal

HANDLER: Final = "handler"
REVIEWER: Final = "reviewer"
CENTRE: Final = "centre"


def centre_of(directory: Directory, organisation: str, day: date) -> str:
    """The nearest help centre above, else the root of the tree (K10)."""
    above = directory.ancestors(organisation, day)
    for each in above:
        known = directory.organisation(each)
        if known is not None and known.kind == CENTRE:
            return each
    return above[-1] if above else organisation


def office_refused(by: Actor, role: str, organisation: str) -> Refusal | None:
    """None if ``by`` acts in that role for the organisation (a delegate does, too).

    The refusal names the organisation: give one that a fact states, never what a caller wrote.
    """
    if by.role == role and by.organisation == organisation:
        return None
    return Refusal(
        "wrong_office",
        f"须由 {organisation} 的 {role} 办理",
        f"only the {role} of {organisation} may do this",
        status=403,
    )


def day_refused(day: date, not_before: date | None, today: date, field: str) -> Refusal | None:
    """A fact may be entered late, but never ahead, and never across one that it depends on."""
    if day <= today and (not_before is None or not_before <= day):
        return None
    return Refusal(
        "wrong_day",
        f"日期须在 {not_before} 与 {today} 之间",
        f"the day must lie between {not_before} and {today}",
        rule="DOMAIN §4",
        field=field,
        status=422,
    )
