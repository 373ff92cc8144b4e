"""`bangfu heads`: the end of every stream, to be kept elsewhere: a cut tail shows against them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import orjson
import typer

from cli.paths import writable
from cli.rooms import SERVICES
from cli.surroundings import Surroundings
from shared.bus import topic_name
from shared.chain import ChainCheck
from shared.log_reader import open_log, record_of, where
from shared.settings import load_settings

DIFFERENT: Final = 1
ROWS_AT_ONCE: Final = 1_000

Line = tuple[str, str, int, str]


def heads(
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="写入 JSON 文件 write JSON to a file"),
    ] = None,
    from_store: Annotated[
        bool, typer.Option("--from-store", help="取自数据库而非卡夫卡 from the stores, not Kafka")
    ] = False,
) -> None:
    """列出每条流的末版本及其哈希 the last version of every stream and its hash."""
    surroundings = load_settings(Surroundings)
    surroundings.need("postgres_url" if from_store else "kafka_bootstrap")
    if json is not None:
        writable("--json", json)
    wrong: list[str] = []
    if from_store:
        lines = stored_heads(surroundings.postgres_url)
    else:
        prefix = surroundings.topic_prefix
        lines = published_heads(surroundings.kafka_bootstrap, prefix, wrong)
    asyncio.run(_write(lines, json))
    for finding in wrong:
        typer.echo(finding, err=True)
    if wrong:
        raise typer.Exit(DIFFERENT)


async def published_heads(
    bootstrap: str, prefix: str, wrong: list[str], services: tuple[str, ...] = SERVICES
) -> AsyncGenerator[Line]:
    """From Kafka, one partition at a time; what is wrong with the log is put into ``wrong``."""
    topics = {topic_name(prefix, service): service for service in services}
    async with open_log(bootstrap, topics) as reader:
        for topic, service in topics.items():
            for number in range(reader.partitions[topic]):
                check = ChainCheck()
                async for records in reader.read([(topic, number)]):
                    for record in records:
                        check.take(record_of(record), where(record))
                check.finish()
                wrong += [f"{service}: {finding}" for finding in check.findings]
                for stream, head in sorted(check.heads().items()):
                    yield service, stream, head.version, head.hash


async def stored_heads(
    postgres_url: str, services: tuple[str, ...] = SERVICES
) -> AsyncGenerator[Line]:
    """From each service's own log."""
    connection = await asyncpg.connect(postgres_url, timeout=10, command_timeout=120)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await _seen_is_on_disk(connection, postgres_url)
            for service in services:
                cursor = connection.cursor(
                    "SELECT DISTINCT ON (stream) stream, version, hash "  # noqa: S608 - names of the code
                    f"FROM {service}.facts ORDER BY stream, version DESC",
                    prefetch=ROWS_AT_ONCE,
                )
                async for row in cursor:
                    yield service, row["stream"], row["version"], row["hash"]
    finally:
        await connection.close()


async def _seen_is_on_disk(connection: asyncpg.Connection, postgres_url: str) -> None:
    """A head that a crash takes back would look like a fact that somebody removed.

    This reader's own transaction ends after everything is told, so another one waits for the
    disk. A standby has nothing that its primary had not on disk.
    """
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return
    other = await asyncpg.connect(postgres_url, timeout=10, command_timeout=120)
    try:
        await other.execute("SELECT pg_logical_emit_message(true, 'flushed', '')")
    finally:
        await other.close()


async def _write(lines: AsyncGenerator[Line], path: Path | None) -> None:
    """As they come; a file is there only when it is whole."""
    async with aclosing(lines):
        if path is None:
            async for service, stream, version, digest in lines:
                typer.echo(f"{service}\t{stream}\t{version}\t{digest}")
            return
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write('{"heads": [')
                comma = "\n"
                async for service, stream, version, digest in lines:
                    head = {"service": service, "stream": stream, "version": version}
                    file.write(comma + orjson.dumps({**head, "hash": digest}).decode())
                    comma = ",\n"
                file.write("\n]}\n")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
