"""The ipsets that name our networks, changed by one netlink message a member."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2.ipset import AsyncIPSet, PortEntry
from pyroute2.netlink.exceptions import IPSetError, NetlinkError

from netplug.errors import KernelRefused, Unsupported
from netplug.kernel.firewall.rules import IPV4, IPV6, Family
from netplug.model import IPNetwork, Protocol
from netplug.plan.objects import (
    DirectAnswer,
    EngineSubnet,
    Hub,
    LocalSubnet,
    Masquerade,
    OpenPort,
    PeerSubnet,
    SetMember,
)

_SOCKET_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}  # IANA protocol numbers
_PROTOCOLS = {number: protocol for protocol, number in _NUMBERS.items()}


def _sets(family: Family) -> dict[str, tuple[str, type[SetMember]]]:
    """Return our sets of a family: name, the kernel's type, what its members are."""
    return {
        family.masquerade_set: ("hash:net", Masquerade),
        family.local_set: ("hash:net,iface", LocalSubnet),
        family.hub_set: ("hash:ip", Hub),
        family.peer_set: ("hash:net,iface", PeerSubnet),
        family.direct_set: ("hash:net,iface", DirectAnswer),
        family.engine_set: ("hash:net", EngineSubnet),
        family.open_set: ("hash:ip,port", OpenPort),
    }


_MEMBERS = {name: member for f in (IPV4, IPV6) for name, (_, member) in _sets(f).items()}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member as ipset knows it."""

    name: str
    value: Any
    kind: str
    family: int


class Sets:
    """Our ipsets, over one netlink socket."""

    def __init__(self) -> None:
        self._netlink = AsyncIPSet()
        self._known: dict[str, set[SetMember]] = {}
        self._has_listed = False

    async def open(self) -> None:
        """Open the netlink socket in the caller's network namespace."""
        await self._netlink.setup_endpoint()

    async def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    async def create(self, family: Family) -> None:
        """Create the sets of a family; those that exist stay as they are.

        Raises:
            Unsupported: the kernel has no ipset, or not these types.
        """
        for name, (kind, _) in _sets(family).items():
            try:
                await self._netlink.create(
                    name, stype=kind, family=_SOCKET_FAMILY[family.version], exclusive=False
                )
            except (IPSetError, NetlinkError) as error:
                raise Unsupported(f"ipset type {kind}", str(error)) from error

    async def destroy(self, family: Family) -> None:
        """Destroy the sets of a family; those that are not there are passed over."""
        for name in _sets(family):
            await self._do(f"destroy set {name}", self._netlink.destroy(name), errno.ENOENT)
            self._known.pop(name, None)

    async def add(self, member: SetMember) -> None:
        """Add a member; one that is there already is fine."""
        e = _entry(member)
        call = self._netlink.add(e.name, e.value, etype=e.kind, family=e.family, exclusive=False)
        await self._do(f"add {member.key.name} to set {e.name}", call)
        self._known.setdefault(e.name, set()).add(member)

    async def remove(self, member: SetMember) -> None:
        """Remove a member; one that is not there is fine, and so is a missing set."""
        e = _entry(member)
        call = self._netlink.delete(e.name, e.value, etype=e.kind, family=e.family, exclusive=False)
        await self._do(f"remove {member.key.name} from set {e.name}", call, errno.ENOENT)
        self._known.get(e.name, set()).discard(member)

    async def has(self, member: SetMember) -> bool:
        """Return whether a member is there; not, where its set is missing."""
        e = _entry(member)
        try:
            return bool(await self._netlink.test(e.name, e.value, family=e.family, etype=e.kind))
        except (IPSetError, NetlinkError):
            return False

    async def members(self) -> frozenset[SetMember]:
        """Return the members of all our sets; of a missing set, none.

        What the first listing shows is an earlier run's and counts as put there by us; what a later
        one misses somebody else took, which must go on showing until it is back.
        """
        found = {name: {_parsed(name, d) for d in await self._listed(name)} for name in _MEMBERS}
        if not self._has_listed:
            for name, members in found.items():
                self._known.setdefault(name, set()).update(members)
            self._has_listed = True
        return frozenset().union(*found.values())

    def subnets_of(self, link: str) -> frozenset[IPNetwork]:
        """Return the subnets of a bridge, as we left the sets or last read them."""
        members = frozenset().union(*self._known.values())
        return frozenset(m.subnet for m in members if isinstance(m, LocalSubnet) and m.link == link)

    def counts(self, family: Family) -> Mapping[str, int]:
        """Return how many members each set of a family has, as we left it or last read it."""
        return {name: len(self._known.get(name, ())) for name in _sets(family)}

    async def _listed(self, name: str) -> list[Any]:
        found: list[Any] = []
        try:
            async for message in await self._netlink.list(name):
                entries = message.get("IPSET_ATTR_ADT")
                found += entries.get_attrs("IPSET_ATTR_DATA") if entries else []
        except (IPSetError, NetlinkError) as error:
            if error.code != errno.ENOENT:
                raise KernelRefused(f"list set {name}", str(error), error.code) from error
        return found

    async def _do(self, step: str, call: Any, *fine: int) -> None:
        try:
            await call
        except (IPSetError, NetlinkError) as error:
            if error.code not in fine:
                raise KernelRefused(step, str(error), error.code) from error


