"""What intake would say of a sound form, as far as the list and the day tell: for `--check` alone.

A run asks intake, which also knows the organisations, the person's office and who is on file.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from cli.forms.cells import BadCell
from cli.forms.households import Headers, Household, blame
from services.intake.numbers import normal_number

AHEAD: Final = BadCell("wrong_day", "申请日期晚于今天", "the day of the application lies ahead")
FURTHER_UP: Final = BadCell(
    "form_further_up",
    "该申请人同日的登记表在前面已有，只录入一次",
    "the applicant's form of this day stands further up: it is entered once",
)


class Preview:
    """Looks at one household of a list after the other."""

    def __init__(self, today: date) -> None:
        self._today = today
        # Of each form what intake knows it by; a hash of it, for lists are long.
        self._seen: set[int] = set()

    def look(self, headers: Headers, household: Household) -> None:
        """Add what would be said of it; it is sound so far."""
        body = household.body
        if date.fromisoformat(body["applied_on"]) > self._today:
            blame(headers, household, "applied_on", AHEAD)
            return
        applicant = [m["relation"] for m in body["members"]].index("applicant")
        number = normal_number(body["members"][applicant]["id_number"])
        form = hash((body["organisation_id"], body["applied_on"], number))
        household.stands_further_up = form in self._seen
        self._seen.add(form)
        if household.stands_further_up:
            blame(headers, household, f"members[{applicant}].id_number", FURTHER_UP, "note")
