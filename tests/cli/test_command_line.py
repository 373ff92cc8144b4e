"""`bangfu` as a command line: whatever is wrong is one line in both languages, and status 2.

No server is met here: those of the settings are nowhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bench.__main__ import command_line as bench
from cli.__main__ import COMMANDS, app
from cli.command_line import Command, Group
from cli.rooms import SERVICES
from sandbox.demo import command_line as demo
from sandbox.installation import CHECKOUT

NOWHERE: Final = {
    "BANGFU_POSTGRES_URL": "postgresql://someone:hushhush@127.0.0.1:1/x",
    "BANGFU_KEYS_URL": "postgresql://someone:hushhush@127.0.0.1:1/y",
    "BANGFU_KAFKA_BOOTSTRAP": "127.0.0.1:1",
}
# Every path that a command takes: its name, and the words before it.
READ: Final = (
    ("FILE", ("decide",)),
    ("--parameters", ("decide", "-", "--parameters")),
    ("FILE", ("erasures", "replay")),
    ("FILE", ("erasures", "clear")),
    ("FILE", ("import", "--check")),
    ("--passwords", ("prepare", "--passwords")),
)
WRITTEN: Final = (
    ("FILE", ("erasures", "export")),
    ("--json", ("heads", "--json")),
    ("--report", ("import", "--check", "{list}", "--report")),
    ("FILE", ("import", "--template")),
    ("--passwords", ("prepare", "--passwords")),
    ("--environment", ("prepare", "--passwords", "{passwords}", "--environment")),
)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BANGFU_")]:
        monkeypatch.delenv(name)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)


def refused(*words: str) -> str:
    """The one line with which a command line is refused."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 2, (words, done.output, done.exception)
    [line] = done.stderr.splitlines()
    assert done.stdout == ""
    assert re.search("[一-鿿]", line), line
    assert re.search("[A-Za-z]{2}", line), line
    assert "hushhush" not in line
    return str(line)


