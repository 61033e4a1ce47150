"""Create, delete and find networks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace

from netplug.contract.driver import NetworkDriver
from netplug.contract.kernel import Kernel
from netplug.errors import Conflict, InvalidOptions, NotFound, PynetError
from netplug.model import Endpoint, HostFacts, Network, NetworkId, NetworkState, Record
from netplug.plan.diff import Plan
from netplug.plan.objects import KernelObject, Sysctl, Vlan
from netplug.plan.order import is_of_firewall
from netplug.service.aux_addresses import aux_leases
from netplug.service.borrowed import Switches
from netplug.service.converge import NOTHING, adapt, converge, dismantle, preview
from netplug.service.journal import Journal
from netplug.service.lan import lan_leases
from netplug.service.locks import Gate, Locks
from netplug.service.parents import all_wishes, beside, grounded, less
from netplug.service.peers import refuse_peers, without_peer
from netplug.service.reached import refuse_reached_subnets
from netplug.service.state import State
from netplug.view import View

log = logging.getLogger(__name__)

PORTS = "ports"
"""The lock over the ports of the host; whoever holds it takes no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The networks of this host.

    `shared` is there besides: what of it is in the packet filter for as long as there is a network,
    the rest for as long as the daemon runs.
    """

    state: State
    drivers: Mapping[str, NetworkDriver]
    kernel: Kernel
    journal: Journal
    locks: Locks
    gate: Gate
    shared: frozenset[KernelObject] = frozenset()

    async def create(self, network: Network) -> Network:
        """Build a network and record it, durably. Repeating an equal request changes nothing.

        Raises:
            InvalidOptions: with every problem of the options.
            Conflict: the id exists with other contents, or something of it is in use.
            KernelRefused, Unsupported: the kernel said no; nothing is left of the network.
        """
        async with self.gate.shared(), self.locks.hold(f"network {network.id}"):
            known = self.state.view.networks.get(network.id)
            if known and known.state is NetworkState.READY:
                return _same_or_conflict(known, network)
            async with self._on_parent(network) as (network, facts):
                return await self._build(network, facts)

    async def preview(self, network: Network) -> Plan:
        """Return what `create` would do.

        Raises:
            InvalidOptions, Conflict: as `create`.
        """
        driver = self.driver_of(network)
        network, facts = await grounded(network, driver, self.kernel, self.state)
        view = self.state.view.with_facts(facts)
        driver.validate(network, view)
        await refuse_reached_subnets(network, driver, view, self.kernel)
        objects = driver.plan_network(network, view.with_records((network,)))
        others = objects - self._less_others(objects, network, view)
        return await preview(objects, others, self.kernel)

    async def delete(self, network_id: NetworkId) -> None:
        """Remove a network, its names and what endpoints are left on it; an unknown id succeeds.

        The record goes first: after a crash in between, what is left in the kernel belongs to
        nobody, and reconciliation removes it.
        """
        async with self.gate.shared(), self._hold_with_peers(network_id) as network:
            if network is None:
                return
            async with (
                self._hold_parent(network),
                self._hold_sandboxes(self.state.view.endpoints_of(network_id)),
            ):
                await self._take_down(network)
            self.journal.note(
                "network.delete", f"network {network.label} deleted", network=network.id
            )

    async def peer(self, a: Network, b: Network) -> None:
        """Let the endpoints of two networks reach each other, durably. Repeating changes nothing.

        Raises:
            Conflict: they are one, of different drivers, or one of them is internal.
            InvalidOptions: the driver keeps the endpoints of one of them to themselves.
            NotFound: one of them is gone.
            KernelRefused: nothing was changed.
        """
        async with self.gate.shared(), self._hold(a.id, b.id):
            a, b = self._present(a), self._present(b)
            if b.id in a.peers:
                return
            refuse_peers(a, b)
            view = self.state.view
            pair = (
                replace(a, peers=(*a.peers, b.id)),
                replace(b, peers=(*b.peers, a.id)),
            )
            after = view.with_facts(await self._facts_for(pair)).with_records(pair)
            for network in pair:
                self.driver_of(network).validate(network, after)
            gained = self._planned(pair, after) - self._planned((a, b), view)
            await converge(gained, NOTHING, self.kernel)
            try:
                await self.state.commit(puts=pair, is_durable=True)
            except BaseException:
                await dismantle(gained, self.kernel)
                raise
            self.journal.note(
                "network.peer", f"networks {a.label} and {b.label} are peers", network=a.id
            )

    async def unpeer(self, a: Network, b: Network) -> None:
        """Part two networks again, durably; two that are no peers are fine.

        The records go first, as for networks.
        """
        async with self.gate.shared(), self._hold(a.id, b.id):
            a, b = self._present(a), self._present(b)
            if b.id not in a.peers:
                return
            pair = (without_peer(a, b.id), without_peer(b, a.id))
            lost = self._lost(pair, self.state.view.with_records(pair))
            await self.state.commit(puts=pair, is_durable=True)
            await dismantle(lost, self.kernel)
            self.journal.note(
                "network.unpeer", f"networks {a.label} and {b.label} are parted", network=a.id
            )

    def find(self, reference: str) -> Network:
        """Return the network with this name, id or unambiguous beginning of an id.

        Raises:
            NotFound: there is none.
            Conflict: there are several.
        """
        networks = self.state.view.networks if reference else {}  # every id begins with nothing
        if found := networks.get(NetworkId(reference)):
            return found
        matches = [n for n in networks.values() if n.name == reference]
        matches = matches or [n for n in networks.values() if n.id.startswith(reference)]
        if len(matches) > 1:
            raise Conflict(f"network {reference!r}", "is ambiguous", "give more of its id")
        if not matches:
            raise NotFound("network", reference, "'pynet network ls' shows what there is")
        return matches[0]

    def driver_of(self, network: Network) -> NetworkDriver:
        """Return the driver of a network.

        Raises:
            InvalidOptions: there is no such driver.
        """
        return self.driver_named(network.driver)

    def driver_named(self, name: str) -> NetworkDriver:
        """Return a driver.

        Raises:
            InvalidOptions: there is no such driver.
        """
        if driver := self.drivers.get(name):
            return driver
        known = ", ".join(sorted(self.drivers))
        raise InvalidOptions([f"driver={name!r}: one of {known} is wanted"])

    def objects_of(self, network: Network, view: View) -> frozenset[KernelObject]:
        """Return what should exist for a network and everything on it."""
        driver = self.driver_of(network)
        objects = set(driver.plan_network(network, view))
        for endpoint in view.endpoints_of(network.id):
            objects |= driver.plan_endpoint(endpoint, network, view)
        return frozenset(objects)

    def beside(
        self, moved: Iterable[Endpoint], before: View, after: View
    ) -> tuple[frozenset[KernelObject], frozenset[KernelObject]]:
        """Return what the others in the sandboxes of endpoints lose, and what they gain.

        `moved` joined or left them between the two views; the rest is as it was. Who cannot be
        planned is passed over, and told by reconciliation.
        """
        others = {other.id: other for e in moved for other in after.beside(e)}
        was, now = (self._planned_of(others.values(), view) for view in (before, after))
        return was - now, now - was

    async def give_back(self) -> None:
        """Set back the switches of the host that no network needs any more; see `Switches`."""
        await self._switches.give_back(self._wanted_switches)

    async def borrow(self, objects: Collection[KernelObject]) -> None:
        """Record what putting `objects` in place will change of the host's switches.

        Raises:
            KernelRefused: a switch cannot be read.
        """
        await self._switches.take(objects)

    @property
    def _switches(self) -> Switches:
        return Switches(state=self.state, kernel=self.kernel, locks=self.locks)

    def _wanted_switches(self) -> frozenset[str]:
        """Return the switches of all networks, those that are still being made too."""
        view = self.state.view
        planned = self.shared | self._planned(view.networks.values(), view)
        return frozenset(o.name for o in planned if isinstance(o, Sysctl))

    async def _build(self, network: Network, facts: HostFacts) -> Network:
        driver = self.driver_of(network)
        async with self.locks.hold("networks"):  # two at once must not claim the same subnet
            view = self.state.view.with_facts(facts)
            driver.validate(network, view)
            await refuse_reached_subnets(network, driver, view, self.kernel)
            objects = driver.plan_network(network, view.with_records((network,)))
            await self._switches.take(objects, puts=(network,))
        own = self._less_others(objects, network, self.state.view)
        try:
            await converge(objects, objects - own, self.kernel)
            network = await self._acknowledge(network, own)
        except BaseException:
            await self.state.commit(drops=(network,))
            await self.give_back()
            raise
        await self._share()
        pools = ", ".join(str(s.pool) for s in network.subnets) or "no subnet"
        self.journal.note(
            "network.create",
            f"network {network.label} created with driver {network.driver}: {pools}",
            network=network.id,
        )
        return network

    def _less_others(
        self, objects: frozenset[KernelObject], network: Network, view: View
    ) -> frozenset[KernelObject]:
        """Return what of `objects` no other network on the same parent has, too."""
        return less(objects, self._planned(beside(network, view), view))

    async def _share(self) -> None:
        """Make what all networks share, if this is the first; reconciliation tries again."""
        networks = self.state.view.networks.values()
        if sum(n.state is NetworkState.READY for n in networks) != 1:
            return
        async with self.locks.hold("shared"):
            try:
                await converge(self.shared, self.shared, self.kernel)
            except PynetError as error:
                log.warning("not made yet", extra={"what": "shared", "reason": str(error)})

    async def _share_no_more(self) -> None:
        """Remove what all networks shared of the packet filter, if that was the last."""
        async with self.locks.hold("shared"):
            if not self.state.view.networks:
                rules = frozenset(o for o in self.shared if is_of_firewall(o))
                await dismantle(rules, self.kernel)

    async def _take_down(self, network: Network) -> None:
        view = self.state.view
        endpoints, names = view.endpoints_of(network.id), view.records_of(network.id)
        known = [view.networks[peer] for peer in network.peers if peer in view.networks]
        parted = [without_peer(peer, network.id) for peer in known]
        gone: tuple[Record, ...] = (*names, *endpoints, network)
        after = view.without(gone).with_records(parted)
        previous = self.objects_of(network, view) | self._lost(parted, after)
        own = self._less_others(previous, network, after)
        lost, gained = self.beside(endpoints, view, after)
        async with self.hold_ports_of(*endpoints):
            await self.state.commit(puts=parted, drops=gone, is_durable=True)
            await dismantle(own, self.kernel)
        await adapt(gained, lost, self.kernel)
        if any(isinstance(o, Vlan) for o in own):  # the next network must not find it going
            await self.kernel.settle()
        await self.give_back()
        await self._share_no_more()

    @asynccontextmanager
    async def _on_parent(self, network: Network) -> AsyncIterator[tuple[Network, HostFacts]]:
        """Yield a new network on its parent, which is held, and what the host is like."""
        driver = self.driver_of(network)
        found = await grounded(network, driver, self.kernel, self.state)
        while found[0].parent is not None:
            held = found[0].parent
            async with self._hold_parent(found[0]):
                found = await grounded(network, driver, self.kernel, self.state)
                if found[0].parent and found[0].parent.name == held.name:
                    yield found
                    return
        yield found

    def _hold_parent(self, network: Network) -> AbstractAsyncContextManager[None]:
        """Hold the parent of a network, if it has one: networks on it share what is made there."""
        return self.locks.hold_all([f"parent {network.parent.name}"] if network.parent else [])

    def _hold_sandboxes(self, endpoints: Iterable[Endpoint]) -> AbstractAsyncContextManager[None]:
        """Hold the sandboxes of endpoints, so that no other joins or leaves them."""
        return self.locks.hold_all(f"sandbox {e.sandbox}" for e in endpoints)

    def hold_ports_of(self, *endpoints: Endpoint) -> AbstractAsyncContextManager[None]:
        """Hold the ports of the host, innermost, if endpoints publish some that become free.

        Until the kernel lets go of them nobody else may find them free in the records.
        """
        return self.locks.hold_all([PORTS] if any(e.ports for e in endpoints) else [])

    def _hold(self, *network_ids: NetworkId) -> AbstractAsyncContextManager[None]:
        return self.locks.hold_all(f"network {network_id}" for network_id in network_ids)

    @asynccontextmanager
    async def _hold_with_peers(self, network_id: NetworkId) -> AsyncIterator[Network | None]:
        """Hold a network and its peers, whose records name it; peers may come until it is held."""
        while True:
            network = self.state.view.networks.get(network_id)
            expected = network.peers if network else ()
            async with self._hold(network_id, *expected):
                network = self.state.view.networks.get(network_id)
                if network is None or set(network.peers) <= set(expected):
                    yield network
                    return

    def _present(self, network: Network) -> Network:
        """Return the present record of a network.

        Raises:
            NotFound: it is gone.
        """
        if known := self.state.view.networks.get(network.id):
            return known
        raise NotFound("network", network.label)

    def _planned(self, networks: Iterable[Network], view: View) -> frozenset[KernelObject]:
        plans = [self.driver_of(n).plan_network(n, view) for n in networks]
        return frozenset().union(*plans)

    def _planned_of(self, endpoints: Iterable[Endpoint], view: View) -> frozenset[KernelObject]:
        objects: set[KernelObject] = set()
        for endpoint in endpoints:
            if network := view.networks.get(endpoint.network_id):
                with suppress(PynetError):
                    objects |= self.driver_of(network).plan_endpoint(endpoint, network, view)
        return frozenset(objects)

    def _lost(self, after: Sequence[Network], view: View) -> frozenset[KernelObject]:
        """Return what networks have now and no longer have as they are in `view`."""
        before = [self.state.view.networks[n.id] for n in after]
        return self._planned(before, self.state.view) - self._planned(after, view)

    async def _acknowledge(self, network: Network, objects: frozenset[KernelObject]) -> Network:
        """Record that `network` is built and return it so, or take it down again."""
        ready = replace(network, state=NetworkState.READY)
        try:
            view = self.state.view
            kept = await lan_leases(ready, view, self.kernel, network.created_at)
            await self.state.commit(puts=(ready, *kept, *aux_leases(ready, view)), is_durable=True)
        except BaseException:
            await dismantle(objects, self.kernel)
            raise
        return ready

    async def _facts_for(self, networks: Sequence[Network]) -> HostFacts:
        """Return what the drivers of networks must know of the host, read afresh if it is much."""
        if not any(n.parent for n in networks):
            return self.state.view.facts
        wishes = [self.driver_of(n).facts_wanted(n) for n in networks]
        return await self.kernel.facts(all_wishes(wishes))


def _same_or_conflict(known: Network, asked: Network) -> Network:
    same = replace(
        asked,
        name=known.name,
        state=known.state,
        created_at=known.created_at,
        parent=known.parent,
        uplink_mtu_bytes=known.uplink_mtu_bytes,
        peers=known.peers,
    )
    if same == known:
        return known
    raise Conflict(f"network {known.label}", "exists with other options or subnets")
