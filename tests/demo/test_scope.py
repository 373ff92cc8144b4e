"""P5 on a whole demo: no office reads another's cases, and no service another's tables."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import psycopg
import pytest

from sandbox.founding import SKILL
from sandbox.installation import SERVICES
from sandbox.world import CITY, build_world, person
from tests.demo.conftest import Demo

WORLD: Final = build_world()
PARENTS: Final = {o.organisation: o.parent for o in WORLD.organisations}
UNKNOWN_CASE: Final = "00000000-0000-4000-8000-000000000000"
# Those that show one case; training lists its workers, and is asked through a command below.
OF_A_CASE: Final = ("intake", "eligibility", "notice", "payout")
# What goes with an answer by chance.
OF_THE_REQUEST: Final = frozenset(("correlation_id", "instance"))


def above(organisation: str) -> set[str]:
    """The organisation and its ancestors: they see its cases."""
    found = {organisation}
    parent = PARENTS[organisation]
    return found | above(parent) if parent else found


def strangers(organisation: str) -> Iterator[str]:
    """One office of each kind that has nothing to do with this organisation."""
    kinds: set[str] = set()
    for other in WORLD.organisations:
        if other.organisation not in above(organisation) and other.kind not in kinds:
            kinds.add(other.kind)
            yield person(other.organisation, other.offices[0])


@pytest.fixture(scope="module")
def holders(demo: Demo) -> dict[str, str]:
    """Which organisation holds each case, from the facts."""
    return {
        told.recorded.subject: told.data["organisation_id"]
        for told in demo.log.named("ApplicationSubmitted")
    }


async def ask(
    demo: Demo, who: str, service: str, path: str, body: Mapping[str, Any] | None = None
) -> tuple[int, Any]:
    """Status and answer, without what only names the request."""
    headers = {
        "Authorization": f"Bearer {await token_of(demo, who)}",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    url = demo.installation.url(service) + path
    async with httpx.AsyncClient(timeout=30) as http:
        method = "GET" if body is None else "POST"
        answer = await http.request(method, url, headers=headers, json=body)
    told = answer.json()
    if isinstance(told, dict):
        told = {name: value for name, value in told.items() if name not in OF_THE_REQUEST}
    return answer.status_code, told


async def token_of(demo: Demo, who: str) -> str:
    work = demo.run.client.token(who)
    return await asyncio.to_thread(demo.host.ask, work)


def registered_cases(demo: Demo, holders: Mapping[str, str]) -> list[str]:
    """One case on file of each kind of holder, known to every service."""
    by_kind: dict[str, str] = {}
    kinds = {o.organisation: o.kind for o in WORLD.organisations}
    for told in demo.log.named("FileRegistered"):
        by_kind.setdefault(kinds[holders[told.recorded.subject]], told.recorded.subject)
    return list(by_kind.values())


# Over HTTP


@pytest.mark.parametrize("service", OF_A_CASE)
async def test_a_case_of_another_office_is_an_unknown_case(
    demo: Demo, holders: dict[str, str], service: str
) -> None:
    """Status and words are the same, so not even its existence is told; its own office sees it."""
    for case_id in registered_cases(demo, holders):
        own = person(holders[case_id], "handler")
        assert (await ask(demo, own, service, f"/cases/{case_id}"))[0] == httpx.codes.OK
        for stranger in strangers(holders[case_id]):
            seen = await ask(demo, stranger, service, f"/cases/{case_id}")
            unknown = await ask(demo, stranger, service, f"/cases/{UNKNOWN_CASE}")
            assert seen == unknown
            assert seen[0] == httpx.codes.NOT_FOUND


async def test_an_organisation_outside_the_subtree_is_an_unknown_one(demo: Demo) -> None:
    """The network's own looks keep to the subtree as well."""
    west = person("county-west", "reviewer")
    seen = await ask(demo, west, "network", "/organisations/county-east")
    assert seen == await ask(demo, west, "network", "/organisations/no-such-county")
    assert seen[0] == httpx.codes.NOT_FOUND
    own = await ask(demo, west, "network", "/organisations/station-4")
    assert own[0] == httpx.codes.OK


