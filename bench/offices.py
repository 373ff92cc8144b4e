"""The offices of the journey bench: straight cases, worked as their offices would work them.

Each office reads its own work list once a business day and sends what is to be done as batch
commands, with its own token. Nothing here knows what comes next: the work lists say it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from sandbox import bodies
from sandbox.cards import test_card
from sandbox.client import Client, Command, RefusedError
from sandbox.households import FUND, Household, Wish, household, line_fen
from sandbox.world import CITY, World, person

Item = Mapping[str, Any]
Form = tuple[str, Mapping[str, Any]]

MOST_IN_A_REQUEST: Final = 100
MOST_IN_A_PAYMENT_BATCH: Final = 400
ASKED_FEN: Final = 60_000


def straight(seed: int, number: int, year: int, world: World) -> Household:
    """A household whose case goes from submission to payment without a turn."""
    drawn = household(seed, number, year, world)
    unions = windows(world)
    total = 12 * len(drawn.members) * line_fen(drawn.residence, drawn.applied_on) * 6 // 10
    members = tuple(
        replace(each, incomes=(("wage", total if index == 0 else 0),))
        for index, each in enumerate(drawn.members)
    )
    return replace(
        drawn,
        organisation=unions[number % len(unions)],
        without_employer=False,
        members=members,
        causes=("illness",),
        event=None,
        relief="receiving",
        after_relief=True,
        consents_to_publication=True,
        returned="none",
        visits_differ=False,
        wishes=(Wish("living", asked_fen=ASKED_FEN),),
        objection="none",
        trains=False,
        finds_job=False,
    )


def windows(world: World) -> list[str]:
    """The unions at whose windows households apply: one of a large factory at each station."""
    return [o.organisation for o in world.unions if o.organisation.endswith("-1")]


class Offices:
    """All offices that a straight case passes through."""

    def __init__(
        self, client: Client, world: World, clerks_of_a_day: Callable[[str], Sequence[Household]]
    ) -> None:
        self._client = client
        self._clerks = clerks_of_a_day
        self.refused: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()
        # Windows with a case that came as far as asking for its award: none may stand still.
        self.windows_asking: set[str] = set()
        self._household_by_case: dict[str, Household] = {}
        # Registered files whose household will ask for its award, by the office that asks: when it
        # comes to the window the day after it was told.
        self._told: dict[str, list[str]] = {}
        self._to_ask: dict[str, list[str]] = {}
        unions = windows(world)
        by_name = {o.organisation: o for o in world.organisations}
        # Every office above a window has its work, or the cases of that window would stand still.
        stations = sorted({by_name[union].parent or "" for union in unions})
        centres = sorted({by_name[station].parent or "" for station in stations} | {CITY})
        self._rounds: list[tuple[str, str, str]] = [
            *((s, u, r) for u in unions for s, r in _UNION),
            *((s, o, r) for o in stations for s, r in _STATION),
            *((s, o, r) for o in centres for s, r in _CENTRE),
            *((s, CITY, r) for s, r in _CITY),
        ]
        self._unions = unions
        # Not set while all of them stand still.
        self.at_work = asyncio.Event()
        self.at_work.set()

    async def work(self, day_seconds: float) -> None:
        """Every office at its own minute of the day, day after day, until cancelled."""
        rounds: list[Callable[[], Awaitable[None]]] = [
            *(partial(self._round, *each) for each in self._rounds),
            *(partial(self._window, union) for union in self._unions),
        ]
        async with asyncio.TaskGroup() as group:
            for index, each in enumerate(rounds):
                begins = day_seconds * index / len(rounds)
                group.create_task(_daily(each, begins, day_seconds, self.at_work))

    async def _window(self, union: str) -> None:
        """The households at the window of a union today, then the awards asked for."""
        handler = person(union, "handler")
        today = self._clerks(union)
        forms = [
            ("/cases", bodies.submission(h, test_card(h.number), complete=True)) for h in today
        ]
        answers = await self._send(handler, "intake", "submit", forms)
        for each, answer in zip(today, answers, strict=True):
            if answer is not None:
                self._household_by_case[answer["subject"]] = each
        cases = self._to_ask.pop(union, [])
        body = {"programme": "living", "asked_fen": ASKED_FEN}
        asked = [(f"/cases/{case_id}/awards", body) for case_id in cases]
        answers = await self._send(handler, "eligibility", "ask_for_award", asked)
        again = [c for c, answer in zip(cases, answers, strict=True) if answer is None]
        if len(again) < len(cases):
            self.windows_asking.add(union)
        self._to_ask[union] = [*again, *self._told.pop(union, [])]

    async def _round(self, service: str, organisation: str, role: str) -> None:
        who = person(organisation, role)
        page = await self._client.get(who, service, "/work", limit=1000)
        by_task: dict[str, list[Item]] = {}
        for item in page["items"]:
            if item["organisation"] == organisation and item["role"] == role:
                by_task.setdefault(item["task"], []).append(item)
        for task, items in sorted(by_task.items()):
            if task == "prepare_batch":
                await self._prepare(who, items)
                continue
            known = [i for i in items if self._knows(task, i)]
            forms = [self._form(task, who, item) for item in known]
            answers = await self._send(who, service, task, forms)
            if task == "register":
                for item, answer in zip(known, answers, strict=True):
                    if answer is not None:
                        union = self._household_by_case[item["subject"]].organisation
                        self._told.setdefault(union, []).append(item["subject"])

    def _knows(self, task: str, item: Item) -> bool:
        return task == "release_batch" or item["subject"] in self._household_by_case

    def _form(self, task: str, who: str, item: Item) -> Form:
        subject, details = item["subject"], item["details"]
        case = f"/cases/{subject}"
        if task == "release_batch":
            return f"/batches/{details['batch_id']}/release", {}
        each = self._household_by_case[subject]
        match task:
            case "decide_application":
                return f"{case}/accept", {"fund": FUND}
            case "visit_grassroots" | "visit_station":
                return f"{case}/visits", bodies.visit(
                    each, details["visit"], who, details["members"]
                )
            case "reconcile":
                body = bodies.reconciliation(
                    each, details["members"], details["differences"], again=False
                )
                return f"{case}/reconcile", body
            case "sign_handler" | "sign_chair":
                body = {"role": details["role"], "form_hash": details["form_hash"]}
                return f"{case}/signatures", body
            case "forward" | "register":
                return f"{case}/{task}", {}
            case "confirm_eligibility":
                return f"{case}/confirmation", {"determination_id": details["determination_id"]}
            case "approve_award":
                return f"{case}/awards/{details['award_id']}/approval", {}
            case "post_notice_workplace" | "post_notice_station":
                return f"{case}/notices", {"place": task.removeprefix("post_notice_")}
        raise LookupError(task)

    async def _prepare(self, maker: str, items: Sequence[Item]) -> None:
        chosen = [{"case_id": i["subject"], "payout_id": i["details"]["payout_id"]} for i in items]
        size = MOST_IN_A_PAYMENT_BATCH
        forms = [
            ("/batches", {"items": chosen[start : start + size]})
            for start in range(0, len(chosen), size)
        ]
        await self._send(maker, "payout", "prepare_batch", forms)

    async def _send(
        self, who: str, service: str, task: str, forms: Sequence[Form]
    ) -> list[dict[str, Any] | None]:
        """Send forms as batch commands; None for what was refused."""
        found: list[dict[str, Any] | None] = []
        for start in range(0, len(forms), MOST_IN_A_REQUEST):
            part = forms[start : start + MOST_IN_A_REQUEST]
            commands = [Command(path, body) for path, body in part]
            self.commands[task] += len(part)
            for answer in await self._client.batch(who, service, commands):
                if isinstance(answer, RefusedError):
                    found.append(None)
                    self.refused[f"{task}: {answer.code}"] += 1
                else:
                    found.append(answer)
        return found


_UNION: Final = (
    ("intake", "handler"),
    ("intake", "chair"),
    ("intake", "visitor"),
    ("notice", "handler"),
)
_STATION: Final = _UNION
_CENTRE: Final = (
    ("eligibility", "reviewer"),
    ("notice", "reviewer"),
    ("intake", "approver"),
    ("eligibility", "approver"),
    ("intake", "visitor"),
)
_CITY: Final = (("payout", "maker"), ("payout", "checker"))


async def _daily(
    act: Callable[[], Awaitable[None]], begins: float, day_seconds: float, at_work: asyncio.Event
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + begins
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        if not at_work.is_set():
            await at_work.wait()
            due = loop.time() + begins
            continue
        await act()
        # An office that took longer than its day begins the next one at once.
        due = max(due + day_seconds, loop.time())
