"""`bangfu verify` finds what differs between Kafka, the stores and what is derived from them."""

from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from deploy.infrastructure import Infrastructure
from shared import quarantine
from shared.bus import discard, new_producer, partition_of, topic_name
from shared.clock import RealClock
from shared.discarded import HeardFactDiscarded
from shared.fact import Recorded
from shared.log_reader import open_log
from shared.rebuild.service import rebuild
from shared.room import Todo
from shared.verification.check import verify_rooms
from shared.verification.report import CaseChecked, Report
from tests.conftest import FreshDatabases
from tests.kafka_log import KafkaLog, Sent
from tests.raw_names import NO_TEXT, Raw, send_raw
from tests.toy import alpha, beta
from tests.toy.alpha import Count, Open
from tests.toy.installation import PARTITIONS, ToyInstallation, toy_installation

CASES = ("one", "two", "three", "four")
TODAY = RealClock().today().isoformat()


@pytest.fixture
async def toys(
    fresh_databases: FreshDatabases, infrastructure: Infrastructure
) -> AsyncIterator[ToyInstallation]:
    """Four cases counted by alpha, published, mirrored by beta, published."""
    url, bootstrap = fresh_databases.postgres_url, infrastructure.kafka_bootstrap
    async with toy_installation(url, bootstrap) as made:
        for case in CASES:
            await made.alpha.tell("tally", case, Open())
            for amount in (1, 2, 3):
                await made.alpha.tell("tally", case, Count(amount=amount))
        await made.publish()
        await made.hear()
        await made.publish()
        yield made


async def verified(toys: ToyInstallation, patience_seconds: float = 5.0) -> Report:
    return await verify_rooms(
        toys.rooms,
        toys.postgres_url,
        toys.bootstrap,
        toys.prefix,
        patience_seconds=patience_seconds,
    )


def told(report: Report) -> list[str]:
    return sorted(map(str, report.differences))


async def test_a_sound_installation_shows_no_difference(toys: ToyInstallation) -> None:
    cases: list[CaseChecked] = []
    report = await verify_rooms(
        toys.rooms, toys.postgres_url, toys.bootstrap, toys.prefix, on_case=cases.append
    )
    assert told(report) == []
    assert {c.case_id: (c.streams, c.facts, c.differences) for c in cases} == dict.fromkeys(
        CASES, (2, 8, 0)
    )
    assert [c.done for c in cases] == [1, 2, 3, 4]
    assert {c.total for c in cases} == {4}
    assert report.tallies["alpha"].facts == report.tallies["beta"].facts == 16
    assert report.tallies["alpha"].guards == 1
    assert report.tallies["beta"].views == 4


async def test_a_running_system_is_compared_up_to_its_snapshot(toys: ToyInstallation) -> None:
    """What was written and not yet heard is lag, not a difference."""
    await toys.alpha.tell("tally", "one", Count(amount=4))
    await toys.publish()
    report = await verified(toys)
    assert told(report) == []
    assert report.tallies["alpha"].facts == 17


async def test_what_was_never_published_is_missing(toys: ToyInstallation) -> None:
    await toys.alpha.tell("tally", "one", Count(amount=4))
    report = await verified(toys, patience_seconds=0.2)
    assert told(report) == ["alpha kafka: tally-one 5: missing (ends at 4, the store at 5)"]


async def test_each_changed_row_is_named(toys: ToyInstallation) -> None:
    for statement, _ in CHANGED_ROWS:
        await toys.damage(statement)
    missing = f"alpha case_scope: missing (four city {TODAY})"
    expected = [missing, *(difference for _, difference in CHANGED_ROWS)]
    assert told(await verified(toys)) == sorted(expected)


CHANGED_ROWS = (
    (
        "UPDATE alpha.views SET document = '{\"total\":7}' WHERE key = 'one'",
        "alpha views: tally-one: not what the facts give (tally one: document)",
    ),
    (
        "DELETE FROM beta.views WHERE key = 'two'",
        "beta views: mirror-two: missing (mirror two)",
    ),
    (
        "INSERT INTO beta.views (model, key, stream, subject, document)"
        " VALUES ('mirror', 'nine', 'mirror-two', 'two', '{}')",
        "beta views: mirror-two: follows from no fact (mirror nine)",
    ),
    (
        "INSERT INTO beta.views (model, key, stream, subject, document)"
        " VALUES ('mirror', 'ten', 'mirror-ten', 'ten', '{}')",
        "beta views: mirror-ten: follows from no fact (mirror ten)",
    ),
    (
        "UPDATE alpha.guards SET value = value + 1",
        "alpha guards: not what the facts give (used: 25, by the facts 24)",
    ),
    (
        "UPDATE alpha.case_scope SET from_day = '2001-01-01' WHERE subject = 'four'",
        "alpha case_scope: follows from no fact (four city 2001-01-01)",
    ),
    (
        "UPDATE beta.case_scope SET holder = false WHERE subject = 'four'",
        f"beta case_scope: not what the facts give (four city {TODAY}: holder)",
    ),
    (
        "UPDATE beta.watermarks SET version = 3 WHERE stream = 'tally-one'",
        "beta watermarks: tally-one: not what was heard (3, by its offsets 4, in Kafka 4)",
    ),
    (
        "INSERT INTO alpha.reference (kind, key, document) VALUES ('x', 'y', '{}')",
        "alpha reference: follows from no fact (y)",
    ),
    (
        "UPDATE alpha.facts SET type = 'toy.alpha.Rang' WHERE stream = 'tally-one' AND version = 1",
        "alpha store: tally-one: row is not its envelope (type)",
    ),
)


