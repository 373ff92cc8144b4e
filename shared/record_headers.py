"""A fact as the headers of a Kafka record tell it: CloudEvents 1.0 in binary mode, read and judged.

Anybody who may write to a topic may have written them. What is a fact of ours has all that a fact
has, within its bounds (``shared.bounds``), and a hash that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.bounds import LARGEST_DATA_BYTES, BrokenRecord, is_heard, is_name
from shared.fact import Recorded, chain_hash

# In the name of a header only where a byte was no text (`shared.header_names`).
ESCAPE: Final = "\\"

# Our attributes by the header that carries them; a foreign record may bring others.
ATTRIBUTES_BY_HEADER: Final = {
    f"ce_{name}": name
    for name in (
        *("actor", "actororganisation", "actorrole", "build", "causationid", "correlationid"),
        *("dataschema", "heard", "id", "lamport", "occurredon", "previoushash", "schemaversion"),
        *("source", "specversion", "stream", "streamversion", "subject", "time", "type"),
    )
}
_NAMES: Final = ("id", "source", "type", "stream", "subject", "causationid", "correlationid")
# Those that are text, and nothing more.
_TEXTS: Final = ("actor", "actorrole", "actororganisation")
# What a fact keeps once it is found out, past cached_property: in Python 3.11 that takes a lock.
_FOUND_NOW: Final = [(name, vars(Recorded)[name].func) for name in ("version", "lamport", "heard")]


def claimed_by_headers(headers: Mapping[str, str], value: bytes | None) -> Recorded:
    """What a Kafka record in CloudEvents binary mode says of itself; nothing is checked."""
    attributes: dict[str, str] = {}
    for name, text in headers.items():
        known = ATTRIBUTES_BY_HEADER.get(name)
        if known is not None:
            attributes[known] = text
        elif name.startswith("ce_") and name not in ("ce_hash", "ce_traceparent"):
            attributes[name.removeprefix("ce_")] = text
        elif ESCAPE in name:
            # Taken for one of ours, and so no hash holds with it, whoever asks.
            attributes[name] = text
    attributes["datacontenttype"] = headers.get("content-type", "")
    return Recorded(
        attributes, headers.get("ce_hash", ""), value or b"", headers.get("ce_traceparent", "")
    )


def recorded_from_headers(headers: Mapping[str, str], value: bytes | None) -> Recorded:
    """Read a Kafka record in CloudEvents binary mode; its hash is checked here.

    Raises BrokenRecord if an attribute is missing, malformed, or the hash does not hold.
    """
    found = claimed_by_headers(headers, value)
    if "\x00" in "".join(found.attributes.values()):
        raise BrokenRecord("NUL")
    if ESCAPE in "".join(found.attributes):
        raise BrokenRecord("utf-8")
    if len(found.raw) > LARGEST_DATA_BYTES:
        raise BrokenRecord("size")
    try:
        if chain_hash(found.attributes, found.raw) != found.hash:
            raise BrokenRecord("hash")
        for name, find in _FOUND_NOW:
            found.__dict__[name] = find(found)
        if not is_heard(found.heard):
            raise BrokenRecord("order")
        if not all(is_name(found.attributes[name]) for name in _NAMES):
            raise BrokenRecord("name")
        if found.recorded_at.tzinfo is None:
            raise BrokenRecord("time")
        _ = (found.occurred_on, found.schema_version)
        _ = [found.attributes[name] for name in _TEXTS]
    except BrokenRecord:
        raise
    except Exception as error:  # whatever is wrong with foreign bytes, it is the record's fault
        raise BrokenRecord(type(error).__name__) from error
    return found
