"""`pynet network`: networks, those that Docker made included."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.addresses import cidr, ip, named_ip
from netplug.cli.completion import networks_of
from netplug.cli.endpoint import print_endpoints
from netplug.cli.plan import print_steps
from netplug.cli.session import Session, example, options, talks_to_daemon

if TYPE_CHECKING:
    from netplug.api.admin_types import NetworkCreate, NetworkDetail, Networks, SubnetRequest
    from netplug.model import IPAddress, IPNetwork


@click.group()
@options
def network() -> None:
    """Create, list, inspect, peer and remove networks."""


@network.command(
    epilog=example(
        "pynet network create web --subnet 10.9.0.0/24 --gateway 10.9.0.1",
        "pynet network create lab --internal -o mtu=1450 --dry-run",
        "pynet network create lan --driver host --subnet 192.168.1.64/27",
    )
)
@click.argument("name")
@click.option("--driver", default="bridge", show_default=True, help="What builds the network.")
@click.option(
    "--subnet",
    "pools",
    type=cidr,
    multiple=True,
    metavar="CIDR",
    help="Range of addresses; repeat it for IPv6. Without it, pynet chooses one.",
)
@click.option(
    "--ip-range",
    "ranges",
    type=cidr,
    multiple=True,
    metavar="CIDR",
    help="Part of a --subnet from which addresses are chosen.",
)
@click.option(
    "--gateway",
    "gateways",
    type=ip,
    multiple=True,
    metavar="IP",
    help="Address of the host, or of a router, in a --subnet; by default the first one if needed.",
)
@click.option(
    "--aux-address",
    "aux",
    type=named_ip,
    multiple=True,
    metavar="NAME=IP",
    help="Address in a --subnet that no endpoint gets: somebody else has it.",
)
@click.option("--ipv4/--no-ipv4", default=True, help="Give endpoints IPv4 addresses (the default).")
@click.option(
    "--ipv6", is_flag=True, help="Give endpoints IPv6 addresses too (implied by an IPv6 --subnet)."
)
@click.option("--internal", is_flag=True, help="Keep the network away from the outside.")
@click.option(
    "-o", "--opt", "opts", multiple=True, metavar="KEY=VALUE", help="Option of the driver."
)
@click.option(
    "--ipam-opt",
    "ipam_opts",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the pools: sticky=off gives addresses in turn, whoever had them.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@talks_to_daemon
def create(
    session: Session,
    name: str,
    driver: str,
    pools: tuple[IPNetwork, ...],
    ranges: tuple[IPNetwork, ...],
    gateways: tuple[IPAddress, ...],
    aux: tuple[tuple[str, IPAddress], ...],
    ipv4: bool,
    ipv6: bool,
    internal: bool,
    opts: tuple[str, ...],
    ipam_opts: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Create the network NAME without Docker, and print its name.

    For a network of containers, use 'docker network create -d pynet'.
    """
    request: NetworkCreate = {
        "name": name,
        "driver": driver,
        "subnets": _subnets(pools, ranges, gateways, aux),
        "ipv4": ipv4,
        "ipv6": ipv6 or any(pool.version == 6 for pool in pools),
        "internal": internal,
        "options": dict(_option(opt) for opt in opts),
        "ipam_options": dict(_option(opt) for opt in ipam_opts),
    }
    if dry_run:
        with session.daemon(f"planning network {name}") as daemon:
            steps = daemon.plan_network(request)
        session.show(steps, print_steps)
        return
    with session.daemon(f"creating network {name}") as daemon:
        reply = daemon.create_network(request)
    session.show_name(reply, reply["name"])


@network.command(epilog=example("pynet network ls", "pynet network ls --output json"))
@talks_to_daemon
def ls(session: Session) -> None:
    """List the networks of this host."""
    with session.daemon("listing networks") as daemon:
        reply = daemon.networks()
    session.show(reply, _print_networks)


@network.command(epilog=example("pynet network inspect web"))
@click.argument("network", shell_complete=networks_of)
@talks_to_daemon
def inspect(session: Session, network: str) -> None:
    """Show NETWORK (a name, an id, or how an id begins), what is on it, and its kernel objects."""
    with session.daemon(f"inspecting network {network}") as daemon:
        reply = daemon.network(network)
    session.show(reply, _print_network)


@network.command(epilog=example("pynet network rm web lab"))
@click.argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@talks_to_daemon
def rm(session: Session, networks: tuple[str, ...]) -> None:
    """Remove each NETWORK, and print its name.

    A network that has endpoints is refused, and so is one that Docker made: 'docker network rm'
    removes that.
    """
    for ref in networks:
        with session.daemon(f"removing network {ref}") as daemon:
            reply = daemon.remove_network(ref)
        session.show_name(reply, ref)


