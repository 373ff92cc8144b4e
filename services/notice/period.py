"""How long a notice runs (K8, reading 15): its last day, and the day from which one may sign.

A pure function of the posting day, the interruptions, the dated rule and the calendar. Not for
what a notice shows, nor for objections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Literal

from shared.calendar import BusinessCalendar, DayUnit, HolidaysUnpublished, day_after
from shared.dated import Version, Versions

PeriodReason = Literal["NO_RULE_IN_FORCE", "HOLIDAYS_UNPUBLISHED"]


@dataclass(frozen=True, slots=True)
class NoticeRule:
    """How many full days a notice lasts, and in which unit they are counted."""

    days: int
    unit: DayUnit


@dataclass(frozen=True, slots=True)
class Interruption:
    """The notice was torn down or changed, and posted again (None: it is still down)."""

    down: date
    reposted: date | None


@dataclass(frozen=True, slots=True)
class Run:
    """One posting: under which rule it ran, and whether it was over (`last_day`) or cut short."""

    posted_on: date
    days: int
    unit: DayUnit
    rule_effective_from: date
    rule_announced_on: date
    last_day: date | None
    down: date | None


@dataclass(frozen=True, slots=True)
class NoticePeriod:
    """The answer. `last_day` is over at 24:00; signing is open from `sign_from`, the next day.

    Both are None while the notice is down, and if `reason` says why nothing can be said:
    no rule in force on a posting day, or the holidays of `unpublished_year` not known.
    """

    last_day: date | None = None
    sign_from: date | None = None
    reason: PeriodReason | None = None
    unpublished_year: int | None = None
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class OutOfOrder:
    """The first interruption that cannot follow what stands before it, and its faulty field."""

    index: int
    field: Literal["down", "reposted"]


def out_of_order(posted_on: date, interruptions: Sequence[Interruption]) -> OutOfOrder | None:
    """Find the first interruption before the posting that it ends, or posted before it was down.

    All on one day is in order; nothing follows an interruption that is still down.
    """
    standing_since: date | None = posted_on
    for index, interruption in enumerate(interruptions):
        if standing_since is None or interruption.down < standing_since:
            return OutOfOrder(index, "down")
        if interruption.reposted is not None and interruption.reposted < interruption.down:
            return OutOfOrder(index, "reposted")
        standing_since = interruption.reposted
    return None


def notice_period(
    posted_on: date,
    interruptions: Sequence[Interruption],
    rules: Versions[NoticeRule],
    calendar: BusinessCalendar,
    unit: DayUnit | None = None,
) -> NoticePeriod:
    """Compute when a notice is over.

    Each posting runs under the rule in force and announced on its own day; `unit`, if given,
    stands above the rule's. Down on or before the last day starts again from zero on the day
    of reposting, later changes nothing. Raise `ValueError` if `out_of_order` finds anything.
    """
    if out_of_order(posted_on, interruptions) is not None:
        raise ValueError("interruptions are out of order")
    runs: list[Run] = []
    posted: date | None = posted_on
    # The last posting is cut short by nothing.
    for interruption in (*interruptions, None):
        if posted is None:
            break
        rule = rules.in_force(on=posted, known_on=posted)
        if rule is None:
            return NoticePeriod(reason="NO_RULE_IN_FORCE", runs=tuple(runs))
        try:
            run = _run(posted, interruption, rule, unit, calendar)
            sign_from = None if run.last_day is None else day_after(run.last_day)
        except HolidaysUnpublished as unpublished:
            return NoticePeriod(
                reason="HOLIDAYS_UNPUBLISHED",
                unpublished_year=unpublished.year,
                runs=tuple(runs),
            )
        runs.append(run)
        if run.last_day is not None:
            return NoticePeriod(run.last_day, sign_from, runs=tuple(runs))
        posted = interruption.reposted if interruption else None
    return NoticePeriod(runs=tuple(runs))


def last_day(
    posted_on: date,
    days: int,
    unit: DayUnit,
    calendar: BusinessCalendar,
    down: date | None = None,
) -> date | None:
    """The last day of a posting that is not counted itself and lasts `days` ≥ 1 full days.

    Natural days end on the next working day if the last one rests; working days count only
    themselves. None if the notice was `down` on or before its last day: then no day from
    `down` on is judged. Raise `HolidaysUnpublished` if a day must be judged and cannot be.
    """
    if unit == "natural":
        first, count = day_after(posted_on, days), 1
    else:
        first, count = day_after(posted_on), days
    return next(islice(calendar.working_days(first, before=down), count - 1, None), None)


def _run(
    posted_on: date,
    interruption: Interruption | None,
    rule: Version[NoticeRule],
    unit: DayUnit | None,
    calendar: BusinessCalendar,
) -> Run:
    down = interruption.down if interruption else None
    counted = unit or rule.value.unit
    last = last_day(posted_on, rule.value.days, counted, calendar, down)
    return Run(
        posted_on=posted_on,
        days=rule.value.days,
        unit=counted,
        rule_effective_from=rule.effective_from,
        rule_announced_on=rule.announced_on,
        last_day=last,
        down=down if last is None else None,
    )
