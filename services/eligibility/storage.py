"""What eligibility shows and lists: pure functions of one stream's state.

Read models: ``decisions`` (a case), ``file`` (where awards may be asked for), ``award_reasons``
(sealed), ``parameters`` (a fund, place or school), and the work of reviewers, approvers and
announcers. Apart from those sealed reasons they hold ids, codes and sums, and nothing personal.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

from services.eligibility.decisions import caps, parameters
from services.eligibility.decisions.case import Award, CaseDecisions, holder
from services.eligibility.decisions.parameters import Parameters, RulesInForce
from services.eligibility.facts import FileTakenOver, ParameterAnnounced
from services.eligibility.rules.parameters import UNDATED
from shared.room import View

guard_changes = caps.guard_changes
references = parameters.reference_of
build_reference = parameters.rules_in_force

# Nothing to confirm while a referral or a finding is open.
CONFIRMABLE = ("eligible", "not_eligible", "no_rule")


def case_views(state: CaseDecisions) -> list[View]:
    """The case as eligibility sees it, its file, and what somebody has to do about it."""
    stream = f"decisions-{state.case_id}"
    views = [
        View(
            "decisions",
            state.case_id,
            _case_document(state),
            organisation=holder(state) or "",
            status=_stage(state),
        ),
        *_confirmation(stream, state),
    ]
    if state.file is not None:
        views.append(_file(state, state.file))
        views += _approvals(stream, state, state.file)
        views += _reasons(state, state.file)
    return views


def parameter_views(state: Parameters) -> list[View]:
    """All versions of one fund, place or school, and those that wait for a second person."""
    organisation = state.organisation_id or ""
    views = [
        View(
            "parameters",
            state.identity,
            {
                "announced": [_plain(fact) for fact in state.announced],
                "proposed": [
                    {**_plain(waiting.proposed), "proposed_by": waiting.by}
                    for waiting in state.open
                ],
            },
            organisation=organisation,
        )
    ]
    views += [
        View(
            "work",
            f"parameters-{state.identity}:announce_parameter:{waiting.proposed.proposal_id}",
            {"scope": state.identity, "proposed_by": waiting.by, **_plain(waiting.proposed)},
            organisation=organisation,
            role="parameter_announcer",
            status="announce_parameter",
        )
        for waiting in state.open
    ]
    return views


def versions_announced(
    rules: RulesInForce, today: date, on: date | None, parameter: str, scope: str
) -> list[dict[str, Any]]:
    """Announced versions for everybody to read: all of them, or those in force on a day.

    ``in_force`` says so for the day asked about, as known on the day of asking at the latest.
    """
    day = on or today
    shown = [
        {**_plain(fact), "in_force": _in_force(rules, fact, day, max(day, today))}
        for fact in rules.announced
        if parameter in ("", fact.parameter) and scope in ("", fact.scope)
    ]
    return [version for version in shown if on is None or version["in_force"]]


def _in_force(rules: RulesInForce, fact: ParameterAnnounced, day: date, known_on: date) -> bool:
    kept = getattr(rules.parameters, fact.parameter)[fact.scope]
    version = kept.in_force(day, known_on)
    return version is not None and version.effective_from == (fact.effective_from or UNDATED)


def _stage(state: CaseDecisions) -> str:
    if state.closed is not None:
        return "closed"
    if state.rejected is not None:
        return "rejected"
    if state.file is not None:
        return "on_file"
    return "confirmed" if state.confirmed is not None else "proposed"


def _case_document(state: CaseDecisions) -> dict[str, Any]:
    return {
        "case_id": state.case_id,
        "determination": state.determined and _plain(state.determined),
        "confirmation": state.confirmed and _plain(state.confirmed),
        "rejected_by": state.rejected and state.rejected.rule,
        "file": state.file and _plain(state.file),
        "exit": state.closed and state.closed.exit,
        "awards": [_award(award) for award in state.awards],
    }


def _award(award: Award) -> dict[str, Any]:
    requested = award.requested
    return {
        "award_id": award.award_id,
        "status": award.status,
        "programme": requested.programme,
        "fund": requested.fund,
        "asked_fen": requested.asked_fen,
        "amount_fen": award.computed.amount_fen if award.computed else None,
        "approver": award.approver,
        "computed": award.computed and _plain(award.computed),
        "refused": award.refused and _plain(award.refused),
    }


def _confirmation(stream: str, state: CaseDecisions) -> Iterator[View]:
    proposed = state.determined
    if proposed is None or proposed.outcome not in CONFIRMABLE:
        return
    if state.confirmed is not None or state.rejected is not None:
        return
    yield View(
        "work",
        f"{stream}:confirm_eligibility",
        {
            "case_id": state.case_id,
            "determination_id": proposed.determination_id,
            "outcome": proposed.outcome,
            "classes": list(proposed.classes),
            "primary": proposed.primary,
            "reason": proposed.reason,
            "visitors": list(proposed.visitors),
        },
        organisation=proposed.centre_id,
        role="reviewer",
        status="confirm_eligibility",
    )


def _file(state: CaseDecisions, file: FileTakenOver) -> View:
    return View(
        "file",
        state.case_id,
        _plain(file),
        organisation=file.station_id,
        role="handler",
        status="open" if state.closed is None else "closed",
    )


def _approvals(stream: str, state: CaseDecisions, file: FileTakenOver) -> Iterator[View]:
    for award in state.awards:
        if award.status != "covered" or award.computed is None:
            continue
        yield View(
            "work",
            f"{stream}:approve_award:{award.award_id}",
            {
                "case_id": state.case_id,
                "award_id": award.award_id,
                "programme": award.computed.programme,
                "fund": award.computed.fund,
                "amount_fen": award.computed.amount_fen,
                "binding": award.computed.binding,
                # Reading 18 keeps these from approving.
                "acted_before": sorted({*file.visitors, *file.signers, file.reviewer}),
            },
            organisation=file.centre_id,
            role="approver",
            status="approve_award",
        )


def _reasons(state: CaseDecisions, file: FileTakenOver) -> Iterator[View]:
    """The sealed reasons of an award, and the offices that decide on it and so may read them."""
    offices = [
        (file.organisation_id, "handler"),
        (file.station_id, "handler"),
        (file.centre_id, "reviewer"),
        (file.centre_id, "approver"),
    ]
    for award in state.awards:
        if award.requested.reasons is not None:
            yield View(
                "award_reasons",
                award.award_id,
                {
                    "case_id": state.case_id,
                    "reasons": award.requested.reasons,
                    "readers": [f"{organisation}/{role}" for organisation, role in offices],
                },
                organisation=file.organisation_id,
            )


def _plain(fact: Any) -> dict[str, Any]:
    document: dict[str, Any] = fact.model_dump(mode="json")
    return document
