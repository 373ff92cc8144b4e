"""Every route of every service, asked by those who may not, about what really exists.

By an office of another county that holds the very role, by one that may see the subject but holds
no role for it, by somebody in no office, by another's program, and with tokens that do not hold:
refused, recorded, and nothing told, not even that there is such a thing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
import psycopg
import pytest

from sandbox.installation import SERVICES
from sandbox.world import CITY, ROLES, person
from tests.demo.conftest import Demo
from tests.demo.doors import GRANTED, NOT_FOUND, WEST, Asked, Outcome, Subjects, doors
from tests.duty.routes import UNKNOWN_ID, Route, routes, told
from tests.duty.tokens import bad_tokens
from tests.personal_values import personal_values

NOBODY: Final = "nobody-in-office"
BANK: Final = "sandbox-bank"
# An office that sees every case and has a part in none.
BESIDE: Final = person(CITY, "visitor")
NO_OFFICE: Final = (403, "no-office")
# Where another's program comes in. What it may send in a batch is judged command by command.
PROGRAMS: Final = {
    "payout GET /bank/accounts/{end_to_end_id}",
    "payout POST /bank/accounts",
    "payout POST /bank/reports",
    "payout POST /batch",
}
HEARD_SECONDS: Final = 30.0
DENIED: Final = (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND)
WITHOUT_PAGES: Final = {"network GET /tree", "eligibility GET /parameters"}
# Which funds there are is known: their parameters and plans are published.
KNOWN_TO_ALL: Final = {
    "eligibility POST /parameters/proposals",
    "eligibility POST /parameters/{scope}/announcements",
    "payout POST /funds/{fund}/credits",
}

# What anybody may ask for, and why.
PUBLIC: Final = {
    "notice GET /public/notices": "公示: the public sees who is to be filed, masked",
    "notice GET /public/notices/{notice_id}": "as above",
    "notice POST /public/notices/{notice_id}/objections": "anybody may object, without a name",
}
# What stands in no OpenAPI, and why it needs no token: docs/decisions/0031-watching.md.
UNLISTED: Final = {
    "/health/live": "whoever runs the process asks whether it lives",
    "/health/ready": "a load balancer asks whether it takes work",
    "/metrics": "counts, no ids; kept from outside by the network, not by a token",
    "/status": "counts and positions, for the operator's tools",
    "/overview": "counts of stages and tasks, for the operator's tools",
    "/openapi.json": "what the routes are is no secret",
    "/docs": "the same to read",
}


@dataclass(frozen=True)
class Person:
    """Somebody who asks, with their Authorization."""

    name: str
    authorization: str


@dataclass(frozen=True)
class Walker:
    """Sends requests as anybody, and knows what the services have recorded."""

    demo: Demo
    http: httpx.Client
    database: psycopg.Connection[Any]
    # Every personal value of the demo's people, of which no refusal may show any.
    untold: frozenset[str]

    def person(self, name: str) -> Person:
        return Person(name, "Bearer " + self.demo.host.ask(self.demo.run.client.token(name)))

    def send(self, route: Route, asked: Asked, authorization: str) -> httpx.Response:
        headers = [(b"Authorization", authorization.encode("latin-1"))] if authorization else []
        if route.needs_key:
            headers.append((b"Idempotency-Key", str(uuid.uuid4()).encode()))
        url = self.demo.installation.url(route.service) + route.filled(asked.ids) + asked.query
        body = asked.body if route.has_body else None
        return self.http.request(route.method, url, headers=headers, json=body)

    def recorded(self, service: str, who: str) -> int:
        query = f"SELECT count(*) FROM {service}.denials WHERE actor = %s"
        return int(self.database.execute(query, (who,)).fetchall()[0][0])

    def kept(self) -> dict[str, int]:
        """How many facts and command keys each service has."""
        return {
            name: self.database.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
            for service in SERVICES
            for name in (f"{service}.facts", f"{service}.commands")
        }

    def complaints(
        self, route: Route, asked: Asked, who: Person, expected: Outcome
    ) -> Iterator[str]:
        """What is wrong with the answer, if anything: it must be as expected, on record if it is
        a refusal, and tell nothing."""
        before = self.recorded(route.service, who.name)
        answer = self.send(route, asked, who.authorization)
        if outcome(answer) != expected:
            yield f"{route}: {answer.status_code} {answer.text[:200]}"
        elif expected[0] in DENIED:
            recorded = self.recorded(route.service, who.name) - before
            if recorded != 1:
                yield f"{route}: recorded {recorded} times"
            own = {value for name, value in asked.ids.items() if name.endswith("_id")}
            if any(value in answer.text for value in own | self.untold):
                yield f"{route}: tells {answer.text}"


Requests = Mapping[str, tuple[Route, Asked]]


@pytest.fixture(scope="module")
def walker(demo: Demo) -> Iterator[Walker]:
    found = personal_values(demo.run.story.households.values())
    values = {value for label, value in found.items() if not label.endswith("free_text")}
    with (
        httpx.Client(timeout=30) as http,
        psycopg.connect(demo.postgres_url, autocommit=True) as database,
    ):
        yield Walker(demo, http, database, frozenset(values))


@pytest.fixture(scope="module")
def subjects(demo: Demo) -> Subjects:
    story = demo.run.story
    households = {case: story.households[n] for case, n in story.number_by_case.items()}
    return Subjects(demo.log, households)


@pytest.fixture(scope="module")
def every_route(demo: Demo) -> dict[str, Route]:
    return {str(route): route for route in routes(demo.installation.urls())}


@pytest.fixture(scope="module")
def asked(subjects: Subjects) -> dict[str, Asked]:
    return doors(subjects)


@pytest.fixture(scope="module")
def requests(every_route: dict[str, Route], asked: dict[str, Asked]) -> Requests:
    return {name: (every_route[name], each) for name, each in asked.items()}


@pytest.fixture(scope="module")
def outsiders(walker: Walker) -> dict[str, Person]:
    """Somebody in each role at the other county, whom every service has heard of."""
    demo, roles = walker.demo, {role for roles in ROLES.values() for role in roles}
    people = {role: f"outsider.{role}" for role in sorted(roles - {"chair"})}
    known = json.loads(demo.installation.people_file.read_text())
    demo.installation.set_people([*known, NOBODY, *people.values()])
    keeper, path = person(CITY, "network_keeper"), f"/organisations/{WEST}/offices"
    for role, name in people.items():
        body = {"person": name, "role": role}
        demo.host.ask(demo.run.client.post(keeper, "network", path, body))
    found = {role: walker.person(name) for role, name in people.items()}
    deadline = time.monotonic() + HEARD_SECONDS
    for service in SERVICES:
        url = demo.installation.url(service) + "/work"
        for each in found.values():
            while walker.http.get(url, headers={"Authorization": each.authorization}).is_error:
                assert time.monotonic() < deadline, "the new offices are not heard of"
                time.sleep(0.1)
    return found


@pytest.fixture
def nothing_changes(walker: Walker, outsiders: dict[str, Person]) -> Iterator[None]:
    """Whatever is refused leaves no fact and no key."""
    assert outsiders
    before = walker.kept()
    yield
    assert walker.kept() == before


def outcome(answer: httpx.Response) -> Outcome:
    if answer.is_success:
        return GRANTED
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, slug(answer.json())


def slug(problem: Mapping[str, Any]) -> str:
    return str(problem.get("type", "")).removeprefix("urn:bangfu:problem:")


def is_command(route: Route) -> bool:
    """Whether it may stand in a batch."""
    return route.needs_key


def in_a_batch(
    walker: Walker, requests: Requests, route: Route, each: Asked, who: Person
) -> dict[str, Any]:
    """How it is answered there."""
    command = {"key": str(uuid.uuid4()), "path": route.filled(each.ids), "body": each.body}
    sent = Asked(each.role, body={"commands": [command]})
    batch = requests[f"{route.service} POST /batch"][0]
    [one] = walker.send(batch, sent, who.authorization).json()["answers"]
    return dict(one)


def nobodys(asked: Asked) -> Asked:
    """The same request about something that does not exist."""
    unlike = {"scope": "fund:no-such-one", "end_to_end_id": "NOSUCHONE"}
    ids = {
        name: unlike.get(name) or (UNKNOWN_ID if name.endswith("_id") else "no-such-one")
        for name in asked.ids
    }
    return replace(asked, ids=ids)


def test_every_route_is_walked(every_route: dict[str, Route], asked: dict[str, Asked]) -> None:
    """Whoever adds a route says what its request is, or why it is public."""
    assert {name for name, route in every_route.items() if route.is_public} == set(PUBLIC)
    assert set(asked) == set(every_route) - set(PUBLIC)


@pytest.mark.usefixtures("nothing_changes")
def test_an_office_elsewhere_is_refused_and_learns_nothing(
    walker: Walker, requests: Requests, outsiders: dict[str, Person]
) -> None:
    """With the right role: what is another's is answered word for word as what does not exist."""
    wrong: list[str] = []
    for name, (route, each) in requests.items():
        who = outsiders[each.role]
        wrong += walker.complaints(route, each, who, each.elsewhere)
        if each.elsewhere == NOT_FOUND and name not in KNOWN_TO_ALL:
            known = walker.send(route, each, who.authorization)
            unknown = walker.send(route, nobodys(each), who.authorization)
            if told(known) != told(unknown):
                wrong.append(f"{name}: unlike an unknown one: {unknown.text}")
    assert wrong == []


