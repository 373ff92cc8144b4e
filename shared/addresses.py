"""Addresses in settings, looked at before a client is given them.

A client that can't read an address raises what it stumbled over, which may be a part of a password.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit


def checked_dsn(value: str) -> str:
    """The address of a database, if the client can read it; its error would quote the password."""
    if value and not _has_address(value, ("postgresql", "postgres")):
        raise ValueError(
            "须为 must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE，特殊字符按网址转义"
            " escaped as URLs are"
        )
    return value


def checked_http_url(value: str) -> str:
    """The address of a service over HTTP."""
    if value and not _has_address(value, ("http", "https")):
        raise ValueError("须为 must be http://HOST:PORT 或 or https://HOST:PORT")
    return value


def checked_bootstrap(value: str) -> str:
    """Kafka's brokers, as HOST:PORT with commas between."""
    if value and not all(_has_address(f"kafka://{each}", ("kafka",)) for each in value.split(",")):
        raise ValueError(
            "须为 HOST:PORT，多个以逗号分隔 must be HOST:PORT, with commas between several"
        )
    return value


# A name or an address in brackets, and a port; of databases several may be named.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", re.ASCII)


def _has_address(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2]
    # A database may also be reached by a socket, which is named behind the question mark.
    named = all(map(_HOST.fullmatch, hosts.split(","))) if hosts else "host=" in parts.query
    return parts.scheme in schemes and named
