"""The same servers in containers: testcontainers for a block, compose for `./run up`.

Untried: no machine of ours had a container engine when this was written.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any

from deploy.native.process import CHECKOUT, InfrastructureError, free_ports

POSTGRES_IMAGE = "postgres:17.5-bookworm"
KAFKA_IMAGE = "apache/kafka:4.3.0"
COMPOSE_FILE = CHECKOUT / "deploy" / "compose.yaml"
SUPERUSER = "postgres"
# A container's ports are published on 127.0.0.1 alone, so this guards nothing worth more.
PASSWORD = "bangfu"  # noqa: S105 - a throw-away server on loopback
ENGINE_SECONDS = 2
START_SECONDS = 120.0

KAFKA_SETTINGS = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093,LOCAL://:9094",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": (
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOCAL:PLAINTEXT"
    ),
    "KAFKA_INTER_BROKER_LISTENER_NAME": "LOCAL",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_HEAP_OPTS": "-Xmx512m",
}


def engine_answers() -> bool:
    """True if a container engine can be talked to from here."""
    import docker
    from docker.errors import DockerException

    with suppress(DockerException):
        client = docker.from_env(timeout=ENGINE_SECONDS)
        try:
            return bool(client.ping())
        finally:
            client.close()
    return False


@contextmanager
def start() -> Iterator[tuple[str, str]]:
    """Fresh servers for a block: PostgreSQL's superuser URL and Kafka's address."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    postgres_port, kafka_port = free_ports(2)
    postgres = (
        DockerContainer(POSTGRES_IMAGE)
        .with_env("POSTGRES_PASSWORD", PASSWORD)
        .with_command("postgres -c max_connections=400 -c shared_buffers=256MB -c timezone=UTC")
    )
    kafka = DockerContainer(KAFKA_IMAGE)
    _publish(postgres.ports, 5432, postgres_port)
    _publish(kafka.ports, 9092, kafka_port)
    advertised = f"PLAINTEXT://127.0.0.1:{kafka_port},LOCAL://localhost:9094"
    for name, value in {**KAFKA_SETTINGS, "KAFKA_ADVERTISED_LISTENERS": advertised}.items():
        kafka = kafka.with_env(name, value)
    with postgres, kafka:
        wait_for_logs(kafka, "Kafka Server started", timeout=START_SECONDS)
        admin_url = _admin_url(postgres_port)
        _wait_for_postgres(admin_url)
        yield admin_url, f"127.0.0.1:{kafka_port}"


def compose_up() -> tuple[str, str]:
    """Servers that outlive this process: PostgreSQL's superuser URL and Kafka's address."""
    postgres_port, kafka_port = _published_ports() or free_ports(2)
    ports = {
        "BANGFU_POSTGRES_PORT": str(postgres_port),
        "BANGFU_KAFKA_PORT": str(kafka_port),
        "BANGFU_POSTGRES_PASSWORD": PASSWORD,
    }
    _compose("up", "--detach", "--wait", environment=ports)
    admin_url = _admin_url(postgres_port)
    _wait_for_postgres(admin_url)
    return admin_url, f"127.0.0.1:{kafka_port}"


def compose_is_up() -> bool:
    """True if the containers of this checkout run."""
    return engine_answers() and _published_ports() is not None


def compose_down() -> None:
    """Stop the containers of this checkout; their data stays in volumes."""
    _compose("down")


def _publish(ports: dict[str, Any], inside: int, outside: int) -> None:
    """On loopback only: testcontainers' own method knows no address, its engine does."""
    ports[f"{inside}/tcp"] = ("127.0.0.1", outside)


def _admin_url(port: int) -> str:
    return f"postgresql://{SUPERUSER}:{PASSWORD}@127.0.0.1:{port}/postgres"


def _published_ports() -> list[int] | None:
    """PostgreSQL's and Kafka's ports on this machine, if both containers run."""
    listed = _compose("ps", "--format", "json").splitlines()
    found: dict[str, int] = {}
    for container in map(json.loads, listed):
        for publisher in container.get("Publishers") or []:
            if publisher["PublishedPort"]:
                found[container["Service"]] = publisher["PublishedPort"]
    return [found["postgres"], found["kafka"]] if {"postgres", "kafka"} <= found.keys() else None


def _compose(*words: str, environment: dict[str, str] | None = None) -> str:
    # A project of its own for each checkout, so that two may run side by side.
    project = "bangfu-" + sha256(str(CHECKOUT).encode()).hexdigest()[:8]
    done = subprocess.run(
        ["docker", "compose", "--project-name", project, "--file", str(COMPOSE_FILE), *words],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        asked = f"docker compose {words[0]}"
        raise InfrastructureError(
            f"{asked}: 失败 failed（BANGFU_INFRASTRUCTURE=native 可不用它 goes without it）:"
            f"\n{done.stderr.strip()}"
        )
    return done.stdout


def _wait_for_postgres(admin_url: str) -> None:
    """The image starts a server to set itself up and then another one: wait for the last."""
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(admin_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
