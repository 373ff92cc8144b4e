"""Files and functions stay small enough to read, and exceptions to rules say why."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = ("services", "shared", "cli", "sandbox", "deploy", "tests", "bench")

# What CI may take in all, whatever hangs.
CI_SECONDS = 3600
LIMIT = re.compile(r"^timeout --foreground --kill-after=(\d+) (\d+) ", re.MULTILINE)
FILE_LINES = 520
FUNCTION_LINES = 64

# An exemption names its rule and goes on with a reason in words.
EXEMPTION = re.compile(r"#\s*(?:type:\s*ignore|noqa)")
EXPLAINED = re.compile(
    r"#\s*(?:type:\s*ignore\[[\w, -]+\]|noqa: ?[A-Z]+\d+(?:, ?[A-Z]+\d+)*)\W.*[a-z]{2}"
)


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((CHECKOUT / folder).rglob("*.py"))


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.name} has {lines} lines"


def unexplained_exemptions(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        exempts = token.type == tokenize.COMMENT and EXEMPTION.search(token.string)
        if exempts and not EXPLAINED.search(token.string):
            yield f"line {token.start[0]}: {token.string}"


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    assert not {str(path): length for path, length in lengths.items() if length > FILE_LINES}


def test_every_function_fits_a_screen() -> None:
    found = {str(path): list(long_functions(path.read_text())) for path in sources()}
    assert not {path: functions for path, functions in found.items() if functions}


def test_every_exemption_says_why() -> None:
    found = {str(path): list(unexplained_exemptions(path.read_text())) for path in sources()}
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize("comment", ["# noqa", "# type: ignore", "# noqa: S105", "# noqa: S105 -"])
def test_an_unexplained_exemption_is_seen(comment: str) -> None:
    assert list(unexplained_exemptions(f"x = 1  {comment}\n"))
    assert not list(unexplained_exemptions("x = 1  # noqa: S105 - not a secret, a name\n"))


def test_a_long_function_is_seen() -> None:
    assert list(long_functions("def f():\n" + "    x = 1\n" * FUNCTION_LINES))


def test_what_ci_runs_ends_within_an_hour_whatever_hangs() -> None:
    limits = LIMIT.findall((CHECKOUT / ".ci" / "run").read_text())
    assert len(limits) == 4
    assert sum(int(seconds) for limit in limits for seconds in limit) <= CI_SECONDS
