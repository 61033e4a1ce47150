"""`pynet status`: how the daemon is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netplug.cli import show
from netplug.cli.session import Session, example, talks_to_daemon

if TYPE_CHECKING:
    from netplug.api.admin_types import Dns, Engine, Reconcile, Status


@click.command(epilog=example("pynet status", "pynet status --output json"))
@talks_to_daemon
def status(session: Session) -> None:
    """Show how the daemon is, and what it holds."""
    with session.daemon("asking the daemon how it is") as daemon:
        reply = daemon.status()
    session.show(reply, _print_status)


def _print_status(status: Status) -> None:
    show.card(
        ("daemon", f"{status['state']}, up {_duration(status['uptime_s'])}, pid {status['pid']}"),
        ("version", status["version"]),
        ("engine", _engine(status["engine"])),
        ("plugin socket", status["plugin_socket"]),
        ("admin socket", status["admin_socket"]),
        ("state", f"{status['state_dir']} ({status['store']})"),
        ("networks", str(status["networks"])),
        ("endpoints", str(status["endpoints"])),
        ("pools", f"{status['pools']}, {show.count(status['leases'], 'lease')}"),
        ("names", _names(status["dns"])),
        ("last reconcile", _reconcile(status["last_reconcile"])),
    )


def _names(dns: Dns) -> str:
    where = f", and for the host at {dns['address']}" if dns["address"] else ""
    problems = "".join(f"; {problem}" for problem in dns["problems"])
    return f"*.{dns['domain']} for {show.count(dns['clients'], 'client')}{where}{problems}"


def _engine(engine: Engine | None) -> str:
    if engine is None:
        return "none"
    if engine["problem"]:
        return f"{engine['endpoint']} {engine['problem']}".strip()
    return f"{engine['version']} at {engine['endpoint']}"


def _reconcile(last: Reconcile | None) -> str:
    if last is None:
        return "not yet"
    outcome = last["problem"] or show.count(last["steps"], "step")
    return f"{last['at']}, {outcome}"


def _duration(seconds: float) -> str:
    """Return the two largest units of a duration, as in "3 h 12 min"."""
    minutes, secs = divmod(int(seconds), 60)
    hours, mins = divmod(minutes, 60)
    days, hrs = divmod(hours, 24)
    if days:
        return f"{days} d {hrs} h"
    if hours:
        return f"{hours} h {mins} min"
    return f"{minutes} min {secs} s" if minutes else f"{secs} s"
