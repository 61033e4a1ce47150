"""Create, join, leave and delete endpoints, in the order in which dockerd asks.

dockerd stores an endpoint that was created before it goes on, for 2 to 3 ms, in which its link can
be made already.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from netplug.contract.driver import Attachment
from netplug.errors import Conflict, NotFound, PynetError
from netplug.model import Endpoint, EndpointId, IPInterface, Lease, Network, NetworkId
from netplug.service.converge import NOTHING, adapt, converge, dismantle, take_back
from netplug.service.lan import refuse_lan_addresses
from netplug.service.networks import Networks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The endpoints of this host."""

    networks: Networks

    async def create(self, endpoint: Endpoint) -> Endpoint:
        """Record an endpoint; its link is made by `build_ahead` or when it joins.

        Raises:
            NotFound: there is no such network.
            InvalidOptions: endpoint options that the driver does not know.
            Conflict: the id exists with other contents, or the network takes no such endpoint.
        """
        n = self.networks
        async with self.locked(endpoint.network_id, endpoint.id):
            network = self._network(endpoint.network_id)
            if known := n.state.view.endpoints.get(endpoint.id):
                if (known.addresses, known.mac) != (endpoint.addresses, endpoint.mac):
                    raise Conflict(f"endpoint {known.label}", "exists with other addresses")
                return known
            n.driver_of(network).validate_endpoint(endpoint, network, n.state.view)
            await refuse_lan_addresses(endpoint, network, n.kernel)
            await n.state.commit(puts=(endpoint,))
            n.journal.note(
                "endpoint.create",
                f"endpoint {endpoint.label} created on {network.label}: {_where(endpoint)}",
                network=network.id,
                endpoint=endpoint.id,
            )
            return endpoint

    async def build_ahead(self, network_id: NetworkId, endpoint_id: EndpointId) -> None:
        """Make what an endpoint needs before it joins, if it has not joined yet or is gone.

        It fails silently: to join does the same, and tells.
        """
        n = self.networks
        async with self.locked(network_id, endpoint_id):
            network = n.state.view.networks.get(network_id)
            endpoint = n.state.view.endpoints.get(endpoint_id)
            if network is None or endpoint is None or endpoint.sandbox:
                return
            try:
                objects = n.driver_of(network).plan_endpoint(endpoint, network, n.state.view)
                await converge(objects, NOTHING, n.kernel)
            except PynetError as error:
                log.debug("not built ahead", extra={"reason": str(error)})

    async def join(
        self, network_id: NetworkId, endpoint_id: EndpointId, sandbox: str, *, is_lent: bool
    ) -> Attachment:
        """Build the endpoint's part of the kernel and say how the sandbox gets it.

        `is_lent` tells that the caller moves the link into the sandbox.

        Raises:
            NotFound: there is no such network or endpoint.
            Conflict: the endpoint is in another sandbox already.
            StoreUnavailable: its leases, or the join, cannot be written.
            KernelRefused, Unsupported: it is as before; what an earlier attempt built stays.
        """
        n = self.networks
        async with self.locked(network_id, endpoint_id), n.locks.hold(f"sandbox {sandbox}"):
            network = self._network(network_id)
            endpoint = n.state.view.endpoints.get(endpoint_id)
            if endpoint is None:
                raise NotFound("endpoint", endpoint_id[:12])
            driver, view = n.driver_of(network), n.state.view
            if endpoint.sandbox and endpoint.sandbox != sandbox:
                raise Conflict(f"endpoint {endpoint.label}", f"is in sandbox {endpoint.sandbox}")
            joined = replace(endpoint, sandbox=sandbox)
            after = view.with_records((joined,))
            previous = driver.plan_endpoint(endpoint, network, view)
            objects = driver.plan_endpoint(joined, network, after)
            lost, gained = n.beside((joined,), view, after)
            await converge(objects, previous, n.kernel)
            try:
                await n.state.synced()  # the leases of its addresses
                await n.state.commit(puts=(replace(joined, is_lent=is_lent),))
            except BaseException:
                await take_back(objects, previous, n.kernel)
                raise
            await adapt(gained, lost, n.kernel)
            n.journal.note(
                "endpoint.join",
                f"endpoint {endpoint.label} joined {network.label}: {_where(endpoint)}",
                network=network.id,
                endpoint=endpoint.id,
            )
            attachment = driver.attachment(joined, network)
            if attachment.host_link and joined.mac:
                own = [address.ip for address in joined.addresses]
                await n.kernel.introduce(own, joined.mac, attachment.host_link)
            return attachment

    async def leave(self, endpoint_id: EndpointId) -> None:
        """Note that a sandbox is going. The link stays: dockerd takes it back first.

        Source: moby libnetwork/endpoint.go sbLeave; deleting here makes dockerd warn.
        """
        if endpoint := self.networks.state.view.endpoints.get(endpoint_id):
            self.networks.journal.note(
                "endpoint.leave",
                f"endpoint {endpoint.label} left",
                network=endpoint.network_id,
                endpoint=endpoint.id,
            )

    async def delete(self, endpoint_id: EndpointId, leases: Sequence[Lease] = ()) -> None:
        """Remove an endpoint, and `leases` with it; an unknown id succeeds.

        The records go first, as for networks.
        """
        n = self.networks
        known = n.state.view.endpoints.get(endpoint_id)
        if known is None:
            return
        async with self.locked(known.network_id, endpoint_id):
            endpoint = n.state.view.endpoints.get(endpoint_id)
            if endpoint is None:
                return
            async with n.locks.hold(f"sandbox {endpoint.sandbox}"):
                await self._take_down(endpoint, leases)
            n.journal.note(
                "endpoint.delete",
                f"endpoint {endpoint.label} deleted: {_where(endpoint)}",
                network=endpoint.network_id,
                endpoint=endpoint.id,
            )

    async def _take_down(self, endpoint: Endpoint, leases: Sequence[Lease]) -> None:
        """Remove an endpoint; no other joins or leaves its sandbox meanwhile."""
        n = self.networks
        view = n.state.view
        network = view.networks.get(endpoint.network_id)
        lost, gained = n.beside((endpoint,), view, view.without((endpoint,)))
        async with n.hold_ports_of(endpoint):
            await n.state.commit(drops=(endpoint, *leases))
            if network is not None:
                previous = n.driver_of(network).plan_endpoint(endpoint, network, view)
                await dismantle(previous, n.kernel)
        await adapt(gained, lost, n.kernel)

    def find(self, reference: str) -> Endpoint:
        """Return the endpoint with this name, id or unambiguous beginning of an id.

        Raises:
            NotFound: there is none.
            Conflict: there are several.
        """
        view = self.networks.state.view
        endpoints = view.endpoints if reference else {}  # every id begins with nothing
        if found := endpoints.get(EndpointId(reference)):
            return found
        matches = [e for e in endpoints.values() if e.name == reference]
        matches = matches or [e for e in endpoints.values() if e.id.startswith(reference)]
        if len(matches) > 1:
            raise Conflict(
                f"endpoint {reference!r}", "is ambiguous", "give the beginning of its id"
            )
        if not matches:
            raise NotFound("endpoint", reference, "'pynet endpoint ls' shows what there is")
        return matches[0]

    def gives_mac(self, network_id: NetworkId) -> bool:
        """Return whether endpoints of a network have a MAC of their own.

        Raises:
            NotFound: there is no such network.
        """
        network = self._network(network_id)
        return self.networks.driver_of(network).gives_mac(network)

    @asynccontextmanager
    async def locked(self, network_id: NetworkId, endpoint_id: EndpointId) -> AsyncIterator[None]:
        """Hold the network, so that it is not deleted meanwhile, then the endpoint."""
        n = self.networks
        async with (
            n.gate.shared(),
            n.locks.hold(f"network {network_id}"),
            n.locks.hold(f"endpoint {endpoint_id}"),
        ):
            yield

    def _network(self, network_id: NetworkId) -> Network:
        if network := self.networks.state.view.networks.get(network_id):
            return network
        raise NotFound("network", network_id[:12])


def mac_for(addresses: tuple[IPInterface, ...], endpoint_id: EndpointId) -> str:
    """Return a locally administered MAC that an endpoint with these addresses always gets.

    From an IPv4 address it is 02:42 and the address, as Docker had it; from others it is hashed,
    and without any it depends on the id.
    """
    for address in addresses:
        if address.version == 4:
            octets = b"\x02\x42" + address.ip.packed
            return octets.hex(":")
    packed = b"".join(address.ip.packed for address in addresses) or endpoint_id.encode()
    return (b"\x02\x43" + hashlib.blake2s(packed, digest_size=4).digest()).hex(":")


def _where(endpoint: Endpoint) -> str:
    return ", ".join(str(address) for address in endpoint.addresses) or "no address"
