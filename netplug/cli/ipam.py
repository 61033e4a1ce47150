"""`pynet ipam`: which addresses there are, and who has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.completion import pools_of
from netplug.cli.session import Session, example, options, talks_to_daemon

if TYPE_CHECKING:
    from netplug.api.client import PoolDetail, Pools

# From here on, as IPv6 has them, a size is easier to read as a power of two.
_LARGE_POOL_SIZE = 2**32


@click.group()
@options
def ipam() -> None:
    """List pools of addresses, and inspect who leases them."""


@ipam.command(epilog=example("pynet ipam ls"))
@talks_to_daemon
def ls(session: Session) -> None:
    """List the pools that addresses are leased from."""
    with session.daemon("listing pools") as daemon:
        reply = daemon.pools()
    session.show(reply, _print_pools)


@ipam.command(epilog=example("pynet ipam inspect pynet-local/10.9.0.0/24"))
@click.argument("pool", shell_complete=pools_of)
@talks_to_daemon
def inspect(session: Session, pool: str) -> None:
    """Show POOL, by the id that 'pynet ipam ls' prints, and its leases."""
    with session.daemon(f"inspecting pool {pool}") as daemon:
        reply = daemon.pool(pool)
    session.show(reply, _print_pool)


def _print_pools(reply: Pools) -> None:
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


def _print_pool(pool: PoolDetail) -> None:
    show.card(
        ("id", pool["id"]),
        ("network", pool["network"]),
        ("range", pool["range"] or ""),
        ("chosen by", "pynet" if pool["auto"] else "user"),
        ("leased", f"{pool['leased']} of {_size(pool['size'])}"),
        ("networks", ", ".join(pool["networks"])),
        ("created", pool["created_at"]),
    )
    if pool["leases"]:
        click.echo()
        show.table(
            ("ADDRESS", "KIND", "OWNER", "SINCE"),
            (
                (lease["address"], lease["kind"], lease["owner"], lease["created_at"])
                for lease in pool["leases"]
            ),
        )


def _size(addresses: int) -> str:
    if addresses < _LARGE_POOL_SIZE:
        return str(addresses)
    return f"about 2^{round(math.log2(addresses))}"
