"""Samples and schemas of facts, made from their models, and how schemas may change."""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import orjson
from annotated_types import MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cli.rooms import SERVICES
from shared.discarded import HeardFactDiscarded
from shared.fact import Fact, Registry, canonical, registry_of
from shared.sealed import Personal

FOLDER: Final = Path(__file__).resolve().parent
SCHEMAS: Final = FOLDER / "schemas"
SAMPLE_DAY: Final = "2025-03-03"
SAMPLE_NUMBER: Final = 3
SAMPLE_TEXT: Final = "样例"
_WORDS_OF_SCHEMAS: Final = ("title", "description")


def registries() -> dict[str, Registry]:
    """The facts that each service states."""
    return {
        service: registry_of(importlib.import_module(f"services.{service}.facts"))
        for service in SERVICES
    }


def all_facts() -> list[type[Fact]]:
    found = [fact for registry in registries().values() for fact in registry]
    # Every room may state this one.
    return sorted([*found, HeardFactDiscarded], key=lambda fact: fact.stored_name)


def sample_path(name: str, version: int) -> Path:
    return FOLDER / f"{name}.v{version}.json"


def schema_path(name: str, version: int) -> Path:
    return SCHEMAS / f"{name}.v{version}.json"


def sample_of(fact: type[Fact]) -> bytes:
    """A valid sample of a fact, every optional part filled in; always the same."""
    return fact.model_validate_json(canonical(_model(fact))).data()


def _model(model: type[BaseModel]) -> dict[str, Any]:
    return {name: _field(name, info) for name, info in model.model_fields.items()}


def _field(name: str, info: FieldInfo) -> Any:
    return _value(name, info.annotation, info.metadata)


def _value(name: str, annotation: Any, metadata: list[Any]) -> Any:
    marks = [mark for mark in metadata if isinstance(mark, Personal)]
    if marks:
        return _token(name, marks[0])
    if get_origin(annotation) is Annotated:
        inner, *marks_of_it = get_args(annotation)
        return _value(name, inner, [*metadata, *_unpacked(marks_of_it)])
    if get_origin(annotation) in (Union, types.UnionType):
        first = next(each for each in get_args(annotation) if each is not type(None))
        return _value(name, first, metadata)
    if get_origin(annotation) is Literal:
        return get_args(annotation)[0]
    if get_origin(annotation) is tuple:
        fewest = max([m.min_length for m in metadata if isinstance(m, MinLen)], default=1)
        return [_value(name, get_args(annotation)[0], [])] * fewest
    if get_origin(annotation) is dict:
        return {"sample": _value(name, get_args(annotation)[1], [])}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation)
    plain = {str: f"{SAMPLE_TEXT}-{name}", int: SAMPLE_NUMBER, bool: True, date: SAMPLE_DAY}
    return plain[annotation]


def _unpacked(marks: list[Any]) -> list[Any]:
    """The constraints of a `Field(…)` that stands in an annotation."""
    return [m for mark in marks for m in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]


def _token(name: str, mark: Personal) -> str:
    """What has the form of a sealed value; nothing was ever sealed in it."""
    return f"sealed:1:{mark.category}-{'0' * 32}:sample:{name}:{'A' * 48}"


def schema_of(fact: type[Fact]) -> dict[str, Any]:
    """The JSON schema of a fact, without words and with every reference put in place."""
    whole = fact.model_json_schema()
    schema: dict[str, Any] = _in_place(whole, whole.get("$defs", {}))
    schema.pop("$defs", None)
    return schema


def _in_place(part: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(part, list):
        return [_in_place(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        rest = {name: value for name, value in part.items() if name != "$ref"}
        named = definitions[part["$ref"].rpartition("/")[2]]
        return _in_place({**named, **rest}, definitions)
    return {
        name: _properties(value, definitions)
        if name == "properties"
        else _in_place(value, definitions)
        for name, value in part.items()
        if name not in _WORDS_OF_SCHEMAS
    }


def _properties(named: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A field may itself be called title or description."""
    return {name: _in_place(value, definitions) for name, value in named.items()}


def breaks(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Where a schema changed otherwise than by a new field with a default."""
    if isinstance(old, dict) and isinstance(new, dict) and "properties" in old:
        before, after = old["properties"], new.get("properties", {})
        for name in before:
            if name not in after:
                yield f"{path}{name}: gone"
            else:
                yield from breaks(before[name], after[name], f"{path}{name}.")
        required = set(new.get("required", ())) - set(old.get("required", ()))
        yield from (f"{path}{name}: required now" for name in sorted(required))
        rest = {"properties", "required"}
        old = {name: value for name, value in old.items() if name not in rest}
        new = {name: value for name, value in new.items() if name not in rest}
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if name not in old or name not in new:
                yield f"{path}{name}: {'new' if name not in old else 'gone'}"
            else:
                yield from breaks(old[name], new[name], f"{path}{name}.")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from breaks(one, other, f"{path}{index}.")
    elif old != new:
        yield f"{path.rstrip('.')}: {old!r} became {new!r}"


def holds(whole: Any, part: Any) -> bool:
    """Whether everything of the one is in the other, which may have further fields."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(name in whole and holds(whole[name], part[name]) for name in part)
    if isinstance(whole, list) and isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


def stored(path: Path) -> Any:
    return orjson.loads(path.read_bytes())


def written(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
