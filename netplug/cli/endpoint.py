"""`pynet endpoint`: the containers' and namespaces' places on networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.completion import endpoints_of
from netplug.cli.session import Session, example, options, talks_to_daemon

if TYPE_CHECKING:
    from netplug.api.admin_types import Endpoint, EndpointDetail


@click.group()
@options
def endpoint() -> None:
    """List and inspect endpoints: who is on which network."""


@endpoint.command(epilog=example("pynet endpoint ls"))
@talks_to_daemon
def ls(session: Session) -> None:
    """List the endpoints of this host."""
    with session.daemon("listing endpoints") as daemon:
        reply = daemon.endpoints()
    session.show(reply, lambda reply: print_endpoints(reply["endpoints"]))


@endpoint.command(epilog=example("pynet endpoint inspect a"))
@click.argument("endpoint", shell_complete=endpoints_of)
@talks_to_daemon
def inspect(session: Session, endpoint: str) -> None:
    """Show ENDPOINT (a name, an id, or how an id begins) and its kernel objects."""
    with session.daemon(f"inspecting endpoint {endpoint}") as daemon:
        reply = daemon.endpoint(endpoint)
    session.show(reply, _print_endpoint)


def print_endpoints(endpoints: Iterable[Endpoint]) -> None:
    """Print a table of endpoints."""
    show.table(
        ("ENDPOINT ID", "NAME", "NETWORK", "ADDRESSES", "MAC", "LINK", "MADE BY", "JOINED"),
        (
            (
                show.short(endpoint["id"]),
                endpoint["name"],
                endpoint["network"],
                ", ".join(endpoint["addresses"]),
                endpoint["mac"],
                endpoint["link"],
                endpoint["origin"],
                "yes" if endpoint["joined"] else "no",
            )
            for endpoint in endpoints
        ),
    )


def _print_endpoint(endpoint: EndpointDetail) -> None:
    show.card(
        ("id", endpoint["id"]),
        ("name", endpoint["name"]),
        ("names", ", ".join(endpoint["names"])),
        ("network", f"{endpoint['network']} ({endpoint['network_id']})"),
        ("made by", endpoint["origin"]),
        ("addresses", ", ".join(endpoint["addresses"])),
        ("mac", endpoint["mac"]),
        ("link", endpoint["link"]),
        ("sandbox", endpoint["sandbox"]),
        ("joined", "yes" if endpoint["joined"] else "no"),
        ("options", show.pairs(endpoint["options"])),
        ("created", endpoint["created_at"]),
    )
    show.section("KERNEL OBJECTS", endpoint["objects"])
