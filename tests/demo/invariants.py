"""The invariants of DOMAIN §5 over the facts of a demo, written anew from the text.

Nothing of the services' own rules is used: a check reads facts, and the shipped parameter file for
the caps. Each answers the breaches it found, in words.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any, Final

from sandbox.households import FUND, PARAMETERS
from tests.demo.log import Case, Told

FIVE_FULL_DAYS: Final = timedelta(days=5)


# 1 and 2: the way to the register


def not_filed_in_order(case: Case) -> Iterator[str]:
    """Two visits, two elapsed notices, two signatures on one form hash, in that order (1)."""
    for registered in case.named("FileRegistered"):
        forms = case.known_to(registered, "FormDrawnUp")
        if not forms:
            yield f"{registered}: no form"
            continue
        form = forms[-1]
        steps = [
            *_visits(case, form),
            *_notices(case, registered, form),
            *_signatures(case, registered, form),
        ]
        yield from (f"{registered}: {step}" for step in steps)


def _visits(case: Case, form: Told) -> Iterator[str]:
    visits = case.known_to(form, "VisitCompleted")
    if {v.data["visit"] for v in visits} != {"grassroots", "station"}:
        yield "not two kinds of visit before the form"
    if len({v.data["organisation_id"] for v in visits}) < 2:
        yield "the visits are not by two organisations"
    visitors = [person for v in visits[-2:] for person in v.data["visitors"]]
    if len(set(visitors)) < len(visitors):
        yield "one person made both visits"
    reconciled = case.known_to(form, "VisitsReconciled")
    if not reconciled or not all(reconciled[0].knows(visit) for visit in visits):
        yield "not reconciled after the visits"
    confirmed = [c for c in case.known_to(form, "EligibilityConfirmed") if c.data["classes"]]
    if not confirmed or not all(confirmed[-1].knows(r) for r in reconciled):
        yield "no class confirmed after reconciliation"


def _notices(case: Case, registered: Told, form: Told) -> Iterator[str]:
    wanted = form.data["form_hash"]
    posted = [n for n in case.known_to(registered, "NoticePosted") if n.data["form_hash"] == wanted]
    elapsed = [
        n for n in case.known_to(registered, "NoticeElapsed") if n.data["form_hash"] == wanted
    ]
    for notices, what in ((posted, "posted"), (elapsed, "elapsed")):
        if {n.data["place"] for n in notices} != {"workplace", "station"}:
            yield f"not two notices {what} on this form"
    for notice in posted:
        if not notice.knows(form):
            yield "a notice before its form"
        lasting = date.fromisoformat(notice.data["last_day"]) - _day(notice.data["posted_on"])
        if lasting < FIVE_FULL_DAYS:
            yield "a notice shorter than five full days"
    for notice in elapsed:
        before = [p for p in posted if p.data["notice_id"] == notice.data["notice_id"]]
        if not before or not notice.knows(before[0]):
            yield "elapsed without being posted"
        if notice.recorded.recorded_at.date() <= _day(notice.data["last_day"]):
            yield "elapsed before its last day was over"


def _signatures(case: Case, registered: Told, form: Told) -> Iterator[str]:
    signed = case.known_to(registered, "Signed")
    if [s.data["form_hash"] for s in signed] != [form.data["form_hash"]] * 2:
        yield "not two signatures on this form"
    if {s.data["role"] for s in signed} != {"chair", "handler"}:
        yield "not the signatures of chair and handler"
    if len({s.data["signer"] for s in signed}) != 2:
        yield "one person signed twice"
    elapsed = case.known_to(registered, "NoticeElapsed")
    for signature in signed:
        if not all(signature.knows(notice) for notice in elapsed):
            yield "signed before both notices had elapsed"
        if signature.recorded.actor.person != signature.data["signer"]:
            yield "signed for somebody else"
    forwarded = case.known_to(registered, "FileForwarded")
    if len(forwarded) != 1 or not all(forwarded[0].knows(signature) for signature in signed):
        yield "forwarded before both signatures"


def objections_passed_over(case: Case) -> Iterator[str]:
    """A heard objection that is open stops signing, forwarding and registration (2)."""
    for later in case.named("Signed", "FileForwarded", "FileRegistered"):
        heard: dict[str, str] = {}
        for objection in case.known_to(later, "ObjectionTakenOver"):
            heard[objection.data["objection_id"]] = objection.data["state"]
        if any(state != "dismissed" for state in heard.values()):
            yield f"{later}: over an objection that was not dismissed"
    for elapsed in case.named("NoticeElapsed"):
        ended = {
            told.data["objection_id"]
            for told in case.named("ObjectionDismissed", "ObjectionUpheld")
            if elapsed.knows(told)
        }
        raised = {o.data["objection_id"] for o in case.known_to(elapsed, "ObjectionRaised")}
        if raised - ended:
            yield f"{elapsed}: over an open objection"


# 10: duties apart (reading 18)


def duties_not_apart(case: Case) -> Iterator[str]:
    """Visitors, signers, reviewer, approver and payers are different people."""
    visitors = {p for v in case.named("VisitCompleted") for p in v.data["visitors"]}
    signers = {s.data["signer"] for s in case.named("Signed")}
    reviewers = {c.data["reviewer"] for c in case.named("EligibilityConfirmed")}
    approvers = {a.data["approver"] for a in case.named("FileRegistered", "AwardApproved")}
    for what, those in (("reviewed", reviewers), ("approved", approvers)):
        if those & (visitors | signers):
            yield f"{what} by a visitor or signer"
    if reviewers & approvers:
        yield "reviewed and approved by one person"
    yield from _payers_not_apart(case)
    yield from _judges_not_apart(case)


def _payers_not_apart(case: Case) -> Iterator[str]:
    award_approver = {a.data["award_id"]: a.data["approver"] for a in case.named("AwardApproved")}
    for issued in case.named("PayoutIssued"):
        maker, checker = issued.data["maker"], issued.data["checker"]
        clerks = {c.data["clerk"] for c in case.known_to(issued, "AccountCorrected")}
        if maker == checker:
            yield f"{issued}: made and checked by one person"
        if award_approver[issued.data["award_id"]] in (maker, checker):
            yield f"{issued}: paid by the approver of the award"
        if clerks & {maker, checker}:
            yield f"{issued}: paid by whoever corrected the account"
    for reissued in case.named("PayoutReissued"):
        if reissued.data["proposer"] == reissued.data["confirmer"]:
            yield f"{reissued}: proposed and confirmed by one person"


def _judges_not_apart(case: Case) -> Iterator[str]:
    investigators = {
        i.data["objection_id"]: i.recorded.actor.person for i in case.named("ObjectionInvestigated")
    }
    for decided in case.named("ObjectionDismissed", "ObjectionUpheld"):
        if investigators[decided.data["objection_id"]] == decided.recorded.actor.person:
            yield f"{decided}: investigated and decided by one person"


# 3: caps

CapKey = tuple[str, str, str, int]


def caps_exceeded(facts: Iterable[Told]) -> Iterator[str]:
    """Computed − refused ≤ cap for every fund, programme, subject and year, after every prefix.

    A subject of the sandbox has one case, so its stream's order is the order of the log.
    """
    used: Counter[CapKey] = Counter()
    basis: Counter[CapKey] = Counter()
    streams: dict[str, str] = {}
    for told in facts:
        if told.name not in ("AwardComputed", "AwardRefused") or told.data["cap_year"] is None:
            continue
        data, stream = told.data, told.recorded.stream
        key = (data["fund"], data["programme"], data["cap_subject"], data["cap_year"])
        if streams.setdefault(data["cap_subject"], stream) != stream:
            yield f"{told}: the subject has two cases"
        if told.name == "AwardRefused":
            if data["stage"] != "computing":
                used[key] -= data["amount_fen"]
                basis[key] -= data["basis_fen"]
            else:
                basis[key] += data["basis_fen"]
            continue
        used[key] += data["amount_fen"]
        basis[key] += data["basis_fen"]
        for name, limit in _limits(told, basis[key]):
            if used[key] > limit:
                yield f"{told}: {used[key]} fen exceed {name} of {limit}"


def _limits(computed: Told, basis_fen: int) -> Iterator[tuple[str, int]]:
    """The caps K11 to K15 from the shipped file; a single award's bind through its own inputs."""
    parameters = _parameters()
    rules = parameters["fund_rules"][FUND][-1]
    data, inputs = computed.data, computed.data["inputs"]
    match data["programme"]:
        case "living":
            year = sum(_standard(month, data["cap_year"], computed) for month in range(1, 13))
            yield "the year's standards", year
        case "education":
            yield "the annual cap", rules["education_annual_fen"]
            months = rules["education_months"]
            yield "ten months' cost", months * inputs["school_month_fen"]
        case "medical":
            yield "the annual cap", rules["medical_annual_fen"]
            yield "the rate", rules["medical_rate_percent"] * basis_fen // 100
        case "disaster":
            yield "the single cap", rules["disaster_single_fen"]
            yield "the loss", inputs["loss_fen"]


