"""A start that meets no database ends in one line, however far it has come."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

from deploy.native.process import free_ports
from tests.shared.test_consumers import CHECKOUT, environment
from tests.toy.world import World


def elsewhere(url: str) -> str:
    """The same database where nobody answers."""
    [port] = free_ports(1)
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))


async def test_a_database_that_goes_away_in_the_middle_of_a_start_is_one_line(world: World) -> None:
    """The keys' database is asked after the log's has answered."""
    await world.migrate("alpha")
    settings = world.settings("alpha")
    started = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.toy.process", "alpha"],
        cwd=CHECKOUT,
        env=environment(settings, BANGFU_KEYS_URL=elsewhere(settings.keys_url)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert started.returncode == 2, started.stderr
    assert "Traceback" not in started.stderr
    *_, last = started.stderr.splitlines()
    assert last.startswith("alpha: ")
    assert "the database can't be used: ConnectionRefusedError" in last
    assert "127.0.0.1" not in last
