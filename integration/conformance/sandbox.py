"""A container's network namespace, and dockerd's work in it (moby: libnetwork/osl)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from integration.conformance.replies import IPInterface, StaticRoute
from integration.lab import Host
from integration.lab.process import Completed

FOLDER = "/var/run/docker/netns"

_OPEN = 'mkdir -p "${1%/*}"; touch "$1"; unshare --net="$1" ip link set lo up'
_CLOSE = 'umount "$1"; rm "$1"'
# The switch is set under the old name, before the link is up and before it has addresses.
_TAKE = """
ip link set dev "$2" netns "$1"
exec nsenter --net="$1" sh -ec '
    switch=/proc/sys/net/ipv6/conf/$1/disable_ipv6
    if [ "$2" ]; then echo "$2" > "$switch"; fi
    exec ip -batch -
' sh "$2" "$3"
"""
_BATCH = 'exec nsenter --net="$1" ip -batch -'


@dataclass(frozen=True, slots=True, kw_only=True)
class Furniture:
    """What an interface gets inside; what is empty is left as it came."""

    prefix: str
    mac: str
    addresses: tuple[IPInterface, ...]
    routes: tuple[StaticRoute, ...]
    disables_ipv6: bool


class Sandbox:
    """`key` names it to the plugin; the namespace is there between `open` and `close`."""

    def __init__(self, host: Host) -> None:
        self.key = f"{FOLDER}/{secrets.token_hex(6)}"
        self.is_open = False
        self._host = host
        self._names: set[str] = set()

    def open(self) -> None:
        self._sh(_OPEN)
        self.is_open = True

    def close(self) -> None:
        """Let the namespace go, and with it whatever link is still inside."""
        if self.is_open:
            self._sh(_CLOSE)
            self.is_open = False

    def take(self, link: str, furniture: Furniture) -> str:
        """Move a link in, furnish it, and return its name inside.

        Raises:
            CommandFailed: dockerd would have failed here.
        """
        numbered = (f"{furniture.prefix}{n}" for n in range(len(self._names) + 1))
        name = next(name for name in numbered if name not in self._names)
        lines = _furnish(link, name, furniture)
        self._sh(_TAKE, link, _ipv6_switch(furniture), stdin="\n".join(lines))
        self._names.add(name)
        return name

    def give_back(self, name: str, link: str) -> None:
        """Move a link out, down and under its old name. What is gone is gone: dockerd warns."""
        if self.is_open:
            down = f"link set dev {name} down"
            out = f"link set dev {name} name {link} netns /proc/1/ns/net"
            self._sh(_BATCH, stdin=f"{down}\n{out}\n")
        self._names.discard(name)

    def route(self, gateways: Sequence[tuple[str, str]]) -> None:
        """Make each (gateway, link) the default route of its family; it must be on that link."""
        lines = [f"route replace default via {via} dev {name}" for via, name in gateways]
        if lines:
            self._sh(_BATCH, stdin="\n".join(lines))

    def run(self, argv: Sequence[str], *, check: bool = True) -> Completed:
        return self._host.run(["nsenter", f"--net={self.key}", *argv], check=check)

    def reaches(self, address: str) -> bool:
        """Tell whether one of a few pings is answered."""
        return self.run(["ping", "-c", "1", "-w", "2", address], check=False).returncode == 0

    def _sh(self, script: str, *words: str, stdin: str | None = None) -> None:
        self._host.run(["sh", "-ec", script, "sh", self.key, *words], stdin=stdin)


def _ipv6_switch(furniture: Furniture) -> str:
    """Return the value for disable_ipv6, empty to leave it."""
    if any(address.version == 6 for address in furniture.addresses):
        return "0"
    return "1" if furniture.disables_ipv6 else ""


def _furnish(link: str, name: str, furniture: Furniture) -> Iterator[str]:
    yield f"link set dev {link} down"
    yield f"link set dev {link} name {name}"
    if furniture.mac:
        yield f"link set dev {name} address {furniture.mac}"
    for address in furniture.addresses:
        yield f"address add {address} dev {name}" + " nodad" * (address.version == 6)
    yield f"link set dev {name} up"
    # What is on the link is part of it (osl/interface_linux.go), and the rest comes behind.
    for route in sorted(furniture.routes, key=lambda route: bool(route.next_hop)):
        via = f" via {route.next_hop}" if route.next_hop else ""
        yield f"route add {route.destination}{via} dev {name}"
