"""Where `bangfu` starts: the list of commands, each imported only when it is asked for.

A line of `COMMANDS` names a function (it becomes the command) or a `typer.Typer` (a group of
commands). Nothing else is wired here.
"""

import importlib
from typing import TYPE_CHECKING, Final

import typer
from typer.main import get_command

from cli.command_line import Command, Group

if TYPE_CHECKING:
    from typer._click import Command as AnyCommand
    from typer._click import Context

COMMANDS: Final = {
    "decide": "cli.decide:decide",
    "erasures": "cli.erasures:erasures",
    "heads": "cli.heads:heads",
    "import": "cli.import_forms:import_forms",
    "prepare": "cli.prepare:prepare",
    "quarantine": "cli.quarantine:app",
    "rebuild": "cli.rebuild:rebuild",
    "recover": "cli.recover:recover",
    "replay": "cli.replay:replay",
    "republish": "cli.republish:republish",
    "status": "cli.status:status",
    "verify": "cli.verify:verify",
    "waiting": "cli.waiting:waiting",
}


class LazyCommands(Group):
    """A group whose commands are imported on first use, so that one starts without the others."""

    def list_commands(self, ctx: "Context") -> list[str]:  # noqa: ARG002 - typer passes it
        return list(COMMANDS)

    def get_command(
        self,
        ctx: "Context",  # noqa: ARG002 - typer passes it
        cmd_name: str,
    ) -> "AnyCommand | None":
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            command = get_command(found)
            command.name = cmd_name
            return command
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, cls=Command)(found)
        return get_command(single)


# Plain text instead of boxes: an error is a line that can be searched for, and nothing loads rich.
app = typer.Typer(
    name="bangfu",
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def bangfu() -> None:
    """困难职工帮扶：裁定、核验与运维 decide, verify and operate hardship assistance."""


if __name__ == "__main__":
    app(prog_name="bangfu")
