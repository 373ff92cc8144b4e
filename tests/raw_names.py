"""Sends records whose headers are called by bytes that are no text, as a producer in C or Go can.

aiokafka's own producer takes names as text and encodes them itself, so a batch is made with its
builder in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from shared import bus

LARGEST_BYTES = 1024 * 1024

# Key, headers and value.
Raw = tuple[bytes, Sequence[tuple[str, bytes | None]], bytes | None]


class RawName(str):
    """A header's name that is these bytes on the wire."""

    __slots__ = ()

    def __new__(cls, name: bytes) -> RawName:
        return super().__new__(cls, name.decode("utf-8", "surrogateescape"))

    def encode(self, *_: str) -> bytes:
        return super().encode("utf-8", "surrogateescape")


NO_TEXT = RawName(b"\xff\xfe")
# The same as it is read.
ESCAPED = r"\xff\xfe"


def builder(compression: int = 0) -> Any:
    return _DefaultRecordBatchBuilderPy(
        2,
        compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=LARGEST_BYTES,
    )


class RawBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka ships no types
    """A batch that takes `RawName`s."""

    def __init__(self) -> None:
        super().__init__(LARGEST_BYTES, 0)
        self._builder = builder()

    def _set_producer_state(self, *state: int) -> None:
        self._builder.set_producer_state(*state)


async def send_raw(
    producer: Any,
    topic: str,
    partition: int,
    records: Sequence[Raw],
) -> None:
    """All in one batch; returns once the broker has it."""
    batch = RawBatch()
    for key, headers, value in records:
        batch.append(timestamp=bus.now_ms(), key=key, value=value, headers=list(headers))
    await (await producer.send_batch(batch, topic, partition=partition))
