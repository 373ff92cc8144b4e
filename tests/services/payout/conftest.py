"""Payout and the sandbox's bank as processes, on the real database and broker."""

import asyncio
import base64
from collections.abc import Iterator
from datetime import datetime
from functools import partial

import pytest

from deploy.infrastructure import Infrastructure
from sandbox.fate import Rates
from sandbox.installation import SUBSCRIBER
from sandbox.world import person
from shared.clock import BUSINESS_ZONE
from shared.keys import KeyStore
from tests.services.serving import WORLD, Served, installed, open_rooms, until_known

PROCESSES = ("issuer", "network", "payout", "bank")
OPENING = datetime(2025, 3, 3, 9, tzinfo=BUSINESS_ZONE)
STRANGER = "another-client"


class ServedWithKeys(Served):
    """With the keys that seal what payout only hears of."""

    async def intake_keys(self) -> KeyStore:
        """The keys as intake reaches them, to seal what a file would carry."""
        environment = self.installation.environments["intake"]
        return await KeyStore.connect(environment["BANGFU_KEYS_URL"], self._master_key())

    def _master_key(self) -> bytes:
        return base64.b64decode(self.installation.master_key)


@pytest.fixture(scope="package")
def served(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedWithKeys]:
    """The network, payout and the bank; the bank's rates leave every manner some households."""
    folder = tmp_path_factory.mktemp("payout")
    rates = Rates(
        wrong_account=0.3,
        accepted_first=0.2,
        late=0.2,
        silent=0.2,
        silent_after_accepting=0.2,
        doubled=0.5,
    )
    with installed(infrastructure, folder, OPENING, rates=rates) as installation:
        served = ServedWithKeys(installation, PROCESSES)
        asyncio.run(_start(served))
        yield served


async def _start(served: ServedWithKeys) -> None:
    clients = [{"subject": name, "client": True} for name in (SUBSCRIBER, STRANGER)]
    await open_rooms(served.installation, PROCESSES, WORLD, clients)
    client = served.client()
    try:
        # Offices reach payout as heard facts: the one founded last tells that all are there.
        someone = person("union-1-1", WORLD.organisations[-1].offices[-1])
        await until_known(partial(client.get, someone, "payout", "/payouts"))
    finally:
        await client.close()
