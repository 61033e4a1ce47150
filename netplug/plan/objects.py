"""Kernel objects as values. Each has a key (what it is) and fields (how it should be).

A field that is `None` means "do not care": it is never compared and never causes a step.

A field marked `SET_ONCE` is given to the kernel when the object is made and cannot be read back;
it is not compared either.

Everything pynet makes is recognisable on the host: links by their device group, of which the high
bits say "pynet" and the low bits which policy applies, so that a constant number of firewall rules
serves any number of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag

from netplug.model import IPAddress, IPInterface, IPNetwork

SET_ONCE: Mapping[str, bool] = {"set_once": True}

GROUP_BASE = 0x5059_0000
GROUP_MASK = 0xFFFF_0000


class LinkPolicy(IntFlag):
    """The low bits of the device group of a link of ours; what the firewall does with it."""

    NONE = 0
    NO_EGRESS = 0x0001
    ROUTED_IPV4 = 0x0002
    ROUTED_IPV6 = 0x0004
    PORT = 0x4000
    DOOMED = 0x8000


@dataclass(frozen=True, slots=True)
class Key:
    """What an object is: its kind and the name that is unique within the kind."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A Linux bridge. `mac` fixes its address; without one it would follow its ports'.

    Without `has_ipv6` the host has no IPv6 on it, not even a link-local address. No bridge of ours
    listens to router advertisements: its containers must not configure the host.
    """

    name: str
    mac: str | None = None
    mtu_bytes: int | None = None
    policy: LinkPolicy | None = None
    has_ipv6: bool | None = None
    is_up: bool | None = None

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth:
    """A veth pair with one end on a bridge. It is known by that end, `name`.

    The other end, `peer`, is made with `peer_mac` and `mtu_bytes`. Where `is_lent`, it is in
    somebody's sandbox: a missing pair is then not made again, since nobody would move it in.
    `is_isolated` ports reach the bridge itself but not each other (bridge port flag `isolated`).
    """

    name: str
    peer: str | None = field(default=None, metadata=SET_ONCE)
    peer_mac: str | None = field(default=None, metadata=SET_ONCE)
    mtu_bytes: int | None = None
    bridge: str | None = None
    is_isolated: bool | None = None
    is_up: bool | None = None
    is_lent: bool | None = field(default=None, metadata=SET_ONCE)

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of a link."""

    link: str
    address: IPInterface

    @property
    def key(self) -> Key:
        """Return the key: an address is one object a link."""
        return Key("address", f"{self.address} on {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A kernel switch that must have a value. It is set, and never set back: it has no owner."""

    name: str
    value: str

    @property
    def key(self) -> Key:
        """Return the key: the path below /proc/sys with slashes."""
        return Key("sysctl", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade:
    """What leaves `subnet` for a link that is not ours takes that link's address."""

    subnet: IPNetwork

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("masquerade", str(self.subnet))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSubnet:
    """Packets from `subnet` may be routed out of `link` again: both are one network."""

    subnet: IPNetwork
    link: str

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("local-subnet", f"{self.subnet} on {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """The rules that every network shares. Their number does not depend on what they serve.

    `filters_bridged` tells that this kernel shows bridged packets to the FORWARD hook
    (net.bridge.bridge-nf-call-iptables exists), so that they must be accepted there. Both are
    unknown of rules that an earlier run left: they are replaced or removed.
    """

    has_ipv6: bool | None = None
    filters_bridged: bool | None = None

    @property
    def key(self) -> Key:
        """Return the key; there is one firewall."""
        return Key("firewall", "PYNET")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLink:
    """The container side of a veth where pynet, not dockerd, moves and configures it.

    `netns` is a path that `setns(2)` accepts. `gateways` become default routes. It goes with the
    host end, `host_link`.
    """

    host_link: str = field(metadata=SET_ONCE)
    peer: str = field(metadata=SET_ONCE)
    netns: str
    name: str
    mac: str | None = None
    addresses: tuple[IPInterface, ...] = ()
    gateways: tuple[IPAddress, ...] = ()

    @property
    def key(self) -> Key:
        """Return the key: one name a namespace."""
        return Key("sandbox-link", f"{self.name} in {self.netns}")


KernelObject = Bridge | Veth | Address | Sysctl | Masquerade | LocalSubnet | Firewall | SandboxLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A link of that name exists and is not ours: it is read, never changed or removed."""

    key: Key
    description: str
