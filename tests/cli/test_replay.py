"""`bangfu replay CASE`: one case from Kafka alone, verified, for those who may see it."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cli.__main__ import app
from cli.rooms import SERVICES
from deploy.infrastructure import Infrastructure, create_database, drop_database
from sandbox.issuer import mint, new_signing_key
from services.eligibility import facts as eligibility
from services.intake import facts as intake
from services.network import facts as network
from services.notice import facts as notice
from shared.discarded import HeardFactDiscarded
from shared.fact import Actor, Fact, Recorded
from shared.keys import KeyStore
from shared.migrations import migrate_keys, role_name, role_url
from shared.sealed import Category, seal
from tests.given_when_then import sealed
from tests.kafka_log import KafkaLog, Sent
from tests.samples.making import sample_of

CASE = "0198c0de-0000-7000-8000-00000000ca5e"
OTHER = "0198c0de-0000-7000-8000-0000000007e4"
NAME, ADDRESS = "欧阳测试人", "样例市样例路一百号"
OBJECTION = "异议测试文字"
MASTER = secrets.token_bytes(32)
HANDLER = Actor("p-handler", "handler", "union-1")
REVIEWER = Actor("p-reviewer", "reviewer", "centre-1")


def sample(fact: type[Fact], **changes: Any) -> Any:
    """The stored sample with other values in it."""
    return fact.model_validate_json(sample_of(fact)).model_copy(update=changes)


@dataclass
class World:
    """A log in Kafka, an issuer of tokens and the keys of personal data."""

    log: KafkaLog
    environment: dict[str, str]
    keys_admin_url: str
    key: Any = field(default_factory=new_signing_key)

    def run(self, *words: str, **changes: str) -> Result:
        environment = {**self.environment, **changes}
        return CliRunner().invoke(app, ["replay", *words], env=environment)

    def json(self, *words: str, status: int = 0, **changes: str) -> Any:
        result = self.run(CASE, "--json", *words, **changes)
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    def token(self, person: str) -> str:
        return mint(self.key, person, issuer=self.environment["BANGFU_ISSUER"])

    def damaged(self, records: list[Sent]) -> str:
        """Another prefix that holds these records; its value for the environment."""
        other = KafkaLog(self.log.bootstrap)
        moved = [
            Sent(other.prefix + r.topic.removeprefix(self.log.prefix), r.key, r.value, r.headers)
            for r in records
        ]
        asyncio.run(other.send(SERVICES, moved))
        return other.prefix


def state_network(log: KafkaLog) -> None:
    day = date(2025, 1, 1)
    for name, kind, parent in (
        ("city", "federation", ""),
        ("centre-1", "centre", "city"),
        ("centre-2", "centre", "city"),
        ("union-1", "union", "centre-1"),
    ):
        stream = f"organisation-{name}"
        founded = network.OrganisationFounded(
            organisation=name, kind=kind, name=f"样例{name}", founded_on=day
        )
        log.state("network", stream, founded, on=day)
        if parent:
            edge = network.EdgeOpened(child=name, parent=parent, from_day=day)
            log.state("network", stream, edge, on=day)
    for person, organisation, role in (
        ("p-handler", "union-1", "handler"),
        ("p-reviewer", "centre-1", "reviewer"),
        ("p-elsewhere", "centre-2", "reviewer"),
        ("p-above", "city", "reviewer"),
        ("p-payer", "union-1", "maker"),
    ):
        taken = network.OfficeTaken(
            person=person, organisation=organisation, role=role, from_day=day
        )
        log.state("network", f"organisation-{organisation}", taken, on=day)


def state_case(log: KafkaLog, case_id: str, name: str, address: str, objected: str) -> Recorded:
    """From the application to a confirmed class, the notice's form, and an objection to it."""
    submitted = sample(intake.ApplicationSubmitted, case_id=case_id, organisation_id="union-1")
    member = submitted.members[0].model_copy(update={"name": name})
    submitted = submitted.model_copy(update={"members": (member,), "address": address})
    log.state(
        "intake", f"case-{case_id}", submitted, on=date(2025, 3, 3), by=HANDLER,
        recorded_on=date(2025, 3, 5), subject=case_id,
    )  # fmt: skip
    reconciled = sample(
        intake.VisitsReconciled, case_id=case_id, organisation_id="union-1", income_12m_fen=123456
    )
    cause = log.state(
        "intake", f"case-{case_id}", reconciled, on=date(2025, 3, 10), by=HANDLER, subject=case_id
    )
    determined = sample(eligibility.EligibilityDetermined, case_id=case_id)
    cause = log.state(
        "eligibility",
        f"decisions-{case_id}",
        determined,
        on=date(2025, 3, 10),
        after=cause,
        subject=case_id,
    )
    confirmed = sample(eligibility.EligibilityConfirmed, case_id=case_id)
    cause = log.state(
        "eligibility",
        f"decisions-{case_id}",
        confirmed,
        on=date(2025, 3, 12),
        by=REVIEWER,
        subject=case_id,
    )
    taken = sample(intake.ClassTakenOver, case_id=case_id)
    cause = log.state(
        "intake", f"case-{case_id}", taken, on=date(2025, 3, 12), after=cause, subject=case_id
    )
    form = sample(notice.FormTakenOver, case_id=case_id)
    cause = log.state(
        "notice", f"notices-{case_id}", form, on=date(2025, 3, 13), after=cause, subject=case_id
    )
    objection = sample(notice.ObjectionRaised, case_id=case_id, text=objected, contact=None)
    return log.state(
        "notice", f"notices-{case_id}", objection, on=date(2025, 3, 14), subject=case_id
    )


