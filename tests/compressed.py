"""Compressed frames anywhere in bytes: found by their magic numbers, opened, and handed back.

For the search for leaks, which must look into a compressed Kafka batch, a rotated log or a body
that was packed before it was stored. gzip, zlib, zstd, lz4 and both ways of framing snappy are
known; a frame that is cut short gives what it still holds. Not for: PostgreSQL's TOAST, whose
tables are searched through SQL.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import cramjam

LARGEST: Final = 64 * 1024 * 1024
STEP: Final = 64 * 1024
# Two bytes of a zlib header also come by chance; what opens by chance opens to next to nothing.
SMALLEST: Final = 8

FRAMED: Final = b"\xff\x06\x00\x00sNaPpY"
# Deflate, and the greatest window that zlib's own header can name at each of its four levels.
MAGIC: Final = re.compile(
    rb"(?P<gzip>\x1f\x8b\x08)|(?P<zlib>x[\x01\x5e\x9c\xda])|(?P<zstd>\x28\xb5\x2f\xfd)"
    rb"|(?P<lz4>\x04\x22\x4d\x18)|(?P<xerial>\x82SNAPPY\x00)|(?P<framed>\xff\x06\x00\x00sNaPpY)"
)


@dataclass(frozen=True)
class Frame:
    """One compressed frame: where it stands, in which codec, and what was in it."""

    codec: str
    offset: int
    content: bytes


def frames(piece: bytes) -> Iterator[Frame]:
    """Every frame in the piece that opens, in order."""
    for match in MAGIC.finditer(piece):
        codec = match.lastgroup or ""
        content = b""
        # Bytes that only look like a frame are none; the piece itself is searched anyway.
        with suppress(zlib.error, cramjam.DecompressionError, IndexError, ValueError):
            content = OPENERS[codec](memoryview(piece)[match.start() :])
        if len(content) >= SMALLEST:
            yield Frame(codec, match.start(), content)


def _inflate(piece: memoryview, window: int) -> bytes:
    stream = zlib.decompressobj(window)
    found = bytearray()
    for start in range(0, len(piece), STEP):
        try:
            found += stream.decompress(piece[start : start + STEP], LARGEST - len(found))
        except zlib.error:
            break
        if stream.eof or len(found) >= LARGEST:
            break
    return bytes(found)


def _gzip(piece: memoryview) -> bytes:
    return _inflate(piece, 16 + zlib.MAX_WBITS)


def _zlib(piece: memoryview) -> bytes:
    return _inflate(piece, zlib.MAX_WBITS)


def _zstd(piece: memoryview) -> bytes:
    """RFC 8878: a header, then blocks that tell their own length."""
    descriptor = piece[4]
    single = descriptor >> 5 & 1
    end = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    end += (single, 2, 4, 8)[descriptor >> 6]
    while True:
        header = int.from_bytes(piece[end : end + 3], "little")
        end += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        if header & 1 or end > len(piece):
            break
    end += 4 * (descriptor >> 2 & 1)
    return bytes(cramjam.zstd.decompress(piece[:end]))


def _lz4(piece: memoryview) -> bytes:
    """The lz4 frame format: blocks with their length before them, ended by a length of zero."""
    flags = piece[4]
    end = 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
    while True:
        length = int.from_bytes(piece[end : end + 4], "little")
        end += 4
        if not length or end > len(piece):
            break
        end += (length & 0x7FFFFFFF) + 4 * (flags >> 4 & 1)
    end += 4 * (flags >> 2 & 1)
    return bytes(cramjam.lz4.decompress(piece[:end]))


def _xerial(piece: memoryview) -> bytes:
    """As Java's Kafka clients write snappy: 16 bytes of header, then blocks with their length."""
    found, start = bytearray(), 16
    while start + 4 <= len(piece):
        length = int.from_bytes(piece[start : start + 4], "big")
        start += 4
        if not 0 < length <= len(piece) - start:
            break
        with suppress(cramjam.DecompressionError):
            found += bytes(cramjam.snappy.decompress_raw(piece[start : start + length]))
        start += length
    return bytes(found)


def _framed(piece: memoryview) -> bytes:
    """Snappy's own framing: chunks of a kind, a length of three bytes and a checksum."""
    found, start = bytearray(), len(FRAMED)
    while start + 8 <= len(piece) and piece[start] in (0, 1):
        length = int.from_bytes(piece[start + 1 : start + 4], "little")
        chunk = piece[start + 8 : start + 4 + length]
        with suppress(cramjam.DecompressionError):
            found += bytes(chunk if piece[start] else cramjam.snappy.decompress_raw(chunk))
        start += 4 + length
    return bytes(found)


OPENERS: Final[dict[str, Callable[[memoryview], bytes]]] = {
    "gzip": _gzip,
    "zlib": _zlib,
    "zstd": _zstd,
    "lz4": _lz4,
    "xerial": _xerial,
    "framed": _framed,
}
