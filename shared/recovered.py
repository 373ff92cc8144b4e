"""What hearing must not decide a second time after facts were taken back from Kafka.

A restored service hears again what it had heard since the backup, for its watermarks are of that
moment, too. Its own facts that followed then are back (`recovery.py`), and each of their streams
tells what it had taken in. So a reaction is left out for exactly those streams that had it, and
made up for where its facts never reached Kafka. Empty but for a service that was once recovered.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.fact import Recorded
from shared.pools import Pool


class Recovered:
    """By own stream: the facts and the versions of heard streams that it has taken in already."""

    def __init__(self, taken_in: Mapping[tuple[str, str], int]) -> None:
        self._taken_in = taken_in

    @classmethod
    async def load(cls, pool: Pool, schema: str) -> Recovered:
        """All of it, once a process: only a service that stands still is recovered."""
        rows = await pool.fetch(f"SELECT stream, cause, version FROM {schema}.recovered")  # noqa: S608 - the schema is the room's own name
        return cls({(row["stream"], row["cause"]): row["version"] for row in rows})

    def has(self, stream: str, heard: Recorded) -> bool:
        """Whether facts of the own stream follow from this one, or from a later one beside it."""
        if not self._taken_in:
            return False
        by_stream = self._taken_in.get((stream, heard.stream), 0)
        return (stream, heard.fact_id) in self._taken_in or by_stream >= heard.version


def rows_of(fact: Recorded) -> dict[tuple[str, str], int]:
    """What a fact tells of what its stream had taken in."""
    found = {(fact.stream, heard): version for heard, version in fact.heard.items()}
    if causation := fact.attributes["causationid"]:
        found[fact.stream, causation] = 0
    return found
