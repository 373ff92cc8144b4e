"""``./run bench NAME``: ours beside its limit, on this machine, in one run.

A table for people and, as the last line, one JSON object. Exit status 2 for a wrong option or for
servers whose figures would mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from typing import Any, Final

import uvloop
from rich.console import Console

from bench.options import Options
from bench.report import Result, UnsafeServer, line, show, surroundings
from deploy.infrastructure import Infrastructure, InfrastructureError, start_infrastructure
from deploy.native.process import CHECKOUT
from sandbox.arguments import OneLineParser
from shared.garbage import collect_seldom

BENCHES: Final = ("append", "read", "load", "rebuild", "tail", "journey")
FOLDER: Final = CHECKOUT / ".bangfu" / "bench"
WIDTH: Final = 110


def there() -> list[str]:
    return [name for name in BENCHES if importlib.util.find_spec(f"bench.{name}")]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; nonsense ends with one line and status 2."""
    parser = OneLineParser(prog="./run bench", description=__doc__)
    parser.add_argument("name", choices=[*there(), "all"], help="哪一项 which bench")
    parser.add_argument("--rounds", type=int, default=7, help="轮数 rounds of each arm")
    parser.add_argument("--facts", type=int, default=20_000, help="每轮事实数 facts a round")
    parser.add_argument("--writers", type=int, default=16, help="并行写入者 writers at once")
    parser.add_argument("--rate", type=float, default=40.0, help="每秒案件 cases a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="测量秒数 measured seconds")
    parser.add_argument("--warm-up", type=float, default=110.0, help="预热秒数 seconds before")
    parser.add_argument("--instances", type=int, default=1, help="实例数 processes a service")
    parser.add_argument("--history", type=int, default=1, help="历史倍数 times the history")
    chosen = parser.parse_args(arguments)
    for name, most in (
        ("rounds", 1_000),
        ("facts", 1_000_000),
        ("writers", 100),
        ("rate", 1_000),
        ("seconds", 200),
        ("instances", 4),
        ("history", 16),
    ):
        if not 1 <= getattr(chosen, name) <= most:
            parser.error(f"--{name}: from 1 to {most}")
    return chosen


async def _run(name: str, chosen: Options) -> Result:
    result: Result = await importlib.import_module(f"bench.{name}").run(chosen)
    return result


def run_benches(
    names: Sequence[str], infrastructure: Infrastructure, chosen: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """One after the other, each with a loop of its own; shows each as it is done."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    machine = uvloop.run(surroundings(infrastructure.postgres_url))
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()), highlight=False)
    measure = Options(
        infrastructure,
        chosen.rounds,
        chosen.facts,
        chosen.writers,
        rate=chosen.rate,
        warm_up_seconds=chosen.warm_up,
        seconds=chosen.seconds,
        instances=chosen.instances,
        history=chosen.history,
    )
    done: dict[str, dict[str, Any]] = {}
    for name in names:
        result = uvloop.run(_run(name, measure))
        show(result, console)
        done[name] = {**result.document(), "machine": machine}
        print(line(done[name]), flush=True)
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    chosen = options(arguments)
    names = there() if chosen.name == "all" else [chosen.name]
    collect_seldom()  # as a service does, for ours and for the limit
    try:
        with start_infrastructure(FOLDER) as infrastructure:
            done = run_benches(names, infrastructure, chosen)
    except (InfrastructureError, UnsafeServer) as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    shutil.rmtree(FOLDER, ignore_errors=True)
    if chosen.name == "all":
        print(line({"bench": "all", "benches": done}), flush=True)


if __name__ == "__main__":
    main()
