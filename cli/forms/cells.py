"""One cell of a list: what class of value it holds, and what is meant by it.

Spreadsheets keep what people type as text, numbers, dates or nothing, and turn one into the other.
Whatever can be read without guessing is read; what may have lost digits on the way is refused. No
complaint repeats a value: these are forms of persons.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

from services.intake.numbers import id_number_holds, place_code_holds
from services.network.facts import ORGANISATION_ID
from shared.money import NotMoney, parse_yuan

Cell = Any  # str, int, float, bool, datetime, date, time or None, as a spreadsheet keeps it
Reader = Callable[[Cell], Any]

# Beyond fifteen digits Excel keeps zeros for what it does not remember.
EXACT_DIGITS: Final = 15
LONGEST_TEXT: Final = 2000
FEN: Final = Decimal("0.01")

_SCIENTIFIC = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+")
_SPACES = re.compile(r"[\s\u200b\u200c\u200d\u2060\ufeff]+")
_DAY = re.compile(r"(\d{4})(?:-|/|\.|年)(\d{1,2})(?:-|/|\.|月)(\d{1,2})日?|(\d{4})(\d{2})(\d{2})")
_CODE = re.compile(r"[0-9A-Za-z._-]{1,100}")
_ORGANISATION = re.compile(ORGANISATION_ID)
_ERRORS: Final = frozenset(
    ("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#SPILL!", "#CALC!")
)
_YES: Final = frozenset(("是", "有", "√", "✓", "y", "yes", "true", "1", "同意"))
_NO: Final = frozenset(("否", "无", "×", "x", "n", "no", "false", "0", "不同意"))


class BadCell(ValueError):
    """What is wrong with a cell, in Chinese and in English, without its value."""

    def __init__(self, code: str, zh: str, en: str) -> None:
        super().__init__(code)
        self.code, self.zh, self.en = code, zh, en


def class_of(cell: Cell) -> str:
    """What kind of value a cell holds, which is all that may be told of it."""
    match cell:
        case None:
            return "空 empty"
        case bool():
            return "是非 boolean"
        case int() | float():
            return "数字 number"
        case datetime() | date():
            return "日期 date"
        case time():
            return "时间 time"
        case str():
            return _class_of_text(cell)
        case _:
            return "其他 other"


def _class_of_text(cell: str) -> str:
    text = narrow(cell)
    if not text:
        return "空 empty"
    if text in _ERRORS:
        return "公式错误 formula error"
    if _SCIENTIFIC.fullmatch(text):
        return "科学计数 number in scientific notation"
    if text.isascii() and text.isdigit():
        return "数字文本 digits"
    return "文本 text"


def is_blank(cell: Cell) -> bool:
    """Nothing, or nothing but spaces of any kind."""
    return cell is None or (isinstance(cell, str) and not _SPACES.sub("", cell))


def narrow(text: str) -> str:
    """Full-width letters, digits and signs as their ASCII ones, and no spaces at either end."""
    return _stripped(unicodedata.normalize("NFKC", text))


def _stripped(text: str) -> str:
    return re.sub(rf"^{_SPACES.pattern}|{_SPACES.pattern}$", "", text)


def _plain(cell: Cell) -> str:
    """A cell's text, whether it was kept as text or as a number that kept all its digits."""
    match cell:
        case str():
            text = narrow(cell)
            if text in _ERRORS:
                raise BadCell(
                    "formula_error", "单元格是公式错误值", "the cell is a formula's error"
                )
            return text
        case bool():
            raise BadCell("not_text", "应为文本", "text is expected")
        case int():
            return _digits(cell)
        case float() if cell.is_integer():
            return _digits(int(cell))
        case _:
            raise BadCell("not_text", "应为文本", "text is expected")


def _digits(number: int) -> str:
    if number < 0:
        raise BadCell("not_text", "应为文本", "text is expected")
    if number >= 10**EXACT_DIGITS:
        raise digits_lost()
    return str(number)


def digits_lost() -> BadCell:
    """What is told where a spreadsheet has made a number of an ID or account number."""
    return BadCell(
        "digits_lost",
        "被表格软件当作数字，末几位已丢失；请将该列设为文本格式后重新填写",
        "the spreadsheet took it for a number and lost its last digits: format the column as text",
    )


def text(longest: int = LONGEST_TEXT) -> Reader:
    """Words, as they stand but for spaces at the ends; a number's digits are words, too."""

    def read(cell: Cell) -> str:
        plain = _stripped(cell) if isinstance(cell, str) else _plain(cell)
        if isinstance(cell, str):
            _plain(cell)
        if len(plain) > longest:
            raise BadCell(
                "text_too_long", f"超过 {longest} 字", f"longer than {longest} characters"
            )
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in plain):
            raise BadCell("text_refused", "含有不允许的字符", "it holds control characters")
        return plain

    return read


def code(cell: Cell) -> str:
    """A code: ASCII letters, digits, dot, dash and underscore."""
    found = _plain(cell)
    if _CODE.fullmatch(found) is None:
        raise BadCell("not_a_code", "应为代码（字母、数字、._-）", "a code is expected")
    return found


