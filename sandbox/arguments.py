"""Command lines of ``./run``: nonsense ends with one line, ``--help`` does nothing else.

``./run bangfu`` has its own (`cli/command_line.py`), which speaks alike.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from cli.failures import file_failed, output_failed
from cli.output import guarded
from cli.paths import check_writable
from cli.strict_json import printable

_LONGEST: Final = 300
# argparse's complaints, by their beginnings, as they are said here.
_COMPLAINTS: Final = (
    (r"argument (?P<name>\S+): expected one argument", "{name}: 须有值 needs a value"),
    (r"argument (?P<name>\S+): ignored explicit argument", "{name}: 不带值 takes no value"),
    (r"argument (?P<name>\S+): invalid int value", "{name}: 须为整数 must be a whole number"),
    (
        r"argument (?P<name>\S+): invalid choice: .*\(choose from (?P<rest>.*)\)",
        "{name}: 须为其一 must be one of {rest}",
    ),
    (r"argument (?P<name>\S+): (?P<rest>.*)", "{name}: {rest}"),
    (
        r"unrecognized arguments: (?P<rest>.*)",
        "{rest}: 没有这一选项或参数 no such option or argument",
    ),
    (
        r"the following arguments are required: (?P<rest>.*)",
        "{rest}: 缺少 is missing",
    ),
)
_HEADINGS: Final = {
    "positional arguments": "参数 arguments",
    "options": "选项 options",
}


class _Formatter(argparse.HelpFormatter):
    """Help whose headings are in both languages."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, prefix or "用法 usage: ")

    def start_section(self, heading: str | None) -> None:
        super().start_section(_HEADINGS.get(heading or "", heading))


class OneLineParser(argparse.ArgumentParser):
    """argparse, without its usage before each complaint, and in both languages."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Formatter, add_help=False, allow_abbrev=False, **settings)
        self.add_argument(
            "-h", "--help", action="help", help="显示此说明 show this message and exit"
        )

    def error(self, message: str) -> NoReturn:
        """One line, and status 2."""
        for pattern, said in _COMPLAINTS:
            found = re.match(pattern, message, re.DOTALL)
            if found is not None:
                message = said.format(**found.groupdict())
                break
        self.fail(message)

    def fail(self, message: str, status: int = 2) -> NoReturn:
        """End with what went wrong; what servers wrote of it may stand in further lines."""
        lines = [printable(line, _LONGEST) for line in message.splitlines() if line]
        print("\n".join(lines), file=sys.stderr)
        raise SystemExit(status)


Given = ParamSpec("Given")


def program(main: Callable[Given, None]) -> Callable[Given, None]:
    """The whole of a program: standard output that takes no more ends it with one line, too."""

    @wraps(main)
    def run(*given: Given.args, **named: Given.kwargs) -> None:
        with guarded(output_failed):
            main(*given, **named)

    return run


Number = TypeVar("Number", int, float)


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that is a whole number of this range."""
    wanted = f"须为 {least} 至 {most} 的整数 must be a whole number from {least} to {most}"
    return _within(int, least, most, wanted)


def real(least: float, most: float) -> Callable[[str], float]:
    """The type of an option that is a number of this range, and so neither nan nor infinite."""
    wanted = f"须为 {least:g} 至 {most:g} 的数 must be a number from {least:g} to {most:g}"
    return _within(float, least, most, wanted)


def _within(
    convert: Callable[[str], Number], least: Number, most: Number, wanted: str
) -> Callable[[str], Number]:
    def read(text: str) -> Number:
        try:
            number = convert(text)
        except ValueError:  # also of thousands of digits, which Python refuses to convert
            raise argparse.ArgumentTypeError(wanted) from None
        # Not a number is within no range, however it is compared.
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(wanted)
        return number

    return read


def file_to_write(text: str) -> Path:
    """The type of an option that names a file to be written."""
    path = Path(text)
    try:
        check_writable(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(file_failed(path, error)) from None
    return path