def refused_process(words: Sequence[str | Path], environment: dict[str, str], folder: Path) -> str:
    """The same of a process of its own: nothing that is loaded here speaks beside it."""
    done = subprocess.run(
        words,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    return line


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, with the words that name it."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    while waiting:
        words, found = waiting.pop()
        yield words, found
        if isinstance(found, Group):
            context: Any = found.make_context("bangfu", ["x"])
            names = found.list_commands(context)
            waiting += [((*words, name), found.get_command(context, name)) for name in names]


def test_every_command_is_made_of_the_classes_that_end_in_one_line() -> None:
    found = dict(commands())
    assert {words[0] for words in found if words} == set(COMMANDS)
    assert {type(each) for each in found.values()} <= {Command, Group, type(get_command(app))}


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_an_option_that_is_none_and_too_many_words(words: tuple[str, ...]) -> None:
    """Of each command; what a group does not know is a command that is none."""
    assert "--no-such" in refused(*words, "--no-such")
    if words != ("recover",):  # it takes any number
        many = refused(*words, *["word"] * 9)
        assert many.startswith(("word", "SERVICE: ", "ID: ", "--passwords: "))


@pytest.mark.parametrize("words", [(), ("quarantine",), ("erasures",)], ids=str)
def test_nothing_said_is_answered_with_the_help(words: tuple[str, ...]) -> None:
    """Where a pager shows it, and in both languages."""
    done = CliRunner().invoke(app, list(words))
    assert (done.exit_code, done.stderr) == (2, "")
    assert done.stdout.startswith("用法 Usage: ")
    assert "命令 Commands:" in done.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("quarantine", "show", "intake"), "ID"),
        *((("quarantine", "show", "intake", "--", n), "ID") for n in ("9" * 20, "-5", "0", "x")),
        *((("quarantine", "release", "intake", "--", n), "ID") for n in ("9" * 20, "-5", "0")),
        *((("quarantine", "discard", "intake", "--reason", "r", "--", "9" * 20), "ID"),),
        *((("waiting", "--limit", n), "--limit") for n in ("9" * 20, "-5", "0", "x", "")),
        *((("quarantine", "list", "--limit", n), "--limit") for n in ("9" * 20, "-5", "0")),
        *(
            (("quarantine", "release", "intake", "1", "--wait", n), "--wait")
            for n in ("9" * 400, "-1", "nan", "inf", "x")
        ),
        (("heads", "--json"), "--json"),
        (("verify", "--json=5"), "--json"),
        (("republish",), "SERVICE"),
        (("prepare",), "--passwords"),
        (("replay", "x", "--as-of", "2025-02-30"), "--as-of"),
        (("import", "x.csv", "--office", "nonsense"), "--office"),
        (("quarantine", "release", "intake"), "ID, --all"),
        (("quarantine", "release", "intake", "1", "--all"), "ID, --all"),
        (("decide", "-", "--parameters", "-"), "--parameters"),
        (("recover", "nonsense"), "SERVICES"),
        (("rebuild", "intake", "reference"), "MODEL"),
        *((("rebuild", "intake", model), "MODEL") for model in ("", " ")),
        *(
            (("quarantine", "discard", "intake", "1", "--reason", reason), "--reason")
            for reason in ("", " ", "two\nlines", "x" * 501, "of 110101199003070134")
        ),
        (("quarantine", "discard", "intake", "1", "--reason", "r", "--operator", ""), "--operator"),
    ],
    ids=str,
)
def test_a_wrong_value_names_its_option(
    words: tuple[str, ...], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").touch()
    assert refused(*words).startswith(f"{named}: ")


@pytest.mark.parametrize(
    "words",
    ["recover", "rebuild", "republish", "waiting", "quarantine list", "quarantine show"],
)
def test_a_service_that_is_none_is_told_in_the_same_words(words: str) -> None:
    """By every command that takes one."""
    argument = "SERVICES" if words == "recover" else "SERVICE"
    held_id = ["1"] if words == "quarantine show" else []
    line = refused(*words.split(), "p\x1bayouts", *held_id)
    assert (
        line == f"{argument}: 没有这一服务 no such service: p\\u001bayouts ({', '.join(SERVICES)})"
    )


def test_an_account_without_a_name_has_to_say_who_decides() -> None:
    """As in a container whose user stands in no list."""
    words = ("quarantine", "discard", "intake", "1", "--reason", "r")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            patched.delenv(name, raising=False)
        patched.setattr(os, "getuid", lambda: 2**31 - 7)
        assert refused(*words).startswith("--operator: ")


def filled(words: tuple[str, ...], folder: Path) -> list[str]:
    (folder / "list.csv").write_text("")
    return [
        word.format(list=folder / "list.csv", passwords=folder / "passwords.json") for word in words
    ]


@pytest.mark.parametrize(("argument", "words"), [*READ, *WRITTEN], ids=str)
def test_a_path_that_can_not_be_is_told_of_its_argument(
    argument: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    """A folder for a file and a file for a folder, within a file, in a folder that is not there."""
    (tmp_path / "file").write_text("not a folder")
    is_folder = argument == "--environment"
    paths = [str(tmp_path / "file") if is_folder else str(tmp_path), str(tmp_path / "file" / "x")]
    paths += (
        [] if is_folder else [".", "/", str(tmp_path / "absent" / "x"), str(tmp_path / ("n" * 300))]
    )
    for path in paths:
        assert refused(*filled(words, tmp_path), path).startswith(f"{argument}: "), path
    assert {each.name for each in tmp_path.iterdir()} == {"file", "list.csv"}


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\x80garbage\x9f" * 9, "登记".encode("gb18030"), b'[["'], ids=str
)
@pytest.mark.parametrize(("argument", "words"), READ, ids=str)
def test_a_file_of_anything_is_one_line(
    argument: str, words: tuple[str, ...], content: bytes, tmp_path: Path
) -> None:
    """Of the file, or of the server that would have come next."""
    path = tmp_path / "file"
    path.write_bytes(content)
    line = refused(*filled(words, tmp_path), str(path))
    said_of_its_content = ("questions: ", "parameters: ") if words[0] == "decide" else ()
    assert line.startswith((f"{argument}: ", "BANGFU_", *said_of_its_content))


@pytest.mark.parametrize(("argument", "words"), WRITTEN[:3], ids=str)
def test_a_device_is_not_replaced_by_a_file(argument: str, words: tuple[str, ...]) -> None:
    """A file becomes what is written once it is whole; for root, of /dev/null, too."""
    if argument != "--report":
        assert refused(*words, "/dev/null").startswith(f"{argument}: ")


# A value that does not do for each setting whose value could be wrong by itself.
WRONG_SETTINGS: Final = {
    "BANGFU_MODE": "nearly-production",
    "BANGFU_KAFKA_BOOTSTRAP": "no such place",
    "BANGFU_PARTITIONS": "many",
    "BANGFU_REPLICATION": "1.5",
    "BANGFU_POSTGRES_URL": "hushhush",
    "BANGFU_KEYS_URL": "postgresql://someone:hush#hush@x/y",
    "BANGFU_INTAKE_URL": "file:///hushhush",
    "BANGFU_CLOCK_FILE": "/hushhush",
}


@pytest.mark.parametrize(("name", "value"), WRONG_SETTINGS.items(), ids=str)
def test_a_wrong_setting_is_named_first_and_told_in_both_languages(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the command is: all of them read the same settings."""
    monkeypatch.setenv(name, value)
    for words in (("status",), ("heads",), ("prepare", "--passwords", "x"), ("replay", "case")):
        line = refused(*words)
        assert line.startswith(f"{name}: "), line
        assert re.search("[一-鿿]", line.partition(": ")[2])


@pytest.mark.parametrize("value", ["0", "10001", "-1", "9" * 5000, "nan", "x"])
def test_a_setting_out_of_its_range_says_the_range(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANGFU_PARTITIONS", value)
    line = refused("prepare", "--passwords", "x")
    assert line.startswith("BANGFU_PARTITIONS: ")
    assert value not in line or value in "10000"


def test_what_status_asks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANGFU_SERVICE_URLS", "intake")
    assert refused("status").startswith("BANGFU_SERVICE_URLS: ")
    monkeypatch.setenv("BANGFU_SERVICE_URLS", "intake=file:///x")
    assert refused("status").startswith("BANGFU_SERVICE_URLS: ")
    monkeypatch.setenv("BANGFU_SERVICE_URLS", "payout=http://h:1,intakee=http://h:2")
    line = refused("status")
    assert line.startswith("BANGFU_SERVICE_URLS: ")
    assert "entry 2: no such service" in line
    assert "intakee" not in line


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("heads", "BANGFU_KAFKA_BOOTSTRAP"),
        ("replay case", "BANGFU_KAFKA_BOOTSTRAP"),
        ("verify", "BANGFU_POSTGRES_URL"),
        ("recover payout", "BANGFU_POSTGRES_URL"),
        ("rebuild payout", "BANGFU_POSTGRES_URL"),
        ("erasures export register", "BANGFU_KEYS_URL"),
    ],
)
def test_a_server_that_is_away_is_told_of_its_setting_alone(
    words: str, setting: str, tmp_path: Path
) -> None:
    """No library says a word beside it, and no bar is left standing."""
    started = [sys.executable, "-P", "-m", "cli", *words.split()]
    line = refused_process(started, {**os.environ, "PYTHONPATH": str(CHECKOUT)}, tmp_path)
    assert line.startswith(f"{setting}: ")


@pytest.mark.parametrize("port", ["99999", "abc", "5432,abc", "-1"])
@pytest.mark.parametrize(
    ("words", "setting"),
    [("waiting", "BANGFU_POSTGRES_URL"), ("erasures export register", "BANGFU_KEYS_URL")],
)
def test_an_address_with_a_port_that_is_none_is_told_of_its_setting(
    words: str, setting: str, port: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Behind the question mark it is the client's own affair, which fails as it likes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(setting, f"postgresql://u:hushhush@/x?host=127.0.0.1,127.0.0.1&port={port}")
    assert refused(*words.split()).startswith(f"{setting}: 须为 must be postgresql://")


@pytest.mark.parametrize("word", ["setup", "check"])
def test_words_that_run_does_not_take_are_not_swallowed(word: str, tmp_path: Path) -> None:
    """Of a copy without a checkout around it: whoever goes on would have to set one up."""
    run = shutil.copy(CHECKOUT / "run", tmp_path)
    for extra in ("extra", "", "--fast"):
        line = refused_process([run, word, extra], {"PATH": os.environ["PATH"]}, tmp_path)
        assert line == f"{extra or repr('')}: 多余的参数 too many arguments ({word})"


@pytest.mark.parametrize("program", ["demo", "up", "down", "token", "bench"])
def test_the_help_of_run_is_for_people_and_starts_nothing(program: str) -> None:
    """In both languages, as a person types it: none of it was written for who reads the code."""
    words = [str(CHECKOUT / "run"), program, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    usage, description, options = done.stdout.split("\n\n", 2)
    assert usage.startswith(f"用法 usage: ./run {program} ")
    assert re.match("[一-鿿]", description), description
    assert re.search("[A-Za-z]{4}", description)
    assert "`" not in description
    assert "选项 options:" in options


@pytest.mark.parametrize(
    ("parser", "words"),
    [
        *((bench, f"journey --warm-up={n}") for n in ("-5", "nan", "inf", "x", "")),
        *((bench, f"journey --rate={n}") for n in ("0", "nan", "-1")),
        (bench, "tail --seconds=-1"),
        (bench, "journey --instances=0"),
        (bench, "append --rounds=" + "9" * 5000),
        (bench, "append --facts"),
        (bench, "append --keep"),
        (bench, "nosuch"),
        (bench, ""),
        (demo, "--report=/"),
        (demo, "--report=/dev/null"),
        (demo, "--report=/no/such/folder/x"),
        (demo, "--keep=5"),
    ],
    ids=str,
)
def test_run_speaks_alike(parser: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The programs of ./run beside `bangfu`; argparse has no range, and takes nan for a number."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words.split())
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    option = words.rsplit(maxsplit=1)[-1].partition("=")[0] if "--" in words else "NAME"
    assert line.startswith(f"{option}: ")
    assert re.search("[一-鿿]", line), line
