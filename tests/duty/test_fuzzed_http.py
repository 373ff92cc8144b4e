"""Made-up requests to every route of every service, with tokens of people who hold offices.

schemathesis draws them from each OpenAPI document, fitting and unfitting ones; nothing may be an
unexpected error, and every refusal is a problem that names no more than it should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from cli.rooms import SERVICES
from tests.chronicle import CHRONICLE, drawn_seed
from tests.demo.host import Host

EXAMPLES: Final = {GenerationMode.POSITIVE: 22, GenerationMode.NEGATIVE: 16}
UNEXPECTED: Final = 500
REFUSED: Final = 400
ANSWER_SECONDS: Final = 30
# The server refuses what is hardly HTTP before it reaches us.
NOT_HTTP: Final = "Invalid HTTP request received."
# Who gets furthest at each service; each request is sent as one of them.
PEOPLE: Final = {
    "network": ("city.network_keeper", "installer"),
    "intake": ("union-1-1.handler", "union-1-1.chair", "county-east.reviewer"),
    "eligibility": ("county-east.reviewer", "county-east.approver", "city.parameter_keeper"),
    "notice": ("union-1-1.handler", "county-east.reviewer"),
    "payout": ("city.maker", "city.checker", "city.fund_keeper", "sandbox-bank"),
    "training": ("county-east.reviewer", "union-1-1.handler"),
}
CONFIGURATION: Final = schemathesis.Config.from_dict(
    # Real identities need no test of their own here, and headers that HTTP refuses no server sees.
    {"generation": {"allow-x00": True}}
)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


def tokens_of(host: Host, service: str) -> list[str]:
    async def asked() -> list[str]:
        return [await host.run.client.token(person) for person in PEOPLE[service]]

    return host.ask(asked())


def fuzzed(
    operation: Any, mode: GenerationMode, drawn: int, send: Callable[[Any], None]
) -> Callable[[], None]:
    """A hypothesis test of one operation, the same requests for the same seed."""

    @seed(drawn)
    @settings(
        max_examples=EXAMPLES[mode],
        database=None,
        deadline=None,
        # The first request that fails is told as it is; to make it smaller costs many more.
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def test(case: Any) -> None:
        send(case)

    return test


@pytest.mark.parametrize("service", SERVICES)
def test_no_request_is_an_unexpected_error(
    duty: Host, session: requests.Session, case_id: str, service: str
) -> None:
    """Neither 5xx nor anything else than a problem; half of them name a case that exists."""
    drawn = drawn_seed()
    CHRONICLE.append(f"made-up requests to {service}: seed {drawn}")
    url = duty.installation.url(service)
    schema = schemathesis.openapi.from_url(url + "/openapi.json", config=CONFIGURATION)
    tokens = tokens_of(duty, service)
    sent = 0

    def send(case: Any) -> None:
        nonlocal sent
        sent += 1
        case.headers = dict(case.headers or {})
        case.headers.pop("acting-office", None) if sent % 3 else None
        case.headers["Authorization"] = f"Bearer {tokens[sent % len(tokens)]}"
        if sent % 2 and "case_id" in (case.path_parameters or {}):
            case.path_parameters["case_id"] = case_id
        answer = case.call(base_url=url, session=session, timeout=ANSWER_SECONDS)
        said = f"{case.method} {answer.request.url}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < UNEXPECTED, said
        if answer.status_code >= REFUSED and answer.text != NOT_HTTP:
            assert answer.headers["content-type"] == ["application/problem+json"], said

    found = list(schema.get_all_operations())
    operations = [each.ok() for each in found if isinstance(each, Ok)]
    assert operations
    assert len(operations) == len(found)
    for operation in operations:
        for mode in EXAMPLES:
            try:
                fuzzed(operation, mode, drawn, send)()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # Nothing about it can be wrong.
    CHRONICLE[-1] += f", {sent} of them to {len(operations)} operations"
    assert sent > 2 * len(operations)
