"""What a bench answers, and how it is shown: a table for people, a last line for programs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Result:
    """One bench: figures by name, ratios of ours to the limit, and the rows of its table."""

    name: str
    title: str
    figures: Mapping[str, Any]
    ratios: Mapping[str, float]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=tuple)

    def document(self) -> dict[str, Any]:
        return {"bench": self.name, "figures": dict(self.figures), "ratios": dict(self.ratios)}


def line(document: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return orjson.dumps(document).decode()


def show(result: Result, console: Console) -> None:
    """The table and its notes."""
    table = Table(title=result.title, title_justify="left")
    for index, column in enumerate(result.columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    for row in result.rows:
        table.add_row(*row)
    console.print(table)
    for note in result.notes:
        console.print(note, style="dim", highlight=False)


SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
)


class UnsafeServer(Exception):
    """The server does not keep what it has acknowledged, so its figures would mean nothing."""


# Long enough to see a neighbour, short enough to be done before and after every bench.
LOOPS = 10
ADDITIONS = 1_000_000


def plain_loop_ms() -> float:
    """Processor time of a loop that does nothing but add, in the mean of ten.

    Figures of two runs can be compared only where this is the same: virtual processors of one
    machine were seen to differ by a half from one hour to the next.
    """
    began = time.process_time()
    for _ in range(LOOPS):
        total = 0
        for number in range(ADDITIONS):
            total += number
    return round((time.process_time() - began) / LOOPS * 1000, 1)


async def surroundings(postgres_url: str) -> dict[str, str]:
    """The machine and the settings on which figures depend. Raises UnsafeServer."""
    connection = await asyncpg.connect(postgres_url)
    try:
        found = {
            name: str(await connection.fetchval("SELECT current_setting($1)", name))
            for name in SETTINGS
        }
    finally:
        await connection.close()
    for name in ("fsync", "synchronous_commit"):
        if found[name] != "on":
            raise UnsafeServer(f"PostgreSQL: {name} = {found[name]}, 须为 must be on")
    return {
        "python": platform.python_version(),
        "asyncpg": asyncpg.__version__,
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        **found,
    }
