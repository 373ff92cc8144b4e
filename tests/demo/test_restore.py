"""The drill of docs/operating.md: the stores go back to an earlier moment, Kafka and bank do not.

A server of this test's own archives its log; a base backup is taken in the middle of the year, a
restore point is named, and work goes on. Then the server is restored to that point: no service
starts, the command takes back what is missing, and the year goes on as if nothing had been.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import asyncpg
import psycopg
import pytest

from cli.verify import verify_installation
from deploy.infrastructure import (
    Infrastructure,
    InfrastructureError,
    create_database,
    database_url,
    drop_database,
)
from deploy.native.postgres import Postgres, find_binaries
from sandbox import installation as installations
from sandbox.installation import CHECKOUT, INSTRUCTIONS, SERVICES, Installation
from sandbox.run import Plan, Run
from sandbox.year import working_days
from shared.bus import delete_topic
from shared.moment import Moment, WentBack
from shared.start import StartRefused, check_standby
from tests.conftest import servers_folder
from tests.demo.conftest import hosted
from tests.demo.log import Log, read_log

HOUSEHOLDS: Final = 16
BACKUP_AFTER_DAYS: Final = 40
POINT_AFTER_DAYS: Final = 48
LOST_AFTER_DAYS: Final = 62
END_AFTER_DAYS: Final = 70
POINT: Final = "before_the_loss"
COMMAND_SECONDS: Final = 120
LOOKUPS: Final = "SELECT mac, person_id, household_id FROM intake.persons ORDER BY mac"
PATIENCE_SECONDS: Final = 180.0
ARCHIVING: Final = {
    "archive_mode": "on",
    # From the data folder, which is the server's working folder.
    "archive_command": "cp %p ../archive/%f",
    "shared_buffers": "64MB",
    "max_connections": "200",
}


class Archived:
    """A PostgreSQL server whose log is archived, and which can be put back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "postgres"
        self.server = Postgres(folder, ARCHIVING)
        self.start()

    def start(self) -> None:
        for _ in self.server.starting():
            if not (self._folder / "archive").exists():
                (self._folder / "archive").mkdir()
                self._belongs_to_server(self._folder / "archive")
            time.sleep(0.02)

    @property
    def url(self) -> str:
        return database_url(self.server.admin_url, "bangfu")

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()

    def back_up(self) -> None:
        """A base backup, as a client takes it."""
        subprocess.run(
            [
                find_binaries() / "pg_basebackup",
                f"--dbname={self.server.admin_url}",
                f"--pgdata={self._folder / 'base'}",
                "--wal-method=none",
                "--checkpoint=fast",
                "--no-sync",
            ],
            check=True,
            timeout=COMMAND_SECONDS,
        )

    def restore(self, point: str) -> None:
        """The base backup in the data's place, and the archive up to the point."""
        self.server.stop(keep_data=True)
        data = self._folder / "data"
        shutil.rmtree(data)
        shutil.move(self._folder / "base", data)
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'cp ../archive/%f %p'\n")
            settings.write(f"recovery_target_name = '{point}'\n")
            settings.write("recovery_target_action = 'promote'\n")
        (data / "recovery.signal").touch()
        self._belongs_to_server(data)
        self.start()

    def keep_copy(self) -> None:
        """Of the data, while the server is stopped."""
        shutil.copytree(self._folder / "data", self._folder / "copy")

    def put_copy_back(self, *, recovering: bool = False) -> None:
        data = self._folder / "data"
        shutil.rmtree(data)
        shutil.copytree(self._folder / "copy", data)
        if recovering:
            with (data / "postgresql.auto.conf").open("a") as settings:
                settings.write("restore_command = 'false'\n")
            (data / "recovery.signal").touch()
        self._belongs_to_server(data)

    def _belongs_to_server(self, path: Path) -> None:
        owner = self._folder.stat()
        path.chmod(0o700)
        for each in (path, *path.rglob("*")):
            os.chown(each, owner.st_uid, owner.st_gid)


@pytest.fixture
def archived() -> Iterator[Archived]:
    """Beside the session's servers: what is restored is one whole server."""
    folder = servers_folder() / f"restore_{secrets.token_hex(4)}"
    try:
        find_binaries()
        made = Archived(folder)
    except InfrastructureError as error:
        pytest.skip(str(error))
    try:
        create_database(made.server.admin_url, "bangfu")
        yield made
    finally:
        made.server.stop(keep_data=False)


