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

from netplug.errors import Conflict, KernelRefused, PynetError
from netplug.model import HostFacts, IPNetwork
from netplug.plan.diff import Change, Create, Delete, Step
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    Foreign,
    KernelObject,
    Key,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    SandboxLink,
    Sysctl,
    Veth,
)

Seen = KernelObject | Foreign
Hook = Callable[[object], None]

SWITCHES = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
)
_FIREWALL = Key("firewall", "PYNET")
_HOST = HostFacts()
_MTU_BYTES = 1500
_MAC = "02:00:00:00:00:01"
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
    the networks that the host reaches directly, by link. `before_step` is called before each step
    and may raise in its place. Every call first lets others run, as a trip to the kernel would.
    """

    def __init__(
        self,
        *,
        facts: HostFacts = _HOST,
        foreign: Iterable[Foreign] = (),
        namespaces: Iterable[str] = (),
        routes: Mapping[IPNetwork, str] = _NO_ROUTES,
        before_step: Hook = lambda step: None,
    ) -> None:
        self.host = facts
        self.before_step = before_step
        self.foreign = {f.key: f for f in foreign}
        self.namespaces = set(namespaces)
        self.routes = dict(routes)
        self._objects: dict[Key, KernelObject] = {}
        for name in SWITCHES:
            self._put(Sysctl(name=name, value="0"))

    @property
    def objects(self) -> frozenset[KernelObject]:
        """Everything that exists and is not foreign, switches too, as it would be looked up."""
        return frozenset(_readable(o) for o in self._objects.values())

    async def look(self, objects: Collection[KernelObject]) -> frozenset[Seen]:
        """Return those of `objects` that exist, found by key."""
        await asyncio.sleep(0)
        return frozenset(self._found(objects))

    async def inventory(self, wanted: Collection[KernelObject]) -> frozenset[Seen]:
        """Return everything that carries our marks, and what of `wanted` has none but exists."""
        await asyncio.sleep(0)
        marked = {o for o in self.objects if not isinstance(o, Sysctl | SandboxLink)}
        return frozenset(marked | self._found(wanted))

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

    async def facts(self) -> HostFacts:
        """Return what the host is like now."""
        await asyncio.sleep(0)
        return self.host

    async def taken_networks(self) -> frozenset[IPNetwork]:
        """Return the networks that the host routes."""
        await asyncio.sleep(0)
        return frozenset(self._reached())

    async def link_towards(self, network: IPNetwork) -> str:
        """Return the link on which the host reaches `network` directly, empty if there is none."""
        await asyncio.sleep(0)
        for end in (network[0], network[-1]):
            for reached, link in self._reached().items():
                if end in reached:
                    return link
        return ""

    def _found(self, wanted: Collection[KernelObject]) -> set[Seen]:
        found: set[Seen] = set()
        for wish in wanted:
            if stranger := self.foreign.get(wish.key):
                found.add(stranger)
            if (present := self._objects.get(wish.key)) is not None:
                found.add(_readable(present, wish))
        return found

    def _create(self, obj: KernelObject) -> None:
        match obj:
            case Bridge() | Veth():
                self._make_link(obj)
            case Address(link=link, address=address):
                bridge = self._link(link)
                if address.version == 6 and isinstance(bridge, Bridge) and not bridge.has_ipv6:
                    raise _refused(f"add {obj.key}", errno.EACCES)
                self._put(obj)
            case Sysctl():
                if obj.key not in self._objects:
                    raise _refused(f"set {obj.name}", errno.ENOENT)
                self._put(obj)
            case SandboxLink():
                self._fill(obj)
            case Masquerade() | LocalSubnet():
                if not self._has_sets(obj.subnet.version):
                    raise _refused(f"add {obj.key}", errno.ENOENT)
                self._put(obj)
            case Firewall():
                self._put(obj)

    def _make_link(self, link: Bridge | Veth) -> None:
        taken = {key.name for key in (*self._objects, *self.foreign) if key.kind == "link"}
        taken |= {v.peer for v in self._veths() if v.peer and not self._inside(v)}
        if link.name in taken or (isinstance(link, Veth) and link.peer in taken):
            raise _refused(f"create {link.key}", errno.EEXIST)
        if isinstance(link, Veth) and link.bridge:
            self._own_bridge(link.bridge)
        self._put(link)

    def _change(self, obj: KernelObject, differing: frozenset[str]) -> None:
        if not isinstance(obj, Bridge | Veth):
            self._create(obj)
            return
        present = self._objects.get(obj.key)
        if present is None:
            raise _refused(f"change {obj.key}", errno.ENODEV)
        if isinstance(obj, Veth) and "bridge" in differing and obj.bridge:
            self._own_bridge(obj.bridge)
        self._put(replace(present, **{name: getattr(obj, name) for name in differing}))
        if isinstance(obj, Bridge) and "has_ipv6" in differing and not obj.has_ipv6:
            self._drop(a for a in self._addresses(obj.name) if a.address.version == 6)

    def _delete(self, obj: KernelObject) -> None:
        match obj:
            case Bridge():
                self._drop(self._addresses(obj.name))
                for port in self._veths():
                    if port.bridge == obj.name:
                        self._put(replace(port, bridge="", is_isolated=False))
            case Veth():
                self._drop(self._inside(obj))
            case Firewall():
                self._drop(o for o in self.objects if isinstance(o, Masquerade | LocalSubnet))
            case SandboxLink() | Sysctl():
                raise PynetError(f"{obj.key} goes with something else or not at all")
            case _:
                pass
        self._drop([obj])

    def _fill(self, link: SandboxLink) -> None:
        if link.netns not in self.namespaces:
            raise _refused(f"enter the namespace {link.netns}", errno.ENOENT)
        is_on_host = any(v.peer == link.peer and not self._inside(v) for v in self._veths())
        if is_on_host and link.key in self._objects:
            raise Conflict(f"interface {link.name}", f"exists in {link.netns}", "name another")
        if not is_on_host and link.key not in self._objects:
            raise _refused(f"configure {link.name} in {link.netns}", errno.ENODEV)
        self._put(link)

    def _link(self, name: str) -> Seen:
        """Return a link that something is to stand on; Linux does not ask whose it is."""
        key = Key("link", name)
        link = self._objects.get(key) or self.foreign.get(key)
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

    def _inside(self, veth: Veth) -> list[SandboxLink]:
        links = (o for o in self._objects.values() if isinstance(o, SandboxLink))
        return [link for link in links if link.host_link == veth.name]

    def _addresses(self, link: str) -> list[Address]:
        return [o for o in self._objects.values() if isinstance(o, Address) and o.link == link]

    def _reached(self) -> dict[IPNetwork, str]:
        addresses = (o for o in self._objects.values() if isinstance(o, Address))
        return self.routes | {a.address.network: a.link for a in addresses}

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
                is_up=obj.is_up is not False,
            )
        case SandboxLink() if isinstance(wish, SandboxLink):
            return replace(
                wish,
                mac=obj.mac,
                addresses=tuple(a for a in wish.addresses if a in obj.addresses),
                gateways=tuple(g for g in wish.gateways if g in obj.gateways),
            )
        case _:
            return obj


def _refused(step: str, code: int) -> KernelRefused:
    return KernelRefused(step, os.strerror(code), code)
