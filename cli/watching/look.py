"""One look at an installation: processes and database at once, then Kafka, and what they amount to.

The database comes before Kafka: a checkpoint read first is never ahead of the topic's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any, Final

from cli.rooms import SERVICES, outboxes
from cli.surroundings import Surroundings
from cli.watching.processes import Process, ask_processes, read_urls
from cli.watching.rule import Rule, Sample, Words
from cli.watching.rules import RULES
from cli.watching.stores import (
    Server,
    Stored,
    Topics,
    ask_database,
    ask_kafka,
    consumer_lags,
    relay_alarms,
)
from shared.clock import BUSINESS_ZONE

# Who a value comes from is told apart; what is wrong with whom is said once.
WHO: Final = frozenset(("service", "instance", "job", "topic"))
# What an alert of Prometheus begins with is where the finding stands.
THIS_LOOK: Final = "./run bangfu status"
SECOND_LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs a person, of one service or of several."""

    rule: Rule
    services: tuple[str, ...]
    labels: dict[str, str]
    value: float
    seconds: float | None
    details: tuple[str, ...]
    # Alerts found in this look that explain it.
    follows_from: tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, str]:
        """The labels as the texts of the rule want them."""
        return {**self.labels, "service": ", ".join(self.services)}

    @property
    def what(self) -> Words:
        return self.rule.what.filled(self.named)

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type; once for each service if it names one. Not the look that found it."""
        from cli.watching.rule import fill

        typed = [
            fill(command, {**self.labels, "service": service})
            for command in self.rule.do
            if command != THIS_LOOK
            for service in self.services
        ]
        return tuple(dict.fromkeys(typed))

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "alert": self.rule.alert,
            "severity": self.rule.severity,
            "services": list(self.services),
            "labels": self.labels,
            "value": self.value,
            "seconds": self.seconds,
            "what": {"zh": self.what.zh, "en": self.what.en},
            "why": {"zh": self.rule.why.zh, "en": self.rule.why.en},
            "details": list(self.details),
            "do": list(self.commands),
            "see": f"docs/operating.md#{self.rule.anchor}",
            "follows_from": list(self.follows_from),
        }


@dataclass
class Look:
    """What was seen at one moment."""

    at: datetime
    processes: list[Process]
    database: Server
    kafka: Server
    samples: list[Sample]
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def highest(self, metric: str, **labels: str) -> float | None:
        """The highest of the values of a metric with these labels."""
        values = [s.value for s in self.of(metric, **labels)]
        return max(values) if values else None

    @property
    def not_asked(self) -> list[str]:
        """Services without an address: of their processes nobody knows anything."""
        asked = {process.service for process in self.processes}
        return [service for service in SERVICES if service not in asked]

    def of(self, metric: str, **labels: str) -> Iterator[Sample]:
        for sample in self.samples:
            if sample.metric == metric and labels.items() <= sample.labels.items():
                yield sample


async def look(surroundings: Surroundings) -> Look:
    """Ask everybody once; whoever does not answer in a few seconds is said not to."""
    began = monotonic()
    prefix = surroundings.topic_prefix
    topic_by_outbox = {
        (service, outbox.table): outbox.topic
        for service in SERVICES
        for outbox in outboxes(service, prefix, surroundings.bank_subscriber)
    }
    processes, stored = await asyncio.gather(
        ask_processes(read_urls(surroundings.service_urls)),
        ask_database(surroundings.postgres_url, surroundings.clock),
    )
    topics = await ask_kafka(surroundings.kafka_bootstrap, list(topic_by_outbox.values()))
    samples = _together(processes, stored, topics)
    samples += relay_alarms(stored, topics, topic_by_outbox)
    return Look(
        datetime.now(BUSINESS_ZONE),
        processes,
        stored.server,
        topics.server,
        samples,
        stored.missing,
        monotonic() - began,
    )


# What a process goes on telling from memory while the server that it has it from is away: nobody
# knows whether it is still so.
_LEARNED_FROM: Final = {
    "database": frozenset(
        (
            "bangfu_relay_lag_facts",
            "bangfu_relay_behind_seconds",
            "bangfu_consumer_lag_records",
            "bangfu_held_records",
            "bangfu_held_oldest_seconds",
            "bangfu_held_released_records",
            "bangfu_timers_stuck",
            "bangfu_outgoing_waiting",
            "bangfu_payouts_with_bank",
            "bangfu_payouts_with_bank_oldest_days",
        )
    ),
    "kafka": frozenset(("bangfu_consumer_lag_records",)),
}


def _known(process: Process) -> Iterator[Sample]:
    """What a process tells, without what it can only remember."""
    away = {
        sample.labels.get("server", "")
        for sample in process.samples
        if sample.metric == "bangfu_server_reachable" and not sample.value
    }
    remembered = {metric for server in away for metric in _LEARNED_FROM.get(server, ())}
    yield from (sample for sample in process.samples if sample.metric not in remembered)


def _together(processes: Sequence[Process], stored: Stored, topics: Topics) -> list[Sample]:
    """The stores know how far consumers are, whoever runs; processes are asked for the rest."""
    lags = consumer_lags(stored, topics)
    told = [
        sample
        for process in processes
        for sample in _known(process)
        if not (lags and sample.metric == "bangfu_consumer_lag_records")
    ]
    return [stored.server.sample(), topics.server.sample(), *stored.samples, *lags, *told]


def judge(samples: Sequence[Sample], rules: Sequence[Rule] = RULES) -> list[Finding]:
    """What of it needs a person, in the order of the rules; one finding for all it concerns."""
    findings: list[Finding] = []
    for rule in rules:
        groups: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
        if not rule.for_prometheus_alone:
            for sample in rule.condition.found(samples):
                about = {n: v for n, v in sample.labels.items() if n not in WHO}
                groups.setdefault(tuple(sorted(about.items())), []).append(sample)
        for about_pairs, found in groups.items():
            findings.append(_finding(rule, dict(about_pairs), found, samples))
    alerts = {finding.rule.alert for finding in findings}
    return [
        Finding(
            f.rule,
            f.services,
            f.labels,
            f.value,
            f.seconds,
            f.details,
            tuple(alert for alert in f.rule.because if alert in alerts),
        )
        for f in findings
    ]


def _finding(
    rule: Rule, about: dict[str, str], found: Sequence[Sample], samples: Sequence[Sample]
) -> Finding:
    services = tuple(dict.fromkeys(s.labels.get("service", "") for s in found))
    topics = tuple(dict.fromkeys(s.labels["topic"] for s in found if "topic" in s.labels))
    labels = {**about, **({"topic": ", ".join(topics)} if topics else {})}
    ages = [
        sample.value
        for sample in samples
        if sample.metric == rule.age
        and sample.labels.get("service") in services
        and all(sample.labels.get(n, v) == v for n, v in about.items())
    ]
    return Finding(
        rule,
        services,
        labels,
        _value(rule, found),
        max(ages, default=None),
        tuple(dict.fromkeys(s.detail for s in found if s.detail)),
    )


# Of a time or a size the worst is told, of anything else how many there are in all.
_MEASURES: Final = ("_seconds", "_days", "_bytes")


def _value(rule: Rule, found: Sequence[Sample]) -> float:
    if rule.condition.operator != ">":
        return min(s.value for s in found)
    if rule.condition.metric.endswith(_MEASURES):
        return max(s.value for s in found)
    # Processes of one service, and the stores, tell of the same records.
    highest: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in found:
        who = (pair for pair in sample.labels.items() if pair[0] not in ("instance", "job"))
        about = tuple(sorted(who))
        highest[about] = max(sample.value, highest.get(about, 0.0))
    return sum(highest.values())


async def look_twice(surroundings: Surroundings) -> tuple[Look, list[Finding]]:
    """Look again if something seemed wrong that may pass by itself: only what stays is told."""
    first = await look(surroundings)
    findings = judge(first.samples)
    if not any(finding.rule.lasting_seconds for finding in findings):
        return first, findings
    await asyncio.sleep(SECOND_LOOK_SECONDS)
    second = await look(surroundings)
    seen = {(f.rule.alert, service) for f in findings for service in f.services}
    stays = [
        f
        for f in judge(second.samples)
        if not f.rule.lasting_seconds or any((f.rule.alert, s) in seen for s in f.services)
    ]
    return second, stays
