"""`pynet events`: what happened, a line an event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from netplug.cli.session import Session, example, talks_to_daemon

if TYPE_CHECKING:
    from netplug.api.admin_types import Event

# The longest kinds, such as "endpoint.create", fit; a stream cannot be measured beforehand.
_KIND_WIDTH = 16


@click.command(epilog=example("pynet events", "pynet events --follow --output json"))
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@talks_to_daemon
def events(session: Session, follow: bool) -> None:
    """Show what happened on this host, oldest first.

    As JSON, it is one object a line.
    """
    for event in session.client().events(follow=follow):
        click.echo(json.dumps(event, ensure_ascii=False) if session.wants_json else _line(event))


def _line(event: Event) -> str:
    return f"{event['at']}   {event['kind']:<{_KIND_WIDTH}}   {event['message']}"
