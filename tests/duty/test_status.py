"""`bangfu status` as an operator types it: what is down is a line, never a traceback or a wait."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import pytest

from cli.rooms import SERVICES
from cli.status import document as document_of
from cli.watching.look import Finding, Look, judge
from cli.watching.rule import Sample
from cli.watching.rules import RULES
from cli.watching.stores import Server
from tests.demo.host import Host
from tests.duty.conftest import bangfu, environment_of

WELL, NEEDS_A_PERSON, REFUSED = 0, 1, 2
# Spent only where the machine is too busy for everybody to answer in time.
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def environment(duty: Host) -> dict[str, str]:
    return environment_of(duty)


def status(environment: dict[str, str], **changes: str) -> tuple[int, dict[str, Any]]:
    """Exit status and document; it says nothing on standard error, and does not hang."""
    done = bangfu("status", "--json", environment={**environment, **changes})
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def status_with(
    environment: dict[str, str], expected: set[str], **changes: str
) -> tuple[int, dict[str, Any]]:
    """As `status`, once it tells of these alerts alone.

    On a busy machine somebody healthy answers late, and the command says so, rightly; what is wrong
    for good is told every time.
    """
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        code, document = status(environment, **changes)
        if set(alerts(document)) == expected or monotonic() > deadline:
            assert set(alerts(document)) == expected
            assert (code == WELL) == (not expected)
            return code, document


def alerts(document: dict[str, Any]) -> dict[str, Any]:
    return {finding["alert"]: finding for finding in document["findings"]}


@contextmanager
def silent_server() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


async def execute(host: Host, *statements: str) -> None:
    connection = await asyncpg.connect(host.installation.infrastructure.postgres_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def test_a_healthy_installation_needs_nobody(environment: dict[str, str]) -> None:
    """Every service answers, and nothing is behind; the screen says so in both languages."""
    _, document = status_with(environment, set())
    assert set(document["services"]) == set(SERVICES)
    deadline = monotonic() + PATIENCE_SECONDS
    while (done := bangfu("status", environment=environment)).returncode != WELL:
        assert monotonic() < deadline, done.stdout
    assert "一切正常 all is well" in done.stdout
    for service in SERVICES:
        assert any(
            line.startswith(f"{service} ") and " 1/1" in line for line in done.stdout.splitlines()
        )


def test_a_service_that_hangs_or_ended_is_named(duty: Host, environment: dict[str, str]) -> None:
    """A stopped process takes connections and does not answer; an unused port refuses them."""
    process = duty.installation.processes["training"]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        urls = environment["BANGFU_SERVICE_URLS"] + f",payout=http://{closed_port()}"
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            code, document = status(environment, BANGFU_SERVICE_URLS=urls)
            down = alerts(document)["ServiceDown"]
            if sorted(down["services"]) == ["payout", "training"] or monotonic() > deadline:
                break
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert code == NEEDS_A_PERSON
    assert sorted(down["services"]) == ["payout", "training"]
    assert "python -m services.training.main" in down["do"]
    assert document["database"]["reachable"]
    # What they hear and publish is known all the same, from the stores.
    assert document["services"]["training"]["prepared"]


@pytest.mark.parametrize("how", ["closed", "silent"])
def test_a_database_that_is_away_is_a_line(environment: dict[str, str], how: str) -> None:
    """Kafka and the processes are told of none the less."""
    with silent_server() as silent:
        address = closed_port() if how == "closed" else silent
        _, document = status_with(
            environment,
            {"DatabaseUnreachable"},
            BANGFU_POSTGRES_URL=f"postgresql://someone:hushhush@{address}/nowhere",
        )
    assert document["kafka"]["reachable"]
    assert "hushhush" not in json.dumps(document)


def parent_of(pid: int) -> int:
    """0 if this machine has no such process."""
    stat = Path(f"/proc/{pid}/stat")
    return int(stat.read_text().rpartition(")")[2].split()[1]) if stat.exists() else 0


async def postmaster_of(host: Host) -> int:
    connection = await asyncpg.connect(host.installation.infrastructure.postgres_url)
    try:
        return parent_of(connection.get_server_pid())
    finally:
        await connection.close()


@contextmanager
def frozen_database(host: Host) -> Iterator[None]:
    """The server's own processes, stopped: it takes connections and answers nobody, old or new."""

    postmaster = asyncio.run(postmaster_of(host))
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
    if not children.exists():
        pytest.skip("the database is no process of this machine")
    os.kill(postmaster, signal.SIGSTOP)
    stopped = [postmaster]
    try:
        for pid in map(int, children.read_text().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_what_nobody_can_learn_from_a_frozen_database_is_not_told_as_nothing(
    duty: Host, environment: dict[str, str]
) -> None:
    """The processes still tell what they remember: 0 was seen where `?` belongs."""
    with frozen_database(duty):
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            screen = bangfu("status", environment=environment).stdout
            rows = {
                words[0]: words[3:9]
                for line in screen.splitlines()
                if (words := line.split()) and words[0] in SERVICES and len(words) == 10
            }
            unknown = rows.keys() == set(SERVICES) and all(
                set(row) == {"?"} for row in rows.values()
            )
            if unknown or monotonic() > deadline:
                break
    assert unknown, screen
    assert "DatabaseUnreachable" in screen
    status_with(environment, set())


def test_the_document_says_null_of_what_is_not_known() -> None:
    """An empty list would say that there is nothing."""
    away = Server("database", failure="TimeoutError")
    seen = Look(datetime.now(UTC), [], away, Server("kafka"), [], [])
    for told in document_of(seen, [])["services"].values():
        known = {name for name, value in told.items() if value is not None}
        assert known - {"processes"} <= {"payouts_with_bank", "payouts_with_bank_oldest_days"}


def test_services_that_nobody_asked_are_not_well(environment: dict[str, str]) -> None:
    """Without an address nothing is wrong that could be seen, and that is no reason to say well."""
    entries = environment["BANGFU_SERVICE_URLS"].split(",")
    others = ",".join(entry for entry in entries if not entry.startswith("intake="))
    for urls, expected in (("", list(SERVICES)), (others, ["intake"])):
        code, document = status(environment, BANGFU_SERVICE_URLS=urls)
        assert (code, document["well"]) == (NEEDS_A_PERSON, False)
        assert document["not_asked"]["services"] == expected
        assert document["not_asked"]["why"].startswith("BANGFU_SERVICE_URLS: ")
        done = bangfu("status", environment={**environment, "BANGFU_SERVICE_URLS": urls})
        assert done.returncode == NEEDS_A_PERSON
        assert f"未询问 not asked: {', '.join(expected)}" in done.stdout
        assert "all is well" not in done.stdout


def test_no_finding_sends_back_to_the_screen_it_stands_on() -> None:
    """Each that `status` itself can find has another next step."""
    for rule in RULES:
        found = Finding(rule, ("payout",), {"kind": "k", "outbox": "facts"}, 1.0, None, ())
        compares_with_the_past = rule.condition.function in {"increase", "changes", "absent"}
        assert "./run bangfu status" not in found.commands
        assert found.commands or compares_with_the_past, rule.alert


@pytest.mark.parametrize("how", ["closed", "silent"])
def test_a_kafka_that_is_away_is_a_line(environment: dict[str, str], how: str) -> None:
    """The database and the processes are told of none the less."""
    with silent_server() as silent:
        address = closed_port() if how == "closed" else silent
        _, document = status_with(environment, {"KafkaUnreachable"}, BANGFU_KAFKA_BOOTSTRAP=address)
    assert document["database"]["reachable"]


def test_a_quarantined_record_and_what_waits_behind_it(
    duty: Host, environment: dict[str, str]
) -> None:
    """Reason, age and the command; the oldest wait stands on the screen."""
    columns = "key, topic, partition, record_offset, generation, headers, reason, held_since"
    rows = (
        ("key-1", 1, "quarantined_unreadable", "2 hours"),
        ("key-1", 2, "waiting_behind_another", "1 hour"),
    )
    held = ",".join(
        f"('{key}', 'lost.facts', 0, {offset}, 'g', '[]', '{reason}', now() - interval '{age}')"
        for key, offset, reason, age in rows
    )
    asyncio.run(execute(duty, f"INSERT INTO notice.held ({columns}) VALUES {held}"))
    try:
        _, document = status_with(environment, {"Quarantined", "HeldTooLong"})
        screen = bangfu("status", environment=environment).stdout
    finally:
        asyncio.run(execute(duty, "DELETE FROM notice.held"))
    found = alerts(document)
    assert found["Quarantined"]["services"] == ["notice"]
    assert 7200 <= found["Quarantined"]["seconds"] < 7500
    assert found["Quarantined"]["do"][0] == "./run bangfu quarantine list notice"
    assert found["HeldTooLong"]["follows_from"] == ["Quarantined"]
    assert "notice: quarantined_unreadable 2 小时 h" in screen


def test_an_open_transaction_is_named_with_its_process(
    duty: Host, environment: dict[str, str]
) -> None:
    """Nothing passes it, so the screen says which pid it is."""
    url = duty.installation.infrastructure.postgres_url
    opened, over = threading.Event(), threading.Event()
    pids: list[int] = []

    async def hold() -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE network.facts IN ROW EXCLUSIVE MODE")
            pids.append(connection.get_server_pid())
            opened.set()
            await asyncio.to_thread(over.wait, 60)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    try:
        assert opened.wait(20)
        over.wait(11)
        code, document = status(environment)
    finally:
        over.set()
        thread.join(20)
    assert code == NEEDS_A_PERSON
    stands = alerts(document)["MarkStands"]
    assert stands["services"] == ["network"]
    assert stands["details"][0].startswith(f"pid {pids[0]}")


def test_what_several_services_hold_is_counted_together() -> None:
    """Each once, whoever tells of it; of a time the longest is told."""
    samples = [
        Sample(metric, {"service": service, "reason": "quarantined_unreadable", **told}, value)
        for service in ("network", "intake", "notice", "payout")
        for told in ({}, {"instance": "a:1", "job": "bangfu"}, {"instance": "b:1"})
        for metric, value in (("bangfu_held_records", 5.0), ("bangfu_held_oldest_seconds", 70.0))
    ]
    [found] = judge(samples)
    assert (found.rule.alert, found.value, found.seconds) == ("Quarantined", 20.0, 70.0)
    waits = [
        replace(sample, labels={**sample.labels, "reason": "waiting_for_cause"})
        for sample in samples
    ]
    [found] = judge(waits)
    assert (found.rule.alert, found.value) == ("HeldTooLong", 70.0)


def test_a_topic_that_is_gone_is_found_without_its_relay(environment: dict[str, str]) -> None:
    """The stores are compared also where no process tells: another prefix has no such topics."""
    code, document = status(environment, BANGFU_TOPIC_PREFIX="elsewhere.", BANGFU_SERVICE_URLS="")
    assert code == NEEDS_A_PERSON
    alarms = [found for found in document["findings"] if found["alert"] == "RelayAlarm"]
    assert {alarm["labels"]["kind"] for alarm in alarms} == {"topic_renamed"}
    # A slip of this shell: what the service itself is set to is told beside it.
    assert "network.facts，服务所设 the service is set to" in alarms[0]["details"][0]
    by_outbox = {alarm["labels"]["outbox"]: set(alarm["services"]) for alarm in alarms}
    assert by_outbox == {"facts": set(SERVICES), "instructions": {"payout"}}


@pytest.mark.parametrize("words", ["verify", "heads --json {}/heads", "replay case"])
def test_a_topic_that_is_not_there_is_named_with_its_setting(
    environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    """Nothing was compared, and the line says why; no half of a file is left."""
    typed = words.format(tmp_path).split()
    done = bangfu(*typed, environment={**environment, "BANGFU_TOPIC_PREFIX": "elsewhere."})
    assert (done.returncode, done.stdout) == (REFUSED, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("BANGFU_TOPIC_PREFIX: ")
    assert ": elsewhere." in line
    assert list(tmp_path.iterdir()) == []


def test_a_recovery_that_is_refused_is_one_line(environment: dict[str, str]) -> None:
    """No bar beside it: its service runs, so nothing is read."""
    done = bangfu("recover", "payout", environment=environment)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    [line] = done.stderr.splitlines()
    assert "stop payout first" in line


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"BANGFU_POSTGRES_URL": ""}, "BANGFU_POSTGRES_URL"),
        ({"BANGFU_SERVICE_URLS": "payout"}, "BANGFU_SERVICE_URLS"),
        ({"BANGFU_SERVICE_URLS": "payout=ftp://x"}, "BANGFU_SERVICE_URLS"),
        ({"BANGFU_SERVICE_URLS": "payout=http://[::1"}, "BANGFU_SERVICE_URLS"),
        ({"BANGFU_SERVICE_URLS": "intakee=http://127.0.0.1:1"}, "BANGFU_SERVICE_URLS"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_line(
    environment: dict[str, str], changes: dict[str, str], named: str
) -> None:
    done = bangfu("status", environment={**environment, **changes})
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr
