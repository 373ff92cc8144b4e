"""`bangfu quarantine`: held records that a person has to decide on: look, release, discard.

The consumer of the service carries out what is decided; these commands leave the word and tell
what came of it.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
from collections.abc import Sequence
from time import monotonic
from typing import Annotated, Any, Final

import asyncpg
import typer

from cli.command_line import Command, group
from cli.held_records import (
    MOST,
    Json,
    Limit,
    OneService,
    asked,
    cell,
    chosen,
    clean,
    columns,
    lasting,
    plain,
    told_as_json,
    when,
)
from cli.surroundings import refuse
from shared import quarantine
from shared.arrival import QUARANTINED
from shared.quarantine import Held, NotPossibleError, Shown, check_words

WAIT_SECONDS: Final = 8.0
LOOK_SECONDS: Final = 0.2
LONGEST_VALUE: Final = 4_000
DIFFERENT: Final = 1

LARGEST_ID: Final = 2**63 - 1

app = group(
    "隔离的记录：查看、放行、弃置 records that a person decides on: look, release, discard."
)

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="暂存它的服务 the service")]
HeldId = Annotated[
    int,
    typer.Argument(min=1, max=LARGEST_ID, metavar="ID", help="list 所列编号 its id in `list`"),
]
Wait = Annotated[
    float,
    typer.Option(min=0, max=600, metavar="SECONDS", help="等多久看结果 how long to wait for it"),
]


@app.command("list", cls=Command)
def list_(
    service: OneService = None,
    limit: Limit = MOST,
    json: Json = False,
) -> None:
    """列出隔离的记录，最早者在前 what is quarantined, the oldest first."""
    services = chosen(service)
    found = asked(lambda connection: _look(connection, services, limit + 1))
    shown = found[:limit]
    if json:
        more = len(found) > limit
        told_as_json({"quarantined": [plain(held) for held in shown], "more": more})
        return
    if not shown:
        typer.echo("没有隔离的记录 nothing is quarantined")
        return
    for line in columns([_HEAD, *(_line(held) for held in shown)]):
        typer.echo(line)
    if len(found) > limit:
        typer.echo(f"… 仅列最早 {limit} 条 the oldest {limit} only: --limit")


@app.command(cls=Command)
def show(service: Service, held_id: HeldId, json: Json = False) -> None:
    """一条暂存记录的头、密封内容与其后所候 its headers, its sealed data, and what waits behind."""
    [name] = chosen(service)
    shown = asked(lambda connection: quarantine.show(connection, name, held_id))
    if json:
        told_as_json(_document(shown))
        return
    for line in _lines(shown):
        typer.echo(line)


@app.command(cls=Command)
def release(
    service: Service,
    held_ids: Annotated[
        list[int] | None,
        typer.Argument(
            min=1, max=LARGEST_ID, metavar="[ID]...", help="list 所列编号 ids in `list`"
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="该服务全部未能生效者 all whose effect failed there")
    ] = False,
    wait: Wait = WAIT_SECONDS,
) -> None:
    """放行：再试一次，其后依次而行 try it once more, and then what waits behind it, in order."""
    [name] = chosen(service)
    if bool(held_ids) == all_:
        refuse("ID, --all: 须择一 name ids or --all, one of them")
    went = asked(
        lambda connection: _release(connection, name, list(dict.fromkeys(held_ids or [])), wait)
    )
    if not went:
        raise typer.Exit(DIFFERENT)


@app.command(cls=Command)
def discard(  # noqa: PLR0917 - a command's arguments are its options, given by name
    service: Service,
    held_id: HeldId,
    reason: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="理由，入日志，不得含个人信息 why; it stays in the log: nothing personal",
        ),
    ],
    operator: Annotated[
        str | None,
        typer.Option(
            envvar="BANGFU_OPERATOR",
            metavar="NAME",
            help="何人决定，缺省为系统账户 who decides; the account's name if left out",
        ),
    ] = None,
    skip_version: Annotated[
        bool,
        typer.Option(
            "--skip-version",
            help="不可读者：越过它所称的版本，真事实再来亦不生效 if unreadable: pass the version "
            "that it claims; the true fact of that version would have no effect either",
        ),
    ] = False,
    wait: Wait = WAIT_SECONDS,
) -> None:
    """弃置：永不生效，其后依次而行，并记为事实 put it aside for good; stated as a fact."""
    [name] = chosen(service)
    who = operator if operator is not None else _account()
    # Before any store is asked; whoever states them judges them once more.
    try:
        check_words(reason, who)
    except NotPossibleError as impossible:
        refuse(str(impossible))
    told = asked(
        lambda connection: _discard(
            connection,
            name,
            held_id,
            reason=reason,
            operator=who,
            skip_version=skip_version,
            wait=wait,
        )
    )
    if not told:
        raise typer.Exit(DIFFERENT)


def _account() -> str:
    """Whose account this is; in a container it may be nobody's."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        refuse("--operator: 请指明由何人决定 name who decides, this account has no name")


async def _look(connection: asyncpg.Connection, services: Sequence[str], most: int) -> list[Held]:
    found: list[Held] = []
    for service in services:
        found += await quarantine.quarantined(connection, service, most)
    found.sort(key=lambda held: (held.since, held.service, held.held_id))
    return found[:most]


