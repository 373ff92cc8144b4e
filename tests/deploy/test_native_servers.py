"""Native servers end with whoever asked for them, and with nobody else."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from deploy import infrastructure
from deploy.infrastructure import (
    Infrastructure,
    SettingError,
    find_running,
    start_detached,
    start_infrastructure,
    stop_detached,
)
from deploy.native import kafka, postgres
from deploy.native.process import CHECKOUT, Identity, InfrastructureError, Server, free_ports

USER_OF_SERVERS = """
import sys, time
from pathlib import Path
from deploy.infrastructure import start_infrastructure
with start_infrastructure(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in infrastructure.VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("BANGFU_INFRASTRUCTURE", "native")
    if not (CHECKOUT / ".bangfu" / "kafka").is_dir():
        pytest.skip("no jars: servers came from elsewhere when this checkout was set up")


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def recorded(folder: Path) -> dict[str, Identity]:
    state = json.loads((folder / "servers.json").read_text())
    return {name: Identity(**identity) for name, identity in state["processes"].items()}


def came_back(now: dict[str, Identity], before: dict[str, Identity]) -> bool:
    return now.keys() == before.keys() and all(now[n] != before[n] for n in ("postgres", "kafka"))


@contextlib.contextmanager
def somebody_using_servers(
    folder: Path,
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Identity]]]:
    user = subprocess.Popen(
        [sys.executable, "-c", USER_OF_SERVERS, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    try:
        assert user.stdout is not None
        with user.stdout as output:
            assert output.readline() == "ready\n"
            yield user, recorded(folder)
    finally:
        user.kill()
        user.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_end_with_their_user(tmp_path: Path, how: signal.Signals) -> None:
    """However the user ends, nothing of the servers is left, neither processes nor data."""
    with somebody_using_servers(tmp_path) as (user, processes):
        assert set(processes) == {"keeper", "postgres", "kafka"}
        user.send_signal(how)
        user.wait(30)
        wait_until(lambda: not any(process.is_alive() for process in processes.values()))
    assert not (tmp_path / "postgres").exists()
    assert not (tmp_path / "kafka").exists()


def test_servers_end_with_their_keeper(tmp_path: Path) -> None:
    """The kernel ends the servers of a keeper that was killed."""
    with somebody_using_servers(tmp_path) as (_, processes):
        os.kill(processes["keeper"].pid, signal.SIGKILL)
        wait_until(lambda: not any(process.is_alive() for process in processes.values()))


def test_a_crashed_server_comes_back_with_its_port_and_data(tmp_path: Path) -> None:
    with start_infrastructure(tmp_path) as servers:
        with psycopg.connect(servers.postgres_url) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        before = recorded(tmp_path)
        for name in ("postgres", "kafka"):
            os.kill(before[name].pid, signal.SIGKILL)
        wait_until(lambda: came_back(recorded(tmp_path), before))
        with psycopg.connect(servers.postgres_url) as connection:
            counted = connection.execute("SELECT count(*) FROM kept").fetchone()
            assert counted == (0,)
        host, port = servers.kafka_bootstrap.split(":")
        socket.create_connection((host, int(port)), timeout=5).close()


def test_detached_servers_stay_until_told_and_keep_their_data(tmp_path: Path) -> None:
    """Two calls of up give the same servers; what was written is there after down and up."""
    try:
        first = start_detached(tmp_path)
        assert start_detached(tmp_path) == first
        assert find_running(tmp_path) == first
        with psycopg.connect(first.postgres_url) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        assert stop_detached(tmp_path)
        assert find_running(tmp_path) is None
        assert not stop_detached(tmp_path)

        second = start_detached(tmp_path)
        with psycopg.connect(second.postgres_url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        processes = recorded(tmp_path)
        os.kill(processes["keeper"].pid, signal.SIGKILL)
    finally:
        stop_detached(tmp_path)
    wait_until(lambda: not any(process.is_alive() for process in processes.values()))


def test_a_process_that_inherited_a_recorded_id_is_left_alone(tmp_path: Path) -> None:
    """Only id and start time together say that a process is ours."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        identity = {"pid": stranger.pid, "started": Identity.of(os.getpid()).started}
        state = {"addresses": {}, "processes": {"keeper": identity, "kafka": identity}}
        (tmp_path / "servers.json").write_text(json.dumps(state))
        record = json.dumps({"postgres_url": "", "keys_url": "", "kafka_bootstrap": ""})
        (tmp_path / "infrastructure.json").write_text(record)
        assert find_running(tmp_path) is None
        assert not stop_detached(tmp_path)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_servers_of_the_environment_are_used_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Infrastructure("postgresql://a/b", "postgresql://a/c", "a:1")
    for variable, value in given.as_environment().items():
        monkeypatch.setenv(variable, value)
    with start_infrastructure(tmp_path) as servers:
        assert servers == given
    monkeypatch.delenv("BANGFU_KEYS_URL")
    with pytest.raises(InfrastructureError, match="BANGFU_KEYS_URL"):
        with start_infrastructure(tmp_path):
            pass


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("BANGFU_POSTGRES_URL", "postgresql://u:hushhush@/b?host=a&port=99999"),
        ("BANGFU_KEYS_URL", "postgresql://u:hushhush@/b?host=a&port=abc"),
        ("BANGFU_KAFKA_BOOTSTRAP", "a:hushhush"),
    ],
)
def test_an_address_that_can_not_be_is_named_before_anybody_is_asked(
    variable: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`./run up`, the demo and the tests themselves end with this one line."""
    given = Infrastructure("postgresql://a/b", "postgresql://a/c", "a:1").as_environment()
    for name, value in {**given, variable: address}.items():
        monkeypatch.setenv(name, value)
    for start in (start_infrastructure(tmp_path).__enter__, partial(start_detached, tmp_path)):
        with pytest.raises(SettingError, match=f"^{variable}: ") as refused:
            start()
        assert "hushhush" not in str(refused.value)


def start(server: Server) -> None:
    for _ in server.starting():
        time.sleep(0.01)


@pytest.mark.parametrize("module", [postgres, kafka])
def test_a_port_lost_to_another_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    """Between finding a port and using it another server may take it."""
    server = postgres.Postgres(tmp_path) if module is postgres else kafka.Kafka(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = [other.getsockname()[1]]
        monkeypatch.setattr(module, "free_ports", lambda n: (_spend(taken) + free_ports(n))[:n])
        try:
            start(server)
            assert server.process is not None
            assert server.process.poll() is None
        finally:
            server.stop(keep_data=False)
    assert not taken


def _spend(taken: list[int]) -> list[int]:
    spent, taken[:] = list(taken), []
    return spent


def test_the_wheels_postgres_runs_where_its_user_may_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs and data below a closed folder, as in root's home, serve all the same."""
    carried = [path for path in postgres.candidates() if "site-packages" in path.parts]
    assert carried, "the wheel carries no PostgreSQL for this machine"
    tmp_path.chmod(0o700)
    closed = postgres.copy_binaries(max(carried), tmp_path / "site-packages")
    monkeypatch.setattr(postgres, "candidates", lambda: [closed])
    server = postgres.Postgres(tmp_path)
    try:
        start(server)
        with psycopg.connect(server.admin_url) as connection:
            assert connection.execute("SHOW data_directory").fetchone() is not None
    finally:
        server.stop(keep_data=False)
