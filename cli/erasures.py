"""`bangfu erasures export|replay|clear FILE`: the register by which erased persons stay erased."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import asyncpg
import typer

from cli.rooms import SERVICES
from cli.surroundings import Surroundings, refuse
from shared.erasures import (
    Erasure,
    RegisterBroken,
    forget_commands,
    read,
    replay,
    stored,
    together,
    write,
)
from shared.settings import load_settings

FORGOTTEN: Final = 1

erasures = typer.Typer(
    help="销毁登记：导出与重放 the register of erasures, out of and into the keys' database",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Register = Annotated[Path, typer.Argument(metavar="FILE", help="登记文件 the register's file")]
Result = TypeVar("Result")


@erasures.command()
def export(file: Register) -> None:
    """将密钥库的销毁登记并入文件 add what the keys' database knows to the file."""
    kept = _read(file)
    known = _asked(stored)
    every = together(kept, known)
    try:
        write(file, every)
    except OSError as error:
        refuse(f"FILE：无法写入 cannot write: {type(error).__name__}")
    typer.echo(f"登记 registered: {len(every):,}")
    forgotten = {each.person_id for each in every} - {each.person_id for each in known}
    if forgotten:
        typer.echo(
            f"密钥库缺 {len(forgotten):,} 项销毁，须重放 the keys' database has forgotten some:"
            f" bangfu erasures replay {file}",
            err=True,
        )
        raise typer.Exit(FORGOTTEN)


@erasures.command("replay")
def replay_(file: Register) -> None:
    """恢复密钥库后，再次销毁登记中各人的密钥 destroy again what a restore has brought back."""
    if not file.exists():
        refuse("FILE：没有此文件 no such file")
    kept = _read(file)
    again = _asked(lambda connection: replay(connection, kept))
    keys = sum(again.values())
    typer.echo(
        f"登记 registered: {len(kept):,} · 重新销毁 erased again: {len(again):,}, {keys:,} keys"
    )


@erasures.command()
def clear(file: Register) -> None:
    """清除日志之外仍可查到登记各人的行 delete what beside the log still leads to them."""
    if not file.exists():
        refuse("FILE：没有此文件 no such file")
    persons = [each.person_id for each in _read(file)]
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url")
    try:
        lookups, commands = asyncio.run(_cleared(surroundings.postgres_url, persons))
    except (OSError, asyncpg.PostgresError) as error:
        refuse(f"BANGFU_POSTGRES_URL：无法清除 cannot clear: {type(error).__name__}")
    typer.echo(
        f"登记 registered: {len(persons):,} · 已清除 cleared: {lookups:,} lookup rows,"
        f" {commands:,} command rows"
    )


async def _cleared(postgres_url: str, persons: Sequence[str]) -> tuple[int, int]:
    """How many lookup rows and command rows went; all at once, or none."""
    from services.intake.lookup import cases_of, forget
    from services.notice.storage import cases_objected_to

    connection = await asyncpg.connect(postgres_url, timeout=10, command_timeout=600)
    try:
        async with connection.transaction():
            cases = {
                *await cases_of(connection, "intake", persons),
                *await cases_objected_to(connection, "notice", persons),
            }
            lookups = await forget(connection, "intake", persons)
            commands = [await forget_commands(connection, s, sorted(cases)) for s in SERVICES]
    finally:
        await connection.close()
    return lookups, sum(commands)


def _read(file: Path) -> list[Erasure]:
    try:
        return read(file)
    except RegisterBroken as broken:
        refuse(f"FILE：登记损坏 the register is broken: {broken}")
    except OSError as error:
        refuse(f"FILE：无法读取 cannot read: {type(error).__name__}")


def _asked(ask: Callable[[asyncpg.Connection], Awaitable[Result]]) -> Result:
    surroundings = load_settings(Surroundings)
    surroundings.need("keys_url")

    async def asked() -> Result:
        connection = await asyncpg.connect(surroundings.keys_url, timeout=10, command_timeout=120)
        try:
            return await ask(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(asked())
    except asyncpg.InsufficientPrivilegeError:
        refuse("BANGFU_KEYS_URL：该服务无权销毁 this service may not erase; use intake's")
    except (OSError, asyncpg.PostgresError) as error:
        # A driver's message may quote an address with its password; its type may not.
        refuse(f"密钥库 keys' database: {type(error).__name__}")
