"""The real kernel: one object for everything that `netplug.contract.kernel` promises."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from netplug.contract.driver import NO_WISH, FactsWish
from netplug.contract.kernel import SandboxFacts, Translation
from netplug.errors import PynetError
from netplug.kernel import sandbox, switches, whereabouts
from netplug.kernel.connections import Connections
from netplug.kernel.firewall.iptables import Iptables
from netplug.kernel.firewall.routed import Reachable
from netplug.kernel.hostlinks import HostLinks
from netplug.kernel.hostports import HostPorts
from netplug.kernel.linkops import index_of
from netplug.kernel.links import Links
from netplug.kernel.reaper import Reaper
from netplug.kernel.sandboxfilters import SandboxFilters
from netplug.kernel.sandboxmtu import SandboxMtus
from netplug.model import HostFacts, IPAddress, LinkFacts, Parent, Reached
from netplug.plan.diff import Change, Create, Delete, Step
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    Foreign,
    HostPort,
    KernelObject,
    Key,
    OpenPort,
    PeerSubnet,
    PortForward,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    RoutedPair,
    RoutedPort,
    RoutedSource,
    RoutedVeth,
    SandboxFilter,
    SandboxLink,
    SandboxMtu,
    SetMember,
    Shim,
    SpoofGuard,
    Sublink,
    Sysctl,
    Veth,
    Vlan,
)
from netplug.plan.order import is_on_uplink

Seen = KernelObject | Foreign
Link = Bridge | Veth | RoutedVeth | Vlan | Sublink | Shim
_Rule = Firewall | RoutedFilter | SetMember | SpoofGuard | PortForward | Reachable | SandboxFilter


class LinuxKernel:
    """The kernel of the network namespace in which `open` is called.

    `instance` marks what is made; links of another instance are foreign.
    """

    def __init__(self, instance: str) -> None:
        self._links = Links(instance)
        self._hosts_links = HostLinks(self._links)
        self._neighbours = whereabouts.Neighbours(self._links)
        self._mtus = SandboxMtus(self._links.alias)
        self._filters = SandboxFilters(instance)
        self._firewall = Iptables()
        self._ports = HostPorts()
        self._connections = Connections()
        self._reaper = Reaper(self._links.remove_doomed)
        self._rules = asyncio.Lock()

    async def open(self) -> None:
        """Open the netlink sockets, and remove what an earlier run had marked for removal."""
        await self._links.open()
        self._mtus.open()
        await self._firewall.open()
        await self._connections.open()
        await self._ports.open()
        self._reaper.start()
        self._reaper.wake()

    async def close(self) -> None:
        """Finish pending removals and close the sockets."""
        await self._reaper.stop()
        await self._filters.close()
        await self._ports.close()
        await self._connections.close()
        await self._firewall.close()
        self._mtus.close()
        await self._links.close()

    async def look(self, objects: Collection[KernelObject]) -> frozenset[Seen]:
        """Return those of `objects` that exist, found by name."""
        found: set[Seen] = set()
        for name in {o.name for o in objects if isinstance(o, Link)}:
            if (link := await self._look_at_link(name)) is not None:
                found.add(link)
        addresses = {o for o in objects if isinstance(o, Address)}
        for name in {o.link for o in addresses}:
            found.update(addresses & await self._links.addresses_of([name]))
        found.update(self._on_links(objects))
        found.update(await self._others(objects))
        members = [o for o in objects if isinstance(o, SetMember)]
        found.update([m for m in members if await self._firewall.sets.has(m)])
        found.update(self._known(objects))
        guards = [o.key for o in objects if isinstance(o, SpoofGuard)]
        found.update([g for key in guards if (g := self._firewall.guards.known.get(key))])
        if self._firewall.accepted is not None:
            found.add(self._firewall.accepted)
        if self._firewall.filters_routed:
            found.add(RoutedFilter())
        return frozenset(found)

    async def inventory(self, wanted: Collection[KernelObject]) -> frozenset[Seen]:
        """Return everything that carries our marks, and what of `wanted` has none but exists."""
        found = await self._all_links(wanted)
        hosts = [link.name for link in found if isinstance(link, Bridge | RoutedVeth | Shim)]
        found.update(await self._links.addresses_of(hosts))
        found.update(self._all_on_links(wanted))
        found.update(await self._others(wanted))
        found.update(await self._filtered(wanted))
        async with self._rules:
            found.update(await self._firewall.inventory(wanted))
        found.update(self._ports.held())
        return frozenset(found)

    def has_changed(self) -> bool:
        """Return whether somebody may have touched rules, sets or maps since they were read."""
        return self._firewall.has_changed()

    async def firewall(self, wanted: Collection[KernelObject]) -> frozenset[KernelObject]:
        """Return what of an inventory is the packet filter."""
        async with self._rules:
            return frozenset(await self._firewall.inventory(wanted))

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
        """Wait until every marked link is gone, and what is tracked of changed ports."""
        await self._reaper.settle()
        await self._connections.settle()

    async def translations(self) -> Mapping[Key, Translation]:
        """Return each port forward that is in place, with its counters."""
        return await self._firewall.translations()

    async def facts(self, wish: FactsWish = NO_WISH) -> HostFacts:
        """Return what the host is like now, and what is wished for of its links."""
        facts = switches.host_facts()
        names = wish.links | ({facts.uplink} if wish.wants_uplink and facts.uplink else set())
        found = [self._hosts_links.named(name) for name in names]
        return replace(
            facts,
            has_spoof_guard=await self._firewall.guards.is_supported(),
            links=MappingProxyType({link.name: link for link in found if link is not None}),
            link_kinds=await self._hosts_links.kinds(wish.kinds),
        )

    async def find(self, parent: Parent) -> LinkFacts | None:
        """Return the link that `parent` describes, under whatever name; None if it is gone."""
        return self._hosts_links.find(parent)

    async def introduce(self, addresses: Collection[IPAddress], mac: str, link: str) -> None:
        """Tell the host which MAC addresses on a link have, until they tell another."""
        self._links.routes.introduce(addresses, mac, link)

    async def on_uplinks(self, wanted: Collection[KernelObject]) -> frozenset[Seen]:
        """Return what of an inventory stands on links that are the host's own."""
        links = await self._all_links(wanted)
        found = {link for link in links if isinstance(link, Foreign) or is_on_uplink(link)}
        found.update(self._all_on_links(wanted))
        found.update(await self._mtus.glance([o for o in wanted if isinstance(o, SandboxMtu)]))
        borrowed = [o for o in wanted if isinstance(o, Sysctl) and o.is_borrowed]
        found.update(await self._others(borrowed))
        return frozenset(found)

    async def moved_by(self, switch: Sysctl) -> Mapping[str, str]:
        """Return the other switches that setting `switch` changes too, with their values now."""
        return switches.moved_by(switch.name, switch.value)

    async def reached(self, versions: Collection[int]) -> frozenset[Reached]:
        """Return what the host reaches beside our networks."""
        return self._links.reach.of(versions)

    async def sandboxes(self, known: Collection[str]) -> Mapping[str, SandboxFacts]:
        """Return what is in the namespaces of these paths, and in those that lie beside them."""
        return await whereabouts.sandboxes(known)

    async def answering(self, addresses: Collection[IPAddress]) -> Mapping[IPAddress, str]:
        """Return which addresses somebody has, and the link on which the host finds them."""
        return await self._neighbours.answering(addresses)

    async def _look_at_link(self, name: str) -> Seen | None:
        link = await self._links.look(name)
        if link is None and index_of(name):  # marked for removal; its name is needed again
            await self._reaper.settle()
        return link

    async def _all_links(self, wanted: Collection[KernelObject]) -> set[Seen]:
        """Return each link of ours, and those of others that have a wanted name."""
        names = {o.name for o in wanted if isinstance(o, Link)}
        return {
            link
            for link in await self._links.all()
            if not isinstance(link, Foreign) or link.key.name in names
        }

    def _on_links(self, objects: Collection[KernelObject]) -> set[Seen]:
        """Look up routes and proxied addresses, each by itself."""
        routes = self._links.routes
        found: set[Seen] = set()
        found.update(o for o in objects if isinstance(o, Route) and routes.look(o))
        found.update(o for o in objects if isinstance(o, ProxyNeighbour) and routes.look_proxy(o))
        return found

    def _all_on_links(self, wanted: Collection[KernelObject]) -> frozenset[Seen]:
        """Return each route and proxied address of ours, and of others what is wanted."""
        routes, names = self._links.routes, self._links.names
        proxies = [o for o in wanted if isinstance(o, ProxyNeighbour)]
        return routes.all(names) | routes.proxies(names, proxies)

    def _known(self, objects: Collection[KernelObject]) -> set[Seen]:
        """Return what was put in place where no cheap look finds it, as this process knows it."""
        found: set[Seen] = set()
        for obj in objects:
            if isinstance(obj, HostPort) and (held := self._ports.under(obj.key)):
                found.add(held)
            elif isinstance(obj, PortForward) and (known := self._firewall.published(obj)):
                found.add(known)
            elif isinstance(obj, SandboxFilter) and (filtered := self._filters.known(obj.key)):
                found.add(filtered)
            elif isinstance(obj, Reachable) and (
                routed := self._firewall.routed.known.get(obj.key)
            ):
                found.add(routed)
        return found

    async def _filtered(self, wanted: Collection[KernelObject]) -> set[SandboxFilter]:
        """Return those filters of sandboxes that are in place, or wait for their sandbox."""
        return await self._filters.inventory([o for o in wanted if isinstance(o, SandboxFilter)])

    async def _others(self, objects: Collection[KernelObject]) -> set[Seen]:
        """Look up what no dump shows: switches, and links inside sandboxes."""
        found: set[Seen] = set()
        for obj in objects:
            match obj:
                case Sysctl(name=name):
                    if (value := switches.read(name)) is not None:
                        found.add(replace(obj, value=value))
                case SandboxLink():
                    if (inside := await sandbox.look(obj)) is not None:
                        found.add(inside)
                case SandboxMtu():
                    found.add(await self._mtus.look(obj))
                case _:
                    continue
        return found

    async def _create(self, obj: KernelObject) -> None:
        match obj:
            case Bridge() | Veth() | RoutedVeth() | Vlan() | Sublink() | Shim():
                await self._links.make(obj)
            case Address():
                await self._links.add_address(obj)
            case Route():
                self._links.routes.add(obj)
            case ProxyNeighbour():
                self._links.routes.add_proxy(obj)
            case Sysctl(name=name, value=value):
                switches.write(name, value)
            case SandboxLink():
                await self._fill(obj)
            case SandboxMtu():
                await self._mtus.put(obj)
            case HostPort():
                await self._ports.take(obj)
            case _:
                await self._add_rule(obj)

    async def _add_rule(self, obj: _Rule) -> None:
        match obj:
            case Firewall():
                async with self._rules:
                    if obj != self._firewall.accepted:
                        await self._firewall.install(obj)
            case RoutedFilter():
                async with self._rules:
                    await self._firewall.filter_routed(wanted=True)
            case SpoofGuard():
                await self._firewall.guards.put(obj)
            case PortForward():
                await self._firewall.publish(obj)
                self._connections.forget(obj, is_there=True)
            case RoutedPair() | RoutedPort() | RoutedSource():
                await self._firewall.routed.put(obj)
            case SandboxFilter():
                self._filters.put(obj)
            case _:
                await self._firewall.sets.add(obj)

    async def _change(self, obj: KernelObject, differing: frozenset[str]) -> None:
        match obj:
            case Bridge() | Veth() | RoutedVeth() | Vlan() | Sublink() | Shim():
                await self._links.change(obj, differing)
            case Firewall():
                async with self._rules:
                    await self._firewall.install(obj)
            case _:
                await self._create(obj)

    async def _delete(self, obj: KernelObject) -> None:
        match obj:
            case Bridge() | Veth() | RoutedVeth() | Vlan() | Sublink() | Shim():
                await self._links.doom(obj.name)
                self._reaper.wake()
            case Address():
                await self._links.remove_address(obj)
            case Route():
                self._links.routes.remove(obj)
            case ProxyNeighbour():
                self._links.routes.remove_proxy(obj)
            case HostPort():
                await self._ports.release(obj)
            case SandboxLink(sublink=Sublink()):
                await sandbox.empty(obj)
            case SandboxLink() | Sysctl() | SandboxMtu():
                raise PynetError(f"{obj.key} goes with something else or not at all")
            case _:
                await self._remove_rule(obj)

    async def _remove_rule(self, obj: _Rule) -> None:
        match obj:
            case Firewall() | RoutedFilter():
                await self._remove_shared(obj)
            case SpoofGuard():
                await self._firewall.guards.withdraw(obj)
            case PortForward():
                await self._firewall.unpublish(obj)
                self._connections.forget(obj, is_there=False)
            case OpenPort():
                await self._firewall.sets.remove(obj)
                self._connections.forget(obj, is_there=False)
            case PeerSubnet():
                await self._firewall.sets.remove(obj)
                theirs = self._firewall.sets.subnets_of(obj.link)
                await self._connections.forget_peer(obj, theirs)
            case RoutedPort():
                await self._firewall.routed.withdraw(obj)
                self._connections.forget(obj, is_there=False)
            case RoutedPair() | RoutedSource():
                await self._firewall.routed.withdraw(obj)
                if isinstance(obj, RoutedPair) and obj.source != obj.destination:
                    await self._connections.forget_between(obj.source, [obj.destination])
            case SandboxFilter():
                await self._filters.withdraw(obj)
            case _:
                await self._firewall.sets.remove(obj)

    async def _remove_shared(self, obj: Firewall | RoutedFilter) -> None:
        async with self._rules:
            if isinstance(obj, Firewall):
                await self._firewall.remove()
            else:
                await self._firewall.filter_routed(wanted=False)

    async def _fill(self, link: SandboxLink) -> None:
        """Fill a sandbox; a sublink is made first, and not left behind where that fails."""
        sublink = link.sublink
        if sublink is None or index_of(sublink.name) or await sandbox.look(link) is not None:
            await sandbox.fill(link)
            return
        await self._links.make(sublink)
        try:
            await sandbox.fill(link)
        except BaseException:
            await self._delete(sublink)
            raise