@dataclass
class Drill:
    """What was seen on the way."""

    archived: Archived
    ended: dict[str, tuple[int | None, str]] = field(default_factory=dict)
    refused: dict[str, tuple[int | None, str]] = field(default_factory=dict)
    told: str = ""

    async def life(self, run: Run) -> None:
        run.year.rest.patience_seconds = PATIENCE_SECONDS
        days = list(islice(working_days(run.plan.year), END_AFTER_DAYS))
        await live(run, days[:BACKUP_AFTER_DAYS])
        await asyncio.to_thread(self.archived.back_up)
        await live(run, days[BACKUP_AFTER_DAYS:POINT_AFTER_DAYS])
        self.archived.run(f"SELECT pg_create_restore_point('{POINT}')")
        await live(run, days[POINT_AFTER_DAYS:LOST_AFTER_DAYS])
        self.archived.run("SELECT pg_switch_wal()")
        installation = run.installation
        lookups = self.archived.rows(LOOKUPS)
        # The bank is not ours: it goes on through all of this. The services ought to be stopped,
        # and were forgotten: each finds out by itself.
        await asyncio.to_thread(self.archived.restore, POINT)
        await asyncio.to_thread(self.see_them_end, installation)
        await asyncio.to_thread(self.refuse_to_start, installation, ("intake", "payout"))
        assert self.archived.rows(LOOKUPS) != lookups
        self.told = await asyncio.to_thread(command, installation, "recover", *SERVICES)
        assert self.archived.rows(LOOKUPS) == lookups
        for name in SERVICES:
            installation.start(name)
        await installation.wait_until_ready(SERVICES)
        await run.year.rest.wait(days[LOST_AFTER_DAYS - 1].isoformat())
        await live(run, days[LOST_AFTER_DAYS:])
        await self.begin_the_bank_again(run, days[-1].isoformat())

    async def begin_the_bank_again(self, run: Run, today: str) -> None:
        """Its topic is lost and filled again while it reads: it meets every order once more."""
        installation = run.installation
        topic = f"{installation.prefix}{INSTRUCTIONS}"
        await delete_topic(installation.infrastructure.kafka_bootstrap, topic)
        said = await asyncio.to_thread(command, installation, "republish", "payout")
        assert f"{topic}: 全部已发" in said
        assert f"{installation.prefix}payout.facts: 完好" in said
        async with asyncio.timeout(PATIENCE_SECONDS):
            while counters(installation).get("repeated", 0) < len(payments(installation)):  # noqa: ASYNC110 - books announce nothing
                await asyncio.sleep(0.2)
        await run.year.rest.wait(today)

    def see_them_end(self, installation: Installation) -> None:
        for name in SERVICES:
            self.ended[name] = ended(installation, name)

    def refuse_to_start(self, installation: Installation, names: Sequence[str]) -> None:
        for name in names:
            installation.start(name)
        for name in names:
            self.refused[name] = ended(installation, name)


def ended(installation: Installation, name: str) -> tuple[int | None, str]:
    """The status with which a process ends by itself, and the last line of its log."""
    status = installation.processes.pop(name).wait(COMMAND_SECONDS)
    log = (installation.folder / "logs" / f"{name}.log").read_text()
    return status, log.splitlines()[-1]


async def live(run: Run, days: Sequence) -> None:  # type: ignore[type-arg]  # of days
    for day in days:
        await run.year.live(day)


