"""What the commands on held records share: where to look, how long something has been held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import orjson
import typer

from cli.rooms import SERVICES, check_service
from cli.strict_json import printable
from cli.surroundings import Surroundings, refuse
from shared.clock import BUSINESS_ZONE
from shared.quarantine import NotPossibleError
from shared.scrubbing import scrub_text
from shared.sealed import replace_tokens
from shared.settings import load_settings

MOST: Final = 50

# What both commands that look at held records take.
OneService = Annotated[
    str | None, typer.Argument(metavar="[SERVICE]", help="只看一个服务 one service only")
]
Limit = Annotated[
    int, typer.Option(min=1, max=10_000, metavar="N", help="至多几行 at most so many lines")
]
Json = Annotated[bool, typer.Option("--json", help="输出 JSON print JSON")]
LONGEST_CELL: Final = 60
STATEMENT_SECONDS: Final = 30.0

Answer = TypeVar("Answer")


def chosen(service: str | None) -> Sequence[str]:
    """The service that was named, or all of them; ends with one line if there is none such."""
    if service is None:
        return SERVICES
    check_service(service, SERVICES)
    return (service,)


def asked(question: Callable[[asyncpg.Connection], Awaitable[Answer]]) -> Answer:
    """Ask the stores, as the operator; one line and status 2 if they can't be reached."""
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url")
    try:
        return asyncio.run(_asked(surroundings.postgres_url, question))
    except NotPossibleError as impossible:
        refuse(str(impossible))


async def _asked(
    postgres_url: str, question: Callable[[asyncpg.Connection], Awaitable[Answer]]
) -> Answer:
    connection = await asyncpg.connect(
        postgres_url,
        timeout=10,
        command_timeout=STATEMENT_SECONDS,
        server_settings={"application_name": "bangfu-operator", "lock_timeout": "10s"},
    )
    try:
        return await question(connection)
    finally:
        await connection.close()


def cell(text: str, longest: int = LONGEST_CELL) -> str:
    """A word of a record, fit for a terminal: nothing that looks personal, no control characters.

    A record that nobody of ours wrote may hold anything.
    """
    return printable(clean(text), longest) if text else "-"


def clean(text: str) -> str:
    """A record's own words, sealed values as they are, and out of the rest what looks personal."""
    kept: list[str] = []

    def keep(token: str) -> str:
        kept.append(token)
        return "\ue000"

    parts = scrub_text(replace_tokens(text.replace("\ue000", "?"), keep)).split("\ue000")
    return "".join(part + token for part, token in zip(parts, [*kept, ""], strict=True))


def when(moment: datetime) -> str:
    """Real time, as the clock on the wall says it where the service stands."""
    return moment.astimezone(BUSINESS_ZONE).strftime("%Y-%m-%d %H:%M:%S")


def lasting(seconds: float) -> str:
    """How long, in the largest unit that says it."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(max(seconds, 0))} s"


def told_as_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def plain(row: Any) -> dict[str, Any]:
    """A row as JSON tells it; a record's own words without what looks personal."""
    return {
        name: clean(value) if isinstance(value, str) else value
        for name, value in asdict(row).items()
    }


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A plain table, every column to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(each.ljust(width) for each, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
