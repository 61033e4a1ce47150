"""A kernel that lasts as long as the process; it refuses what Linux refuses.

    kernel = MemoryKernel(before_step=fail_at(3))
    await kernel.apply(Create(Bridge(name="py-1")))
    await kernel.look([Bridge(name="py-1")])

It keeps the promises of `netplug.contract.kernel`; tests/contract holds it and the real kernel to
the same suite. Links are removed at once: there is no grace period to share.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from itertools import count
from types import MappingProxyType

from netplug.contract.driver import NO_WISH, FactsWish
from netplug.contract.kernel import SandboxFacts, Translation
from netplug.errors import Conflict, KernelRefused, PortTaken, PynetError, Unsupported
from netplug.kernel import memoryuplinks
from netplug.model import HostFacts, IPAddress, IPNetwork, LinkFacts, Parent, Protocol, Reached, Way
from netplug.plan.diff import Change, Create, Delete, Step
from netplug.plan.objects import (
    Address,
    Bridge,
    EngineSubnet,
    Firewall,
    Foreign,
    HostPort,
    KernelObject,
    Key,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
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
from netplug.plan.order import is_of_firewall, is_on_uplink

Seen = KernelObject | Foreign
Link = Bridge | Veth | RoutedVeth | Vlan | Sublink | Shim
_Rule = SetMember | SpoofGuard | PortForward | RoutedFilter | RoutedPair | RoutedPort | RoutedSource
Hook = Callable[[object], None]

SWITCHES = memoryuplinks.HOST_SWITCHES
_FIREWALL = Key("firewall", "PYNET")
_HOST = HostFacts()
_MTU_BYTES = 1500
_MAC = "02:00:00:00:00:01"
_NO_PORTS: Mapping[tuple[Protocol, int], str] = MappingProxyType({})
_NO_ROUTES: Mapping[IPNetwork, str] = MappingProxyType({})


class Stopped(BaseException):
    """The process died here. It is no Exception, so that nothing that still runs handles it."""


def fail_at(number: int) -> Hook:
    """Return a hook that refuses the step of that number, counted from 0, and no other."""
    counter = count()

    def hook(step: object) -> None:
        if next(counter) == number:
            raise KernelRefused(f"take step {number}", "the test says so", errno.ENOMEM)

    return hook


def stop_at(number: int) -> Hook:
    """Return a hook that dies before the step of that number and before every later one."""
    counter = count()

    def hook(step: object) -> None:
        if next(counter) >= number:
            raise Stopped(f"at {step}")

    return hook


class MemoryKernel:
    """Fulfils `Kernel` with a dictionary.

    `foreign` are links of others, `namespaces` the paths that sandbox links may enter, `routes`
    the networks that the host reaches directly, by link, and `reach` what it reaches besides,
    `port_holders` who has a port of the host other than pynet, `uplinks` the host's own links,
    `link_kinds` the types of links that it can make, `inhabitants` what is in namespaces besides
    our own links, `neighbours` who answers, by link, `introduced` whom the host was told of.
    `before_step` is called before each step and may raise in its place. Every call first lets
    others run, as a trip to the kernel would.
    """

    def __init__(
        self,
        *,
        facts: HostFacts = _HOST,
        foreign: Iterable[Foreign] = (),
        namespaces: Iterable[str] = (),
        routes: Mapping[IPNetwork, str] = _NO_ROUTES,
        port_holders: Mapping[tuple[Protocol, int], str] = _NO_PORTS,
        uplinks: Iterable[LinkFacts] = (memoryuplinks.ETH0,),
        link_kinds: Iterable[str] = memoryuplinks.LINK_KINDS,
        before_step: Hook = lambda step: None,
    ) -> None:
        self.host = facts
        self.before_step = before_step
        self.foreign = {f.key: f for f in foreign}
        self.namespaces = set(namespaces)
        self.routes = dict(routes)
        self.reach: set[Reached] = set()
        self.port_holders = dict(port_holders)
        self._objects: dict[Key, KernelObject] = {}
        self._is_touched = False
        self.inhabitants: dict[str, SandboxFacts] = {}
        self.neighbours: dict[IPAddress, str] = {}
        self.introduced: dict[tuple[str, IPAddress], str] = {}
        self.uplinks: dict[str, LinkFacts] = {}
        self.link_kinds = set(link_kinds)
        for name in SWITCHES:
            self._put(Sysctl(name=name, value="0"))
        for link in uplinks:
            self.plug(link)

    @property
    def objects(self) -> frozenset[KernelObject]:
        """Everything that exists and is not foreign, switches too, as it would be looked up."""
        return frozenset(self._readable(o) for o in self._objects.values())

    def plug(self, link: LinkFacts) -> None:
        """Do what somebody else does who adds a link of the host's, or changes one."""
        self.uplinks[link.name] = link
        for name, value in memoryuplinks.switches_of(link.name).items():
            if Key("sysctl", name) not in self._objects:
                self._put(Sysctl(name=name, value=value))

    def unplug(self, name: str) -> None:
        """Do what somebody else does who removes a link of the host's; what is on it goes too."""
        self.uplinks.pop(name, None)
        on_it = Vlan | Sublink | Shim
        above = [o for o in self._objects.values() if isinstance(o, on_it) and o.parent == name]
        for link in above:
            self.unplug(link.name)
        self._drop([*above, *self._standing_on(name), *self._switches_of(name)])
        self._drop(o for o in self._sandbox_links() if o.sublink and o.host_link == name)

    def rename(self, name: str, new: str) -> None:
        """Do what somebody else does who renames a link of the host's; what is on it stays."""
        self.uplinks[new] = replace(self.uplinks.pop(name), name=new)
        for obj in list(self._objects.values()):
            match obj:
                case Vlan(parent=link) | Sublink(parent=link) | Shim(parent=link) if link == name:
                    self._put(replace(obj, parent=new))
                case SandboxLink(host_link=link) if link == name:
                    self._put(replace(obj, host_link=new))
                case Address() | Route() | ProxyNeighbour() if obj.link == name:
                    self._drop([obj])
                    self._put(replace(obj, link=new))
                case Sysctl() if obj.name in memoryuplinks.switches_of(name):
                    self._drop([obj])
                    self._put(replace(obj, name=obj.name.replace(f"/{name}/", f"/{new}/")))
                case _:
                    pass

    def move(self, link: str, netns: str) -> None:
        """Do what dockerd does: take the sandbox's end of a link into a namespace."""
        mtu_bytes: int | None = None
        for obj in list(self._objects.values()):
            is_pair = isinstance(obj, RoutedVeth) and obj.peer == link
            if is_pair or (isinstance(obj, Sublink) and obj.name == link):
                mtu_bytes = obj.mtu_bytes if isinstance(obj, RoutedVeth | Sublink) else None
            if isinstance(obj, Sublink) and obj.name == link:
                self._drop([obj])
        self._put(SandboxMtu(link=link, netns=netns, mtu_bytes=mtu_bytes or _MTU_BYTES))

    async def look(self, objects: Collection[KernelObject]) -> frozenset[Seen]:
        """Return those of `objects` that exist, found by key."""
        await asyncio.sleep(0)
        firewall = self._objects.get(_FIREWALL)
        return frozenset(self._found(objects) | ({firewall} if firewall else set()))

    async def inventory(self, wanted: Collection[KernelObject]) -> frozenset[Seen]:
        """Return everything that carries our marks, and what of `wanted` has none but exists."""
        await asyncio.sleep(0)
        self._is_touched = False
        marked = {o for o in self.objects if not isinstance(o, Sysctl | SandboxLink | SandboxMtu)}
        return frozenset(marked | self._found(wanted))

    def has_changed(self) -> bool:
        """Return whether something of the packet filter was lost and is not put back."""
        firewall = self._objects.get(_FIREWALL)
        return self._is_touched or (isinstance(firewall, Firewall) and bool(firewall.faults))

    async def firewall(self, wanted: Collection[KernelObject]) -> frozenset[KernelObject]:
        """Return what of an inventory is the packet filter."""
        await asyncio.sleep(0)
        found = frozenset(o for o in self.objects if is_of_firewall(o))
        is_lacking = any(is_of_firewall(o) and o not in found for o in wanted)
        self._is_touched = self._is_touched and is_lacking
        return found

    def lose(self, *objects: KernelObject) -> None:
        """Do what somebody else does who clears rules: the firewall is left with a fault."""
        for obj in objects:
            if isinstance(obj, Firewall):
                self._put(replace(obj, faults=("the rules",)))
            else:
                self._drop([obj])
        self._is_touched = True

    def touch(self) -> None:
        """Do what somebody else does who changes rules of his own."""
        self._is_touched = True

    async def apply(self, step: Step) -> None:
        """Take one step."""
        await asyncio.sleep(0)
        self.before_step(step)
        match step:
            case Create(obj):
                self._create(obj)
            case Change(obj, _, differing):
                self._change(obj, differing)
            case Delete(obj):
                self._delete(obj)

    async def settle(self) -> None:
        """Return: nothing is ever pending."""

    async def translations(self) -> Mapping[Key, Translation]:
        """Return each port forward; nothing is ever counted."""
        await asyncio.sleep(0)
        return {o.key: Translation() for o in self.objects if isinstance(o, PortForward)}

    async def facts(self, wish: FactsWish = NO_WISH) -> HostFacts:
        """Return what the host is like now, and what is wished for of its links."""
        await asyncio.sleep(0)
        names = wish.links | ({self.host.uplink} if wish.wants_uplink else set())
        links = {name: link for name, link in self._host_links().items() if name in names}
        kinds = frozenset(wish.kinds & self.link_kinds)
        return replace(self.host, links=MappingProxyType(links), link_kinds=kinds)

    async def find(self, parent: Parent) -> LinkFacts | None:
        """Return the link that `parent` describes, under whatever name; None if it is gone."""
        await asyncio.sleep(0)
        return memoryuplinks.find(parent, self._host_links().values())

    async def introduce(self, addresses: Collection[IPAddress], mac: str, link: str) -> None:
        """Note which MAC the host was told of addresses on a link."""
        self.introduced.update({(link, address): mac for address in addresses})

    async def on_uplinks(self, wanted: Collection[KernelObject]) -> frozenset[Seen]:
        """Return what of an inventory stands on links that are the host's own."""
        await asyncio.sleep(0)
        marked = {o for o in self.objects if not isinstance(o, Sysctl | SandboxMtu)}
        found = marked | self._found([o for o in wanted if is_on_uplink(o)])
        return frozenset(o for o in found if isinstance(o, Foreign) or is_on_uplink(o))

    async def moved_by(self, switch: Sysctl) -> Mapping[str, str]:
        """Return the other switches that setting `switch` changes too, with their values now."""
        await asyncio.sleep(0)
        return self._moved_by(switch)

    async def reached(self, versions: Collection[int]) -> frozenset[Reached]:
        """Return what the host reaches beside our networks."""
        await asyncio.sleep(0)
        direct = {Reached(network=n, way=Way.DIRECT, where=link) for n, link in self.routes.items()}
        return frozenset(r for r in direct | self.reach if r.network.version in versions)

    async def sandboxes(self, known: Collection[str]) -> Mapping[str, SandboxFacts]:
        """Return what is in the namespaces of these paths, and in those that lie beside them."""
        await asyncio.sleep(0)
        found = {path: SandboxFacts() for path in self.namespaces} | self.inhabitants
        for link in self._sandbox_links():
            within = found.get(link.netns, SandboxFacts())
            own = {address.ip for address in link.addresses}
            found[link.netns] = replace(within, addresses=within.addresses | own)
        return MappingProxyType(found)

    async def answering(self, addresses: Collection[IPAddress]) -> Mapping[IPAddress, str]:
        """Return which addresses somebody has, and the link on which the host finds them."""
        await asyncio.sleep(0)
        hosts = [o for o in self._objects.values() if isinstance(o, Address)]
        found = {o.address.ip: o.link for o in hosts} | self.neighbours
        bridges = {veth.name: veth.bridge for veth in self._veths()}
        for link in self._sandbox_links():
            way = bridges.get(link.host_link) or link.host_link
            found |= {address.ip: way for address in link.addresses}
        return MappingProxyType({a: found[a] for a in addresses if a in found})

    def _found(self, wanted: Collection[KernelObject]) -> set[Seen]:
        found: set[Seen] = set()
        for wish in wanted:
            if stranger := self.foreign.get(wish.key):
                found.add(stranger)
            if isinstance(wish, Link) and wish.name in self.uplinks:
                found.add(Foreign(key=wish.key, description="a link of the host's"))
            present = self._objects.get(wish.key)
            if isinstance(wish, SandboxMtu) and not self._is_inside(wish):
                found.add(wish)
            elif present is not None:
                found.add(self._readable(present, wish))
        return found

    def _create(self, obj: KernelObject) -> None:
        match obj:
            case Bridge() | Veth() | RoutedVeth() | Vlan() | Sublink() | Shim():
                self._make_link(obj)
            case Address():
                self._add_address(obj)
            case Route():
                self._add_route(obj)
            case Sysctl():
                self._switch(obj)
            case SandboxLink():
                self._fill(obj)
            case HostPort():
                self._bind(obj)
            case ProxyNeighbour(link=link):
                self._link(link)
                self._put(obj)
            case SandboxMtu() if not self._is_inside(obj):
                pass
            case Firewall() | SandboxMtu() | SandboxFilter():
                self._put(obj)
            case _:
                self._add_rule(obj)

    def _add_rule(self, obj: _Rule) -> None:
        match obj:
            case SpoofGuard():
                self._guard(obj)
            case RoutedPair():
                self._add_to_firewall(obj, obj.source.version)
            case RoutedFilter():
                self._add_to_firewall(obj, 4)
            case Masquerade() | LocalSubnet() | PeerSubnet() | EngineSubnet():
                self._add_to_firewall(obj, obj.subnet.version)
            case _:
                self._add_to_firewall(obj, obj.address.version)

    def _switch(self, switch: Sysctl) -> None:
        if switch.key not in self._objects:
            raise _refused(f"set {switch.name}", errno.ENOENT)
        for name in self._moved_by(switch):
            self._put(Sysctl(name=name, value=memoryuplinks.moved_to(name, switch.value)))
        self._put(Sysctl(name=switch.name, value=switch.value))

    def _moved_by(self, switch: Sysctl) -> dict[str, str]:
        switches = (o for o in self._objects.values() if isinstance(o, Sysctl))
        present = {o.name: o.value for o in switches}
        return memoryuplinks.moved_by(switch.name, switch.value, present)

    def _add_route(self, route: Route) -> None:
        self._link(route.link)
        for other in self._objects.values():
            is_there = isinstance(other, Route) and other.destination == route.destination
            if is_there and other.key != route.key:
                raise Conflict(f"route {route.destination}", "exists")
        self._put(route)

    def _add_address(self, address: Address) -> None:
        link = self._link(address.link)
        is_of_ipv6 = address.address.version == 6
        if is_of_ipv6 and isinstance(link, Bridge | RoutedVeth | Shim) and not link.has_ipv6:
            raise _refused(f"add {address.key}", errno.EACCES)
        self._put(address)

    def _make_link(self, link: Link) -> None:
        taken = {key.name for key in (*self._objects, *self.foreign) if key.kind == "link"}
        taken |= {v.peer for v in self._pairs() if v.peer and not self._inside(v)}
        taken |= self.uplinks.keys()
        if link.name in taken or (isinstance(link, Veth | RoutedVeth) and link.peer in taken):
            raise _refused(f"create {link.key}", errno.EEXIST)
        if isinstance(link, Veth) and link.bridge:
            self._own_bridge(link.bridge)
        if isinstance(link, Vlan | Sublink | Shim):
            self._check_parent(link)
        if isinstance(link, Vlan):
            for name, value in memoryuplinks.switches_of(link.name).items():
                self._put(Sysctl(name=name, value=value))
        if isinstance(link, Bridge):
            self._put(memoryuplinks.reverse_path_of(link))
        self._put(link)

    def _check_parent(self, link: Vlan | Sublink | Shim) -> None:
        kinds = {Vlan: "vlan", Shim: "macvlan"}
        kind = link.kind if isinstance(link, Sublink) else kinds[type(link)]
        if kind not in self.link_kinds:
            raise _refused(f"create {link.key}", errno.EOPNOTSUPP)
        self._link(link.parent)

    def _change(self, obj: KernelObject, differing: frozenset[str]) -> None:
        if not isinstance(obj, Link):
            self._create(obj)
            return
        present = self._objects.get(obj.key)
        if present is None:
            raise _refused(f"change {obj.key}", errno.ENODEV)
        if isinstance(obj, Veth) and "bridge" in differing and obj.bridge:
            self._own_bridge(obj.bridge)
        if isinstance(obj, Vlan | Sublink | Shim):
            self._check_parent(obj)
        self._put(replace(present, **{name: getattr(obj, name) for name in differing}))
        is_of_ipv6 = isinstance(obj, Bridge | RoutedVeth | Shim) and bool(obj.has_ipv6)
        if "has_ipv6" in differing and not is_of_ipv6:
            self._drop(o for o in self._standing_on(obj.name) if _version(o) == 6)

    def _delete(self, obj: KernelObject) -> None:
        match obj:
            case Bridge() | Veth() | RoutedVeth() | Vlan() | Sublink() | Shim():
                self._drop_with(obj)
            case Firewall():
                self._drop(o for o in self.objects if is_of_firewall(o))
            case SandboxLink(sublink=None) | Sysctl() | SandboxMtu():
                raise PynetError(f"{obj.key} goes with something else or not at all")
            case _:
                pass
        self._drop([obj])

    def _drop_with(self, link: Link) -> None:
        """Drop what goes along with a link."""
        if isinstance(link, Vlan):
            self.unplug(link.name)
        elif not isinstance(link, Veth):
            self._drop(self._standing_on(link.name))
        if isinstance(link, Bridge):
            self._drop([memoryuplinks.reverse_path_of(link)])
        if isinstance(link, Veth | RoutedVeth):
            self._drop(self._inside(link))
            self._drop(o for o in self._mtus() if o.link == self._peer_of(link))
        for port in self._veths():
            if port.bridge == link.name:
                self._put(replace(port, bridge="", is_isolated=False, is_hairpin=False))

    def _add_to_firewall(self, obj: KernelObject, version: int) -> None:
        if not self._has_sets(version):
            raise _refused(f"add {obj.key}", errno.ENOENT)
        self._put(obj)

    def _guard(self, guard: SpoofGuard) -> None:
        if not self.host.has_spoof_guard:
            raise Unsupported("the spoof guard", "this host has none")
        self._add_to_firewall(guard, 4)

    def _bind(self, port: HostPort) -> None:
        """Bind each port unless another socket has it; all or none."""
        for number in range(port.first, port.first + port.count):
            if holder := self.port_holders.get((port.protocol, number)):
                raise PortTaken(f"{number}/{port.protocol}", holder)
        others = (o for o in self._objects.values() if isinstance(o, HostPort))
        for other in others:
            if other.key != port.key and _collide(port, other):
                raise PortTaken(port.key.name, "pynet")
        self._put(port)

    def _fill(self, link: SandboxLink) -> None:
        if link.netns not in self.namespaces:
            raise _refused(f"enter the namespace {link.netns}", errno.ENOENT)
        if link.sublink is not None:
            self._fill_by_sublink(link, link.sublink)
            return
        is_on_host = any(v.peer == link.peer and not self._inside(v) for v in self._pairs())
        if is_on_host and link.key in self._objects:
            raise Conflict(f"interface {link.name}", f"exists in {link.netns}", "name another")
        if not is_on_host and link.key not in self._objects:
            raise _refused(f"configure {link.name} in {link.netns}", errno.ENODEV)
        self._put(link)

    def _fill_by_sublink(self, link: SandboxLink, sublink: Sublink) -> None:
        present = self._objects.get(link.key)
        if not isinstance(present, SandboxLink):
            if sublink.key not in self._objects:
                self._make_link(sublink)
            self._drop([sublink])
        elif present.peer != link.peer:
            raise Conflict(f"interface {link.name}", f"exists in {link.netns}", "name another")
        self._put(link)

    def _link(self, name: str) -> Seen | LinkFacts:
        """Return a link that something is to stand on; Linux does not ask whose it is."""
        key = Key("link", name)
        link = self._objects.get(key) or self.foreign.get(key) or self.uplinks.get(name)
        if link is None:
            raise _refused(f"use link {name}", errno.ENODEV)
        return link

    def _own_bridge(self, name: str) -> None:
        if isinstance(self._link(name), Foreign):
            raise Conflict(f"link {name}", "exists and is not pynet's", "remove or rename it")

    def _has_sets(self, version: int) -> bool:
        firewall = self._objects.get(_FIREWALL)
        return isinstance(firewall, Firewall) and (version == 4 or bool(firewall.has_ipv6))

    def _veths(self) -> list[Veth]:
        return [o for o in self._objects.values() if isinstance(o, Veth)]

    def _host_links(self) -> dict[str, LinkFacts]:
        """Return the links of the host by name, those VLANs too that are ours."""
        vlans = [o for o in self._objects.values() if isinstance(o, Vlan)]
        return self.uplinks | {o.name: memoryuplinks.facts_of(o, self.uplinks) for o in vlans}

    def _pairs(self) -> list[Veth | RoutedVeth]:
        return [o for o in self._objects.values() if isinstance(o, Veth | RoutedVeth)]

    def _peer_of(self, veth: Veth | RoutedVeth) -> str | None:
        present = self._objects.get(veth.key)
        return present.peer if isinstance(present, Veth | RoutedVeth) else None

    def _mtus(self) -> list[SandboxMtu]:
        return [o for o in self._objects.values() if isinstance(o, SandboxMtu)]

    def _inside(self, veth: Link) -> list[SandboxLink]:
        return [link for link in self._sandbox_links() if link.host_link == veth.name]

    def _is_inside(self, mtu: SandboxMtu) -> bool:
        present = self._objects.get(mtu.key)
        return isinstance(present, SandboxMtu) and present.netns == mtu.netns

    def _sandbox_links(self) -> list[SandboxLink]:
        return [o for o in self._objects.values() if isinstance(o, SandboxLink)]

    def _standing_on(self, link: str) -> list[Address | Route | ProxyNeighbour]:
        on_links = Address | Route | ProxyNeighbour
        return [o for o in self._objects.values() if isinstance(o, on_links) and o.link == link]

    def _switches_of(self, link: str) -> list[Sysctl]:
        return [Sysctl(name=name, value="") for name in memoryuplinks.switches_of(link)]

    def _readable(self, obj: KernelObject, wish: KernelObject | None = None) -> KernelObject:
        if isinstance(obj, Sysctl) and isinstance(wish, Sysctl):
            return replace(wish, value=obj.value)
        macs = {link.name: link.mac for link in self.uplinks.values()}
        return memoryuplinks.readable(_readable(obj, wish), macs)

    def _put(self, obj: KernelObject) -> None:
        self._objects[obj.key] = obj

    def _drop(self, objects: Iterable[KernelObject]) -> None:
        for obj in list(objects):
            self._objects.pop(obj.key, None)


