"""What the processes of an installation tell of themselves: `/metrics` and `/status`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cli.rooms import SERVICES
from cli.watching.rule import Sample
from shared.addresses import checked_http_url

ANSWER_SECONDS: Final = 2.5
JOB: Final = "bangfu"


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a service as it answered; `failure` is empty if it did."""

    service: str
    url: str
    failure: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[Sample] = ()


def read_urls(text: str) -> list[tuple[str, str]]:
    """`network=http://…,intake=http://…` as pairs; a service may stand there more than once.

    Raises ValueError.
    """
    pairs: list[tuple[str, str]] = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        service, equals, url = part.partition("=")
        if not equals or not checked_http_url(url):
            raise ValueError("须为 must be SERVICE=http://HOST:PORT, …")
        if (name := service.strip()) not in SERVICES:
            raise ValueError(
                f"第 {len(pairs) + 1} 项：没有这一服务 entry {len(pairs) + 1}: no such service"
                f" ({', '.join(SERVICES)})"
            )
        pairs.append((name, url.rstrip("/")))
    return pairs


async def ask_processes(urls: Sequence[tuple[str, str]]) -> list[Process]:
    """All at once; each answers, or not, within its time. Never raises."""
    limits = httpx.Timeout(ANSWER_SECONDS)
    async with httpx.AsyncClient(timeout=limits, trust_env=False) as client:
        return list(await asyncio.gather(*(_ask(client, *pair) for pair in urls)))


async def _ask(client: httpx.AsyncClient, service: str, url: str) -> Process:
    named = {"service": service, "instance": urlsplit(url).netloc, "job": JOB}
    try:
        # A stopped process still accepts; what it sends drop by drop is no answer either.
        async with asyncio.timeout(ANSWER_SECONDS):
            metrics = await client.get(url + "/metrics")
            metrics.raise_for_status()
            samples = [Sample("up", named, 1.0), *_samples(metrics.text, named)]
    except (httpx.HTTPError, TimeoutError, ValueError) as error:
        failure = type(error).__name__
        return Process(
            service, url, failure, samples=[Sample("up", named, 0.0, f"{url}: {failure}")]
        )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await client.get(url + "/status")
            answer.raise_for_status()
            status = answer.json()
    except (httpx.HTTPError, TimeoutError, ValueError):
        status = {}  # Without a database it has none; its metrics say so.
    if not isinstance(status, dict):
        status = {}
    return Process(service, url, "", status, _with_details(samples, status))


def _samples(text: str, named: Mapping[str, str]) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield Sample(sample.name, {**sample.labels, **named}, float(sample.value))


def _with_details(samples: Sequence[Sample], status: Mapping[str, Any]) -> list[Sample]:
    """What only `/status` tells: the pid that blocks, and the failure in words."""
    relay = status.get("relay")
    outboxes = relay.get("outboxes", []) if isinstance(relay, dict) else []
    about = {each.get("table"): each for each in outboxes if isinstance(each, dict)}
    told = []
    for sample in samples:
        outbox = about.get(sample.labels.get("outbox"), {})
        detail = ""
        if sample.metric == "bangfu_mark_age_seconds" and outbox.get("blocking_pid"):
            detail = f"pid {outbox['blocking_pid']}"
        elif sample.metric in ("bangfu_relay_alarm", "bangfu_relay_behind_seconds"):
            detail = str(outbox.get("failure", ""))[:300]
        told.append(Sample(sample.metric, sample.labels, sample.value, detail))
    return told
