"""Each wall between and inside services is broken once here, and must be seen to fall.

The walls stand in pyproject.toml. A copy of the sources is damaged, never the sources.
"""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

SERVICES = ("network", "intake", "eligibility", "notice", "payout", "training")
ROOM = ("main", "api", "reactions", "timers", "storage", "decisions", "facts")

INDEPENDENT = "Services know each other by their facts alone"
LAYERED = "In a service: main, then api, reactions and timers, storage, decisions, facts"
PURE = "Decisions and facts touch neither the world, nor a clock, nor chance"
SHARED = "What is shared knows no service"

BREACHES = [
    (INDEPENDENT, "services.notice.reactions", "services.intake.decisions"),
    (INDEPENDENT, "services.payout.storage", "services.eligibility.storage"),
    (INDEPENDENT, "services.training.api", "services.network.main"),
    (LAYERED, "services.intake.facts", "services.intake.decisions"),
    (LAYERED, "services.intake.decisions", "services.intake.storage"),
    (LAYERED, "services.eligibility.storage", "services.eligibility.reactions"),
    (LAYERED, "services.payout.storage", "services.payout.api"),
    (LAYERED, "services.notice.timers", "services.notice.main"),
    (LAYERED, "services.network.api", "services.network.main"),
    (LAYERED, "services.training.reactions", "services.training.api"),
    (PURE, "services.intake.decisions", "asyncpg"),
    (PURE, "services.eligibility.decisions", "time"),
    (PURE, "services.payout.decisions", "random"),
    (PURE, "services.training.decisions", "shared.clock"),
    (PURE, "services.network.facts", "os"),
    (PURE, "services.notice.facts", "secrets"),
    (SHARED, "shared.money", "services.intake.facts"),
    (SHARED, "shared.fact", "cli"),
]

# Reading a clock or drawing a number is also possible through modules that decisions need for
# their types, `datetime` and `uuid` above all.
IMPURE_CALLS = {
    "choice", "getenv", "input", "monotonic", "now", "open", "perf_counter", "print", "time_ns",
    "today", "utcnow", "uuid1", "uuid4", "uuid7",
}  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources, with every file that a room may have."""
    ignored = shutil.ignore_patterns("__pycache__", "*.sql", "*.json")
    for name in ("services", "shared"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=ignored)
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for service in SERVICES:
        for module in ROOM:
            path = source_of(tmp_path, f"services.{service}.{module}")
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.touch()
    return tmp_path


def source_of(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def lint(root: Path) -> str:
    command = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-logo", "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_walls_stand(copy: Path) -> None:
    assert f"{len({name for name, _, _ in BREACHES})} kept, 0 broken" in lint(copy)


def test_facts_of_another_service_may_be_read(copy: Path) -> None:
    reactions = source_of(copy, "services.notice.reactions")
    reactions.write_text(reactions.read_text() + "\nimport services.training.facts\n")
    assert "0 broken" in lint(copy)


@pytest.mark.parametrize(("wall", "module", "imported"), BREACHES)
def test_a_breach_is_seen(copy: Path, wall: str, module: str, imported: str) -> None:
    source = source_of(copy, module)
    source.write_text(source.read_text() + f"\nimport {imported}\n")
    said = lint(copy)
    assert f"{wall} BROKEN" in said
    assert imported in said


def impure_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in IMPURE_CALLS:
            yield f"line {node.lineno}: {name}()"


def pure_sources() -> Iterator[Path]:
    for layer in ("decisions", "facts", "rules"):
        yield from CHECKOUT.glob(f"services/*/{layer}.py")
        yield from CHECKOUT.glob(f"services/*/{layer}/**/*.py")


def test_decisions_and_facts_are_given_time_and_ids() -> None:
    found = {
        str(path.relative_to(CHECKOUT)): calls
        for path in pure_sources()
        if (calls := list(impure_calls(path.read_text())))
    }
    assert not found


@pytest.mark.parametrize("call", ["datetime.now(UTC)", "date.today()", "uuid4()", "open('a')"])
def test_an_impure_call_is_seen(call: str) -> None:
    assert list(impure_calls(f"def decide():\n    return {call}\n"))
