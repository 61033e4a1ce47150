"""The real kernel: one object for everything that `netplug.contract.kernel` promises."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from netplug.errors import PynetError
from netplug.kernel import sandbox, switches
from netplug.kernel.firewall.iptables import Iptables
from netplug.kernel.links import Links, index_of
from netplug.kernel.reaper import Reaper
from netplug.model import HostFacts, IPNetwork
from netplug.plan.diff import Change, Create, Delete, Step
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    Foreign,
    KernelObject,
    LocalSubnet,
    Masquerade,
    SandboxLink,
    Sysctl,
    Veth,
)

Seen = KernelObject | Foreign


class LinuxKernel:
    """The kernel of the network namespace in which `open` is called.

    `instance` marks what is made; links of another instance are foreign.
    """

    def __init__(self, instance: str) -> None:
        self._links = Links(instance)
        self._firewall = Iptables()
        self._reaper = Reaper(self._links.remove_doomed)
        self._rules = asyncio.Lock()

    async def open(self) -> None:
        """Open the netlink sockets, and remove what an earlier run had marked for removal."""
        await self._links.open()
        await self._firewall.open()
        self._reaper.start()
        self._reaper.wake()

    async def close(self) -> None:
        """Finish pending removals and close the sockets."""
        await self._reaper.stop()
        await self._firewall.close()
        await self._links.close()

    async def look(self, objects: Collection[KernelObject]) -> frozenset[Seen]:
        """Return those of `objects` that exist, found by name."""
        found: set[Seen] = set()
        for name in {o.name for o in objects if isinstance(o, Bridge | Veth)}:
            if (link := await self._look_at_link(name)) is not None:
                found.add(link)
        addresses = {o for o in objects if isinstance(o, Address)}
        for name in {o.link for o in addresses}:
            found.update(addresses & await self._links.addresses_of([name]))
        found.update(await self._others(objects))
        members = [o for o in objects if isinstance(o, Masquerade | LocalSubnet)]
        found.update([m for m in members if await self._firewall.sets.has(m)])
        if self._firewall.accepted is not None:
            found.add(self._firewall.accepted)
        return frozenset(found)

    async def inventory(self, wanted: Collection[KernelObject]) -> frozenset[Seen]:
        """Return everything that carries our marks, and what of `wanted` has none but exists."""
        found: set[Seen] = set()
        names = {o.name for o in wanted if isinstance(o, Bridge | Veth)}
        for link in await self._links.all():
            if isinstance(link, Foreign):
                if link.key.name in names:
                    found.add(link)
                continue
            found.add(link)
        bridges = [link.name for link in found if isinstance(link, Bridge)]
        found.update(await self._links.addresses_of(bridges))
        found.update(await self._others(wanted))
        async with self._rules:
            found.update(await self._firewall.inventory())
        return frozenset(found)

    async def apply(self, step: Step) -> None:
        """Take one step."""
        match step:
            case Create(obj):
                await self._create(obj)
            case Change(obj, _, differing):
                await self._change(obj, differing)
            case Delete(obj):
                await self._delete(obj)

    async def settle(self) -> None:
        """Wait until every marked link is gone."""
        await self._reaper.settle()

    async def facts(self) -> HostFacts:
        """Return what the host is like now."""
        return switches.host_facts()

    async def taken_networks(self) -> frozenset[IPNetwork]:
        """Return the networks that the host routes, and its resolvers as host networks."""
        return await asyncio.to_thread(switches.taken_networks)

    async def link_towards(self, network: IPNetwork) -> str:
        """Return the link on which the host reaches `network` directly, empty if there is none."""
        return await self._links.on_link(network[0]) or await self._links.on_link(network[-1]) or ""

    async def _look_at_link(self, name: str) -> Seen | None:
        link = await self._links.look(name)
        if link is None and index_of(name):  # marked for removal; its name is needed again
            await self._reaper.settle()
        return link

    async def _others(self, objects: Collection[KernelObject]) -> set[Seen]:
        """Look up what no dump shows: switches, and links inside sandboxes."""
        found: set[Seen] = set()
        for obj in objects:
            match obj:
                case Sysctl(name=name):
                    if (value := switches.read(name)) is not None:
                        found.add(Sysctl(name=name, value=value))
                case SandboxLink():
                    if (inside := await sandbox.look(obj)) is not None:
                        found.add(inside)
                case _:
                    continue
        return found

    async def _create(self, obj: KernelObject) -> None:
        match obj:
            case Bridge() | Veth():
                await self._links.make(obj)
            case Address():
                await self._links.add_address(obj)
            case Sysctl(name=name, value=value):
                switches.write(name, value)
            case SandboxLink():
                await sandbox.fill(obj)
            case Firewall():
                async with self._rules:
                    if obj != self._firewall.accepted:
                        await self._firewall.install(obj)
            case Masquerade() | LocalSubnet():
                await self._firewall.sets.add(obj)

    async def _change(self, obj: KernelObject, differing: frozenset[str]) -> None:
        match obj:
            case Bridge() | Veth():
                await self._links.change(obj, differing)
            case Firewall():
                async with self._rules:
                    await self._firewall.install(obj)
            case _:
                await self._create(obj)

    async def _delete(self, obj: KernelObject) -> None:
        match obj:
            case Bridge() | Veth():
                await self._links.doom(obj.name)
                self._reaper.wake()
            case Address():
                await self._links.remove_address(obj)
            case Masquerade() | LocalSubnet():
                await self._firewall.sets.remove(obj)
            case Firewall():
                async with self._rules:
                    await self._firewall.remove()
            case SandboxLink() | Sysctl():
                raise PynetError(f"{obj.key} goes with something else or not at all")
