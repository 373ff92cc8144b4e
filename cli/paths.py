"""Paths that a person gives, looked at before anything is changed: one line names the argument.

What was looked at may be otherwise a moment later: `cli/command_line.py` sees to that.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.failures import file_failed
from cli.output import OutputError
from cli.surroundings import refuse


@contextmanager
def named(argument: str, path: Path) -> Iterator[None]:
    """Whatever the file system says within is told of this argument, and ends the command."""
    try:
        yield
    except (BrokenPipeError, OutputError):
        raise
    except OSError as error:
        refuse(f"{argument}: {file_failed(path, error)}")


def readable(argument: str, path: Path) -> None:
    """End with one line unless there is a file that may be read."""
    with named(argument, path):
        if stat.S_ISDIR(path.stat().st_mode):
            raise OSError(errno.EISDIR, "")
        _allow(path, os.R_OK)


def writable(argument: str, path: Path) -> None:
    """End with one line unless a regular file of this name may be put into its folder."""
    with named(argument, path):
        check_writable(path)


def check_writable(path: Path) -> None:
    """As `writable`. Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, "")
    if not stat.S_ISREG(mode):
        # What is written becomes the file of that name: of a device nothing would be left.
        raise OSError(errno.ENXIO, "")
    _allow_into(path.parent)


def writable_folder(argument: str, path: Path) -> None:
    """End with one line unless files may be put into this folder; it may have to be made."""
    with named(argument, path):
        folder = path
        while not folder.exists() and folder.parent != folder:
            folder = folder.parent
        _allow_into(folder)


def _allow_into(folder: Path) -> None:
    if not stat.S_ISDIR(folder.stat().st_mode):
        raise OSError(errno.ENOTDIR, "")
    _allow(folder, os.W_OK | os.X_OK)


def _allow(path: Path, right: int) -> None:
    if not os.access(path, right):
        raise OSError(errno.EACCES, "")
