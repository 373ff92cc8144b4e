"""Facts and their envelope: what is stored, hashed, published and read back.

A fact is a frozen model with an explicit stored name and schema version. Its envelope is
CloudEvents 1.0 plus our extensions, kept as one canonical JSON object of strings. The chain is
SHA-256 over that object with the data put under ``data``. docs/log-format.md tells the same to
outsiders. This module knows no store, no broker and no service; how a fact is read from a record's
headers stands in ``shared.record_headers``, and what it may say of itself in ``shared.bounds``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from functools import cached_property, lru_cache, partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Unpack

import orjson
from pydantic import BaseModel, ConfigDict, Field

from shared.bounds import LARGEST_DATA_BYTES, LARGEST_LAMPORT, LARGEST_VERSION, ordinal

GENESIS_HASH: Final = "0" * 64
_NAME_AFTER_DATA: Final = b'"datacontenttype":'
BORN: Final = "bangfu.topic.born"

# Fen and other whole numbers that survive every JSON reader (RFC 8785 profile: |n| <= 2^53 - 1).
Fen = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes, within our profile: ASCII keys, integers of at most 53 bits, no floats.

    Raises TypeError for an integer out of range and for text that is no Unicode (lone surrogates).
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)


class Value(BaseModel):
    """A part of a fact: frozen, closed, and nothing in it is coerced from another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fact(Value):
    """A thing that happened. Subclasses say their stored name: ``class X(Fact, name="...")``."""

    stored_name: ClassVar[str] = ""
    schema_version: ClassVar[int] = 1
    # The same as an envelope names them.
    schema_version_text: ClassVar[str] = "1"
    schema_urn: ClassVar[str] = ""

    def __init_subclass__(
        cls, *, name: str = "", version: int = 1, **config: Unpack[ConfigDict]
    ) -> None:
        super().__init_subclass__(**config)
        cls.stored_name = name
        cls.schema_version = version
        cls.schema_version_text = str(version)
        cls.schema_urn = f"urn:bangfu:schema:{name}:{version}"

    def data(self) -> bytes:
        """The canonical bytes that are stored, hashed and published, never changed after."""
        # What model_dump does, without its many arguments.
        return canonical(self.__pydantic_serializer__.to_python(self, mode="json"))


Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class UnknownFact(LookupError):
    """A type or schema version that this build does not know; a newer build may."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"{name} version {version}")
        self.name = name
        self.version = version


class Registry:
    """The facts a build can read, by stored name, and the upcasters to their newest version."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Fact]] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}

    def add(self, *classes: type[Fact]) -> None:
        for cls in classes:
            if self._classes.setdefault(cls.stored_name, cls) is not cls:
                raise ValueError(f"two facts are stored as {cls.stored_name}")

    def add_upcaster(self, name: str, from_version: int, upcaster: Upcaster) -> None:
        """From ``from_version`` to the next one; chains lead to the newest version."""
        if (name, from_version) in self._upcasters:
            raise ValueError(f"two upcasters from {name} version {from_version}")
        self._upcasters[name, from_version] = upcaster

    def __iter__(self) -> Iterator[type[Fact]]:
        return iter(self._classes.values())

    def __contains__(self, name: str) -> bool:
        return name in self._classes

    def knows(self, name: str, version: int) -> bool:
        cls = self._classes.get(name)
        return cls is not None and 1 <= version <= cls.schema_version

    def class_of(self, name: str, version: int) -> type[Fact]:
        """What a stored fact is read as. Raises UnknownFact."""
        if not self.knows(name, version):
            raise UnknownFact(name, version)
        return self._classes[name]

    def read(self, name: str, version: int, data: bytes | str) -> Fact:
        """Read stored data as today's fact. Raises UnknownFact, or ValueError if it is broken.

        Schemas evolve by addition: a field too many is a newer build's, and is left where it is,
        in the bytes. What is written stays closed.
        """
        cls = self.class_of(name, version)
        if version == cls.schema_version:
            return cls.model_validate_json(data, extra="ignore")
        raw: dict[str, Any] = orjson.loads(data)
        for step in range(version, cls.schema_version):
            raw = self._upcasters[name, step](raw)
        return cls.model_validate(raw, extra="ignore")

    def reader(self, name: str, version: int) -> Callable[[str], Fact]:
        """The shortest way to read many facts of one type and version; it raises as it likes."""
        cls = self._classes.get(name)
        if cls is None or version != cls.schema_version:
            return partial(self.read, name, version)
        return partial(cls.__pydantic_validator__.validate_json, extra="ignore")


