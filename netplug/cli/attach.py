"""`pynet attach` and `pynet detach`: namespaces on networks, without Docker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from netplug.cli.addresses import ip, mac
from netplug.cli.completion import endpoints_of, networks_of
from netplug.cli.session import Session, example, talks_to_daemon
from netplug.cli.show import short

if TYPE_CHECKING:
    from netplug.api.admin_types import Attach
    from netplug.model import IPAddress

# Where `ip netns add` puts them (iproute2: ip-netns(8)).
_NAMED_NAMESPACES = "/run/netns"


@click.command(
    epilog=example(
        "ip netns add a",
        "pynet attach web --netns a --ip 10.9.0.5 --name a --alias www",
        "pynet attach web --pid 4711 --interface eth1",
    )
)
@click.argument("network", shell_complete=networks_of)
@click.option("--netns", metavar="NAME", help="Namespace of 'ip netns', or the path of one.")
@click.option("--pid", type=click.IntRange(min=1), metavar="N", help="A process in the namespace.")
@click.option(
    "--ip",
    "addresses",
    type=ip,
    multiple=True,
    metavar="IP",
    help="Address to have, one a family; by default pynet chooses.",
)
@click.option("--name", metavar="NAME", help="What the endpoint is called.")
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME",
    help="A further name that it is asked for by; '*.NAME' is all below it.",
)
@click.option("--interface", metavar="IFNAME", help="What the link is called in the namespace.")
@click.option("--mac", type=mac, metavar="MAC", help="MAC address to have.")
@talks_to_daemon
def attach(
    session: Session,
    network: str,
    netns: str | None,
    pid: int | None,
    addresses: tuple[IPAddress, ...],
    name: str | None,
    aliases: tuple[str, ...],
    interface: str | None,
    mac: str | None,
) -> None:
    """Attach a network namespace to NETWORK.

    The namespace is given by --netns or by --pid; Docker attaches its containers itself. Prints the
    name of the new endpoint, which 'pynet detach' takes.
    """
    if (netns is None) == (pid is None):
        raise click.UsageError("Give either --netns or --pid.")
    request: Attach = {"network": network}
    if netns is not None:
        request["netns"] = _path(netns)
    if pid is not None:
        request["pid"] = pid
    if addresses:
        request["addresses"] = [str(address) for address in addresses]
    if name is not None:
        request["name"] = name
    if aliases:
        request["aliases"] = aliases
    if interface is not None:
        request["interface"] = interface
    if mac is not None:
        request["mac"] = mac
    with session.daemon(f"attaching to network {network}") as daemon:
        reply = daemon.attach(request)
    session.show_name(reply, reply["name"] or short(reply["id"]))


@click.command(epilog=example("pynet detach a"))
@click.argument("endpoint", shell_complete=endpoints_of)
@talks_to_daemon
def detach(session: Session, endpoint: str) -> None:
    """Remove ENDPOINT from its network, and print its name.

    An endpoint of a container is refused: 'docker network disconnect' removes that.
    """
    with session.daemon(f"detaching {endpoint}") as daemon:
        reply = daemon.detach(endpoint)
    session.show_name(reply, endpoint)


def _path(netns: str) -> str:
    """Return the path of a namespace; the daemon's working directory is not ours."""
    return str(Path(netns).absolute()) if "/" in netns else f"{_NAMED_NAMESPACES}/{netns}"
