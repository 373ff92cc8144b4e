"""The application: submitted, accepted, returned with all its defects, sent in again, or lapsed.

K5: a written application with valid personal proof. What the machine can see is a ground for
return; what only a person sees, they name. Personal values arrive sealed.
"""

from collections.abc import Collection
from datetime import date
from typing import Any, Final

from services.intake.decisions.grounds import (
    defects_of,
    in_open_files,
    members_in_open_files,
    open_file,
    persons_of,
)
from services.intake.decisions.offices import (
    HANDLER,
    STATIONS,
    UNION,
    day_refused,
    first_refusal,
    office_refused,
    stage_refused,
    visit_organisations,
)
from services.intake.decisions.readings import ANSWER_TO_A_RETURN, NAMED_DEFECTS
from services.intake.decisions.state import Case, certain
from services.intake.facts import (
    Application,
    ApplicationAccepted,
    ApplicationLapsed,
    ApplicationResubmitted,
    ApplicationReturned,
    ApplicationSubmitted,
    Asset,
    Cause,
    Channel,
    ConsentPurpose,
    DeclaredIncome,
    Defect,
    Evidence,
    Incident,
    Member,
    Payee,
    Programme,
    Relief,
    VisitScheduled,
)
from shared.calendar import HolidaysUnpublished
from shared.fact import Actor
from shared.room import Answer, Command, Condition, Decided, Needs, Refusal, Situation


class Content(Command):
    """What an application says, sealed; shared by its first sending and later ones."""

    household_id: str
    applicant_id: str
    residence: str
    address: str
    phone: str
    members: tuple[Member, ...]
    incomes: tuple[DeclaredIncome, ...]
    assets: tuple[Asset, ...]
    causes: tuple[Cause, ...]
    incident: Incident | None
    programmes: tuple[Programme, ...]
    relief: Relief
    consents: tuple[ConsentPurpose, ...]
    evidence: tuple[Evidence, ...]
    payee: Payee | None
    wrong_id_numbers: tuple[str, ...] = ()
    account_unconfirmed: bool = False


class SubmitApplication(Content):
    """The first sending, at the organisation that will hold the case."""

    channel: Channel
    applied_on: date
    organisation_id: str
    without_employer: bool


class EnterForm(SubmitApplication):
    """A form from a list of paper forms; an applicant who is in an open file is on file."""


class ResubmitApplication(Content):
    """The answer to a return: the whole content again."""


class AcceptApplication(Command):
    """Taken in; ``fund`` is the one whose rules apply."""

    fund: str


class ReturnApplication(Command):
    """``named`` are the defects that a person found besides the machine's."""

    named: tuple[Defect, ...] = ()


class LapseApplication(Command):
    """A timer's: nobody answered by the day."""


def submitter_refused(
    consents: Collection[ConsentPurpose], by: Actor, holder: str, *, as_named: bool
) -> Refusal | None:
    """The holder's handler sends it in, with consent to processing: else nothing may be kept.

    ``as_named`` if the holder is what the caller wrote: that may be anything, even a person's ID
    number, so the refusal points to it and does not repeat it. The door asks this too, before it
    seals and looks up anybody.
    """
    if "processing" not in consents:
        return CONSENT_TO_PROCESSING_MISSING
    refusal = office_refused(by, HANDLER, holder)
    return NOT_THE_NAMED_HOLDER if refusal is not None and as_named else refusal


NOT_THE_NAMED_HOLDER: Final = Refusal(
    "wrong_office",
    "须由所填受理单位的 handler 办理",
    "only the handler of the organisation that the application names may do this",
    rule="reading 18",
    field="organisation_id",
    status=403,
)

CONSENT_TO_PROCESSING_MISSING: Final = Refusal(
    "consent_to_processing_missing",
    "未取得个人信息处理同意，不予受理",
    "without consent to processing the application is not taken in",
    rule="§6",
    field="consents",
    status=422,
)


