"""`pynet ipam`: which addresses there are, and who has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.completion import leases_of, pools_or_networks_of
from netplug.cli.session import Session, example, options, talks_to_daemon
from netplug.errors import Drift, EngineUnreachable

if TYPE_CHECKING:
    from netplug.api.admin_types import Audit, Lease, Leases, PoolDetail, Pools, Repairs

# From here on, as IPv6 has them, a size is easier to read as a power of two.
_LARGE_POOL_SIZE = 2**32


@click.group()
@options
def ipam() -> None:
    """Show who has which address; reserve some, audit them all."""


@ipam.command(epilog=example("pynet ipam pools"))
@talks_to_daemon
def pools(session: Session) -> None:
    """List the pools that addresses are leased from."""
    with session.daemon("listing pools") as daemon:
        reply = daemon.pools()
    session.show(reply, _print_pools)


@ipam.command(epilog=example("pynet ipam leases", "pynet ipam leases web"))
@click.argument(
    "pool", metavar="[POOL|NETWORK]", required=False, shell_complete=pools_or_networks_of
)
@talks_to_daemon
def leases(session: Session, pool: str | None) -> None:
    """List the leased addresses, of one pool or network or of all."""
    with session.daemon("listing leases") as daemon:
        reply = daemon.leases(pool)
    session.show(reply, lambda reply: _print_leases(reply["leases"], with_pools=True))


@ipam.command(
    "show", epilog=example("pynet ipam show web", "pynet ipam show pynet-local/10.9.0.0/24")
)
@click.argument("pool", metavar="POOL|NETWORK", shell_complete=pools_or_networks_of)
@talks_to_daemon
def show_pool(session: Session, pool: str) -> None:
    """Show POOL, by its id or network, or that of NETWORK, and its leases."""
    with session.daemon(f"inspecting pool {pool}") as daemon:
        reply = daemon.pool(pool)
    session.show(reply, _print_pool)


@ipam.command(
    epilog=example(
        "pynet ipam reserve web 10.9.0.5 --note printer",
        "pynet ipam reserve web 10.9.0.10-10.9.0.19 10.9.0.64/28",
    )
)
@click.argument("pool", metavar="POOL|NETWORK", shell_complete=pools_or_networks_of)
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--note", metavar="TEXT", default="", help="What for; it is shown with the leases.")
@talks_to_daemon
def reserve(session: Session, pool: str, addresses: tuple[str, ...], note: str) -> None:
    """Keep each ADDRESS from being given to anybody, and print it.

    An ADDRESS is one, a run A-B, or a network, of which what no endpoint could have is passed
    over. If one is leased, none is reserved.
    """
    with session.daemon(f"reserving addresses of {pool}") as daemon:
        reply = daemon.reserve({"pool": pool, "addresses": addresses, "note": note})
    session.show(reply, _print_addresses)


@ipam.command(epilog=example("pynet ipam unreserve web 10.9.0.5 10.9.0.10-10.9.0.19"))
@click.argument("pool", metavar="POOL|NETWORK", shell_complete=pools_or_networks_of)
@click.argument(
    "addresses",
    metavar="ADDRESS...",
    nargs=-1,
    required=True,
    shell_complete=leases_of("reserved"),
)
@talks_to_daemon
def unreserve(session: Session, pool: str, addresses: tuple[str, ...]) -> None:
    """Give each reserved ADDRESS back, or all that are reserved of a run, and print them.

    If nothing of one is reserved, none is given back.
    """
    with session.daemon(f"giving back addresses of {pool}") as daemon:
        reply = daemon.unreserve(pool, addresses)
    session.show(reply, _print_addresses)


@ipam.command(epilog=example("pynet ipam release pynet-local/10.9.0.0/24 10.9.0.7"))
@click.argument("pool", metavar="POOL|NETWORK", shell_complete=pools_or_networks_of)
@click.argument("address", shell_complete=leases_of("dynamic", "static"))
@talks_to_daemon
def release(session: Session, pool: str, address: str) -> None:
    """Release ADDRESS, which is leased though nobody has it; refused if somebody may have it."""
    with session.daemon(f"releasing {address} of {pool}") as daemon:
        reply = daemon.release(pool, address)
    session.show_name(reply, address)


@ipam.command(epilog=example("pynet ipam audit", "pynet ipam audit --fix"))
@click.option("--fix", is_flag=True, help="Repair what can be repaired, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@talks_to_daemon
def audit(session: Session, fix: bool, yes: bool) -> None:
    """Compare leases with endpoints, Docker's containers and the kernel.

    Exits with 11 if something is found that is not repaired, and with 9 if nothing is, but Docker
    could not be asked. An address that somebody has is never released.
    """
    with session.daemon("comparing leases") as daemon:
        reply = daemon.audit()
    ids = [f["id"] for f in reply["findings"] if f["remedy"] != "none"]
    if not (fix and ids):
        session.show(reply, _print_audit)
    elif _confirmed(session, reply, len(ids), is_sure=yes):
        with session.daemon("repairing") as daemon:
            reply = repairs = daemon.repair(ids)
        session.show(repairs, _print_repairs)
    elif session.wants_json:
        session.show(reply, _print_audit)
    if reply["findings"]:
        raise click.exceptions.Exit(Drift.exit_code)
    if reply["problem"]:
        raise click.exceptions.Exit(EngineUnreachable.exit_code)


def _confirmed(session: Session, found: Audit, count: int, *, is_sure: bool) -> bool:
    """Show what was found and ask; for programs, and where there is nobody, only --yes counts."""
    if not session.wants_json:
        _print_audit(found)
        click.echo()
    return is_sure or click.confirm(f"Repair {show.count(count, 'finding')}?", err=True)


def _print_audit(found: Audit) -> None:
    if found["problem"]:
        click.echo(f"only what came without Docker was judged: {found['problem']}", err=True)
    if not found["findings"]:
        click.echo("nothing found")
        return
    show.table(
        ("FAULT", "WHAT", "NETWORK", "REMEDY", "EVIDENCE"),
        (
            (
                finding["fault"],
                finding["what"],
                ", ".join(finding["networks"]),
                finding["remedy"],
                finding["evidence"],
            )
            for finding in found["findings"]
        ),
    )


def _print_repairs(reply: Repairs) -> None:
    click.echo(f"{show.count(len(reply['repaired']), 'finding')} repaired")
    if reply["findings"]:
        _print_audit(reply)


def _print_addresses(reply: Leases) -> None:
    for lease in reply["leases"]:
        click.echo(lease["address"])


def _print_pools(reply: Pools) -> None:
    """Print a pool a line, and below them what else is where they are."""
    show.table(
        ("POOL", "RANGE", "LEASED", "SIZE", "NETWORKS"),
        (
            (
                pool["id"],
                pool["range"] or "",
                str(pool["leased"]),
                _size(pool["size"]),
                ", ".join(pool["networks"]),
            )
            for pool in reply["pools"]
        ),
    )
    show.section("COLLISIONS", [text for pool in reply["pools"] for text in pool["collisions"]])


def _print_pool(pool: PoolDetail) -> None:
    show.card(
        ("id", pool["id"]),
        ("network", pool["network"]),
        ("range", pool["range"] or ""),
        ("chosen by", "pynet" if pool["auto"] else "user"),
        ("addresses are", "kept by name" if pool["sticky"] else "given in turn"),
        ("leased", f"{pool['leased']} of {_size(pool['size'])}"),
        ("networks", ", ".join(pool["networks"])),
        ("created", pool["created_at"]),
    )
    show.section("COLLISIONS", pool["collisions"])
    if pool["leases"]:
        click.echo()
        _print_leases(pool["leases"], with_pools=False)


def _print_leases(leases: Sequence[Lease], *, with_pools: bool) -> None:
    show.table(
        ("ADDRESS", "KIND", "OWNER", "STICKY", "SINCE", *(["POOL"] if with_pools else [])),
        (
            (
                lease["address"],
                lease["kind"],
                lease["owner"],
                lease["sticky"],
                lease["created_at"],
                *([lease["pool"]] if with_pools else []),
            )
            for lease in leases
        ),
    )


def _size(addresses: int) -> str:
    if addresses < _LARGE_POOL_SIZE:
        return str(addresses)
    return f"about 2^{round(math.log2(addresses))}"
