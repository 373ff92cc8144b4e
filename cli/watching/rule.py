"""A rule of the watch: when a sample says that a person is needed, and what that person is told.

One rule serves twice: `bangfu status` judges samples that it has gathered itself, and Prometheus
judges those that it has scraped, by the expression written from the same rule (`alerts.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Function = Literal["", "increase", "changes", "absent", "max"]
OPERATORS: Final = {">": float.__gt__, "<": float.__lt__}
# A value with one of these is a pattern; our labels have none of them.
_PATTERN: Final = re.compile(r"[|*+.]")


@dataclass(frozen=True, slots=True)
class Sample:
    """One value that a process tells, or that was read for it."""

    metric: str
    labels: Mapping[str, str]
    value: float
    # What only a look can tell, such as the process that blocks; never personal.
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """``function(metric{where}[window]) operator threshold``; of `absent` only the metric counts.

    `max` is over the processes of a service. `increase` and `changes` compare with the past.
    """

    metric: str
    where: Mapping[str, str] = field(default_factory=dict)
    function: Function = ""
    window: str = ""
    operator: Literal[">", "<"] = ">"
    threshold: float = 0.0
    # A metric of the same outbox that says why already; Prometheus then says nothing beside it.
    unless: str = ""

    def expression(self) -> str:
        """The condition in PromQL."""
        matchers = ",".join(
            f'{name}{"=~" if _PATTERN.search(value) else "="}"{value}"'
            for name, value in self.where.items()
        )
        selector = self.metric + (f"{{{matchers}}}" if matchers else "")
        limit = f" {self.operator} {self.threshold:.15g}"
        if self.unless:
            limit += f" unless on (service, outbox) {self.unless} > 0"
        match self.function:
            case "absent":
                return f"absent({selector})"
            case "max":
                return f"max by (service) ({selector}){limit}"
            case "":
                return selector + limit
            case _:
                return f"{self.function}({selector}[{self.window}]){limit}"

    def concerns(self, sample: Sample) -> bool:
        """Whether the sample is one of those that the condition is about."""
        return sample.metric == self.metric and all(
            re.fullmatch(value, sample.labels.get(name, "")) for name, value in self.where.items()
        )

    def holds(self, value: float) -> bool:
        """Whether a value is past the threshold."""
        return OPERATORS[self.operator](float(value), self.threshold)

    def found(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples of one moment for which it holds; none for what compares with the past."""
        concerned = [sample for sample in samples if self.concerns(sample)]
        if self.function == "max":
            highest: dict[str, Sample] = {}
            for sample in concerned:
                service = sample.labels.get("service", "")
                if service not in highest or sample.value > highest[service].value:
                    highest[service] = sample
            concerned = list(highest.values())
        elif self.function:
            return []
        return [sample for sample in concerned if self.holds(sample.value)]


@dataclass(frozen=True, slots=True)
class Words:
    """The same in Chinese and in English; `{service}` and other labels are filled in."""

    zh: str
    en: str

    def filled(self, labels: Mapping[str, str]) -> Words:
        return Words(fill(self.zh, labels), fill(self.en, labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a person is needed, why, and what to do. `anchor` is a place of docs/operating.md."""

    alert: str
    condition: Condition
    what: Words
    why: Words
    do: tuple[str, ...]
    anchor: str
    # For how long it must hold before it counts.
    lasting_seconds: int = 0
    # A page wakes somebody; a ticket waits for the morning.
    severity: Literal["page", "ticket"] = "page"
    # The metric that says for how many seconds it has been so, with the same labels.
    age: str = ""
    # Alerts that explain this one: mend those first.
    because: tuple[str, ...] = ()
    # What `bangfu status` finds by other means.
    for_prometheus_alone: bool = False


def fill(text: str, labels: Mapping[str, str]) -> str:
    """A text with its `{label}` filled in; a label that is not there stays as it is."""
    return re.sub(r"\{(\w+)\}", lambda found: labels.get(found[1], found[0]), text)