@pytest.fixture(scope="module")
def issuer_url() -> Iterator[tuple[str, Any]]:
    """A provider's published keys, on loopback."""
    key = new_signing_key()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [key.as_dict(private=False)]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing to say."""

    with HTTPServer(("127.0.0.1", 0), Keys) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", key
        server.shutdown()


@pytest.fixture(scope="module")
def world(infrastructure: Infrastructure, issuer_url: tuple[str, Any]) -> Iterator[World]:
    name = f"test_{secrets.token_hex(6)}_keys"
    admin_url = create_database(infrastructure.keys_url, name)
    url, key = issuer_url
    log = KafkaLog(infrastructure.kafka_bootstrap)

    async def build() -> str:
        passwords = {service: secrets.token_urlsafe(12) for service in SERVICES}
        await migrate_keys(admin_url, passwords)
        keys_url = role_url(admin_url, role_name(admin_url, "intake", "keys"), passwords["intake"])
        store = await KeyStore.connect(keys_url, MASTER)
        pair, other = ("person-1", Category.IDENTITY), ("objection-1", Category.FREE_TEXT)
        keys = await store.ensure([pair, other])
        person, somebody = keys[pair], keys[other]
        await store.close()
        state_network(log)
        state_case(
            log,
            CASE,
            seal(NAME, person, "fact-1", "name"),
            seal(ADDRESS, person, "fact-1", "a"),
            seal(OBJECTION, somebody, "fact-2", "text"),
        )
        await log.send(SERVICES)
        return keys_url

    keys_url = asyncio.run(build())
    yield World(
        log,
        {
            "BANGFU_KAFKA_BOOTSTRAP": log.bootstrap,
            "BANGFU_TOPIC_PREFIX": log.prefix,
            "BANGFU_ISSUER": url,
            "BANGFU_JWKS_URL": f"{url}/jwks",
            "BANGFU_KEYS_URL": keys_url,
            "BANGFU_MASTER_KEY": base64.b64encode(MASTER).decode(),
            "BANGFU_TOKEN": "",
            "BANGFU_CLOCK_FILE": "",
            "BANGFU_POSTGRES_URL": "",
        },
        admin_url,
        key,
    )
    drop_database(infrastructure.keys_url, name)


def test_a_timeline_in_causal_order_ends_with_the_state(world: World) -> None:
    """All facts of the case, from three services, who did them in which office, and why."""
    result = world.run(CASE)
    assert result.exit_code == 0, result.output
    heads = [line for line in result.stdout.splitlines() if line.startswith("2025")]
    named = [
        "ApplicationSubmitted", "VisitsReconciled", "EligibilityDetermined",
        "EligibilityConfirmed", "ClassTakenOver", "FormTakenOver", "ObjectionRaised",
    ]  # fmt: skip
    assert [next(n for n in named if n in line) for line in heads] == named
    assert "(记录于 recorded 2025-03-05)" in heads[0]
    assert "p-handler (样例union-1 union-1, 经办人 handler)" in heads[0]
    assert "系统 system" in heads[2]
    assert "1,234.56 元" in result.stdout
    assert "依据" in result.stdout
    assert "现状 state: intake case (v3)" in result.stdout
    assert "hashes, versions and causal order hold" in result.stdout
    assert result.stdout.isprintable() or all(
        line.isprintable() for line in result.stdout.splitlines()
    )


def test_a_heard_fact_that_was_discarded_is_told_and_changes_no_state(world: World) -> None:
    """Who put it aside and why stands in the timeline; the state is that of the facts around it."""
    log = KafkaLog(world.log.bootstrap)
    state_network(log)
    last = state_case(log, CASE, sealed(), sealed(), sealed("free_text", "text"))
    discarded = sample(
        HeardFactDiscarded, type="bangfu.notice.NoticeElapsed", stream=f"notices-{CASE}",
        version=2, operator="chen", reason="entered twice",
    )  # fmt: skip
    log.state("intake", f"case-{CASE}", discarded, on=date(2025, 3, 15), after=last, subject=CASE)
    withdrawn = sample(intake.ConsentWithdrawn, case_id=CASE)
    log.state("intake", f"case-{CASE}", withdrawn, on=date(2025, 3, 16), subject=CASE)
    asyncio.run(log.send(SERVICES))
    told = world.json(BANGFU_TOPIC_PREFIX=log.prefix)
    assert [f["fact"] for f in told["facts"]][-2:] == ["HeardFactDiscarded", "ConsentWithdrawn"]
    [state] = [s for s in told["states"] if s["kind"] == "case"]
    assert state["version"] == 5
    shown = world.run(CASE, BANGFU_TOPIC_PREFIX=log.prefix)
    assert shown.exit_code == 0, shown.output
    assert "由 chen 决定：entered twice" in shown.stdout


def test_what_a_service_put_aside_is_told_though_it_has_no_state(world: World) -> None:
    log = KafkaLog(world.log.bootstrap)
    state_network(log)
    discarded = sample(HeardFactDiscarded, operator="chen", reason="entered twice")
    stream = "discarded-intake"
    log.state("intake", stream, discarded, on=date(2025, 3, 15), subject=stream)
    asyncio.run(log.send(SERVICES))
    shown = world.run(stream, BANGFU_TOPIC_PREFIX=log.prefix)
    assert (shown.exit_code, shown.exception) == (0, None), shown.output
    assert "由 chen 决定：entered twice" in shown.stdout


def test_as_of_is_what_was_known_and_valid_on_what_had_happened(world: World) -> None:
    facts = world.json()["facts"]
    assert [f["recorded_on"] for f in facts][:2] == ["2025-03-05", "2025-03-10"]
    known = world.json("--as-of", "2025-03-04")
    assert (known["facts"], known["states"], known["verified"]["facts"]) == ([], [], 7)
    happened = world.json("--valid-on", "2025-03-04")
    assert [f["fact"] for f in happened["facts"]] == ["ApplicationSubmitted"]
    both = world.json("--valid-on", "2025-03-10", "--as-of", "2025-03-10")
    assert [s["kind"] for s in both["states"]] == ["case", "decisions"]
    assert len(both["facts"]) == 3


def test_without_a_token_every_personal_value_is_masked(world: World) -> None:
    for result in (world.run(CASE), world.run(CASE, "--json")):
        assert result.exit_code == 0
        assert NAME not in result.stdout
        assert "sealed:" not in result.stdout
        assert "***" in result.stdout


@pytest.mark.parametrize("person", ["p-handler", "p-reviewer"])
def test_an_office_above_the_case_sees_names_and_each_look_is_recorded(
    world: World, person: str
) -> None:
    told = world.json("--token", world.token(person))
    assert told["facts"][0]["data"]["members"][0]["name"] == NAME
    assert ADDRESS in json.dumps(told, ensure_ascii=False)
    assert "sealed:" not in json.dumps(told)

    looks = asyncio.run(looks_of(world.keys_admin_url, person))
    assert ("intake", "replay", "opened") in looks


@pytest.mark.parametrize("person", ["p-above", "p-payer"])
def test_who_does_not_work_on_the_case_sees_masks(world: World, person: str) -> None:
    """In scope, but at no door that opens it: neither above the case's own offices nor by money."""
    told = world.json("--token", world.token(person))
    assert told["facts"][0]["data"]["members"][0]["name"] == "***"
    assert asyncio.run(looks_of(world.keys_admin_url, person)) == []


