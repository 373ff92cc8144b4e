"""Who may do what in a case: the offices, the centre of a case, and the duties kept apart.

Every answer is a refusal or nothing. Reading 18 has no switch.
"""

from collections.abc import Callable, Collection
from datetime import date
from typing import Final

from services.intake.decisions.state import Case, Stage, certain, stage_of
from services.intake.facts import SigningRole
from shared.directory import Directory
from shared.fact import Actor
from shared.room import Refusal, Situation

UNION: Final = frozenset({"union"})
STATIONS: Final = frozenset({"station", "industrial_union"})
CENTRE: Final = "centre"

HANDLER: Final = frozenset({"handler"})
VISITING: Final = frozenset({"handler", "visitor"})
APPROVER: Final = frozenset({"approver"})
# Who works on a case and so may see its personal values in clear.
UNSEALING_ROLES: Final = ("handler", "chair", "reviewer", "approver")


def office_refused(by: Actor, roles: Collection[str], organisation: str) -> Refusal | None:
    """None if ``by`` acts in one of these roles for the organisation (a delegate does, too).

    The refusal names the organisation: give one that a fact states, never what a caller wrote.
    """
    if by.role in roles and by.organisation == organisation:
        return None
    wanted = "/".join(sorted(roles))
    return Refusal(
        "wrong_office",
        f"须由 {organisation} 的 {wanted} 办理",
        f"only the {wanted} of {organisation} may do this",
        rule="reading 18",
        status=403,
    )


def stage_refused(state: Case, *allowed: Stage) -> Refusal | None:
    """None if the case stands at one of these stages (reading 16: the order of the steps)."""
    stage = stage_of(state)
    if stage in allowed:
        return None
    return Refusal(
        "wrong_stage",
        f"案件当前处于 {stage}，此步骤须在 {'、'.join(allowed)} 时办理",
        f"the case is at {stage}; this step belongs to {', '.join(allowed)}",
        rule="reading 16",
    )


def day_refused(day: date, not_before: date, today: date, field: str) -> Refusal | None:
    """A fact may be entered late, but never ahead, and never across one that it depends on."""
    if not_before <= day <= today:
        return None
    return Refusal(
        "wrong_day",
        f"日期须在 {not_before} 与 {today} 之间",
        f"the day must lie between {not_before} and {today}",
        rule="DOMAIN §4",
        field=field,
        status=422,
    )


def first_refusal(*judged: Refusal | None) -> Refusal | None:
    """The first that refuses, in the order given."""
    return next((refusal for refusal in judged if refusal is not None), None)


def centre_of(directory: Directory, holder: str, day: date) -> str | None:
    """The centre of a case: the nearest centre above its holder, else the root of the tree."""
    above = directory.ancestors(holder, day)
    for organisation in above:
        known = directory.organisation(organisation)
        if known is not None and known.kind == CENTRE:
            return organisation
    return above[-1] if above else None


def unsealing_offices(
    directory: Directory, holder: str, station: str, day: date
) -> set[tuple[str, str]]:
    """Organisation and role of those before whom a case's personal values are opened.

    Its own offices: holder, station and centre. Everybody else above them sees masks.
    """
    own = {holder, station, centre_of(directory, holder, day)} - {None}
    return {(str(organisation), role) for organisation in own for role in UNSEALING_ROLES}


def visit_organisations(state: Case, situation: Situation) -> tuple[str, str] | None:
    """Who visits: the holder and the station; without an employer the station and the next above.

    K6, reading 19. None if nobody stands above the station.
    """
    application = certain(state.application)
    if not application.without_employer:
        return application.organisation_id, application.station_id
    above = situation.directory.parent(application.station_id, situation.today)
    return None if above is None else (application.organisation_id, above)


def chair_office(state: Case, situation: Situation) -> str | None:
    """The organisation whose chair signs today (reading 18); None if no chair is left anywhere.

    The holder's own, unless it has no chair but the person who signs as its handler: then the
    next higher union's. The reviewer signs nothing.
    """
    directory, today = situation.directory, situation.today
    holder = certain(state.form).organisation_id
    signed = {s.signer for s in state.signatures if s.role == "handler"}
    handlers = signed or set(directory.holders(holder, "handler", today))

    def could_sign(chair: str) -> bool:
        return bool(handlers - {chair})

    return _with_chair(state, situation, [holder], could_sign) or _with_chair(
        state, situation, directory.ancestors(holder, today), lambda chair: chair not in signed
    )


def _with_chair(
    state: Case,
    situation: Situation,
    organisations: Collection[str],
    could_sign: Callable[[str], bool],
) -> str | None:
    reviewer = certain(state.form).reviewer
    for organisation in organisations:
        chairs = situation.directory.holders(organisation, "chair", situation.today)
        if any(c != reviewer and could_sign(c) for c in chairs):
            return organisation
    return None


def signing_organisation(state: Case, role: SigningRole, situation: Situation) -> str | None:
    """Whose office signs in this role today: K9, reading 18."""
    if role == "handler":
        return certain(state.form).organisation_id
    return chair_office(state, situation)


def visitors_of(state: Case) -> tuple[str, ...]:
    """Everyone who visited, once each."""
    return tuple(dict.fromkeys(person for visit in state.visits for person in visit.visitors))
