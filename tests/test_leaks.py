"""The search for leaks is seen to find: each form of a value, in each place where bytes lie.

Everything is planted by the tools that a program would use (a JSON library, base64, gzip, Kafka's
and PostgreSQL's own clients), never by the search's own list of forms.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import html
import json
import re
import secrets
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import quote

import cramjam
import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from deploy.infrastructure import Infrastructure
from sandbox.households import Household, household
from sandbox.world import build_world
from shared.bus import create_topic
from tests.conftest import FreshDatabases, servers_folder
from tests.leak_sources import (
    database_files,
    dump,
    files,
    segments,
    tables,
    topics,
    write_ahead_log,
)
from tests.leaks import Leak, Search
from tests.personal_values import personal_values

# Not a seed of any demo: what is planted here must not be found there.
SEED: Final = 987_654
NOISE: Final = Random(3).randbytes(3000)


def planted_household() -> Household:
    world = build_world()
    drawn = (household(SEED, number, 2025, world) for number in range(1, 100))
    return next(each for each in drawn if each.event and each.event.kind == "serious_illness")


VALUES: Final = personal_values([planted_household()])
KINDS: Final = {label.rpartition(" ")[2]: label for label in VALUES}


@pytest.fixture(scope="module")
def search() -> Search:
    return Search(VALUES)


def upper_escapes(text: str) -> bytes:
    return re.sub(
        rb"\\u[0-9a-f]{4}", lambda m: b"\\u" + m[0][2:].upper(), json.dumps(text).encode()
    )


def every_escape(text: str) -> bytes:
    return "".join(f"\\u{ord(character):04x}" for character in text).encode()


FORMS: Final[dict[str, Callable[[str], bytes]]] = {
    "UTF-8": str.encode,
    "GB18030": lambda text: text.encode("gb18030"),
    "UTF-16 little-endian": lambda text: text.encode("utf-16-le"),
    "UTF-16 big-endian": lambda text: text.encode("utf-16-be"),
    "JSON escapes": lambda text: json.dumps(text).encode(),
    "JSON escapes in capitals": upper_escapes,
    "JSON escapes of every character": every_escape,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)).encode(),
    "JSON in JSON in JSON": lambda text: json.dumps(json.dumps(json.dumps(text))).encode(),
    "Python's own way to show bytes": lambda text: repr(text.encode()).encode(),
    "GB18030 as Python shows it": lambda text: repr(text.encode("gb18030")).encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "hex in capitals": lambda text: text.encode().hex().upper().encode(),
    "hex of GB18030": lambda text: text.encode("gb18030").hex().encode(),
    "percent-encoding": lambda text: quote(text).encode(),
    "percent-encoding of GB18030": lambda text: quote(text, encoding="gb18030").encode(),
    "percent-encoding in small letters": lambda text: re.sub(
        r"%..", lambda m: m[0].lower(), quote(text)
    ).encode(),
    "percent-encoding of all": lambda text: "".join(f"%{b:02X}" for b in text.encode()).encode(),
    "SHA-256, unkeyed": lambda text: hashlib.sha256(text.encode()).hexdigest().encode(),
    "SHA-256, unkeyed, in base64": lambda text: base64.b64encode(
        hashlib.sha256(text.encode()).digest()
    ),
    "MD5, unkeyed": lambda text: hashlib.md5(text.encode()).hexdigest().encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip, cut short": lambda text: gzip.compress(text.encode() + NOISE)[:-500],
    "zlib": lambda text: zlib.compress((text.encode() + b"\n") * 3),
    "zlib, least effort": lambda text: zlib.compress((text.encode() + b"\n") * 3, 1),
    "zlib, most effort": lambda text: zlib.compress((text.encode() + b"\n") * 3, 9),
    "zstd": lambda text: bytes(cramjam.zstd.compress((text.encode() + b"\n") * 3)),
    "lz4": lambda text: bytes(cramjam.lz4.compress((text.encode() + b"\n") * 3)),
    "snappy, framed": lambda text: bytes(cramjam.snappy.compress((text.encode() + b"\n") * 3)),
    "GB18030 in zstd": lambda text: bytes(
        cramjam.zstd.compress((text.encode("gb18030") + b"\n") * 3)
    ),
    "base64 in gzip": lambda text: gzip.compress(base64.b64encode(text.encode())),
    "gzip in gzip": lambda text: gzip.compress(gzip.compress(text.encode())),
}


def labels(leaks: Iterable[Leak]) -> set[str]:
    return {leak.value for leak in leaks}


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_of_every_kind_is_found(search: Search, form: str, kind: str) -> None:
    """A name, an ID number, a phone, an address, a card, a diagnosis, free text: each whole."""
    planted = FORMS[form](VALUES[KINDS[kind]])
    assert KINDS[kind] in labels(search.within("plant", NOISE + planted + NOISE))


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("lead", range(3))
@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "json"])
def test_base64_is_found_at_every_alignment(
    search: Search, kind: str, lead: int, alphabet: Callable[[bytes], bytes], encoding: str
) -> None:
    """Where a value begins within three bytes changes every character of its base64."""
    value = VALUES[KINDS[kind]]
    plain = json.dumps(value).encode() if encoding == "json" else value.encode(encoding)
    planted = alphabet(b"x" * lead + plain + b"more of a body")
    assert KINDS[kind] in labels(search.within("plant", NOISE + planted + NOISE))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_not_the_value_is_not_found(search: Search, kind: str) -> None:
    """A mask, a part, a neighbour's value and other packings of nothing are no leaks."""
    value = VALUES[KINDS[kind]]
    innocent = [value[:-1], value[1:], value[:-1] + "Z", f"{value[:2]}{'*' * 8}{value[-2:]}"]
    for text in innocent:
        for plant in FORMS.values():
            assert KINDS[kind] not in labels(search.within("plant", NOISE + plant(text) + NOISE))
    assert not search.within("plant", bz2.compress(NOISE) + html.escape("&").encode())


