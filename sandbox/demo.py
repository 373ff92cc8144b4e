"""``./run demo``: two hundred households live through a year, then every case is verified.

Exit status 0 only if no case is stuck, nothing is quarantined or waiting, lag is zero and the
verification finds no difference; 2 for a wrong option.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.live import Live
from rich.progress import Progress as Bar

from cli.replay import replayed
from cli.surroundings import Surroundings
from cli.timeline import lines
from cli.verify import summary, verify_installation
from deploy.infrastructure import (
    Infrastructure,
    InfrastructureError,
    SettingError,
    start_detached,
    start_infrastructure,
)
from sandbox.arguments import OneLineParser, file_to_write, program, whole
from sandbox.installation import CHECKOUT, Installation, StartError
from sandbox.look_on import own_databases, say_how_to_look_on
from sandbox.outcomes import Outcomes, read_outcomes
from sandbox.rest import RestlessError, lags, reasons
from sandbox.run import Plan, Run, fresh_folder, started
from sandbox.stuck import stuck_cases
from sandbox.tables import live, show_outcomes
from sandbox.year import Progress

DESCRIPTION: Final = (
    "让二百户走过一年，再核验每个案件。 Two hundred households live through a year, then every "
    "case is verified. Exit status 0 only if no case is stuck, nothing is held, lag is zero and "
    "the verification finds no difference; 2 for a wrong option."
)
SEEDS: Final = 2**63 - 1
FOLDER: Final = CHECKOUT / ".bangfu" / "demo"


def command_line() -> OneLineParser:
    """What may be said; nonsense ends with one line and status 2."""
    parser = OneLineParser(prog="./run demo", description=DESCRIPTION)
    say = parser.add_argument
    say("--households", type=whole(1, 100_000), default=200, help="户数 how many households")
    # The years of the sample rules.
    say("--year", type=whole(2016, 2026), default=2025, help="模拟年份 the simulated year")
    say("--seed", type=whole(-SEEDS, SEEDS), default=1, help="随机种子 the same seed, same year")
    say("--keep", action="store_true", help="结束后保持运行 leave all running")
    say("--report", type=file_to_write, help="结果写入文件 write the outcomes as JSON")
    return parser


class Screen:
    """Live progress on a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._began = time.monotonic()
        self._shown = (self._began, 0)

    @contextmanager
    def on(self) -> Iterator[None]:
        """While the year runs."""
        if not self._console.is_terminal:
            yield
            return
        with self._live:
            yield

    def show(self, progress: Progress) -> None:
        """What has become of the day."""
        now = time.monotonic()
        then, facts = self._shown
        rate = (progress.facts - facts) / max(0.001, now - then)
        if self._console.is_terminal:
            self._live.update(live(progress, now - self._began, rate))
            self._shown = (now, progress.facts)
        elif now - then > 5:
            behind = sum(lags(progress.statuses).values())
            self._console.print(
                f"{progress.day} {progress.facts} facts {rate:.0f}/s lag {behind} "
                f"stages {dict(progress.stages)}"
            )
            self._shown = (now, progress.facts)


async def run_demo(chosen: argparse.Namespace, infrastructure: Infrastructure, folder: Path) -> int:
    """One demo on given servers; the number of faults it found."""
    console = Console()
    screen = Screen(console)
    began = time.monotonic()
    plan = Plan(chosen.households, chosen.year, chosen.seed)
    installation = Installation(
        folder, infrastructure, prefix=f"{folder.name}.", detached=chosen.keep
    )
    async with started(
        plan,
        installation,
        show=screen.show,
        say=lambda text: console.print(f"· {text}"),
        keep=chosen.keep,
    ) as run:
        with screen.on():
            await run.live()
        lived = time.monotonic() - began
        outcomes = await read_outcomes(infrastructure.kafka_bootstrap, installation.prefix)
        show_outcomes(console, outcomes)
        faults = await _faults(run, console)
        await _show_interesting(run, outcomes, console)
        figures = {
            "seconds": round(time.monotonic() - began, 1),
            "seconds_to_year_end": round(lived, 1),
            "facts": outcomes.facts.total(),
            "commands": run.client.commands.total(),
            "refused": dict(sorted(run.story.refused.items())),
        }
        if chosen.report is not None:
            chosen.report.write_text(_report(run, outcomes, figures, faults))
        console.print(f"用时 took {figures['seconds']} s, {figures['facts']} 条事实 facts")
        for fault in faults:
            console.print(f"[red]异常 fault[/red] {fault}")
        console.print("结果 result: " + ("通过 passed" if not faults else f"{len(faults)} faults"))
        if chosen.keep:
            say_how_to_look_on(run, console)
    return len(faults)


async def _faults(run: Run, console: Console) -> list[str]:
    """Everything that must not be so at the year's end."""
    infrastructure = run.installation.infrastructure
    numbers = run.story.number_by_case
    faults = [
        f"卡住 stuck: household {numbers.get(case_id)} ({where})"
        for case_id, where in await stuck_cases(infrastructure.postgres_url)
    ]
    statuses = await run.year.rest.look()
    today = str(statuses["intake"]["today"])
    faults += [f"未静止 not at rest: {name} {why}" for name, why in reasons(statuses, today)]
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("核验每户 verifying every case from Kafka", total=len(numbers))
        report = await verify_installation(
            infrastructure.postgres_url,
            infrastructure.kafka_bootstrap,
            run.installation.prefix,
            on_case=lambda case: bar.update(task, completed=case.done, total=case.total),
        )
    for line in summary(report):
        console.print(line, highlight=False)
    return faults + [f"核验 verify: {difference}" for difference in report.differences]


async def _show_interesting(run: Run, outcomes: Outcomes, console: Console) -> None:
    """The timeline of the case with most to tell, masked, from Kafka alone."""
    case_id = outcomes.most_eventful()
    if case_id is None:
        return
    surroundings = Surroundings(
        mode="sandbox",
        kafka_bootstrap=run.installation.infrastructure.kafka_bootstrap,
        topic_prefix=run.installation.prefix,
        clock_file=run.installation.clock_file,
    )
    number = run.story.number_by_case[case_id]
    console.print(f"[bold]一户的经过 One case's timeline[/bold] (household {number})")
    for _, line in lines(await replayed(surroundings, case_id, with_data=False)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _report(run: Run, outcomes: Outcomes, figures: dict[str, Any], faults: list[str]) -> str:
    """The outcomes as JSON, by household number: what two runs of a seed have in common."""
    document = {
        "plan": asdict(run.plan),
        "outcomes": outcomes.by_number(run.story.number_by_case),
        "facts": dict(sorted(outcomes.facts.items())),
        "paid_fen": {"/".join(k): v for k, v in sorted(outcomes.paid_fen.items())},
        "figures": figures,
        "faults": faults,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


@program
def main() -> None:
    """Run the demo on its own servers."""
    parser = command_line()
    chosen = parser.parse_args()
    folder = fresh_folder(FOLDER)
    name = folder.name
    try:
        if chosen.keep:
            status = uvloop.run(
                run_demo(chosen, own_databases(start_detached(FOLDER / "servers"), name), folder)
            )
        else:
            with start_infrastructure(folder / "servers") as servers:
                status = uvloop.run(run_demo(chosen, own_databases(servers, name), folder))
    except SettingError as error:
        parser.fail(str(error))
    except (InfrastructureError, StartError, RestlessError) as error:
        parser.fail(str(error), status=1)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(1 if status else 0)


if __name__ == "__main__":
    main()
