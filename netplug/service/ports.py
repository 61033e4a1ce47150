"""Publish the ports of endpoints, as dockerd and the user ask for them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from netplug.errors import NotFound, PortRefused, PynetError
from netplug.model import (
    Endpoint,
    EndpointId,
    HostPorts,
    IPAddress,
    Network,
    NetworkId,
    Origin,
    PortMapping,
    PortRequest,
)
from netplug.service.endpoints import Endpoints
from netplug.service.port_addresses import Reach, awaiting_beside, served_beside
from netplug.service.port_listing import PortListing, PublishedPort
from netplug.service.port_mappings import PortMappings
from netplug.service.port_placement import PortPlacement
from netplug.service.port_withdrawal import PortWithdrawal, Withdrawn
from netplug.service.wishes import anywhere

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Ports:
    """The published ports of this host. `default_addresses` is where, if nobody says."""

    endpoints: Endpoints
    default_addresses: tuple[IPAddress, ...] = ()
    _mappings: PortMappings = field(init=False)
    _placement: PortPlacement = field(init=False)
    _withdrawal: PortWithdrawal = field(init=False)
    _listing: PortListing = field(init=False)

    def __post_init__(self) -> None:
        self._mappings = PortMappings(endpoints=self.endpoints)
        self._placement = PortPlacement(mappings=self._mappings)
        self._withdrawal = PortWithdrawal(mappings=self._mappings)
        self._listing = PortListing(mappings=self._mappings)

    async def publish(
        self,
        network_id: NetworkId,
        endpoint_id: EndpointId,
        requests: Sequence[PortRequest],
        *,
        crosses_families: bool = True,
    ) -> None:
        """Publish exactly what Docker asks for on an endpoint; what is there already stays.

        `crosses_families` lets an endpoint without IPv6 be reached on the host's IPv6 ports. All
        of it is published or, if one fails, what was before. An internal network publishes nothing,
        as with Docker's own driver.

        Raises:
            NotFound: there is no such network or endpoint.
            PortRefused: which mapping cannot be published and why.
        """
        known = self._mappings.by_endpoint.get(endpoint_id)
        if not requests and not (known and _asked_of(known)):
            return
        try:
            await self._publish(network_id, endpoint_id, requests, crosses_families)
        except PortRefused:
            if not await self._withdrawal.withdraw_dead():
                raise
            await self._publish(network_id, endpoint_id, requests, crosses_families)
        if known is not None:
            await self._hand_on(known)

    async def _publish(
        self,
        network_id: NetworkId,
        endpoint_id: EndpointId,
        requests: Sequence[PortRequest],
        crosses_families: bool,
    ) -> None:
        known = self._mappings.by_endpoint.get(endpoint_id)
        narrowed: list[Withdrawn] = []
        try:
            if known is not None and not crosses_families:
                narrowed = await self._withdrawal.take_over_ipv4(known)
            async with self._mappings.locked(network_id, endpoint_id):
                await self._program(network_id, endpoint_id, requests, crosses_families)
        except PynetError:
            for one in narrowed:
                async with self._mappings.locked(one.network.id, one.before.id):
                    await self._withdrawal.put_back(one)
            raise

    async def _program(
        self,
        network_id: NetworkId,
        endpoint_id: EndpointId,
        requests: Sequence[PortRequest],
        crosses_families: bool,
    ) -> None:
        network, endpoint = self._mappings.found(network_id, endpoint_id)
        requests = () if network.is_internal else requests
        left = Counter(requests)
        reach = self._reach(endpoint, network, crosses_families=crosses_families)
        awaited = tuple(request for request in requests if reach.is_awaited(request))
        kept: list[PortMapping] = []
        chosen: dict[PortRequest, int] = {}
        for mapping in endpoint.ports:
            asked = mapping.asked
            if asked.origin is Origin.PYNET:
                kept.append(mapping)
                continue
            chosen[anywhere(asked)] = mapping.host_port
            if left[asked] and mapping.host_ips == reach.host_ips(asked):
                left[asked] -= 1
                kept.append(mapping)
        withdrawn = await self._withdrawal.withdraw(endpoint, network, tuple(kept))
        missing = list(left.elements())
        if not missing and awaited == endpoint.awaited:
            return
        try:
            remaining = replace(reach, endpoint=replace(withdrawn.after, awaited=awaited))
            await self._placement.add(missing, remaining, network, chosen)
        except PynetError:
            await self._withdrawal.put_back(withdrawn)
            raise

    async def _hand_on(self, endpoint: Endpoint) -> None:
        """Publish on the endpoints beside one what they await and it does not serve any more.

        To be called without a lock. What fails stays awaited: nobody asked for it just now.
        """
        m = self._mappings
        for other in list(awaiting_beside(endpoint, m.by_endpoint.values())):
            async with m.locked(other.network_id, other.id):
                current = m.by_endpoint.get(other.id)
                if current is None or not current.awaited:
                    continue
                try:
                    await self._program(current.network_id, current.id, _asked_of(current), True)
                except PynetError as error:
                    log.warning("ports were not handed on", extra={"reason": str(error)})

    async def add(
        self, endpoint: Endpoint, requests: Sequence[PortRequest]
    ) -> tuple[PublishedPort, ...]:
        """Publish more ports of a joined endpoint, all or none; they last until it leaves.

        Return what was published, in the order of `listing`; nothing of it is counted yet.

        Raises:
            NotFound: the endpoint is gone.
            PortRefused: which mapping cannot be published and why.
        """
        async with self._mappings.locked(endpoint.network_id, endpoint.id):
            network, endpoint = self._mappings.found(endpoint.network_id, endpoint.id)
            ours = [replace(request, origin=Origin.PYNET) for request in requests]
            for request in ours:
                if network.is_internal:
                    why = f"network {network.label} is internal: nothing reaches it"
                    raise PortRefused(request.text, why)
                if not endpoint.sandbox:
                    raise PortRefused(request.text, f"endpoint {endpoint.label} has not joined")
            reach = self._reach(endpoint, network, crosses_families=True)
            made = await self._placement.add(ours, reach, network)
            return self._listing.of_new(made, endpoint, network)

    async def remove(self, endpoint: Endpoint, ports: HostPorts) -> tuple[PortMapping, ...]:
        """Publish ports of an endpoint no more; what else of their mappings there is stays.

        Raises:
            NotFound: the endpoint has no such published port.
        """
        async with self._mappings.locked(endpoint.network_id, endpoint.id):
            network, endpoint = self._mappings.found(endpoint.network_id, endpoint.id)
            cuts = [ports.cut(mapping) for mapping in endpoint.ports]
            gone = tuple(cut for cut, _ in cuts if cut is not None)
            if not gone:
                hint = "'pynet ports' shows what there is"
                raise NotFound("published port", ports.text, hint)
            kept = tuple(mapping for _, rest in cuts for mapping in rest)
            await self._withdrawal.withdraw(endpoint, network, kept, gone)
            return gone

    async def withdraw(self, endpoint_id: EndpointId, *, only_docker: bool = False) -> None:
        """Publish no port of an endpoint any more; an unknown one succeeds.

        `only_docker` keeps what was added besides. Another endpoint of the sandbox gets what it was
        asked for and this one served.
        """
        known = self._mappings.by_endpoint.get(endpoint_id)
        if known is None:
            return
        async with self._mappings.locked(known.network_id, endpoint_id):
            try:
                network, endpoint = self._mappings.found(known.network_id, endpoint_id)
            except NotFound:
                return
            kept = tuple(
                m for m in endpoint.ports if only_docker and m.asked.origin is Origin.PYNET
            )
            if endpoint.awaited:
                endpoint = replace(endpoint, awaited=())
                await self.endpoints.networks.state.commit(puts=(endpoint,))
            await self._withdrawal.withdraw(endpoint, network, kept)
        await self._hand_on(endpoint)

    async def delete(self, endpoint_id: EndpointId) -> None:
        """Delete an endpoint and hand its ports on, as `withdraw` does; an unknown one succeeds."""
        known = self._mappings.by_endpoint.get(endpoint_id)
        await self.endpoints.delete(endpoint_id)
        if known is not None:
            await self._hand_on(known)

    async def listing(self) -> tuple[PublishedPort, ...]:
        """Return what is published, by network, endpoint and port.

        Raises:
            KernelRefused: the counters cannot be read.
        """
        return await self._listing.all()

    def _reach(self, endpoint: Endpoint, network: Network, *, crosses_families: bool) -> Reach:
        usual = self.endpoints.networks.driver_of(network).host_addresses(network)
        view = self._mappings.view
        return Reach(
            endpoint=endpoint,
            usual=usual or self.default_addresses,
            has_ipv6=view.facts.has_ipv6,
            crosses_families=crosses_families,
            beside=served_beside(endpoint, self._rivals(endpoint)),
        )

    def _rivals(self, endpoint: Endpoint) -> list[Endpoint]:
        """Return the others of a sandbox that may have the ports of the host that one asks for."""
        m = self._mappings
        if not m.takes_host_ports(endpoint):
            return []
        return [other for other in m.view.beside(endpoint) if m.takes_host_ports(other)]


def _asked_of(endpoint: Endpoint) -> tuple[PortRequest, ...]:
    """Return what Docker asked of an endpoint, less what was taken back by hand."""
    asked = (mapping.asked for mapping in endpoint.ports)
    awaited = frozenset(endpoint.awaited)
    served = (a for a in asked if a.origin is Origin.DOCKER and a not in awaited)
    return (*endpoint.awaited, *served)
