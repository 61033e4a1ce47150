"""`pynet ports`: which ports of containers and namespaces the host publishes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.completion import endpoints_of, networks_of
from netplug.cli.session import Session, example, options, talks_to_daemon

if TYPE_CHECKING:
    from netplug.api.admin_types import Port, Publish

# A mapping has a row for each address of the host; what is not in here is equal in all of them.
_OF_AN_ADDRESS = frozenset({"host_ip", "container_ip"})

_on_network = click.option(
    "--network",
    metavar="NETWORK",
    shell_complete=networks_of,
    help="Which network, if CONTAINER is on several.",
)


@click.group(invoke_without_command=True)
@options
@click.pass_context
def ports(ctx: click.Context) -> None:
    """List published ports, and publish more while containers run.

    Without a command, it lists them.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, rules=False)


@ports.command(epilog=example("pynet ports ls", "pynet ports ls --rules"))
@click.option("--rules", is_flag=True, help="Show what is in the kernel for each of them, too.")
@talks_to_daemon
def ls(session: Session, rules: bool) -> None:
    """List the ports that are published on this host.

    PACKETS and BYTES are those that opened connections.
    """
    with session.daemon("listing ports") as daemon:
        reply = daemon.ports()
    session.show(reply, lambda reply: _print_ports(reply["ports"], with_rules=rules))


@ports.command(
    epilog=example(
        "pynet ports add web 8080:80",
        "pynet ports add web 127.0.0.1::80 8000-8009:9000-9009/udp",
    )
)
@click.argument("container", shell_complete=endpoints_of)
@click.argument("ports", metavar="PORT...", nargs=-1, required=True)
@_on_network
@talks_to_daemon
def add(session: Session, container: str, ports: tuple[str, ...], network: str | None) -> None:
    """Publish each PORT of CONTAINER, and print where.

    A PORT is written as for 'docker run -p'. CONTAINER may also be an endpoint: a name, an id, or
    how an id begins.
    """
    request: Publish = {"container": container, "ports": ports}
    if network is not None:
        request["network"] = network
    with session.daemon(f"publishing ports of {container}") as daemon:
        reply = daemon.publish(request)
    session.show(reply, lambda reply: _print_mappings(reply["ports"]))


@ports.command(
    epilog=example("pynet ports rm web 8080", "pynet ports rm web 127.0.0.1:53/udp 8000-8009")
)
@click.argument("container", shell_complete=endpoints_of)
@click.argument(
    "host_ports", metavar="[IP:]HOST_PORT[-HOST_PORT][/PROTO]...", nargs=-1, required=True
)
@_on_network
@talks_to_daemon
def rm(session: Session, container: str, host_ports: tuple[str, ...], network: str | None) -> None:
    """Take back each HOST_PORT of CONTAINER, or range of them, and print it.

    With IP on that address alone. What else of a published range there is stays.
    """
    for port in host_ports:
        with session.daemon(f"taking back port {port} of {container}") as daemon:
            reply = daemon.unpublish(container, port, network)
        session.show_name(reply, port)


def _print_ports(rows: Sequence[Port], *, with_rules: bool) -> None:
    mappings = list(_mappings(rows))
    show.table(
        ("CONTAINER", "NETWORK", "PUBLISHED", "PACKETS", "BYTES"),
        (
            (
                mapping[0]["container"],
                mapping[0]["network"],
                _published(mapping),
                str(mapping[0]["packets"]),
                str(mapping[0]["bytes"]),
            )
            for mapping in mappings
        ),
    )
    if with_rules:
        show.section("RULES", [rule for mapping in mappings for rule in mapping[0]["rules"]])


def _print_mappings(rows: Sequence[Port]) -> None:
    for mapping in _mappings(rows):
        click.echo(_published(mapping))


def _mappings(rows: Sequence[Port]) -> Iterator[list[Port]]:
    """Yield the rows of each mapping; they follow each other."""
    for _, of_mapping in groupby(rows, _without_addresses):
        yield list(of_mapping)


def _without_addresses(row: Port) -> dict[str, object]:
    return {key: value for key, value in row.items() if key not in _OF_AN_ADDRESS}


def _published(mapping: Sequence[Port]) -> str:
    """Return it as `docker ps` does: "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp".

    A port that is routed to is one of the container alone: "80/tcp".
    """
    return ", ".join(dict.fromkeys(_published_at(row) for row in mapping))


def _published_at(row: Port) -> str:
    inside = f"{_run(row['container_port'], row['container_port_end'])}/{row['protocol']}"
    if not row["host_ip"]:
        return inside
    return f"{_in_url(row['host_ip'])}:{_run(row['host_port'], row['host_port_end'])}->{inside}"


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _run(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else str(first)