def command(installation: Installation, *words: str, status: int = 0) -> str:
    """One `bangfu` command in the installation's surroundings; what it said."""
    environment = dict(os.environ) | {"PYTHONPATH": str(CHECKOUT)}
    for line in installation.write_environment().read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        environment[name] = value.strip("'")
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def test_restored_to_an_earlier_moment_nothing_is_lost_and_nobody_is_paid_twice(
    archived: Archived, infrastructure: Infrastructure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused at the start, taken back by the command, and the year goes on."""
    monkeypatch.setattr(installations, "START_SECONDS", PATIENCE_SECONDS)
    name = f"restore_{secrets.token_hex(4)}"
    own = Infrastructure(
        archived.url,
        # The keys are apart, and stay as they are.
        create_database(infrastructure.keys_url, f"{name}_keys"),
        infrastructure.kafka_bootstrap,
    )
    drill = Drill(archived)
    installation = Installation(servers_folder() / name, own, prefix=f"{name}.", lease_seconds=1.0)
    with hosted(Plan(HOUSEHOLDS), installation, drill.life):
        report = asyncio.run(
            verify_installation(own.postgres_url, own.kafka_bootstrap, installation.prefix)
        )
        log = asyncio.run(read_log(own.kafka_bootstrap, installation.prefix))
    drop_database(infrastructure.keys_url, f"{name}_keys")
    for name, (status, line) in drill.ended.items():
        assert (name, status) == (name, 2)
        assert "under this process (timeline" in line
    assert set(drill.ended) == set(SERVICES)
    for status, line in drill.refused.values():
        assert status == 2
        assert "bangfu recover" in line
    assert set(drill.refused) == {"intake", "payout"}
    assert "payout: 取回 taken back" in drill.told
    assert [str(difference) for difference in report.differences] == []
    assert_paid_once(installation, log)


def assert_paid_once(installation: Installation, log: Log) -> None:
    """By the bank's own books, each issued payout is there once, and no order came twice."""
    issued = [told.data["end_to_end_id"] for told in log.named("PayoutIssued")]
    assert len(issued) > 3
    assert sorted(payments(installation)) == sorted(issued)
    assert not {"ordered_twice", "broken_chain", "unreadable"} & {
        name for name, value in counters(installation).items() if value
    }


def payments(installation: Installation) -> list[str]:
    return [str(row[0]) for row in books(installation, "SELECT end_to_end_id FROM payments")]


def counters(installation: Installation) -> dict[str, int]:
    return {str(n): int(str(v)) for n, v in books(installation, "SELECT * FROM counters")}


def books(installation: Installation, query: str) -> list[tuple[object, ...]]:
    path = installation.folder / "bank" / "bank.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


async def test_an_older_copy_of_the_data_is_an_earlier_moment(archived: Archived) -> None:
    """Put in place without a recovery: no timeline tells it, the end of the log does."""
    moment = Moment("intake")
    await look(moment, archived)
    archived.server.stop(keep_data=True)
    archived.keep_copy()
    archived.start()
    await look(moment, archived)
    archived.run("CREATE TABLE later (n int)")
    await look(moment, archived)
    archived.server.stop(keep_data=True)
    archived.put_copy_back()
    archived.start()
    with pytest.raises(WentBack, match="bytes of its log are gone"):
        await look(moment, archived)


async def test_a_copy_is_told_however_late_if_it_was_started_with_a_recovery(
    archived: Archived,
) -> None:
    """Its timeline tells it. Without one a copy that has written as much as it lost looks the same:
    what ADR 0046 does not promise, and why the handbook asks for that file."""
    archived.server.stop(keep_data=True)
    archived.keep_copy()
    archived.start()
    late, later = Moment("intake"), Moment("intake")
    archived.run("CREATE TABLE lost (n int)")
    for moment in (late, later):
        await look(moment, archived)
    for recovering in (False, True):
        archived.server.stop(keep_data=True)
        archived.put_copy_back(recovering=recovering)
        archived.start()
        async with asyncio.timeout(COMMAND_SECONDS):
            while archived.rows("SELECT pg_is_in_recovery()") != [(False,)]:  # noqa: ASYNC110 - a server announces nothing
                await asyncio.sleep(0.05)
        archived.run("CREATE TABLE instead AS SELECT n FROM generate_series(1, 100000) AS n")
        if recovering:
            with pytest.raises(WentBack, match="timeline"):
                await look(later, archived)
        else:
            await look(late, archived)


async def look(moment: Moment, archived: Archived) -> None:
    connection = await asyncpg.connect(archived.url)
    try:
        await moment.look(connection)
    finally:
        await connection.close()


async def test_production_asks_for_a_synchronous_standby(archived: Archived) -> None:
    """Settings of the server and of the role; the check writes nothing and waits for nobody."""
    with pytest.raises(StartRefused, match="BANGFU_STANDBY"):
        await check_standby(archived.url)
    archived.run("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'")
    archived.run("SELECT pg_reload_conf()")
    async with asyncio.timeout(20):
        while True:
            with suppress(StartRefused):
                await check_standby(archived.url, archived.url)
                break
            await asyncio.sleep(0.05)
    with pytest.raises(StartRefused):
        await check_standby(archived.url, f"{archived.url}?options=-csynchronous_commit%3Dlocal")