COMMANDS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("intake", "forward", {}),
    ("intake", "register", {}),
    ("intake", "reject", {"rule": "K6", "reasons": ["duplicate"]}),
    ("intake", "hardship-end", {"placement_id": UNKNOWN_CASE, "confirm": True}),
    ("eligibility", "confirmation", {"determination_id": UNKNOWN_CASE}),
    ("eligibility", "awards", {"programme": "living", "asked_fen": 100}),
    ("notice", "notices", {"place": "station"}),
    ("payout", f"payouts/{UNKNOWN_CASE}/reissue-proposal", {}),
    (
        "training",
        "enrolments",
        {"person_id": UNKNOWN_CASE, "class_id": UNKNOWN_CASE},
    ),
)


@pytest.mark.parametrize(("service", "act", "body"), COMMANDS)
async def test_a_command_on_a_case_of_another_office_tells_nothing(
    demo: Demo, holders: dict[str, str], service: str, act: str, body: dict[str, Any]
) -> None:
    """A stranger's command is answered as on a case that does not exist, and changes nothing."""
    case_id = registered_cases(demo, holders)[0]
    stranger = next(iter(strangers(holders[case_id])))
    before = await ask(demo, person(CITY, "reviewer"), service, f"/cases/{case_id}")
    seen = await ask(demo, stranger, service, f"/cases/{case_id}/{act}", body)
    unknown = await ask(demo, stranger, service, f"/cases/{UNKNOWN_CASE}/{act}", body)
    assert seen == unknown
    assert 400 <= seen[0] < 500
    assert await ask(demo, person(CITY, "reviewer"), service, f"/cases/{case_id}") == before


OFFICES: Final = (
    "union-1-1.handler",
    "union-m-1.chair",
    "station-2.handler",
    "industry-1.handler",
    "county-west.reviewer",
    "county-east.approver",
)


@pytest.mark.parametrize("office", OFFICES)
async def test_an_office_lists_the_cases_of_its_subtree(
    demo: Demo, holders: dict[str, str], office: str
) -> None:
    """All of them and no other, page by page."""
    organisation = office.partition(".")[0]
    listed: set[str] = set()
    after = ""
    while True:
        status, page = await ask(demo, office, "intake", f"/cases?limit=7&after={after}")
        assert status == httpx.codes.OK
        if not page["items"]:
            break
        listed |= {item["case_id"] for item in page["items"]}
        after = page["items"][-1]["case_id"]
    assert listed == {c for c, holder in holders.items() if organisation in above(holder)}


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("intake", "/work"),
        ("eligibility", "/work"),
        ("eligibility", "/files"),
        ("notice", "/work"),
        ("payout", "/payouts"),
        ("training", "/workers"),
    ],
)
@pytest.mark.parametrize("office", OFFICES)
async def test_lists_and_work_keep_to_the_subtree(
    demo: Demo, holders: dict[str, str], office: str, service: str, path: str
) -> None:
    """Nothing of a case that the office does not see stands in any list."""
    organisation = office.partition(".")[0]
    status, page = await ask(demo, office, service, f"{path}?limit=1000")
    assert status == httpx.codes.OK
    named = {case_id for case_id in holders if case_id in str(page)}
    assert all(organisation in above(holders[case_id]) for case_id in named)


async def test_a_token_alone_opens_nothing(demo: Demo, holders: dict[str, str]) -> None:
    """A known person in no office, and nobody at all, see no case and no list."""
    case_id = registered_cases(demo, holders)[0]
    for service in OF_A_CASE:
        for path in (f"/cases/{case_id}", "/work"):
            answer = await ask(demo, "nobody-in-office", service, path)
            assert answer[0] == httpx.codes.FORBIDDEN
            async with httpx.AsyncClient(timeout=30) as http:
                bare = await http.get(demo.installation.url(service) + path)
            assert bare.status_code == httpx.codes.UNAUTHORIZED


