"""People of no one: names, ID numbers, phones and addresses that belong to nobody.

ID numbers carry the unassigned area 999999 with a valid checksum; names are four rare characters,
so that a search for one in a whole demo's bytes can't meet it by chance.
"""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Final

AREA: Final = "999999"
SURNAMES: Final = ("欧阳", "慕容", "司徒", "上官", "诸葛", "澹台", "夏侯", "尉迟", "长孙", "宇文")
RARE: Final = "翀瓅珺玥翯昶晗翮璟琛煜昊祎骞翊赟彧珩旻晟曦曜熠燊烨焱璨琮瑄钰锴镕淼澍濬溦湜淏灏玘"
WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_DIGITS: Final = "10X98765432"
MEMBERS_AT_MOST: Final = 8
SEQUENCES: Final = 1000
BIRTHDAY_STEPS: Final = 64


def id_number(household: int, member: int, born_about: date) -> str:
    """A checksum-valid number (GB 11643) of nobody, different for every (household, member).

    The sequence and the birthday's place in a cycle of 64 days together tell 64,000 members apart.
    """
    ordinal = household * MEMBERS_AT_MOST + member
    step = (ordinal // SEQUENCES) % BIRTHDAY_STEPS
    birthday = born_about - timedelta(days=(born_about.toordinal() - step) % BIRTHDAY_STEPS)
    digits = f"{AREA}{birthday:%Y%m%d}{ordinal % SEQUENCES:03d}"
    total = sum(int(digit) * weight for digit, weight in zip(digits, WEIGHTS, strict=True))
    return digits + CHECK_DIGITS[total % 11]


def name(draw: Random) -> str:
    """Four characters, so at least eight bytes in every encoding that is searched."""
    return draw.choice(SURNAMES) + draw.choice(RARE) + draw.choice(RARE)


def phone(household: int, member: int) -> str:
    """Eleven digits of a range that no carrier numbers mobile phones in."""
    return f"100{household:06d}{member:02d}"


def address(draw: Random, household: int) -> str:
    """A place that is on no map, told apart by its house number."""
    return f"样例市虚构{draw.choice(RARE)}{draw.choice(RARE)}路{household}号{draw.randint(1, 30)}室"
