"""`bangfu status`: one screen for whoever is on duty: what is behind, why, and what to do.

It asks the processes, PostgreSQL and Kafka, each for itself, so that it works when any of them is
down. It writes nothing. Its rules are those of the alerts (`cli/watching/rules.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import orjson
import typer
from rich.cells import cell_len

from cli.rooms import PAYOUT, SERVICES
from cli.surroundings import Surroundings, refuse
from cli.watching.look import Finding, Look, look_twice
from cli.watching.processes import read_urls
from cli.watching.stores import Server
from services.payout.bank_waits import WITH_THE_BANK
from shared.settings import load_settings

NEEDS_A_PERSON: Final = 1
COLUMNS: Final = (
    ("服务", "service"),
    ("进程", "up"),
    ("就绪", "ready"),
    ("未发布", "unpublished"),
    ("未收听", "unheard"),
    ("暂存", "held"),
    ("隔离", "quarantined"),
    ("定时卡住", "timers stuck"),
    ("待发", "outgoing"),
    ("内存", "MiB"),
)
IN_THE_DOCUMENT: Final = (
    "relay_lag_facts",
    "relay_behind_seconds",
    "consumer_lag_records",
    "held_records",
    "held_oldest_seconds",
    "timers_stuck",
    "outgoing_waiting",
    "payouts_with_bank",
    "payouts_with_bank_oldest_days",
)
MINUTE, HOUR, DAY = 60, 3600, 86400


def status(
    json: Annotated[bool, typer.Option("--json", help="输出 JSON print JSON")] = False,
) -> None:
    """值班一览：何处落后、为何、如何处理 what is behind, why, and what to do."""
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url", "kafka_bootstrap")
    try:
        read_urls(surroundings.service_urls)
    except ValueError as error:
        refuse(f"BANGFU_SERVICE_URLS: {error}")
    seen, findings = asyncio.run(look_twice(surroundings))
    if json:
        typer.echo(orjson.dumps(document(seen, findings), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in screen(seen, findings):
            typer.echo(line)
    if findings or seen.not_asked:
        raise typer.Exit(NEEDS_A_PERSON)


def document(seen: Look, findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything as one JSON object."""
    servers = {
        each.name: {"reachable": not each.failure, "failure": each.failure}
        for each in (seen.database, seen.kafka)
    }
    return {
        "at": seen.at.isoformat(timespec="seconds"),
        "well": not findings and not seen.not_asked,
        "not_asked": {
            "services": seen.not_asked,
            "why": "BANGFU_SERVICE_URLS: no address set" if seen.not_asked else "",
        },
        **servers,
        "services": {service: _service_document(seen, service) for service in SERVICES},
        "findings": [finding.document() for finding in findings],
    }


def _service_document(seen: Look, service: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "processes": [
            {"url": p.url, "answers": not p.failure, "failure": p.failure}
            for p in seen.processes
            if p.service == service
        ],
        "prepared": None if seen.database.failure else service not in seen.missing,
    }
    unknown = _unknown(seen, service)
    for name in IN_THE_DOCUMENT:
        values[name] = [
            {**{n: v for n, v in s.labels.items() if n not in ("service", "job")}, "value": s.value}
            for s in seen.of(f"bangfu_{name}", service=service)
            if s.value
        ]
        if name in unknown and not values[name]:
            values[name] = None
    return values


def _unknown(seen: Look, service: str) -> set[str]:
    """Of what stands in the document, what nobody could be asked about: `null`, no empty list."""

    def told(metric: str) -> bool:
        return any(True for _ in seen.of(metric, service=service))

    unknown: set[str] = set()
    if not told("bangfu_relay_lag_facts"):
        unknown |= {"relay_lag_facts", "relay_behind_seconds"}
    if not told("bangfu_consumer_lag_records") and _none(seen) == "?":
        unknown |= {"consumer_lag_records"}
    if not _knows(seen, service):
        unknown |= {"held_records", "held_oldest_seconds"}
    if not told("bangfu_timers_stuck"):
        unknown |= {"timers_stuck"}
    if not _knows_outgoing(seen, service):
        unknown |= {"outgoing_waiting"}
    if service == PAYOUT and seen.database.failure and not told("bangfu_payouts_with_bank"):
        unknown |= {"payouts_with_bank", "payouts_with_bank_oldest_days"}
    return unknown


# The screen


def screen(seen: Look, findings: Sequence[Finding]) -> Iterator[str]:
    """Servers, a table of services, the oldest waits, and what needs a person."""
    yield f"帮扶状态 Bangfu status · {seen.at:%Y-%m-%d %H:%M:%S} · {seen.seconds:.1f} s"
    yield f"{_server('数据库 database', seen.database)} · {_server('卡夫卡 Kafka', seen.kafka)}"
    if seen.missing:
        yield f"未建库 schemas missing: {', '.join(seen.missing)} · ./run bangfu prepare"
    yield ""
    yield from table([*zip(*COLUMNS, strict=True), *(_row(seen, service) for service in SERVICES)])
    waits = list(_waits(seen))
    if waits:
        yield ""
        yield "等候 waiting:"
        yield from (f"  {line}" for line in waits)
    yield ""
    if seen.not_asked:
        yield f"未询问 not asked: {', '.join(seen.not_asked)}"
        yield "   原因 why: BANGFU_SERVICE_URLS 未设其地址 has no address of theirs"
        yield "   处理 do: export BANGFU_SERVICE_URLS=network=http://HOST:PORT,intake=…"
        yield "   详见 see: docs/operating.md#not-asked"
        yield ""
    if not findings:
        if not seen.not_asked:
            yield "一切正常 all is well"
        return
    yield f"需要处理 needs a person: {len(findings)}"
    for number, finding in enumerate(findings, 1):
        yield from _told(number, finding)


