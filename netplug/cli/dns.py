"""`pynet dns`: which names there are, what they mean, who asks for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.completion import endpoints_of, networks_of
from netplug.cli.dns_host import install, uninstall
from netplug.cli.session import Session, example, options, talks_to_daemon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netplug.api.admin_types import DnsClient, Lookup, Name, NameAdd, Query

_KINDS = click.Choice(["A", "AAAA", "CNAME", "TXT", "SRV"], case_sensitive=False)
# A stream cannot be measured beforehand; longer ones move what follows.
_LABEL_WIDTH, _QUESTION_WIDTH = 12, 32

_on_network = click.option(
    "--network", metavar="NETWORK", required=True, shell_complete=networks_of, help="Which network."
)


@click.group(invoke_without_command=True)
@options
@click.pass_context
def dns(ctx: click.Context) -> None:
    """Show names and who asks for them, and make some by hand.

    Without a command, it lists them.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, network=None, counters=False)


@dns.command(epilog=example("pynet dns ls --network web", "pynet dns ls --counters"))
@click.option("--network", metavar="NETWORK", shell_complete=networks_of, help="Of this one only.")
@click.option("--counters", is_flag=True, help="List those who ask, and what became of it.")
@talks_to_daemon
def ls(session: Session, network: str | None, counters: bool) -> None:
    """List the names of all networks.

    Each is also known as NAME.NETWORK and NAME.NETWORK.pynet. ORIGIN says why it is there.
    """
    if counters:
        with session.daemon("counting questions") as daemon:
            clients = daemon.dns_clients()
        session.show(clients, lambda reply: _print_clients(reply["clients"]))
        return
    with session.daemon("listing names") as daemon:
        reply = daemon.names(network)
    session.show(reply, lambda reply: _print_names(reply["names"]))


@dns.command(
    epilog=example(
        "pynet dns add db 10.9.0.7 10.9.0.8 --network web",
        "pynet dns add www db --network web --type CNAME",
        "pynet dns add _pg._tcp.db '0 0 5432 db' --network web --type SRV",
    )
)
@click.argument("name")
@click.argument("values", metavar="VALUE...", nargs=-1, required=True)
@_on_network
@click.option("--type", "kind", type=_KINDS, help="What the values are; addresses say it.")
@talks_to_daemon
def add(
    session: Session, name: str, values: tuple[str, ...], network: str, kind: str | None
) -> None:
    """Let NAME mean each VALUE too, on one network, and print the name.

    '*.NAME' is every name below NAME. The name of a container is refused.
    """
    request: NameAdd = {"network": network, "name": name, "values": values}
    if kind is not None:
        request["type"] = kind
    with session.daemon(f"adding {name}") as daemon:
        reply = daemon.add_name(request)
    session.show_name(reply, f"{reply['name']}.{reply['network']}")


@dns.command(epilog=example("pynet dns rm db --network web", "pynet dns rm db --type AAAA ..."))
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_on_network
@click.option("--type", "kind", type=_KINDS, help="Only what is of this type.")
@talks_to_daemon
def rm(session: Session, names: tuple[str, ...], network: str, kind: str | None) -> None:
    """Take back what was added of each NAME, and print it."""
    for name in names:
        with session.daemon(f"removing {name}") as daemon:
            reply = daemon.remove_name(network, name, kind)
        session.show_name(reply, name)


@dns.command(
    epilog=example(
        "pynet dns lookup db --network web",
        "pynet dns lookup 10.9.0.7 --container a",
        "pynet dns lookup a.web.pynet --type AAAA",
    )
)
@click.argument("name")
@click.option(
    "--network", metavar="NETWORK", shell_complete=networks_of, help="As on this network."
)
@click.option(
    "--container",
    metavar="NAME",
    shell_complete=endpoints_of,
    help="As this container.",
)
@click.option("--type", "kind", metavar="TYPE", help="A, AAAA, SRV, ... (A; PTR for an address).")
@talks_to_daemon
def lookup(
    session: Session, name: str, network: str | None, container: str | None, kind: str | None
) -> None:
    """Answer a question for NAME, or an address, and say where the answer is from.

    By default it is answered as the host is. What pynet would pass on is not asked.
    """
    name, guessed = _question(name)
    with session.daemon(f"looking up {name}") as daemon:
        reply = daemon.lookup(name, kind or guessed, network, container)
    session.show(reply, _print_lookup)


@dns.command(epilog=example("pynet dns log --container a", "pynet dns log -f --output json"))
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@click.option(
    "--container", metavar="NAME", shell_complete=endpoints_of, help="Of this container only."
)
@talks_to_daemon
def log(session: Session, follow: bool, container: str | None) -> None:
    """Show the latest questions and their answers, oldest first.

    As JSON, it is one object a line.
    """
    for query in session.client().queries(container=container, follow=follow):
        click.echo(json.dumps(query, ensure_ascii=False) if session.wants_json else _line(query))


dns.add_command(install)
dns.add_command(uninstall)


def _question(name: str) -> tuple[str, str]:
    """Return what is asked for a name, and which type; an address is asked for its name."""
    from ipaddress import ip_address

    try:
        return ip_address(name).reverse_pointer, "PTR"
    except ValueError:
        return name, "A"


def _print_names(names: Sequence[Name]) -> None:
    show.table(
        ("NAME", "NETWORK", "TYPE", "VALUES", "ORIGIN", "OF"),
        (
            (
                name["name"],
                name["network"],
                name["type"],
                ", ".join(name["values"]),
                name["origin"],
                name["owner"],
            )
            for name in names
        ),
    )


def _print_clients(clients: Sequence[DnsClient]) -> None:
    numbers = ("queries", "hits", "misses", "forwarded", "failed", "refused", "dropped")
    show.table(
        ("CLIENT", "KIND", "NETWORKS", *(number.upper() for number in numbers)),
        (
            (
                client["label"],
                client["kind"],
                ", ".join(client["networks"]),
                *(str(client[number]) for number in numbers),  # type: ignore[literal-required]
            )
            for client in clients
        ),
    )


def _print_lookup(found: Lookup) -> None:
    show.card(
        ("question", f"{found['name']} {found['type']}"),
        ("answer", found["rcode"]),
        ("from", found["source"]),
        ("network", found["network"]),
        ("of", ", ".join(found["owners"])),
        ("because", found["reason"]),
    )
    show.section("RECORDS", found["records"])


def _line(query: Query) -> str:
    answer = ", ".join(query["records"]) or query["rcode"] or "no answer"
    return (
        f"{query['at']}   {query['label']:<{_LABEL_WIDTH}}   "
        f"{query['name'] + ' ' + query['type']:<{_QUESTION_WIDTH}}   "
        f"{answer}   ({query['source']}, {query['took_ms']:g} ms)"
    )
