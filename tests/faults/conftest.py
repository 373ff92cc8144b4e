"""The undisturbed year to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from deploy.infrastructure import Infrastructure
from sandbox.run import Plan, Run
from tests.demo.conftest import hosted, outcomes_of, own_installation
from tests.demo.undisturbed import OUTCOMES

MOST_HOUSEHOLDS: Final = 60


@pytest.fixture(scope="session")
def undisturbed(infrastructure: Infrastructure) -> Mapping[int, Mapping[str, Any]]:
    """What becomes of each household: the demo's year if it was lived, else one of our own."""
    plan = Plan(MOST_HOUSEHOLDS)

    async def life(run: Run) -> None:
        await run.live()

    if plan.seed not in OUTCOMES:
        with own_installation(infrastructure) as installation:
            with hosted(plan, installation, life) as host:
                OUTCOMES[plan.seed] = host.ask(outcomes_of(host.run))
    return OUTCOMES[plan.seed]