def _server(name: str, server: Server) -> str:
    if server.failure:
        return f"{name}: 无应答 does not answer ({server.failure})"
    return f"{name}: 正常 answers ({server.milliseconds:.0f} ms)"


def _row(seen: Look, service: str) -> Sequence[str]:
    processes = [p for p in seen.processes if p.service == service]
    up = sum(1 for p in processes if not p.failure)
    ready = [s.value for s in seen.of("bangfu_ready", service=service)]
    held = [(s.labels["reason"], s.value) for s in seen.of("bangfu_held_records", service=service)]
    by_reason: dict[str, float] = {}
    for reason, value in held:
        by_reason[reason] = max(value, by_reason.get(reason, 0))
    quarantined = sum(v for reason, v in by_reason.items() if reason.startswith("quarantined"))
    memory = seen.highest("process_resident_memory_bytes", service=service)
    return (
        service,
        f"{up}/{len(processes)}" if processes else "?",
        f"{int(sum(ready))}/{len(ready)}" if ready else "?",
        _sum(seen, "bangfu_relay_lag_facts", service, "outbox"),
        _sum(seen, "bangfu_consumer_lag_records", service, "topic", none=_none(seen)),
        f"{sum(by_reason.values()) - quarantined:.0f}" if _knows(seen, service) else "?",
        f"{quarantined:.0f}" if _knows(seen, service) else "?",
        _sum(seen, "bangfu_timers_stuck", service),
        _sum(
            seen,
            "bangfu_outgoing_waiting",
            service,
            "what",
            none="-" if _knows_outgoing(seen, service) else "?",
        ),
        f"{memory / 2**20:.0f}" if memory is not None else "?",
    )


def _none(seen: Look) -> str:
    """A service without offsets hears nothing, if offsets and ends could be read."""
    return "?" if seen.database.failure or seen.kafka.failure else "-"


def _knows(seen: Look, service: str) -> bool:
    return any(True for _ in seen.of("bangfu_held_released_records", service=service))


def _knows_outgoing(seen: Look, service: str) -> bool:
    """A process that reaches its database tells all that it has still to send, or has none."""
    return any(
        sample.labels.get("server") == "database" and sample.value
        for sample in seen.of("bangfu_server_reachable", service=service)
    )


def _sum(seen: Look, metric: str, service: str, by: str = "", none: str = "?") -> str:
    """The sum over a label of what is highest among those who tell it."""
    highest: dict[str, float] = {}
    for sample in seen.of(metric, service=service):
        name = sample.labels.get(by, "")
        highest[name] = max(sample.value, highest.get(name, 0.0))
    return f"{sum(highest.values()):.0f}" if highest else none


def _waits(seen: Look) -> Iterator[str]:
    """What waits, the longest first: facts and records held; topics unheard; the bank's word."""
    ages: dict[tuple[str, str], float] = {}
    for sample in seen.of("bangfu_held_oldest_seconds"):
        if sample.value >= 1:
            name = (sample.labels["service"], sample.labels["reason"])
            ages[name] = max(sample.value, ages.get(name, 0.0))
    for sample in seen.of("bangfu_relay_behind_seconds"):
        if sample.value >= 1:
            name = (sample.labels["service"], f"未发布 unpublished {sample.labels['outbox']}")
            ages[name] = max(sample.value, ages.get(name, 0.0))
    for (service, what), seconds in sorted(ages.items(), key=lambda item: -item[1]):
        yield f"{service}: {what} {_age(seconds)}"
    behind: dict[tuple[str, str], float] = {}
    for sample in seen.of("bangfu_consumer_lag_records"):
        name = (sample.labels["service"], sample.labels["topic"])
        behind[name] = max(sample.value, behind.get(name, 0.0))
    for (service, topic), records in behind.items():
        if records:
            yield f"{service}: 未收听 unheard {topic} {records:.0f}"
    for state in WITH_THE_BANK:
        payouts = seen.highest("bangfu_payouts_with_bank", state=state)
        days = seen.highest("bangfu_payouts_with_bank_oldest_days", state=state)
        if payouts:
            yield f"payout: 银行处 with the bank, {state}: {payouts:.0f} ({days or 0:.0f} 天 days)"


def _told(number: int, finding: Finding) -> Iterator[str]:
    what, rule = finding.what, finding.rule
    grade = "紧急 page" if rule.severity == "page" else "待办 ticket"
    since = f" · 已 for {_age(finding.seconds)}" if finding.seconds else ""
    yield f"{number}. [{grade}] {what.zh} {what.en} ({rule.alert} {finding.value:.6g}){since}"
    for detail in finding.details:
        yield f"   {detail}"
    if finding.follows_from:
        first = ", ".join(finding.follows_from)
        yield f"   可能源于 probably follows from: {first}"
        return
    yield f"   原因 why: {rule.why.zh} / {rule.why.en}"
    for command in finding.commands:
        yield f"   处理 do: {command}"
    yield f"   详见 see: docs/operating.md#{rule.anchor}"


def _age(seconds: float) -> str:
    if seconds >= 2 * DAY:
        return f"{seconds / DAY:.0f} 天 d"
    if seconds >= 2 * HOUR:
        return f"{seconds / HOUR:.0f} 小时 h"
    if seconds >= 2 * MINUTE:
        return f"{seconds / MINUTE:.0f} 分 min"
    return f"{seconds:.0f} 秒 s"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A plain table whose first column stands to the left; Chinese takes two places a letter."""
    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - cell_len(cell))
            cells.append(cell + blank if i == 0 else blank + cell)
        yield "  ".join(cells).rstrip()
