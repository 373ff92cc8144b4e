"""Every route of every service, each with a request that fits and is about something that exists.

Whoever adds a route adds it here: what its request says, and which role is the right one. What is
not the common rule (another's subject is answered as an unknown one) stands beside it by name,
with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox import bodies, cards
from sandbox.founding import SKILL, proposals
from sandbox.households import FUND, Household
from sandbox.world import build_world
from tests.demo.log import Log, Told
from tests.duty.routes import UNKNOWN_ID

WORLD: Final = build_world()
PARENTS: Final = {o.organisation: o.parent for o in WORLD.organisations}
# Whose subjects are asked for, and from where.
EAST: Final = "county-east"
WEST: Final = "county-west"

NOT_FOUND: Final = (404, "unknown")
WRONG_OFFICE: Final = (403, "wrong-office")
WRONG_STAGE: Final = (409, "wrong-stage")
GRANTED: Final = (200, "")
Outcome = tuple[int, str]


def above(organisation: str) -> set[str]:
    """The organisation and its ancestors: they see its cases."""
    parent = PARENTS[organisation]
    return {organisation} | (above(parent) if parent else set())


@dataclass(frozen=True)
class Asked:
    """One request, and how those are answered who may not send it.

    ``elsewhere`` is for an office of another subtree that holds ``role``, ``beside`` for an office
    that may see the subject and holds no role for this.
    """

    role: str
    ids: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    elsewhere: Outcome = NOT_FOUND
    beside: Outcome = WRONG_OFFICE
    query: str = ""


@dataclass(frozen=True)
class Subjects:
    """What a demo has of the eastern county, from its facts."""

    log: Log
    households: Mapping[str, Household]

    def first(self, name: str, **wanted: Any) -> Told:
        """The first such fact of a case that the west has no part in."""
        return next(
            told
            for told in self.log.named(name)
            if told.recorded.subject in self.eastern
            and all(told.data[key] == value for key, value in wanted.items())
        )

    @property
    def eastern(self) -> set[str]:
        return {
            told.recorded.subject
            for told in self.log.named("ApplicationSubmitted")
            if EAST in above(told.data["organisation_id"])
        }

    def holder(self, case_id: str) -> str:
        held = self.log.cases[case_id].named("ApplicationSubmitted")
        return str(held[0].data["organisation_id"])


def doors(subjects: Subjects) -> dict[str, Asked]:
    """The request of each route, by its name (`tests.duty.routes.Route`)."""
    told = (_network, _intake, _eligibility, _notice, _payout, _training, _common)
    return {name: asked for of_service in told for name, asked in of_service(subjects)}


Doors = Iterator[tuple[str, Asked]]


def _network(_: Subjects) -> Doors:
    """The tree without people is known to everybody in office (`GET /tree`), so a command on an
    organisation of another's may say that this is not for its sender."""
    refused = (403, "not-network-keeper")
    one = {"identity": "union-1-1"}
    office = {"person": "somebody", "role": "handler"}
    delegation = {"to_organisation": "station-1", "role": "handler"}
    founding = {"organisation": "new", "kind": "union", "name": "样例新工会", "parent": "station-1"}
    installing = {
        "organisation": "root",
        "kind": "federation",
        "name": "样例",
        "person": "somebody",
    }
    commands: tuple[tuple[str, Mapping[str, str], dict[str, Any]], ...] = (
        ("/organisations", {}, founding),
        ("/organisations/{identity}/close", one, {}),
        ("/organisations/{identity}/edges", one, {"parent": "station-2"}),
        ("/organisations/{identity}/edges/end", one, {"parent": "station-1"}),
        ("/organisations/{identity}/move", one, {"parent": "station-2"}),
        ("/organisations/{identity}/offices", one, office),
        ("/organisations/{identity}/offices/end", one, office),
        ("/organisations/{identity}/delegations", one, delegation),
        ("/organisations/{identity}/delegations/end", one, delegation),
    )
    for path, ids, body in commands:
        yield f"network POST {path}", Asked("network_keeper", ids, body, refused, refused)
    other = (403, "not-installation")
    yield "network POST /installation", Asked("network_keeper", {}, installing, other, other)
    yield "network GET /organisations/{identity}", Asked("handler", one, beside=GRANTED)
    yield "network GET /organisations", Asked("handler", elsewhere=GRANTED, beside=GRANTED)
    # 组织体系: which organisations there are is public to the network; people are not in it.
    yield "network GET /tree", Asked("handler", elsewhere=GRANTED, beside=GRANTED)


