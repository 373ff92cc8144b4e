"""`./run demo` as a person types it: options, report, and the same year from the same seed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from deploy.infrastructure import Infrastructure
from deploy.native.process import Identity
from sandbox.demo import FOLDER
from sandbox.installation import CHECKOUT, STATE_FILE, stop_recorded
from tests.demo.conftest import Demo

HOUSEHOLDS: Final = 30
LONGEST_SECONDS: Final = 600
# What ``./run demo`` becomes once everything is set up.
PROGRAM: Final = (sys.executable, "-P", "-m", "sandbox.demo")


def surroundings(environment: dict[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})}


def run_demo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words],
        env=surroundings(),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--households", "0"],
        ["--households", "many"],
        ["--households", "1000000"],
        ["--year", "1999"],
        ["--seed", "x"],
        ["--report", "/no/such/folder/report.json"],
        ["--unknown"],
        ["household"],
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_one_line_and_status_2(words: list[str]) -> None:
    """Before anything is started."""
    done = run_demo(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"{words[0]}: ")


@pytest.mark.parametrize("word", ["up", "down"])
def test_asking_how_to_call_it_starts_and_stops_nothing(word: str) -> None:
    """Seen to start eight processes for a ``--help`` that it did not read."""
    for argument, status in (("--help", 0), ("--unknown", 2), ("12", 2)):
        done = subprocess.run(
            [sys.executable, "-P", "-m", f"sandbox.{word}", argument],
            # One that does not read its arguments meets no servers, and so starts nothing.
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "BANGFU_INFRASTRUCTURE": "no"},
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done
        assert ("usage: ./run" in done.stdout) == (status == 0)
        assert len(done.stderr.splitlines()) == (status == 2), done.stderr


@dataclass(frozen=True)
class Kept:
    """A demo that was left running: what it said, what it wrote, and where it is."""

    said: str
    report: dict[str, Any]
    folder: Path

    @property
    def installation(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads((self.folder / STATE_FILE).read_text())
        return known


@dataclass(frozen=True)
class Begun:
    """A demo on its way, and the folder of what it says and of its report."""

    process: subprocess.Popen[bytes]
    folder: Path

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def complaint(self) -> str:
        return (self.folder / "complaint").read_text()


# Of the package, as the other demo is: what is of a module only would begin after it.
@pytest.fixture(scope="package")
def begun(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Begun]:
    """Thirty households from the command line, with a report, to be left running."""
    folder: Path = tmp_path_factory.mktemp("report")
    before = set(FOLDER.glob("*"))
    words = ("--households", str(HOUSEHOLDS), "--seed", "1", "--keep")
    with (folder / "said").open("wb") as said, (folder / "complaint").open("wb") as complaint:
        process = subprocess.Popen(
            [*PROGRAM, *words, "--report", str(folder / "report.json")],
            env=surroundings(infrastructure.as_environment()),
            cwd=CHECKOUT,
            stdout=said,
            stderr=complaint,
        )
    try:
        yield Begun(process, folder)
    finally:
        process.kill()
        process.wait()
        # What it has begun outlives it, as --keep asks, also where nobody came to know its folder.
        for each in set(FOLDER.glob("*")) - before:
            stop_recorded(each)


@pytest.fixture(scope="module")
def kept(begun: Begun, demo: Demo) -> Iterator[Kept]:
    """The same, lived while the two hundred of the other one live: a year is mostly waiting."""
    assert demo.outcomes
    status = begun.process.wait(LONGEST_SECONDS)
    said = begun.said()
    found = re.search(r"source (.*)/environment", said)
    try:
        assert status == 0, said[-3000:] + begun.complaint()[-3000:]
        assert found is not None
        yield Kept(said, json.loads((begun.folder / "report.json").read_text()), Path(found[1]))
    finally:
        if found is not None:
            stop_recorded(Path(found[1]))
            shutil.rmtree(found[1])


def test_the_report_says_what_came_of_it(kept: Kept) -> None:
    """Plan, outcomes by household number, facts, money and no fault."""
    report = kept.report
    assert report["plan"] == {"households": HOUSEHOLDS, "year": 2025, "seed": 1}
    assert sorted(map(int, report["outcomes"])) == list(range(1, HOUSEHOLDS + 1))
    assert report["faults"] == []
    assert report["facts"]["FileRegistered"] > 0
    paid = sum(outcome["paid_fen"] for outcome in report["outcomes"].values())
    assert sum(report["paid_fen"].values()) == paid > 0


def test_the_same_seed_gives_the_same_outcomes_and_amounts(demo: Demo, kept: Kept) -> None:
    """Another run, of other size, in other processes: each household fares the same."""
    differing = {
        number: (outcome, demo.outcomes[int(number)])
        for number, outcome in kept.report["outcomes"].items()
        if outcome != json.loads(json.dumps(demo.outcomes[int(number)]))
    }
    assert differing == {}


@pytest.mark.parametrize(
    "words", ["Cases by outcome", "Money by fund", "Notices", "Training", "no difference", "passed"]
)
def test_a_person_reads_what_came_of_it(kept: Kept, words: str) -> None:
    """Tables at the end, the verification, the verdict; and a timeline, masked."""
    assert words in kept.said
    assert "sealed:" not in kept.said


def test_what_was_kept_still_runs_and_can_be_looked_at(kept: Kept) -> None:
    """Each process answers where the demo said, and the commands it named work as they stand."""
    for name, port in kept.installation["ports"].items():
        found = re.search(rf"http://127.0.0.1:{port}/\S*", kept.said)
        assert found is not None, name
        assert httpx.get(found[0], timeout=30).is_success, name
    replay = re.search(r"bangfu (replay \S+)", kept.said)
    assert replay is not None
    command = f'source "{kept.folder}/environment"; exec "$0" -P -m cli {replay[1]}'
    told = in_a_shell("-c", command, sys.executable)
    assert "ApplicationSubmitted" in told


def in_a_shell(*words: str) -> str:
    """What a shell without any surroundings but the checkout's says to this, if all is well."""
    done = subprocess.run(
        ["bash", *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_request_can_be_tried_with_a_token_as_it_was_said(kept: Kept) -> None:
    """The lines under "try a request", in a shell that has sourced the file; curl is optional."""
    [_, lines] = kept.said.split("try a request, as somebody of")
    export, curl = (line.strip() for line in lines.splitlines()[1:3])
    token = f"{sys.executable} -P -m sandbox.token"
    # What the line names, whichever program asks for it.
    ask = "import os, sys, httpx; h = {'Authorization': sys.argv[1]}; " + (
        "print(httpx.get(sys.argv[2], headers=h).raise_for_status().json())"
    )
    curl = curl.replace("curl -s -H", f'{sys.executable} -c "{ask}"').replace("Authorization: ", "")
    commands = f'. "{kept.folder}/environment"; {export.replace("./run token", token)}; {curl}'
    told = in_a_shell("-ec", commands)
    assert "items" in told


UNSET = "BANGFU_ISSUER, BANGFU_SANDBOX_SECRET"


@pytest.mark.parametrize(
    ("words", "wrong", "wrong_without_settings"),
    [
        ([], "PERSON", "PERSON"),
        (["nobody"], "PERSON", UNSET),
        (["union-1-1.handler", "x"], "x", "x"),
    ],
)
def test_a_token_of_nobody_is_one_line(
    kept: Kept, words: list[str], wrong: str, wrong_without_settings: str
) -> None:
    """Who it is for is checked by the issuer; without its settings nobody is asked."""
    command = f'. "{kept.folder}/environment"; exec {sys.executable} -P -m sandbox.token "$@"'
    without_settings = command.partition("; ")[2]
    for shell, named in ((command, wrong), (without_settings, wrong_without_settings)):
        done = subprocess.run(
            ["bash", "-c", shell, "token", *words],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"{named}: ")


def test_what_was_kept_ends_when_it_is_stopped(kept: Kept) -> None:
    """By the ids that were recorded, as ``./run down`` does; a second time there is nothing."""
    identities = [Identity(**known) for known in kept.installation["processes"].values()]
    assert all(identity.is_alive() for identity in identities)
    assert stop_recorded(kept.folder)
    assert not any(identity.is_alive() for identity in identities)
    assert not stop_recorded(kept.folder)
