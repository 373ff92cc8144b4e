"""Checks Bangfu's log from Kafka alone, as docs/log-format.md tells it; imports nothing of Bangfu.

    python log_checker.py BOOTSTRAP HEADS.json TOPIC…        (- instead of heads: without)

One line on standard error for each thing wrong, and status 1 if there is any.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hash_of(headers: dict[str, str], value: bytes) -> str:
    """The hash that the record should carry; empty if its data is not canonical JSON."""
    said: dict[str, Any] = {n[3:]: v for n, v in headers.items() if n.startswith("ce_")}
    said |= {"datacontenttype": headers.get("content-type", "")}
    said = {name: text for name, text in said.items() if name not in ("hash", "traceparent")}
    try:
        said["data"] = json.loads(value)
        whole = canonical(said["data"]) == value
    except ValueError:
        return "no JSON"
    return hashlib.sha256(canonical(said)).hexdigest() if whole else "not canonical"


class Stream:
    """Hashes by version, in the order of arrival; the first record of a version counts."""

    def __init__(self) -> None:
        self.hashes: dict[int, str] = {0: "0" * 64}
        self.previous: dict[int, str] = {}

    def take(self, headers: dict[str, str], value: bytes) -> Iterator[tuple[int, str]]:
        digest, claimed = headers.get("ce_hash", ""), headers.get("ce_streamversion", "")
        version = int(claimed) if claimed.isdecimal() else 0
        if hash_of(headers, value) != digest:
            yield version, "flipped: the hash does not hold"
        if self.hashes.get(version, digest) != digest:
            yield version, "a repeat that differs"
        if version not in self.hashes:
            if version < max(self.hashes):
                yield version, "reordered: it stands after a later version"
            self.hashes[version] = digest
            self.previous[version] = headers.get("ce_previoushash", "")

    def finish(self, head: dict[str, Any]) -> Iterator[tuple[int, str]]:
        highest = max(self.hashes)
        for version in range(1, highest + 1):
            before = self.hashes.get(version - 1, self.previous.get(version))
            if version not in self.hashes:
                yield version, "missing"
            elif self.previous[version] != before:
                yield version, "not chained to the version before it"
        if head and head["version"] > highest:
            yield head["version"], f"cut tail: the stream ends at {highest}"
        elif head and self.hashes.get(head["version"], head["hash"]) != head["hash"]:
            yield head["version"], "another hash than the head noted earlier"


async def check(bootstrap: str, topics: list[str], heads: list[dict[str, Any]]) -> list[str]:
    """Every finding, as a line."""
    noted = {head["stream"]: head for head in heads}
    streams = {name: Stream() for name in noted}
    async with AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        parts = consumer.assignment()  # without a group: all partitions
        there = {part.topic for part in parts}
        found = [f"{topic}: not there" for topic in topics if topic not in there]
        ends = await consumer.end_offsets(parts)
        while [part for part in parts if await consumer.position(part) < ends[part]]:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    headers = {n: v.decode("utf-8", "replace") for n, v in record.headers}
                    if headers.get("ce_type") != "bangfu.topic.born":
                        name = headers.get("ce_stream", "?")
                        taken = streams.setdefault(name, Stream()).take(headers, record.value)
                        found += [f"{name} {version}: {what}" for version, what in taken]
    for name, stream in streams.items():
        found += [f"{name} {v}: {what}" for v, what in stream.finish(noted.get(name, {}))]
    return found


if __name__ == "__main__":
    bootstrap, heads_file, *topics = sys.argv[1:]
    known = [] if heads_file == "-" else json.loads(Path(heads_file).read_bytes())["heads"]
    lines = asyncio.run(check(bootstrap, topics, known))
    sys.exit("\n".join(lines) or None)