def _intake(subjects: Subjects) -> Doors:
    registered = subjects.first("FileRegistered")
    case_id = registered.recorded.subject
    household = subjects.households[case_id]
    of_case = {"case_id": case_id}
    members = [
        {"person_id": person}
        for person in subjects.log.cases[case_id].named("ApplicationAccepted")[0].data["persons"]
    ]
    submission = bodies.submission(household, cards.test_card(household.number), complete=True)
    application = bodies.application(household, cards.test_card(household.number), complete=True)
    form_hash = subjects.log.cases[case_id].named("FormDrawnUp")[0].data["form_hash"]
    # Whoever may see a case may know its stage, so some steps tell it before they ask for the role.
    visit = bodies.visit(household, "station", "somebody", members)
    settled = bodies.reconciliation(household, members, (), again=True)
    commands: tuple[tuple[str, str, dict[str, Any], Outcome], ...] = (
        ("resubmit", "handler", application, WRONG_OFFICE),
        ("accept", "handler", {"fund": FUND}, WRONG_OFFICE),
        ("return", "handler", {}, WRONG_OFFICE),
        ("consents", "handler", {"purpose": "publication", "given": False}, WRONG_OFFICE),
        ("visits", "visitor", visit, WRONG_STAGE),
        ("reconcile", "handler", settled, WRONG_OFFICE),
        ("relief-outcome", "handler", bodies.relief_outcome(household), WRONG_OFFICE),
        ("signatures", "handler", {"role": "handler", "form_hash": form_hash}, WRONG_STAGE),
        ("forward", "handler", {}, WRONG_STAGE),
        ("register", "approver", {}, WRONG_STAGE),
        ("reject", "approver", {"rule": "K6", "reasons": ["duplicate"]}, WRONG_STAGE),
        (
            "hardship-end",
            "handler",
            {"placement_id": UNKNOWN_ID, "confirm": True},
            WRONG_STAGE,
        ),
    )
    for path, role, body, beside in commands:
        yield f"intake POST /cases/{{case_id}}/{path}", Asked(role, of_case, body, beside=beside)
    # They name the organisation that will hold the case: not for another's handler to fill in.
    yield "intake POST /cases", Asked("handler", {}, submission, WRONG_OFFICE)
    form = {**submission, "applied_on": "2025-03-03"}
    yield "intake POST /forms", Asked("handler", {}, form, WRONG_OFFICE)
    unsealed = Asked("handler", of_case, beside=(403, "not-for-unsealing"), query="?unsealed=true")
    yield "intake GET /cases/{case_id}", unsealed
    yield "intake GET /cases", Asked("handler", elsewhere=GRANTED, beside=GRANTED)


def _eligibility(subjects: Subjects) -> Doors:
    proposal = next(each for each in proposals() if each["parameter"] == "fund_rules")
    announced = next(
        told for told in subjects.log.named("ParameterProposed") if FUND in str(told.data)
    )
    yield "eligibility POST /parameters/proposals", Asked("parameter_keeper", {}, proposal)
    yield (
        "eligibility POST /parameters/{scope}/announcements",
        Asked(
            "parameter_announcer",
            {"scope": f"fund:{FUND}"},
            {"proposal_id": announced.data["proposal_id"]},
        ),
    )
    yield "eligibility GET /parameters", Asked("handler", elsewhere=GRANTED, beside=GRANTED)

    determined = subjects.first("EligibilityDetermined")
    yield (
        "eligibility POST /cases/{case_id}/confirmation",
        Asked(
            "reviewer",
            {"case_id": determined.recorded.subject},
            {"determination_id": determined.data["determination_id"]},
        ),
    )
    award = subjects.first("AwardRequested", programme="disaster")
    of_award = {"case_id": award.recorded.subject, "award_id": award.data["award_id"]}
    asked = {"programme": "living", "asked_fen": 100}
    yield (
        "eligibility POST /cases/{case_id}/awards",
        Asked("handler", {"case_id": of_award["case_id"]}, asked),
    )
    yield (
        "eligibility POST /cases/{case_id}/awards/{award_id}/approval",
        Asked("approver", of_award),
    )
    yield (
        "eligibility GET /cases/{case_id}/awards/{award_id}/reasons",
        Asked("approver", of_award),
    )
    one = {"case_id": of_award["case_id"]}
    yield "eligibility GET /cases/{case_id}", Asked("reviewer", one, beside=GRANTED)
    yield "eligibility GET /files", Asked("reviewer", elsewhere=GRANTED, beside=GRANTED)


def _notice(subjects: Subjects) -> Doors:
    posted = subjects.first("NoticePosted")
    of_case = {"case_id": posted.recorded.subject}
    yield (
        "notice POST /cases/{case_id}/notices",
        Asked("handler", of_case, {"place": "station"}),
    )
    yield "notice GET /cases/{case_id}", Asked("handler", of_case, beside=GRANTED)
    raised = subjects.first("ObjectionRaised")
    one = {"case_id": raised.recorded.subject, "objection_id": raised.data["objection_id"]}
    path = "/cases/{case_id}/objections/{objection_id}"
    yield f"notice POST {path}/investigation", Asked("handler", one, {"findings": "属实"})
    decision = {"outcome": "dismissed", "reasons": "查无实据"}
    yield f"notice POST {path}/decision", Asked("reviewer", one, decision)
    yield f"notice GET {path}", Asked("reviewer", one)
    # The board hangs inside an organisation: not even the city looks at it from outside.
    board = {"organisation": subjects.holder(of_case["case_id"])}
    yield "notice GET /board/{organisation}", Asked("handler", board, beside=NOT_FOUND)


