"""Intake as a process, once for all tests that ask it over HTTP."""

from collections.abc import Iterator

import pytest

from deploy.infrastructure import Infrastructure
from tests.services.intake.running import Intake, running_intake


@pytest.fixture(scope="package")
def intake(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Intake]:
    """Network and intake, with a small federation founded over HTTP."""
    with running_intake(infrastructure, tmp_path_factory.mktemp("intake")) as rooms:
        yield rooms
