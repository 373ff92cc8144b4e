"""What notice keeps beside its log: boards, objections, work lists, the timer, the dated rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, cast

import asyncpg
import orjson

from services.notice.decisions.offices import HANDLER, REVIEWER
from services.notice.decisions.posting import NoticeRules, elapses_on, waiting_to_elapse
from services.notice.decisions.state import Notice, Notices, Objection
from services.notice.facts import FormTakenOver, ObjectionRaised, Place
from services.notice.period import NoticeRule
from shared.dated import Version, Versions
from shared.event_store import EventStore
from shared.room import ReferenceRow, View

FUND_RULES: Final = "fund_rules"
ELAPSE: Final = "elapse"
NOTICE: Final = "notice"
OBJECTION: Final = "objection"
CASE: Final = "case"
STANDING: Final = "standing"
PLACES: Final[tuple[Place, ...]] = ("workplace", "station")


def holder(state: Notices) -> str | None:
    """The organisation that holds the case, as its form says."""
    return state.form.organisation_id if state.form else None


def views(state: Notices) -> list[View]:
    """All rows that one case's notices show."""
    if state.form is None:
        return []
    return [
        _case(state),
        *(_notice(notice) for notice in state.notices),
        *(_objection(state.form, objection) for objection in state.objections),
        *_work(state),
        *_timer(state),
    ]


def _stream(state: Notices) -> str:
    return f"notices-{state.case_id}"


def stage_of(state: Notices) -> str:
    """In one word, where the notices of a case stand."""
    if state.closed:
        return "closed"
    if state.is_rejected:
        return "rejected"
    if state.open_objections:
        return "objection_open"
    of_form = [state.of_form(place) for place in PLACES]
    if all(notice is not None and notice.elapsed for notice in of_form):
        return "elapsed"
    if any(notice is None for notice in of_form):
        return "to_post"
    return STANDING


def _case(state: Notices) -> View:
    document = {
        "case_id": state.case_id,
        "form_hash": state.form_hash,
        "registered": state.registered,
        "closed": state.closed,
        "notices": [
            {
                "notice_id": n.notice_id,
                "place": n.place,
                "organisation_id": n.posted.organisation_id,
                "form_hash": n.posted.form_hash,
                "posted_on": n.posted.posted_on,
                "last_day": n.posted.last_day,
                "elapsed": n.elapsed,
                "removed": n.removed,
            }
            for n in state.notices
        ],
        "objections": [
            {
                "objection_id": o.objection_id,
                "notice_id": o.raised.notice_id,
                "anonymous": o.raised.anonymous,
                "progress": o.progress,
            }
            for o in state.objections
        ],
    }
    return View(CASE, state.case_id, document, status=stage_of(state))


def _notice(notice: Notice) -> View:
    """What it publishes stands here only as long as it hangs."""
    posted = notice.posted
    document: dict[str, Any] = {
        "notice_id": posted.notice_id,
        "case_id": posted.case_id,
        "place": posted.place,
        "organisation_id": posted.organisation_id,
        "posted_on": posted.posted_on,
        "last_day": posted.last_day,
        "notice_days": posted.notice_days,
        "unit": posted.unit,
    }
    if not notice.removed:
        document["published"] = posted.published.model_dump(mode="json")
    return View(
        NOTICE,
        posted.notice_id,
        document,
        organisation=posted.organisation_id,
        role=posted.place,
        status=notice.removed or STANDING,
    )


def _objection(form: FormTakenOver, objection: Objection) -> View:
    raised = objection.raised
    document = {
        "objection_id": raised.objection_id,
        "case_id": raised.case_id,
        "notice_id": raised.notice_id,
        "anonymous": raised.anonymous,
        "station_id": form.station_id,
        "centre_id": raised.centre_id,
        "text": raised.text,
        "contact": raised.contact,
        "findings": objection.findings or None,
    }
    return View(OBJECTION, raised.objection_id, document, status=objection.progress)


def _work(state: Notices) -> Iterator[View]:
    """Boards to hang the form on; objections to look into, or to decide."""
    form = state.form
    if form is None or state.closed or state.is_rejected:
        return
    boards: dict[Place, str] = {"workplace": form.workplace_id, "station": form.station_id}
    for place, organisation in boards.items():
        if state.of_form(place) is None:
            task = f"post_notice_{place}"
            particulars = {
                "case_id": state.case_id,
                "place": place,
                "form_hash": form.form_hash,
                "not_before": state.form_on,
            }
            yield _task(state, (task, task), (organisation, HANDLER), particulars)
    for objection in state.open_objections:
        particulars = {
            "case_id": state.case_id,
            "objection_id": objection.objection_id,
            "notice_id": objection.raised.notice_id,
        }
        if objection.progress == "raised":
            task, office = "investigate_objection", (form.station_id, HANDLER)
        else:
            task, office = "decide_objection", (objection.raised.centre_id, REVIEWER)
        key = f"{task}:{objection.objection_id}"
        yield _task(state, (task, key), office, particulars)


