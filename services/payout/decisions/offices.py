"""Who may act on money: offices of a federation, and only within its own tree."""

from __future__ import annotations

from datetime import date

from shared.directory import Directory
from shared.room import Command, Refusal, Situation

FEDERATION = "federation"


def wrong_office(command: Command, situation: Situation, role: str) -> Refusal | None:
    """None if the command comes from that office of a federation."""
    organisation = situation.directory.organisation(command.by.organisation)
    if command.by.role == role and organisation is not None and organisation.kind == FEDERATION:
        return None
    return Refusal("wrong_office", "无此职权", f"only the {role} of a federation may", status=403)


def outside(organisation_id: str, command: Command, situation: Situation) -> bool:
    """Whether the organisation stands outside the acting one's tree today."""
    return not situation.directory.is_within(
        organisation_id, command.by.organisation, situation.today
    )


def paying_federation(directory: Directory, organisation_id: str, today: date) -> str:
    """The nearest federation at or above an organisation; the top of its line if there is none."""
    line = [organisation_id, *directory.ancestors(organisation_id, today)]
    for name in line:
        found = directory.organisation(name)
        if found is not None and found.kind == FEDERATION:
            return name
    return line[-1]