def _readable(obj: KernelObject, wish: KernelObject | None = None) -> KernelObject:
    """Return `obj` as a look-up shows it: with defaults, without what cannot be read back."""
    match obj:
        case Bridge():
            return replace(
                obj,
                mac=obj.mac or _MAC,
                mtu_bytes=obj.mtu_bytes or _MTU_BYTES,
                policy=obj.policy or LinkPolicy.NONE,
                has_ipv6=bool(obj.has_ipv6),
                routes_localnet=bool(obj.routes_localnet),
                is_up=obj.is_up is not False,
            )
        case Veth():
            return replace(
                obj,
                peer=None,
                peer_mac=None,
                is_lent=None,
                mtu_bytes=obj.mtu_bytes or _MTU_BYTES,
                bridge=obj.bridge or "",
                is_isolated=bool(obj.is_isolated),
                is_hairpin=bool(obj.is_hairpin),
                is_guarded=bool(obj.is_guarded),
                is_up=obj.is_up is not False,
            )
        case SandboxLink() if isinstance(wish, SandboxLink):
            return replace(
                wish,
                mac=obj.mac,
                addresses=tuple(a for a in wish.addresses if a in obj.addresses),
                routes=tuple(r for r in wish.routes if r in obj.routes),
                gateways=tuple(g for g in wish.gateways if g in obj.gateways),
            )
        case _:
            return obj


def _version(obj: Address | Route | ProxyNeighbour) -> int:
    match obj:
        case Address(address=address) | ProxyNeighbour(address=address):
            return address.version
        case Route(destination=destination):
            return destination.version


def _collide(one: HostPort, two: HostPort) -> bool:
    """Return whether two sockets cannot both be bound."""
    return (
        one.protocol is two.protocol
        and one.address.version == two.address.version
        and (one.address == two.address or one.address.is_unspecified or two.address.is_unspecified)
        and one.first < two.first + two.count
        and two.first < one.first + one.count
    )


def _refused(step: str, code: int) -> KernelRefused:
    return KernelRefused(step, os.strerror(code), code)
