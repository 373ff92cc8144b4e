"""What the offices, the public, the calendar and the facts of others ask of a case's notices."""

from __future__ import annotations

from datetime import date
from typing import Literal

from services.notice.facts import Place, PublishedFields
from shared.room import Command


class TakeOverForm(Command):
    """Intake has drawn up the form."""

    form_hash: str
    organisation_id: str
    workplace_id: str
    station_id: str
    fund: str
    published: PublishedFields
    publication_consent: bool


class TakeOverRegistration(Command):
    """Intake has registered the file."""


class CloseFile(Command):
    """The case ended elsewhere: rejected, or its file deregistered."""

    reason: str


class PostNotice(Command):
    """Hang the form's published fields on one of the two boards."""

    notice_id: str
    place: Place
    posted_on: date


class ElapseNotices(Command):
    """Take down what has run its days by ``on``, the first day after the last."""

    on: date


class RaiseObjection(Command):
    """Anybody objects; text and contact come sealed under the objection's own id."""

    notice_id: str
    objection_id: str
    text: str
    contact: str | None


class InvestigateObjection(Command):
    """The station says what it found out."""

    objection_id: str
    findings: str


class DecideObjection(Command):
    """The centre dismisses or upholds."""

    objection_id: str
    outcome: Literal["dismissed", "upheld"]
    reasons: str
