"""Yuan at the edges, integer fen inside."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import LARGEST_FEN, NotMoney, checked_fen, format_yuan, parse_yuan


@pytest.mark.parametrize(
    ("text", "fen"),
    [
        ("0", 0),
        ("1000", 100_000),
        ("1,000.00", 100_000),
        ("12.3", 1_230),
        ("-0.01", -1),
        ("1,234,567.89", 123_456_789),
        ("90071992547409.91", LARGEST_FEN),
    ],
)
def test_yuan_are_read_to_the_fen(text: str, fen: int) -> None:
    assert parse_yuan(text) == fen


@pytest.mark.parametrize(
    "text",
    ["", ".5", "5.", "1.234", "1e3", "+1", " 1", "1 ", "1,00", "1,0000", "1000,000", "１２", "NaN",
     "--1", "1_000", "90071992547409.92", "9" * 33],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(NotMoney):
        parse_yuan(text)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, LARGEST_FEN + 1, -LARGEST_FEN - 1])
def test_only_integers_within_53_bits_are_fen(value: Any) -> None:
    with pytest.raises(NotMoney):
        checked_fen(value)


@given(st.integers(-LARGEST_FEN, LARGEST_FEN))
def test_writing_and_reading_loses_nothing(fen: int) -> None:
    assert parse_yuan(format_yuan(fen)) == fen
