"""A broker and a database of a test's own, to stop, freeze, fill up and wipe.

Plain processes on this machine wherever the other tests have their servers from: what a signal or
a full disk does has to be done to a process and a folder of ours.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from deploy.infrastructure import Infrastructure, create_database
from deploy.native.kafka import Kafka
from deploy.native.postgres import Postgres
from deploy.native.process import Server
from tests.faults.disk import Disk

# What PostgreSQL says when it ends itself over a log that it can't write any more.
WENT_DOWN: Final = "PANIC"
GO_DOWN_SECONDS: Final = 60.0
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
        database = create_database(self.postgres.admin_url, "bangfu")
        self.disk.take(self.postgres.admin_url, "bangfu")
        return Infrastructure(
            database,
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

    async def go_down_for_want_of_room(self, before: int) -> None:
        """Ask PostgreSQL to write its own log until it ends itself, if it has not since ``before``.

        ``before`` is how often it had. What it frees meanwhile is taken as well. It may come back
        by itself, to refuse every new session. Raises TimeoutError.
        """
        async with asyncio.timeout(GO_DOWN_SECONDS):
            while self.said(WENT_DOWN) == before:
                self.disk.fill()
                await asyncio.to_thread(exhaust_wal, self.postgres.admin_url)
                await asyncio.sleep(0.1)

    def said(self, text: str) -> int:
        """How often PostgreSQL's log has this text."""
        return (self.folder / "postgres.log").read_text(errors="replace").count(text)


def exhaust_wal(admin_url: str) -> None:
    """Ask for some log segments one after the other; a full disk has no more to give.

    PostgreSQL goes down over this by design, and comes back when there is room.
    """
    with suppress(psycopg.Error):
        with psycopg.connect(admin_url, autocommit=True) as connection:
            for _ in range(20):
                connection.execute("SELECT pg_logical_emit_message(false, 'full', 'x')")
                connection.execute("SELECT pg_switch_wal()")
