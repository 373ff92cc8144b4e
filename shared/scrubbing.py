"""The last defence of the logs: what looks like personal data does not leave the process.

Nothing personal should come this far. This catches what a library's message or a hurried line
brings along: ID numbers, cards, phones and sealed values, wherever they stand in an entry. It can't
know a name or a diagnosis, so members that are called so are hidden whatever they hold.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

REMOVED = "[removed]"
DEEPEST = 8

PERSONAL_MEMBERS = frozenset(
    {
        "account",
        "account_number",
        "address",
        "applicant_name",
        "bank_account",
        "birth_date",
        "body",
        "card",
        "card_number",
        "diagnosis",
        "free_text",
        "full_name",
        "holder_name",
        "household_members",
        "id_card",
        "id_number",
        "password",
        "payee_name",
        "person_name",
        "phone",
        "plaintext",
        "secret",
        "token",
    }
)

# Not inside a longer word or number, nor after a hyphen of a UUID; Chinese letters may adjoin.
_BEFORE = r"(?<![0-9A-Za-z_])(?<![0-9A-Fa-f]-)"
_AFTER = r"(?![0-9A-Za-z_])(?!-[0-9A-Fa-f])"
_PERSONAL = re.compile(
    rf"sealed:\d+:[\w.\[\]:-]*"
    rf"|{_BEFORE}(?:\d{{15,19}}|\d{{17}}[Xx]|\d{{6}}[ -]\d{{8}}[ -]\d{{3}}[0-9Xx]){_AFTER}"
    rf"|{_BEFORE}\d{{4}}(?:[ -]\d{{4}}){{3}}(?:[ -]\d{{1,4}})?{_AFTER}"
    rf"|(?:(?<![0-9A-Za-z_])\+?86[ -]?|{_BEFORE})1[3-9]\d[ -]?\d{{4}}[ -]?\d{{4}}{_AFTER}",
    re.ASCII,
)
_LONGEST_NUMBER = 10**14


def scrub_text(text: str) -> str:
    """The text with everything taken out that looks personal, and no lone surrogates."""
    return _PERSONAL.sub(REMOVED, text).encode("utf-8", "replace").decode("utf-8")


def scrub(value: Any, depth: int = 0) -> Any:
    """A value of a log entry, cleaned at every depth."""
    if isinstance(value, str):
        return scrub_text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        # Fen, offsets and milliseconds are shorter than a card's number.
        return value if abs(value) < _LONGEST_NUMBER else REMOVED
    if depth >= DEEPEST:
        return REMOVED
    if isinstance(value, Mapping):
        return {
            scrub_text(str(name)): REMOVED
            if str(name) in PERSONAL_MEMBERS
            else scrub(part, depth + 1)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [scrub(part, depth + 1) for part in value]
    return scrub_text(str(value))


def scrub_entry(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The processor for structlog; it comes last before rendering."""
    cleaned: MutableMapping[str, Any] = scrub(entry)
    return cleaned
