"""One PostgreSQL and one Kafka for whoever needs them, wherever they come from.

In this order: addresses from the environment (`BANGFU_POSTGRES_URL`, `BANGFU_KEYS_URL`,
`BANGFU_KAFKA_BOOTSTRAP`), a container engine that answers, plain processes on this machine.
`BANGFU_INFRASTRUCTURE=native` or `containers` skips the choice between the last two.

Not for: schemas, roles and topics; the services make their own.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from deploy import containers
from deploy.native.process import CHECKOUT, Identity, InfrastructureError, last_lines
from shared.addresses import checked_bootstrap, checked_dsn

__all__ = [
    "Infrastructure",
    "InfrastructureError",
    "SettingError",
    "create_database",
    "database_url",
    "drop_database",
    "find_running",
    "start_detached",
    "start_infrastructure",
    "stop_detached",
]

APPLICATION_DATABASE = "bangfu"
KEYS_DATABASE = "bangfu_keys"
VARIABLES = {
    "postgres_url": "BANGFU_POSTGRES_URL",
    "keys_url": "BANGFU_KEYS_URL",
    "kafka_bootstrap": "BANGFU_KAFKA_BOOTSTRAP",
}
CHECKS = {
    "postgres_url": checked_dsn,
    "keys_url": checked_dsn,
    "kafka_bootstrap": checked_bootstrap,
}
START_SECONDS = 150.0
STOP_SECONDS = 60.0


class SettingError(InfrastructureError):
    """A setting of the environment is missing or wrong; the message begins with its name."""


@dataclass(frozen=True)
class Infrastructure:
    """Where the servers are.

    Both URLs are a superuser's (`postgresql://user:password@host:port/database`): of the
    application's database and of the keys' database. Kafka is `host:port[,host:port…]`.
    """

    postgres_url: str
    keys_url: str
    kafka_bootstrap: str

    def as_environment(self) -> dict[str, str]:
        """The variables by which another process finds the same servers."""
        return {variable: getattr(self, name) for name, variable in VARIABLES.items()}


@contextmanager
def start_infrastructure(data_folder: Path) -> Iterator[Infrastructure]:
    """Servers for as long as the block runs; they end with this process, however it ends.

    Their data goes with them, their logs stay in `data_folder`, which one block at a time may
    use. Servers given by the environment are left alone. Raises InfrastructureError.
    """
    given = _from_environment()
    if given is not None:
        yield given
    elif _chosen() == "containers":
        with containers.start() as (admin_url, kafka):
            yield _with_databases(admin_url, kafka)
    else:
        keeper, infrastructure = _start_keeper(data_folder, detached=False)
        try:
            yield infrastructure
        finally:
            if keeper.stdin is not None:
                keeper.stdin.close()
            keeper.wait(STOP_SECONDS)


def start_detached(data_folder: Path) -> Infrastructure:
    """Servers that outlive this process, with data that outlives them.

    Answers those that already run in `data_folder`, if any. Ended by `stop_detached`.
    """
    running = find_running(data_folder)
    if running is not None:
        return running
    given = _from_environment()
    if given is not None:
        return given
    if _chosen() == "containers":
        infrastructure = _with_databases(*containers.compose_up())
        _record(data_folder, infrastructure)
        return infrastructure
    keeper, infrastructure = _start_keeper(data_folder, detached=True)
    keeper.returncode = 0  # It is nobody's child from here on; do not warn that it still runs.
    _record(data_folder, infrastructure)
    return infrastructure


def find_running(data_folder: Path) -> Infrastructure | None:
    """The detached servers of `data_folder`, if they run."""
    record = data_folder / "infrastructure.json"
    if not record.exists():
        return None
    processes = _processes(data_folder)
    by_compose = not processes and containers.compose_is_up()
    if by_compose or any(process.is_alive() for process in processes.values()):
        return Infrastructure(**json.loads(record.read_text()))
    return None


def stop_detached(data_folder: Path) -> bool:
    """End what `start_detached` started; False if nothing of it ran.

    Only processes that are certainly ours are ended: id and start time must both be those
    recorded. The keeper stops the servers; they are asked directly only if it is gone.
    """
    record = data_folder / "infrastructure.json"
    if not record.exists():
        return False
    processes = _processes(data_folder)
    was_running = any(process.is_alive() for process in processes.values())
    if "keeper" in processes:
        processes.pop("keeper").end(STOP_SECONDS)
    for process in processes.values():
        process.end()
    if not processes and not was_running and containers.compose_is_up():
        containers.compose_down()
        was_running = True
    record.unlink()
    (data_folder / "servers.json").unlink(missing_ok=True)
    return was_running


def create_database(admin_url: str, name: str, template: str | None = None) -> str:
    """A new database on the server of `admin_url`; answers its URL.

    With `template` it starts as a copy of that database, to which nobody may be connected.
    """
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    try:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            connection.execute(statement)
    except psycopg.OperationalError as error:
        # `from None`: the cause repeats the address with its password.
        reason = type(error).__name__
        raise InfrastructureError(
            f"BANGFU_POSTGRES_URL: 数据库无法使用 PostgreSQL cannot be used: {reason}"
        ) from None
    return database_url(admin_url, name)


def drop_database(admin_url: str, name: str) -> None:
    """Remove a database if it exists, and end whatever is still connected to it."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(statement)


