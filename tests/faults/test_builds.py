"""Poison that is let go again, and releases that go round, at real services in their own processes.

Network, intake and eligibility as they are, with a newer build of the latter two beside them
(`newer.py`); real cases, sent over HTTP by the people whose work it is, and an operator who types
the commands. One installation for all three tests, which go on with it one after the other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.infrastructure import Infrastructure
from sandbox.client import Client
from services.intake.facts import VisitsReconciled
from shared import bus
from shared.bounds import LARGEST_DATA_BYTES
from shared.clock import set_clock_file
from shared.discarded import HeardFactDiscarded
from shared.fact import Recorded
from tests.chronicle import CHRONICLE
from tests.faults import newer
from tests.faults.builds import PARTITIONS, PATIENCE_SECONDS, Builds, running_builds
from tests.services.intake.running import OPENING
from tests.toy.world import altered, headers_of, until

NEWER_INTAKE, NEWER_ELIGIBILITY = "intake-2", "eligibility-2"
AHEAD: Final = timedelta(hours=3)
FAILED: Final = 1
ROLLING_CASES: Final = 12

Headers = Sequence[tuple[str, bytes | None]]
Sent = tuple[Headers, bytes]


def next_fact(last: Recorded, **data: Any) -> Recorded:
    """What could follow in the case's stream, and was stated by nobody."""
    return altered(
        last, data, streamversion=str(last.version + 1), previoushash=last.hash, id="poison"
    )


def with_hash(fact: Recorded, digest: str) -> Sent:
    headers = [(n, digest.encode() if n == "ce_hash" else t) for n, t in headers_of(fact)]
    return headers, fact.raw


# What stands in the topic under a case's key, behind its last fact.
UNREADABLE: Final[dict[str, Callable[[Recorded], Sent]]] = {
    "unreadable headers": lambda f: ([*headers_of(next_fact(f))[1:], ("ce_actor", b"\xff")], b"{}"),
    "invalid JSON": lambda f: (headers_of(next_fact(f)), b'{"case_id": '),
    "a wrong hash": lambda f: with_hash(next_fact(f), "0" * 64),
    "300 KiB": lambda f: (
        headers_of(large := next_fact(f, remarks="x" * (LARGEST_DATA_BYTES + 44 * 1024))),
        large.raw,
    ),
}
REFUSED_EFFECT: Final = "an effect that the database refuses"
FUTURE: Final = "a future time stamp"
OTHERS: Final = ("another case", "one more")


@pytest.fixture(scope="module")
def builds(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Builds]:
    """Network, intake and eligibility as processes."""
    with running_builds(infrastructure, tmp_path_factory.mktemp("builds")) as started:
        yield started


async def poisoned(builds: Builds, cases: Mapping[str, str]) -> None:
    """One record of each kind behind the last fact of its case."""
    installation = builds.installation
    producer: Any = await bus.new_producer(installation.infrastructure.kafka_bootstrap)
    try:
        for kind, how in UNREADABLE.items():
            headers, value = how((await builds.facts("intake", cases[kind]))[-1])
            await producer.send_and_wait(
                bus.topic_name(installation.prefix, "intake"),
                value,
                key=cases[kind].encode(),
                partition=bus.partition_of(cases[kind], PARTITIONS),
                headers=[(name, text or b"") for name, text in headers],
            )
    finally:
        await bus.discard(producer)


async def refuse_effects(builds: Builds, case_id: str, *, mended: bool = False) -> None:
    """Somebody's well-meant constraint on eligibility's table, and its end."""
    name = "not_this_one"
    how = f"ADD CONSTRAINT {name} CHECK (subject <> '{case_id}') NOT VALID"
    async with builds.store() as store:
        asked = f"DROP CONSTRAINT {name}" if mended else how
        await store.execute(f"ALTER TABLE eligibility.facts {asked}")


