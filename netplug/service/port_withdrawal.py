"""Take published ports back, and give them back where what they were taken for failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from netplug.errors import NotFound, PynetError
from netplug.model import Endpoint, Network, Origin, PortMapping
from netplug.plan.objects import KernelObject, RoutedVeth, Veth
from netplug.service.converge import NOTHING, converge, dismantle
from netplug.service.port_addresses import publishing_beside
from netplug.service.port_mappings import PortMappings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """An endpoint before and after ports of it were withdrawn."""

    network: Network
    before: Endpoint
    after: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class PortWithdrawal:
    """Withdraws ports of endpoints."""

    mappings: PortMappings

    async def withdraw(
        self,
        endpoint: Endpoint,
        network: Network,
        kept: tuple[PortMapping, ...],
        gone: tuple[PortMapping, ...] = (),
    ) -> Withdrawn:
        """Withdraw all but `kept` from an endpoint, which is held. The record goes first.

        `gone` is what to tell, if it is not whole mappings. Of a run that is cut, what stays is
        made anew.
        """
        m = self.mappings
        left = replace(endpoint, ports=kept)
        if parted := _less(endpoint.ports, kept):
            await m.endpoints.networks.state.commit(puts=(left,))
            before = m.plan(endpoint, network, parted)
            after = m.plan(left, network, kept)
            await dismantle(before - after, m.kernel)
            await self._restore(after - m.plan(endpoint, network, endpoint.ports))
            await m.restore_link(endpoint, left, network)
            m.note("ports.withdraw", "no longer published", endpoint, network, gone or parted)
        return Withdrawn(network=network, before=endpoint, after=left)

    async def put_back(self, withdrawn: Withdrawn) -> None:
        """Publish again what was withdrawn for something that failed, unless more has changed.

        The endpoint is to be held. What somebody took meanwhile is lost: there is no way back then.
        """
        m = self.mappings
        before, after, network = withdrawn.before, withdrawn.after, withdrawn.network
        gone = _less(before.ports, after.ports)
        if not gone or m.by_endpoint.get(after.id) != after:
            return
        objects = m.plan(before, network, gone) - m.plan(after, network, after.ports)
        try:
            await converge(objects, NOTHING, m.kernel)
            await m.endpoints.networks.state.commit(puts=(before,))
        except PynetError as error:
            log.warning("ports were not published again", extra={"reason": str(error)})
            return
        await m.restore_link(after, before, network)
        m.note("ports.publish", "published again", before, network, gone)

    async def take_over_ipv4(self, endpoint: Endpoint) -> list[Withdrawn]:
        """Let the endpoints beside one that is the way out of IPv4 alone serve IPv6 alone.

        dockerd does not ask again when one of them goes. To be called without a lock.
        Source: moby daemon/libnetwork/drivers/remote/driver.go, ProgramExternalConnectivity.
        """
        m = self.mappings
        withdrawn: list[Withdrawn] = []
        for other in list(publishing_beside(endpoint, m.by_endpoint.values())):
            async with m.locked(other.network_id, other.id):
                try:
                    network, current = m.found(other.network_id, other.id)
                except NotFound:
                    continue
                narrowed = (
                    mapping if mapping.asked.origin is Origin.PYNET else _on_ipv6(mapping)
                    for mapping in current.ports
                )
                left = tuple(mapping for mapping in narrowed if mapping.host_ips)
                withdrawn.append(await self.withdraw(current, network, left))
        return withdrawn

    async def withdraw_dead(self) -> bool:
        """Withdraw the ports of containers that are no more; return whether there were some.

        A dockerd that was killed, or lost its power, may never say that their endpoints are gone
        (20.10 with its own IPAM), and the new ones of the same containers are refused their ports.
        The link of an endpoint is there before it has ports, and goes with the namespace of the
        sandbox alone. To be called without a lock.
        """
        m = self.mappings
        is_any = False
        for endpoint in list(m.by_endpoint.values()):
            if not (endpoint.ports and await self._is_dead(endpoint)):
                continue
            async with m.locked(endpoint.network_id, endpoint.id):
                current = m.by_endpoint.get(endpoint.id)
                if current is not None and await self._is_dead(current):
                    network = m.view.networks[current.network_id]
                    await self.withdraw(current, network, ())
                    is_any = True
        return is_any

    async def _is_dead(self, endpoint: Endpoint) -> bool:
        m = self.mappings
        network = m.view.networks.get(endpoint.network_id)
        if network is None or not (endpoint.sandbox and endpoint.is_lent):
            return False
        driver = m.endpoints.networks.driver_of(network)
        planned = driver.plan_endpoint(endpoint, network, m.view)
        links = [o for o in planned if isinstance(o, Veth | RoutedVeth)]
        there = {o.key for o in await m.kernel.look(links)}
        return bool(links) and not any(o.key in there for o in links)

    async def _restore(self, objects: frozenset[KernelObject]) -> None:
        """Make what there is no way back from: a failure is mended by reconciliation."""
        if not objects:
            return
        try:
            await converge(objects, NOTHING, self.mappings.kernel)
        except PynetError as error:
            log.warning("the rest of a run is not published", extra={"reason": str(error)})


def _on_ipv6(mapping: PortMapping) -> PortMapping:
    return replace(mapping, host_ips=tuple(ip for ip in mapping.host_ips if ip.version == 6))


def _less(
    mappings: Sequence[PortMapping], others: Sequence[PortMapping]
) -> tuple[PortMapping, ...]:
    left_out = set(others)
    return tuple(m for m in mappings if m not in left_out)
