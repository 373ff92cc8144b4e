"""A small disk for PostgreSQL, which a test fills to its last byte.

In this order, whatever the machine allows: a file system in memory that we mount; the same in a
mount namespace of our own, which needs no right where user namespaces are allowed; a small one that
is there already (a container's /dev/shm has 64 MiB), for the services' database alone. Only where
there is none of these, a trigger answers with PostgreSQL's own error of a full disk (53100): the
services see the same, the server is spared.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from deploy.native.process import Identity
from sandbox.installation import SERVICES
from tests.conftest import TEST_FOLDER

SMALL_DISK: Final = "bangfu-small-disk"
DISK_MIB: Final = 320
MIB: Final = 1 << 20
SHARED_MEMORY: Final = Path("/dev/shm")
# A database of these tests takes about a third of it, and nobody else's work may be in the way.
SMALL_ENOUGH_MIB: Final = 256
ROOM_NEEDED_MIB: Final = 56
FULL: Final = "No space left on device"
WAYS: Final = ("mounted", "in a namespace", "for the database alone", "a trigger")


class Disk:
    """PostgreSQL's folder on a small disk, or its database, or neither; ``way`` says which."""

    def __init__(
        self, folder: Path, ways: tuple[str, ...] = WAYS, shared_memory: Path = SHARED_MEMORY
    ) -> None:
        self._folder = folder
        self._ways = ways
        self._shared_memory = shared_memory
        self._place = folder
        self._holder: subprocess.Popen[bytes] | None = None
        self.way = WAYS[-1]

    @property
    def holds_the_server(self) -> bool:
        """Whether PostgreSQL's own log lies on it too, so that it goes down when that is full."""
        return self.way in WAYS[:2]

    def make(self) -> None:
        """Before PostgreSQL starts; what a session that was killed left mounted goes first."""
        _unmount_leftovers()
        self._folder.mkdir(parents=True, exist_ok=True)
        if "mounted" in self._ways and self._mount():
            self.way = "mounted"
        elif "in a namespace" in self._ways and self._mount_in_a_namespace():
            self.way = "in a namespace"

    def _mount(self) -> bool:
        size = f"size={DISK_MIB}m,mode=700"
        asked = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, SMALL_DISK, self._folder],
            capture_output=True,
            check=False,
        )
        return asked.returncode == 0

    def _mount_in_a_namespace(self) -> bool:
        """It ends with the process that holds it, and that one with us.

        Only our own user has a name in there, and root's PostgreSQL is another's.
        """
        if os.geteuid() == 0:
            return False
        place = self._folder.with_name("small-disk")
        place.mkdir(exist_ok=True)
        mount = f'mount -t tmpfs -o size={DISK_MIB}m,mode=700 {SMALL_DISK} "$0" && echo mounted'
        words = ("--user", "--map-root-user", "--mount", "sh", "-c", f"{mount} && exec cat", place)
        try:
            holder = subprocess.Popen(
                ["unshare", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return False
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            _end(holder)
            return False
        self._holder = holder
        self._folder.rmdir()
        self._folder.symlink_to(f"/proc/{holder.pid}/root{place.absolute()}")
        return True

    def take(self, admin_url: str, database: str) -> None:
        """If PostgreSQL as a whole is not on a small disk, its database goes to one."""
        if self.holds_the_server or "for the database alone" not in self._ways:
            return
        with suppress(OSError):
            about = os.statvfs(self._shared_memory)
            size, free = (
                blocks * about.f_frsize // MIB for blocks in (about.f_blocks, about.f_bfree)
            )
            if size > SMALL_ENOUGH_MIB or free < ROOM_NEEDED_MIB:
                return
            place = self._shared_memory / f"bangfu-{os.getpid()}"
            owner = (self._folder / "data").stat()
            place.mkdir(mode=0o700)
            os.chown(place, owner.st_uid, owner.st_gid)
            with psycopg.connect(admin_url, autocommit=True) as connection:
                here = sql.Literal(str(place))
                connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(here))
                name = sql.Identifier(database)
                connection.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE small").format(name))
            self._place, self.way = place, "for the database alone"

    def remove(self) -> None:
        """After PostgreSQL has ended."""
        if self.way == "mounted":
            subprocess.run(["umount", "--lazy", self._folder], check=False)
        if self._holder is not None:
            _end(self._holder)
            self._folder.unlink()
        if self._place != self._folder:
            shutil.rmtree(self._place, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def fill(self) -> None:
        """Take whatever room there is; what is freed meanwhile, a second call takes."""
        if self.way != "a trigger":
            _fill(self._place / "ballast")

    @contextmanager
    def full(self, postgres_url: str) -> Iterator[str]:
        """Not a byte more for as long as the block runs; says how that is done."""
        if self.way == "a trigger":
            with _refusing_facts(postgres_url):
                yield "53100 raised by a trigger, for no small disk is to be had here"
            return
        try:
            self.fill()
            yield f"a small disk ({self.way}) filled up"
        finally:
            (self._place / "ballast").unlink()


def _end(holder: subprocess.Popen[bytes]) -> None:
    for stream in (holder.stdin, holder.stdout):
        if stream is not None:
            stream.close()
    holder.wait(10)


def _unmount_leftovers() -> None:
    """Of sessions that are over, by the process id that names their folder."""
    mounts = Path("/proc/mounts")
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        device, place, *_ = line.split()
        if device != SMALL_DISK or TEST_FOLDER not in Path(place).parents:
            continue
        session = Path(place).relative_to(TEST_FOLDER).parts[0]
        if not (session.isdecimal() and Identity.of(int(session)).is_alive()):
            subprocess.run(["umount", "--lazy", place], check=False)


def _fill(ballast: Path) -> None:
    """Take all there is, and what is freed for a moment as well."""
    with suppress_full(), ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress_full():
                while True:
                    file.write(b"\0" * size)


@contextmanager
def suppress_full() -> Iterator[None]:
    """The disk is full: as was asked."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@contextmanager
def _refusing_facts(postgres_url: str) -> Iterator[None]:
    refuse = (
        "CREATE FUNCTION public.disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION '{FULL}' USING ERRCODE = 'disk_full'; END $$"
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(refuse)
        for service in SERVICES:
            table = sql.Identifier(service, "facts")
            connection.execute(
                sql.SQL(
                    "CREATE TRIGGER disk_full BEFORE INSERT ON {} EXECUTE FUNCTION disk_full()"
                ).format(table)
            )
        try:
            yield
        finally:
            connection.execute("DROP FUNCTION public.disk_full() CASCADE")
