"""What processes cost: processor time and resident memory, from /proc, by the name of the part."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# After the name in /proc/…/stat: parent, user and system time (own, then of ended children), pages.
PARENT, TIMES, RESIDENT = 1, (11, 12, 13, 14), 21


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor seconds since the start, and resident bytes of its own now."""

    processor_seconds: float
    resident_bytes: int


def costs(pids_by_part: Mapping[str, int]) -> dict[str, Cost]:
    """The cost of each part, of PostgreSQL with its backends; zero for one that is gone."""
    children = _children()
    found = {}
    for part, pid in pids_by_part.items():
        family = [pid, *(children.get(pid, ()) if part == "postgres" else ())]
        each = [cost for cost in map(_cost, family) if cost is not None]
        found[part] = Cost(
            sum(c.processor_seconds for c in each), sum(c.resident_bytes for c in each)
        )
    return found


def difference(before: Mapping[str, Cost], after: Mapping[str, Cost]) -> dict[str, float]:
    """Processor seconds between two looks, by part."""
    return {n: after[n].processor_seconds - c.processor_seconds for n, c in before.items()}


def servers(ancestor: int) -> dict[str, int]:
    """The pids of PostgreSQL and Kafka among the descendants of a process."""
    children = _children()
    waiting, found = [ancestor], {}
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            name = _name(pid)
            if name == "java":
                found["kafka"] = pid
            elif name == "postgres":
                found["postgres"] = pid
            else:
                waiting.append(pid)
    return found


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                found.setdefault(int(fields[PARENT]), []).append(int(entry.name))
    return found


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _cost(pid: int) -> Cost | None:
    fields = _stat(pid)
    if fields is None:
        return None
    ticks = sum(int(fields[index]) for index in TIMES)
    # What is shared, such as PostgreSQL's buffers, every process would count as its own.
    pages = max(0, int(fields[RESIDENT]) - _shared_pages(pid))
    return Cost(ticks / TICKS_A_SECOND, pages * PAGE_BYTES)


def _shared_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[2])
    except OSError:
        return 0
