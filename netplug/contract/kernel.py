"""The one door to the kernel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from netplug.contract.driver import NO_WISH, FactsWish
from netplug.model import HostFacts, IPAddress, LinkFacts, Parent, Reached
from netplug.plan.diff import Step
from netplug.plan.objects import Foreign, KernelObject, Key, Sysctl


@dataclass(frozen=True, slots=True)
class Translation:
    """How a port forward stands in the kernel: what opened connections, and the rules' text."""

    packets: int = 0
    bytes: int = 0
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """What is in a network namespace: addresses that others may ask for, and perhaps a process."""

    addresses: frozenset[IPAddress] = frozenset()
    is_inhabited: bool = False


class Kernel(Protocol):
    """Reads and changes one network namespace, the host's."""

    async def look(self, objects: Collection[KernelObject]) -> frozenset[KernelObject | Foreign]:
        """Return those of `objects` that exist, as they are, found by name and never by a dump.

        The firewall is taken to be as the last acknowledged change or inventory left it.

        Raises:
            KernelRefused: a look-up failed for a reason other than absence.
        """
        ...

    async def inventory(
        self, wanted: Collection[KernelObject]
    ) -> frozenset[KernelObject | Foreign]:
        """Return everything that carries our marks, read afresh; dumps tables, so not hot.

        Of `wanted` it also returns what carries no mark but exists: switches, links inside
        sandboxes, and foreign links of a wanted name.

        Raises:
            KernelRefused: a table cannot be read.
        """
        ...

    def has_changed(self) -> bool:
        """Return whether somebody may have touched rules, sets or maps since they were last read.

        Cheap enough for every second: it forks nothing, dumps no table and takes 0.1 ms. In doubt
        it says yes. What somebody puts in the place of as much escapes it until the next inventory.
        """
        ...

    async def firewall(self, wanted: Collection[KernelObject]) -> frozenset[KernelObject]:
        """Return what of an `inventory` is the packet filter: rules, and members of sets and maps.

        Raises:
            KernelRefused: they cannot be read.
        """
        ...

    async def apply(self, step: Step) -> None:
        """Take one step. Repeating it changes nothing; a link made twice is refused.

        Removing a link marks it and returns: marked links go together a little later, since each
        removal costs the kernel a grace period (16-30 ms). The mark is in the kernel, so that a
        crash in between loses nothing.

        Raises:
            KernelRefused: with the step and the kernel's reason.
            Unsupported: this kernel lacks what the step needs.
        """
        ...

    async def settle(self) -> None:
        """Wait until every marked link is gone, and the connections of changed ports forgotten."""
        ...

    async def translations(self) -> Mapping[Key, Translation]:
        """Return each port forward that is in place, by its key, with its counters.

        Raises:
            KernelRefused: they cannot be read.
        """
        ...

    async def facts(self, wish: FactsWish = NO_WISH) -> HostFacts:
        """Return what the host is like now, and the links and types of links that are wished for.

        A type is tried with a request that makes nothing.
        """
        ...

    async def find(self, parent: Parent) -> LinkFacts | None:
        """Return the link that `parent` describes, under whatever name; None if it is gone.

        It is the one of its name, unless that has another MAC; else that of its index, if it has
        its MAC; else the only one of its MAC.
        """
        ...

    async def on_uplinks(
        self, wanted: Collection[KernelObject]
    ) -> frozenset[KernelObject | Foreign]:
        """Return what of an `inventory` stands on links that are the host's own.

        Routes, proxied addresses, switches, VLANs, and the links of routed endpoints
        (`netplug.plan.order.is_on_uplink`): a few milliseconds for a thousand endpoints.

        Raises:
            KernelRefused: a table cannot be read.
        """
        ...

    async def moved_by(self, switch: Sysctl) -> Mapping[str, str]:
        """Return the other switches that setting `switch` changes too, with their values now."""
        ...

    async def introduce(self, addresses: Collection[IPAddress], mac: str, link: str) -> None:
        """Tell the host which MAC addresses on a link have; it believes what they say themselves.

        What is sent to one before it answers is lost otherwise, and the host asks again only after
        a second. What cannot be told is not: the host asks, then.
        """
        ...

    async def reached(self, versions: Collection[int]) -> frozenset[Reached]:
        """Return what the host reaches of IPv4 and IPv6: by routes, its addresses, its resolvers.

        Less default routes, and less what is on links that pynet names: the view has that, and it
        may be thousands. A link of ours that the user named may be there.

        Raises:
            KernelRefused: routes or addresses cannot be listed.
        """
        ...

    async def sandboxes(self, known: Collection[str]) -> Mapping[str, SandboxFacts]:
        """Return what is in the namespaces of these paths, and in those that lie beside them.

        Beside them is in the same folders, and where Docker and `ip netns` have theirs. One that is
        not there is left out, as is the host's own. Enters each, some 0.5 ms: not hot.

        Raises:
            KernelRefused: the addresses of one cannot be read.
        """
        ...

    async def answering(self, addresses: Collection[IPAddress]) -> Mapping[IPAddress, str]:
        """Return which addresses somebody has, and the link on which the host finds them.

        The host's own are among them. The others are asked for on the link that leads to them
        directly (ARP, neighbour solicitation), and have a second to answer.

        Raises:
            KernelRefused: the neighbours cannot be asked.
        """
        ...
