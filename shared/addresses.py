"""Addresses in settings, looked at before a client is given them.

A client that can't read an address raises what it stumbled over, which may be a part of a password.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

# What Kafka takes in a topic's name, and so many that the longest of ours is none too long for it.
TOPIC_PREFIX: Final = r"^[A-Za-z0-9._-]{0,150}$"
SUBSCRIBER: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"


def checked_dsn(value: str) -> str:
    """The address of a database, if the client can read it; its error would quote the password."""
    if value and not _names_database(value):
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


# A name or an address in brackets, and a port; of databases several may be named. No part of a name
# is empty or too long: asked for such a one, the client ends with an error that is no server's.
_HOST: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?)(?::(\d{1,5}))?",
    re.ASCII,
)
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
_LARGEST_PORT: Final = 65_535


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and _is_port(found[1] or "0")


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= _LARGEST_PORT


def _has_address(url: str, schemes: tuple[str, ...]) -> bool:
    parts = _parts(url, schemes)
    return parts is not None and all(map(_is_host, _hosts(parts)))


def _names_database(url: str) -> bool:
    """Behind the question mark, too: there hosts (or a socket's folder) and ports may stand."""
    parts = _parts(url, ("postgresql", "postgres"))
    if parts is None:
        return False
    try:
        named = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        return False
    hosts = _hosts(parts)
    if hosts == [""]:
        hosts = named.get("host", "").split(",")
        is_named = all(host.startswith("/") or _is_host(host) for host in hosts)
    else:
        is_named = all(map(_is_host, hosts))
    ports = named["port"].split(",") if "port" in named else []
    return is_named and all(map(_is_port, ports)) and len(ports) in (0, 1, len(hosts))


def _parts(url: str, schemes: tuple[str, ...]) -> SplitResult | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.scheme in schemes else None


def _hosts(parts: SplitResult) -> list[str]:
    return parts.netloc.rpartition("@")[2].split(",")
