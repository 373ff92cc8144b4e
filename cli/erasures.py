"""`bangfu erasures export|replay|clear FILE`: the register by which erased persons stay erased."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import asyncpg
import typer

from cli.command_line import Command, group
from cli.failures import KEYS, failed
from cli.paths import readable, writable
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

erasures = group(
    "销毁登记：导出、重放、清除 the register of erasures, out of and into the keys' database"
)

Register = Annotated[Path, typer.Argument(metavar="FILE", help="登记文件 the register's file")]
Result = TypeVar("Result")


@erasures.command(cls=Command)
def export(file: Register) -> None:
    """将密钥库的销毁登记并入文件 add what the keys' database knows to the file."""
    writable("FILE", file)
    kept = _read(file) if file.exists() else []
    known = _asked(stored)
    every = together(kept, known)
    write(file, every)
    typer.echo(f"登记 registered: {len(every):,}")
    forgotten = {each.person_id for each in every} - {each.person_id for each in known}
    if forgotten:
        typer.echo(
            f"密钥库缺 {len(forgotten):,} 项销毁，须重放 the keys' database has forgotten some:"
            f" bangfu erasures replay {file}",
            err=True,
        )
        raise typer.Exit(FORGOTTEN)


@erasures.command("replay", cls=Command)
def replay_(file: Register) -> None:
    """恢复密钥库后，再次销毁登记中各人的密钥 destroy again what a restore has brought back."""
    kept = _read(file)
    again = _asked(lambda connection: replay(connection, kept))
    keys = sum(again.values())
    typer.echo(
        f"登记 registered: {len(kept):,} · 重新销毁 erased again: {len(again):,}, {keys:,} keys"
    )


@erasures.command(cls=Command)
def clear(file: Register) -> None:
    """清除日志之外仍可查到登记各人的行 delete what beside the log still leads to them."""
    persons = [each.person_id for each in _read(file)]
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url")
    lookups, commands = asyncio.run(_cleared(surroundings.postgres_url, persons))
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
    readable("FILE", file)
    try:
        return read(file)
    except RegisterBroken as broken:
        refuse(f"FILE: 登记损坏 the register is broken: {broken}")


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
        refuse(f"{KEYS}: 该服务无权销毁 this service may not erase; use intake's")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        refuse(failed(error, database=KEYS) or KEYS)
