"""Create, delete and find networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from netplug.contract.driver import NetworkDriver
from netplug.contract.kernel import Kernel
from netplug.errors import Conflict, InvalidOptions, NotFound
from netplug.model import Network, NetworkId, NetworkState, Subnet, View
from netplug.plan.diff import Plan
from netplug.plan.objects import KernelObject
from netplug.service.converge import NOTHING, converge, dismantle, preview
from netplug.service.journal import Journal
from netplug.service.locks import Gate, Locks
from netplug.service.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The networks of this host."""

    state: State
    drivers: Mapping[str, NetworkDriver]
    kernel: Kernel
    journal: Journal
    locks: Locks
    gate: Gate

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
            self.state.learn(await self.kernel.facts())
            network = self._with_uplink(network)
            driver = self.driver_of(network)
            await self._refuse_reached_subnets(network)
            async with self.locks.hold("networks"):  # two at once must not claim the same subnet
                driver.validate(network, self.state.view)
                await self.state.commit(puts=(network,))
            try:
                objects = driver.plan_network(network, self.state.view)
                await converge(objects, NOTHING, self.kernel)
                network = await self._acknowledge(network, objects)
            except BaseException:
                await self.state.commit(drops=(network,))
                raise
            pools = ", ".join(str(s.pool) for s in network.subnets) or "no subnet"
            self.journal.note(
                "network.create",
                f"network {network.label} created with driver {network.driver}: {pools}",
                network=network.id,
            )
            return network

    async def preview(self, network: Network) -> Plan:
        """Return what `create` would do.

        Raises:
            InvalidOptions, Conflict: as `create`.
        """
        self.state.learn(await self.kernel.facts())
        network = self._with_uplink(network)
        driver = self.driver_of(network)
        await self._refuse_reached_subnets(network)
        driver.validate(network, self.state.view)
        return await preview(driver.plan_network(network, self.state.view), NOTHING, self.kernel)

    async def delete(self, network_id: NetworkId) -> None:
        """Remove a network and what endpoints are left on it; an unknown id succeeds.

        The record goes first: after a crash in between, what is left in the kernel belongs to
        nobody, and reconciliation removes it.
        """
        async with self.gate.shared(), self.locks.hold(f"network {network_id}"):
            view = self.state.view
            network = view.networks.get(network_id)
            if network is None:
                return
            endpoints = view.endpoints_of(network_id)
            previous = self.objects_of(network, view)
            await self.state.commit(drops=(*endpoints, network), is_durable=True)
            await dismantle(previous, self.kernel)
            self.journal.note(
                "network.delete", f"network {network.label} deleted", network=network.id
            )

    def find(self, reference: str) -> Network:
        """Return the network with this name, id or unambiguous beginning of an id.

        Raises:
            NotFound: there is none.
            Conflict: there are several.
        """
        networks = self.state.view.networks
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

    async def _acknowledge(self, network: Network, objects: frozenset[KernelObject]) -> Network:
        """Record that `network` is built and return it so, or take it down again."""
        ready = replace(network, state=NetworkState.READY)
        try:
            await self.state.commit(puts=(ready,), is_durable=True)
        except BaseException:
            await dismantle(objects, self.kernel)
            raise
        return ready

    async def _refuse_reached_subnets(self, network: Network) -> None:
        """Refuse subnets that lie on another link of the host; automatic pools avoid those."""
        pools = [self.state.view.pools.get(pool_id) for pool_id in network.pool_ids]
        checked = {pool.network for pool in pools if pool is not None and pool.is_auto}
        for subnet in network.subnets:
            if subnet.pool in checked or self._is_of_a_network(subnet):
                continue
            if link := await self.kernel.link_towards(subnet.pool):
                raise Conflict(
                    f"subnet {subnet.pool}", f"is in use on link {link}", "choose another --subnet"
                )

    def _is_of_a_network(self, subnet: Subnet) -> bool:
        """Return whether a network of ours has this very subnet; the driver refuses that better."""
        networks = self.state.view.networks.values()
        return any(subnet.pool == other.pool for n in networks for other in n.subnets)

    def _with_uplink(self, network: Network) -> Network:
        return replace(network, uplink_mtu_bytes=self.state.view.facts.uplink_mtu_bytes)


def _same_or_conflict(known: Network, asked: Network) -> Network:
    same = replace(
        asked,
        name=known.name,
        state=known.state,
        created_at=known.created_at,
        uplink_mtu_bytes=known.uplink_mtu_bytes,
    )
    if same == known:
        return known
    raise Conflict(f"network {known.label}", "exists with other options or subnets")