async def _release(
    connection: asyncpg.Connection, service: str, held_ids: Sequence[int], wait: float
) -> bool:
    """Mark them, then tell what came of each; True if all took effect."""
    if not held_ids:
        held_ids = await quarantine.failed(connection, service)
        if not held_ids:
            typer.echo("没有可放行的记录 nothing to release")
            return True
    await quarantine.release(connection, service, held_ids)
    deadline, left, again = monotonic() + wait, list(held_ids), 0
    while left:
        for held_id in list(left):
            row = await quarantine.outcome(connection, service, held_id)
            if row is not None and row["released"]:
                continue
            left.remove(held_id)
            if row is None:
                typer.echo(f"{service} {held_id}: 已生效 it has taken effect")
            else:
                again += row["reason"] in QUARANTINED
                why = f"{row['reason']} {cell(row['waits_for'])}"
                typer.echo(f"{service} {held_id}: 仍暂存 it is held again: {why}")
        if monotonic() >= deadline:
            break
        if left:
            await asyncio.sleep(LOOK_SECONDS)
    if left:
        await _not_yet(connection, service, f"{len(left)} 条 records")
    return not left and not again


async def _discard(
    connection: asyncpg.Connection,
    service: str,
    held_id: int,
    *,
    reason: str,
    operator: str,
    skip_version: bool,
    wait: float,
) -> bool:
    """Ask for it, then tell where it was stated; True if it was."""
    shown = await quarantine.show(connection, service, held_id)
    fact_id = await quarantine.ask_discard(
        connection, service, held_id, reason=reason, operator=operator, skip_version=skip_version
    )
    deadline = monotonic() + wait
    while await quarantine.outcome(connection, service, held_id) is not None:
        if monotonic() >= deadline:
            await _not_yet(connection, service, f"{service} {held_id}")
            return False
        await asyncio.sleep(LOOK_SECONDS)
    place = await quarantine.stated(connection, service, shown.held.key, fact_id)
    if place is None:
        raise NotPossibleError(
            f"ID: {service} {held_id} 先前已生效，未弃置 it had taken effect before: not discarded"
        )
    typer.echo(f"{service} {held_id}: 已弃置 discarded, stated in {place[0]} {place[1]}")
    return True


async def _not_yet(connection: asyncpg.Connection, service: str, what: str) -> None:
    if await quarantine.is_running(connection, service):
        typer.echo(
            f"{what}: 已记下，服务尚未办理 noted; {service} runs and has not come to it yet: look "
            "at its log and at `bangfu quarantine show`"
        )
    else:
        typer.echo(
            f"{what}: 已记下，服务未运行，启动后办理 noted; {service} is not running, it will be "
            "done when it starts"
        )


_HEAD: Final = (
    "service", "id", "since", "for", "reason", "why", "case or stream", "type", "version", "behind",
    "",
)  # fmt: skip


def _line(held: Held) -> Sequence[str]:
    return (
        held.service,
        str(held.held_id),
        when(held.since),
        lasting(held.seconds),
        held.reason,
        cell(held.waits_for, 40),
        cell(held.key, 40),
        cell(held.type.rpartition(".")[2], 40),
        str(held.version) if held.version else "-",
        f"{held.behind:,}",
        held.decided,
    )


def _lines(shown: Shown) -> list[str]:
    held, arrival = shown.held, shown.arrival
    lines = [
        f"{held.service} {held.held_id}: {held.reason} {cell(held.waits_for, 200)}",
        f"  自 since {when(held.since)}, {lasting(held.seconds)}",
        f"  在 at {cell(held.topic)} / {held.partition} / {held.offset}",
        f"  键 key {cell(held.key, 200)}",
    ]
    if held.decided:
        why = f": {cell(arrival.discard.reason, 500)}" if arrival.discard else ""
        lines.append(f"  已决定 decided: {held.decided}{why}")
    lines.append("头 headers, as they came:")
    lines += [f"  {cell(name)}: {_header(text)}" for name, text in arrival.headers[:100]]
    lines.append("内容 data (sealed values stay sealed):")
    lines.append(f"  {_value(arrival.value)}")
    lines.append(f"其后 behind it: {held.behind:,}")
    lines += [
        f"  {b.held_id}  {b.reason}  {cell(b.stream)} {b.version}  {cell(b.type)}"
        for b in shown.behind
    ]
    if held.behind > len(shown.behind):
        lines.append(f"  … {held.behind - len(shown.behind):,} 条 more")
    return lines


def _header(text: bytes | None) -> str:
    if text is None:
        return "(none)"
    told = _text(text)
    return (
        cell(told, 500) if told is not None else f"base64 {base64.b64encode(text[:200]).decode()}"
    )


def _value(value: bytes | None) -> str:
    if value is None:
        return "(none)"
    told = _text(value)
    if told is None:
        return f"{len(value):,} bytes, base64 {base64.b64encode(value[:300]).decode()}"
    return cell(told, LONGEST_VALUE)


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _document(shown: Shown) -> dict[str, Any]:
    arrival = shown.arrival
    return {
        **plain(shown.held),
        "headers": [[clean(name), _told(text)] for name, text in arrival.headers],
        "data": _told(arrival.value),
        "behind": [plain(held) for held in shown.behind],
        "records_behind": shown.held.behind,
    }


def _told(raw: bytes | None) -> Any:
    """Text as text, anything else in base64."""
    if raw is None:
        return None
    told = _text(raw)
    return clean(told) if told is not None else {"base64": base64.b64encode(raw).decode()}
