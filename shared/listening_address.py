"""Where a process is reached: an address that it can't have ends it with one line at its start.

Taken before anything else is begun, for a service that nobody can ask must not work on unseen. It
listens only once there is somebody to answer: until then whoever asks is turned away at once.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

SETTINGS: Final = ("BANGFU_HOST", "BANGFU_PORT")
BACKLOG: Final = 2048

_OF_THE_PORT: Final = {
    errno.EADDRINUSE: "端口 {port} 已被占用 port {port} is taken, somebody else listens there",
    errno.EACCES: "无权使用端口 {port} port {port} needs rights that this account has not",
}
_OF_THE_HOST: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


class AddressRefused(Exception):
    """The message is one line for the operator that names host or port."""

    @classmethod
    def of(cls, error: OSError, port: int, named: tuple[str, str] = SETTINGS) -> AddressRefused:
        """``named`` is what host and port are called where they were given."""
        said = _OF_THE_PORT.get(error.errno or 0)
        if said is not None:
            return cls(f"{named[1]}: {said.format(port=port)}")
        if isinstance(error, socket.gaierror) or error.errno in _OF_THE_HOST:
            return cls(f"{named[0]}: 本机没有此地址 this machine has no such address")
        return cls(f"{', '.join(named)}: 无法使用 cannot be used ({os.strerror(error.errno or 0)})")


@contextmanager
def bound(
    host: str, port: int, named: tuple[str, str] = SETTINGS
) -> Iterator[Sequence[socket.socket]]:
    """Sockets on each address of this host, not listening yet. Raises AddressRefused."""
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            sockets = [
                stack.enter_context(_bound(family, address))
                for family, address in dict.fromkeys((each[0], each[4]) for each in found)
            ]
        except (OSError, UnicodeError) as error:
            cause = error if isinstance(error, OSError) else OSError(errno.EADDRNOTAVAIL, "")
            raise AddressRefused.of(cause, port, named) from None
        yield sockets


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A process that ended a moment ago leaves its connections behind.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return made


def listen(sockets: Sequence[socket.socket], port: int, named: tuple[str, str] = SETTINGS) -> None:
    """Begin to listen. Raises AddressRefused: of two that took a port at once, one may."""
    for each in sockets:
        try:
            each.listen(BACKLOG)
        except OSError as error:
            raise AddressRefused.of(error, port, named) from None
