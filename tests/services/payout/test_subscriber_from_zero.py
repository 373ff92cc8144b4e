"""A subscriber that starts again from zero, and retention on its topic: the handbook's promises.

It knows us by docs/subscribers.md alone: it reads its topic with a group of its own, keeps books by
the ids of the records, and pays nothing. The sandbox's bank reads the same topic beside it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from cli.__main__ import app
from sandbox.bank_instructions import Instruction, is_birth, read
from sandbox.installation import INSTRUCTIONS
from services.payout.instructions import KEPT_MS
from shared import bus
from tests.services.payout.test_payout_http import World, client, households, pays, world
from tests.services.serving import until

__all__ = ["client", "world"]

SHORT_MS = 1_000
# The broker of the tests looks every two seconds for what is older than that, and first after 30.
AGING_SECONDS = 45.0


class Record(NamedTuple):
    """One record of the topic with every byte of it."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def contents(self) -> tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]:
        return self.key, self.value, self.headers

    @property
    def fact_id(self) -> str:
        return dict(self.headers)["ce_id"].decode()

    @property
    def instruction(self) -> Instruction:
        """Checked against its own hash."""
        return read(self.headers, self.value)


class Subscriber:
    """A program elsewhere, with its group's offsets in Kafka and its books at home."""

    def __init__(self, world: World) -> None:
        made = world.served.installation
        self._bootstrap = made.infrastructure.kafka_bootstrap
        self._topic = made.prefix + INSTRUCTIONS
        self._group = f"{world.fund}-reader"
        # What is to be paid, by the id of the record that said so first; and how often it was met.
        self.books: dict[str, tuple[str, int]] = {}
        self.met: Counter[str] = Counter()

    async def read_on(self, *, from_zero: bool = False) -> list[Record]:
        """What its group has not had yet, or all that the topic has; each partition in its order.

        From zero its offsets are thrown away; the books are not.
        """
        consumer = AIOKafkaConsumer(
            self._topic,
            bootstrap_servers=self._bootstrap,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        found: list[Record] = []
        async with asyncio.timeout(20), consumer:
            while not consumer.assignment():
                await consumer.getmany(timeout_ms=50)
            if from_zero:
                await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(consumer.assignment())
            for place, end in sorted(ends.items()):
                while await consumer.position(place) < end:
                    for record in (await consumer.getmany(place, timeout_ms=200)).get(place, ()):
                        headers = tuple((name, bytes(text)) for name, text in record.headers)
                        if not is_birth(headers):
                            found.append(
                                Record(
                                    record.partition,
                                    record.offset,
                                    record.key,
                                    record.value,
                                    headers,
                                )
                            )
            await consumer.commit()
        self._enter(found)
        return found

    def _enter(self, records: Sequence[Record]) -> None:
        for record in records:
            told = record.instruction
            self.met[record.fact_id] += 1
            self.books.setdefault(record.fact_id, (told.end_to_end_id, told.amount_fen))


async def paid(world: World, count: int) -> dict[str, int]:
    """Payments that were given to the bank just now: amounts by end-to-end id."""
    before = {p["payout_id"] for p in await world.payouts()}
    made = world.served.installation
    await world.credit(100_000)
    items = []
    for n, household in enumerate(
        households(made.seed, made.rates, lambda fate: pays(fate, "at_once"), count)
    ):
        case_id = await world.register(household)
        award_id = await world.compute(case_id, 500 + n)
        items.append((case_id, await world.approve(case_id, award_id, 500 + n)))
    await world.pay(items)
    now = [p for p in await world.payouts() if p["payout_id"] not in before]
    return {p["end_to_end_id"]: p["amount_fen"] for p in now}


async def read_until(subscriber: Subscriber, wanted: dict[str, int]) -> list[Record]:
    """What is new, once all of these payments are in its topic."""
    found: list[Record] = []

    async def all_there() -> bool:
        found.extend(await subscriber.read_on())
        return wanted.keys() <= dict(subscriber.books.values()).keys()

    await until(all_there)
    return found


@asynccontextmanager
async def retention(world: World, milliseconds: int) -> AsyncIterator[None]:
    """The topic keeps records no longer than this, for as long as the block runs."""
    made = world.served.installation
    bootstrap, topic = made.infrastructure.kafka_bootstrap, made.prefix + INSTRUCTIONS
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    place = ConfigResource(ConfigResourceType.TOPIC, topic)
    [answer] = await admin.describe_configs([place])
    # Kafka puts back whatever is not named: all that prepare set goes with it.
    of_the_topic = 1
    [held] = answer.resources
    settings = {entry[0]: entry[1] for entry in held[4] if entry[3] == of_the_topic}
    assert settings["retention.ms"] == str(KEPT_MS)
    try:
        await alter(admin, topic, {**settings, "retention.ms": str(milliseconds)})
        yield
    finally:
        await alter(admin, topic, settings)
        await admin.close()


async def alter(admin: AIOKafkaAdminClient, topic: str, settings: dict[str, str]) -> None:
    [answer] = await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, settings)]
    )
    assert [resource[0] for resource in answer.resources] == [0], answer