@pytest.mark.usefixtures("nothing_changes")
def test_an_office_without_the_role_is_refused(walker: Walker, requests: Requests) -> None:
    """It may see the case: what it may not is act in it, nor read what is for others."""
    beside = walker.person(BESIDE)
    wrong: list[str] = []
    for route, each in requests.values():
        wrong += walker.complaints(route, each, beside, each.beside)
    assert wrong == []


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", [NOBODY, BANK])
def test_who_holds_no_office_comes_in_nowhere(
    walker: Walker, requests: Requests, name: str
) -> None:
    """A token that holds says who somebody is, and opens nothing but a program's own routes."""
    who = walker.person(name)
    wrong: list[str] = []
    for named, (route, each) in requests.items():
        if name == BANK and named in PROGRAMS:
            continue
        expected = each.elsewhere if route.path.startswith("/bank/") else NO_OFFICE
        wrong += walker.complaints(route, each, who, expected)
    assert wrong == []


@pytest.mark.usefixtures("nothing_changes")
def test_a_program_sends_no_more_in_a_batch_than_alone(walker: Walker, requests: Requests) -> None:
    """The bank's batches are open to its own commands: every other is refused in its place."""
    bank = walker.person(BANK)
    wrong: list[str] = []
    for name, (route, each) in requests.items():
        if route.service != "payout" or not is_command(route) or name in PROGRAMS:
            continue
        before = walker.recorded(route.service, BANK)
        one = in_a_batch(walker, requests, route, each, bank)
        if (one["status"], slug(one["body"])) != NO_OFFICE:
            wrong.append(f"{name}: {one}")
        if walker.recorded(route.service, BANK) != before + 1:
            wrong.append(f"{name}: not recorded")
    assert wrong == []


