"""The wire between hosts: a bridge in a namespace of its own, and a server beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path

from integration.lab.namespace import Namespace
from integration.lab.process import COMMAND_DEADLINE_S, Completed, Process, run

BRIDGE = "underlay"
UPLINK = "uplink0"
# RFC 2544's range for tests of network devices: no engine hands out addresses from it.
POOL_V4 = IPv4Network("198.18.0.0/16")
POOL_V6 = IPv6Network("2001:2::/64")  # RFC 5180, the same for IPv6
# Documentation prefixes (RFC 5737, RFC 3849) stand for the internet.
INTERNET_V4 = IPv4Address("203.0.113.1")
INTERNET_V6 = IPv6Address("2001:db8::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """The addresses of one host on the underlay."""

    v4: IPv4Interface
    v6: IPv6Interface


class Underlay:
    """A bridge that hosts plug into, and the gateway on it.

    The gateway also owns `internet_v4` and `internet_v6`, which hosts reach by their default
    route only. It has no route back to any container: an answer proves that the host masqueraded.
    """

    gateway_v4 = POOL_V4[1]
    gateway_v6 = POOL_V6[1]
    internet_v4 = INTERNET_V4
    internet_v6 = INTERNET_V6

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.namespace = Namespace(name, log=folder / "namespace.log")
        self._ip(
            f"link add {BRIDGE} type bridge",
            f"addr add {self.gateway_v4}/{POOL_V4.prefixlen} dev {BRIDGE}",
            f"addr add {self.gateway_v6}/{POOL_V6.prefixlen} dev {BRIDGE} nodad",
            f"addr add {INTERNET_V4}/32 dev lo",
            f"addr add {INTERNET_V6}/128 dev lo",
            f"link set {BRIDGE} up",
        )

    def _ip(self, *lines: str) -> None:
        run(["ip", "-batch", "-"], prefix=self.namespace.network_entry, stdin="\n".join(lines))

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = COMMAND_DEADLINE_S,
        check: bool = True,
        stdin: str | None = None,
    ) -> Completed:
        """Run a command next to the bridge, for example a client, or `tc` on a host's port."""
        return run(argv, prefix=self.namespace.entry, timeout=timeout, check=check, stdin=stdin)

    def popen(self, argv: Sequence[str], *, log: str) -> Process:
        """Start a server on the underlay; its output goes to the log of that name."""
        return self.namespace.popen(argv, log=self.folder / f"{log}.log")

    def plug(self, number: int, host: Namespace) -> Uplink:
        """Give a host its uplink, with addresses and default routes; `number` counts from 1."""
        uplink = Uplink(
            v4=IPv4Interface((POOL_V4[number + 1], POOL_V4.prefixlen)),
            v6=IPv6Interface((POOL_V6[number + 1], POOL_V6.prefixlen)),
        )
        port = self.port(number)
        self._ip(
            f"link add {port} type veth peer name {UPLINK} netns {host.pid}",
            f"link set {port} master {BRIDGE} up",
        )
        run(
            ["ip", "-batch", "-"],
            prefix=host.entry,
            stdin=f"addr add {uplink.v4} dev {UPLINK}\n"
            f"addr add {uplink.v6} dev {UPLINK} nodad\n"
            f"link set {UPLINK} up\n"
            f"route add default via {self.gateway_v4}\n"
            f"route add ::/0 via {self.gateway_v6}\n",
        )
        return uplink

    def forget_neighbours(self) -> None:
        """Have those on the underlay ask anew who has which address."""
        self.run(["ip", "neighbour", "flush", "all"])

    def unplug(self, number: int) -> None:
        """Take a host's uplink away; fine when it is gone already."""
        if self.namespace.is_open:
            self.run(["ip", "link", "del", self.port(number)], check=False)

    @staticmethod
    def port(number: int) -> str:
        """Return the name of a host's port on the bridge."""
        return f"port{number}"

    def close(self) -> None:
        self.namespace.close()
