"""The `pynet` command: one file a noun, each of which talks to the daemon's admin socket only.

A command asks `AdminClient`, then shows the reply as a table or as the JSON it came as. Commands
are imported when they are needed, and what is slow to import only when it is used.

Not here: what a command does to networks and the kernel; that is the daemon's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from netplug import __version__
from netplug.cli.session import options
from netplug.errors import PynetError

# Command -> its module, in the order of the help.
_COMMANDS = {
    "daemon": "daemon",
    "status": "status",
    "network": "network",
    "endpoint": "endpoint",
    "attach": "attach",
    "detach": "attach",
    "ports": "ports",
    "dns": "dns",
    "ipam": "ipam",
    "plan": "plan",
    "verify": "plan",
    "heal": "plan",
    "events": "events",
    "completion": "completion",
}
_INTERRUPTED = 130


class _Pynet(click.Group):
    """Loads a command when it is asked for, and turns our errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"{__name__}.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except PynetError as error:
            for sentence in _sentences(error):
                click.echo(f"pynet: {sentence}", err=True)
            raise click.exceptions.Exit(error.exit_code) from error


@click.group(cls=_Pynet, context_settings={"help_option_names": ["-h", "--help"]})
@options
@click.version_option(__version__, message="pynet %(version)s")
def main() -> None:
    """The network for plain Docker hosts.

    One daemon per host serves Docker ('docker network create -d pynet web'); these commands show
    what it did, and do the same without Docker.
    """


def _sentences(error: PynetError) -> tuple[str, ...]:
    """Return the problems of `error` if it has several, else its message."""
    problems: tuple[str, ...] = getattr(error, "problems", ())
    return problems if len(problems) > 1 else (str(error),)