async def test_denied_attempts_are_on_record(demo: Demo, holders: dict[str, str]) -> None:
    """By actor, and not in the case."""
    case_id = registered_cases(demo, holders)[0]
    stranger = next(iter(strangers(holders[case_id])))
    await ask(demo, stranger, "intake", f"/cases/{case_id}")
    with psycopg.connect(demo.postgres_url) as connection:
        rows = connection.execute(
            "SELECT attempt FROM intake.denials WHERE actor = %s AND subject = %s",
            (stranger, case_id),
        ).fetchall()
    assert rows


async def test_another_body_under_the_same_key_is_refused(demo: Demo) -> None:
    """Also where only one of the two readers of a body can read it (UTF-16)."""
    headers = {
        "Authorization": f"Bearer {await token_of(demo, person(CITY, 'training_officer'))}",
        "Idempotency-Key": str(uuid.uuid4()),
        "Content-Type": "application/json",
    }
    url = demo.installation.url("training") + "/orders"
    order = {"employer": "样例机床厂", "post": "车工", "skill": SKILL, "heads": 1}
    bodies = [json.dumps({**order, "heads": heads}).encode("utf-16") for heads in (1, 1, 2)]
    async with httpx.AsyncClient(timeout=30) as http:
        first, same, other = [
            await http.post(url, headers=headers, content=body) for body in bodies
        ]
    assert first.is_success, first.text
    assert same.json() == first.json()
    assert other.status_code == httpx.codes.CONFLICT


# In the databases


@pytest.mark.parametrize("role", ["WORKER", "API"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_not_touch_anothers_schema(demo: Demo, service: str, role: str) -> None:
    """Neither of its two roles reads, writes or calls anything there: permission denied."""
    url = demo.installation.environments[service][f"BANGFU_{role}_URL"]
    for other in SERVICES:
        if other == service:
            continue
        for statement in (
            f"SELECT 1 FROM {other}.facts",
            f"SELECT 1 FROM {other}.views",
            f"DELETE FROM {other}.views",
            f"SELECT {other}.api_deny('a', 'b', 'c')",
        ):
            assert refusal_of(url, statement) == "42501", statement


@pytest.mark.parametrize("service", SERVICES)
def test_the_api_role_has_no_right_on_facts(demo: Demo, service: str) -> None:
    """Only the functions that check scope reach them; nobody changes or empties them."""
    installation = demo.installation
    api = installation.environments[service]["BANGFU_API_URL"]
    worker = installation.environments[service]["BANGFU_WORKER_URL"]
    assert refusal_of(api, f"SELECT 1 FROM {service}.facts") == "42501"
    for statement in (
        f"UPDATE {service}.facts SET data = data",
        f"DELETE FROM {service}.facts",
        f"TRUNCATE {service}.facts",
    ):
        assert refusal_of(worker, statement) is not None, statement
        assert refusal_of(installation.infrastructure.postgres_url, statement) is not None


@pytest.mark.parametrize("service", SERVICES)
def test_the_api_role_sees_no_view_without_an_organisation(demo: Demo, service: str) -> None:
    """Row-level security: where nobody is named, nothing is seen."""
    api = demo.installation.environments[service]["BANGFU_API_URL"]
    with psycopg.connect(api) as connection:
        assert connection.execute(f"SELECT count(*) FROM {service}.views").fetchone() == (0,)


@pytest.mark.parametrize("service", SERVICES)
def test_keys_are_read_through_their_functions_alone(demo: Demo, service: str) -> None:
    """No role of a service has a right on a table of the keys' database."""
    installation = demo.installation
    with psycopg.connect(installation.infrastructure.keys_url) as connection:
        tables = connection.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
    assert tables
    url = installation.environments[service]["BANGFU_KEYS_URL"]
    for (table,) in tables:
        assert refusal_of(url, f"SELECT 1 FROM {table}") == "42501", table


def refusal_of(url: str, statement: str) -> str | None:
    """The SQLSTATE with which the database refuses, None if it does not."""
    with psycopg.connect(url) as connection:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            return error.sqlstate
        finally:
            connection.rollback()
    return None
