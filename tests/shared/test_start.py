"""A start that meets no database, or an older one, ends in one line, however far it has come."""

from __future__ import annotations

import asyncio
import base64
import errno
import re
import shutil
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from deploy.infrastructure import Infrastructure
from deploy.native.process import free_ports
from shared.desk import Done
from shared.listening_address import AddressRefused, bound, listen
from shared.migrations import KEYS_FOLDER, Passwords, folders_of, migrate, migrate_keys
from shared.start import check_migrations
from tests.conftest import FreshDatabases
from tests.shared.test_consumers import CHECKOUT, environment
from tests.toy import alpha
from tests.toy.world import World, new_case, running, tell, until

ALPHA = Passwords(worker="w", api="a")
LOG_FOLDER, _ = folders_of("alpha")


def elsewhere(url: str) -> str:
    """The same database where nobody answers."""
    [port] = free_ports(1)
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))


async def test_a_database_that_goes_away_in_the_middle_of_a_start_is_one_line(world: World) -> None:
    """The keys' database is asked after the log's has answered."""
    await world.migrate("alpha")
    last = await refused(world, BANGFU_KEYS_URL=elsewhere(world.settings("alpha").keys_url))
    assert last.startswith("alpha: ")
    assert "the database can't be used: ConnectionRefusedError" in last
    assert "127.0.0.1" not in last


