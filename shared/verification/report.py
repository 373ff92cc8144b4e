"""What a verification found: one difference a line, and the counts of what was compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shared.chain import Finding


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the log says. ``where`` is kafka, store, or a table's name."""

    service: str
    where: str
    stream: str
    version: int
    kind: str
    detail: str = ""
    subject: str = ""

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        place = f"{self.service} {self.where}".strip()
        stream = f": {self.stream}{version}" if self.stream else ""
        return f"{place}{stream}: {self.kind}" + (f" ({self.detail})" if self.detail else "")

    def document(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "where": self.where,
            "stream": self.stream,
            "version": self.version,
            "kind": self.kind,
            "detail": self.detail,
        }


@dataclass
class Tally:
    """What was compared of one service."""

    streams: int = 0
    facts: int = 0
    repeats: int = 0
    views: int = 0
    guards: int = 0
    scopes: int = 0
    # Facts that Kafka had beyond the snapshot: written while we looked.
    newer: int = 0


@dataclass(frozen=True, slots=True)
class CaseChecked:
    """One case has been read from Kafka, checked and compared."""

    case_id: str
    streams: int
    facts: int
    differences: int
    done: int
    total: int


OnCase = Callable[[CaseChecked], None]


@dataclass
class Report:
    """All of it; a log is sound if there is no difference."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    cases: int = 0
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        return not self.differences

    def add(
        self,
        service: str,
        where: str,
        kind: str,
        detail: str = "",
        *,
        stream: str = "",
        version: int = 0,
        subject: str = "",
    ) -> None:
        self.differences.append(Difference(service, where, stream, version, kind, detail, subject))

    def add_finding(self, service: str, where: str, finding: Finding, subject: str = "") -> None:
        self.add(
            service,
            where,
            finding.kind.value,
            finding.detail,
            stream=finding.stream,
            version=finding.version,
            subject=subject,
        )

    def differences_by_service(self) -> Counter[str]:
        return Counter(difference.service for difference in self.differences)

    def document(self) -> dict[str, Any]:
        by_service = self.differences_by_service()
        return {
            "sound": self.is_sound,
            "cases": self.cases,
            "seconds": round(self.seconds, 3),
            "services": {
                name: {**vars(tally), "differences": by_service[name]}
                for name, tally in self.tallies.items()
            },
            "differences": [difference.document() for difference in self.differences],
        }
