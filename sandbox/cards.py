"""Test cards: of a BIN that no bank has, valid by Luhn, and telling whose household they are of.

    999999 HHHHHHHH V C        household number, variant, check digit

So what the sandbox's bank does can be drawn from (seed, household number) without any id of ours.
Variant 0 is the card that a household hands in, 1 the one that a clerk corrects it to.
"""

from typing import Final

from stdnum import luhn

TEST_BIN: Final = "999999"
HOUSEHOLD_DIGITS: Final = 8
CARD_DIGITS: Final = len(TEST_BIN) + HOUSEHOLD_DIGITS + 2


def test_card(household_number: int, variant: int = 0) -> str:  # noqa: PT028 - no test, a card
    """A card of that household. ValueError for a number or variant that has no place in one."""
    if not (0 <= household_number < 10**HOUSEHOLD_DIGITS and 0 <= variant <= 9):
        raise ValueError("no test card for this household and variant")
    body = f"{TEST_BIN}{household_number:0{HOUSEHOLD_DIGITS}d}{variant}"
    return body + str(luhn.calc_check_digit(body))


def household_of(card: str) -> int:
    """The household's number. ValueError if this is no test card."""
    return int(_checked(card)[len(TEST_BIN) : len(TEST_BIN) + HOUSEHOLD_DIGITS])


def variant_of(card: str) -> int:
    """Which card of the household it is. ValueError if this is no test card."""
    return int(_checked(card)[-2])


def _checked(card: str) -> str:
    fits = len(card) == CARD_DIGITS and card.isascii() and card.startswith(TEST_BIN)
    if not fits or not luhn.is_valid(card):
        raise ValueError("not a test card")
    return card
