"""What every body of a request keeps to: closed, strict, and text that we can store and hash."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, SecretStr, field_validator
from pydantic_core import CoreSchema, PydanticCustomError

LARGEST_INTEGER = 2**53 - 1
"""Beyond it JSON readers disagree (RFC 8785)."""

# NUL, and halves of surrogate pairs.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_STRICT = frozenset({"int", "bool", "float"})


def _be_strict(schema: Any) -> None:
    """`strict` on the model would also refuse days as text, so it is set on the plain types."""
    if isinstance(schema, dict):
        if schema.get("type") in _STRICT:
            schema["strict"] = True
        for name, part in schema.items():
            if name != "metadata":
                _be_strict(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _be_strict(part)


def _check(value: Any, path: str) -> None:
    match value:
        case str():
            _check_text(value, path)
        case SecretStr():
            _check_text(value.get_secret_value(), path)
        case None | BaseModel() | date():  # A model within has judged itself, with exact paths.
            return
        case int():
            if abs(value) > LARGEST_INTEGER:
                raise PydanticCustomError(
                    "number_refused", "The integer needs more than 53 bits", {"path": path}
                )
        case Mapping():
            for name, part in value.items():
                _check(name, f"{path}.*")
                _check(part, f"{path}.*")
        case list() | tuple():
            for index, part in enumerate(value):
                _check(part, f"{path}[{index}]")
        case set() | frozenset():
            for part in value:
                _check(part, f"{path}[*]")
        case _:
            return


def _check_text(value: str, path: str) -> None:
    if _UNSTORABLE.search(value):
        raise PydanticCustomError(
            "text_refused", "The text holds NUL or half a surrogate pair", {"path": path}
        )


class RequestBody(BaseModel):
    """The base of all request bodies.

    Unknown members are refused; numbers and booleans are not made out of text, while days, UUIDs
    and enumerations are, since JSON has no other way to say them. No text holds NUL (PostgreSQL
    refuses it) or half of a surrogate pair (it is no Unicode), and no integer needs more than
    53 bits. The complaint names the field and does not repeat its value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = handler(source)
        _be_strict(schema)
        return schema

    @field_validator("*", mode="after")
    @classmethod
    def _is_storable(cls, value: Any) -> Any:
        _check(value, "")
        return value
