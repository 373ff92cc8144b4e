"""No name, number, address, card, diagnosis or free text of a whole demo stands anywhere in clear.

Topics and their segments, tables, dumps and data files of both databases, logs, metrics, pages and
refusals; outside are the sandbox's own memory and the bank's folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest

from sandbox import bodies, cards
from sandbox.installation import INSTRUCTIONS
from shared.bus import topic_name
from tests.conftest import servers_folder
from tests.demo.conftest import Demo
from tests.leak_sources import (
    database_files,
    dump,
    files,
    pages,
    segments,
    tables,
    topics,
    write_ahead_log,
)
from tests.leaks import Piece, Search
from tests.personal_values import personal_values

TEXTS_OF_STAFF = {
    "objection free_text": "反映该户另有经营收入，请核实",
    "findings free_text": "走访邻里与单位后的核查情况",
    "decision free_text": "依核查情况认定",
    "assessment free_text": "经现场评估，房屋家具损毁",
    "end declined free_text": "试用期未满，收入尚不稳定",
}


@pytest.fixture(scope="module")
def search(demo: Demo) -> Search:
    values = personal_values(demo.run.story.households.values())
    return Search({**values, **TEXTS_OF_STAFF})


def found(search: Search, pieces: Iterable[Piece]) -> list[str]:
    """The leaks as text, and proof that something was searched at all."""
    before = search.searched_bytes
    leaks = [str(leak) for leak in search.among(pieces)]
    assert search.searched_bytes > before
    return leaks[:20]


def test_what_is_searched_was_really_put_in(demo: Demo, search: Search) -> None:
    """The same search finds the values in what a household handed in."""
    household = demo.run.story.households[1]
    body = bodies.submission(household, cards.test_card(1), complete=True)
    assert len({leak.value for leak in search.within("body", str(body).encode())}) >= 5


def test_topics_hold_no_personal_value(demo: Demo, search: Search) -> None:
    """Keys, headers and values of every record, the bank's instructions included."""
    installation = demo.installation
    bootstrap = installation.infrastructure.kafka_bootstrap

    async def collected() -> list[Piece]:
        return [piece async for piece in topics(bootstrap, installation.prefix)]

    pieces = asyncio.run(collected())
    names = {source.removeprefix("topic ").partition("/")[0] for source, _ in pieces}
    assert topic_name(installation.prefix, "intake") in names
    assert f"{installation.prefix}{INSTRUCTIONS}" in names
    assert found(search, pieces) == []


def test_log_segments_hold_no_personal_value(demo: Demo, search: Search) -> None:
    """The broker's own files, where it runs on this machine."""
    kafka_log = servers_folder() / "kafka" / "log"
    if not kafka_log.is_dir():
        pytest.skip("the broker's files are not on this machine")
    assert found(search, segments(kafka_log, demo.installation.prefix)) == []


@pytest.mark.parametrize("database", ["application", "keys"])
def test_tables_and_dumps_hold_no_personal_value(demo: Demo, search: Search, database: str) -> None:
    """Every table of every schema: facts, read models, keys, denied attempts, looks on record."""
    url = _url(demo, database)
    names = {source.split()[1].partition(".")[0] for source, _ in _listed(tables(url))}
    if database == "application":
        assert {"intake", "eligibility", "notice", "payout", "training", "network"} <= names
    assert found(search, [*tables(url), *dump(url)]) == []


def test_database_files_hold_no_personal_value(demo: Demo, search: Search) -> None:
    """Pages, also of rows long gone, and the write-ahead log, where the server is here."""
    data_folder = servers_folder() / "postgres" / "data"
    if not data_folder.is_dir():
        pytest.skip("the server's files are not on this machine")
    for database in ("application", "keys"):
        assert found(search, database_files(_url(demo, database), data_folder)) == []
    assert found(search, write_ahead_log(data_folder)) == []


def test_logs_hold_no_personal_value(demo: Demo, search: Search) -> None:
    """Of the services, the issuer, the bank's process, PostgreSQL and Kafka."""
    folder = demo.installation.folder
    assert {path.stem for path in (folder / "logs").iterdir()} >= {"intake", "payout", "bank"}
    assert found(search, files(folder, apart=[folder / "bank"])) == []
    for path in servers_folder().glob("*.log"):
        assert found(search, [(path.name, path.read_bytes() or b"empty")]) == []


def test_metrics_and_pages_hold_no_personal_value(demo: Demo, search: Search) -> None:
    """What every process tells anybody."""
    installation = demo.installation
    urls = {name: installation.url(name) for name in installation.ports}

    async def collected() -> list[Piece]:
        return [piece async for piece in pages(urls)]

    assert found(search, asyncio.run(collected())) == []


def test_refusals_hold_no_personal_value(demo: Demo, search: Search) -> None:
    """Those of the year, and those of people who put values where none belongs."""
    pieces = [(f"refusal {number}", body) for number, body in enumerate(demo.refusals)]
    for mischief, answer in demo.answers:
        where = f"answer to {mischief.method} {mischief.service}"
        pieces.append((where, str(answer.headers.multi_items()).encode() + answer.content))
    assert found(search, pieces) == []


def test_every_mischief_was_refused(demo: Demo) -> None:
    """None of it was granted or broke a service: each answer is a problem with a type."""
    granted = [
        (mischief.service, mischief.method, answer.status_code, answer.text[:200])
        for mischief, answer in demo.answers
        if mischief.path != "/status" and not 400 <= answer.status_code < 500
    ]
    assert granted == []


def _url(demo: Demo, database: str) -> str:
    infrastructure = demo.installation.infrastructure
    return infrastructure.postgres_url if database == "application" else infrastructure.keys_url


def _listed(pieces: Iterable[Piece]) -> Iterator[Piece]:
    return ((source, b"") for source, _ in pieces if source.startswith("table "))
