"""A whole installation on one machine: schemas, roles, topics, secrets and one process a service.

What an operator's tooling does in production (deploy/), done here for the demo, for ``./run up``
and for the tests: processes are started with their own environment, their logs go to files, and
they are stopped by their own process ids.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx

from cli.rooms import outboxes
from deploy.infrastructure import Infrastructure
from deploy.native.process import Identity, free_ports, spawn
from sandbox.bank_settings import PREFIX, new_key_pair
from sandbox.fate import DEFAULT_RATES, Rates
from sandbox.issuer import SECRET_VARIABLE
from shared.clock import set_clock_file
from shared.preparing import ServicePasswords, database_urls, prepare

SERVICES: Final = ("network", "intake", "eligibility", "notice", "payout", "training")
CHECKOUT: Final = Path(__file__).resolve().parents[1]
SUBSCRIBER: Final = "sandbox-bank"
INSTRUCTIONS: Final = f"payout.instructions.{SUBSCRIBER}"
INSTALLER: Final = "installer"
START_SECONDS: Final = 150.0
STATE_FILE: Final = "installation.json"


class StartError(Exception):
    """A process did not come up; the message names its log."""


@dataclass
class Installation:
    """One installation and the processes of it that this object started."""

    folder: Path
    infrastructure: Infrastructure
    prefix: str = ""
    partitions: int = 12
    instant: datetime | None = None
    session_timeout_ms: int = 6000
    lease_seconds: float = 5.0
    # A day of the sandbox waits for many hops of little load; under load more pays.
    gather_ms: int = 0
    # Processes a service: the first is named after it, the second "intake-2".
    instances: int = 1
    # Detached processes outlive this one; ``stop_recorded`` ends them by what was recorded.
    detached: bool = False
    # What the sandbox's bank does to whom is drawn from these (fate.py).
    seed: int = 1
    rates: Rates = DEFAULT_RATES
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    master_key: str = field(
        default_factory=lambda: base64.b64encode(secrets.token_bytes(32)).decode(), repr=False
    )

    @property
    def clock_file(self) -> Path:
        return self.folder / "clock"

    @property
    def people_file(self) -> Path:
        return self.folder / "people.json"

    def url(self, name: str) -> str:
        """Where a process answers."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def instances_of(self, service: str) -> list[str]:
        """The processes of a service; each has its own port and log."""
        return [service, *(f"{service}-{n}" for n in range(2, self.instances + 1))]

    @property
    def service_processes(self) -> list[str]:
        """All instances of all services."""
        return [name for service in SERVICES for name in self.instances_of(service)]

    @property
    def process_names(self) -> list[str]:
        """Everything that is started, in this order."""
        return ["issuer", *self.service_processes, "bank"]

    def urls(self) -> dict[str, str]:
        """Where each process answers."""
        return {name: self.url(name) for name in self.process_names}

    def set_clock(self, instant: datetime) -> None:
        """Move business time; every process reads the same file."""
        set_clock_file(self.clock_file, instant)

    def set_people(self, people: Sequence[str | Mapping[str, object]]) -> None:
        """Whom the development issuer gives tokens to."""
        partial = self.people_file.with_suffix(".partial")
        partial.write_text(json.dumps(list(people)))
        partial.replace(self.people_file)

    async def prepare(self) -> None:
        """Schemas, roles, keys, topics and the environment of each process."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        if not self.people_file.exists():
            self.set_people([INSTALLER, {"subject": SUBSCRIBER, "client": True}])
        if self.instant is not None:
            self.set_clock(self.instant)
        passwords = {
            name: ServicePasswords(*(secrets.token_urlsafe(24) for _ in range(3)))
            for name in SERVICES
        }
        servers = self.infrastructure
        await prepare(
            servers.postgres_url,
            servers.keys_url,
            servers.kafka_bootstrap,
            passwords,
            [each for name in SERVICES for each in outboxes(name, self.prefix, SUBSCRIBER)],
            partitions=self.partitions,
        )
        names = self.process_names
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        for service in SERVICES:
            shared = self._service_environment(service, passwords[service])
            for number, name in enumerate(self.instances_of(service)):
                own = {"BANGFU_INSTANCE": str(number), "BANGFU_PORT": str(self.ports[name])}
                self.environments[name] = shared | own
        self.environments["issuer"] = {SECRET_VARIABLE: self.secret}
        self._introduce_bank()

    def _service_environment(self, name: str, passwords: ServicePasswords) -> dict[str, str]:
        admin, keys_admin = self.infrastructure.postgres_url, self.infrastructure.keys_url
        environment = {
            "BANGFU_SERVICE": name,
            "BANGFU_MODE": "sandbox",
            **database_urls(admin, keys_admin, name, passwords),
            "BANGFU_MASTER_KEY": self.master_key,
            "BANGFU_KAFKA_BOOTSTRAP": self.infrastructure.kafka_bootstrap,
            "BANGFU_TOPIC_PREFIX": self.prefix,
            "BANGFU_PARTITIONS": str(self.partitions),
            "BANGFU_ISSUER": self.url("issuer"),
            "BANGFU_JWKS_URL": self.url("issuer") + "/jwks",
            "BANGFU_INSTALLATION": "sandbox",
            "BANGFU_INSTALLATION_SUBJECT": INSTALLER,
            "BANGFU_SESSION_TIMEOUT_MS": str(self.session_timeout_ms),
            "BANGFU_LEASE_SECONDS": str(self.lease_seconds),
            "BANGFU_GATHER_MS": str(self.gather_ms),
            "BANGFU_LOG_LEVEL": "warning",
        }
        if self.instant is not None:
            environment["BANGFU_CLOCK_FILE"] = str(self.clock_file)
        return environment

    def _introduce_bank(self) -> None:
        """The bank and payout learn each other's address, and payout the bank's public key."""
        keys = new_key_pair()
        for name in self.instances_of("payout"):
            self.environments[name] |= {
                "BANGFU_BANK_SUBSCRIBER": SUBSCRIBER,
                "BANGFU_BANK_PUBLIC_KEY": keys.public,
                "BANGFU_BANK_URL": self.url("bank"),
            }
        said = {
            "FOLDER": str(self.folder / "bank"),
            "PORT": str(self.ports["bank"]),
            "KAFKA_BOOTSTRAP": self.infrastructure.kafka_bootstrap,
            "TOPIC": self.prefix + INSTRUCTIONS,
            "GROUP": self.prefix + SUBSCRIBER,
            "SESSION_TIMEOUT_MS": str(self.session_timeout_ms),
            "SUBSCRIBER": SUBSCRIBER,
            "PRIVATE_KEY": keys.private.get_secret_value(),
            "PAYOUT_URL": self.url("payout"),
            "ISSUER_URL": self.url("issuer"),
            "ISSUER_SECRET": self.secret,
            "SEED": str(self.seed),
            "RATES": json.dumps(asdict(self.rates)),
        }
        if self.instant is not None:
            said["CLOCK_FILE"] = str(self.clock_file)
        self.environments["bank"] = {PREFIX + name: text for name, text in said.items()}

    def command(self, name: str) -> list[str]:
        """The command line of a process, as an operator would type it."""
        if name == "issuer":
            port, people = str(self.ports["issuer"]), str(self.people_file)
            return [sys.executable, "-m", "sandbox.issuer", "--port", port, "--people", people]
        if name == "bank":
            return [sys.executable, "-m", "sandbox.bank"]
        service = self.environments[name]["BANGFU_SERVICE"]
        return [sys.executable, "-m", f"services.{service}.main"]

    def start(self, name: str) -> None:
        """Start one process; its output goes to its log."""
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **self.environments[name]}
        self.processes[name] = spawn(
            self.command(name),
            log=self.folder / "logs" / f"{name}.log",
            folder=CHECKOUT,
            death_signal=None if self.detached else signal.SIGTERM,
            environment=environment,
        )

    def record(self) -> None:
        """Leave word of what runs, for whoever looks on or stops it later."""
        pids = {name: asdict(Identity.of(p.pid)) for name, p in self.processes.items()}
        known = {"processes": pids, "ports": self.ports, "secret": self.secret}
        path = self.folder / STATE_FILE
        path.touch(mode=0o600)
        path.write_text(json.dumps(known))

    def write_environment(self) -> Path:
        """A file to source, so that ``./run bangfu`` speaks with this installation."""
        intake = self.environments["intake"]
        known = {
            **self.infrastructure.as_environment(),
            **{
                name: intake[name]
                for name in (
                    "BANGFU_TOPIC_PREFIX",
                    "BANGFU_PARTITIONS",
                    "BANGFU_MASTER_KEY",
                    "BANGFU_ISSUER",
                    "BANGFU_JWKS_URL",
                    "BANGFU_KEYS_URL",
                )
            },
        }
        # For `bangfu import`, and for `./run token`.
        known |= {"BANGFU_INTAKE_URL": self.url("intake"), SECRET_VARIABLE: self.secret}
        known["BANGFU_SERVICE_URLS"] = ",".join(
            f"{service}={self.url(name)}"
            for service in SERVICES
            for name in self.instances_of(service)
        )
        if self.instant is not None:
            known |= {"BANGFU_MODE": "sandbox", "BANGFU_CLOCK_FILE": str(self.clock_file)}
        for name in self.service_processes:
            # So that whoever looks on can end a process and start it again by hand.
            _write_exports(self.folder / f"environment.{name}", self.environments[name])
        path = self.folder / "environment"
        _write_exports(path, known)
        return path

    async def wait_until_ready(self, names: Sequence[str]) -> None:
        """Until each answers its readiness (the issuer: its keys). Raises StartError."""
        paths = {"issuer": "/jwks", "bank": "/status"}
        deadline = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient(timeout=5.0) as client:
            for name in names:
                answers = False
                while not answers:
                    answers = await self._answers(client, name, paths.get(name, "/health/ready"))
                    # Where ours has ended, another's process has its port and answers for it.
                    if self.processes[name].poll() is not None or time.monotonic() > deadline:
                        raise StartError(
                            f"{name}: 未能就绪，见日志 is not ready, see its log: "
                            f"{self.folder / 'logs' / name}.log"
                        )
                    await asyncio.sleep(0 if answers else 0.1)

    async def _answers(self, client: httpx.AsyncClient, name: str, path: str) -> bool:
        try:
            response = await client.get(self.url(name) + path)
        except httpx.TransportError:
            return False
        return response.status_code == httpx.codes.OK

    def kill(self, name: str) -> None:
        """As a machine that loses power: no warning, no last words."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self, names: Sequence[str] | None = None) -> None:
        """Ask processes to end, and insist after a while."""
        chosen = list(names if names is not None else self.processes)
        for name in chosen:
            self.processes[name].terminate()
        deadline = time.monotonic() + 15
        for name in chosen:
            process = self.processes.pop(name)
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _write_exports(path: Path, settings: Mapping[str, str]) -> None:
    path.touch(mode=0o600)
    path.write_text("".join(f"export {n}={shlex.quote(v)}\n" for n, v in settings.items()))


def stop_recorded(folder: Path) -> bool:
    """Stop what an earlier process left running in this folder; False if nothing was."""
    path = folder / STATE_FILE
    if not path.exists():
        return False
    for known in json.loads(path.read_text())["processes"].values():
        Identity(**known).end()
    path.unlink()
    return True
