"""Keeps PostgreSQL and Kafka for one checkout: the only process that starts and stops them.

It runs beside the program that wants servers, not inside it, so that they end in every case:
when asked, when that program ends or is killed, and (by the kernel) when the keeper itself is
killed. A server that crashes is started again on its port with its data.

    python -m deploy.native.keeper FOLDER attached|detached temporary|lasting

It says one line of JSON on standard output, `{"postgres": …, "kafka": …}` or `{"error": …}`.
Attached, it ends with its parent or when its standard input closes.
"""

import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from deploy.native.kafka import Kafka
from deploy.native.postgres import Postgres
from deploy.native.process import Identity, InfrastructureError, Server

LOCK_SECONDS = 30.0
CRASHES_FORGIVEN = 20


class Keeper:
    """Two servers, started side by side from one thread."""

    def __init__(self, folder: Path, *, attached: bool, temporary: bool) -> None:
        self._folder = folder
        self._attached = attached
        self._temporary = temporary
        self._parent = os.getppid()
        self._asked_to_stop = False
        self._crashes = 0
        self._postgres = Postgres(folder)
        self._kafka = Kafka(folder)
        self._servers: Sequence[Server] = (self._postgres, self._kafka)

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._hear_signal)
        if self._temporary:
            self._stop_all()  # Data of an earlier keeper that was killed is not to be found again.
        try:
            self._advance({server.name: server.starting() for server in self._servers})
            if not self._must_stop():
                self._report()
                self._watch()
        finally:
            (self._folder / "servers.json").unlink(missing_ok=True)
            self._stop_all()

    def _stop_all(self) -> None:
        for server in self._servers:
            server.stop(keep_data=not self._temporary)

    def _hear_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_stop = True

    def _must_stop(self, wait_seconds: float = 0.0) -> bool:
        if not self._attached:
            time.sleep(wait_seconds)
            return self._asked_to_stop
        readable, _, _ = select.select([sys.stdin], [], [], wait_seconds)
        return self._asked_to_stop or bool(readable) or os.getppid() != self._parent

    def _advance(self, starting: dict[str, Iterator[None]]) -> None:
        while starting and not self._must_stop(wait_seconds=0.01):
            for name, steps in list(starting.items()):
                if next(steps, StopIteration) is StopIteration:
                    del starting[name]

    def _report(self) -> None:
        addresses = {"postgres": self._postgres.admin_url, "kafka": self._kafka.bootstrap}
        self._write_state(addresses)
        print(json.dumps(addresses), flush=True)
        # Whoever started a detached keeper may go: nothing may hang on its pipe.
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, sys.stdout.fileno())

    def _write_state(self, addresses: dict[str, str]) -> None:
        processes = {"keeper": os.getpid()}
        processes |= {s.name: s.process.pid for s in self._servers if s.process and _runs(s)}
        identities = {name: vars(Identity.of(pid)) for name, pid in processes.items()}
        draft = self._folder / "servers.json.draft"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({"addresses": addresses, "processes": identities}, indent=2))
        draft.replace(self._folder / "servers.json")

    def _watch(self) -> None:
        addresses = {"postgres": self._postgres.admin_url, "kafka": self._kafka.bootstrap}
        while not self._must_stop(wait_seconds=0.2):
            crashed = [server for server in self._servers if not _runs(server)]
            if not crashed:
                continue
            names = " and ".join(server.name for server in crashed)
            self._crashes += 1
            if self._crashes > CRASHES_FORGIVEN:
                raise InfrastructureError(f"{names}: 一再崩溃 crashed again and again")
            print(f"{names} ended unasked: starting again", file=sys.stderr, flush=True)
            self._advance({server.name: server.starting() for server in crashed})
            self._write_state(addresses)


def _runs(server: Server) -> bool:
    return server.process is not None and server.process.poll() is None


def hold_folder(folder: Path) -> int:
    """Take the folder for this process alone; an old keeper may still be stopping."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"{folder}: 服务器已在运行 servers already run here"
                ) from None
            time.sleep(0.1)
        else:
            return lock


def main(folder: str, tie: str, life: str) -> int:
    """Keep servers in `folder` until told to stop; 0 when they ended as asked."""
    try:
        hold_folder(Path(folder))
        Keeper(Path(folder), attached=tie == "attached", temporary=life == "temporary").run()
    except (InfrastructureError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
