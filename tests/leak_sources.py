"""Where bytes of an installation can be found: topics, tables, dumps, files, pages.

Each function gives pieces, (where from, bytes), for the search in leaks.py. A server's own files
are read where this machine has them: servers given by URL or in containers are searched through
their protocols alone.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx
import psycopg
from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from psycopg import sql

from shared.bus import read_records
from tests.leaks import Piece

PAGES: Final = (
    "/metrics",
    "/status",
    "/overview",
    "/health/live",
    "/health/ready",
    "/openapi.json",
)


async def topics(bootstrap: str, prefix: str) -> AsyncIterator[Piece]:
    """Every record of every topic with this prefix: key, headers and value, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = sorted(name for name in await admin.list_topics() if name.startswith(prefix))
    finally:
        await admin.close()
    for name in names:
        parts: dict[int, list[bytes]] = {}
        async for record in read_records(bootstrap, name):
            parts.setdefault(record.partition, []).extend(_parts(record))
        for partition, found in parts.items():
            yield f"topic {name}/{partition}", b"\n".join(found)


def _parts(record: ConsumerRecord) -> Iterator[bytes]:
    yield record.key or b""
    for name, value in record.headers:
        yield name.encode()
        yield value or b""
    yield record.value or b""


def tables(url: str) -> Iterator[Piece]:
    """Every table of every schema, as text (what a dump holds) and in PostgreSQL's binary."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"
        ).fetchall()
        for schema, table in names:
            for form in ("text", "binary"):
                statement = sql.SQL("COPY {} TO STDOUT WITH (FORMAT {})").format(
                    sql.Identifier(schema, table), sql.SQL(form)
                )
                with connection.cursor().copy(statement) as copy:
                    yield f"table {schema}.{table} as {form}", b"".join(bytes(c) for c in copy)
        # What the planner remembers of values, and what clients were last seen asking.
        for name in ("pg_stats", "pg_stat_activity"):
            with connection.cursor().copy(f"COPY (SELECT * FROM {name}) TO STDOUT") as copy:
                yield f"view {name}", b"".join(bytes(chunk) for chunk in copy)


def dump(url: str) -> Iterator[Piece]:
    """A whole dump, where a pg_dump is here that can read this server."""
    program = shutil.which("pg_dump")
    if program is None:
        return
    made = subprocess.run([program, url], capture_output=True, check=False)
    if made.returncode == 0:
        yield f"dump of {url.rpartition('/')[2]}", made.stdout


def database_files(url: str, data_folder: Path) -> Iterator[Piece]:
    """The files of this database below its server's data folder, with all that was written."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        (oid,) = connection.execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()"
        ).fetchall()[0]
    yield from files(data_folder / "base" / str(oid))


def write_ahead_log(data_folder: Path) -> Iterator[Piece]:
    """What the server wrote last, of all its databases."""
    yield from files(data_folder / "pg_wal")


def segments(kafka_log: Path, prefix: str) -> Iterator[Piece]:
    """The log segments of the topics with this prefix, and what Kafka keeps of groups."""
    for folder in sorted(kafka_log.glob("*-*")):
        if folder.name.startswith((prefix, "__consumer_offsets")):
            yield from files(folder, pattern="*.log")


def files(folder: Path, pattern: str = "*", apart: Iterable[Path] = ()) -> Iterator[Piece]:
    """All files below a folder that can be read, but for the folders set apart."""
    outside = tuple(apart)
    for path in sorted(folder.rglob(pattern)) if folder.is_dir() else ():
        if any(path.is_relative_to(each) for each in outside):
            continue
        try:
            yield f"file {path}", path.read_bytes()
        except (FileNotFoundError, IsADirectoryError, OSError):
            continue  # A server removes its files while we look, and sockets are no files.


async def pages(urls: Mapping[str, str]) -> AsyncIterator[Piece]:
    """What every process tells anybody who asks."""
    async with httpx.AsyncClient(timeout=30) as client:
        for name, url in urls.items():
            for path in PAGES:
                answer = await client.get(url + path)
                yield f"{name}{path}", answer.content
