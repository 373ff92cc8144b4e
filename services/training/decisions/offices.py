"""Who may act in training, for whom, and on which day a fact may lie."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from shared.fact import Actor
from shared.room import Refusal, Situation

TRAINING_OFFICER: Final = "training_officer"

WRONG_OFFICE = Refusal(
    "wrong_office",
    "须由培训专员办理",
    "only a training officer may do this",
    status=403,
)


def office_refused(by: Actor) -> Refusal | None:
    """Slips, classes and a worker's steps are the training officer's; the scope of a case is
    the door's to judge."""
    return None if by.role == TRAINING_OFFICER else WRONG_OFFICE


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


def open_to(
    organisation: str, document: Mapping[str, Any] | None, situation: Situation
) -> Mapping[str, Any] | None:
    """The slip or class, if it was opened by this organisation or by one above it."""
    if document is None:
        return None
    opener = document["organisation_id"]
    return (
        document if situation.directory.is_within(organisation, opener, situation.today) else None
    )


def not_found(field: str) -> Refusal:
    """The order, menu or class named in ``field`` does not exist, or is not open to those below."""
    return Refusal(
        "not_open_to_them",
        "没有这一项，或不对其开放",
        "there is no such thing, or it is not open to them",
        field=field,
        status=422,
    )
