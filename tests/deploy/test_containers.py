"""What can be known of the containers without an engine: one set of settings, pinned images."""

import re

import pytest
import yaml

from deploy import containers


@pytest.fixture(scope="module")
def compose() -> dict[str, dict[str, object]]:
    services: dict[str, dict[str, object]] = yaml.safe_load(containers.COMPOSE_FILE.read_text())[
        "services"
    ]
    return services


def test_compose_and_testcontainers_start_the_same(compose: dict[str, dict[str, object]]) -> None:
    assert compose["postgres"]["image"] == containers.POSTGRES_IMAGE
    assert compose["kafka"]["image"] == containers.KAFKA_IMAGE
    environment = compose["kafka"]["environment"]
    assert isinstance(environment, dict)
    assert environment.items() >= containers.KAFKA_SETTINGS.items()


def test_ports_are_published_on_loopback_alone(compose: dict[str, dict[str, object]]) -> None:
    for service in compose.values():
        published = service["ports"]
        assert isinstance(published, list)
        assert all(re.match(r"127\.0\.0\.1:", port) for port in published)