@pytest.mark.parametrize("envelope", ["no object", "[]", '{"stream": 1}'])
async def test_an_envelope_that_is_no_object_of_texts_is_named(
    toys: ToyInstallation, envelope: str
) -> None:
    """The relay stands still at such a row, and the handbook sends whoever is on duty here."""
    place = "WHERE stream = 'tally-one' AND version = 1"
    await toys.damage(f"UPDATE alpha.facts SET envelope = '{envelope}' {place}")
    expected = "alpha store: tally-one: row is not its envelope (envelope: no object of texts)"
    assert expected in told(await verified(toys))


async def test_a_changed_fact_is_named_in_every_way_that_it_shows(toys: ToyInstallation) -> None:
    """Data that was rewritten in the store: its hash, its state, its view and the guard row."""
    await toys.damage(
        "UPDATE alpha.facts SET data = replace(data, ':2', ':5')"
        " WHERE stream = 'tally-one' AND version = 3"
    )
    assert told(await verified(toys)) == [
        "alpha guards: not what the facts give (used: 24, by the facts 27)",
        "alpha kafka: tally-one 4: another state (total)",
        "alpha store: tally-one 3: flipped (the hash does not hold)",
        "alpha views: tally-one: not what the facts give (tally one: document)",
    ]


async def test_repeats_are_counted_and_must_be_identical(toys: ToyInstallation) -> None:
    records = await everything(toys, "alpha")
    log = KafkaLog(toys.bootstrap, toys.prefix)
    await log.send((), records[:3])
    report = await verified(toys)
    assert told(report) == []
    assert report.tallies["alpha"].repeats == 3
    await log.send((), [records[0].with_header("ce_occurredon", "2001-01-01")])
    [difference] = (await verified(toys)).differences
    assert (difference.kind, difference.where) == ("flipped", "kafka")


async def test_a_header_called_by_no_text_is_named(toys: ToyInstallation) -> None:
    """A stranger's record, and a repeat of a fact with such a header added."""
    first = (await everything(toys, "alpha"))[0]
    place = partition_of(first.key.decode(), PARTITIONS)
    producer = await new_producer(toys.bootstrap)
    try:
        repeat = [*first.headers.items(), (NO_TEXT, b"1")]
        foreign: list[Raw] = [
            (b"x", [(NO_TEXT, None)], b"x"),
            (first.key, repeat, first.value),
        ]
        await send_raw(producer, first.topic, place, foreign)
    finally:
        await discard(producer)
    found = told(await verified(toys))
    offset = next(text for text in found if "offset" in text)
    assert offset.startswith(f"alpha kafka: unreadable ({first.topic}/{place} offset ")
    assert [text for text in found if text != offset] == [
        "alpha kafka: flipped (the record's key is not the fact's)",
        f"alpha kafka: {first.headers['ce_stream'].decode()} 1: flipped (a repeat)",
        "alpha kafka: unreadable (another service's fact)",
    ]


async def everything(toys: ToyInstallation, service: str) -> list[Sent]:
    """All facts of a topic as they were sent."""
    topic = topic_name(toys.prefix, service)
    async with open_log(toys.bootstrap, [topic]) as reader:
        chosen = [(topic, number) for number in range(reader.partitions[topic])]
        return [
            Sent(topic, r.key, r.value, dict(r.headers))
            async for records in reader.read(chosen)
            for r in records
        ]


# What a person put aside


def fails_at_thirteen(fact: alpha.Counted, recorded: Recorded) -> Sequence[Todo]:
    if fact.amount == 13:
        raise ArithmeticError("no thirteen here")
    return beta.on_counted(fact, recorded)


def fails_for_nobody(fact: alpha.Opened, recorded: Recorded) -> Sequence[Todo]:
    if fact.case_id == "nobody":
        raise LookupError("nobody is known here")
    return beta.on_opened(fact, recorded)


async def discard_all(url: str) -> int:
    """As an operator does, one after the other; how many there were."""
    connection = await asyncpg.connect(url)
    try:
        held = await quarantine.quarantined(connection, "beta", 10)
        for each in held:
            await quarantine.ask_discard(
                connection, "beta", each.held_id, reason="entered twice", operator="chen"
            )
        return len(held)
    finally:
        await connection.close()


async def test_what_was_discarded_is_no_difference(
    fresh_databases: FreshDatabases, infrastructure: Infrastructure
) -> None:
    """In the stream of its case and in the service's own: it changes no state, passes its version,
    and what is kept follows from the facts around it."""
    url = fresh_databases.postgres_url
    broken = beta.room(reactions={alpha.Opened: fails_for_nobody, alpha.Counted: fails_at_thirteen})
    async with toy_installation(url, infrastructure.kafka_bootstrap, broken) as toys:
        for case in ("one", "nobody"):
            await toys.alpha.tell("tally", case, Open())
        for amount in (1, 13, 2):
            await toys.alpha.tell("tally", "one", Count(amount=amount))
        await toys.publish()
        await toys.hear()
        assert await discard_all(url) == 2
        await toys.beta.hearing.sweep()
        await toys.alpha.tell("tally", "one", Count(amount=3))
        await toys.publish()
        await toys.hear()
        await toys.publish()
        report = await verified(toys)
        assert told(report) == []
        stated = await toys.beta.desk.store.worker.fetch(
            "SELECT stream, version FROM beta.facts WHERE type = $1 ORDER BY position",
            HeardFactDiscarded.stored_name,
        )
        places = {(row["stream"], row["version"]) for row in stated}
        assert places == {("mirror-one", 3), ("discarded-beta", 1)}
        for room in toys.rooms:
            assert (await rebuild(room, url)).is_sound
        await toys.damage("DELETE FROM beta.views; UPDATE beta.guards SET value = value + 1")
        assert not (await rebuild(broken, url)).is_sound
        assert (await rebuild(broken, url)).is_sound
        assert told(await verified(toys)) == []
