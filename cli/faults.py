"""Words a pydantic error in one line, Chinese with English beside it, without the input."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from cli.strict_json import BadInput

_TEXTS: Final[Mapping[str, str]] = {
    "missing": "缺少字段 missing field",
    "extra_forbidden": "未知字段 unknown field",
    "null_given": "不得为 null must not be null",
    "int_type": "须为整数 must be an integer",
    "bool_type": "须为 true 或 false must be true or false",
    "string_type": "须为文本 must be text",
    "string_too_short": "不得为空 must not be empty",
    "string_pattern_mismatch": "须为四位年份 must be a year of four digits",
    "literal_error": "未知取值 unknown word, expected {expected}",
    "greater_than_equal": "不得小于 {ge} must be at least {ge}",
    "less_than_equal": "不得大于 {le} must be at most {le}",
    "list_type": "须为列表 must be a list",
    "tuple_type": "须为列表 must be a list",
    "dict_type": "须为对象 must be an object",
    "model_type": "须为对象 must be an object",
    "value_error": "须为存在的日期 YYYY-MM-DD must be an existing day YYYY-MM-DD",
}


def bad_input(place: str, error: ValidationError) -> BadInput:
    """The first fault that pydantic found, as `BadInput`."""
    first = error.errors(include_url=False, include_input=False)[0]
    context: dict[str, Any] = first.get("ctx", {})
    text = _TEXTS.get(first["type"], "取值不合要求 not acceptable ({type})")
    return BadInput(place, first["loc"], text.format(type=first["type"], **context))
