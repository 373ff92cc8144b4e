"""`bangfu waiting`: what waits for which cause, in which service, since when; the oldest first."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import typer

from cli.held_records import (
    MOST,
    Json,
    Limit,
    OneService,
    asked,
    cell,
    chosen,
    columns,
    lasting,
    plain,
    told_as_json,
    when,
)
from shared import quarantine
from shared.arrival import QUARANTINED
from shared.quarantine import Waiting


def waiting(
    service: OneService = None,
    limit: Limit = MOST,
    json: Json = False,
) -> None:
    """等待前因的事实，最早者在前 what waits for a cause, a version or a build, oldest first."""
    services = chosen(service)
    found, held = asked(lambda connection: _look(connection, services, limit + 1))
    shown = found[:limit]
    if json:
        more = len(found) > limit
        told_as_json({"waiting": [plain(row) for row in shown], "more": more, "held": held})
        return
    if shown:
        head = ("since", "for", "service", "reason", "waits for", "records", "cases", "first id")
        rows = [
            (
                when(row.since),
                lasting(row.seconds),
                row.service,
                row.reason,
                cell(row.waits_for),
                f"{row.records:,}",
                f"{row.cases:,}",
                str(row.first_id),
            )
            for row in shown
        ]
        for line in columns([head, *rows]):
            typer.echo(line)
    if len(found) > limit:
        typer.echo(f"… 仅列最早 {limit} 行 the oldest {limit} lines only: --limit")
    quarantined = sum(
        each for by in held.values() for name, each in by.items() if name in QUARANTINED
    )
    waits = sum(each for by in held.values() for each in by.values()) - quarantined
    typer.echo(
        f"等待 {waits:,} 条 waiting, 隔离 {quarantined:,} 条 quarantined"
        + (" (bangfu quarantine list)" if quarantined else "")
    )


async def _look(
    connection: asyncpg.Connection, services: Sequence[str], most: int
) -> tuple[list[Waiting], dict[str, dict[str, int]]]:
    found: list[Waiting] = []
    held: dict[str, dict[str, int]] = {}
    for service in services:
        found += await quarantine.waiting(connection, service, most)
        held[service] = await quarantine.count(connection, service)
    found.sort(key=lambda row: (row.since, row.service))
    return found[:most], held
