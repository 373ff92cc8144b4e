"""The notices of one case as their stream tells them, and how each fact changes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, assert_never, cast

from services.notice.facts import (
    FileClosed,
    FormTakenOver,
    NoticeElapsed,
    NoticePosted,
    NoticeRemoved,
    ObjectionDismissed,
    ObjectionInvestigated,
    ObjectionRaised,
    ObjectionUpheld,
    Place,
    RegistrationTakenOver,
)
from shared.fact import Fact, Recorded

Progress = Literal["raised", "investigated", "dismissed", "upheld"]
Stated = (
    FormTakenOver
    | NoticePosted
    | NoticeElapsed
    | NoticeRemoved
    | ObjectionRaised
    | ObjectionInvestigated
    | ObjectionDismissed
    | ObjectionUpheld
    | RegistrationTakenOver
    | FileClosed
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One posting; it stands until ``removed`` says why it does no longer."""

    posted: NoticePosted
    elapsed: bool = False
    removed: str = ""

    @property
    def notice_id(self) -> str:
        return self.posted.notice_id

    @property
    def place(self) -> Place:
        return self.posted.place


@dataclass(frozen=True, slots=True)
class Objection:
    """One objection and how far it has come."""

    raised: ObjectionRaised
    progress: Progress = "raised"
    investigator: str = ""
    findings: str = ""
    # The day of the centre's word, on which a notice that only waited for it may elapse.
    decided_on: date | None = None

    @property
    def objection_id(self) -> str:
        return self.raised.objection_id

    @property
    def is_open(self) -> bool:
        return self.progress in ("raised", "investigated")


@dataclass(frozen=True, slots=True)
class Notices:
    """A case's notices and objections."""

    case_id: str
    form: FormTakenOver | None = None
    form_on: date | None = None
    notices: tuple[Notice, ...] = ()
    objections: tuple[Objection, ...] = ()
    registered: bool = False
    closed: str = ""

    @property
    def standing(self) -> tuple[Notice, ...]:
        return tuple(notice for notice in self.notices if not notice.removed)

    @property
    def open_objections(self) -> tuple[Objection, ...]:
        return tuple(objection for objection in self.objections if objection.is_open)

    @property
    def is_rejected(self) -> bool:
        return any(objection.progress == "upheld" for objection in self.objections)

    def of_form(self, place: Place) -> Notice | None:
        """The notice of the present form at that place, standing or elapsed."""
        of_place = (n for n in self.notices if n.place == place)
        return next((n for n in of_place if n.posted.form_hash == self.form_hash), None)

    @property
    def form_hash(self) -> str:
        return self.form.form_hash if self.form else ""

    def objection(self, objection_id: str) -> Objection | None:
        return next((o for o in self.objections if o.objection_id == objection_id), None)


def initial(identity: str) -> Notices:
    """A case of which nothing is noticed yet."""
    return Notices(identity)


def evolve(state: Notices, fact: Fact, recorded: Recorded) -> Notices:
    """Copy a fact into the state."""
    match cast(Stated, fact):
        case FormTakenOver() as form:
            return replace(state, form=form, form_on=recorded.occurred_on)
        case NoticePosted() as posted:
            return replace(state, notices=(*state.notices, Notice(posted)))
        case NoticeElapsed(notice_id=notice_id):
            return _with_notice(state, notice_id, elapsed=True)
        case NoticeRemoved(notice_id=notice_id, reason=reason):
            return _with_notice(state, notice_id, removed=reason)
        case ObjectionRaised() as raised:
            return replace(state, objections=(*state.objections, Objection(raised)))
        case ObjectionInvestigated(objection_id=objection_id, findings=findings):
            by = recorded.actor.person
            return _with_objection(
                state, objection_id, progress="investigated", investigator=by, findings=findings
            )
        case ObjectionDismissed(objection_id=objection_id):
            day = recorded.occurred_on
            return _with_objection(state, objection_id, progress="dismissed", decided_on=day)
        case ObjectionUpheld(objection_id=objection_id):
            day = recorded.occurred_on
            return _with_objection(state, objection_id, progress="upheld", decided_on=day)
        case RegistrationTakenOver():
            return replace(state, registered=True)
        case FileClosed(reason=reason):
            return replace(state, closed=reason)
        case other:
            assert_never(other)


def _with_notice(
    state: Notices, notice_id: str, *, elapsed: bool | None = None, removed: str = ""
) -> Notices:
    return replace(
        state,
        notices=tuple(
            replace(n, elapsed=n.elapsed or bool(elapsed), removed=removed or n.removed)
            if n.notice_id == notice_id
            else n
            for n in state.notices
        ),
    )


def _with_objection(
    state: Notices,
    objection_id: str,
    *,
    progress: Progress,
    investigator: str = "",
    findings: str = "",
    decided_on: date | None = None,
) -> Notices:
    return replace(
        state,
        objections=tuple(
            replace(
                o,
                progress=progress,
                investigator=investigator or o.investigator,
                findings=findings or o.findings,
                decided_on=decided_on,
            )
            if o.objection_id == objection_id
            else o
            for o in state.objections
        ),
    )
