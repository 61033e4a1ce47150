"""The ipsets that name our networks, changed by one netlink message a member."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_network
from typing import Any

from pyroute2.ipset import AsyncIPSet
from pyroute2.netlink.exceptions import IPSetError, NetlinkError

from netplug.errors import KernelRefused, Unsupported
from netplug.kernel.firewall.rules import IPV4, IPV6, Family
from netplug.model import IPNetwork
from netplug.plan.objects import LocalSubnet, Masquerade

Member = Masquerade | LocalSubnet

_SOCKET_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Sets:
    """Our ipsets, over one netlink socket."""

    def __init__(self) -> None:
        self._netlink = AsyncIPSet()

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
        for name, kind in (
            (family.masquerade_set, "hash:net"),
            (family.local_set, "hash:net,iface"),
        ):
            try:
                await self._netlink.create(
                    name, stype=kind, family=_SOCKET_FAMILY[family.version], exclusive=False
                )
            except (IPSetError, NetlinkError) as error:
                raise Unsupported(f"ipset type {kind}", str(error)) from error

    async def destroy(self, family: Family) -> None:
        """Destroy the sets of a family; those that are not there are passed over."""
        for name in (family.masquerade_set, family.local_set):
            await self._do(f"destroy set {name}", self._netlink.destroy(name), errno.ENOENT)

    async def add(self, member: Member) -> None:
        """Add a member; one that is there already is fine."""
        name, entry, kind = _entry(member)
        family = _SOCKET_FAMILY[member.subnet.version]
        call = self._netlink.add(name, entry, etype=kind, family=family, exclusive=False)
        await self._do(f"add {entry} to set {name}", call)

    async def remove(self, member: Member) -> None:
        """Remove a member; one that is not there is fine, and so is a missing set."""
        name, entry, kind = _entry(member)
        family = _SOCKET_FAMILY[member.subnet.version]
        call = self._netlink.delete(name, entry, etype=kind, family=family, exclusive=False)
        await self._do(f"remove {entry} from set {name}", call, errno.ENOENT)

    async def has(self, member: Member) -> bool:
        """Return whether a member is there; not, where its set is missing."""
        name, entry, kind = _entry(member)
        family = _SOCKET_FAMILY[member.subnet.version]
        try:
            return bool(await self._netlink.test(name, entry, family=family, etype=kind))
        except (IPSetError, NetlinkError):
            return False

    async def members(self) -> frozenset[Member]:
        """Return the members of all our sets; of a missing set, none."""
        found: set[Member] = set()
        for family in (IPV4, IPV6):
            for name in (family.masquerade_set, family.local_set):
                found.update([_parsed(name, data) for data in await self._entries(name)])
        return frozenset(found)

    async def missing(self, family: Family) -> bool:
        """Return whether a set of the family does not exist."""
        for name in (family.masquerade_set, family.local_set):
            try:
                [message async for message in await self._netlink.headers(name)]
            except (IPSetError, NetlinkError):
                return True
        return False

    async def _entries(self, name: str) -> list[Any]:
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


def _entry(member: Member) -> tuple[str, str | tuple[str, str], str]:
    family = IPV4 if member.subnet.version == 4 else IPV6
    match member:
        case Masquerade(subnet=subnet):
            return family.masquerade_set, str(subnet), "net"
        case LocalSubnet(subnet=subnet, link=link):
            return family.local_set, (str(subnet), link), "net,iface"


def _parsed(name: str, data: Any) -> Member:
    address = data.get("IPSET_ATTR_IP_FROM")
    text = address.get("IPSET_ATTR_IPADDR_IPV4") or address.get("IPSET_ATTR_IPADDR_IPV6")
    longest = 128 if ":" in text else 32
    subnet: IPNetwork = ip_network(f"{text}/{data.get('IPSET_ATTR_CIDR') or longest}")
    if name.startswith("pynet-masq"):
        return Masquerade(subnet=subnet)
    return LocalSubnet(subnet=subnet, link=data.get("IPSET_ATTR_IFACE"))
