"""The facts of a demo, read from Kafka alone, and what each of them knew when it was stated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import ConsumerRecord

from sandbox.installation import SERVICES
from shared.bus import is_birth, read_records, topic_name
from shared.fact import Recorded
from shared.record_headers import recorded_from_headers


@dataclass(frozen=True)
class Told:
    """One fact with its short name and its data."""

    recorded: Recorded
    name: str
    data: Mapping[str, Any]

    def knows(self, other: Told) -> bool:
        """Whether the other fact was taken in before this one was stated (causal order)."""
        mine, theirs = self.recorded, other.recorded
        if mine.stream == theirs.stream:
            return theirs.version < mine.version
        return mine.heard.get(theirs.stream, 0) >= theirs.version

    def __str__(self) -> str:
        return f"{self.recorded.stream} v{self.recorded.version} {self.name}"


class Case(list[Told]):
    """The facts of one case in the order of replay."""

    def named(self, *names: str) -> list[Told]:
        return [told for told in self if told.name in names]

    def known_to(self, later: Told, name: str) -> list[Told]:
        """Facts of that name that ``later`` knew of."""
        return [told for told in self.named(name) if later.knows(told)]


@dataclass
class Log:
    """All facts once each, by case and by service."""

    facts: list[Told]
    cases: dict[str, Case]

    def named(self, *names: str) -> Iterator[Told]:
        return (told for told in self.facts if told.name in names)

    @property
    def names(self) -> set[str]:
        return {told.name for told in self.facts}


async def read_log(bootstrap: str, prefix: str) -> Log:
    """One pass over all topics; hashes are checked, the first record of a version counts."""
    facts: list[Told] = []
    for service in SERVICES:
        seen: set[tuple[str, int]] = set()
        async for record in read_records(bootstrap, topic_name(prefix, service)):
            if is_birth(record):
                continue
            told = told_by(record)
            if (told.recorded.stream, told.recorded.version) not in seen:
                seen.add((told.recorded.stream, told.recorded.version))
                facts.append(told)
    return log_of(facts)


def told_by(record: ConsumerRecord) -> Told:
    """The fact of one record. Raises BrokenRecord if it is none, or its hash does not hold."""
    headers = {name: bytes(value).decode() for name, value in record.headers}
    recorded = recorded_from_headers(headers, record.value)
    return Told(recorded, recorded.type.rpartition(".")[2], orjson.loads(recorded.raw))


def log_of(facts: Iterable[Told]) -> Log:
    """Facts, each once, in the order of replay."""
    ordered = sorted(facts, key=lambda told: told.recorded.replay_key)
    return Log(ordered, _by_case(ordered))


def _by_case(facts: Iterable[Told]) -> dict[str, Case]:
    cases: dict[str, Case] = defaultdict(Case)
    for told in facts:
        if told.recorded.subject != told.recorded.stream:
            cases[told.recorded.subject].append(told)
    return dict(cases)
