"""`bangfu rebuild SERVICE [MODEL]`: what is kept beside the log, derived anew while all goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import orjson
import typer
import uvloop

from cli.rooms import LONGEST_NAME, SERVICES, check_service, room
from cli.strict_json import printable
from cli.surroundings import Surroundings, aligned, refuse
from shared.garbage import collect_seldom
from shared.rebuild.parts import REFERENCE
from shared.rebuild.service import (
    NoSuchModel,
    OnProgress,
    Progress,
    RebuildBusy,
    Rebuilt,
)
from shared.rebuild.service import rebuild as rebuild_room
from shared.rebuild.shadow import MISSING, UNFOUNDED, WRONG
from shared.settings import load_settings

DIFFERENT: Final = 1
KINDS: Final = (MISSING, WRONG, UNFOUNDED)


def rebuild(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help=", ".join(SERVICES))],
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="读模型或表名；缺省为全部 a read model, or a table"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="只比较，不改动 compare only, change nothing")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="输出 JSON print JSON")] = False,
) -> None:
    """由事实重建读模型、约束行与案件范围 read models, guard rows and scopes from the facts."""
    check_service(service, SERVICES)
    if model == REFERENCE:
        refuse(
            "MODEL: reference 由所听事实而来，只由 verify 核对，见 docs/operating.md"
            " what was heard is compared by verify, not rebuilt: see docs/operating.md"
        )
    if model is not None and not model.strip():
        refuse("MODEL: 不得为空，全部重建则不写 must not be empty: leave it out for all of them")
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url")
    names = [model] if model is not None else []
    collect_seldom()
    try:
        with progress_bar() as on_progress:
            result = uvloop.run(
                rebuild_room(
                    room(service),
                    surroundings.postgres_url,
                    names,
                    on_progress=on_progress,
                    mend=not check,
                )
            )
    except NoSuchModel as error:
        refuse(
            "MODEL: 此名之下无所存、亦无可推得 nothing is kept or derived under this name:"
            f" {printable(', '.join(error.unknown), LONGEST_NAME)}"
            f"（可为 there are: {', '.join(error.there)}）"
        )
    except RebuildBusy as error:
        refuse(f"SERVICE: 暂时无法重建 cannot rebuild now: {error}")
    if json:
        typer.echo(orjson.dumps(document(result), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in lines(result, mended=not check):
            typer.echo(line)
    if not result.is_sound:
        raise typer.Exit(DIFFERENT)


def lines(result: Rebuilt, *, mended: bool) -> Iterator[str]:
    """What differed, some of it by name; the counts; the verdict."""
    for model in result.models:
        for each in model.keys:
            yield f"{result.service} {model.model}: {each.kind}: {each}"
        hidden = sum(model.differing.values()) - len(model.keys)
        if hidden > 0:
            yield f"{result.service} {model.model}: 另有 and {hidden:,} more"
    for stream, why in sorted(result.faults.items()):
        yield f"{result.service} {stream}: 无法还原 cannot be derived: {why}"
    rows: list[Sequence[str]] = [("model", "kept", "derived", *("missing", "wrong", "unfounded"))]
    for model in result.models:
        counts = (model.kept, model.derived, *(model.differing.get(kind, 0) for kind in KINDS))
        rows.append((model.model, *(f"{count:,}" for count in counts)))
    yield from aligned(rows)
    yield f"{verdict(result, mended=mended)} · {timing(result)}"


def verdict(result: Rebuilt, *, mended: bool) -> str:
    """In a few words: nothing differed, or how much did, and whether it is right now."""
    found = sum(sum(model.differing.values()) for model in result.models)
    left = sum(sum(m.differing.values()) for m in result.models if not m.mended)
    told = [f"{found:,} 处差异 differences" if found else "无差异 no difference"]
    if found > left:
        told.append(f"{found - left:,} 处已改正 put right")
    if mended and left:
        told.append(f"{left:,} 处不可改动，须人工处理 left as they are, see to them")
    if result.faults:
        told.append(f"{len(result.faults):,} 条流无法还原 streams cannot be derived")
    return ", ".join(told)


def timing(result: Rebuilt) -> str:
    """How long it took, and how long anybody had to wait for it."""
    blocked = result.blocked_seconds
    waited = f"{len(blocked)} × ≤ {max(blocked, default=0) * 1000:.0f} ms"
    return f"{result.facts:,} 条事实 facts, {result.seconds:.1f} s, 写入停顿 writers held: {waited}"


def document(result: Rebuilt) -> dict[str, Any]:
    """The same for programs."""
    return {
        "service": result.service,
        "sound": result.is_sound,
        "facts": result.facts,
        "seconds": round(result.seconds, 3),
        "streams_derived_again": result.streams_again,
        "writers_blocked_seconds": [round(each, 4) for each in result.blocked_seconds],
        "models": {
            model.model: {
                "kept": model.kept,
                "derived": model.derived,
                "differing": model.differing,
                "mended": model.mended,
                "keys": [f"{each.kind}: {each}" for each in model.keys],
            }
            for model in result.models
        },
        "faults": result.faults,
    }


@contextmanager
def progress_bar() -> Iterator[OnProgress | None]:
    """A bar on the terminal, on standard error; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("事实 facts", total=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.facts, total=progress.total)

        yield show
