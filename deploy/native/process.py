"""Starts, watches and ends server processes by their own ids.

Not for: what a particular server needs; see postgres.py and kafka.py beside this file.
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHECKOUT = Path(__file__).resolve().parents[2]

# Below the range that Linux and macOS give to outgoing connections, so that a port found
# free can be lost to another server only, and then the start is tried again.
PORTS = range(20_000, 32_000)

_PR_SET_PDEATHSIG = 1


class InfrastructureError(Exception):
    """There are no servers to be had; the message tells a person what to do."""


class Server(Protocol):
    """One server that the keeper starts, watches, starts again and stops.

    `starting` yields while there is something to wait for. All processes are started from one
    thread, because the kernel ties a child's death signal to the thread that made it.
    """

    name: str
    process: subprocess.Popen[bytes] | None

    def starting(self) -> Iterator[None]: ...

    def stop(self, *, keep_data: bool) -> None: ...


@dataclass(frozen=True)
class Identity:
    """A process that can't be mistaken for a later one with the same id."""

    pid: int
    started: str

    @staticmethod
    def of(pid: int) -> "Identity":
        return Identity(pid, _start_time(pid) or "gone")

    def is_alive(self) -> bool:
        return _start_time(self.pid) == self.started

    def end(self, patience_seconds: float = 20.0) -> None:
        """Ask the process to stop, and kill it when it does not."""
        for number, seconds in ((signal.SIGTERM, patience_seconds), (signal.SIGKILL, 5.0)):
            if not self.is_alive():
                return
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + seconds
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)


def _start_time(pid: int) -> str | None:
    """When a process began, as text that only that process has; None when it is gone."""
    if not sys.platform.startswith("linux"):
        asked = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        state, _, started = asked.stdout.strip().partition(" ")
        return started.strip() if started and not state.startswith("Z") else None
    try:
        # The name in brackets may hold spaces and brackets itself: count from the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now; a server that loses one is started on others."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise InfrastructureError("没有空闲端口 no free port between 20000 and 32000 on 127.0.0.1")


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    folder: Path,
    death_signal: signal.Signals | None,
    user: tuple[int, int] | None = None,
    pass_fds: Sequence[int] = (),
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; the kernel ends it when its parent dies.

    Without a ``death_signal`` it outlives its parent, and somebody has to stop it by its id.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment,
            start_new_session=True,
            user=None if user is None else user[0],
            group=None if user is None else user[1],
            extra_groups=None if user is None else [],
            pass_fds=pass_fds,
            preexec_fn=None if death_signal is None else _dying_with_parent(death_signal),
        )


def _dying_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None  # The keeper still stops its servers; only its own kill -9 leaves them.
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask_kernel() -> None:
        # Runs after the change of user, which would otherwise clear the setting.
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


def signal_and_wait(
    process: subprocess.Popen[bytes], number: signal.Signals, patience_seconds: float
) -> None:
    """Send one signal to our own child, then kill it if it does not end in time."""
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, for a message about a server that did not start."""
    if not log.exists():
        return "(no output)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
