"""Records whose headers are called by bytes that are no text: read like all others, and once."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from shared import header_names
from shared.bounds import BrokenRecord
from shared.record_headers import claimed_by_headers, recorded_from_headers
from tests.raw_names import ESCAPED, NO_TEXT, builder

PLACE = TopicPartition("somebody.facts", 0)
GZIP = 1
# What a fetch brings: in each batch, how the header of each record is called.
BATCHES = (("a", "b"), ("c", NO_TEXT, "d"), (NO_TEXT,), ("e", "f"))
NAMES = ["a", "b", "c", ESCAPED, "d", ESCAPED, "e", "f"]


def fetched(
    batches: tuple[tuple[str, ...], ...] = BATCHES, compression: int = 0, start: int = 0
) -> bytes:
    """As a broker answers: whole batches, from the one that holds the offset asked for."""
    whole, offset = b"", 0
    for names in batches:
        made = builder(compression)
        for at, name in enumerate(names):
            made.append(at, 1_000, b"key", b"value", [(name, b"\xfe"), ("none", None)])
        batch = bytearray(made.build())
        struct.pack_into(">q", batch, 0, offset)
        offset += len(names)
        whole += batch if offset > start else b""
    return whole


def partition(whole: bytes, offset: int = 0) -> Any:
    """As the fetcher makes it of an answer, by the names that the fetcher has."""
    records = fetcher.MemoryRecords(whole)
    return fetcher.PartitionRecords(PLACE, records, None, offset, None, None, True, 0)


@pytest.mark.parametrize("compression", [0, GZIP])
@pytest.mark.parametrize("offset", range(len(NAMES)))
def test_each_record_comes_once_wherever_a_fetch_begins(offset: int, compression: int) -> None:
    read = partition(fetched(compression=compression, start=offset), offset)
    found = []
    for record in read:
        assert read.next_fetch_offset == record.offset + 1
        assert (record.key, record.value) == (b"key", b"value")
        found.append((record.offset, record.headers))
    assert found == [
        (at, ((name, b"\xfe"), ("none", None))) for at, name in enumerate(NAMES) if at >= offset
    ]
    assert read.next_fetch_offset == len(NAMES)


def test_aiokafka_itself_refuses_them_and_reads_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it takes such names, ours can go; until then what is sound never comes to ours."""
    with pytest.raises((UnicodeDecodeError, CorruptRecordException)):
        list(MemoryRecords(fetched(((NO_TEXT,),))).next_batch())
    monkeypatch.delattr(header_names, "_FetchedAgain")
    assert [r.offset for r in partition(fetched((("a", "b"), ("c",))))] == [0, 1, 2]


def test_damage_on_the_way_is_told_as_ever() -> None:
    damaged = bytearray(fetched())
    damaged[-1] ^= 1
    read = partition(bytes(damaged))
    with pytest.raises(CorruptRecordException, match="CRC"):
        list(read)


def test_with_such_a_name_nothing_is_a_fact() -> None:
    """Whoever reads it says so, by the hash or by name."""
    assert ESCAPED in claimed_by_headers({ESCAPED: "x"}, b"{}").attributes
    with pytest.raises(BrokenRecord, match="utf-8"):
        recorded_from_headers({ESCAPED: "x"}, b"{}")
