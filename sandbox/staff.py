"""The staff of the sandbox: what an office holder does with each item of the work list.

Every act is one HTTP command with the person's own token. What they decide comes from the
household's story, never from an id, so the same seed leads to the same outcomes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

from sandbox import bodies
from sandbox.cards import test_card
from sandbox.client import Client, RefusedError
from sandbox.households import FUND, Household, Wish
from sandbox.story import Story
from sandbox.world import CITY, person

Item = Mapping[str, Any]
Act = Callable[[str, Item], Awaitable[None]]

MOST_IN_A_BATCH: Final = 400
PUBLIC_SPEAKS_AFTER_DAYS: Final = 2
JOB_AFTER_DAYS: Final = 7
# Which services an office's work may come from.
SERVICES_OF_ROLE: Final = {
    "handler": ("intake", "notice"),
    "chair": ("intake",),
    "visitor": ("intake",),
    "reviewer": ("eligibility", "notice"),
    "approver": ("intake", "eligibility"),
    "maker": ("payout",),
    "checker": ("payout",),
    "account_clerk": ("payout",),
}


class Staff:
    """All office holders, acting through one client."""

    def __init__(self, client: Client, story: Story) -> None:
        self._client = client
        self._story = story
        self._today = date.min
        self._acts: dict[str, Act] = {
            "decide_application": self._decide_application,
            "resubmit": self._resubmit,
            "visit_grassroots": self._visit,
            "visit_station": self._visit,
            "reconcile": self._reconcile,
            "record_relief_outcome": self._record_relief_outcome,
            "sign_handler": self._sign,
            "sign_chair": self._sign,
            "forward": self._forward,
            "register": self._register,
            "confirm_hardship_end": self._confirm_hardship_end,
            "confirm_eligibility": self._confirm_eligibility,
            "approve_award": self._approve_award,
            "post_notice_workplace": self._post_notice,
            "post_notice_station": self._post_notice,
            "investigate_objection": self._investigate_objection,
            "decide_objection": self._decide_objection,
            "release_batch": self._release_batch,
            "correct_account": self._correct_account,
            "propose_reissue": self._propose_reissue,
            "confirm_reissue": self._confirm_reissue,
        }

    async def wave(self, today: date, offices: Mapping[str, Iterable[str]]) -> int:
        """One morning: read the work lists of the offices that have work, then do all of it.

        ``offices`` maps a service to the ``organisation/role`` that wait there. Returns the
        number of items.
        """
        self._today = today
        asked = [
            (service, office)
            for service, waiting in offices.items()
            for office in waiting
            if service in SERVICES_OF_ROLE.get(office.partition("/")[2], ())
        ]
        lists = await asyncio.gather(*(self._work(service, office) for service, office in asked))
        items = [
            (office, item)
            for (_, office), found in zip(asked, lists, strict=True)
            for item in found
        ]
        payouts = [(o, i) for o, i in items if i["task"] == "prepare_batch"]
        others = [(o, i) for o, i in items if i["task"] != "prepare_batch"]
        # One after the other where it is about the same case, side by side otherwise.
        by_subject: dict[str, list[tuple[str, Item]]] = defaultdict(list)
        for office, item in sorted(others, key=lambda each: each[1]["task"]):
            by_subject[item["subject"]].append((office, item))
        await asyncio.gather(*(self._do_all(each) for each in by_subject.values()))
        if payouts:
            await self._prepare_batches([item for _, item in payouts])
        return len(items)

    async def submit(self, household: Household) -> None:
        """The household comes to the window of its office, and its handler enters the form."""
        handler = person(household.organisation, "handler")
        body = bodies.submission(
            household, test_card(household.number), complete=household.returned == "none"
        )
        answer = await self._client.post(handler, "intake", "/cases", body)
        self._story.opened(household.number, answer["subject"])

    async def _work(self, service: str, office: str) -> list[Item]:
        organisation, _, role = office.partition("/")
        found: list[Item] = []
        after = ""
        while True:
            page = await self._client.get(
                person(organisation, role), service, "/work", limit=1000, after=after
            )
            found += page["items"]
            if not page["next_after"]:
                return found
            after = page["next_after"]

    async def _do_all(self, items: list[tuple[str, Item]]) -> None:
        for office, item in items:
            organisation, _, role = office.partition("/")
            try:
                await self._acts[item["task"]](person(organisation, role), item)
            except RefusedError as error:
                # The next morning's list tells whether it is still to be done.
                self._story.refused[f"{item['task']}: {error.code}"] += 1

    async def _post(self, who: str, service: str, item: Item, path: str, body: Item) -> Any:
        return await self._client.post(who, service, f"/cases/{item['subject']}/{path}", body)

    # Intake

    async def _decide_application(self, who: str, item: Item) -> None:
        if item["details"]["defects"]:
            await self._post(who, "intake", item, "return", {})
        else:
            await self._post(who, "intake", item, "accept", {"fund": FUND})

    async def _resubmit(self, who: str, item: Item) -> None:
        household = self._story.household(item["subject"])
        if household.returned == "lapsed":
            return
        body = bodies.application(household, test_card(household.number), complete=True)
        await self._post(who, "intake", item, "resubmit", body)

    async def _visit(self, who: str, item: Item) -> None:
        household = self._story.household(item["subject"])
        details = item["details"]
        body = bodies.visit(household, details["visit"], who, details["members"])
        await self._post(who, "intake", item, "visits", body)

    async def _reconcile(self, who: str, item: Item) -> None:
        subject, details = item["subject"], item["details"]
        again = self._story.reconciled[subject] > 0
        body = bodies.reconciliation(
            self._story.household(subject),
            details["members"],
            details["differences"],
            again=again,
        )
        await self._post(who, "intake", item, "reconcile", body)
        self._story.reconciled[subject] += 1

    async def _record_relief_outcome(self, who: str, item: Item) -> None:
        body = bodies.relief_outcome(self._story.household(item["subject"]))
        await self._post(who, "intake", item, "relief-outcome", body)

    async def _sign(self, who: str, item: Item) -> None:
        details = item["details"]
        body = {"role": details["role"], "form_hash": details["form_hash"]}
        await self._post(who, "intake", item, "signatures", body)

    async def _forward(self, who: str, item: Item) -> None:
        await self._post(who, "intake", item, "forward", {})

    async def _register(self, who: str, item: Item) -> None:
        await self._post(who, "intake", item, "register", {})
        household = self._story.household(item["subject"])
        tomorrow = self._today + timedelta(days=1)
        self._story.later(tomorrow, lambda: self._ask_for_awards(household))
        if household.trains:
            self._story.later(tomorrow, lambda: self._enrol(household))

    async def _confirm_hardship_end(self, who: str, item: Item) -> None:
        household = self._story.household(item["subject"])
        body: dict[str, Any] = {"placement_id": item["details"]["placement_id"], "confirm": True}
        if household.declines_end:
            body |= {"confirm": False, "reasons": "试用期未满，收入尚不稳定"}
        await self._post(who, "intake", item, "hardship-end", body)

    # Eligibility

    async def _confirm_eligibility(self, who: str, item: Item) -> None:
        body = {"determination_id": item["details"]["determination_id"]}
        await self._post(who, "eligibility", item, "confirmation", body)

    async def _approve_award(self, who: str, item: Item) -> None:
        path = f"awards/{item['details']['award_id']}/approval"
        await self._post(who, "eligibility", item, path, {})

    async def _ask_for_awards(self, household: Household) -> None:
        """The household's wishes one after the other: a bill's amount depends on those before."""
        case_id = self._story.case_by_number[household.number]
        handler = person(household.organisation, "handler")
        view = await self._client.get(handler, "eligibility", f"/cases/{case_id}")
        for wish in household.wishes:
            for body in _requests(household, wish, view["file"]):
                try:
                    await self._client.post(
                        handler, "eligibility", f"/cases/{case_id}/awards", body
                    )
                except RefusedError as error:
                    self._story.refused[f"request_award: {error.code}"] += 1

    # Notices

    async def _post_notice(self, who: str, item: Item) -> None:
        place = item["task"].removeprefix("post_notice_")
        answer = await self._post(who, "notice", item, "notices", {"place": place})
        household = self._story.household(item["subject"])
        if place == "workplace" and household.objection != "none":
            notice_id = answer["facts"][0]["ids"]["notice_id"]
            day = self._today + timedelta(days=PUBLIC_SPEAKS_AFTER_DAYS)
            self._story.later(day, lambda: self._object(notice_id))

    async def _object(self, notice_id: str) -> None:
        body = {"text": "反映该户另有经营收入，请核实", "contact": None}
        try:
            await self._client.public("notice", f"/public/notices/{notice_id}/objections", body)
        except RefusedError as error:
            self._story.refused[f"object: {error.code}"] += 1

    async def _investigate_objection(self, who: str, item: Item) -> None:
        path = f"objections/{item['details']['objection_id']}/investigation"
        await self._post(who, "notice", item, path, {"findings": "走访邻里与单位后的核查情况"})

    async def _decide_objection(self, who: str, item: Item) -> None:
        upheld = self._story.household(item["subject"]).objection == "upheld"
        path = f"objections/{item['details']['objection_id']}/decision"
        outcome = "upheld" if upheld else "dismissed"
        await self._post(
            who, "notice", item, path, {"outcome": outcome, "reasons": "依核查情况认定"}
        )

    # Payout

    async def _prepare_batches(self, items: list[Item]) -> None:
        """The maker puts all that is planned into batches, in a stable order."""
        ordered = sorted(
            items,
            key=lambda i: (self._story.number_by_case[i["subject"]], i["details"]["payout_id"]),
        )
        chosen = [
            {"case_id": i["subject"], "payout_id": i["details"]["payout_id"]} for i in ordered
        ]
        maker = person(CITY, "maker")
        for start in range(0, len(chosen), MOST_IN_A_BATCH):
            body = {"items": chosen[start : start + MOST_IN_A_BATCH]}
            try:
                await self._client.post(maker, "payout", "/batches", body)
            except RefusedError as error:
                self._story.refused[f"prepare_batch: {error.code}"] += 1

    async def _release_batch(self, who: str, item: Item) -> None:
        path = f"/batches/{item['details']['batch_id']}/release"
        await self._client.post(who, "payout", path, {})

    async def _correct_account(self, who: str, item: Item) -> None:
        household = self._story.household(item["subject"])
        body = {
            "account": test_card(household.number, variant=1),
            "kind": "card",
            "holder_name": household.members[0].name,
        }
        await self._post(who, "payout", item, "account", body)

    async def _propose_reissue(self, who: str, item: Item) -> None:
        path = f"payouts/{item['details']['payout_id']}/reissue-proposal"
        await self._post(who, "payout", item, path, {})

    async def _confirm_reissue(self, who: str, item: Item) -> None:
        path = f"payouts/{item['details']['payout_id']}/reissue"
        await self._post(who, "payout", item, path, {})

    # Training

    async def _enrol(self, household: Household) -> None:
        """The first worker joins the next class that has not begun."""
        term = next((t for t in self._story.terms if t.starts_on > self._today), None)
        if term is None:
            return
        case_id = self._story.case_by_number[household.number]
        officer = person(CITY, "training_officer")
        handler = person(household.organisation, "handler")
        view = await self._client.get(handler, "eligibility", f"/cases/{case_id}")
        worker = view["file"]["persons"][0]
        body = {"person_id": worker, "class_id": term.class_id}
        try:
            await self._client.post(officer, "training", f"/cases/{case_id}/enrolments", body)
        except RefusedError as error:
            self._story.refused[f"enrol: {error.code}"] += 1
            return
        after = term.ends_on + timedelta(days=1)
        self._story.later(after, lambda: self._certify(household, body, after))

    async def _certify(self, household: Household, enrolled: dict[str, Any], day: date) -> None:
        case_id = self._story.case_by_number[household.number]
        officer = person(CITY, "training_officer")
        try:
            await self._client.post(officer, "training", f"/cases/{case_id}/certificates", enrolled)
        except RefusedError as error:
            self._story.refused[f"certify: {error.code}"] += 1
            return
        if household.finds_job:
            hired = day + timedelta(days=JOB_AFTER_DAYS)
            self._story.later(hired, lambda: self._place(case_id, enrolled))

    async def _place(self, case_id: str, enrolled: dict[str, Any]) -> None:
        officer = person(CITY, "training_officer")
        body = {**enrolled, "started_on": self._today.isoformat()}
        try:
            await self._client.post(officer, "training", f"/cases/{case_id}/placements", body)
        except RefusedError as error:
            self._story.refused[f"place: {error.code}"] += 1


def _requests(household: Household, wish: Wish, file: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The requests that carry one wish; bills are presented together or one by one."""
    match wish.programme:
        case "medical":
            bills = wish.bills_fen if wish.split else (sum(wish.bills_fen),)
            patient = file["persons"][0]
            return [
                {"programme": "medical", "patient_id": patient, "self_paid_fen": bill}
                for bill in bills
            ]
        case "education":
            return [
                {
                    "programme": "education",
                    "asked_fen": wish.asked_fen,
                    "student_id": student["person_id"],
                }
                for student in file["students"][:1]
            ]
        case "disaster":
            loss = household.event.loss_fen if household.event else 0
            return [
                {
                    "programme": "disaster",
                    "asked_fen": wish.asked_fen,
                    "loss_fen": loss,
                    "reasons": "经现场评估，房屋家具损毁",
                }
            ]
    return [{"programme": wish.programme, "asked_fen": wish.asked_fen}]
