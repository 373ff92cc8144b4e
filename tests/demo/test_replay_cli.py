"""`bangfu replay` on a whole demo, as a person types it: what is told, masked, or not shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from sandbox.households import Household
from sandbox.installation import CHECKOUT
from sandbox.world import person
from tests.demo.conftest import Demo
from tests.leaks import Search
from tests.personal_values import personal_values

UNKNOWN_CASE: Final = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture(scope="module")
def environment(demo: Demo) -> Path:
    """The file that a person sources, as the demo leaves it."""
    return demo.installation.write_environment()


def bangfu(environment: Path, *words: str, token: str = "") -> Said:
    """The command line in the environment of the demo."""
    command = f'set -a; source "{environment}"; exec "$0" -m cli "$@"'
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    clean |= {"PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    if token:
        clean["BANGFU_TOKEN"] = token
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, *words],
        env=clean,
        cwd=CHECKOUT,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass(frozen=True)
class Example:
    """A case that was paid, its household in clear, and who may see it."""

    case_id: str
    household: Household
    registered_on: date
    own: str
    foreign: str


@pytest.fixture(scope="module")
def example(demo: Demo) -> Example:
    story = demo.run.story
    for told in demo.log.named("FileRegistered"):
        case = demo.log.cases[told.recorded.subject]
        holder = told.data["organisation_id"]
        if case.named("PayoutConfirmed") and holder.startswith("union-"):
            other = "union-1-1" if holder != "union-1-1" else "union-2-1"
            return Example(
                told.recorded.subject,
                story.household(told.recorded.subject),
                told.recorded.occurred_on,
                person(holder, "handler"),
                person(other, "handler"),
            )
    raise AssertionError("no paid case of a union")


def clear_values(household: Household) -> Search:
    return Search(personal_values([household]))


def test_without_a_token_all_is_told_and_nothing_in_clear(
    demo: Demo, environment: Path, example: Example
) -> None:
    """Every fact of the case in causal order with day, service, office and words; masked."""
    said = bangfu(environment, "replay", example.case_id)
    assert said.status == 0, said.err
    assert clear_values(example.household).within("screen", said.out.encode()) == []
    assert "sealed:" not in said.out
    assert "***" in said.out
    place = 0
    for told in demo.log.cases[example.case_id]:
        place = said.out.index(told.name, place)
    for words in ("低保", "AwardComputed", "approver", "hashes, versions and causal order hold"):
        assert words in said.out


def test_the_document_has_every_fact_once_in_causal_order(
    demo: Demo, environment: Path, example: Example
) -> None:
    """``--json``: the same order as the facts' own, and the state at the end."""
    said = bangfu(environment, "replay", example.case_id, "--json")
    assert said.status == 0, said.err
    told = [(fact["stream"], fact["version"]) for fact in said.document["facts"]]
    wanted = [(t.recorded.stream, t.recorded.version) for t in demo.log.cases[example.case_id]]
    assert told == wanted
    assert said.document["verified"]["findings"] == []
    assert {state["service"] for state in said.document["states"]} >= {"intake", "payout"}
    assert clear_values(example.household).within("document", said.out.encode()) == []


def test_an_office_of_the_case_reads_in_clear(
    demo: Demo, environment: Path, example: Example
) -> None:
    """With a token of its office: names, numbers and the account as they are."""
    token = demo.host.ask(demo.run.client.token(example.own))
    said = bangfu(environment, "replay", example.case_id, "--json", token=token)
    assert said.status == 0, said.err
    household = example.household
    for value in (household.members[0].name, household.members[0].id_number, household.phone):
        assert value in said.out
    assert household.address in said.out
    assert "sealed:" not in said.out


def test_another_office_is_told_what_a_stranger_to_an_unknown_case_is_told(
    demo: Demo, environment: Path, example: Example
) -> None:
    """One line, exit status 2, nothing of the case."""
    token = demo.host.ask(demo.run.client.token(example.foreign))
    refused = bangfu(environment, "replay", example.case_id, token=token)
    unknown = bangfu(environment, "replay", UNKNOWN_CASE, token=token)
    assert (refused.status, refused.out, refused.err) == (2, unknown.out, unknown.err)
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1


def test_an_unknown_case_is_one_line(environment: Path) -> None:
    """No case of that id: exit status 2."""
    said = bangfu(environment, "replay", UNKNOWN_CASE)
    assert (said.status, said.out, len(said.err.splitlines())) == (2, "", 1)


def test_a_bad_token_and_a_bad_day_are_one_line(environment: Path, example: Example) -> None:
    """Nothing is shown, and the token is not repeated."""
    token = bangfu(environment, "replay", example.case_id, token="not.a.token")
    assert (token.status, token.out, len(token.err.splitlines())) == (2, "", 1)
    assert "not.a.token" not in token.err
    day = bangfu(environment, "replay", example.case_id, "--as-of", "2025-02-30")
    assert (day.status, day.out, len(day.err.splitlines())) == (2, "", 1)


def test_as_of_a_day_shows_what_was_known_by_then(environment: Path, example: Example) -> None:
    """The day before registration: not on file, no award, no payment."""
    eve = example.registered_on - timedelta(days=1)
    said = bangfu(environment, "replay", example.case_id, "--as-of", eve.isoformat(), "--json")
    assert said.status == 0, said.err
    names = [fact["fact"] for fact in said.document["facts"]]
    assert "ApplicationSubmitted" in names
    assert not {"FileRegistered", "AwardComputed", "PayoutConfirmed"} & set(names)
    assert all(fact["recorded_on"] <= eve.isoformat() for fact in said.document["facts"])


def test_valid_on_a_day_shows_what_had_happened_by_then(
    environment: Path, example: Example
) -> None:
    """On the day of registration: on file, nothing paid yet."""
    day = example.registered_on.isoformat()
    said = bangfu(environment, "replay", example.case_id, "--valid-on", day, "--json")
    assert said.status == 0, said.err
    names = {fact["fact"] for fact in said.document["facts"]}
    assert "FileRegistered" in names
    assert "PayoutConfirmed" not in names
    assert all(fact["occurred_on"] <= day for fact in said.document["facts"])


def test_verify_and_heads_answer_as_a_person_asks_them(demo: Demo, environment: Path) -> None:
    """``bangfu verify`` ends well, ``bangfu heads`` lists the end of every stream."""
    verified = bangfu(environment, "verify", "--json")
    assert verified.status == 0, verified.out[-2000:] + verified.err
    heads = bangfu(environment, "heads")
    assert heads.status == 0, heads.err
    streams = {told.recorded.stream for told in demo.log.facts}
    assert all(stream in heads.out for stream in streams)
