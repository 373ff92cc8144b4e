"""Records that nobody can read, sent into the topics of a running installation.

Every kind of poison is tried on the toy rooms (tests/shared); here it meets the six real ones,
under keys of real cases and of none. All others go on; what waits behind a poisoned record goes on,
in order, when an operator has discarded it.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import asyncpg
import orjson
import pytest

from deploy.infrastructure import Infrastructure
from sandbox.installation import SERVICES
from sandbox.run import Plan
from sandbox.stuck import SETTLED
from sandbox.year import working_days
from services.payout.main import ROOM as PAYOUT
from shared import bus
from shared.room import Room
from tests.demo.conftest import own_installation
from tests.faults.afterwards import Afterwards
from tests.faults.commands import command, environment_of
from tests.faults.disturbances import Disturber
from tests.faults.evidence import held_rows
from tests.faults.lived import SHORT_LEASES, Lived, lived_through

HOUSEHOLDS: Final = 30
MOST_DAYS_BEFORE: Final = 150
# Fewer than a case takes from its visits to its registration.
DAYS_WITH: Final = 6
DAYS_AFTER: Final = 12
POISONED: Final = ("intake", "payout")
NOBODY: Final = "00000000-0000-4000-8000-000000000000"

Headers = list[tuple[str, bytes]]


def unreadable_header() -> tuple[Headers, bytes]:
    """Bytes that are no text where a text belongs."""
    return [("ce_id", b"\xff\xfe"), ("ce_type", b"bangfu.intake.CaseRejected")], b"{}"


def invalid_json() -> tuple[Headers, bytes]:
    """Half an object."""
    return [("ce_id", b"poison"), ("ce_type", b"bangfu.intake.CaseRejected")], b'{"case_id": '


def nothing_at_all() -> tuple[Headers, bytes]:
    """No header and no data."""
    return [], b""


KINDS: Final = (unreadable_header, invalid_json, nothing_at_all)


@dataclass
class Poison:
    """What was sent, and what was seen while it was there."""

    places: list[str] = field(default_factory=list)
    held: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    others_stated: int = 0
    discarded: int = 0


async def send(disturber: Disturber, keys: Sequence[str], poison: Poison) -> None:
    """One under every key, of every kind, into both topics."""
    installation = disturber.run.installation
    producer: Any = await bus.new_producer(installation.infrastructure.kafka_bootstrap)
    try:
        for turn, service in enumerate(POISONED):
            topic = bus.topic_name(installation.prefix, service)
            for number, key in enumerate(keys):
                headers, value = KINDS[(turn + number) % len(KINDS)]()
                partition = bus.partition_of(key, installation.partitions)
                sent = await producer.send_and_wait(
                    topic, value, key=key.encode(), partition=partition, headers=headers
                )
                poison.places.append(f"{topic}/{partition}/{sent.offset}")
    finally:
        await bus.discard(producer)


async def two_cases(connection: asyncpg.Connection) -> tuple[str, str] | None:
    """The file that has been settled for longest, and the case that is being visited last.

    So what is still to come of all others is the same in every run, whatever ids were drawn.
    """
    rows = await connection.fetch(
        "SELECT key, status FROM intake.views v WHERE model = 'case'"
        " ORDER BY (SELECT max(position) FROM intake.facts f WHERE f.subject = v.key)"
    )
    settled = [r["key"] for r in rows if r["status"] in SETTLED]
    early = [r["key"] for r in rows if r["status"] in ("submitted", "accepted", "visiting")]
    if not settled or not early or len(rows) < HOUSEHOLDS / 3:
        return None
    return settled[0], early[-1]


async def stated_by_others(connection: asyncpg.Connection, keys: Sequence[str]) -> int:
    """How many facts there are of all cases but these."""
    found = 0
    for service in SERVICES:
        count = f"SELECT count(*) FROM {service}.facts WHERE NOT subject = ANY ($1)"
        found += await connection.fetchval(count, list(keys))
    return found


async def discard_all(disturber: Disturber, postgres_url: str) -> int:
    """As an operator does: list, then discard one after the other, with a reason."""
    environment = environment_of(disturber.run.installation)
    listed = orjson.loads(await command(environment, "quarantine", "list", "--json"))
    found: dict[str, list[int]] = defaultdict(list)
    for each in listed["quarantined"]:
        found[each["service"]].append(each["held_id"])

    async def discard(service: str, ids: Sequence[int]) -> int:
        for held_id in ids:
            words = ("quarantine", "discard", service, str(held_id), "--wait", "60")
            await command(environment, *words, "--reason", "sent by a test", "--operator", "test")
        return len(ids)

    return sum(await asyncio.gather(*(discard(name, ids) for name, ids in found.items())))


async def ordeal_of(disturber: Disturber, poison: Poison) -> None:
    """A while without, a while with the poison in, and a while after it was discarded."""
    run = disturber.run
    own = run.installation.infrastructure
    days = iter(working_days(run.plan.year))
    connection = await asyncpg.connect(own.postgres_url)
    try:
        chosen = None
        for day in islice(days, MOST_DAYS_BEFORE):
            disturber.today = day
            await run.year.live(day)
            chosen = await two_cases(connection)
            if chosen is not None:
                break
        assert chosen is not None
        keys = [*chosen, NOBODY]
        await send(disturber, keys, poison)
        before = await stated_by_others(connection, keys)
        run.year.rest.goes_on_with_held = True
        for day in islice(days, DAYS_WITH):
            await run.year.live(day)
        poison.others_stated = await stated_by_others(connection, keys) - before
        poison.held = await held_rows(own.postgres_url)
        poison.discarded = await discard_all(disturber, own.postgres_url)
        run.year.rest.goes_on_with_held = False
        for day in islice(days, DAYS_AFTER):
            await run.year.live(day)
    finally:
        await connection.close()
    disturber.note(
        "poisoned",
        " and ".join(POISONED),
        f"{len(poison.places)} records; {poison.others_stated} facts of others meanwhile, "
        f"{poison.discarded} discarded",
    )


@pytest.fixture(scope="module")
def poison() -> Poison:
    return Poison()


@pytest.fixture(scope="module")
def lived(infrastructure: Infrastructure, poison: Poison) -> Iterator[Lived]:
    """Thirty households through a spring."""

    async def ordeal(disturber: Disturber) -> None:
        await ordeal_of(disturber, poison)

    with own_installation(infrastructure, **SHORT_LEASES) as installation:
        with lived_through("poison", Plan(HOUSEHOLDS), installation, ordeal) as part_of_a_year:
            yield part_of_a_year


def listeners(topic: str) -> list[str]:
    """Who hears a service, by the services' own rooms."""
    from cli.rooms import rooms

    found: Sequence[Room] = rooms()
    assert PAYOUT.name in {room.name for room in found}
    return [room.name for room in found if topic in room.hears]