@pytest.mark.usefixtures("nothing_changes")
def test_a_token_that_does_not_hold_opens_nothing(walker: Walker, requests: Requests) -> None:
    """None, an expired one, a wrong key: the same answer whatever is asked for."""
    before = {service: walker.recorded(service, "nobody") for service in SERVICES}
    tokens = bad_tokens(walker.demo.installation)
    for what in ("none", "expired", "a wrong key"):
        for name, (route, each) in requests.items():
            answer = walker.send(route, each, tokens[what])
            assert answer.status_code == httpx.codes.UNAUTHORIZED, (name, what, answer.text)
            assert told(answer) == told(walker.send(route, nobodys(each), tokens[what])), name
            assert not [value for value in walker.untold if value in answer.text], name
    for service in SERVICES:
        assert walker.recorded(service, "nobody") > before[service]


@pytest.mark.usefixtures("nothing_changes")
def test_a_batch_opens_no_more_than_its_commands_alone(
    walker: Walker, requests: Requests, outsiders: dict[str, Person]
) -> None:
    """Each of its commands is answered, and recorded, as if it had been sent by itself."""
    wrong: list[str] = []
    for name, (route, each) in requests.items():
        if not is_command(route):
            continue
        who = outsiders[each.role]
        before = walker.recorded(route.service, who.name)
        one = in_a_batch(walker, requests, route, each, who)
        if (one["status"], slug(one["body"])) != each.elsewhere:
            wrong.append(f"{name}: {one}")
        if walker.recorded(route.service, who.name) != before + 1:
            wrong.append(f"{name}: not recorded")
    assert wrong == []


def test_no_list_shows_what_is_anothers(
    walker: Walker, requests: Requests, outsiders: dict[str, Person], subjects: Subjects
) -> None:
    """Lists are open to every office, and keep to its subtree."""
    eastern = subjects.eastern
    assert eastern
    for name, (route, each) in requests.items():
        if each.ids or route.method != "GET":
            continue
        page = replace(each, query="" if name in WITHOUT_PAGES else "?limit=1000")
        answer = walker.send(route, page, outsiders[each.role].authorization)
        assert answer.status_code == httpx.codes.OK, (name, answer.text)
        assert not [case for case in eastern if case in answer.text], name


def test_what_needs_no_token_tells_of_nobody(walker: Walker, subjects: Subjects) -> None:
    """Operators' counts: no case, and no value that is somebody's."""
    for service in SERVICES:
        for path in UNLISTED:
            answer = walker.http.get(walker.demo.installation.url(service) + path)
            assert answer.status_code == httpx.codes.OK, (service, path)
            shown = [v for v in (*walker.untold, *subjects.log.cases) if v in answer.text]
            assert not shown, (service, path)