def _entry(member: SetMember) -> _Entry:
    address = member.address if isinstance(member, OpenPort | DirectAnswer | Hub) else member.subnet
    family = IPV4 if address.version == 4 else IPV6
    inet = _SOCKET_FAMILY[family.version]
    match member:
        case Masquerade(subnet=subnet):
            return _Entry(family.masquerade_set, str(subnet), "net", inet)
        case EngineSubnet(subnet=subnet):
            return _Entry(family.engine_set, str(subnet), "net", inet)
        case LocalSubnet(subnet=subnet, link=link):
            return _Entry(family.local_set, (str(subnet), link), "net,iface", inet)
        case PeerSubnet(subnet=subnet, link=link):
            return _Entry(family.peer_set, (str(subnet), link), "net,iface", inet)
        case Hub():
            return _Entry(family.hub_set, str(address), "ip", inet)
        case DirectAnswer(link=link):
            return _Entry(family.direct_set, (str(address), link), "net,iface", inet)
        case OpenPort(protocol=protocol, port=port):
            value = (str(address), PortEntry(port, protocol=_NUMBERS[protocol]))
            return _Entry(family.open_set, value, "ip,port", inet)


def _parsed(name: str, data: Any) -> SetMember:
    address = data.get("IPSET_ATTR_IP_FROM")
    text = address.get("IPSET_ATTR_IPADDR_IPV4") or address.get("IPSET_ATTR_IPADDR_IPV6")
    kind = _MEMBERS[name]
    if kind is Hub:
        return Hub(address=ip_address(text))
    if kind is OpenPort:
        number = data.get("IPSET_ATTR_PROTO")
        port = data.get("IPSET_ATTR_PORT_FROM")
        return OpenPort(protocol=_PROTOCOLS[number], address=ip_address(text), port=port)
    longest = 128 if ":" in text else 32
    subnet: IPNetwork = ip_network(f"{text}/{data.get('IPSET_ATTR_CIDR') or longest}")
    if kind is Masquerade:
        return Masquerade(subnet=subnet)
    if kind is EngineSubnet:
        return EngineSubnet(subnet=subnet)
    link = data.get("IPSET_ATTR_IFACE")
    if kind is DirectAnswer:
        return DirectAnswer(address=subnet[0], link=link)
    if kind is PeerSubnet:
        return PeerSubnet(subnet=subnet, link=link)
    return LocalSubnet(subnet=subnet, link=link)
