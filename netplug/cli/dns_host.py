"""`pynet dns install` and `uninstall`: the host's own questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from netplug.cli.host_resolver import HostResolver
from netplug.cli.session import Session, example, talks_to_daemon
from netplug.errors import Conflict, KernelRefused, PynetError

_ANSWER_S = 2.0
_DNS_PORT = 53
# RFC 1035 sections 4.1.1 and 4.1.2
_ONE_QUESTION = bytes([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
_END_OF_NAME_SOA_IN = bytes([0, 0, 6, 0, 1])


@click.command(epilog=example("pynet dns install", "getent hosts a.web.pynet"))
@talks_to_daemon
def install(session: Session) -> None:
    """Make this host ask pynet for names below its domain, and print the file that says so.

    That is a drop-in of systemd-resolved where that is asked, else /etc/resolv.conf, whose
    original is kept. Needs root, and a network: pynet must answer.
    """
    with session.daemon("asking the daemon where it answers") as daemon:
        dns = daemon.status()["dns"]
    if not dns["address"]:
        raise Conflict("the daemon", "answers the host nowhere: dns_address is none")
    with _files_change():
        path = _host().install(dns["address"], dns["domain"])
    session.show_name({"installed": str(path)}, str(path))


@click.command(epilog=example("pynet dns uninstall"))
@talks_to_daemon
def uninstall(session: Session) -> None:
    """Put back how this host asked for names before, and print which file that is in.

    A file that somebody changed or wrote anew in between is left as it is. Needs root, and no
    daemon.
    """
    with _files_change():
        undone = _host().uninstall()
    for path in undone.rewritten:
        click.echo(f"pynet: {path} was written anew by somebody else, and stays as it is", err=True)
    paths = [str(path) for path in undone.restored]
    rewritten = [str(path) for path in undone.rewritten]
    session.show({"restored": paths, "rewritten": rewritten}, lambda _: _print_lines(paths))


def _host() -> HostResolver:
    return HostResolver(
        reload=lambda: _systemctl("try-reload-or-restart"),
        is_resolved_active=_is_resolved_active,
        answers=_answers,
    )


def _answers(address: str, domain: str) -> bool:
    """Return whether a question for `domain` is answered by that address."""
    import socket

    labels = b"".join(bytes([len(label)]) + label.encode() for label in domain.split("."))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        asker.settimeout(_ANSWER_S)
        try:
            asker.connect((address, _DNS_PORT))
            asker.send(_ONE_QUESTION + labels + _END_OF_NAME_SOA_IN)
            return asker.recv(len(_ONE_QUESTION)).startswith(_ONE_QUESTION[:2])
        except OSError:
            return False


@contextmanager
def _files_change() -> Iterator[None]:
    """Translate what the kernel says of files."""
    try:
        yield
    except OSError as error:
        file = error.filename or "the resolver's configuration"
        reason = error.strerror or str(error)
        raise KernelRefused(f"change {file}", reason, error.errno or 0) from error


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(line)


def _is_resolved_active() -> bool:
    try:
        _systemctl("is-active", "--quiet")
    except PynetError:  # or there is no systemd
        return False
    return True


def _systemctl(*words: str) -> None:
    """Do something with systemd-resolved."""
    import asyncio

    from netplug.kernel import proc

    asyncio.run(proc.run(["systemctl", *words, "systemd-resolved"]))