async def ahead_of_time(builds: Builds, serial: int) -> str:
    """A case whose first facts an instance with a fast clock stated."""
    installation = builds.installation
    clock = installation.folder / "clock-ahead"
    set_clock_file(clock, OPENING + AHEAD)
    usual = installation.environments[NEWER_INTAKE]
    installation.environments[NEWER_INTAKE] = usual | {"BANGFU_CLOCK_FILE": str(clock)}
    await builds.start(NEWER_INTAKE)
    async with builds.client(NEWER_INTAKE) as client:
        case_id = await builds.accepted(client, serial)
    installation.kill(NEWER_INTAKE)
    installation.environments[NEWER_INTAKE] = usual
    return case_id


async def future_facts(builds: Builds) -> float:
    """How many eligibility has counted."""
    async with httpx.AsyncClient() as client:
        told = await client.get(builds.installation.url("eligibility") + "/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(told.text)
        for sample in family.samples
        if sample.name == "bangfu_future_facts_total"
    )


WAIT: Final = ("--wait", str(int(PATIENCE_SECONDS)))


async def let_go(builds: Builds, cases: Mapping[str, str]) -> None:
    """As an operator does: look, release what was mended, and discard what never will be."""
    named = {case: kind for kind, case in cases.items()}
    listed = json.loads(await builds.operator("quarantine", "list", "--json"))["quarantined"]
    found = {named[each["key"]]: each for each in listed}
    assert {kind: each["reason"] for kind, each in found.items()} == {
        **dict.fromkeys(UNREADABLE, "quarantined_unreadable"),
        REFUSED_EFFECT: "quarantined_effect_failed",
    }
    assert {each["service"] for each in listed} == {"eligibility"}
    ids = [str(found[kind]["held_id"]) for kind in UNREADABLE]
    release = partial(builds.operator, "quarantine", "release", "eligibility")
    # Bytes are never edited, so what can't be read still can't.
    said = await release(*ids, *WAIT, status=FAILED)
    assert said.count("it is held again: quarantined_unreadable") == len(UNREADABLE)
    await refuse_effects(builds, cases[REFUSED_EFFECT], mended=True)
    assert "it has taken effect" in await release("--all", *WAIT)
    await builds.until_determined([cases[REFUSED_EFFECT]])
    assert await builds.determined(cases[kind] for kind in UNREADABLE) == []
    discard = partial(builds.operator, "quarantine", "discard", "eligibility")
    reason = ("--reason", "sent by a test", "--operator", "test")
    await asyncio.gather(*(discard(held_id, *reason, *WAIT) for held_id in ids))


async def test_poison_keeps_its_own_case_until_an_operator_lets_it_go(builds: Builds) -> None:
    """Each kind under a real case's key; the others are decided; then all of them, in order."""
    kinds = [*UNREADABLE, REFUSED_EFFECT, *OTHERS]
    async with builds.client("intake") as client:
        made = await asyncio.gather(
            *(builds.accepted(client, serial) for serial, _ in enumerate(kinds, 1))
        )
        cases = dict(zip(kinds, made, strict=True))
        cases[FUTURE] = await ahead_of_time(builds, len(kinds) + 1)
        await refuse_effects(builds, cases[REFUSED_EFFECT])
        await poisoned(builds, cases)
        await asyncio.gather(*(builds.visit(client, case) for case in cases.values()))
        await asyncio.gather(*(builds.reconcile(client, case) for case in cases.values()))
    await builds.until_determined(cases[kind] for kind in (*OTHERS, FUTURE))
    assert await future_facts(builds) > 0
    kept = {kind: cases[kind] for kind in (*UNREADABLE, REFUSED_EFFECT)}

    async def all_wait() -> bool:
        held = await builds.held("eligibility")
        behind = [len(held.get(cases[kind], ())) for kind in UNREADABLE]
        # The two visits and what came of them stand behind each bad record.
        return set(held) == set(kept.values()) and min(behind) == 1 + 3

    await until(all_wait, PATIENCE_SECONDS)
    assert await builds.determined(kept.values()) == []
    await let_go(builds, cases)
    await builds.until_determined(cases.values())
    await builds.until_nothing_is_held()
    for kind, case_id in cases.items():
        assert await builds.heard_to_its_end(case_id), kind
    # Stated in the stream of the service, for it knew nothing of these cases yet.
    discarded = await builds.facts("eligibility", "discarded-eligibility")
    assert [fact.type for fact in discarded] == [HeardFactDiscarded.stored_name] * len(UNREADABLE)
    CHRONICLE.append(f"builds: {len(cases)} cases, {len(kept)} of them poisoned and let go")


