"""The form of `bangfu` as a command line: its help, and how a command ends that can't be done.

Whatever is wrong with an option, an argument, a file or a server ends in one line on standard
error, Chinese with English beside it, and status 2. Every command and group is made of the classes
here, so none of them sees to that itself. A fault of the program stays a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, get_args

import typer
from typer._click.core import Context
from typer._click.exceptions import (
    BadOptionUsage,
    BadParameter,
    MissingParameter,
    NoArgsIsHelpError,
    NoSuchOption,
    UsageError,
)
from typer._click.formatting import HelpFormatter
from typer.core import TyperCommand, TyperGroup, TyperOption

from cli.failures import failed, output_failed
from cli.output import guarded
from cli.strict_json import printable
from cli.surroundings import REFUSED, keep_libraries_quiet, refuse

_HEADINGS: Final = {
    "Arguments": "参数 Arguments",
    "Options": "选项 Options",
    "Commands": "命令 Commands",
}
_EXTRA: Final = "Got unexpected extra argument"
_LONGEST: Final = 100


class _Formatter(HelpFormatter):
    """Help whose headings are in both languages."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, prefix or "用法 Usage: ")

    def write_heading(self, heading: str) -> None:
        super().write_heading(_HEADINGS.get(heading, heading))


class _Context(Context):
    formatter_class = _Formatter


def _help_in_both(option: TyperOption | None) -> TyperOption | None:
    if option is not None:
        option.help = "显示此说明 show this message and exit"
    return option


class Command(TyperCommand):
    """A command whose failures at files and servers are told in one line."""

    context_class = _Context

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        return _help_in_both(super().get_help_option(ctx))

    def invoke(self, ctx: Context) -> Any:
        # What the drivers log of a server that is away, the command says in one line.
        keep_libraries_quiet()
        try:
            return super().invoke(ctx)
        except Exception as error:
            given = {
                _name(param): Path(ctx.params[param.name])
                for param in self.params
                if isinstance(ctx.params.get(param.name), str | Path)
            }
            line = failed(error, given)
            if line is None:
                raise
            refuse(line)


class Group(TyperGroup):
    """A group of commands; as the whole program it tells wrong command lines in one line."""

    context_class = _Context

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        return _help_in_both(super().get_help_option(ctx))

    def resolve_command(self, ctx: Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None:
            there = ", ".join(self.list_commands(ctx))
            said = printable(args[0], _LONGEST)
            raise UsageError(f"{said}: 没有这一命令 no such command ({there})", ctx)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run as a whole program, which ends here; or for a caller, who is told by exceptions."""
        plain = partial(
            super().main, args, prog_name, complete_var, False, windows_expand_args, **extra
        )
        if not standalone_mode:
            return plain()
        with guarded(output_failed):
            return self._run_to_the_end(plain)

    @staticmethod
    def _run_to_the_end(plain: Callable[[], Any]) -> NoReturn:
        try:
            status = plain()
        except NoArgsIsHelpError as asked:
            # It is what was asked for by saying nothing, so it goes where a pager can show it.
            typer.echo(asked.format_message())
            sys.exit(REFUSED)
        except UsageError as error:
            typer.echo(usage_line(error), err=True)
            sys.exit(REFUSED)
        except typer.Abort:
            typer.echo("已中止 aborted", err=True)
            sys.exit(REFUSED)
        sys.exit(status if isinstance(status, int) else 0)


def group(explanation: str) -> typer.Typer:
    """A group for `COMMANDS`; its commands are declared with ``cls=Command``."""
    return typer.Typer(
        cls=Group,
        help=explanation,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )


def usage_line(error: UsageError) -> str:
    """What is wrong with a command line, in one line that names the option or argument."""
    match error:
        case NoSuchOption():
            near = ", ".join(sorted(error.possibilities or ()))
            hint = f"（可为 perhaps {near}）" if near else ""
            return f"{printable(error.option_name)}: 没有这一选项 no such option{hint}"
        case BadOptionUsage():
            takes_none = "does not take" in error.message
            why = "不带值 takes no value" if takes_none else "须有值 needs a value"
            return f"{printable(error.option_name)}: {why}"
        case MissingParameter() if error.param is not None:
            return f"{_name(error.param)}: 缺少 is missing"
        case BadParameter() if error.param is not None:
            return f"{_name(error.param)}: {_expected(error)}"
    if error.message.startswith(_EXTRA):
        extra = printable(error.message.partition("(s) ")[2].strip("()"), _LONGEST)
        return f"{extra}: 多余的参数 too many arguments"
    return printable(error.message, 5 * _LONGEST)


def _name(param: Any) -> str:
    """As a person types it: `--limit`, or the word that stands for an argument in the help."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name).strip("[].").upper()
    return str(max(param.opts, key=len))


def _expected(error: BadParameter) -> str:
    """What the option wants, without what it was given."""
    wanted = error.param.type_descriptor if error.param is not None else None
    types = (wanted.annotation, *get_args(wanted.annotation)) if wanted is not None else ()
    if wanted is None or not {int, float} & set(types):
        return f"取值不合要求 not acceptable: {printable(error.message, _LONGEST)}"
    zh, en = ("整数", "a whole number") if int in types else ("数", "a number")
    least, most = wanted.parameter_info.min, wanted.parameter_info.max
    if least is None or most is None:
        return f"须为{zh} must be {en}"
    return f"须为 {least} 至 {most} 的{zh} must be {en} from {least} to {most}"
