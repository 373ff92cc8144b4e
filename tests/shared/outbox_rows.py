"""Rows of a service's log for tests of what carries them, made without the event store."""

from collections.abc import Sequence

import asyncpg
import orjson

from shared.fact import chain_hash
from shared.migrations import Passwords, migrate, role_name, role_url

SERVICE = "intake"
PASSWORDS = Passwords(worker="worker-password", api="api-password")

_WRITE = f"SELECT {SERVICE}.write_facts('{{}}', $1, $2, $3, $4, $5, $6, $7, $8, $9)"

Row = tuple[str, int]


async def make_log(admin_url: str) -> str:
    """The schema of one service in an empty database; answers its worker's URL."""
    await migrate(admin_url, SERVICE, PASSWORDS)
    return role_url(admin_url, role_name(admin_url, SERVICE, "worker"), PASSWORDS.worker)


def envelope(stream: str, version: int) -> dict[str, str]:
    return {
        "datacontenttype": "application/json",
        "id": f"{stream}-{version}",
        "source": "test/intake",
        "specversion": "1.0",
        "stream": f"case-{stream}",
        "streamversion": str(version),
        "subject": stream,
        "type": "test.Happened",
    }


def columns(rows: Sequence[Row], padding: int = 0) -> tuple[list[object], ...]:
    """The nine arrays of `write_facts`, for (stream, version) each."""
    datas = [f'{{"n":{version},"地":"{"x" * padding}"}}' for _, version in rows]
    hashes = [
        chain_hash(envelope(*row), data.encode()) for row, data in zip(rows, datas, strict=True)
    ]
    return (
        [f"case-{stream}" for stream, _ in rows],
        [version for _, version in rows],
        [f"{stream}-{version}" for stream, version in rows],
        ["test.Happened" for _ in rows],
        [stream for stream, _ in rows],
        [orjson.dumps(envelope(*row), option=orjson.OPT_SORT_KEYS).decode() for row in rows],
        list(datas),
        list(hashes),
        ["" if version % 2 else f"00-{version:032x}-{1:016x}-01" for _, version in rows],
    )


async def write(
    connection: asyncpg.Connection | asyncpg.Pool, rows: Sequence[Row], padding: int = 0
) -> int:
    """Append in one write; answers the last position."""
    return int(await connection.fetchval(_WRITE, *columns(rows, padding)))


async def write_many(
    pool: asyncpg.Pool, streams: Sequence[str], versions: range, padding: int = 0
) -> None:
    """Append these versions to each of the streams, some streams a write."""
    for version in versions:
        for part in _parts(streams, 50):
            await write(pool, [(stream, version) for stream in part], padding)


def _parts(streams: Sequence[str], size: int) -> list[Sequence[str]]:
    return [streams[at : at + size] for at in range(0, len(streams), size)]
