"""Numbers of persons and of cards: one written form each, and whether their checks hold."""

from stdnum import luhn
from stdnum.cn import ric
from stdnum.exceptions import ValidationError


def normal_number(number: str) -> str:
    """An ID or card number without blanks and in capitals, so that one person is one HMAC."""
    return "".join(number.split()).replace("-", "").upper()


def id_number_holds(number: str) -> bool:
    """GB 11643: 17 digits with a day of birth, and a MOD 11-2 check character.

    The place is not looked up: places of test people are not assigned to anybody.
    """
    normal = normal_number(number)
    if len(normal) != 18 or not (normal.isascii() and normal[:-1].isdigit()):
        return False
    try:
        ric.get_birth_date(normal)
    except ValidationError:
        return False
    return bool(ric.calc_check_digit(normal) == normal[-1])


def card_number_holds(number: str) -> bool:
    """16 to 19 digits that pass Luhn; passbooks do not follow it."""
    normal = normal_number(number)
    return (
        normal.isascii() and normal.isdigit() and 16 <= len(normal) <= 19 and luhn.is_valid(normal)
    )
