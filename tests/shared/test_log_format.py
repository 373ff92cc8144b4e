"""P6: the log verifies offline, by the format alone: every planted flip, drop, reorder, cut tail.

Two readers see each of them: the outsiders' checker, and ours. Both pass on a sound log and on
byte-identical repeats.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from cli.heads import published_heads
from deploy.infrastructure import Infrastructure
from shared.bus import topic_name
from shared.fact import Head
from tests.kafka_log import KafkaLog, Sent
from tests.toy.alpha import Counted, Opened
from tests.toy.beta import Mirrored

CHECKER = Path(__file__).resolve().parents[1] / "log_checker.py"
SERVICES = ("alpha", "beta")
STREAM = "tally-one"

Damage = Callable[[list[Sent]], list[Sent]]


def sound_log(bootstrap: str) -> KafkaLog:
    """Two cases, each with a tally of four versions and a mirror that heard of it."""
    log = KafkaLog(bootstrap)
    for case in ("one", "two"):
        opened = Opened(case_id=case, organisation_id="城东工会", rings_on=None)
        cause = log.state("alpha", f"tally-{case}", opened, subject=case)
        for amount in (1, 2, 3):
            counted = Counted(case_id=case, amount=amount)
            cause = log.state("alpha", f"tally-{case}", counted, subject=case)
            mirrored = Mirrored(case_id=case, alpha_version=cause.version, amount=amount)
            log.state("beta", f"mirror-{case}", mirrored, subject=case, after=cause)
    return log


def index_of(records: list[Sent], stream: str, version: int) -> int:
    wanted = {"ce_stream": stream.encode(), "ce_streamversion": str(version).encode()}
    return next(i for i, r in enumerate(records) if wanted.items() <= r.headers.items())


def flipped_data(records: list[Sent]) -> list[Sent]:
    at = index_of(records, STREAM, 3)
    damaged = records[at].value.replace(b'"amount":2', b'"amount":6')
    assert damaged != records[at].value
    return [*records[:at], replace(records[at], value=damaged), *records[at + 1 :]]


def flipped_header(records: list[Sent]) -> list[Sent]:
    at = index_of(records, STREAM, 3)
    damaged = records[at].with_header("ce_occurredon", "2025-03-04")
    return [*records[:at], damaged, *records[at + 1 :]]


def flipped_hash(records: list[Sent]) -> list[Sent]:
    at = index_of(records, STREAM, 3)
    return [*records[:at], records[at].with_header("ce_hash", "0" * 64), *records[at + 1 :]]


def dropped(records: list[Sent]) -> list[Sent]:
    at = index_of(records, STREAM, 3)
    return [*records[:at], *records[at + 1 :]]


def reordered(records: list[Sent]) -> list[Sent]:
    one, other = index_of(records, STREAM, 3), index_of(records, STREAM, 4)
    swapped = list(records)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    return swapped


def cut(records: list[Sent]) -> list[Sent]:
    at = index_of(records, STREAM, 4)
    return [*records[:at], *records[at + 1 :]]


def forged(records: list[Sent]) -> list[Sent]:
    """Somebody rewrote a fact and hashed it anew: its successor names another hash."""
    at = index_of(records, STREAM, 3)
    other = KafkaLog("nowhere")
    other.heads[STREAM] = head_at(records, STREAM, 2)
    made = other.state("alpha", STREAM, Counted(case_id="one", amount=9), subject="one")
    damaged = replace(other.records[0], topic=records[at].topic)
    assert made.version == 3
    return [*records[:at], damaged, *records[at + 1 :]]


def head_at(records: list[Sent], stream: str, version: int) -> Head:
    held = records[index_of(records, stream, version)].headers
    return Head(version, held["ce_hash"].decode(), int(held["ce_lamport"]))


def differing_repeat(records: list[Sent]) -> list[Sent]:
    return [*records, forged(records)[index_of(records, STREAM, 3)]]


@pytest.mark.parametrize(
    ("damage", "version", "by_them", "by_us"),
    [
        (flipped_data, 3, "flipped", "flipped"),
        (flipped_header, 3, "flipped", "flipped"),
        (flipped_hash, 3, "flipped", "flipped"),
        (dropped, 3, "missing", "missing"),
        (reordered, 3, "reordered", "reordered"),
        (forged, 4, "not chained", "unlinked"),
        (differing_repeat, 3, "a repeat that differs", "differing repeat"),
    ],
)
async def test_planted_damage_is_found(
    infrastructure: Infrastructure, damage: Damage, version: int, by_them: str, by_us: str
) -> None:
    log = sound_log(infrastructure.kafka_bootstrap)
    await log.send(SERVICES, damage(log.records))
    status, said = checked(log)
    assert status == 1
    assert f"{STREAM} {version}: {by_them}" in said
    assert "two" not in said
    wrong: list[str] = []
    _ = [head async for head in published_heads(log.bootstrap, log.prefix, wrong, SERVICES)]
    assert any(line.startswith(f"alpha: {STREAM} {version}: {by_us}") for line in wrong)
    assert all(STREAM in line for line in wrong)


async def test_a_cut_tail_shows_against_heads_noted_earlier(
    infrastructure: Infrastructure, tmp_path: Path
) -> None:
    log = sound_log(infrastructure.kafka_bootstrap)
    await log.send(SERVICES)
    noted = await heads_file(log, tmp_path / "heads.json")
    other = KafkaLog(log.bootstrap)
    await other.send(SERVICES, moved(cut(log.records), log.prefix, other.prefix))
    assert checked(other) == (0, "")
    status, said = checked(other, noted)
    assert status == 1
    assert said.strip() == f"{STREAM} 4: cut tail: the stream ends at 3"


async def test_a_sound_log_and_identical_repeats_pass(
    infrastructure: Infrastructure, tmp_path: Path
) -> None:
    log = sound_log(infrastructure.kafka_bootstrap)
    await log.send(SERVICES, [*log.records, *log.records[2:5], log.records[-1]])
    noted = await heads_file(log, tmp_path / "heads.json")
    assert len(orjson.loads(noted.read_bytes())["heads"]) == 4
    assert checked(log, noted) == (0, "")


def checked(log: KafkaLog, heads: Path | None = None) -> tuple[int, str]:
    """The checker as an outsider runs it, without our checkout on its path."""
    topics = [topic_name(log.prefix, service) for service in SERVICES]
    done = subprocess.run(
        [sys.executable, "-I", str(CHECKER), log.bootstrap, str(heads or "-"), *topics],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return done.returncode, done.stderr


async def heads_file(log: KafkaLog, path: Path) -> Path:
    """What `bangfu heads --json FILE` writes."""
    wrong: list[str] = []
    lines = published_heads(log.bootstrap, log.prefix, wrong, SERVICES)
    names = ("service", "stream", "version", "hash")
    heads = [dict(zip(names, line, strict=True)) async for line in lines]
    assert not wrong
    return write(path, orjson.dumps({"heads": heads}))


def write(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    return path


def moved(records: list[Sent], prefix: str, to: str) -> list[Sent]:
    return [replace(r, topic=to + r.topic.removeprefix(prefix)) for r in records]
