"""Work lists: the JSON that goes out unread is what the models beside it promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import httpx

from shared.looks import WorkList
from shared.room import View
from tests.toy import alpha
from tests.toy.visitors import Visitor, alpha_with_offices, client_of
from tests.toy.world import World, new_case, tell

DUE = date(2025, 3, 14)
DETAILS = {"name": '帮扶 "\\ \n', "fen": 2**53 - 1, "members": [{"to": None}], "none": {}}


def views(state: alpha.Tally) -> Sequence[View]:
    """A task of its own for each tally; without a date where nothing was counted."""
    due_on = DUE if state.total else None
    where = {"organisation": "east", "role": "clerk", "status": "look_at", "due_on": due_on}
    return [View("work", f"look-{state.case_id}", DETAILS, **where)]  # type: ignore[arg-type]  # several kinds


async def test_a_work_list_is_what_its_model_promises_page_by_page(world: World) -> None:
    room = alpha.room(kinds={"tally": replace(alpha.TALLY, views=views)})
    parts = await alpha_with_offices(world, room)
    cases = sorted(new_case() for _ in range(3))
    for case in cases:
        await tell(parts, "tally", case, alpha.Open(organisation_id="east"))
    await tell(parts, "tally", cases[0], alpha.Count(amount=1))
    async with client_of(parts) as client:
        clerk = Visitor(client, "clerk")
        first = page(await clerk.get("/work?limit=2"))
        second = page(await clerk.get(f"/work?limit=2&after={first.next_after}"))
        neighbours = page(await Visitor(client, "neighbour").get("/work"))
        described = (await client.get("/openapi.json")).json()
    assert [item.subject for item in first.items + second.items] == cases
    assert (first.next_after, second.next_after) == (f"look-{cases[1]}", None)
    assert [item.due_on for item in first.items] == [DUE.isoformat(), None]
    assert first.items[0].model_dump() == {
        "task": "look_at",
        "subject": cases[0],
        "stream": f"tally-{cases[0]}",
        "organisation": "east",
        "role": "clerk",
        "due_on": DUE.isoformat(),
        "details": DETAILS,
    }
    assert neighbours.items == []
    answer = described["paths"]["/work"]["get"]["responses"]["200"]["content"]
    assert answer["application/json"]["schema"] == {"$ref": "#/components/schemas/WorkList"}


def page(answer: httpx.Response) -> WorkList:
    """The answer, if it is neither more nor less than a page of a work list."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    read = WorkList.model_validate_json(answer.content, strict=True)
    assert read.model_dump() == answer.json()
    return read