def _payout(subjects: Subjects) -> Doors:
    issued = subjects.first("PayoutIssued")
    case_id, payout_id = issued.recorded.subject, issued.data["payout_id"]
    of_payout = {"case_id": case_id, "payout_id": payout_id}
    batch = next(
        told
        for told in subjects.log.named("BatchPrepared")
        if payout_id in {item["payout_id"] for item in told.data["items"]}
    )
    of_batch = {"batch_id": batch.data["batch_id"]}
    card = cards.test_card(subjects.households[case_id].number)
    account = {"account": card, "kind": "card", "holder_name": "样例"}
    credit = {"source": "budget", "amount_fen": 1}
    yield "payout POST /funds/{fund}/credits", Asked("fund_keeper", {"fund": FUND}, credit)
    yield "payout GET /funds/{fund}", Asked("fund_keeper", {"fund": FUND}, beside=GRANTED)
    # Only a federation pays: elsewhere nobody is told which of the items there are.
    yield (
        "payout POST /batches",
        Asked("maker", {}, {"items": [of_payout]}, elsewhere=WRONG_OFFICE),
    )
    yield "payout POST /batches/{batch_id}/release", Asked("checker", of_batch)
    yield "payout GET /batches/{batch_id}", Asked("checker", of_batch, beside=GRANTED)
    one = {"case_id": case_id}
    yield "payout POST /cases/{case_id}/account", Asked("account_clerk", one, account)
    path = "/cases/{case_id}/payouts/{payout_id}"
    yield f"payout POST {path}/reissue-proposal", Asked("maker", of_payout)
    yield f"payout POST {path}/reissue", Asked("checker", of_payout)
    yield "payout GET /cases/{case_id}", Asked("maker", one, beside=GRANTED)
    yield "payout GET /payouts", Asked("maker", elsewhere=GRANTED, beside=GRANTED)
    yield from _bank(issued.data["end_to_end_id"])


def _bank(end_to_end_id: str) -> Doors:
    """The bank alone, whoever else asks and for whatever."""
    refused = (403, "not-the-bank")
    report = {"end_to_end_id": end_to_end_id, "state": "accepted", "bank_reference": "X-1"}
    one = {"end_to_end_id": end_to_end_id}
    account = Asked("maker", one, None, refused, refused)
    yield "payout GET /bank/accounts/{end_to_end_id}", account
    asked = {"end_to_end_ids": [end_to_end_id]}
    yield "payout POST /bank/accounts", Asked("maker", {}, asked, refused, refused)
    yield "payout POST /bank/reports", Asked("maker", {}, report, refused, refused)


def _training(subjects: Subjects) -> Doors:
    enrolled = subjects.first("TraineeEnrolled")
    of_case = {"case_id": enrolled.recorded.subject}
    trainee = {name: enrolled.data[name] for name in ("person_id", "class_id")}
    for act in ("enrolments", "certificates", "placements"):
        yield f"training POST /cases/{{case_id}}/{act}", Asked("training_officer", of_case, trainee)
    opened = next(iter(subjects.log.named("ClassOpened"))).data
    order = {"employer": "样例厂", "post": "车工", "skill": SKILL, "heads": 1}
    menu = {"institution": "样例校", "course": "数控", "skill": SKILL, "places": 1, "price_fen": 1}
    named = ("kind", "order_id", "menu_id", "places", "starts_on", "ends_on")
    # Slips and classes are the opener's own, wherever: refused is who is no training officer.
    for path, body in (
        ("/orders", order),
        ("/menus", menu),
        ("/classes", {name: opened[name] for name in named}),
    ):
        yield f"training POST {path}", Asked("handler", {}, body, elsewhere=WRONG_OFFICE)
        yield f"training GET {path}", Asked("handler", elsewhere=GRANTED, beside=GRANTED)
    yield "training GET /workers", Asked("handler", elsewhere=GRANTED, beside=GRANTED)


def _common(_: Subjects) -> Doors:
    """What every service has: work lists keep to the offices, a batch answers each command."""
    for service in ("network", "intake", "eligibility", "notice", "payout", "training"):
        yield f"{service} GET /work", Asked("handler", elsewhere=GRANTED, beside=GRANTED)
        batch = {"commands": [{"key": "no-such-command", "path": "/no-such-command", "body": {}}]}
        yield (
            f"{service} POST /batch",
            Asked("handler", {}, batch, elsewhere=GRANTED, beside=GRANTED),
        )
