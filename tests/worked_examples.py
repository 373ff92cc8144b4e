"""The worked examples: questions with their answers under fictional lines, and their parameters."""

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "data" / "worked-examples.json"
_DOCUMENT: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))

PARAMETERS: dict[str, Any] = _DOCUMENT["parameters"]
EXAMPLES: list[dict[str, Any]] = _DOCUMENT["examples"]


def examples_of(kind: str) -> list[dict[str, Any]]:
    """The examples of one kind: eligibility, award or notice."""
    return [example for example in EXAMPLES if example["given"]["kind"] == kind]


def name_of(example: dict[str, Any]) -> str:
    """How a test names an example."""
    return f"{example['id']} {example['title']}"


def given(example_id: str, **changes: Any) -> dict[str, Any]:
    """The question of an example, with some of its fields changed."""
    found = next(example for example in EXAMPLES if example["id"] == example_id)
    return {**json.loads(json.dumps(found["given"])), **changes}