class TestAfterPoison(Afterwards):
    """The same promises as ever, though what is bad stays in the topics for good."""

    def test_quarantine_held_exactly_what_was_bad(self, lived: Lived, poison: Poison) -> None:
        """Each record at each listener; whatever else was held only waited behind one (P8)."""
        assert lived.struck
        bad = {
            (service, place)
            for place in poison.places
            for heard in POISONED
            if f"{heard}.facts/" in place
            for service in listeners(heard)
        }
        quarantined = {
            (service, place)
            for service, rows in poison.held.items()
            for place, reason in rows
            if reason.startswith("quarantined")
        }
        assert quarantined == bad
        reasons = {reason for rows in poison.held.values() for _, reason in rows}
        assert reasons <= {"quarantined_unreadable", "waiting_behind_another", "waiting_for_cause"}

    def test_others_went_on_meanwhile(self, poison: Poison) -> None:
        """Days with work came and went."""
        assert poison.others_stated > 5

    def test_everything_was_discarded_and_nothing_is_held(
        self, lived: Lived, poison: Poison
    ) -> None:
        """What waited behind has left, and only what was sent is foreign in the topics."""
        assert poison.discarded == sum(
            reason.startswith("quarantined") for rows in poison.held.values() for _, reason in rows
        )
        assert lived.held == {}
        assert sorted(lived.topics.foreign) == sorted(poison.places)

    def test_verification_names_what_is_foreign_and_nothing_else(self, lived: Lived) -> None:
        """It stays in Kafka for good, so it is named each time: what it is, and its key."""
        foreign = re.compile(f"({'|'.join(POISONED)}) kafka: (unreadable|flipped)")
        assert [d for d in lived.differences if not foreign.match(d)] == []
        assert lived.differences

    def test_each_discard_is_a_fact(self, lived: Lived, poison: Poison) -> None:
        """Stated in the stream of the consumer."""
        stated = [told for told in lived.log.facts if told.name == "HeardFactDiscarded"]
        assert len(stated) == poison.discarded