async def republished(world: World) -> list[str]:
    """What `./run bangfu republish payout` answers."""
    made = world.served.installation
    environment = {
        "BANGFU_POSTGRES_URL": made.infrastructure.postgres_url,
        "BANGFU_KAFKA_BOOTSTRAP": made.infrastructure.kafka_bootstrap,
        "BANGFU_TOPIC_PREFIX": made.prefix,
        "BANGFU_PARTITIONS": str(made.partitions),
    }
    words = ["republish", "payout"]
    done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
    assert done.exit_code == 0, done.output
    return [line for line in done.stdout.splitlines() if line.startswith(made.prefix)]


async def test_a_subscriber_that_starts_again_from_zero(world: World) -> None:
    """The same facts in the same order, byte for byte; by their ids no payment counts twice."""
    subscriber = Subscriber(world)
    told = await paid(world, 4)
    first = await read_until(subscriber, told)
    assert await subscriber.read_on() == [], "its group has had all"
    books = dict(subscriber.books)
    again = await subscriber.read_on(from_zero=True)
    assert again == sorted(first)
    assert set(subscriber.met.values()) == {2}
    assert subscriber.books == books
    counted = Counter(end_to_end_id for end_to_end_id, _ in subscriber.books.values())
    assert set(counted.values()) == {1}
    assert told.items() <= dict(subscriber.books.values()).items()


async def test_retention_on_a_subscribers_topic(world: World) -> None:
    """From zero it meets what the topic still has, and nothing that retention took; its books tell
    the rest. `republish` finds the topic whole, and brings the head back if it was made anew."""
    made = world.served.installation
    bootstrap, topic = made.infrastructure.kafka_bootstrap, made.prefix + INSTRUCTIONS
    subscriber = Subscriber(world)
    old = await paid(world, 3)
    head = await read_until(subscriber, old)

    async def aged() -> bool:
        state = await bus.read_topic(bootstrap, topic)
        return state.starts == state.ends

    async with retention(world, SHORT_MS):
        async with asyncio.timeout(AGING_SECONDS):
            while not await aged():  # noqa: ASYNC110 - nothing tells when records are gone
                await asyncio.sleep(0.2)
    new = await paid(world, 2)
    tail = await read_until(subscriber, new)
    assert await subscriber.read_on(from_zero=True) == sorted(tail)
    assert dict(subscriber.books[each.fact_id] for each in tail) == new
    facts_whole, topic_whole = (
        f"{name}: 完好，无需重发 whole, nothing to republish"
        for name in (f"{made.prefix}payout.facts", topic)
    )
    assert {facts_whole, topic_whole} <= set(await republished(world))
    assert await subscriber.read_on(from_zero=True) == sorted(tail), "nothing came back"
    await until(lambda: all_credited(world, {*old, *new}))
    credits_ = await world.ledger()

    await bus.delete_topic(bootstrap, topic)
    said = await republished(world)
    assert facts_whole in said
    assert f"{topic}: 已建好，由中继重发 made anew, for the relay to fill" in said
    books = dict(subscriber.books)
    everything = [each.contents for each in await subscriber.read_on(from_zero=True)]
    assert sorted(everything) == sorted(each.contents for each in [*head, *tail])
    assert subscriber.books == books, "no payment counts twice"
    await until(lambda: at_rest_again(world))
    assert await world.ledger() == credits_, "nor did the bank pay any twice"


async def all_credited(world: World, end_to_end_ids: set[str]) -> bool:
    return end_to_end_ids <= (await world.ledger()).keys()


async def at_rest_again(world: World) -> bool:
    """The bank has met the topic that was made anew, up to its end."""
    made = world.served.installation
    topic = made.prefix + INSTRUCTIONS
    state = await bus.read_topic(made.infrastructure.kafka_bootstrap, topic)
    bank = await world.client.open("bank", "/status")
    return bool(bank["at_rest"]) and all(
        bank["positions"].get(f"{topic}/{partition}") == end
        for partition, end in state.ends.items()
    )
