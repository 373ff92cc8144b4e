"""Setting the sandbox's federation up, over HTTP, as its own people would.

The installation identity founds the root and seats its first office; from there on the federation
founds its organisations, announces its parameters, credits its fund and opens its classes.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sandbox.client import Client
from sandbox.households import FUND, PARAMETERS
from sandbox.installation import INSTALLER
from sandbox.world import CITY, Organisation, World, person

SKILL: Final = "cnc_turning"
# (starts, ends) of the year's classes, as (month, day).
TERMS: Final = (((2, 17), (3, 14)), ((5, 12), (6, 6)), ((8, 11), (9, 5)), ((11, 3), (11, 28)))
CREDIT_FEN_A_HOUSEHOLD: Final = 2_500_000


@dataclass(frozen=True)
class Term:
    """One class of the year, against its own order and menu."""

    class_id: str
    starts_on: date
    ends_on: date


async def found_world(client: Client, world: World) -> None:
    """Found every organisation, parents first, and seat all offices."""
    root = world.organisations[0]
    keeper = person(CITY, "network_keeper")
    await client.post(
        INSTALLER,
        "network",
        "/installation",
        {
            "organisation": root.organisation,
            "kind": root.kind,
            "name": root.name,
            "person": keeper,
            "role": "network_keeper",
        },
    )
    for role in root.offices:
        if role != "network_keeper":
            body = {"person": person(CITY, role), "role": role}
            await client.post(keeper, "network", f"/organisations/{CITY}/offices", body)
    waiting = list(world.organisations[1:])
    founded = {CITY}
    while waiting:
        level = [o for o in waiting if o.parent in founded]
        # One after the other within a level: the tree is one guard row, and this is done once.
        for each in level:
            await _found(client, keeper, each)
        founded |= {o.organisation for o in level}
        waiting = [o for o in waiting if o.organisation not in founded]


async def _found(client: Client, keeper: str, each: Organisation) -> None:
    await client.post(
        keeper,
        "network",
        "/organisations",
        {
            "organisation": each.organisation,
            "kind": each.kind,
            "name": each.name,
            "parent": each.parent,
            "offices": [
                {"person": person(each.organisation, role), "role": role} for role in each.offices
            ],
        },
    )


def proposals() -> list[dict[str, Any]]:
    """The shipped parameter file as the bodies that enter it, one a version."""
    document = json.loads(PARAMETERS.read_text())
    found = []
    for name in ("lines", "city_standard", "fund_rules"):
        for scope, versions in document[name].items():
            for version in versions:
                days = ("effective_from", "effective_to", "announced_on", "source")
                found.append(
                    {
                        "parameter": name,
                        "scope": scope,
                        **{day: version[day] for day in days if version.get(day) is not None},
                        "values": {k: v for k, v in version.items() if k not in days},
                    }
                )
    for school, fen in document["school_living_cost"].items():
        found.append({"parameter": "school_living_cost", "scope": school, "values": {"fen": fen}})
    return found


async def announce_parameters(client: Client) -> None:
    """One person proposes each version, another announces it; scopes side by side."""
    by_scope: dict[str, list[dict[str, Any]]] = {}
    for body in proposals():
        by_scope.setdefault(f"{body['parameter']}/{body['scope']}", []).append(body)
    await asyncio.gather(*(_announce(client, bodies) for bodies in by_scope.values()))


async def _announce(client: Client, bodies: list[dict[str, Any]]) -> None:
    kinds = {"lines": "place", "school_living_cost": "school"}
    for body in bodies:
        scope = f"{kinds.get(body['parameter'], 'fund')}:{body['scope']}"
        answer = await client.post(
            person(CITY, "parameter_keeper"), "eligibility", "/parameters/proposals", body
        )
        await client.post(
            person(CITY, "parameter_announcer"),
            "eligibility",
            f"/parameters/{scope}/announcements",
            {"proposal_id": answer["facts"][0]["ids"]["proposal_id"]},
        )


async def credit_fund(client: Client, households: int) -> None:
    """Budget and a provincial grant, ample for the year."""
    keeper = person(CITY, "fund_keeper")
    for source in ("budget", "provincial_grant"):
        body = {"source": source, "amount_fen": CREDIT_FEN_A_HOUSEHOLD * households}
        await client.post(keeper, "payout", f"/funds/{FUND}/credits", body)


async def open_classes(client: Client, year: int, places: int) -> list[Term]:
    """An order, a menu and a class for each term."""
    officer = person(CITY, "training_officer")
    terms = []
    for starts, ends in TERMS:
        order = await client.post(
            officer,
            "training",
            "/orders",
            {"employer": "样例机床厂", "post": "车工", "skill": SKILL, "heads": places},
        )
        menu = await client.post(
            officer,
            "training",
            "/menus",
            {
                "institution": "样例职工培训学校",
                "course": "数控车床初级",
                "skill": SKILL,
                "places": places,
                "price_fen": 180_000,
            },
        )
        starts_on, ends_on = date(year, *starts), date(year, *ends)
        opened = await client.post(
            officer,
            "training",
            "/classes",
            {
                "kind": "commissioned",
                "content": "skill",
                "order_id": order["facts"][0]["ids"]["order_id"],
                "menu_id": menu["facts"][0]["ids"]["menu_id"],
                "places": places,
                "starts_on": starts_on.isoformat(),
                "ends_on": ends_on.isoformat(),
            },
        )
        terms.append(Term(opened["facts"][0]["ids"]["class_id"], starts_on, ends_on))
    return terms