async def test_what_no_build_knows_yet_waits_for_the_one_that_does(builds: Builds) -> None:
    """A new writer before its reader: an unknown type and an unknown version, then the reader."""
    builds.installation.newer |= {NEWER_INTAKE, NEWER_ELIGIBILITY}
    await builds.start(NEWER_INTAKE)
    async with builds.client("intake") as old, builds.client(NEWER_INTAKE) as new:
        unknown_type, unknown_version, known = await asyncio.gather(
            *(builds.accepted(old, serial) for serial in (21, 22, 23))
        )
        visits = ((new, unknown_type), (old, unknown_version), (old, known))
        await asyncio.gather(*(builds.visit(client, case) for client, case in visits))
        reconciling = ((new, unknown_type), (new, unknown_version), (old, known))
        await asyncio.gather(*(builds.reconcile(client, case) for client, case in reconciling))
    await builds.until_determined([known])
    awaited = {
        unknown_type: f"{newer.VisitDiscussed.stored_name} 1",
        unknown_version: f"{newer.VisitsReconciled.stored_name} 2",
    }

    async def both_wait() -> bool:
        held = await builds.held("eligibility")
        return {key: queue[0] for key, queue in held.items()} == {
            key: ("waiting_for_a_newer_build", build) for key, build in awaited.items()
        }

    await until(both_wait, PATIENCE_SECONDS)
    assert await builds.determined(awaited) == []
    told = json.loads(await builds.operator("waiting", "eligibility", "--json"))["waiting"]
    assert {row["waits_for"] for row in told} >= set(awaited.values())
    assert json.loads(await builds.operator("quarantine", "list", "--json"))["quarantined"] == []
    await builds.start(NEWER_ELIGIBILITY)
    await builds.until_determined(awaited)
    await builds.until_nothing_is_held()
    for case_id in awaited:
        assert await builds.heard_to_its_end(case_id)


async def test_old_and_new_instances_side_by_side_park_nothing(builds: Builds) -> None:
    """Readers are there before writers; whoever meets a newer fact first, it leaves in order.

    Clients come to both instances of intake, as through a proxy, and repeat what the old one
    can't do with a case that the new one has written to.
    """
    running = builds.installation.processes
    assert {"intake", NEWER_INTAKE, "eligibility", NEWER_ELIGIBILITY} <= set(running)
    log = builds.installation.folder / "logs" / "eligibility.log"

    def parked() -> int:
        return log.read_text().count("waiting_for_a_newer_build")

    before = parked()
    steps: Sequence[Callable[[Client, str], Awaitable[None]]] = (builds.visit, builds.reconcile)
    async with (
        builds.client("intake", NEWER_INTAKE) as client,
        builds.client("intake") as old,
        builds.client(NEWER_INTAKE) as new,
    ):
        cases = await asyncio.gather(
            *(builds.accepted(client, 31 + number) for number in range(ROLLING_CASES))
        )
        # Some in the old way and some in the new one throughout, so that none is left to chance.
        hands = (old, new, client)
        for step in steps:
            await asyncio.gather(
                *(step(hands[n % len(hands)], case) for n, case in enumerate(cases))
            )
    await builds.until_determined(cases)
    await builds.until_nothing_is_held()
    for case_id in cases:
        assert await builds.heard_to_its_end(case_id)
    written = {
        fact.schema_version
        for case_id in cases
        for fact in await builds.facts("intake", case_id)
        if fact.type == VisitsReconciled.stored_name
    }
    assert written == {1, 2}
    assert parked() > before
    assert {"intake", "eligibility"} <= {n for n, p in running.items() if p.poll() is None}
    CHRONICLE.append(
        f"builds: {ROLLING_CASES} cases between two builds, versions {sorted(written)}, "
        f"{parked() - before} facts waited at the old reader"
    )
