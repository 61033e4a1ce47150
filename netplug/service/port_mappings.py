"""The mappings that endpoints have: what is made of them, where, and what is told of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from netplug.contract.kernel import Kernel
from netplug.errors import NotFound, PynetError
from netplug.model import Endpoint, EndpointId, Network, NetworkId, PortMapping
from netplug.plan.objects import HostPort, KernelObject
from netplug.service.converge import NOTHING, converge
from netplug.service.endpoints import Endpoints
from netplug.service.networks import PORTS
from netplug.view import View

log = logging.getLogger(__name__)

_SHOWN_PORTS = 10  # in one line of the log


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMappings:
    """The mappings of the endpoints of this host. It changes none."""

    endpoints: Endpoints

    @property
    def view(self) -> View:
        """What is recorded now."""
        return self.endpoints.networks.state.view

    @property
    def by_endpoint(self) -> Mapping[EndpointId, Endpoint]:
        """The endpoints that are recorded now."""
        return self.view.endpoints

    @property
    def kernel(self) -> Kernel:
        """Where what mappings are made of is."""
        return self.endpoints.networks.kernel

    @asynccontextmanager
    async def locked(self, network_id: NetworkId, endpoint_id: EndpointId) -> AsyncIterator[None]:
        """Hold an endpoint and, innermost, the ports of the host.

        Two at once must not choose the same port, nor one find a port free in the records that the
        kernel has not let go of yet.
        """
        locks = self.endpoints.networks.locks
        async with self.endpoints.locked(network_id, endpoint_id), locks.hold(PORTS):
            yield

    def found(self, network_id: NetworkId, endpoint_id: EndpointId) -> tuple[Network, Endpoint]:
        """Return a network and an endpoint as they are recorded now.

        Raises:
            NotFound: there is no such network or endpoint.
        """
        network = self.view.networks.get(network_id)
        if network is None:
            raise NotFound("network", network_id[:12])
        endpoint = self.by_endpoint.get(endpoint_id)
        if endpoint is None:
            raise NotFound("endpoint", endpoint_id[:12])
        return network, endpoint

    def plan(
        self, endpoint: Endpoint, network: Network, mappings: Sequence[PortMapping]
    ) -> frozenset[KernelObject]:
        """Return what mappings of an endpoint are made of, its link left out."""
        driver = self.endpoints.networks.driver_of(network)
        return driver.plan_ports(replace(endpoint, ports=tuple(mappings)), network)

    def takes_host_ports(self, endpoint: Endpoint) -> bool:
        """Return whether ports of an endpoint are published on the host."""
        network = self.view.networks.get(endpoint.network_id)
        return not network or self.endpoints.networks.driver_of(network).takes_host_ports(network)

    def held(self, mapping: PortMapping, endpoint: Endpoint) -> PortMapping:
        """Return a mapping on those addresses on which its host port is held.

        On a routed network that is none: the port of the endpoint itself is open instead.
        """
        network = self.view.networks.get(endpoint.network_id)
        objects = self.plan(endpoint, network, (mapping,)) if network else NOTHING
        return on_held(mapping, objects)

    async def change_link(self, before: Endpoint, after: Endpoint, network: Network) -> None:
        """Let the endpoint's link follow: what its ports themselves are made of is left out."""
        view = self.view
        driver = self.endpoints.networks.driver_of(network)
        old = driver.plan_endpoint(before, network, view) - driver.plan_ports(before, network)
        new = driver.plan_endpoint(after, network, view) - driver.plan_ports(after, network)
        there = {o.key for o in await self.kernel.look(new - old)} if new != old else set()
        wanted, previous = (
            frozenset(o for o in objects if o.key in there) for objects in (new - old, old - new)
        )
        if wanted:  # what is gone, its namespace with it, is not made again for this
            await converge(wanted, previous, self.kernel)

    async def restore_link(self, before: Endpoint, after: Endpoint, network: Network) -> None:
        """Let the link follow where there is no way back: a failure is mended by reconciliation."""
        try:
            await self.change_link(before, after, network)
        except PynetError as error:
            log.warning("the link of an endpoint lags behind", extra={"reason": str(error)})

    def note(
        self,
        kind: str,
        what: str,
        endpoint: Endpoint,
        network: Network,
        mappings: Sequence[PortMapping],
    ) -> None:
        """Tell the journal what became of mappings of an endpoint."""
        held = [self.held(m, endpoint) for m in mappings[:_SHOWN_PORTS]]
        shown = ", ".join(mapping_text(m) for m in held)
        more = ", …" if len(mappings) > _SHOWN_PORTS else ""
        self.endpoints.networks.journal.note(
            kind,
            f"ports of {endpoint.label} on {network.label} {what}: {shown}{more}",
            network=network.id,
            endpoint=endpoint.id,
        )


def on_held(mapping: PortMapping, objects: Collection[KernelObject]) -> PortMapping:
    """Return a mapping on those addresses on which it is held by one of `objects`."""
    held = {o.address for o in objects if isinstance(o, HostPort)}
    return replace(mapping, host_ips=tuple(ip for ip in mapping.host_ips if ip in held))


def mapping_text(mapping: PortMapping) -> str:
    """Return a mapping as `docker ps` shows it: "0.0.0.0:8080->80/tcp", once an address.

    One that is on no address of the host is "80/tcp".
    """
    asked = mapping.asked
    outside = _run(mapping.host_port, asked.count)
    inside = _run(asked.container_port, asked.count)
    if not mapping.host_ips:
        return f"{inside}/{asked.protocol}"
    hosts = (f"[{ip}]" if ip.version == 6 else str(ip) for ip in mapping.host_ips)
    return ", ".join(f"{host}:{outside}->{inside}/{asked.protocol}" for host in hosts)


def _run(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}" if count > 1 else str(first)