def registry_of(*modules: object) -> Registry:
    """All facts that the given ``facts`` modules (or packages) state, with their upcasters."""
    registry = Registry()
    for module in modules:
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Fact) and cls.stored_name:
                registry.add(cls)
        for (name, version), upcaster in getattr(module, "UPCASTERS", {}).items():
            registry.add_upcaster(name, version, upcaster)
    return registry


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted, in which office. A service's own timers and reactions act as ``system``."""

    person: str
    role: str = ""
    organisation: str = ""


SYSTEM: Final = Actor(person="system", role="system")


class Head(NamedTuple):
    """The end of a stream, to which the next fact is chained."""

    version: int = 0
    hash: str = GENESIS_HASH
    lamport: int = 0
    heard: Mapping[str, int] = MappingProxyType({})


def merge_heard(*maps: Mapping[str, int]) -> dict[str, int]:
    """For every stream the highest version that any of the maps has taken in."""
    merged: dict[str, int] = {}
    for each in maps:
        for stream, version in each.items():
            if version > merged.get(stream, 0):
                merged[stream] = version
    return merged


class Recorded:
    """One stored fact: the attributes (strings, as hashed), its hash and its data, untouched.

    Nothing of it ever changes; only what is found out from the attributes is kept once found. Not
    a frozen dataclass: that sets its fields four times as slowly, and logs are read by the hundred
    thousand.
    """

    def __init__(
        self,
        attributes: Mapping[str, str],
        hash: str,  # noqa: A002 - the field's name
        data: bytes | str,
        traceparent: str = "",
    ) -> None:
        self.attributes = attributes
        self.hash = hash
        # As it came: text from a table, bytes from Kafka. Most readers need but one of the two.
        self.data = data
        self.traceparent = traceparent

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recorded):
            return NotImplemented
        mine = (self.attributes, self.hash, self.raw, self.traceparent)
        return mine == (other.attributes, other.hash, other.raw, other.traceparent)

    __hash__ = None  # type: ignore[assignment]  # as of any value that holds a dict

    def __repr__(self) -> str:
        named = ("type", "stream", "streamversion")
        return f"Recorded({' '.join(self.attributes.get(name, '?') for name in named)})"

    @property
    def raw(self) -> bytes:
        """The data's bytes, as they are hashed and published."""
        data = self.data
        return data if isinstance(data, bytes) else data.encode()

    @property
    def text(self) -> str:
        """The same as they are stored."""
        data = self.data
        return data if isinstance(data, str) else data.decode()

    @property
    def fact_id(self) -> str:
        return self.attributes["id"]

    @property
    def source(self) -> str:
        return self.attributes["source"]

    @property
    def service(self) -> str:
        return self.source.rpartition("/")[2]

    @property
    def type(self) -> str:
        return self.attributes["type"]

    @property
    def schema_version(self) -> int:
        return int(self.attributes["schemaversion"])

    @property
    def subject(self) -> str:
        return self.attributes["subject"]

    @property
    def stream(self) -> str:
        return self.attributes["stream"]

    @cached_property
    def envelope(self) -> str:
        """The attributes as they are stored."""
        return canonical(self.attributes).decode()

    @cached_property
    def version(self) -> int:
        return ordinal(self.attributes["streamversion"], LARGEST_VERSION)

    @cached_property
    def lamport(self) -> int:
        return ordinal(self.attributes["lamport"], LARGEST_LAMPORT)

    @cached_property
    def heard(self) -> dict[str, int]:
        loaded: dict[str, int] = orjson.loads(self.attributes["heard"])
        return loaded

    @property
    def occurred_on(self) -> date:
        return date.fromisoformat(self.attributes["occurredon"])

    @property
    def recorded_at(self) -> datetime:
        return datetime.fromisoformat(self.attributes["time"])

    @property
    def actor(self) -> Actor:
        a = self.attributes
        return Actor(a["actor"], a["actorrole"], a["actororganisation"])

    @property
    def head(self) -> Head:
        return Head(self.version, self.hash, self.lamport, self.heard)

    @property
    def replay_key(self) -> tuple[int, str, int]:
        """Order in replay: lamport, then source, then version."""
        return (self.lamport, self.source, self.version)

    @property
    def document(self) -> dict[str, Any]:
        """The data as it was written, before any upcasting."""
        loaded: dict[str, Any] = orjson.loads(self.data)
        return loaded

    def read(self, registry: Registry) -> Fact:
        return registry.read(self.type, self.schema_version, self.data)


