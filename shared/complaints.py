"""What pydantic finds wrong, told in Chinese and English, and never the value itself."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def complaint(item: Mapping[str, Any]) -> dict[str, str]:
    """One validation error: the field's path, what is wrong in Chinese and English, and its code.

    Never the value: a message that quotes any part of the input gives way to a general one.
    """
    kind = str(item["type"])
    context = item.get("ctx") or {}
    reason_en = str(item["msg"]).removeprefix("Value error, ")
    if kind in _QUOTING or _quotes(reason_en, item.get("input")):
        reason_en = "The value is not acceptable"
    return {
        "field": json_path(item["loc"]) + str(context.get("path", "")),
        "reason": _REASONS_ZH.get(kind, "内容不符合要求"),
        "reason_en": reason_en,
        "code": kind,
    }


_REASONS_ZH = {
    "missing": "缺少必填项",
    "extra_forbidden": "不应有此项",
    "string_type": "应为文本",
    "string_too_short": "文本过短",
    "string_too_long": "文本过长",
    "string_pattern_mismatch": "格式不符",
    "int_type": "应为整数",
    "int_from_float": "应为整数",
    "int_parsing": "应为整数",
    "bool_type": "应为是或否",
    "list_type": "应为列表",
    "dict_type": "应为对象",
    "model_type": "应为对象",
    "model_attributes_type": "应为对象",
    "enum": "不在可选范围内",
    "literal_error": "不在可选范围内",
    "union_tag_invalid": "类型不在可选范围内",
    "union_tag_not_found": "缺少类型",
    "date_from_datetime_parsing": "应为日期",
    "date_parsing": "应为日期",
    "date_type": "应为日期",
    "uuid_parsing": "应为 UUID",
    "greater_than": "数值过小",
    "greater_than_equal": "数值过小",
    "less_than": "数值过大",
    "less_than_equal": "数值过大",
    "too_short": "数量过少",
    "too_long": "数量过多",
    "text_refused": "含有不允许的字符",
    "number_refused": "数值超出范围",
}

# Messages of pydantic that are known to carry a part of the input.
_QUOTING = frozenset({"union_tag_invalid", "uuid_parsing", "url_parsing", "int_parsing_size"})


def _quotes(message: str, value: Any) -> bool:
    """Whether any part of the input stands in the message.

    With a list of what is left to look at: a body may be nested deeper than Python calls itself.
    """
    left = [value]
    while left:
        match left.pop():
            case str() as text:
                found = text.strip()
                # A short ASCII word is in any sentence by chance, a short Chinese one is a name.
                if found and (len(found) > 3 or not found.isascii()) and found in message:
                    return True
            case bool() | None:
                pass
            case int() | float() as number:
                if abs(number) > 999 and str(number) in message:
                    return True
            case Mapping() as members:
                left += [*members.keys(), *members.values()]
            case Sequence() as parts if not isinstance(parts, bytes | bytearray):
                left += parts
    return False


_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def json_path(location: Sequence[int | str]) -> str:
    """`("body", "members", 0, "name")` → `$.members[0].name`; other places `query.day`.

    A member's name that is no plain word is shown as `*`: the caller chose it, and it may be data.
    """
    where, *parts = location or ("body",)
    path = "$" if where == "body" else str(where)
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if _MEMBER.fullmatch(part) else ".*"
    return path