def test_a_value_too_short_to_search_is_refused() -> None:
    """Whole values only, of at least eight bytes in every form: others would meet by chance."""
    with pytest.raises(ValueError, match="fewer than 8 bytes"):
        Search({"a name": "王建国"})


def test_a_leak_does_not_tell_the_value(search: Search) -> None:
    """A report of leaks goes into a log: it names the label and the form alone."""
    value = VALUES[KINDS["name"]]
    found = search.within("plant", value.encode())
    assert found
    assert value not in str(found)


PACKINGS: Final = (None, "gzip", "snappy", "lz4", "zstd")


@pytest.mark.parametrize("packing", PACKINGS)
async def test_topics_and_their_segments_are_searched(
    infrastructure: Infrastructure, search: Search, packing: str | None
) -> None:
    """In a key, a header, a value; in the segment's own bytes, however a batch was compressed."""
    prefix = f"leaks-{secrets.token_hex(4)}."
    topic = f"{prefix}intake.facts"
    await create_topic(infrastructure.kafka_bootstrap, topic, 1)
    places = ("name", "id_number", "phone")
    name, number, phone = (VALUES[KINDS[kind]].encode() for kind in places)
    producer = AIOKafkaProducer(
        bootstrap_servers=infrastructure.kafka_bootstrap, compression_type=packing
    )
    await producer.start()
    try:
        for _ in range(20):  # enough for a batch to be worth compressing
            headers = [("ce_actor", number)]
            await producer.send(topic, b'{"name":"' + name + b'"}', key=phone, headers=headers)
        await producer.flush()
    finally:
        await producer.stop()
    wanted = {KINDS[kind] for kind in places}
    pieces = [piece async for piece in topics(infrastructure.kafka_bootstrap, prefix)]
    assert labels(search.among(pieces)) == wanted
    kafka_log = servers_folder() / "kafka" / "log"
    if kafka_log.is_dir():
        assert labels(search.among(segments(kafka_log, prefix))) == wanted


@pytest.fixture
def planted_table(fresh_databases: FreshDatabases) -> str:
    """One row: short text, JSON, bytes, and a text so long that PostgreSQL compresses it."""
    name, number, phone, address = (
        VALUES[KINDS[kind]] for kind in ("name", "id_number", "phone", "address")
    )
    long = "".join(f"{line} {address} 无 " for line in range(400))
    with psycopg.connect(fresh_databases.postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA intake")
        connection.execute("CREATE TABLE intake.kept (name text, body json, raw bytea, long text)")
        connection.execute(
            "INSERT INTO intake.kept VALUES (%s, %s, %s, %s)",
            (name, json.dumps({"id": number}), phone.encode("gb18030"), long),
        )
    return fresh_databases.postgres_url


def in_the_table() -> set[str]:
    return {KINDS[kind] for kind in ("name", "id_number", "phone", "address")}


@pytest.mark.parametrize("form", ["text", "binary"])
def test_tables_are_searched(planted_table: str, search: Search, form: str) -> None:
    """Also a text of some kilobytes, which lies compressed on the disk."""
    chosen = [piece for piece in tables(planted_table) if piece[0].endswith(form)]
    assert labels(search.among(chosen)) == in_the_table()


def test_dumps_are_searched(planted_table: str, search: Search) -> None:
    """Where this machine has a pg_dump."""
    pieces = list(dump(planted_table))
    if not pieces:
        pytest.skip("no pg_dump for this server here")
    assert labels(search.among(pieces)) == in_the_table()


def test_database_files_are_searched(planted_table: str, search: Search) -> None:
    """In the pages of the table or in the write-ahead log, where the files are here."""
    data_folder = servers_folder() / "postgres" / "data"
    if not data_folder.is_dir():
        pytest.skip("the server's files are not on this machine")
    for pieces in (database_files(planted_table, data_folder), write_ahead_log(data_folder)):
        assert in_the_table() - {KINDS["address"]} <= labels(search.among(pieces))


def test_logs_are_searched_but_not_what_is_set_apart(tmp_path: Path, search: Search) -> None:
    """Every file below a folder, also a packed one; the bank's folder is its own."""
    line = json.dumps({"event": "refused", "body": VALUES[KINDS["card"]]}).encode()
    (tmp_path / "logs").mkdir()
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "bank.log").write_bytes(line)
    apart = [tmp_path / "bank"]
    assert not search.among(files(tmp_path, apart=apart))
    (tmp_path / "logs" / "intake.log").write_bytes(line)
    (tmp_path / "logs" / "intake.log.1.gz").write_bytes(gzip.compress(line))
    found = search.among(files(tmp_path, apart=apart))
    assert labels(found) == {KINDS["card"]}
    assert {"intake.log", "intake.log.1.gz"} == {
        leak.source.partition(" › ")[0].rpartition("/")[2] for leak in found
    }