def singles_exceeded(facts: Iterable[Told]) -> Iterator[str]:
    """K12: a single living award is at most 1,000 yuan; no award exceeds what was asked."""
    single = _parameters()["fund_rules"][FUND][-1]["living_single_fen"]
    for told in facts:
        if told.name != "AwardComputed":
            continue
        asked = told.data["inputs"]["asked_fen"]
        if told.data["programme"] == "living" and told.data["amount_fen"] > single:
            yield f"{told}: more than a single award"
        if asked is not None and told.data["amount_fen"] > asked:
            yield f"{told}: more than was asked"


def _standard(month: int, year: int, computed: Told) -> int:
    """The standard in force on a month's first day, of those announced by the decision day."""
    first, decided = date(year, month, 1), computed.recorded.occurred_on
    known = [
        version
        for version in _parameters()["city_standard"][FUND]
        if _day(version["effective_from"]) <= first and _day(version["announced_on"]) <= decided
    ]
    return int(max(known, key=lambda version: str(version["effective_from"]))["fen"])


def _parameters() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(PARAMETERS.read_text())
    return document


# 7: payouts


def paid_twice(case: Case) -> Iterator[str]:
    """Live payouts of an award ≤ the award, after every fact; a re-issue never doubles it (7)."""
    approved = {a.data["award_id"]: a.data["amount_fen"] for a in case.named("AwardApproved")}
    live: dict[str, dict[str, int]] = defaultdict(dict)
    confirmed: Counter[tuple[str, int]] = Counter()
    planned: dict[str, Told] = {}
    failed: set[str] = set()
    # One stream, so its versions are the order.
    payouts = sorted(
        (told for told in case if told.recorded.service == "payout"),
        key=lambda told: told.recorded.version,
    )
    for told in payouts:
        data = told.data
        match told.name:
            case "PayoutPlanned":
                planned[data["payout_id"]] = told
                live[data["award_id"]][data["payout_id"]] = data["amount_fen"]
            case "PayoutFailed":
                failed.add(data["payout_id"])
                live[data["award_id"]].pop(data["payout_id"])
            case "PayoutReissued" if data["payout_id"] not in failed:
                yield f"{told}: without a confirmed failure"
            case "PayoutConfirmed":
                plan = planned[data["payout_id"]].data
                confirmed[plan["award_id"], plan["instalment"]] += 1
        for award_id, amounts in live.items():
            if sum(amounts.values()) > approved[award_id]:
                yield f"{told}: live payouts exceed the award"
    yield from (
        f"award {a} instalment {i}: confirmed {n}×" for (a, i), n in confirmed.items() if n > 1
    )


def _day(text: str) -> date:
    return date.fromisoformat(text)
