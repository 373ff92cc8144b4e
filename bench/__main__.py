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
from bench.report import Result, UnsafeServer, line, plain_loop_ms, show, surroundings
from deploy.infrastructure import Infrastructure, InfrastructureError, start_infrastructure
from deploy.native.process import CHECKOUT
from sandbox.arguments import OneLineParser, program, real, whole
from shared.garbage import collect_seldom

DESCRIPTION: Final = (
    "在本机同一次运行中测量本系统及其上限；末行为 JSON。 Ours beside its limit, on this machine, "
    "in one run: a table, and one JSON object as the last line. Exit status 2 for a wrong option, "
    "or for servers whose figures would mean nothing."
)
BENCHES: Final = ("append", "read", "load", "rebuild", "tail", "journey")
FOLDER: Final = CHECKOUT / ".bangfu" / "bench"
WIDTH: Final = 110


def there() -> list[str]:
    return [name for name in BENCHES if importlib.util.find_spec(f"bench.{name}")]


def command_line() -> OneLineParser:
    """What may be said; nonsense ends with one line and status 2."""
    parser = OneLineParser(prog="./run bench", description=DESCRIPTION)
    say = parser.add_argument
    say("name", metavar="NAME", choices=[*there(), "all"], help="哪一项 which bench")
    say("--rounds", type=whole(1, 1_000), default=7, help="轮数 rounds of each arm")
    say("--facts", type=whole(1, 1_000_000), default=20_000, help="每轮事实数 facts a round")
    say("--writers", type=whole(1, 100), default=16, help="并行写入者 writers at once")
    say("--rate", type=real(1, 1_000), default=40.0, help="每秒案件 cases a second")
    say("--seconds", type=real(1, 200), default=60.0, help="测量秒数 measured seconds")
    say("--warm-up", type=real(0, 600), default=110.0, help="预热秒数 seconds before")
    say("--instances", type=whole(1, 4), default=1, help="实例数 processes a service")
    say("--history", type=whole(1, 16), default=1, help="历史倍数 times the history")
    return parser


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
        before_ms = plain_loop_ms()
        result = uvloop.run(_run(name, measure))
        loops_ms = [before_ms, plain_loop_ms()]
        show(result, console)
        console.print(
            "一个空转循环，前后各 a plain loop of Python took "
            f"{loops_ms[0]} / {loops_ms[1]} ms before and after",
            style="dim",
            highlight=False,
        )
        done[name] = {**result.document(), "machine": {**machine, "plain_loop_ms": loops_ms}}
        print(line(done[name]), flush=True)
    return done


@program
def main(arguments: Sequence[str] | None = None) -> None:
    parser = command_line()
    chosen = parser.parse_args(arguments)
    names = there() if chosen.name == "all" else [chosen.name]
    collect_seldom()  # as a service does, for ours and for the limit
    try:
        with start_infrastructure(FOLDER) as infrastructure:
            done = run_benches(names, infrastructure, chosen)
    except (InfrastructureError, UnsafeServer) as error:
        parser.fail(str(error))
    shutil.rmtree(FOLDER, ignore_errors=True)
    if chosen.name == "all":
        print(line({"bench": "all", "benches": done}), flush=True)


if __name__ == "__main__":
    main()
