"""Watching the births of topics: was one deleted and made anew while we listen?

aiokafka does not show topic ids, and a consumer whose topic was replaced may go on at its old
offset without a word, should the new topic already be longer. So the first record of each topic is
read again every few seconds, by one consumer of its own without a group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from shared import bus

LOOK_SECONDS: Final = 2.0
# A broker answers with one batch however small this is, and the birth is a batch of its own.
FETCH_BYTES: Final = 1
STALE_LOOKS: Final = 5


class BirthWatch:
    """The generations of some topics, asked again and again. Close it at the end."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._places = [TopicPartition(topic, 0) for topic in topics]
        self._consumer: Any = None
        self._silent = 0

    async def look(self, seconds: float = LOOK_SECONDS) -> dict[str, str]:
        """The birth id of each topic that has answered in time; those without one are left out.

        A topic that is missing, or whose birth has aged out, is no news. Nor is a broker that is
        away: nothing is raised for it.
        """
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(seconds):
                await self._look(found)
        except TimeoutError:
            pass
        except (KafkaError, OSError):
            await self.close()
        self._silent = 0 if found else self._silent + 1
        if self._silent >= STALE_LOOKS:
            # A consumer may hang for good after its broker was replaced.
            await self.close()
        return found

    async def _look(self, found: dict[str, str]) -> None:
        if self._consumer is None:
            self._consumer = await self._opened()
        consumer = self._consumer
        waiting = set(self._places)
        for place in waiting:
            consumer.seek(place, 0)
        consumer.resume(*waiting)
        try:
            while waiting:
                try:
                    fetched = await consumer.getmany(*waiting, timeout_ms=200, max_records=1)
                except OffsetOutOfRangeError as error:
                    aged = {place for place in waiting if place in error.args[0]}
                    waiting -= aged or waiting
                    continue
                for place, records in fetched.items():
                    birth = bus.header(records[0], "ce_id") if bus.is_birth(records[0]) else None
                    if birth is not None:
                        found[place.topic] = birth
                    waiting.discard(place)
        finally:
            consumer.pause(*self._places)

    async def _opened(self) -> Any:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            request_timeout_ms=bus.REQUEST_TIMEOUT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
            metadata_max_age_ms=bus.METADATA_AGE_MS,
        )
        try:
            await consumer.start()
            consumer.assign(self._places)
            # aiokafka's stop() raises CancelledError if its own tasks have not had one turn.
            await asyncio.sleep(0)
        except BaseException:
            await bus.leave(consumer)
            raise
        return consumer

    async def close(self) -> None:
        """Give the connections back; a later look opens new ones."""
        consumer, self._consumer = self._consumer, None
        self._silent = 0
        if consumer is not None:
            await bus.leave(consumer)