def submit(state: Case, command: SubmitApplication, situation: Situation) -> Answer:
    """An application opens a case at the grassroots union, or at the station (reading 19)."""
    if state.application is not None:
        return Refusal("submitted_already", "该案件已提交", "the case was submitted already")
    holder, today = command.organisation_id, situation.today
    refusal = first_refusal(
        submitter_refused(command.consents, command.by, holder, as_named=True),
        day_refused(command.applied_on, date.min, today, "applied_on"),
        _holder_refused(command, situation),
    )
    if refusal is not None:
        return refusal
    station = holder if command.without_employer else situation.directory.parent(holder, today)
    if station is None:
        return Refusal(
            "station_missing",
            "该基层工会没有上级工作站",
            "no station stands above this union",
            rule="K6",
            field="organisation_id",
            status=422,
        )
    fields = _content(command)
    return Decided(
        [
            ApplicationSubmitted(
                case_id=state.case_id,
                channel=command.channel,
                applied_on=command.applied_on,
                organisation_id=holder,
                station_id=station,
                without_employer=command.without_employer,
                **fields,
            )
        ]
    )


def needs_open_files_of(_: Case, command: EnterForm) -> Needs:
    """Whether each member named on the form is in an open file."""
    return Needs(guards=tuple({open_file(member.person_id) for member in command.members}))


def enter_form(state: Case, command: EnterForm, situation: Situation) -> Answer:
    """As submitted, but a household that is on file is not entered a second time.

    The household is that of the applicant's file: theirs is on file, and there is nothing to do.
    Where only somebody else of the form is in a file, another household counts them, and a person
    has to find out which of the two is right.
    """
    answer = submit(state, command, situation)
    if isinstance(answer, Refusal):
        return answer
    taken = members_in_open_files(command.members, situation.guards)
    if situation.guards[open_file(command.applicant_id)] > 0:
        return _household_on_file(command)
    return _taken_refused(taken) or answer


def _household_on_file(command: EnterForm) -> Refusal:
    persons = [member.person_id for member in command.members]
    return Refusal(
        "applicant_in_open_file",
        "申请人已在有效档案中，一户一档",
        "the applicant is in an open file: one file per household",
        rule="DOMAIN §1",
        field=f"members[{persons.index(command.applicant_id)}]",
    )


def _holder_refused(command: SubmitApplication, situation: Situation) -> Refusal | None:
    known = situation.directory.organisation(command.organisation_id)
    kinds = STATIONS if command.without_employer else UNION
    if known is not None and known.kind in kinds:
        return None
    return Refusal(
        "wrong_holder",
        "有单位的由基层工会受理，无单位的由工作站受理",
        "an employed worker's union holds the case, or the station if there is no employer",
        rule="reading 19",
        field="organisation_id",
        status=422,
    )


def _content(command: Content) -> dict[str, Any]:
    """The command's own fields, as the fact carries them."""
    return {name: getattr(command, name) for name in _CONTENT_FIELDS}


_CONTENT_FIELDS: Final = tuple(
    name for name in Content.model_fields if name not in Command.model_fields
)


def resubmit(state: Case, command: ResubmitApplication, situation: Situation) -> Answer:
    """The answer to a return: the whole application again, of the same application day."""
    before = state.application
    if before is None:
        return Refusal("wrong_stage", "尚未提交", "nothing was submitted yet", status=404)
    holder, today = before.organisation_id, situation.today
    refusal = first_refusal(
        submitter_refused(command.consents, command.by, holder, as_named=False),
        stage_refused(state, "returned"),
    )
    if refusal is not None:
        return refusal
    answer_by = certain(state.returned).answer_by
    if today > answer_by:
        return Refusal(
            "answer_late",
            f"补正期限为 {answer_by}",
            f"the answer was due by {answer_by}",
            rule="DOMAIN §4",
        )
    kept = {
        name: getattr(before, name)
        for name in Application.model_fields
        if name not in _CONTENT_FIELDS
    }
    return Decided([ApplicationResubmitted(**kept, **_content(command))])


