"""Readings of this room: chosen where the rules are silent, so they stand where one can see them.

Not law, and not the dated parameters of a fund (those are eligibility's).
"""

from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Final, Literal, get_args

from shared.calendar import BusinessCalendar, DayUnit, day_after


@dataclass(frozen=True, slots=True)
class Duration:
    """So many days after a day that is not counted itself; ``why`` names the reading."""

    days: int
    unit: DayUnit
    why: str

    def last_day(self, start: date, calendar: BusinessCalendar) -> date:
        """The last day of it. Raises HolidaysUnpublished if the calendar does not know that far."""
        if self.unit == "natural":
            return day_after(start, self.days)
        return next(islice(calendar.working_days(day_after(start)), self.days - 1, None))


ANSWER_TO_A_RETURN: Final = Duration(
    10, "working", "time to mend a returned application; it lapses on the day after"
)
REVIEW_OF_A_REJECTION: Final = Duration(
    30, "natural", "time in which a review of a rejection may be asked for"
)

# A visit establishes, and an application declares, the income of this many months (reading 2).
MONTHS: Final = 12

# Published instead of the income itself: per head and month, from this many fen on.
INCOME_BANDS: Final = (
    (0, "人均月收入不足500元 below 500 yuan"),
    (50_000, "人均月收入500元至1000元 500 to 1,000 yuan"),
    (100_000, "人均月收入1000元至1500元 1,000 to 1,500 yuan"),
    (150_000, "人均月收入1500元至2000元 1,500 to 2,000 yuan"),
    (200_000, "人均月收入2000元以上 from 2,000 yuan"),
)


def income_band(income_fen: int, members: int) -> str:
    """The band of a household's income over twelve months, compared without any rounding."""
    reached = [label for start, label in INCOME_BANDS if income_fen >= start * MONTHS * members]
    return reached[-1]


# Published instead of a cause; what illness or disability it is never leaves the case (§6).
CAUSE_CATEGORIES: Final = {
    "illness": "疾病 illness",
    "schooling": "子女上学 schooling",
    "disability": "残疾 disability",
    "single_parent": "单亲 single parenthood",
    "other_special": "其他特殊原因 another special reason",
}
INCIDENT_CATEGORY: Final = "突发事件或意外 a sudden event or accident"

# Defects that only a person can see. Codes and not free text: a remark would be personal data.
NamedDefect = Literal[
    "address_unclear",
    "application_unsigned",
    "evidence_unreadable",
    "evidence_outdated",
    "account_of_another",
    "member_missing",
    "residence_unproven",
    "other_document_missing",
]
NAMED_DEFECTS: Final = frozenset(get_args(NamedDefect))

RejectionReason = Literal[
    "false_statement",
    "hardship_not_found",
    "household_not_found",
    "moved_out",
    "deceased",
    "duplicate",
    "visit_refused",
    "procedure_flawed",
    "other",
]

# Which rule a class was refused by, from eligibility's reason (DOMAIN §7).
RULE_OF_REASON: Final = {
    "HARDSHIP_RELIEVED": "K1",
    "CAUSE_MISSING": "K2",
    "ABOVE_MARGIN": "K2",
    "NO_RULE_IN_FORCE": "DOMAIN §3",
}
RULE_OF_CLASSES: Final = "K1, K2, K3"
