"""A small network, a fund's notice rule, and the facts of one case's notices."""

from datetime import date
from typing import Any, Literal

from services.notice.decisions.commands import (
    CloseFile,
    DecideObjection,
    ElapseNotices,
    InvestigateObjection,
    PostNotice,
    RaiseObjection,
    TakeOverForm,
    TakeOverRegistration,
)
from services.notice.facts import FormTakenOver, Place, PublishedFields
from services.notice.main import ROOM
from services.notice.period import NoticeRule
from shared.calendar import BusinessCalendar
from shared.dated import Version, Versions
from shared.directory import Directory, Edge, Organisation
from shared.fact import SYSTEM, Actor
from shared.room import Situation
from tests import given_when_then as gwt
from tests.given_when_then import SUBJECT, Given, given, sealed

NOTICES = ROOM.kinds["notices"]
BEGINNING = date(2015, 1, 1)
# A Monday; the days until the next Monday are ordinary ones.
DAY = date(2025, 3, 3)

UNION_HANDLER = Actor("handler-union", "handler", "union")
STATION_HANDLER = Actor("handler-station", "handler", "station")
REVIEWER = Actor("reviewer-county", "reviewer", "county")
PUBLIC = Actor("public", "public")

DIRECTORY = Directory(
    [
        Organisation("city", "federation", "示例市总工会", BEGINNING),
        Organisation("county", "centre", "示例县帮扶中心", BEGINNING),
        Organisation("station", "station", "示例街道帮扶工作站", BEGINNING),
        Organisation("union", "union", "示例纺织厂工会", BEGINNING),
        Organisation("industry", "industrial_union", "示例产业工会", BEGINNING),
        Organisation("mine", "union", "示例矿工会", BEGINNING),
    ],
    [
        Edge("county", "city", BEGINNING),
        Edge("station", "county", BEGINNING),
        Edge("union", "station", BEGINNING),
        Edge("industry", "city", BEGINNING),
        Edge("mine", "industry", BEGINNING),
    ],
)
RULES = {
    "sample-city": Versions.of(
        [Version(date(2015, 8, 1), date(2015, 8, 1), NoticeRule(5, "natural"))]
    )
}
PUBLISHED = PublishedFields(
    name=sealed(),
    unit="示例纺织厂",
    household_size=3,
    income_band="人均月收入500元至1000元",
    hardship_class="low_income",
    cause_categories=("疾病 illness",),
    programmes=("living", "medical"),
)


def around(today: date = DAY, rules: Any = None) -> Situation:
    return gwt.situation(
        today,
        directory=DIRECTORY,
        calendar=BusinessCalendar(),
        reference=RULES if rules is None else rules,
    )


def form(form_hash: str = "hash-1", organisation: str = "union", station: str = "station") -> Any:
    return FormTakenOver(
        case_id=SUBJECT,
        form_hash=form_hash,
        organisation_id=organisation,
        workplace_id=organisation,
        station_id=station,
        fund="sample-city",
        published=PUBLISHED,
    )


def take_over(form_hash: str = "hash-1", *, consent: bool = True) -> TakeOverForm:
    taken = form(form_hash).model_dump(exclude={"case_id"})
    return TakeOverForm(**taken, publication_consent=consent)


def a_form(day: date = DAY) -> Given:
    """A case whose form was taken over on that day."""
    return given(NOTICES, [(form(), SYSTEM, day)])


def post(place: Place = "workplace", day: date = DAY, by: Actor | None = None) -> PostNotice:
    office = UNION_HANDLER if place == "workplace" else STATION_HANDLER
    return PostNotice(
        by=by or office,
        occurred_on=day,
        notice_id=f"notice-{place}",
        place=place,
        posted_on=day,
    )


def posted(day: date = DAY) -> Given:
    """Both notices hang since that day."""
    case = a_form(day).when(post("workplace", day), around(day)).afterwards()
    return case.when(post("station", day), around(day)).afterwards()


def elapse(day: date) -> ElapseNotices:
    return ElapseNotices(occurred_on=day, on=day)


def objection(identity: str = "o-1", contact: str | None = None) -> RaiseObjection:
    return RaiseObjection(
        by=PUBLIC,
        notice_id="notice-station",
        objection_id=identity,
        text=sealed("free_text", "text"),
        contact=contact,
    )


def investigation(identity: str = "o-1", by: Actor = STATION_HANDLER) -> InvestigateObjection:
    return InvestigateObjection(
        by=by, objection_id=identity, findings=sealed("free_text", "findings")
    )


def decision(
    outcome: Literal["dismissed", "upheld"], identity: str = "o-1", by: Actor = REVIEWER
) -> DecideObjection:
    return DecideObjection(
        by=by, objection_id=identity, outcome=outcome, reasons=sealed("free_text", "reasons")
    )


def registered() -> TakeOverRegistration:
    return TakeOverRegistration()


def closed(reason: str = "review") -> CloseFile:
    return CloseFile(reason=reason)
