"""Standard output that can't take what is printed: one line that names it, and status 2.

What is printed is kept back by Python until there is enough of it, so a full disk may show only
when the program is over. A pipe whose reader has seen enough ends the program without a word.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

REFUSED: Final = 2
NOT_READ: Final = 1
NAMED: Final = "标准输出 standard output"


class OutputError(OSError):
    """Standard output could not be written to; says which of the system's errors it was."""


class _Output(io.FileIO):
    """The file descriptor of standard output, whose errors can be told from any other's."""

    def write(self, written: Any, /) -> int:
        try:
            return super().write(written)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


@contextmanager
def guarded(told: Callable[[OutputError], str]) -> Iterator[None]:
    """Around a whole program: ends it with this line once standard output fails.

    Does nothing where somebody has put another object into its place.
    """
    plain = sys.stdout
    if not isinstance(plain, io.TextIOWrapper) or plain is not sys.__stdout__:
        yield
        return
    plain.flush()
    sys.stdout = ours = io.TextIOWrapper(
        io.BufferedWriter(_Output(plain.fileno(), "w", closefd=False)),
        encoding=plain.encoding,
        errors=plain.errors,
        line_buffering=plain.line_buffering,
    )
    try:
        try:
            yield
        finally:
            # However it ends, what was printed before is either written or told as lost.
            ours.flush()
    except BrokenPipeError:
        _let_go(ours)
        raise SystemExit(NOT_READ) from None
    except OutputError as error:
        _let_go(ours)
        with suppress(OSError):
            print(told(error), file=sys.stderr, flush=True)
        _leave_errors_alone()
        raise SystemExit(REFUSED) from None


def _let_go(output: io.TextIOWrapper) -> None:
    """What can't be written is not tried again when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output.fileno())
    os.close(nowhere)


def _leave_errors_alone() -> None:
    try:
        sys.stderr.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)