async def test_an_address_that_can_not_be_had_is_one_line(world: World) -> None:
    """Before anything is asked: nobody answers where the databases should be."""
    nowhere = {"BANGFU_WORKER_URL": elsewhere(world.settings("alpha").worker_url)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        [line] = (await said(world, BANGFU_PORT=str(port), **nowhere)).splitlines()
    assert line.startswith(f"BANGFU_PORT: 端口 {port} 已被占用 port {port} is taken")
    for host in ("192.0.2.1", "no-such-host.invalid", "a" * 70):
        [line] = (await said(world, BANGFU_HOST=host, **nowhere)).splitlines()
        assert line == "BANGFU_HOST: 本机没有此地址 this machine has no such address"


def test_of_two_that_take_a_port_at_once_one_may_listen() -> None:
    """Neither sees the other until one of them listens."""
    with bound("127.0.0.1", 0) as [first]:
        port = first.getsockname()[1]
        with bound("127.0.0.1", port) as [second]:
            listen([first], port)
            with pytest.raises(AddressRefused, match=r"^BANGFU_PORT: .* is taken"):
                listen([second], port)


def test_a_port_that_needs_rights_is_told_as_that() -> None:
    """Which ports these are, the machine says; root may take any."""
    told = AddressRefused.of(PermissionError(errno.EACCES, "no"), 80)
    assert str(told).startswith("BANGFU_PORT: 无权使用端口 80 port 80 needs rights")


async def test_a_service_refuses_the_name_of_another(world: World) -> None:
    """It ran under it for ever, and said nothing but that some topic is not there."""
    [line] = (await said(world, BANGFU_SERVICE="beta")).splitlines()
    assert line == "BANGFU_SERVICE: 此程序须为 of this program it must be alpha"


async def test_a_setting_that_is_not_this_installations_is_one_line_that_names_it(
    world: World, tmp_path: Path
) -> None:
    """What only shows when the setting meets its server, its file or its program."""
    await world.migrate("alpha")
    await world.start(alpha.room())  # whose master key is the keys' database's from now on
    another = base64.b64encode(b"another key, of thirty-two bytes").decode()
    mistakes = {
        "BANGFU_MASTER_KEY": another,
        "BANGFU_CLOCK_FILE": str(tmp_path / "no-such-clock"),
    }
    lasts = {name: await refused(world, **{name: value}) for name, value in mistakes.items()}
    for name, last in lasts.items():
        assert name in last.partition(": ")[0], last
        assert re.search("[一-鿿].*[a-z]{2}", last.partition(": ")[2]), last
        assert another not in last


async def test_the_topics_of_another_installation_are_not_taken_for_the_own_ones(
    world: World,
) -> None:
    """Two on one Kafka, and the prefix of the other: its facts are nothing that this log lacks."""
    await world.migrate("alpha")
    await world.create_topics("alpha")
    a = await world.start(alpha.room())
    async with running(a):
        await tell(a, "tally", new_case(), alpha.Open())

        async def published() -> bool:
            return a.relay.status().outboxes[0].published == 1

        await until(published)
    async with world.admin() as admin:
        # The same topic is another's to a log that has published to its own and is empty otherwise.
        await admin.execute("SET session_replication_role = replica")
        await admin.execute("TRUNCATE alpha.facts")
        own = "own.alpha.facts"
        await admin.execute("UPDATE alpha.checkpoint SET topic = $1, generation = $1", own)
    last = await refused(world)
    assert last.startswith("BANGFU_TOPIC_PREFIX: ")
    assert own in last
    assert "bangfu recover" not in last


async def refused(world: World, **changes: Any) -> str:
    """The last line of a process that may not start."""
    return (await said(world, **changes)).splitlines()[-1]


async def said(world: World, **changes: Any) -> str:
    """All that a process says that may not start."""
    started = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.toy.process", "alpha"],
        cwd=CHECKOUT,
        env=environment(world.settings("alpha"), **changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert started.returncode == 2, started.stderr
    assert "Traceback" not in started.stderr
    return str(started.stderr)


def but_the_last(folder: Path, tmp_path: Path) -> tuple[Path, str]:
    """The steps as an older release had them, and the name of the one that it had not."""
    older = shutil.copytree(folder, tmp_path / folder.name)
    last = max(older.glob("*.sql"))
    last.unlink()
    return older, f"{folder.name}/{last.stem}"


async def test_databases_that_an_older_release_has_left_are_refused_by_name(
    fresh_databases: FreshDatabases, infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """It would start and answer 500 wherever the new step is needed; `bangfu prepare` mends it."""
    urls = fresh_databases.postgres_url, fresh_databases.keys_url
    async with AsyncExitStack() as stack:
        world = World(*urls, infrastructure.kafka_bootstrap, "older.", stack)
        older, missing = but_the_last(LOG_FOLDER, tmp_path)
        await migrate(world.postgres_url, "alpha", ALPHA, [older])
        keys, missing_keys = but_the_last(KEYS_FOLDER, tmp_path)
        await migrate_keys(world.keys_url, {"alpha": "k"}, keys)
        last = await refused(world)
        assert f"({missing}, {missing_keys}): bangfu prepare" in last
        await world.migrate("alpha")
        settings = world.settings("alpha")
        await check_migrations(settings.worker_url, settings.keys_url, "alpha")


async def test_an_older_build_runs_on_databases_of_a_newer_one(
    fresh_databases: FreshDatabases, infrastructure: Infrastructure, tmp_path: Path
) -> None:
    """Of a rolling update: the databases go first, and the old processes may even start again."""
    urls = fresh_databases.postgres_url, fresh_databases.keys_url
    newer = tmp_path / "log"
    newer.mkdir()
    added = (
        "ALTER TABLE views ADD COLUMN later text NOT NULL DEFAULT ''; CREATE TABLE later (n int)"
    )
    (newer / "9999_later.sql").write_text(added)
    async with AsyncExitStack() as stack:
        world = World(*urls, infrastructure.kafka_bootstrap, "newer.", stack)
        await world.migrate("alpha")
        await migrate(world.postgres_url, "alpha", ALPHA, [LOG_FOLDER, newer])
        [port] = free_ports(1)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.toy.process", "alpha"),
            cwd=CHECKOUT,
            env=environment(world.settings("alpha"), BANGFU_PORT=str(port)),
        )
        try:

            async def is_ready() -> bool:
                assert process.returncode is None
                try:
                    async with httpx.AsyncClient(timeout=2) as client:
                        answer = await client.get(f"http://127.0.0.1:{port}/health/ready")
                        return answer.status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            await until(is_ready, seconds=60)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        parts = await world.start(alpha.room())
        done = await tell(parts, "tally", new_case(), alpha.Open())
        assert isinstance(done, Done)
