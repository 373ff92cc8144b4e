"""The bank's days: business days by the calendar of the mainland."""

from __future__ import annotations

from datetime import date
from itertools import islice
from typing import Final

from shared.calendar import BusinessCalendar, HolidaysUnpublished, day_after
from shared.room import Refusal

# The bank has two business days to report; after that we do not know (DESIGN, money).
REPORT_BUSINESS_DAYS: Final = 2


def business_day_after(calendar: BusinessCalendar, day: date, count: int) -> date | Refusal:
    """The ``count``-th business day after a day; a refusal where the holidays are not published."""
    try:
        return next(islice(calendar.working_days(day_after(day)), count - 1, None))
    except HolidaysUnpublished as unknown:
        return Refusal(
            "holidays_unpublished",
            f"{unknown.year}年节假日安排尚未录入",
            f"the holidays of {unknown.year} are not entered",
            rule="reading 15",
        )