@network.command(epilog=example("pynet network peer web db"))
@click.argument("network", shell_complete=networks_of)
@click.argument("other", shell_complete=networks_of)
@talks_to_daemon
def peer(session: Session, network: str, other: str) -> None:
    """Let NETWORK and OTHER reach each other, and print both names.

    Networks are apart unless they are peers. The peers of a peer are none.
    """
    with session.daemon(f"making {network} and {other} peers") as daemon:
        reply = daemon.peer(network, other)
    session.show_name(reply, f"{network} {other}")


@network.command(epilog=example("pynet network unpeer web db"))
@click.argument("network", shell_complete=networks_of)
@click.argument("other", shell_complete=networks_of)
@talks_to_daemon
def unpeer(session: Session, network: str, other: str) -> None:
    """Keep NETWORK and OTHER apart again, and print both names."""
    with session.daemon(f"keeping {network} and {other} apart") as daemon:
        reply = daemon.unpeer(network, other)
    session.show_name(reply, f"{network} {other}")


def _subnets(
    pools: Sequence[IPNetwork],
    ranges: Sequence[IPNetwork],
    gateways: Sequence[IPAddress],
    aux: Sequence[tuple[str, IPAddress]],
) -> list[SubnetRequest]:
    """Put each range, gateway and auxiliary address into the subnet that it lies in."""
    spared = [address for _, address in aux]
    wanted = (("--ip-range", ranges), ("--gateway", gateways), ("--aux-address", spared))
    for option, given in wanted:
        for value in given:
            if not any(_lies_in(value, pool) for pool in pools):
                raise click.UsageError(f"{option} {value} lies in no --subnet.")
    return [
        {
            "pool": str(pool),
            "range": _only("--ip-range", ranges, pool),
            "gateway": _only("--gateway", gateways, pool),
            "aux": {name: str(address) for name, address in aux if address in pool},
        }
        for pool in pools
    ]


def _only(
    option: str, given: Sequence[IPNetwork] | Sequence[IPAddress], pool: IPNetwork
) -> str | None:
    inside = [str(value) for value in given if _lies_in(value, pool)]
    if len(inside) > 1:
        raise click.UsageError(f"{' and '.join(inside)}: one {option} a --subnet, {pool} has both.")
    return inside[0] if inside else None


def _lies_in(value: IPNetwork | IPAddress, pool: IPNetwork) -> bool:
    if isinstance(value, IPv4Network | IPv6Network):
        return value.network_address in pool and value.broadcast_address in pool
    return value in pool


def _option(text: str) -> tuple[str, str]:
    """Split KEY=VALUE; a KEY alone has the value "", as Docker sends it."""
    key, _, value = text.partition("=")
    return key, value


def _print_networks(reply: Networks) -> None:
    show.table(
        ("NETWORK ID", "NAME", "DRIVER", "PARENT", "SUBNETS", "ENDPOINTS", "MADE BY", "STATE"),
        (
            (
                show.short(network["id"]),
                network["name"],
                network["driver"],
                network["parent"],
                ", ".join(subnet["pool"] for subnet in network["subnets"]),
                str(network["endpoint_count"]),
                network["origin"],
                network["state"],
            )
            for network in reply["networks"]
        ),
    )


def _print_network(network: NetworkDetail) -> None:
    has_family = {"IPv4": network["ipv4"], "IPv6": network["ipv6"]}
    show.card(
        ("id", network["id"]),
        ("name", network["name"]),
        ("driver", network["driver"]),
        ("made by", network["origin"]),
        ("state", network["state"]),
        ("families", ", ".join(family for family, has_it in has_family.items() if has_it)),
        ("internal", "yes" if network["internal"] else "no"),
        ("options", show.pairs(network["options"])),
        ("link", network["link"]),
        ("parent", network["parent"]),
        ("peers", ", ".join(network["peers"])),
        ("created", network["created_at"]),
    )
    if network["subnets"]:
        click.echo()
        show.table(
            ("SUBNET", "GATEWAY", "RESERVED"),
            (
                (subnet["pool"], subnet["gateway"] or "", show.pairs(subnet["aux"]))
                for subnet in network["subnets"]
            ),
        )
    if network["endpoints"]:
        click.echo()
        print_endpoints(network["endpoints"])
    show.section("KERNEL OBJECTS", network["objects"])
