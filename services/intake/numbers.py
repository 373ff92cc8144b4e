"""Numbers of persons, cards and places: one written form each, and whether their checks hold."""

import re
from typing import Final

from stdnum import luhn
from stdnum.cn import ric
from stdnum.exceptions import ValidationError

# GB/T 2260: province, prefecture, county. The line of hardship is a county's or district's, and a
# place that has none is told by eligibility (NO_RULE_IN_FORCE), not here.
PLACE_CODE: Final = r"^[0-9]{6}$"


def place_code_holds(code: str) -> bool:
    """Whether it may be the code of a county or district."""
    return re.fullmatch(PLACE_CODE, code, re.ASCII) is not None


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
