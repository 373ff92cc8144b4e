"""Money as integer fen; yuan exist only at the edges (reading 13).

For sums, their bounds and their written form. Not for accounts or postings, and no rule about
who gets what stands here. A float or a Decimal never holds money.
"""

import re
from typing import Final

CURRENCY: Final = "CNY"
FEN_PER_YUAN: Final = 100

# The facts' canonical JSON carries integers up to this size exactly, and so does every reader
# that keeps numbers as IEEE doubles.
LARGEST_FEN: Final = 2**53 - 1

_YUAN = re.compile(r"(-)?([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.([0-9]{1,2}))?", re.ASCII)
_LONGEST_YUAN_TEXT: Final = 32


class NotMoney(ValueError):
    """A value that is no sum of money: wrong type, wrong form, or too large to be kept exactly."""


def checked_fen(fen: int) -> int:
    """Return `fen` unchanged, or raise `NotMoney` if it is no integer with |fen| ≤ 2^53 − 1."""
    if type(fen) is not int:
        raise NotMoney("an amount must be an integer number of fen")
    if abs(fen) > LARGEST_FEN:
        raise NotMoney("an amount must lie within 2^53 - 1 fen")
    return fen


def parse_yuan(text: str) -> int:
    """Read yuan as people write them (`1000`, `1,000.5`, `-0.01`) into fen, exactly.

    Digits are ASCII; thousands may be grouped, but then all of them; at most two decimals. An
    exponent, a bare point, a plus sign or blanks raise `NotMoney`, since a guess is worse than
    a question.
    """
    match = _YUAN.fullmatch(text) if len(text) <= _LONGEST_YUAN_TEXT else None
    if match is None:
        raise NotMoney("an amount in yuan is written like 1,000.00")
    minus, whole, decimals = match.groups()
    fen = int(whole.replace(",", "")) * FEN_PER_YUAN + int((decimals or "").ljust(2, "0"))
    return checked_fen(-fen if minus else fen)


def format_yuan(fen: int) -> str:
    """Write fen as yuan with grouped thousands and two decimals: 100000 → `1,000.00`."""
    yuan, rest = divmod(abs(checked_fen(fen)), FEN_PER_YUAN)
    return f"{'-' if fen < 0 else ''}{yuan:,}.{rest:02d}"
