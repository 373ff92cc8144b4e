"""The ways to a small disk that the year of test_servers.py does not take on this machine.

That year takes the first way that is allowed; each of the others is taken here by leaving the rest
away, or skipped aloud where the machine allows none.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from deploy.infrastructure import create_database
from deploy.native.postgres import Postgres
from sandbox.installation import SERVICES
from tests.conftest import servers_folder
from tests.faults.disk import ROOM_NEEDED_MIB, SHARED_MEMORY, SMALL_ENOUGH_MIB, WAYS, Disk

A_ROW_BYTES: Final = 4_000
MOST_ROWS: Final = 50


@pytest.fixture
def shared_memory() -> Iterator[Path]:
    """The machine's own if it is small, as a container's is; else one that we mount."""
    about = os.statvfs(SHARED_MEMORY)
    if about.f_blocks * about.f_frsize >> 20 <= SMALL_ENOUGH_MIB:
        yield SHARED_MEMORY
        return
    place = Path(tempfile.mkdtemp(prefix="bangfu-shm-"))
    size = f"size={ROOM_NEEDED_MIB + 8}m,mode=1777"
    words = ["mount", "-t", "tmpfs", "-o", size, "bangfu-shm", str(place)]
    try:
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("/dev/shm is large here, and nothing may be mounted")
        yield place
        subprocess.run(["umount", "--lazy", place], check=True)
    finally:
        place.rmdir()


def write_rows(url: str, count: int) -> None:
    """Raises psycopg.errors.DiskFull."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(count):
            connection.execute("INSERT INTO payout.facts VALUES (%s)", [os.urandom(A_ROW_BYTES)])


@pytest.mark.parametrize("way", WAYS[1:])
def test_not_a_byte_more_than_there_is_and_then_again(
    way: str, request: pytest.FixtureRequest
) -> None:
    """Writes fail with PostgreSQL's own 53100 for as long as it is full, and nothing is left."""
    is_alone = way == WAYS[2]
    shared_memory = request.getfixturevalue("shared_memory") if is_alone else SHARED_MEMORY
    folder = servers_folder() / f"disk-{WAYS.index(way)}"
    folder.mkdir(parents=True)
    disk, postgres = Disk(folder / "postgres", (way,), shared_memory), Postgres(folder)
    try:
        disk.make()
        if way == WAYS[1] and disk.way != way:
            pytest.skip("root has no need of a namespace, or none is allowed here")
        for _ in postgres.starting():
            time.sleep(0.02)
        url = create_database(postgres.admin_url, "bangfu")
        with psycopg.connect(url, autocommit=True) as connection:
            for service in SERVICES:
                connection.execute(f"CREATE SCHEMA {service}")
                connection.execute(f"CREATE TABLE {service}.facts (data bytea)")
        disk.take(postgres.admin_url, "bangfu")
        assert disk.way == way
        write_rows(url, 1)
        with disk.full(url):
            with pytest.raises(psycopg.errors.DiskFull):
                write_rows(url, MOST_ROWS)
        write_rows(url, MOST_ROWS)
    finally:
        postgres.stop(keep_data=False)
        disk.remove()
    assert {path.name for path in folder.iterdir()} <= {"postgres.log", "small-disk"}
    assert not list(shared_memory.glob("bangfu-*"))
