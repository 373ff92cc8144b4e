"""Intake as a running process, one made-up household, and what people do about its case."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from stdnum import luhn
from stdnum.cn import ric

from deploy.infrastructure import Infrastructure
from sandbox.client import Client
from sandbox.installation import Installation
from services.eligibility import facts as eligibility
from services.notice import facts as notice
from shared.clock import BUSINESS_ZONE
from tests.services.conftest import WORLD
from tests.services.eligibility.neighbours import Neighbours
from tests.services.serving import installed, open_rooms, until

PROCESSES = ("issuer", "network", "intake")
OPENING = datetime(2025, 3, 3, 9, tzinfo=BUSINESS_ZONE)
HANDLER, CHAIR, VISITOR = "union-1-1.handler", "union-1-1.chair", "union-1-1.visitor"
STATION, STATION_VISITOR = "station-1.handler", "station-1.visitor"
REVIEWER, APPROVER = "county-east.reviewer", "county-east.approver"
SECOND_HANDLER = "union-1-1.another"
NAMES = ("欧阳示例", "欧阳小满")
ADDRESS = "样例路九十九号三单元"


@dataclass(frozen=True)
class Intake:
    """The running room and whoever speaks with it."""

    installation: Installation
    neighbours: Neighbours

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        urls = {name: self.installation.url(name) for name in PROCESSES}
        made = Client(urls, self.installation.secret)
        try:
            yield made
        finally:
            await made.close()

    def go_to(self, day: date) -> None:
        moment = OPENING.replace(year=day.year, month=day.month, day=day.day)
        self.installation.set_clock(moment)


# The household: made up, with checksums that hold and a place that is nobody's


def id_number(serial: int, born: str = "19800101") -> str:
    body = f"999999{born}{serial:03d}"
    return body + str(ric.calc_check_digit(body + "0"))


def card(serial: int) -> str:
    body = f"900000000{serial:09d}"
    return body + str(luhn.calc_check_digit(body))


def application(serial: int, **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "residence": "990802",
        "address": ADDRESS,
        "phone": "19900000001",
        "members": [
            {
                "relation": "applicant",
                "name": NAMES[0],
                "id_number": id_number(serial),
                "worker": True,
            },
            {
                "relation": "child",
                "name": NAMES[1],
                "id_number": id_number(serial, "20120202"),
                "school": "school-a",
            },
        ],
        "incomes": [
            {"member": 0, "kind": "wage", "months_fen": [50_000] * 12},
            {"member": 1, "kind": "other", "months_fen": [0] * 12},
        ],
        "causes": ["illness"],
        "incident": {
            "kind": "accident",
            "occurred_on": "2025-02-01",
            "description": "厨房失火，烫伤左臂",
            "loss_fen": 500_000,
        },
        "programmes": ["living"],
        "relief": "receiving",
        "consents": ["processing", "publication"],
        "evidence": [
            {"kind": kind, "blob_id": f"blob-{kind}", "ciphertext_sha256": "0" * 64}
            for kind in ("id_proof", "income_proof")
        ],
        "payee": {
            "member": 0,
            "kind": "card",
            "account": card(serial),
            "holder_name": NAMES[0],
        },
    }
    return {**told, **changes}


def submission(serial: int, **changes: Any) -> dict[str, Any]:
    told = {"channel": "window", "organisation_id": "union-1-1", "without_employer": False}
    return {**application(serial, **changes), **told}


@dataclass(frozen=True)
class Case:
    """A case, and what people do about it."""

    rooms: Intake
    client: Client
    case_id: str

    async def post(self, who: str, path: str, body: dict[str, Any], key: str = "") -> Any:
        return await self.client.post(who, "intake", f"/cases/{self.case_id}/{path}", body, key)

    async def look(self, who: str = STATION, **query: Any) -> dict[str, Any]:
        found: dict[str, Any] = await self.client.get(
            who, "intake", f"/cases/{self.case_id}", **query
        )
        return found

    async def work(self, who: str) -> dict[str, dict[str, Any]]:
        items = (await self.client.get(who, "intake", "/work"))["items"]
        return {i["task"]: i["details"] for i in items if i["subject"] == self.case_id}

    async def stage(self, expected: str) -> dict[str, Any]:
        """The case, once what was heard has brought it there."""

        async def there() -> Any:
            found = (await self.look())["case"]
            return found if found["stage"] == expected else None

        found: dict[str, Any] = await until(there)
        return found

    async def visit(self, which: str, who: str) -> None:
        members = (await self.work(who))[f"visit_{which}"]["members"]
        incident = {"kind": "accident", "occurred_on": "2025-02-01", "loss_fen": 500_000}
        body = {
            "visit": which,
            "visitors": [who],
            "incomes": found_incomes(members),
            "causes": ["illness"],
            "incident": incident,
            "relief": "receiving",
            "recommendation": "help",
            "remarks": "家中老人常年卧床",
        }
        await self.post(who, "visits", body)

    async def reconcile(self) -> None:
        details = (await self.work(STATION))["reconcile"]
        incident = {"kind": "accident", "occurred_on": "2025-02-01", "loss_fen": 500_000}
        body = {
            "incomes": found_incomes(details["members"]),
            "causes": ["illness"],
            "incident": {**incident, "hardship_found": True},
            "relief": "receiving",
            "hardship_after_relief": True,
            "finding_reasons": "入户核实，生活确有困难",
            "differences": [{"field": f, "reason": "以存折为准"} for f in details["differences"]],
        }
        await self.post(STATION, "reconcile", body)

    async def hear(self, service: str, kind: str, *facts: Any) -> None:
        await self.rooms.neighbours.state(service, kind, self.case_id, *facts)

    async def class_confirmed(self) -> str:
        """Eligibility's reviewer has confirmed; the hash of the form that follows."""
        confirmed = eligibility.EligibilityConfirmed(
            case_id=self.case_id,
            determination_id=str(uuid.uuid4()),
            outcome="eligible",
            classes=("low_income", "stricken"),
            primary="low_income",
            reason=None,
            reviewer=REVIEWER,
        )
        await self.hear("eligibility", "decisions", confirmed)
        return str((await self.stage("on_notice"))["form_hash"])

    async def notices_elapsed(self, form_hash: str) -> None:
        elapsed = [
            notice.NoticeElapsed(
                case_id=self.case_id,
                notice_id=str(uuid.uuid4()),
                place=place,
                form_hash=form_hash,
                last_day=date(2025, 3, 10),
            )
            for place in NOTICE_PLACES
        ]
        await self.hear("notice", "notices", *elapsed)
        await self.stage("signing")


