"""Apache Kafka as a plain process: one broker and controller (KRaft), on its own jars."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Generator, Iterator
from pathlib import Path

from deploy.native.process import (
    CHECKOUT,
    InfrastructureError,
    free_ports,
    last_lines,
    signal_and_wait,
    spawn,
)

POM = CHECKOUT / "deploy" / "native" / "pom.xml"
ATTEMPTS = 5
START_SECONDS = 60.0
READY = b"Kafka Server started"

JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # A broker that lives for minutes never earns back what its better code costs to make.
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class Kafka:
    """One broker with its log in `folder`/kafka."""

    name = "kafka"

    def __init__(self, folder: Path) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.port: int | None = None
        self._controller_port: int | None = None
        self._folder = folder / "kafka"
        self._log = folder / "kafka.log"
        self._properties = self._folder / "server.properties"

    @property
    def bootstrap(self) -> str:
        """The broker's address."""
        return f"127.0.0.1:{self.port}"

    def starting(self) -> Iterator[None]:
        (self._folder / "temporary").mkdir(parents=True, exist_ok=True)
        first_start = self.port is None
        for _ in range(ATTEMPTS):
            if first_start:
                self.port, self._controller_port = free_ports(2)
            self._write_properties()
            if not (self._folder / "log" / "meta.properties").exists():
                yield from self._format()
            written = self._log.stat().st_size if self._log.exists() else 0
            self.process = self._java("kafka.Kafka", self._properties.name)
            if (yield from self._until_ready(written)):
                return
            said = self._log.read_bytes()[written:].decode(errors="replace")
            if not re.search(r"BindException|Address already in use|in use", said):
                break
        raise InfrastructureError(f"Kafka: 未能启动 did not start:\n{last_lines(self._log)}")

    def stop(self, *, keep_data: bool) -> None:
        if self.process is not None:
            how = signal.SIGTERM if keep_data else signal.SIGKILL
            signal_and_wait(self.process, how, patience_seconds=20.0)
        if not keep_data:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write_properties(self) -> None:
        broker, controller = f"127.0.0.1:{self.port}", f"127.0.0.1:{self._controller_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.listener.names": "CONTROLLER",
            # From the server's working folder: a checkout's path may hold a comma or be Chinese.
            "log.dirs": "log",
            # A killed broker may come back as soon as its old session is over.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "1000",
            # No empty record twice a second, flushed to the disk that PostgreSQL's log needs.
            "metadata.max.idle.interval.ms": "0",
            "auto.create.topics.enable": "false",
            # Finite retention takes effect soon, so that a test or a person can watch it.
            "log.retention.check.interval.ms": "2000",
            "default.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
        }
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        self._properties.write_text("".join(lines))

    def _format(self) -> Iterator[None]:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = self._java(
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            f"--cluster-id={cluster}",
            f"--config={self._properties.name}",
        )
        while tool.poll() is None:
            yield
        if tool.returncode != 0:
            raise InfrastructureError(
                f"Kafka: 数据夹未能初始化 its folder was not formatted:\n{last_lines(self._log)}"
            )

    def _java(self, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        temporary = f"-Djava.io.tmpdir={self._folder / 'temporary'}"
        command = ["-cp", f"{jar_folder()}/*", main_class, *arguments]
        return spawn(
            [find_java(), *JVM, temporary, *command],
            log=self._log,
            folder=self._folder,
            death_signal=signal.SIGKILL,
            environment={**os.environ, "LC_ALL": "C.UTF-8"},
        )

    def _until_ready(self, written: int) -> Generator[None, None, bool]:
        deadline = time.monotonic() + START_SECONDS
        while self.process is not None and self.process.poll() is None:
            if READY in self._log.read_bytes()[written:]:
                return True
            if time.monotonic() > deadline:
                signal_and_wait(self.process, signal.SIGKILL, patience_seconds=5.0)
            yield
        return False


def find_java() -> Path:
    """The program `java` that ./run setup has found to be new enough."""
    link = CHECKOUT / ".bangfu" / "java"
    if not link.exists():
        raise InfrastructureError("缺少 Java 17 或更新 Java 17 or later is missing: ./run setup")
    return link.resolve()


def jar_folder() -> Path:
    """Where ./run setup has put the jars that this very pom names."""
    version = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    folder = CHECKOUT / ".bangfu" / "kafka" / version
    if not folder.is_dir():
        raise InfrastructureError("缺少 Kafka 的程序包 Kafka's jars are missing: ./run setup")
    return folder
