"""`bangfu prepare`: everything that must be there before the first start, as often as one likes."""

from __future__ import annotations

import json
import secrets
import shlex
import stat
from pathlib import Path

import asyncpg
import pytest

from cli.rooms import SERVICES
from deploy.infrastructure import Infrastructure
from tests.conftest import FreshDatabases
from tests.duty.conftest import bangfu

OWNER_ALONE = 0o600


@pytest.fixture
def environment(infrastructure: Infrastructure, fresh_databases: FreshDatabases) -> dict[str, str]:
    return {
        "BANGFU_POSTGRES_URL": fresh_databases.postgres_url,
        "BANGFU_KEYS_URL": fresh_databases.keys_url,
        "BANGFU_KAFKA_BOOTSTRAP": infrastructure.kafka_bootstrap,
        "BANGFU_TOPIC_PREFIX": f"{secrets.token_hex(4)}.",
        "BANGFU_PARTITIONS": "2",
    }


async def test_it_makes_everything_and_again_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Passwords are drawn once, for their owner alone, and each role can log in with its own."""
    passwords, folder = tmp_path / "passwords.json", tmp_path / "settings"
    words = ("prepare", "--passwords", str(passwords), "--environment", str(folder))
    first = bangfu(*words, environment=environment)
    assert (first.returncode, first.stderr) == (0, "")
    drawn = passwords.read_text()
    again = bangfu(*words, environment=environment)
    assert (again.returncode, again.stderr) == (0, "")
    assert passwords.read_text() == drawn
    for service in SERVICES:
        path = folder / f"{service}.env"
        assert stat.S_IMODE(path.stat().st_mode) == OWNER_ALONE
        lines = (shlex.split(line)[0].partition("=") for line in path.read_text().splitlines())
        settings = {name: value for name, _, value in lines}
        for role in ("WORKER", "API", "KEYS"):
            connection = await asyncpg.connect(settings[f"BANGFU_{role}_URL"])
            await connection.close()
    assert stat.S_IMODE(passwords.stat().st_mode) == OWNER_ALONE
    for pair in json.loads(drawn).values():
        for password in pair.values():
            assert password not in first.stdout + again.stdout
    # What stands otherwise is not bent to the setting.
    other = bangfu(*words, environment={**environment, "BANGFU_PARTITIONS": "3"})
    assert (other.returncode, len(other.stderr.splitlines())) == (2, 1)
    assert "2 partitions, not 3" in other.stderr


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "JSON"),
        ("[]", "network.worker"),
        ('{"network": {"worker": "a-long-secret", "api": 5}}', "network.api"),
    ],
    ids=["empty", "list", "number"],
)
def test_a_file_that_lacks_a_password_is_one_line(
    environment: dict[str, str], tmp_path: Path, content: str, named: str
) -> None:
    """Before anything is made, and without a password in it."""
    passwords = tmp_path / "passwords.json"
    passwords.write_text(content)
    done = bangfu("prepare", "--passwords", str(passwords), environment=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr
    assert "a-long-secret" not in done.stderr


async def test_what_can_not_be_written_is_told_before_anything_is_made(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Neither a schema, nor passwords that nobody uses."""
    (tmp_path / "file").write_text("")
    (tmp_path / "full" / "payout.env").mkdir(parents=True)
    for folder in ("file", "file/within", "full"):
        words = ("--passwords", str(tmp_path / "passwords"), "--environment")
        done = bangfu("prepare", *words, str(tmp_path / folder), environment=environment)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("--environment: ")
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "passwords").exists()
    connection = await asyncpg.connect(environment["BANGFU_POSTGRES_URL"])
    try:
        assert await connection.fetchval("SELECT to_regnamespace('intake')") is None
    finally:
        await connection.close()


@pytest.mark.parametrize("server", ["BANGFU_POSTGRES_URL", "BANGFU_KAFKA_BOOTSTRAP"])
def test_a_server_that_is_away_is_one_line(
    environment: dict[str, str], tmp_path: Path, server: str
) -> None:
    """And its address, which may hold a password, is not repeated."""
    away = "postgresql://someone:hushhush@127.0.0.1:1/x" if "POSTGRES" in server else "127.0.0.1:1"
    words = ("prepare", "--passwords", str(tmp_path / "passwords.json"))
    done = bangfu(*words, environment={**environment, server: away})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "hushhush" not in done.stderr
