"""`bangfu verify`: is everything that is kept what the facts say, and is Kafka the same log?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import orjson
import typer

from cli.rooms import rooms
from cli.surroundings import SANDBOX_BANK, Surroundings, aligned
from shared.settings import load_settings
from shared.verification.check import PATIENCE_SECONDS, verify_rooms
from shared.verification.report import OnCase, Report

DIFFERENT: Final = 1


async def verify_installation(
    postgres_url: str,
    bootstrap: str,
    prefix: str = "",
    *,
    subscriber: str = SANDBOX_BANK,
    on_case: OnCase | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Report:
    """Verify all services of an installation once; ``on_case`` is told of each case as it is done.

    ``postgres_url`` is an operator's, who sees every schema. Nothing is written anywhere.
    """
    from cli.ledger import SERVICE, Ledger

    return await verify_rooms(
        rooms(),
        postgres_url,
        bootstrap,
        prefix,
        further={SERVICE: Ledger(subscriber)},
        on_case=on_case,
        patience_seconds=patience_seconds,
    )


def verify(
    json: Annotated[bool, typer.Option("--json", help="输出 JSON print JSON")] = False,
) -> None:
    """逐流核对：卡夫卡、各服务的日志与其读模型、台账 every stream, Kafka against the stores."""
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url", "kafka_bootstrap")
    report = asyncio.run(
        verify_installation(
            surroundings.postgres_url,
            surroundings.kafka_bootstrap,
            surroundings.topic_prefix,
            subscriber=surroundings.bank_subscriber,
        )
    )
    if json:
        typer.echo(orjson.dumps(report.document(), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in [*map(str, report.differences), *summary(report)]:
            typer.echo(line)
    if not report.is_sound:
        raise typer.Exit(DIFFERENT)


def summary(report: Report) -> Sequence[str]:
    """The counts, one service a line, and the verdict."""
    by_service = report.differences_by_service()
    log, kept = ("streams", "facts", "repeats", "newer"), ("views", "guards", "scopes")
    rows: list[Sequence[str]] = [("service", *log, *kept, "differences")]
    for name, tally in report.tallies.items():
        counts = [getattr(tally, each) for each in (*log, *kept)]
        rows.append((name, *(f"{count:,}" for count in (*counts, by_service[name]))))
    found = len(report.differences)
    verdict = "无差异 no difference" if report.is_sound else f"{found} 处差异 differences"
    timing = f"{report.cases:,} 案 cases, {report.seconds:.1f} s"
    return [*aligned(rows), f"{verdict} · {timing}"]
