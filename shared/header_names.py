"""Header names that are not UTF-8: read with their bytes escaped, where aiokafka would stop.

Kafka does not look at what a header is called. aiokafka's reader decodes names strictly, inside the
consumer, so one such record would keep its partition from everybody for ever, and nobody would see
which it is. `read_any_name` puts two classes of ours in the place of two that aiokafka's fetcher
uses: its own reader stays the one that reads, and what it has refused is read again by the same
library's reader in Python, which is told to escape. Whether a record with such a name is a fact is
decided elsewhere (`shared.record_headers`: it is none).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


class _EscapingBytes(bytearray):
    """Bytes whose text is never refused; a part of them is of the same kind."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _EscapingBytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")


class _EscapingBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka ships no types
    """Reads a batch record by record; names are all that its reader takes for text."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _EscapingBytes(self._buffer)


class _Fetched(MemoryRecords):  # type: ignore[misc]  # aiokafka ships no types
    """What a fetch brought for one partition, read as ever, and kept to be read once more."""

    def __init__(self, fetched: bytes) -> None:
        super().__init__(fetched)
        self.fetched = fetched


class _FetchedAgain(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka ships no types
    """The same batches from the one on that holds `offset`, read with names escaped.

    Those before it must not come again: aiokafka would go on behind the last of them.
    """

    def __init__(self, fetched: bytes, offset: int) -> None:
        super().__init__(fetched)
        while self.has_next() and _EscapingBatch(self._next_slice).next_offset <= offset:
            self._cache_next()

    def next_batch(self, *_: int) -> _EscapingBatch:
        piece = self._next_slice
        self._cache_next()
        return _EscapingBatch(piece)


class _Partition(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Goes on where aiokafka's reader came no further, and gives each record once."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
            return
        except (UnicodeDecodeError, CorruptRecordException) as error:
            # The reader in Python, where nothing is compiled, says the same with a cause.
            if not isinstance(error.__cause__ or error, UnicodeDecodeError):
                raise
        self._records = _FetchedAgain(self._records.fetched, self.next_fetch_offset)
        yield from super()._unpack_records()


def read_any_name() -> None:
    """Have every consumer of this process read records whatever their headers are called."""
    fetcher.MemoryRecords = _Fetched
    fetcher.PartitionRecords = _Partition
