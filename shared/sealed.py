"""Sealed personal data: what facts, topics and tables hold instead of the clear text.

A sealed value is a token of ASCII text,

    sealed:1:<key_id>:<fact_id>:<field>:<base64url(nonce + ciphertext + tag)>

AES-256-GCM under the key of one person and one category. All before the last colon is associated
data, so a token moved to another fact or field by editing it no longer opens; copied verbatim it
stays whole and still tells where it came from. The key's id begins with its category, so that
a field can refuse a value of another category without asking anybody.

This file is pure, so that facts may import it: keys are fetched in `keys.py`.
"""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

KEY_BYTES = 32
NONCE_BYTES = 12

_KEY_ID = r"(?P<key_id>(?P<category>identity|account|health|free_text)-[0-9a-f]{32})"
_TOKEN = re.compile(
    rf"sealed:1:{_KEY_ID}:(?P<fact_id>[0-9A-Za-z._-]{{1,100}})"
    r":(?P<field>[0-9A-Za-z._\[\]-]{1,200}):(?P<box>[0-9A-Za-z_-]{38,})",
    re.ASCII,
)


class SealedError(Exception):
    """A sealed value is malformed, was altered, or meets a key that is not its own."""


class Category(StrEnum):
    """What a value tells of a person; each category of each person has a key of its own."""

    IDENTITY = "identity"
    ACCOUNT = "account"
    HEALTH = "health"
    FREE_TEXT = "free_text"


@dataclass(frozen=True)
class DataKey:
    """The key of one person and category. Its secret is never shown."""

    key_id: str
    person_id: str
    category: Category
    secret: bytes = field(repr=False)

    @cached_property
    def cipher(self) -> AESGCM:
        return AESGCM(self.secret)


@dataclass(frozen=True, slots=True)
class Token:
    """A sealed value taken apart."""

    key_id: str
    category: Category
    fact_id: str
    field: str
    bound: bytes
    """The associated data."""
    box: bytes
    """Nonce, ciphertext and tag."""


def new_key(person_id: str, category: Category) -> DataKey:
    """A fresh random key; `KeyStore.ensure` makes it durable before it is used."""
    key_id = f"{category.value}-{secrets.token_hex(16)}"
    return DataKey(key_id, person_id, category, os.urandom(KEY_BYTES))


def seal(plaintext: str, key: DataKey, fact_id: str, field: str) -> str:
    """Seal a value for one field of one fact. SealedError if these can't stand in a token."""
    bound = f"sealed:1:{key.key_id}:{fact_id}:{field}"
    try:
        clear = plaintext.encode("utf-8")
    except UnicodeEncodeError:
        # `from None`: the cause would carry the clear text.
        raise SealedError("the text holds a lone surrogate") from None
    nonce = os.urandom(NONCE_BYTES)
    box = nonce + key.cipher.encrypt(nonce, clear, bound.encode("ascii", "replace"))
    token = f"{bound}:{base64.urlsafe_b64encode(box).decode('ascii').rstrip('=')}"
    if _TOKEN.fullmatch(token) is None:
        raise SealedError(f"no sealed value can be made for field {field!r} of fact {fact_id!r}")
    return token


def is_sealed(value: str) -> bool:
    """Whether the text has the form of a sealed value; whether it opens only its key can tell."""
    return value.startswith("sealed:") and _TOKEN.fullmatch(value) is not None


def replace_tokens(text: str, by: Callable[[str], str]) -> str:
    """The text with every sealed value in it, wherever it stands, replaced."""
    return _TOKEN.sub(lambda match: by(match[0]), text)


def parse(token: str) -> Token:
    """Take a token apart. SealedError, without the text, if it is none."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise SealedError("not a sealed value")
    encoded = match["box"]
    try:
        box = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise SealedError("not a sealed value") from None
    return Token(
        key_id=match["key_id"],
        category=Category(match["category"]),
        fact_id=match["fact_id"],
        field=match["field"],
        bound=token[: match.start("box") - 1].encode("ascii"),
        box=box,
    )


def unseal(token: str | Token, key: DataKey) -> str:
    """The clear text. SealedError if the token was altered or belongs to another key."""
    sealed = token if isinstance(token, Token) else parse(token)
    if sealed.key_id != key.key_id:
        raise SealedError("sealed under another key")
    try:
        clear = key.cipher.decrypt(sealed.box[:NONCE_BYTES], sealed.box[NONCE_BYTES:], sealed.bound)
        return clear.decode("utf-8")
    except InvalidTag:
        raise SealedError(
            f"altered: field {sealed.field} of fact {sealed.fact_id} does not open"
        ) from None


# Fields of facts


@dataclass(frozen=True, slots=True)
class Personal:
    """Marks a field of a fact as personal: `Annotated[str, Personal(Category.IDENTITY)]`.

    The field takes a sealed value of that category and refuses clear text, without repeating it.
    """

    category: Category

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        shown = handler(schema)
        shown["x-personal"] = self.category.value
        return shown

    def _check(self, value: Any) -> Any:
        match = _TOKEN.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise PydanticCustomError("not_sealed", "must be a sealed value, not clear text")
        if match["category"] != self.category.value:
            raise PydanticCustomError("other_category", "is sealed under another category's key")
        return value


def personal_fields(model: type[BaseModel]) -> dict[str, Category]:
    """The personal fields of a model, by path: `payee.account`, `members[].name`, `notes{}`."""
    return dict(_fields_of(model, "", ()))


def _fields_of(
    model: type[BaseModel], prefix: str, within: tuple[type[BaseModel], ...]
) -> Iterator[tuple[str, Category]]:
    if model in within:  # A model that holds itself adds no new kind of field.
        return
    for name, info in model.model_fields.items():
        yield from _marks(info.annotation, info.metadata, f"{prefix}{name}", (*within, model))


def _marks(
    annotation: Any, metadata: list[Any], path: str, within: tuple[type[BaseModel], ...]
) -> Iterator[tuple[str, Category]]:
    for mark in metadata:
        if isinstance(mark, Personal):
            yield path, mark.category
        elif isinstance(mark, FieldInfo):
            yield from _marks(None, mark.metadata, path, within)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _fields_of(annotation, f"{path}.", within)
        return
    arguments = get_args(annotation)
    if not arguments:
        return
    if hasattr(annotation, "__metadata__"):
        yield from _marks(arguments[0], list(annotation.__metadata__), path, within)
        return
    origin = getattr(annotation, "__origin__", None)
    if origin is not None and isinstance(origin, type) and issubclass(origin, dict):
        yield from _marks(arguments[1], [], f"{path}{{}}", within)
        return
    repeated = isinstance(origin, type) and issubclass(origin, (list, tuple, set, frozenset))
    for argument in arguments:
        yield from _marks(argument, [], f"{path}[]" if repeated else path, within)