def organisation(cell: Cell) -> str:
    """The code of an organisation, as the network gives it; a person's ID number is none."""
    found = _plain(cell)
    if _ORGANISATION.fullmatch(found) is None or id_number_holds(found):
        raise BadCell(
            "not_an_organisation_code",
            "应为单位代码（小写字母、数字、_-），如 union-1-1",
            "the code of an organisation is expected (small letters, digits, _-), e.g. union-1-1",
        )
    return found


def place(cell: Cell) -> str:
    """The code of a county or district, six digits."""
    found = _plain(cell)
    if not place_code_holds(found):
        raise BadCell(
            "not_a_place_code",
            "应为六位行政区划代码（GB/T 2260）",
            "the six digits of a county's or district's code (GB/T 2260) are expected",
        )
    return found


def number(cell: Cell) -> str:
    """A telephone or account number: digits, which may be grouped by spaces or dashes."""
    found = _SPACES.sub("", _plain(cell)).replace("-", "").replace("(", "").replace(")", "")
    if _SCIENTIFIC.fullmatch(found):
        raise digits_lost()
    if not re.fullmatch(r"\+?[0-9]{3,39}", found):
        raise BadCell("not_a_number", "应为号码（仅数字）", "a number of digits is expected")
    return found


def id_number(cell: Cell) -> str:
    """An ID number of GB 11643, whose check character holds."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        raise digits_lost()
    found = _SPACES.sub("", _plain(cell)).replace("-", "").upper()
    if _SCIENTIFIC.fullmatch(found):
        raise digits_lost()
    if not id_number_holds(found):
        raise BadCell(
            "id_number_wrong",
            "身份证号位数、出生日期或校验码不符",
            "length, day of birth or check character of the ID number do not hold",
        )
    return found


def money(cell: Cell) -> int:
    """An amount in yuan, as fen."""
    if isinstance(cell, bool | datetime | date | time):
        raise no_amount()
    if isinstance(cell, int | float):
        # A sum of a formula carries noise of its binary digits far behind the fen.
        if isinstance(cell, float) and not math.isfinite(cell):
            raise no_amount()
        try:
            exact = Decimal(repr(cell))
            rounded = exact.quantize(FEN, ROUND_HALF_EVEN)
        except InvalidOperation:
            raise no_amount() from None
        if abs(exact - rounded) > Decimal("0.000001"):
            raise no_amount()
        found = f"{rounded:f}"
    else:
        found = _plain(cell).removeprefix("¥").removesuffix("元").strip()
    try:
        fen = parse_yuan(found)
    except NotMoney:
        raise no_amount() from None
    if not 0 <= fen <= 10**12:
        raise no_amount()
    return fen


def no_amount() -> BadCell:
    """What is told of anything that is no sum of money."""
    return BadCell(
        "not_an_amount",
        "应为金额（元，最多两位小数，不为负）",
        "an amount in yuan is expected, not negative, with at most two decimals",
    )


def day(cell: Cell) -> str:
    """A day, as a date of the spreadsheet or as people write it; ISO 8601."""
    match cell:
        case datetime() if cell.time() == time():
            found: date | None = cell.date()
        case datetime():
            found = None
        case date():
            found = cell
        case _:
            found = _day_of_text(_plain(cell))
    if found is None or not date(1900, 1, 1) <= found <= date(2100, 12, 31):
        raise BadCell(
            "not_a_day", "应为存在的日期，如 2025-03-01", "an existing day such as 2025-03-01"
        )
    return found.isoformat()


def _day_of_text(plain: str) -> date | None:
    match = _DAY.fullmatch(_SPACES.sub("", plain))
    if match is None:
        return None
    year, month, day_of_month = (int(part) for part in match.groups() if part is not None)
    try:
        return date(year, month, day_of_month)
    except ValueError:
        return None


def yes_or_no(cell: Cell) -> bool:
    """是 or 否, or what people put instead."""
    plain = str(cell).lower() if isinstance(cell, bool) else _plain(cell).lower()
    if plain in _YES:
        return True
    if plain in _NO:
        return False
    raise BadCell("not_yes_or_no", "应为“是”或“否”", "yes (是) or no (否) is expected")


def one_of(words: Mapping[str, str]) -> Reader:
    """One of a list of words, as its code."""

    def read(cell: Cell) -> str:
        found = words.get(_plain(cell))
        if found is None:
            listed = "、".join(words)
            raise BadCell("not_listed", f"应为：{listed}", f"expected one of {listed}")
        return found

    return read


def some_of(words: Mapping[str, str]) -> Reader:
    """Several words of a list, between commas, as their codes, each once."""
    read_one = one_of(words)

    def read(cell: Cell) -> list[str]:
        parts = re.split(r"[、,;/\s]+", _plain(cell))
        return list(dict.fromkeys(read_one(part) for part in parts if part))

    return read
