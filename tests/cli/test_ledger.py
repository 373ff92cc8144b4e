"""`bangfu verify` rebuilds payout's ledger and the bank's outbox from the facts, line by line."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from cli.ledger import Ledger
from cli.rooms import room
from deploy.infrastructure import Infrastructure
from services.payout import facts
from services.payout.instructions import TABLE, topic_of
from shared.bus import create_topic
from shared.event_store import EventStore, recorded_from_row
from shared.fact import Fact, Recorded
from shared.migrations import Passwords, migrate, role_name, role_url
from shared.rebuild.service import rebuild
from shared.verification.check import verify_rooms
from shared.write import Write
from tests.conftest import FreshDatabases
from tests.kafka_log import PARTITIONS, KafkaLog, record_of
from tests.samples.making import sample_of

CASE, FUND, SUBSCRIBER = "case-of-the-ledger", "sample-city", "the-bank"


def sample(fact: type[Fact], **changes: Any) -> Any:
    return fact.model_validate_json(sample_of(fact)).model_copy(update=changes)


@dataclass
class Payout:
    """Payout's log with one payment in it, in its store and in Kafka."""

    postgres_url: str
    log: KafkaLog

    async def differences(self) -> list[str]:
        report = await verify_rooms(
            [room("payout")],
            self.postgres_url,
            self.log.bootstrap,
            self.log.prefix,
            further={"payout": Ledger(SUBSCRIBER)},
            patience_seconds=0.1,
        )
        return sorted(map(str, report.differences))

    async def damage(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres_url)
        try:
            await connection.execute(f"SET session_replication_role = replica; {statement}")
        finally:
            await connection.close()


def state_payment(log: KafkaLog) -> list[tuple[Recorded, Fact]]:
    """A credit, and a payout under cover until it is issued."""
    money = {"fund": FUND, "amount_fen": 100000}
    one = {"case_id": CASE, "award_id": "award-1", **money}
    payout = {**one, "payout_id": "payout-1"}
    stated: list[tuple[str, str, Fact]] = [
        (
            f"fund-{FUND}",
            f"fund-{FUND}",
            sample(facts.FundCredited, fund=FUND, amount_fen=500000),
        ),
        *(
            (f"payouts-{CASE}", CASE, fact)
            for fact in (
                sample(facts.AccountTakenOver, case_id=CASE),
                sample(facts.CoverReserved, **one),
                sample(facts.PayoutPlanned, **payout, instalment=1, attempt=1),
                sample(facts.PayoutIssued, **payout),
            )
        ),
    ]
    return [
        (log.state("payout", stream, fact, subject=subject), fact)
        for stream, subject, fact in stated
    ]


def write_of(stated: list[tuple[Recorded, Fact]]) -> Write:
    """All that the room stores with these facts."""
    payout, write = room("payout"), Write()
    for recorded, fact in stated:
        write.facts.append(recorded)
        write.own.extend(payout.own_rows(fact, recorded))
        for key, delta in payout.guard_changes(fact, recorded):
            write.guard_deltas[key] = write.guard_deltas.get(key, 0) + delta
    for stream in {recorded.stream for recorded in write.facts}:
        kind, identity = payout.kind_of(stream)
        state = payout.fold(stream, [r for r in write.facts if r.stream == stream])
        write.show(stream, kind.subject(identity), kind.views(state), None)
    return write


@pytest.fixture
async def payout(
    fresh_databases: FreshDatabases, infrastructure: Infrastructure
) -> AsyncIterator[Payout]:
    url, log = fresh_databases.postgres_url, KafkaLog(infrastructure.kafka_bootstrap)
    passwords = Passwords(secrets.token_urlsafe(12), secrets.token_urlsafe(12))
    await migrate(url, "payout", passwords)
    worker_url = role_url(url, role_name(url, "payout", "worker"), passwords.worker)
    topic = log.prefix + topic_of(SUBSCRIBER)
    await create_topic(log.bootstrap, topic, PARTITIONS)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(asyncpg.create_pool(worker_url, min_size=1))
        await EventStore("payout", pool, pool).write(write_of(state_payment(log)))
        await rebuild(room("payout"), url, ["case_scope"])
        for row in await pool.fetch(f"SELECT * FROM payout.{TABLE}"):
            log.records.append(record_of(topic, recorded_from_row(row)))
        await log.send(["payout"])
        yield Payout(url, log)


async def test_a_sound_ledger_shows_no_difference(payout: Payout) -> None:
    assert await payout.differences() == []


async def test_each_changed_line_is_named(payout: Payout) -> None:
    """Postings sum to zero, balances are their sums, a guard row is its account."""
    await payout.damage(
        "UPDATE payout.postings SET amount_fen = 100001"
        " WHERE account = 'sent' AND award_id = 'award-1'"
    )
    await payout.damage("UPDATE payout.balances SET balance_fen = 7 WHERE account = 'credited'")
    await payout.damage("UPDATE payout.instructions SET data = replace(data, 'CNY', 'USD')")
    found = await payout.differences()
    issued = next(r for r in payout.log.facts.values() if r.type.endswith("PayoutIssued"))
    assert found == [
        "payout balances: do not sum to zero (sample-city: -399993 fen)",
        "payout balances: not what the facts give (sample-city credited: 7, by the facts 400000)",
        "payout balances: not what the guard row says (sample-city: 7, guard row 400000)",
        "payout instructions: instruction-payout-1 1: flipped (the hash does not hold)",
        "payout instructions: not what the facts give (instruction-payout-1 1: data)",
        f"payout postings: payouts-{CASE}: not what the facts give"
        f" ({issued.fact_id} sample-city sent: amount_fen)",
    ]


async def test_the_ledger_is_put_right_and_the_outbox_never(payout: Payout) -> None:
    """Lines that nothing may change are derived anew all the same; the bank has read the outbox."""
    await payout.damage(
        "UPDATE payout.postings SET amount_fen = 100001 WHERE account = 'sent';"
        "DELETE FROM payout.postings WHERE account = 'source';"
        "UPDATE payout.balances SET balance_fen = 7 WHERE account = 'credited';"
        "UPDATE payout.guards SET value = value + 1;"
        "UPDATE payout.instructions SET data = replace(data, 'CNY', 'USD')"
    )
    result = await rebuild(room("payout"), payout.postgres_url)
    mended = {model.model: model.mended for model in result.models if model.differing}
    assert mended == {"guards": True, "postings": True, "balances": True, "instructions": False}
    assert await payout.differences() == [
        "payout instructions: instruction-payout-1 1: flipped (the hash does not hold)",
        "payout instructions: not what the facts give (instruction-payout-1 1: data)",
    ]
    connection = await asyncpg.connect(payout.postgres_url)
    try:
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await connection.execute("DELETE FROM payout.postings")
    finally:
        await connection.close()


async def test_the_outbox_and_its_topic_are_one(payout: Payout) -> None:
    await payout.damage("DELETE FROM payout.instructions")
    assert await payout.differences() == [
        "payout instructions' topic: instruction-payout-1: follows from no row",
        "payout instructions: missing (instruction-payout-1 1)",
    ]
