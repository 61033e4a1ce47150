"""`pynet plan`, `verify` and `heal`: what the kernel should be, whether it is, and making it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.session import Session, example, talks_to_daemon
from netplug.errors import Drift

if TYPE_CHECKING:
    from netplug.api.admin_types import Plan, Verification

_HAS_STEPS = 20


@click.command(epilog=example("pynet plan", "pynet plan --check || pynet heal"))
@click.option("--check", is_flag=True, help=f"Exit with {_HAS_STEPS} if there is a step.")
@talks_to_daemon
def plan(session: Session, check: bool) -> None:
    """Show what the daemon would change now; change nothing."""
    with session.daemon("comparing with the kernel") as daemon:
        reply = daemon.plan()
    session.show(reply, print_steps)
    if check and reply["steps"]:
        raise click.exceptions.Exit(_HAS_STEPS)


@click.command(epilog=example("pynet verify"))
@talks_to_daemon
def verify(session: Session) -> None:
    """Compare every object with the kernel; change nothing.

    Exits with 11 if something differs, or if a subnet of ours is in use elsewhere too: 'pynet heal'
    mends what differs, a collision only somebody who knows what is there. What is foreign looks
    like ours, but is not: it is left alone.
    """
    with session.daemon("comparing with the kernel") as daemon:
        reply = daemon.verify()
    session.show(reply, _print_verification)
    if reply["differences"] or reply["collisions"]:
        raise click.exceptions.Exit(Drift.exit_code)


@click.command(epilog=example("pynet heal"))
@talks_to_daemon
def heal(session: Session) -> None:
    """Make the kernel what it should be; show the steps taken."""
    with session.daemon("mending the kernel") as daemon:
        reply = daemon.heal()
    session.show(reply, print_steps)


def print_steps(plan: Plan) -> None:
    """Print a step a line, or that there is none."""
    if not plan["steps"]:
        click.echo("nothing to change")
        return
    show.table(
        ("ACTION", "OBJECT", "REASON"),
        ((step["action"], step["object"], step["reason"]) for step in plan["steps"]),
    )


def _print_verification(found: Verification) -> None:
    differing = len(found["differences"])
    verdict = f"{differing} differ" if differing != 1 else "1 differs"
    click.echo(f"{show.count(found['checked'], 'object')} checked, {verdict}")
    show.section("DIFFERENCES", found["differences"])
    show.section("COLLISIONS", found["collisions"])
    show.section("FOREIGN", found["foreign"])
