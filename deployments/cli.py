"""The command line `quintet`. Each command is a module of `deployments.commands`, imported only when it is called.

So `quintet --help` needs neither Prefect nor pydicom. To add a command, write a module with a Typer `app` (one
`@app.command()` makes a command, several make a group) and name it in `COMMANDS`.
"""

import importlib
import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

#: Name -> (module of `deployments.commands`, help in one line), in the order of `quintet --help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "Run everything here: Prefect server, apply, workers and the DICOM listener."),
    "demo": ("demo", "Run the main job of a domain on sandbox peers and real input, and count what came out."),
    "apply": ("apply", "Make limits, pools, queues, blocks, automations and deployments what the files say."),
    "check": ("check", "Show what `apply` would change; exit code 1 if anything."),
    "status": ("status", "What runs now; or state, step, percent and counts of one run."),
    "doctor": ("doctor", "Look for what is wrong on this machine, and say what to do about it."),
    "dicom": ("dicom", "The DICOM gateway: explain rules, submit files, look after deliveries."),
    "league": ("league", "League of Legends: sync players, look at cards, failures and rate limits."),
    "traders": ("traders", "Traders: the leaderboard, single traders, changes of positions, the stream."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when called, and listed from `COMMANDS` until then."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with the help line: enough for `--help` and for completion."""
        if cmd_name not in COMMANDS:
            return None
        text = COMMANDS[cmd_name][1]
        return TyperCommand(cmd_name, help=text, short_help=text, rich_help_panel="Commands")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, imported now."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            module = importlib.import_module(f"deployments.commands.{COMMANDS[name][0]}")
            command = typer.main.get_command(module.app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Five production systems as one Prefect 3 project. [bold]quintet up[/] starts all of it here.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quintet {version('quintet')}, prefect {version('prefect')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="QUINTET_DEBUG", help="Show the traceback of every error.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    if debug:
        # Read by `main`, which has no context to ask; and the processes a command starts inherit it.
        os.environ["QUINTET_DEBUG"] = "1"


def main() -> None:
    """Run the command line; an error that is expected is told in one message, without a traceback."""
    from deployments.errors import expected

    try:
        app()
    except Exception as error:
        told = expected(error)
        if told is None or os.environ.get("QUINTET_DEBUG") in ("1", "true"):
            raise
        _print_error(told[0])
        sys.exit(told[1])


def _print_error(message: str) -> None:
    from rich.console import Console

    # No markup and no wrapping: a message may hold brackets, and a path must stay in one piece.
    console = Console(stderr=True)
    console.print("error: ", style="bold red", end="")
    console.print(message, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
