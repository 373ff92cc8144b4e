"""Reads JSON to the letter: what other readers let pass is found, and found with its path.

Duplicate keys, NaN, fractions and exponents, integers beyond 2^53 − 1, lone surrogates, bytes
that are no UTF-8 and bottomless nesting are refused. No value is ever echoed; it may be
personal. Which fields a document has is not known here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from shared.money import LARGEST_FEN

FieldPath = tuple[str | int, ...]

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_NAME: Final = 40
_LONGEST_PATH: Final = 8
_MOST_DIGITS: Final = len(str(LARGEST_FEN))


class BadInput(Exception):
    """Input that is refused: where (`question 3`, `parameters`), the field's path, and why."""

    def __init__(self, place: str, path: FieldPath, text: str) -> None:
        super().__init__(text)
        self.place = place
        self.path = path
        self.text = text

    def __str__(self) -> str:
        """One line, whatever the input holds."""
        parts = [self.place, written_path(self.path), self.text]
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Flaw:
    """Stands in a decoded document where JSON itself was broken; `key` is a doubled one."""

    text: str
    key: str | None = None


def read_json(data: bytes, place: str) -> Any:
    """Decode `data`, with a `Flaw` in place of each value that is no value; raise `BadInput`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(place, (), f"不是 UTF-8 文本 not UTF-8 text (byte {error.start})") from None
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_fraction,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise BadInput(place, (), f"不是合法的 JSON not JSON ({where})") from None
    except RecursionError:
        raise BadInput(place, (), "嵌套过深 nested too deeply") from None


def refuse_flaws(document: Any, place: str) -> None:
    """Raise `BadInput` with the path of the first flaw in `document`, in the order of the text."""
    for path, value in _walk(document):
        if isinstance(value, Flaw):
            key = () if value.key is None else (value.key,)
            raise BadInput(place, path + key, value.text)


def printable(text: str, longest: int = _LONGEST_NAME) -> str:
    """`text` on one line and of bearable length: control characters escaped, the rest cut."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:longest])
    return (shown or '""') + ("…" if len(text) > longest else "")


def written_path(path: FieldPath) -> str:
    """`("prior", 0, "amount_fen")` → `prior.0.amount_fen`."""
    shown = [printable(str(step)) for step in path[:_LONGEST_PATH]]
    return ".".join([*shown, "…"] if len(path) > _LONGEST_PATH else shown)


def _walk(document: Any) -> Iterator[tuple[FieldPath, Any]]:
    """Every value with its path, depth first, without recursion: input decides the depth."""
    waiting: list[tuple[FieldPath, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        children: list[tuple[FieldPath, Any]] = []
        if isinstance(value, dict):
            children = [((*path, key), child) for key, child in value.items()]
            for key in value:
                if _LONE_SURROGATE.search(key):
                    yield (*path, key), _SURROGATE
        elif isinstance(value, list):
            children = [((*path, index), child) for index, child in enumerate(value)]
        elif isinstance(value, str) and _LONE_SURROGATE.search(value):
            value = _SURROGATE
        yield path, value
        waiting.extend(reversed(children))


_SURROGATE: Final = Flaw("含有不成对的代理字符 a lone surrogate is no text")
_TOO_LARGE: Final = Flaw("整数过大 integer beyond 2^53 - 1")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return Flaw("键重复 duplicate key", key)
        seen.add(key)
    return found


def _constant(name: str) -> Flaw:
    return Flaw(f"{name} 不是 JSON {name} is no JSON")


def _fraction(_: str) -> Flaw:
    return Flaw("须为整数，不带小数点或指数 must be an integer, without point or exponent")


def _integer(text: str) -> int | Flaw:
    # Python refuses to convert thousands of digits, so their number is judged first.
    if len(text.removeprefix("-")) > _MOST_DIGITS or abs(int(text)) > LARGEST_FEN:
        return _TOO_LARGE
    return int(text)
