"""What the public sees, and what it says to it. One stream per case: ``notices-<case_id>``."""

from datetime import date
from typing import Annotated, Literal

from shared.fact import Count, Fact, Value
from shared.sealed import Category, Personal

STREAMS = ("notices",)

Identity = Annotated[str, Personal(Category.IDENTITY)]
FreeText = Annotated[str, Personal(Category.FREE_TEXT)]
Place = Literal["workplace", "station"]


class PublishedFields(Value):
    """The whitelist, copied from the form; the name stays sealed until the board shows it."""

    name: Identity
    unit: str
    household_size: Count
    income_band: str
    hardship_class: str
    cause_categories: tuple[str, ...]
    programmes: tuple[str, ...]


class FormTakenOver(Fact, name="bangfu.notice.FormTakenOver"):
    """Intake drew up the form: it may be noticed. Publication was consented to (reading 20)."""

    case_id: str
    form_hash: str
    organisation_id: str
    workplace_id: str
    station_id: str
    fund: str
    published: PublishedFields


class NoticePosted(Fact, name="bangfu.notice.NoticePosted"):
    """K7, K8: where, from when, and the last full day; over at that day's end."""

    case_id: str
    notice_id: str
    place: Place
    organisation_id: str
    form_hash: str
    posted_on: date
    last_day: date
    notice_days: Count
    unit: Literal["natural", "working"]
    rule_effective_from: date
    published: PublishedFields


class ObjectionRaised(Fact, name="bangfu.notice.ObjectionRaised"):
    """Somebody objects, with or without a name; ``centre_id`` decides on what the station finds."""

    case_id: str
    notice_id: str
    objection_id: str
    centre_id: str
    anonymous: bool
    text: FreeText
    contact: FreeText | None


class ObjectionInvestigated(Fact, name="bangfu.notice.ObjectionInvestigated"):
    """What the station found out about an objection."""

    case_id: str
    objection_id: str
    findings: FreeText


class ObjectionDismissed(Fact, name="bangfu.notice.ObjectionDismissed"):
    """The centre found nothing in it; the notices go on."""

    case_id: str
    objection_id: str
    reasons: FreeText


class ObjectionUpheld(Fact, name="bangfu.notice.ObjectionUpheld"):
    """The centre found it right; intake hears it and rejects the case."""

    case_id: str
    objection_id: str
    outcome: Literal["reject"]
    reasons: FreeText


class NoticeElapsed(Fact, name="bangfu.notice.NoticeElapsed"):
    """The notice ran its days without an open objection: the gate for signing."""

    case_id: str
    notice_id: str
    place: Place
    form_hash: str
    last_day: date


class NoticeRemoved(Fact, name="bangfu.notice.NoticeRemoved"):
    """The notice came down: it had run its days, or the case went another way."""

    case_id: str
    notice_id: str
    place: Place
    reason: Literal["elapsed", "rejected", "case_closed", "form_replaced"]


class FileClosed(Fact, name="bangfu.notice.FileClosed"):
    """The case ended elsewhere: nothing is posted for it any more."""

    case_id: str
    reason: str


class RegistrationTakenOver(Fact, name="bangfu.notice.RegistrationTakenOver"):
    """The file is registered: objections to its notices are not taken any more."""

    case_id: str
