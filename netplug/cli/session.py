"""What every command needs: the two options taken anywhere on the line, and a daemon to ask."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from netplug.api.client import AdminClient

P = ParamSpec("P")
R = TypeVar("R")
Reply = TypeVar("Reply")

# So that a counted wait is a second.
_SHOWS_PROGRESS_EVERY_S = 1.0
_CLEAR_LINE = "\r\x1b[K"


@dataclass
class Session:
    """One run of the command; the options fill it in, wherever on the line they stand."""

    admin_socket: str | None = None
    output: str = "table"

    @property
    def wants_json(self) -> bool:
        """Whether the daemon's JSON is shown as it came."""
        return self.output == "json"

    def client(self) -> AdminClient:
        """Return a client of the daemon that the options or the environment name."""
        from netplug.api.client import AdminClient
        from netplug.settings import Settings

        path = self.admin_socket or os.environ.get("PYNET_ADMIN_SOCKET")
        return AdminClient(path or str(Settings().admin_socket))

    @contextmanager
    def daemon(self, doing: str) -> Iterator[AdminClient]:
        """Yield a client; on a terminal, say what is being done once it takes longer than 1 s."""
        client = self.client()
        if not sys.stderr.isatty():
            yield client
            return
        done = threading.Event()
        progress = threading.Thread(target=_show_progress, args=(doing, done), daemon=True)
        progress.start()
        try:
            yield client
        finally:
            done.set()
            progress.join()

    def show(self, reply: Reply, in_words: Callable[[Reply], None]) -> None:
        """Print a reply: as the JSON it came as, or `in_words`."""
        if self.wants_json:
            click.echo(json.dumps(reply, indent=2, ensure_ascii=False))
        else:
            in_words(reply)

    def show_name(self, reply: object, name: str) -> None:
        """Print the `name` of what a call has done something to, as Docker prints ids."""
        self.show(reply, lambda _: click.echo(name))


def options(function: Callable[P, R]) -> Callable[P, R]:
    """Give a command or group `--admin-socket` and `--output`; the last one on the line counts."""
    return _ADMIN_SOCKET(_OUTPUT(function))


def talks_to_daemon(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give a command the options, and its function the session they make."""
    return options(click.make_pass_decorator(Session, ensure=True)(function))


def example(*lines: str) -> str:
    """Return an epilog that shows `lines` as they are."""
    return "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in lines)])


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        setattr(ctx.ensure_object(Session), str(param.name), value)


_ADMIN_SOCKET = click.option(
    "--admin-socket",
    metavar="PATH",
    expose_value=False,
    callback=_remember,
    help="Where the daemon listens (PYNET_ADMIN_SOCKET; /run/pynet/pynet.sock).",
)
_OUTPUT = click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    expose_value=False,
    callback=_remember,
    help="Tables for people, or the daemon's JSON for programs.",
)


def _show_progress(doing: str, done: threading.Event) -> None:
    seconds = 0
    while not done.wait(_SHOWS_PROGRESS_EVERY_S):
        seconds += 1
        click.echo(f"\r{doing} ... {seconds} s", nl=False, err=True)
    if seconds:
        click.echo(_CLEAR_LINE, nl=False, err=True)
