"""The one door to the kernel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from netplug.model import HostFacts, IPNetwork
from netplug.plan.diff import Step
from netplug.plan.objects import Foreign, KernelObject


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
        """Wait until every marked link is gone."""
        ...

    async def facts(self) -> HostFacts:
        """Return what the host is like now."""
        ...

    async def taken_networks(self) -> frozenset[IPNetwork]:
        """Return the networks that the host routes, and its resolvers as host networks.

        Less those of bridges that pynet names: the view has them, and they may be thousands.
        """
        ...

    async def link_towards(self, network: IPNetwork) -> str:
        """Return the link on which the host reaches `network` directly, without a gateway.

        Empty if there is none. Two look-ups, of the first and the last address; no dump.
        """
        ...
