"""A broker and a database of a test's own, to stop, freeze, fill up and wipe.

Plain processes on this machine wherever the other tests have their servers from: what a signal or
a full disk does has to be done to a process and a folder of ours.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from deploy.infrastructure import Infrastructure, create_database
from deploy.native.kafka import Kafka
from deploy.native.postgres import Postgres
from deploy.native.process import Identity, Server
from sandbox.installation import SERVICES
from tests.conftest import TEST_FOLDER

SMALL_DISK: Final = "bangfu-small-disk"
DISK_MIB: Final = 320
FULL: Final = "No space left on device"
# So little that the log of what is written must soon ask the disk for more.
LITTLE_WAL: Final = {"max_wal_size": "64MB", "min_wal_size": "32MB"}


class OwnServers:
    """Both servers, their folder and what can be done to them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.postgres = Postgres(folder)
        self.kafka = Kafka(folder)
        self.disk = Disk(folder / "postgres")

    def begin(self) -> Infrastructure:
        """Start both, PostgreSQL on a small disk where the machine allows one."""
        self.disk.make()
        waiting: list[Server] = [self.postgres, self.kafka]
        for server in waiting:
            for _ in server.starting():
                time.sleep(0.02)
        with psycopg.connect(self.postgres.admin_url, autocommit=True) as connection:
            for name, value in LITTLE_WAL.items():
                setting = sql.SQL("ALTER SYSTEM SET {} = {}")
                connection.execute(setting.format(sql.Identifier(name), sql.Literal(value)))
            connection.execute("SELECT pg_reload_conf()")
        return Infrastructure(
            create_database(self.postgres.admin_url, "bangfu"),
            create_database(self.postgres.admin_url, "bangfu_keys"),
            self.kafka.bootstrap,
        )

    def end(self) -> None:
        """Stop both; nothing of their data stays."""
        for server in (self.postgres, self.kafka):
            if server.process is not None and server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
            server.stop(keep_data=False)
        self.disk.remove()

    async def stop(self, server: Server, number: signal.Signals) -> None:
        """Stop one with this signal, and return when it is gone."""
        assert server.process is not None
        server.process.send_signal(number)
        while server.process.poll() is None:  # noqa: ASYNC110 - a process announces nothing
            await asyncio.sleep(0.02)

    async def start(self, server: Server) -> None:
        """Start it again, on its port and with its data."""
        for _ in server.starting():
            await asyncio.sleep(0.02)

    async def freeze(self, server: Server, seconds: float) -> None:
        """It keeps its connections and answers nothing."""
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        server.process.send_signal(signal.SIGCONT)

    def wipe_kafka(self) -> None:
        """Remove the data of the broker, which must be down: topics, groups, all of it."""
        shutil.rmtree(self.folder / "kafka" / "log")

    def cut_connections(self) -> int:
        """End every connection of the services; how many there were."""
        with psycopg.connect(self.postgres.admin_url, autocommit=True) as connection:
            asked = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name LIKE 'bangfu-%' AND pid <> pg_backend_pid()"
            )
            row = asked.fetchone()
        return int(row[0]) if row else 0

    def said(self, text: str) -> int:
        """How often PostgreSQL's log has this text."""
        return (self.folder / "postgres.log").read_text(errors="replace").count(text)


class Disk:
    """A small file system in memory for PostgreSQL's folder, where the machine lets us mount one.

    Where it does not, a trigger on every log of facts answers with PostgreSQL's own error of a full
    disk (53100) instead: the services see the same, the server is spared.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.is_mounted = False

    def make(self) -> None:
        """Mount it, if we may; what a session that was killed left mounted goes first."""
        _unmount_leftovers()
        self._folder.mkdir(parents=True, exist_ok=True)
        size = f"size={DISK_MIB}m,mode=700"
        asked = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, SMALL_DISK, self._folder],
            capture_output=True,
            check=False,
        )
        self.is_mounted = asked.returncode == 0

    def remove(self) -> None:
        """Unmount it."""
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", self._folder], check=False)
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def full(self, postgres_url: str) -> Iterator[str]:
        """Not a byte more for as long as the block runs; says how that is done."""
        if not self.is_mounted:
            with _refusing_facts(postgres_url):
                yield "53100 raised by a trigger, for nothing may be mounted here"
            return
        ballast = self._folder / "ballast"
        try:
            _fill(ballast)
            yield f"a file system of {DISK_MIB} MiB filled up"
        finally:
            ballast.unlink()


def _unmount_leftovers() -> None:
    """Of sessions that are over, by the process id that names their folder."""
    mounts = Path("/proc/mounts")
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        device, place, *_ = line.split()
        if device != SMALL_DISK or TEST_FOLDER not in Path(place).parents:
            continue
        session = Path(place).relative_to(TEST_FOLDER).parts[0]
        if not (session.isdecimal() and Identity.of(int(session)).is_alive()):
            subprocess.run(["umount", "--lazy", place], check=False)


def _fill(ballast: Path) -> None:
    """Take all there is, and what is freed for a moment as well."""
    with suppress_full(), ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress_full():
                while True:
                    file.write(b"\0" * size)


@contextmanager
def suppress_full() -> Iterator[None]:
    """The disk is full: as was asked."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@contextmanager
def _refusing_facts(postgres_url: str) -> Iterator[None]:
    refuse = (
        "CREATE FUNCTION public.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION '{FULL}' USING ERRCODE = 'disk_full'; END $$"
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(refuse)
        for service in SERVICES:
            table = sql.Identifier(service, "facts")
            connection.execute(
                sql.SQL(
                    "CREATE TRIGGER disk_full BEFORE INSERT ON {} EXECUTE FUNCTION disk_full()"
                ).format(table)
            )
        try:
            yield
        finally:
            connection.execute("DROP FUNCTION public.disk_full() CASCADE")


def exhaust_wal(admin_url: str) -> None:
    """Ask for one log segment after the other, until the full disk has no more to give.

    PostgreSQL goes down over this by design, and comes back when there is room.
    """
    with suppress(psycopg.Error):
        with psycopg.connect(admin_url, autocommit=True) as connection:
            for _ in range(20):
                connection.execute("SELECT pg_logical_emit_message(false, 'full', 'x')")
                connection.execute("SELECT pg_switch_wal()")
