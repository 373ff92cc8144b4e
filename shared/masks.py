"""How personal data looks to someone who may know that it is there, but not what it says.

A mask never tells the length of free text, the day of birth in an ID number, or more of an account
than a person needs to recognise their own.
"""

_PAIRS = (
    "欧阳太史端木上官司马东方独孤南宫万俟闻人夏侯诸葛尉迟公羊赫连澹台皇甫宗政濮阳公冶"
    "太叔申屠公孙慕容仲孙钟离长孙宇文司徒鲜于司空闾丘令狐百里呼延东郭南门轩辕"
)
COMPOUND_SURNAMES = frozenset(_PAIRS[i : i + 2] for i in range(0, len(_PAIRS), 2))
HIDDEN = "***"
VISIBLE_AT_END = 4


def mask_name(name: str) -> str:
    """王建国 → 王**, 欧阳锋 → 欧阳*, Ann Lee → A***. A single character is hidden whole."""
    name = name.strip()
    if len(name) < 2:
        return HIDDEN
    if name[0].isascii():
        return name[0] + HIDDEN
    surname = name[:2] if len(name) > 2 and name[:2] in COMPOUND_SURNAMES else name[:1]
    return surname + "*" * (len(name) - len(surname))


def mask_id(number: str) -> str:
    """An ID number: three digits of the place and the last four, never the birth date."""
    if len(number) < 15:
        return HIDDEN
    return number[:3] + "*" * (len(number) - 3 - VISIBLE_AT_END) + number[-VISIBLE_AT_END:]


def mask_account(number: str) -> str:
    """A card or passbook: the last four digits."""
    return f"{HIDDEN}{number[-VISIBLE_AT_END:]}" if len(number) >= 2 * VISIBLE_AT_END else HIDDEN


def mask_phone(number: str) -> str:
    """13812345678 → 138****5678."""
    if len(number) < 11:
        return HIDDEN
    return number[:3] + "*" * (len(number) - 3 - VISIBLE_AT_END) + number[-VISIBLE_AT_END:]
