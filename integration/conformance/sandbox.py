"""A container's network namespace, and dockerd's work in it (moby: libnetwork/osl)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from integration.conformance.replies import IPInterface
from integration.lab import Host
from integration.lab.process import Completed

FOLDER = "/var/run/docker/netns"

_OPEN = 'mkdir -p "${1%/*}"; touch "$1"; unshare --net="$1" ip link set lo up'
_CLOSE = 'umount "$1"; rm "$1"'
_TAKE = 'ip link set dev "$2" netns "$1"; exec nsenter --net="$1" sh -e'
_GIVE_BACK = """
nsenter --net="$1" ip link set dev "$2" down
nsenter --net="$1" ip link set dev "$2" name "$3" netns /proc/1/ns/net
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Furniture:
    """What an interface gets inside; what is empty is left as it came."""

    prefix: str
    mac: str
    addresses: tuple[IPInterface, ...]
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
        self._sh(_TAKE, link, stdin="\n".join(_furnish(link, name, furniture)))
        self._names.add(name)
        return name

    def give_back(self, name: str, link: str) -> None:
        """Move a link out, down and under its old name. What is gone is gone: dockerd warns."""
        if self.is_open:
            self._sh(_GIVE_BACK, name, link)
        self._names.discard(name)

    def route(self, version: int, gateway: str, name: str) -> None:
        """Make `gateway` the default route; it must be reached on the link called `name`."""
        self.run(["ip", f"-{version}", "route", "replace", "default", "via", gateway, "dev", name])

    def run(self, argv: Sequence[str], *, check: bool = True) -> Completed:
        return self._host.run(["nsenter", f"--net={self.key}", *argv], check=check)

    def reaches(self, address: str) -> bool:
        """Tell whether one of a few pings is answered."""
        return self.run(["ping", "-c", "1", "-w", "2", address], check=False).returncode == 0

    def _sh(self, script: str, *words: str, stdin: str | None = None) -> None:
        self._host.run(["sh", "-ec", script, "sh", self.key, *words], stdin=stdin)


def _furnish(link: str, name: str, furniture: Furniture) -> list[str]:
    lines = [f"ip link set dev {link} down", f"ip link set dev {link} name {name}"]
    if furniture.mac:
        lines.append(f"ip link set dev {name} address {furniture.mac}")
    has_ipv6 = any(address.version == 6 for address in furniture.addresses)
    if has_ipv6 or furniture.disables_ipv6:
        switch = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
        lines.append(f"echo {int(not has_ipv6)} > {switch}")
    for address in furniture.addresses:
        nodad = " nodad" * (address.version == 6)
        lines.append(f"ip addr add {address} dev {name}{nodad}")
    return [*lines, f"ip link set dev {name} up"]
