"""Real services with room for a second instance each, of today's build or of a newer one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from deploy.infrastructure import Infrastructure, create_database, drop_database
from sandbox.client import Client
from sandbox.founding import announce_parameters
from sandbox.installation import Installation
from services.eligibility.facts import EligibilityDetermined
from shared.event_store import recorded_from_row
from shared.fact import Recorded
from tests.faults.commands import command, environment_of
from tests.faults.lived import SHORT_LEASES
from tests.services.conftest import WORLD
from tests.services.eligibility.neighbours import Neighbours
from tests.services.intake.running import (
    HANDLER,
    OPENING,
    SECOND_HANDLER,
    STATION,
    STATION_VISITOR,
    VISITOR,
    Case,
    Intake,
    submission,
)
from tests.services.serving import open_rooms
from tests.services.serving import until as until_found
from tests.toy.world import until

PROCESSES: Final = ("issuer", "network", "intake", "eligibility")
PARTITIONS: Final = 4
PATIENCE_SECONDS: Final = 60.0


@dataclass
class TwoBuilds(Installation):
    """Each service has a second instance to start, of today's build or of the newer one."""

    newer: set[str] = field(default_factory=set)

    def command(self, name: str) -> list[str]:
        python, *words = super().command(name)
        if name in self.newer:
            words = ["-m", "tests.faults.newer", self.environments[name]["BANGFU_SERVICE"]]
        return [python, *words]


@dataclass(frozen=True)
class Builds:
    """The running services, and their operator."""

    installation: TwoBuilds

    @asynccontextmanager
    async def client(self, *names: str) -> AsyncIterator[Client]:
        """Whoever works with these processes of intake."""
        known = {name: self.installation.url(name) for name in ("issuer", "network", "eligibility")}
        made = Client(
            known | {n: self.installation.url(n) for n in names}, self.installation.secret
        )
        try:
            yield made
        finally:
            await made.close()

    @asynccontextmanager
    async def store(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.installation.infrastructure.postgres_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def start(self, name: str) -> None:
        self.installation.start(name)
        await self.installation.wait_until_ready([name])

    async def operator(self, *words: str, status: int = 0) -> str:
        return await command(environment_of(self.installation), *words, status=status)

    def case(self, client: Client, case_id: str) -> Case:
        own = self.installation
        nobody = Neighbours(own.infrastructure.kafka_bootstrap, own.prefix, own.partitions)
        return Case(Intake(own, nobody), client, case_id)

    async def accepted(self, client: Client, serial: int) -> str:
        """A case that waits for its visits."""
        answer = await client.post(HANDLER, "intake", "/cases", submission(serial))
        case_id = str(answer["subject"])
        await self.case(client, case_id).post(STATION, "accept", {"fund": "sample-city"})
        return case_id

    async def visit(self, client: Client, case_id: str) -> None:
        case = self.case(client, case_id)
        await case.visit("grassroots", VISITOR)
        await case.visit("station", STATION_VISITOR)

    async def reconcile(self, client: Client, case_id: str) -> None:
        await self.case(client, case_id).reconcile()

    async def facts(self, service: str, case_id: str) -> list[Recorded]:
        """All of its stream of the case."""
        async with self.store() as store:
            rows = await store.fetch(
                f"SELECT * FROM {service}.facts WHERE subject = $1 ORDER BY position", case_id
            )
        return [recorded_from_row(row) for row in rows]

    async def determined(self, case_ids: Iterable[str]) -> list[str]:
        """Those of which eligibility knows, once each."""
        found = []
        for case_id in case_ids:
            names = [fact.type for fact in await self.facts("eligibility", case_id)]
            times = names.count(EligibilityDetermined.stored_name)
            assert times <= 1
            found += [case_id] * times
        return found

    async def until_determined(self, case_ids: Iterable[str]) -> None:
        wanted = sorted(case_ids)

        async def all_of_them() -> bool:
            return sorted(await self.determined(wanted)) == wanted

        await until(all_of_them, PATIENCE_SECONDS)

    async def held(self, service: str) -> dict[str, list[tuple[str, str]]]:
        """(reason, what it waits for) by key, in the order of their queue."""
        async with self.store() as store:
            rows = await store.fetch(
                f"SELECT key, reason, waits_for FROM {service}.held ORDER BY held_id"
            )
        found: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            found.setdefault(row["key"], []).append((row["reason"], row["waits_for"]))
        return found

    async def until_nothing_is_held(self) -> None:
        async def empty() -> bool:
            return not any([await self.held(name) for name in ("network", "intake", "eligibility")])

        await until(empty, PATIENCE_SECONDS)

    async def heard_to_its_end(self, case_id: str) -> bool:
        """Eligibility's mark stands at the last fact of intake's stream."""
        last = (await self.facts("intake", case_id))[-1]
        async with self.store() as store:
            mark = await store.fetchval(
                "SELECT version FROM eligibility.watermarks WHERE stream = $1", last.stream
            )
        return bool(mark == last.version)


@contextmanager
def running_builds(infrastructure: Infrastructure, folder: Path) -> Iterator[Builds]:
    """Network, intake and eligibility, one process each, with a small federation."""
    name = f"builds_{secrets.token_hex(4)}"
    own = Infrastructure(
        create_database(infrastructure.postgres_url, name),
        create_database(infrastructure.keys_url, f"{name}_keys"),
        infrastructure.kafka_bootstrap,
    )
    installation = TwoBuilds(
        folder,
        own,
        prefix=f"{name}.",
        partitions=PARTITIONS,
        instant=OPENING,
        instances=2,
        **SHORT_LEASES,
    )
    started = Builds(installation)
    try:
        asyncio.run(_begin(started))
        yield started
    finally:
        installation.stop()
        drop_database(infrastructure.postgres_url, name)
        drop_database(infrastructure.keys_url, f"{name}_keys")


async def _begin(builds: Builds) -> None:
    await open_rooms(builds.installation, PROCESSES, WORLD, [SECOND_HANDLER])
    async with builds.client("intake") as client:
        await _until_known(client, "intake", "/work")
        await _until_known(client, "eligibility", "/parameters")
        await announce_parameters(client)


async def _until_known(client: Client, service: str, path: str) -> None:
    async def asked() -> Any:
        await client.get(VISITOR, service, path)
        return True

    await until_found(asked)