def test_an_objection_is_not_opened_by_the_right_of_intake(world: World) -> None:
    """Who objects, and with what words, is for those who judge it, at notice's own door."""
    told = world.json("--token", world.token("p-handler"))
    assert told["facts"][-1]["data"]["text"] == "***"
    assert OBJECTION not in json.dumps(told, ensure_ascii=False)


async def looks_of(keys_admin_url: str, person: str) -> list[tuple[str, str, str]]:
    connection = await asyncpg.connect(keys_admin_url)
    try:
        rows = await connection.fetch(
            "SELECT service, purpose, outcome FROM keys.key_accesses WHERE actor = $1", person
        )
    finally:
        await connection.close()
    return [tuple(row) for row in rows]


def test_in_scope_without_keys_all_stays_masked(world: World) -> None:
    told = world.json("--token", world.token("p-handler"), BANGFU_KEYS_URL="", BANGFU_MASTER_KEY="")
    assert told["facts"][0]["data"]["members"][0]["name"] == "***"


@pytest.mark.parametrize("person", ["p-elsewhere", "p-nobody"])
def test_out_of_scope_is_refused_as_if_it_were_not_there(world: World, person: str) -> None:
    token = world.token(person)
    refused = world.run(CASE, BANGFU_TOKEN=token)
    absent = world.run(OTHER, BANGFU_TOKEN=token)
    assert (refused.exit_code, refused.stdout, refused.stderr) == (
        absent.exit_code, absent.stdout, absent.stderr,
    )  # fmt: skip
    assert refused.exit_code == 2
    assert one_line(refused)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((OTHER,), "CASE: 没有这一案件 no such case"),
        (("",), "CASE: 没有这一案件 no such case"),
        (("a\nb",), "CASE: 没有这一案件 no such case"),
        ((CASE, "--as-of", "2025-02-30"), "--as-of: "),
        ((CASE, "--as-of", "20250203"), "--as-of: "),
        ((CASE, "--valid-on", "yesterday"), "--valid-on: "),
        ((CASE, "--token", "nonsense"), "--token, BANGFU_TOKEN: 令牌格式错误"),
    ],
)
def test_bad_input_is_refused_in_one_line(world: World, words: tuple[str, ...], said: str) -> None:
    result = world.run(*words)
    assert result.exit_code == 2, result.output
    assert one_line(result).startswith(said)
    assert result.stdout == ""


