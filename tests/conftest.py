"""The real servers, once for a whole run of tests, and fresh databases for each test.

Topics are kept apart by each test's own prefix, not here.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.infrastructure import (
    Infrastructure,
    create_database,
    drop_database,
    start_infrastructure,
)
from deploy.native.process import Identity
from tests.chronicle import CHRONICLE, drawn_seed

TEST_FOLDER = Path(__file__).resolve().parents[1] / ".bangfu" / "test"


@dataclass(frozen=True)
class FreshDatabases:
    """Two empty databases of one test, as superuser URLs."""

    postgres_url: str
    keys_url: str


def forget_old_logs(kept: int = 5) -> None:
    """Leave the logs of the last failed runs, and of those that run now beside this one."""
    folders = sorted(TEST_FOLDER.glob("[0-9]*"), key=lambda folder: folder.stat().st_mtime)
    for folder in folders[:-kept]:
        if not Identity.of(int(folder.name)).is_alive():
            shutil.rmtree(folder, ignore_errors=True)


def pytest_configure() -> None:
    """A seed that is none is told before anything runs, and in one line."""
    try:
        drawn_seed()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Seeds, strikes and counts are told also when all went well."""
    if CHRONICLE:
        terminalreporter.section("drawn by seed")
        for line in CHRONICLE:
            terminalreporter.line(line)


def servers_folder() -> Path:
    """Where this session's native servers keep their logs and data."""
    return TEST_FOLDER / str(os.getpid())


@pytest.fixture(scope="session")
def infrastructure(request: pytest.FixtureRequest) -> Iterator[Infrastructure]:
    """PostgreSQL and Kafka for the whole session; their logs stay if a test failed."""
    forget_old_logs()
    folder = servers_folder()
    with start_infrastructure(folder) as servers:
        yield servers
    if not request.session.testsfailed:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh_databases(infrastructure: Infrastructure) -> Iterator[FreshDatabases]:
    """An application database and a keys database that nobody has used."""
    suffix = secrets.token_hex(6)
    application, keys = f"test_{suffix}", f"test_{suffix}_keys"
    yield FreshDatabases(
        postgres_url=create_database(infrastructure.postgres_url, application),
        keys_url=create_database(infrastructure.keys_url, keys),
    )
    drop_database(infrastructure.postgres_url, application)
    drop_database(infrastructure.keys_url, keys)
