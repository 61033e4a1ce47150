"""Unix sockets: taken over when stale, refused when alive, with the right owner and mode."""

from __future__ import annotations

import errno
import grp
import os
import socket
from pathlib import Path

from netplug.errors import Conflict, StoreUnavailable

_BACKLOG = 256
_NAMESPACE_LOCK = "\0pynet"


def listen(path: Path, mode: int, group: str = "") -> socket.socket:
    """Return a listening socket at `path`.

    Raises:
        Conflict: another process answers there.
        StoreUnavailable: the path cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _refuse_if_alive(path)
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        if group:
            _give_to_group(path, group)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise StoreUnavailable(
            f"socket {path}", error.strerror or str(error), "name another one or mend the path"
        ) from error
    listener.setblocking(False)
    return listener


def claim_namespace() -> socket.socket:
    """Return a socket whose existence says that a pynet daemon manages this network namespace.

    The name is abstract, so it belongs to the namespace and goes with the process.
    Source: unix(7); abstract names are per network namespace.

    Raises:
        Conflict: another daemon manages it.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(_NAMESPACE_LOCK)
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                "this host's network", "is managed by another pynet daemon", "stop that one first"
            ) from error
        raise
    return claim


def _refuse_if_alive(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
    raise Conflict(f"socket {path}", "is in use by another process", "stop it or name another path")


def _give_to_group(path: Path, group: str) -> None:
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        return
