"""A notice from the form to its last day: posted under a dated rule, elapsed, taken down.

How long it runs is `services.notice.period` (K8, reading 15).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Literal

from services.notice.decisions.commands import (
    CloseFile,
    ElapseNotices,
    PostNotice,
    TakeOverForm,
    TakeOverRegistration,
)
from services.notice.decisions.offices import HANDLER, day_refused, office_refused
from services.notice.decisions.state import Notice, Notices
from services.notice.facts import (
    FileClosed,
    FormTakenOver,
    NoticeElapsed,
    NoticePosted,
    NoticeRemoved,
    RegistrationTakenOver,
)
from services.notice.period import NoticePeriod, NoticeRule, notice_period
from shared.dated import Versions
from shared.fact import Fact
from shared.room import Answer, Decided, Refusal, Situation

# A fund's notice rules, by fund: what the room derives from the announced parameters.
NoticeRules = Mapping[str, Versions[NoticeRule]]

NO_CONSENT = Refusal(
    "no_publication_consent",
    "未同意公示",
    "nobody consented to publication",
    rule="reading 20",
)
NO_FORM = Refusal("no_form", "登记表尚未形成", "there is no form to be noticed yet", rule="K7")
CASE_CLOSED = Refusal("case_closed", "案件已终结", "the case has ended")
CASE_REJECTED = Refusal("case_rejected", "异议成立，案件将被否决", "an objection was upheld")
ALREADY_POSTED = Refusal(
    "already_posted", "该处已公示过", "this form was already noticed there", rule="K7"
)
NO_RULE = Refusal(
    "no_rule_in_force",
    "该日没有施行中的公示规则",
    "no rule on notices is in force and announced on that day",
    rule="K8",
    field="posted_on",
)


def take_over_form(state: Notices, command: TakeOverForm, _situation: Situation) -> Answer:
    """The form is noticed only with consent to publication; a newer form takes the older's
    notices down (reading 16)."""
    if not command.publication_consent:
        return NO_CONSENT
    if state.closed:
        return CASE_CLOSED
    if state.form_hash == command.form_hash:
        return Decided()
    form = FormTakenOver(
        case_id=state.case_id,
        form_hash=command.form_hash,
        organisation_id=command.organisation_id,
        workplace_id=command.workplace_id,
        station_id=command.station_id,
        fund=command.fund,
        published=command.published,
    )
    return Decided((form, *removals(state, state.standing, "form_replaced")))


def take_over_registration(
    state: Notices, _command: TakeOverRegistration, _situation: Situation
) -> Answer:
    """From registration on nobody objects to the notices any more."""
    if state.registered or state.closed:
        return Decided()
    return Decided((RegistrationTakenOver(case_id=state.case_id),))


def close_file(state: Notices, command: CloseFile, _situation: Situation) -> Answer:
    """Notices come down when the case ends elsewhere."""
    if state.closed:
        return Decided()
    closed = FileClosed(case_id=state.case_id, reason=command.reason)
    return Decided((closed, *removals(state, state.standing, "case_closed")))


def post(state: Notices, command: PostNotice, situation: Situation) -> Answer:
    """K7, K8: on the workplace board and at the station, under the rule of the posting day.

    The two may run side by side. Without a rule, or where the holidays that the last day turns on
    are not published, nothing is posted (reading 15).
    """
    form = state.form
    if form is None:
        return NO_FORM
    where = form.workplace_id if command.place == "workplace" else form.station_id
    refusal = office_refused(command.by, HANDLER, where)
    if refusal is not None:
        return refusal
    if state.closed:
        return CASE_CLOSED
    if state.is_rejected:
        return CASE_REJECTED
    if state.of_form(command.place) is not None:
        return ALREADY_POSTED
    day = command.posted_on
    refusal = day_refused(day, state.form_on, situation.today, "posted_on")
    if refusal is not None:
        return refusal
    rules: NoticeRules = situation.reference
    period = notice_period(day, (), rules.get(form.fund, Versions()), situation.calendar)
    return _posted(state, form, where, command, period)


def _posted(
    state: Notices, form: FormTakenOver, where: str, command: PostNotice, period: NoticePeriod
) -> Answer:
    if period.reason == "HOLIDAYS_UNPUBLISHED":
        return Refusal(
            "holidays_unpublished",
            f"{period.unpublished_year} 年节假日安排尚未公布，无法确定公示期",
            f"the holidays of {period.unpublished_year} are not published: needs data",
            rule="reading 15",
            field="posted_on",
        )
    if period.last_day is None:
        return NO_RULE
    run = period.runs[-1]
    posted = NoticePosted(
        case_id=state.case_id,
        notice_id=command.notice_id,
        place=command.place,
        organisation_id=where,
        form_hash=form.form_hash,
        posted_on=command.posted_on,
        last_day=period.last_day,
        notice_days=run.days,
        unit=run.unit,
        rule_effective_from=run.rule_effective_from,
        published=form.published,
    )
    return Decided((posted,))


def elapses_on(state: Notices, notice: Notice) -> date:
    """The day after the last; later, if it only waited for the word on an objection."""
    first = notice.posted.last_day + timedelta(days=1)
    decided = (o.decided_on for o in state.objections if o.decided_on is not None)
    return max([first, *decided])


def waiting_to_elapse(state: Notices) -> tuple[Notice, ...]:
    """Standing notices, unless an objection is open: it blocks elapse (invariant 2)."""
    if state.open_objections or state.is_rejected or state.closed:
        return ()
    return state.standing


def elapse(state: Notices, command: ElapseNotices, situation: Situation) -> Answer:
    """Over at the last day's end: the gate for signing, naming the form; and it comes down."""
    facts: list[Fact] = []
    for notice in waiting_to_elapse(state):
        if elapses_on(state, notice) > min(command.on, situation.today):
            continue
        elapsed = NoticeElapsed(
            case_id=state.case_id,
            notice_id=notice.notice_id,
            place=notice.place,
            form_hash=notice.posted.form_hash,
            last_day=notice.posted.last_day,
        )
        facts += [elapsed, *removals(state, (notice,), "elapsed")]
    return Decided(facts)


def removals(
    state: Notices,
    notices: Iterable[Notice],
    reason: Literal["elapsed", "rejected", "case_closed", "form_replaced"],
) -> list[Fact]:
    """Each of these notices comes down, for one reason."""
    return [
        NoticeRemoved(
            case_id=state.case_id,
            notice_id=notice.notice_id,
            place=notice.place,
            reason=reason,
        )
        for notice in notices
    ]