def _task(
    state: Notices, named: tuple[str, str], office: tuple[str, str], particulars: Mapping[str, Any]
) -> View:
    (task, key), (organisation, role) = named, office
    return View("work", f"{_stream(state)}:{key}", particulars, organisation, role, task)


def _timer(state: Notices) -> Iterator[View]:
    """One timer a case: the day on which the next notice elapses."""
    waiting = waiting_to_elapse(state)
    if waiting:
        due_on = min(elapses_on(state, notice) for notice in waiting)
        yield View("timer", f"{_stream(state)}:{ELAPSE}", {"timer": ELAPSE}, due_on=due_on)


def build_reference(rows: Sequence[ReferenceRow]) -> NoticeRules:
    """The dated notice rule of each fund, as eligibility announced it.

    A version that was announced again replaces the earlier one of the same day.
    """
    found: dict[str, dict[date, Version[NoticeRule]]] = {}
    for row in rows:
        if row.kind == FUND_RULES:
            version = _version(row.document)
            found.setdefault(row.document["scope"], {})[version.effective_from] = version
    return {
        fund: Versions(tuple(versions[day] for day in sorted(versions)))
        for fund, versions in found.items()
    }


def _version(document: Mapping[str, Any]) -> Version[NoticeRule]:
    values, until = document["values"], document["effective_to"]
    return Version(
        effective_from=date.fromisoformat(document["effective_from"]),
        announced_on=date.fromisoformat(document["announced_on"]),
        value=NoticeRule(days=values["notice_days"], unit=values["notice_unit"]),
        effective_to=date.fromisoformat(until) if until else None,
    )


@dataclass(frozen=True, slots=True)
class Posted:
    """One notice as a board shows it; the name is still sealed."""

    notice_id: str
    case_id: str
    place: Place
    organisation_id: str
    posted_on: date
    last_day: date
    name: str
    unit: str
    household_size: int
    income_band: str
    hardship_class: str
    cause_categories: tuple[str, ...]
    programmes: tuple[str, ...]


def posted_of(document: Mapping[str, Any]) -> Posted:
    """A standing notice out of its read model."""
    published = document["published"]
    return Posted(
        notice_id=document["notice_id"],
        case_id=document["case_id"],
        place=cast(Place, document["place"]),
        organisation_id=document["organisation_id"],
        posted_on=date.fromisoformat(document["posted_on"]),
        last_day=date.fromisoformat(document["last_day"]),
        name=published["name"],
        unit=published["unit"],
        household_size=published["household_size"],
        income_band=published["income_band"],
        hardship_class=published["hardship_class"],
        cause_categories=tuple(published["cause_categories"]),
        programmes=tuple(published["programmes"]),
    )


async def public_notices(
    store: EventStore, *, place: str = "", organisation: str = "", after: str = "", limit: int = 50
) -> list[Posted]:
    """Standing notices for everybody, by id; the database lets nobody see more this way."""
    rows = await store.office.fetch(
        f"SELECT document FROM {store.schema}.public_notices($1, $2, $3, $4)",  # noqa: S608 - the schema is the room's own name
        place,
        organisation,
        after,
        limit,
    )
    return [posted_of(orjson.loads(row["document"])) for row in rows]


async def public_notice(store: EventStore, notice_id: str) -> Posted | None:
    """One standing notice for everybody."""
    row = await store.office.fetchrow(
        f"SELECT document FROM {store.schema}.public_notice($1)",  # noqa: S608 - as above
        notice_id,
    )
    return posted_of(orjson.loads(row["document"])) if row else None


async def case_of_notice(store: EventStore, notice_id: str) -> str | None:
    """Whose notice it is or was, so that an objection finds its case."""
    found = await store.documents([(NOTICE, notice_id)])
    document = found.get((NOTICE, notice_id))
    return str(document["case_id"]) if document else None


async def cases_objected_to(
    connection: asyncpg.Connection, schema: str, objections: Sequence[str]
) -> list[str]:
    """The cases of these objections, whose words are sealed under keys of their own."""
    rows = await connection.fetch(
        f"SELECT DISTINCT subject FROM {schema}.facts WHERE type = $1"  # noqa: S608 - as above
        " AND data::jsonb->>'objection_id' = ANY ($2)",
        ObjectionRaised.stored_name,
        list(objections),
    )
    return [row["subject"] for row in rows]


async def standing_on_board(
    store: EventStore, organisations: Sequence[str], organisation: str
) -> list[Posted]:
    """What hangs on the board of one organisation, for those who belong to it."""
    rows = await store.query_views(
        organisations,
        "model = $1 AND status = $2 AND organisation = $3 ORDER BY document, key LIMIT 1000",
        NOTICE,
        STANDING,
        organisation,
    )
    posted = [posted_of(row["document"]) for row in rows]
    return sorted(posted, key=lambda each: (each.posted_on, each.notice_id))
