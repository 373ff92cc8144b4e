"""`bangfu rebuild SERVICE [MODEL]` as an operator types it."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest
from typer.testing import CliRunner, Result

from cli.__main__ import app
from shared.migrations import Passwords, migrate
from tests.conftest import FreshDatabases


@pytest.fixture
def network_url(fresh_databases: FreshDatabases) -> str:
    """The network's schema, empty but for a guard row and a view that follow from nothing."""
    url = fresh_databases.postgres_url
    asyncio.run(migrate(url, "network", Passwords("w", "a")))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO network.guards VALUES ('tree', 3)")
        connection.execute(
            "INSERT INTO network.views (model, key, stream, subject, document)"
            " VALUES ('organisation', 'x', 'organisation-x', 'organisation-x', '{\"name\":\"某\"}')"
        )
    return url


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["rebuild", *words], env={"BANGFU_POSTGRES_URL": url})


def test_what_differed_is_named_counted_and_put_right(network_url: str) -> None:
    checked = run(network_url, "network", "--check")
    assert checked.exit_code == 1, checked.output
    assert "network guards: not what the facts give: tree: 3, by the facts 0" in checked.stdout
    assert "network organisation: follows from no fact: organisation x" in checked.stdout
    assert "某" not in checked.stdout
    told = run(network_url, "network", "--json")
    assert told.exit_code == 1
    models = json.loads(told.stdout)["models"]
    assert models["organisation"]["differing"] == {"follows from no fact": 1}
    assert all(model["mended"] for model in models.values())
    again = run(network_url, "network")
    assert again.exit_code == 0, again.output
    assert "无差异 no difference" in again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "SERVICE: "),
        (["network", "organization"], "MODEL: "),
    ],
)
def test_a_wrong_word_is_one_line_and_status_2(
    network_url: str, words: list[str], said: str
) -> None:
    result = run(network_url, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1


def test_a_model_that_is_none_stands_apart_from_those_that_there_are(network_url: str) -> None:
    line = run(network_url, "network", "bog\x1bus").stderr.strip()
    assert "under this name: bog\\u001bus（可为 there are: " in line
    assert "guards" in line.partition("there are: ")[2]


def test_a_database_that_is_not_there_is_one_line() -> None:
    result = run("postgresql://nobody:secret@127.0.0.1:1/none", "network")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "secret" not in result.stderr


def test_copies_of_others_facts_are_not_rebuilt_and_it_says_where_to_look(
    network_url: str,
) -> None:
    refused = run(network_url, "network", "reference")
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "MODEL" in refused.stderr
    assert "docs/operating.md" in refused.stderr
