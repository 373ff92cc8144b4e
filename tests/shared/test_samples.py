"""What was once stored is read for ever: samples, schemas, and upcasters between versions."""

from datetime import date
from typing import Any

import pytest
from pydantic import ConfigDict

from cli.rooms import words
from shared.discarded import HeardFactDiscarded
from shared.fact import Fact, Registry, Value
from shared.sealed import personal_fields, replace_tokens
from tests.samples.making import (
    FOLDER,
    all_facts,
    breaks,
    holds,
    registries,
    sample_of,
    sample_path,
    schema_of,
    schema_path,
    stored,
)

ADVICE = "run `python -m tests.samples` and commit what it writes"


def named(fact: type[Fact]) -> str:
    return f"{fact.stored_name}-{fact.schema_version}"


@pytest.mark.parametrize("fact", all_facts(), ids=named)
def test_a_schema_changes_by_addition_or_gets_a_new_version(fact: type[Fact]) -> None:
    path = schema_path(fact.stored_name, fact.schema_version)
    assert path.exists(), ADVICE
    assert not list(breaks(stored(path), schema_of(fact))), "needs a new version and an upcaster"
    assert stored(path) == schema_of(fact), ADVICE


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("bangfu.*.json")), ids=lambda path: str(path.name)
)
def test_every_stored_sample_is_read(path: Any) -> None:
    """Of every version that any build ever stored; nothing of it is lost in the same version."""
    name, _, version = path.stem.rpartition(".v")
    registry = registries().get(name.split(".")[1], Registry())
    registry.add(HeardFactDiscarded)
    fact = registry.read(name, int(version), path.read_bytes())
    if type(fact).schema_version == int(version):
        assert holds(fact.model_dump(mode="json"), stored(path))


@pytest.mark.parametrize("fact", all_facts(), ids=named)
def test_every_fact_has_a_sample_of_each_version(fact: type[Fact]) -> None:
    versions = range(1, fact.schema_version + 1)
    assert [v for v in versions if not sample_path(fact.stored_name, v).exists()] == [], ADVICE


@pytest.mark.parametrize("fact", all_facts(), ids=named)
def test_every_fact_has_words(fact: type[Fact]) -> None:
    """In Chinese and in English, with personal values in them only as they are sealed."""
    said, why = words()
    made = fact.model_validate_json(sample_of(fact))
    zh, en = said[fact](made)
    assert any("\u4e00" <= character <= "\u9fff" for character in zh)
    assert en.strip()
    for text in (zh, en, *(t for pair in (why[fact](made) if fact in why else ()) for t in pair)):
        shown = replace_tokens(text, lambda _token: "***")
        assert "sealed:" not in shown
    if not personal_fields(fact):
        assert "sealed:" not in zh + en


class Reading(Value):
    """A part of a fact."""

    unit: str
    value: int


class Measured(Fact, name="toy.gamma.Measured", version=2):
    """In version 1 a length was told in whole metres, without its unit and day."""

    case_id: str
    reading: Reading
    measured_on: date


def from_metres(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "case_id": data["case_id"],
        "reading": {"unit": "mm", "value": data["metres"] * 1000},
        "measured_on": data["day"],
    }


def test_an_upcaster_reads_what_an_older_build_stored() -> None:
    registry = Registry()
    registry.add(Measured)
    registry.add_upcaster("toy.gamma.Measured", 1, from_metres)
    data = sample_path("toy.gamma.Measured", 1).read_bytes()
    fact = registry.read("toy.gamma.Measured", 1, data)
    reading = Reading(unit="mm", value=7000)
    assert fact == Measured(case_id="one", reading=reading, measured_on=date(2025, 3, 3))
    assert registry.read("toy.gamma.Measured", 2, fact.data()) == fact


class Before(Fact, name="toy.gamma.Changing"):
    case_id: str
    parts: tuple[Reading, ...]


class WithDefault(Fact, name="toy.gamma.Changing"):
    """Other words change nothing."""

    case_id: str
    parts: tuple[Reading, ...]
    remark: str = ""


class WithoutDefault(Fact, name="toy.gamma.Changing"):
    case_id: str
    parts: tuple[Reading, ...]
    remark: str


class Renamed(Fact, name="toy.gamma.Changing"):
    case: str
    parts: tuple[Reading, ...]


class Retyped(Fact, name="toy.gamma.Changing"):
    case_id: str
    parts: tuple[int, ...]


class Loose(Fact, name="toy.gamma.Changing"):
    model_config = ConfigDict(extra="ignore")

    case_id: str
    parts: tuple[Reading, ...]


def test_the_rule_sees_each_kind_of_change() -> None:
    before = schema_of(Before)
    assert not list(breaks(before, schema_of(WithDefault)))
    for changed in (WithoutDefault, Renamed, Retyped, Loose):
        assert list(breaks(before, schema_of(changed))), changed.__name__
