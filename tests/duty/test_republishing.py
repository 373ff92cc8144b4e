"""`bangfu republish` as an operator types it: by the screen's own words, and with a slip."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Mapping
from time import monotonic, sleep
from typing import Any

import asyncpg
import pytest

from shared import bus
from shared.event_store import recorded_from_row
from tests.demo.host import Host
from tests.duty.conftest import bangfu, environment_of
from tests.toy.world import headers_of

REFUSED = 2
PATIENCE_SECONDS = 60.0
SURVIVED = 3


@pytest.fixture(scope="module")
def environment(duty: Host) -> dict[str, str]:
    return environment_of(duty)


def alarms(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What `status` says of relays."""
    told = json.loads(bangfu("status", "--json", environment=environment).stdout)
    return [finding for finding in told["findings"] if finding["alert"] == "RelayAlarm"]


async def made_anew(host: Host, topic: str) -> None:
    """Deleted and made again, with a few of its facts in it: as after somebody's own mending."""
    installation = host.installation
    bootstrap = installation.infrastructure.kafka_bootstrap
    connection = await asyncpg.connect(installation.infrastructure.postgres_url)
    try:
        rows = await connection.fetch(
            "SELECT * FROM network.facts ORDER BY position LIMIT $1", SURVIVED
        )
    finally:
        await connection.close()
    await bus.delete_topic(bootstrap, topic)
    await bus.create_topic(bootstrap, topic, installation.partitions)
    producer = await bus.new_producer(bootstrap)
    try:
        for row in rows:
            fact = recorded_from_row(row)
            await producer.send_and_wait(
                topic,
                fact.raw,
                key=fact.subject.encode(),
                partition=bus.partition_of(fact.subject, installation.partitions),
                headers=[(name, text or b"") for name, text in headers_of(fact)],
            )
    finally:
        await bus.discard(producer)


def test_the_command_that_the_screen_names_fills_a_topic_that_was_made_anew(
    duty: Host, environment: dict[str, str]
) -> None:
    """Typed as it stands there, word for word; afterwards nothing is left to do."""
    asyncio.run(made_anew(duty, bus.topic_name(duty.installation.prefix, "network")))
    [found] = alarms(environment)
    assert found["labels"]["kind"] == "generation_changed"
    for line in found["do"]:
        words = shlex.split(line)
        assert words[:2] == ["./run", "bangfu"]
        done = bangfu(*words[2:], environment=environment)
        assert done.returncode == 0, done.stderr
    deadline = monotonic() + PATIENCE_SECONDS
    while alarms(environment):
        assert monotonic() < deadline
        sleep(0.5)


@pytest.mark.parametrize(
    ("options", "changes", "named"),
    [
        ("--replace", {"BANGFU_TOPIC_PREFIX": "slip."}, "BANGFU_TOPIC_PREFIX: "),
        ("--replace --new-name", {"BANGFU_TOPIC_PREFIX": "slip."}, "BANGFU_TOPIC_PREFIX: "),
        ("", {"BANGFU_TOPIC_PREFIX": "bad/prefix "}, "BANGFU_TOPIC_PREFIX: "),
        ("", {"BANGFU_PARTITIONS": "5"}, "BANGFU_PARTITIONS: "),
    ],
    ids=str,
)
def test_a_slip_of_a_setting_changes_nothing(
    duty: Host, environment: dict[str, str], options: str, changes: dict[str, str], named: str
) -> None:
    """One line that begins with the setting; no topic is made, none told to be, no relay moved."""
    done = bangfu("republish", "network", *options.split(), environment={**environment, **changes})
    assert (done.returncode, done.stdout) == (REFUSED, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(named)
    assert re.search("[一-鿿].*[a-z]{2}", line)
    if options:
        assert "slip.network.facts" in line
        assert f"({bus.topic_name(duty.installation.prefix, 'network')})" in line
    with pytest.raises(bus.TopicAbsentError):
        asyncio.run(
            bus.read_topic(duty.installation.infrastructure.kafka_bootstrap, "slip.network.facts")
        )
    assert alarms(environment) == []