def needs_open_files(state: Case, _: AcceptApplication | ReturnApplication) -> Needs:
    """Whether each member is in an open file."""
    return Needs(guards=tuple(open_file(person) for person in persons_of(state)))


def accept(state: Case, command: AcceptApplication, situation: Situation) -> Answer:
    """K5 is met: the fund is named, and both visits are ordered (K6, reading 19)."""
    application = certain(state.application)
    refusal = first_refusal(
        office_refused(command.by, HANDLER, application.station_id),
        stage_refused(state, "submitted"),
        _defects_refused(defects_of(state)),
        _members_refused(state, situation),
    )
    if refusal is not None:
        return refusal
    visiting = visit_organisations(state, situation)
    if visiting is None:
        return Refusal(
            "second_visit_missing",
            "没有上级组织进行第二次入户",
            "no organisation stands above to make the second visit",
            rule="reading 19",
        )
    persons, grassroots, station = persons_of(state), *visiting
    return Decided(
        [
            ApplicationAccepted(
                case_id=state.case_id,
                household_id=application.household_id,
                fund=command.fund,
                persons=persons,
            ),
            VisitScheduled(case_id=state.case_id, visit="grassroots", organisation_id=grassroots),
            VisitScheduled(case_id=state.case_id, visit="station", organisation_id=station),
        ],
        [Condition(open_file(person), maximum=1) for person in persons],
    )


def _defects_refused(defects: tuple[Defect, ...]) -> Refusal | None:
    if not defects:
        return None
    listed = ", ".join(f"{defect.code} ({defect.field})" for defect in defects)
    return Refusal(
        "defects_remain",
        f"申请尚有缺陷：{listed}",
        f"defects remain: {listed}",
        rule="K5",
        field=defects[0].field,
    )


def _members_refused(state: Case, situation: Situation) -> Refusal | None:
    return _taken_refused(in_open_files(state, situation.guards))


def _taken_refused(taken: tuple[Defect, ...]) -> Refusal | None:
    if not taken:
        return None
    return Refusal(
        "member_in_open_file",
        "家庭成员已在另一份有效档案中，一户一档",
        "a member is in another open file: one file per household",
        rule="DOMAIN §1",
        field=taken[0].field,
    )


def send_back(state: Case, command: ReturnApplication, situation: Situation) -> Answer:
    """Returned with all defects at once: the machine's, and those that a person names."""
    application = certain(state.application)
    refusal = first_refusal(
        office_refused(command.by, HANDLER, application.station_id),
        stage_refused(state, "submitted"),
    )
    if refusal is not None:
        return refusal
    if any(defect.code not in NAMED_DEFECTS for defect in command.named):
        return Refusal("defect_unknown", "未知缺陷", "no such defect", field="defects", status=422)
    found = (*defects_of(state), *in_open_files(state, situation.guards))
    defects = tuple(dict.fromkeys((*found, *command.named)))
    if not defects:
        return Refusal("defects_missing", "没有缺陷可退回", "nothing to return it for", rule="K5")
    try:
        answer_by = ANSWER_TO_A_RETURN.last_day(situation.today, situation.calendar)
    except HolidaysUnpublished as unknown:
        return Refusal(
            "holidays_unpublished",
            f"{unknown.year} 年节假日尚未公布",
            f"the holidays of {unknown.year} are not published",
            rule="reading 15",
        )
    return Decided(
        [ApplicationReturned(case_id=state.case_id, defects=defects, answer_by=answer_by)]
    )


def lapse(state: Case, _: LapseApplication, situation: Situation) -> Answer:
    """Nobody answered: on the day after the last one it lapses."""
    if state.returned is None or situation.today <= state.returned.answer_by:
        return Decided()
    return Decided([ApplicationLapsed(case_id=state.case_id, answer_by=state.returned.answer_by)])
