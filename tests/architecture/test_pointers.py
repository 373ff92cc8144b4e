"""What README and docs point at is there: each file, each folder, each function of a file.

A pointer is a path in backticks, `services/intake/api.py`, or a path and a name that the file
defines, `services/intake/decisions/signing.py: sign`. Prose drifts silently; a pointer must not.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
POINTER = re.compile(
    r"`(?P<path>(?:[\w.-]+/)*[\w.-]+(?:\.(?:py|md|sql|json|xml|yaml|toml|in|lock)|/))"
    r"(?:: (?P<name>\w+))?`"
)
# Written by whoever runs the checkout, so not in it.
MADE_LATER = (".bangfu/",)


def dangling(text: str, root: Path = ROOT) -> Iterator[str]:
    """The pointers in a text that lead nowhere. A bare file name points at nothing certain."""
    for found in POINTER.finditer(text):
        path, name = found["path"], found["name"]
        if "/" not in path.rstrip("/") and name is None and not (root / path).exists():
            continue
        if path.startswith(MADE_LATER):
            continue
        file = root / path
        if not file.exists() or (name is not None and not defines(file.read_text(), name)):
            yield found[0]


def defines(source: str, name: str) -> bool:
    """Whether a Python or SQL source defines this name."""
    definition = rf"^\s*(?:(?:async )?def|class|CREATE FUNCTION) {name}\b|^{name}\b(?:: [^=]+)? = "
    return re.search(definition, source, re.MULTILINE) is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_what_documents_point_at_is_there(document: Path) -> None:
    assert list(dangling(document.read_text())) == []


@pytest.mark.parametrize(
    "pointer",
    ["`shared/nowhere.py`", "`services/cellar/`", "`shared/desk.py: sing`"],
)
def test_a_pointer_to_nothing_is_seen(pointer: str) -> None:
    assert list(dangling(f"see {pointer}, and `shared/desk.py: Desk`")) == [pointer]