def test_an_unset_environment_is_named(world: World) -> None:
    assert "BANGFU_KAFKA_BOOTSTRAP" in one_line(world.run(CASE, BANGFU_KAFKA_BOOTSTRAP=""))
    lost = world.run(CASE, "--token", "x", BANGFU_JWKS_URL="")
    assert "BANGFU_JWKS_URL" in one_line(lost)
    absent = world.run(CASE, BANGFU_TOPIC_PREFIX="nowhere.")
    assert absent.exit_code == 2
    assert "nowhere.network.facts" in one_line(absent)


def test_findings_are_printed_with_exit_status_1(world: World) -> None:
    """A fact dropped from the log shows by its gap, and by whoever had heard it."""
    records = world.log.records
    of_case = [r for r in records if r.key == CASE.encode()]
    without = [r for r in records if r is not of_case[3]]
    result = world.run(CASE, BANGFU_TOPIC_PREFIX=world.damaged(without))
    assert result.exit_code == 1
    confirmed = f"decisions-{CASE} 2"
    assert f"{confirmed} is not there" in result.stdout
    repeated = [*records, of_case[2]]
    prefix = world.damaged(repeated)
    assert world.json(BANGFU_TOPIC_PREFIX=prefix)["verified"]["repeats"] == 1
    flipped = [r.with_header("ce_actor", "other") if r is of_case[1] else r for r in records]
    prefix = world.damaged(flipped)
    [finding] = world.json(status=1, BANGFU_TOPIC_PREFIX=prefix)["verified"]["findings"]
    assert (finding["stream"], finding["version"], finding["kind"]) == (
        f"case-{CASE}",
        2,
        "flipped",
    )


def test_heads_are_the_ends_of_all_streams(world: World, tmp_path: Path) -> None:
    """As lines, as a file that is there only when it is whole, and with what is wrong beside it."""
    result = CliRunner().invoke(app, ["heads"], env=world.environment)
    assert result.exit_code == 0, result.output
    told = {tuple(line.split("\t")[1:]) for line in result.stdout.splitlines()}
    heads = {(s, str(head.version), head.hash) for s, head in world.log.heads.items()}
    assert told == heads
    file = tmp_path / "heads.json"
    assert (
        CliRunner().invoke(app, ["heads", "--json", str(file)], env=world.environment).exit_code
        == 0
    )
    listed = json.loads(file.read_text())["heads"]
    assert {(h["stream"], str(h["version"]), h["hash"]) for h in listed} == heads
    records = [r for r in world.log.records if b"EdgeOpened" not in r.headers["ce_type"]]
    environment = {**world.environment, "BANGFU_TOPIC_PREFIX": world.damaged(records)}
    wrong = CliRunner().invoke(app, ["heads"], env=environment)
    assert wrong.exit_code == 1
    assert "network: organisation-union-1 2: missing" in wrong.stderr
    nowhere = CliRunner().invoke(app, ["heads", "--json", "/nowhere/heads"], env=world.environment)
    assert nowhere.exit_code == 2
    assert one_line(nowhere).startswith("--json: ")
    assert one_line(nowhere).endswith(": /nowhere/heads")


def one_line(result: Result) -> str:
    [line] = result.stderr.splitlines()
    return line
