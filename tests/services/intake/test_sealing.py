"""The checks of numbers at the door, before they are sealed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.cn import ric

from services.intake.numbers import card_number_holds, id_number_holds, normal_number


def test_one_person_is_one_number_however_it_is_written() -> None:
    assert normal_number(" 999999 19800101 123x ") == "99999919800101123X"
    assert normal_number("6222-0000-0000-0000") == "6222000000000000"


@given(serial=st.integers(0, 999), days=st.dates().filter(lambda day: day.year >= 1900))
def test_an_id_number_holds_by_its_check_character_wherever_its_place_is(
    serial: int, days: object
) -> None:
    """GB 11643: MOD 11-2; test people's places are assigned to nobody. Any other last character
    is wrong."""
    body = f"999999{str(days).replace('-', '')}{serial:03d}"
    check = str(ric.calc_check_digit(body + "0"))
    assert id_number_holds(body + check)
    assert id_number_holds((body + check).lower())
    assert not any(id_number_holds(body + other) for other in "0123456789X" if other != check)


@pytest.mark.parametrize(
    "number",
    [
        "",
        "x",
        "999999198013011234",  # no such month
        "99999980010112",  # too short
        "9999991980010112345",  # too long
        "99999919800101１23X",  # a digit that is no ASCII
    ],
)
def test_what_is_no_id_number_is_a_defect_and_no_error(number: str) -> None:
    assert not id_number_holds(number)


@given(body=st.text("0123456789", min_size=15, max_size=18))
def test_a_card_holds_by_luhn(body: str) -> None:
    """§6: 16 to 19 digits; one wrong digit is found."""
    check = str(luhn.calc_check_digit(body))
    assert card_number_holds(body + check)
    assert not card_number_holds(body + str((int(check) + 1) % 10))


@pytest.mark.parametrize("number", ["", "0", "１２３４" * 4, "12345678901234567890"])
def test_what_is_no_card_number_asks_for_confirmation(number: str) -> None:
    assert not card_number_holds(number)