def database_url(admin_url: str, name: str) -> str:
    """The URL of another database on the same server, for the same user."""
    return urlsplit(admin_url)._replace(path=f"/{name}").geturl()


def _from_environment() -> Infrastructure | None:
    values = {name: os.environ.get(variable, "") for name, variable in VARIABLES.items()}
    if not any(values.values()):
        return None
    missing = [VARIABLES[name] for name, value in values.items() if not value]
    if missing:
        raise SettingError(
            f"{', '.join(missing)}: 请一并设置，或三者皆不设 set as well, or none of the three"
        )
    for name, check in CHECKS.items():
        try:
            check(values[name])
        except ValueError as error:
            raise SettingError(f"{VARIABLES[name]}: {error}") from None
    return Infrastructure(**values)


def _chosen() -> str:
    wish = os.environ.get("BANGFU_INFRASTRUCTURE", "")
    if wish not in ("", "native", "containers"):
        raise SettingError(
            "BANGFU_INFRASTRUCTURE: 须为 native、containers 或不设 must be one of these, or not set"
        )
    return wish or ("containers" if containers.engine_answers() else "native")


def _start_keeper(
    data_folder: Path, *, detached: bool
) -> tuple[subprocess.Popen[str], Infrastructure]:
    folder = data_folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    words = ("detached", "lasting") if detached else ("attached", "temporary")
    with (folder / "keeper.log").open("a") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "deploy.native.keeper", str(folder), *words],
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            # Out of reach of the terminal's Ctrl-C: the keeper ends after its users.
            start_new_session=True,
        )
    try:
        answer = _answer(keeper, folder)
        return keeper, _with_databases(answer["postgres"], answer["kafka"])
    except BaseException:
        keeper.terminate()
        keeper.wait(STOP_SECONDS)
        raise


def _answer(keeper: subprocess.Popen[str], folder: Path) -> dict[str, str]:
    if keeper.stdout is None:
        raise InfrastructureError("the keeper has no output to read")
    with keeper.stdout as output:
        readable, _, _ = select.select([output], [], [], START_SECONDS)
        line = output.readline() if readable else ""
    if not line:
        raise InfrastructureError(
            f"服务器未能启动 no servers:\n{last_lines(folder / 'keeper.log')}"
        )
    answer: dict[str, str] = json.loads(line)
    if "error" in answer:
        raise InfrastructureError(answer["error"])
    return answer


def _with_databases(admin_url: str, kafka: str) -> Infrastructure:
    for name in (APPLICATION_DATABASE, KEYS_DATABASE):
        with psycopg.connect(admin_url) as connection:
            asked = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            exists = asked.fetchone() is not None
        if not exists:
            create_database(admin_url, name)
    return Infrastructure(
        postgres_url=database_url(admin_url, APPLICATION_DATABASE),
        keys_url=database_url(admin_url, KEYS_DATABASE),
        kafka_bootstrap=kafka,
    )


def _record(data_folder: Path, infrastructure: Infrastructure) -> None:
    record = data_folder / "infrastructure.json"
    data_folder.mkdir(parents=True, exist_ok=True)
    record.touch(mode=0o600)
    record.write_text(json.dumps(asdict(infrastructure), indent=2))


def _processes(data_folder: Path) -> dict[str, Identity]:
    try:
        state = json.loads((data_folder / "servers.json").read_text())
    except FileNotFoundError:
        return {}
    return {name: Identity(**identity) for name, identity in state["processes"].items()}