def chain_hash(attributes: Mapping[str, str], data: bytes) -> str:
    """SHA-256, in hex, over the canonical object of all attributes with ``data`` put in."""
    return hashlib.sha256(canonical({**attributes, "data": orjson.Fragment(data)})).hexdigest()


class Draft(NamedTuple):
    """A fact that is about to be recorded, before it is chained to a head."""

    fact_id: str
    fact: Fact
    occurred_on: date
    actor: Actor
    causation_id: str
    correlation_id: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same for every fact of a process."""

    source: str
    build: str


class FactTooLarge(ValueError):
    """A fact over 256 KiB, which no log takes."""


def record(
    draft: Draft,
    *,
    origin: Origin,
    stream: str,
    subject: str,
    head: Head,
    heard_lamport: int,
    heard: Mapping[str, int],
    now: datetime,
) -> Recorded:
    """Chain one draft to ``head``.

    ``heard`` and ``heard_lamport`` are of the facts that were just taken in.
    """
    fact = draft.fact
    raw = fact.data()
    if len(raw) > LARGEST_DATA_BYTES:
        raise FactTooLarge(f"{fact.stored_name} is larger than {LARGEST_DATA_BYTES} bytes")
    merged: dict[str, int] = {}
    if heard or head.heard:
        merged = merge_heard(head.heard, heard)
        merged.pop(stream, None)
    version, lamport = head.version + 1, 1 + max(head.lamport, heard_lamport)
    # In the order of their names, so that the canonical form finds nothing to sort.
    attributes = {
        "actor": draft.actor.person,
        "actororganisation": draft.actor.organisation,
        "actorrole": draft.actor.role,
        "build": origin.build,
        "causationid": draft.causation_id,
        "correlationid": draft.correlation_id,
        "datacontenttype": "application/json",
        "dataschema": fact.schema_urn,
        "heard": canonical(merged).decode() if merged else "{}",
        "id": draft.fact_id,
        "lamport": str(lamport),
        "occurredon": draft.occurred_on.isoformat(),
        "previoushash": head.hash,
        "schemaversion": fact.schema_version_text,
        "source": origin.source,
        "specversion": "1.0",
        "stream": stream,
        "streamversion": str(version),
        "subject": subject,
        "time": _moment(now),
        "type": fact.stored_name,
    }
    envelope = canonical(attributes)
    recorded = Recorded(attributes, _spliced_hash(envelope, raw), raw, draft.traceparent)
    # What would be found out again from the attributes as soon as the fact is written.
    recorded.envelope = envelope.decode()
    recorded.version, recorded.lamport, recorded.heard = version, lamport, merged
    return recorded


# The facts of one command, and of one heard batch, are all of one moment. Moments that are
# equal may be written differently in another zone, or in the hour that a zone has twice.
@lru_cache(maxsize=16)
def _moment_in(now: datetime, _zone: tzinfo | None, _fold: int) -> str:
    return now.isoformat()


def _moment(now: datetime) -> str:
    return _moment_in(now, now.tzinfo, now.fold)


def _spliced_hash(envelope: bytes, data: bytes) -> str:
    """`chain_hash`, from attributes that are canonical bytes already.

    Of our names the one after ``data`` is ``datacontenttype``; a value can't hold it with bare
    quotes around it and a colon behind.
    """
    at = envelope.index(_NAME_AFTER_DATA)
    return hashlib.sha256(
        b"".join((envelope[:at], b'"data":', data, b",", envelope[at:]))
    ).hexdigest()
