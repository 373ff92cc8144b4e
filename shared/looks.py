"""Looks: work lists and single documents of read models, under row-level security.

A work list is most of what an office reads: each of its offices reads one again and again. So it
goes out as the JSON that PostgreSQL has, parsed and written by nobody on the way; the models here
say what is in it, and a test holds the answer to them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from shared.door import LARGEST_PAGE, Caller, Door
from shared.room import UNKNOWN

JSON: Final = "application/json"


class WorkItem(BaseModel):
    """Something that somebody in an office has to do."""

    task: str
    subject: str
    stream: str
    organisation: str
    role: str
    due_on: str | None
    details: dict[str, Any]


class WorkList(BaseModel):
    """One page of what the caller's offices have to do."""

    items: list[WorkItem]
    # Pass as ``after`` for the next page; null on the last.
    next_after: str | None


async def work_list(door: Door, caller: Caller, after: str, limit: int) -> bytes:
    """What the caller's offices have to do, oldest key first: a WorkList as JSON."""
    roles = sorted({office.role for office in caller.offices})
    rows = await door.desk.store.work(caller.organisations, roles, after, limit + 1)
    items = [
        {
            "task": row["status"],
            "subject": row["subject"],
            "stream": row["stream"],
            "organisation": row["organisation"],
            "role": row["role"],
            "due_on": row["due_on"],
            "details": orjson.Fragment(row["document"]),
        }
        for row in rows[:limit]
    ]
    next_after = rows[limit - 1]["key"] if len(rows) > limit else None
    return orjson.dumps({"items": items, "next_after": next_after})


async def view(door: Door, caller: Caller, model: str, key: str) -> Mapping[str, Any]:
    """One document of a read model; unknown and unseen are the same problem."""
    document = await door.desk.store.document(caller.organisations, model, key)
    if document is None:
        raise await door.refused(caller, f"view {model}", UNKNOWN, key)
    return document


async def views(
    door: Door, caller: Caller, model: str, *, status: str = "", after: str = "", limit: int = 200
) -> list[dict[str, Any]]:
    """Documents of a read model that the caller may see, by key."""
    rows = await door.desk.store.query_views(
        caller.organisations,
        "model = $1 AND ($2 = '' OR status = $2) AND key > $3 ORDER BY key LIMIT $4",
        model,
        status,
        after,
        min(limit, LARGEST_PAGE),
    )
    return [{"key": row["key"], "status": row["status"], **row["document"]} for row in rows]


def work_routes(door: Door) -> APIRouter:
    """The work list, the same at every service."""
    router = APIRouter(tags=["待办 work"])

    @router.get("/work", summary="本岗位待办 What this office has to do", response_model=WorkList)
    async def work(
        caller: Annotated[Caller, Depends(door.reader)],
        after: Annotated[str, Query(max_length=300)] = "",
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 200,
    ) -> Response:
        return Response(await work_list(door, caller, after, limit), media_type=JSON)

    return router
