"""The search for personal values: many values, each in every form that it could hide in.

A value is searched whole and as it stands in bytes: in four encodings, inside JSON escapes (also
escaped again), base64 at all three alignments, hex, percent-encoding, as Python shows bytes, and as
an unkeyed hash, since ID numbers can be enumerated. All forms of all values are one automaton, so
the bytes are read once; compressed frames are opened and read as well.

Not for: where bytes come from; see leak_sources.py beside this file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

from ahocorasick_rs import BytesAhoCorasick

from tests.compressed import frames

ENCODINGS: Final = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
# Shorter ones would meet other bytes by chance.
SHORTEST: Final = 8
DEEPEST: Final = 3
STANDARD_TO_URL: Final = bytes.maketrans(b"+/", b"-_")

Piece = tuple[str, bytes]


@dataclass(frozen=True)
class Leak:
    """A value that stands where it must not: which one, in which form, and where.

    The value itself is not told, so that a report of leaks is none.
    """

    value: str
    form: str
    source: str
    offset: int


class Search:
    """A search for values, each under a label that may be shown."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._known: dict[bytes, tuple[str, str]] = {}
        for label, value in values.items():
            for form, pattern in forms(value):
                if len(pattern) < SHORTEST:
                    raise ValueError(f"{label}: {form} has fewer than {SHORTEST} bytes")
                self._known.setdefault(pattern, (label, form))
        self._patterns = list(self._known)
        self._automaton = BytesAhoCorasick(self._patterns)
        self.searched_bytes = 0

    def among(self, pieces: Iterable[Piece]) -> list[Leak]:
        """The leaks in all pieces (where from, what bytes), each (value, form, source) once."""
        return [leak for source, piece in pieces for leak in self.within(source, piece)]

    def within(self, source: str, piece: bytes, depth: int = 0) -> list[Leak]:
        """The leaks in one piece and in what is compressed in it."""
        self.searched_bytes += len(piece)
        found: dict[tuple[str, str], Leak] = {}
        # Overlapping, for one value may stand within another: a name within free text.
        for index, start, _ in self._automaton.find_matches_as_indexes(piece, overlapping=True):
            label, form = self._known[self._patterns[index]]
            found.setdefault((label, form), Leak(label, form, source, start))
        leaks = list(found.values())
        if depth < DEEPEST:
            for frame in frames(piece):
                where = f"{source} › {frame.codec} at {frame.offset}"
                leaks += self.within(where, frame.content, depth + 1)
        return leaks


def forms(value: str) -> Iterator[tuple[str, bytes]]:
    """Every form (its name, its bytes) in which this value is searched."""
    for encoding in ENCODINGS:
        plain = value.encode(encoding)
        yield encoding, plain
        yield from _in_base64(encoding, plain)
        yield from _in_hex(encoding, plain)
    for encoding in ENCODINGS[:2]:
        plain = value.encode(encoding)
        yield from _in_percent(encoding, plain)
        yield f"bytes as Python shows them, {encoding}", repr(plain)[2:-1].encode()
    for name, escaped in _in_json(value):
        yield name, escaped
        yield from _in_base64(name, escaped)
        # Text that is itself put into JSON, or a table's text format, doubles the backslashes.
        yield f"{name}, escaped twice", escaped.replace(b"\\", b"\\\\")
        yield f"{name}, escaped three times", escaped.replace(b"\\", b"\\\\\\\\")
    yield from _hashed(value)


def _in_base64(name: str, plain: bytes) -> Iterator[tuple[str, bytes]]:
    """The characters that this text alone decides, wherever in three bytes it begins."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + plain + bytes(2))
        kept = encoded[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
        yield f"base64 of {name}, {shift} along", kept
        yield f"url-safe base64 of {name}, {shift} along", kept.translate(STANDARD_TO_URL)


def _in_hex(name: str, plain: bytes) -> Iterator[tuple[str, bytes]]:
    yield f"hex of {name}", plain.hex().encode()
    yield f"upper-case hex of {name}", plain.hex().upper().encode()


def _in_percent(name: str, plain: bytes) -> Iterator[tuple[str, bytes]]:
    upper = quote_from_bytes(plain, safe="")
    yield f"percent-encoded {name}", upper.encode()
    lower = "".join(c.lower() if p else c for p, c in _after_percent(upper))
    yield f"lower-case percent-encoded {name}", lower.encode()
    yield f"percent-encoded {name}, every byte", "".join(f"%{b:02X}" for b in plain).encode()


def _after_percent(text: str) -> Iterator[tuple[bool, str]]:
    for place, character in enumerate(text):
        yield "%" in text[max(0, place - 2) : place], character


def _in_json(value: str) -> Iterator[tuple[str, bytes]]:
    escaped = json.dumps(value)[1:-1]
    yield "JSON escapes", escaped.encode()
    upper = re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda digits: digits[0].upper(), escaped)
    yield "upper-case JSON escapes", upper.encode()
    units = value.encode("utf-16-be").hex()
    every = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    yield "JSON escapes of every character", every.encode()


def _hashed(value: str) -> Iterator[tuple[str, bytes]]:
    for algorithm in ("sha256", "sha1", "md5"):
        digest = hashlib.new(algorithm, value.encode(), usedforsecurity=False).digest()
        yield f"{algorithm}", digest
        yield f"{algorithm} in hex", digest.hex().encode()
        yield f"{algorithm} in base64", base64.b64encode(digest).rstrip(b"=")