async def submitted(rooms: Intake, client: Client, serial: int, **changes: Any) -> Case:
    """An application handed in at the handler's office."""
    answer = await client.post(HANDLER, "intake", "/cases", submission(serial, **changes))
    assert answer["facts"][0]["ids"]["case_id"] == answer["subject"]
    return Case(rooms, client, answer["subject"])


@contextmanager
def running_intake(infrastructure: Infrastructure, folder: Path) -> Iterator[Intake]:
    """Network and intake as processes, with a small federation founded over HTTP."""
    with installed(infrastructure, folder, OPENING) as installation:
        bootstrap = infrastructure.kafka_bootstrap
        neighbours = Neighbours(bootstrap, installation.prefix, installation.partitions)
        asyncio.run(_start(Intake(installation, neighbours)))
        yield Intake(installation, neighbours)


async def _start(rooms: Intake) -> None:
    await open_rooms(rooms.installation, PROCESSES, WORLD, [SECOND_HANDLER, "nobody"])
    async with rooms.client() as client:
        await until(partial(client.get, VISITOR, "intake", "/work"))


NOTICE_PLACES: tuple[Any, ...] = ("workplace", "station")


def found_incomes(members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "person_id": member["person_id"],
            "kind": "wage" if member["relation"] == "applicant" else "other",
            "income_12m_fen": 600_000 if member["relation"] == "applicant" else 0,
        }
        for member in members
    ]
