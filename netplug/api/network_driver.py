"""/NetworkDriver.*: decode, call the service, encode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from netplug.api import wire
from netplug.api.app import Methods
from netplug.api.follow import AndThen
from netplug.clock import Clock
from netplug.errors import InvalidRequest
from netplug.model import EndpointId, Network, NetworkId, PoolId
from netplug.service.endpoints import Endpoints, mac_for
from netplug.service.networks import Networks
from netplug.service.ports import Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDriverApi:
    """Docker's network driver protocol over our services."""

    networks: Networks
    endpoints: Endpoints
    ports: Ports
    clock: Clock

    def methods(self) -> Methods:
        """Return the handlers by method name."""
        return {
            "GwAllocCheck": self.gw_alloc_check,
            "CreateNetwork": self.create_network,
            "DeleteNetwork": self.delete_network,
            "AllocateNetwork": self.allocate_network,
            "FreeNetwork": self.nothing,
            "CreateEndpoint": self.create_endpoint,
            "DeleteEndpoint": self.delete_endpoint,
            "Join": self.join,
            "Leave": self.leave,
            "ProgramExternalConnectivity": self.program_external_connectivity,
            "RevokeExternalConnectivity": self.revoke_external_connectivity,
            "DiscoverNew": self.nothing,
            "DiscoverDelete": self.nothing,
        }

    async def gw_alloc_check(self, raw: bytes) -> object:
        """Say for which families no gateway is needed; a pure function of the options."""
        options = wire.decode(raw, wire.OptionsBody).options or {}
        problems: list[str] = []
        generic = wire.generic_options(options, problems)
        if problems:
            raise InvalidRequest(problems)
        name = generic.pop(wire.DRIVER_OPTION, wire.DEFAULT_DRIVER)
        driver = self.networks.driver_named(name)
        skip = driver.skip_gateways(generic, is_internal=wire.is_internal(options))
        return {"SkipIPv4": skip.ipv4, "SkipIPv6": skip.ipv6}

    async def create_network(self, raw: bytes) -> object:
        """Create a network."""
        body = wire.decode(raw, wire.CreateNetworkBody)
        request = wire.network_request(body, self.clock.now())
        await self.networks.create(self._with_pools(request))
        return {}

    async def delete_network(self, raw: bytes) -> object:
        """Delete a network; an unknown one succeeds."""
        body = wire.decode(raw, wire.NetworkBody)
        await self.networks.delete(NetworkId(body.network_id))
        return {}

    async def allocate_network(self, raw: bytes) -> object:
        """Answer a swarm manager, which asks drivers of global scope only."""
        return {"Options": {}}

    async def create_endpoint(self, raw: bytes) -> object:
        """Record an endpoint and say which MAC it gets, if it has one of its own.

        Its link is made behind the answer, while dockerd stores the endpoint.
        """
        body = wire.decode(raw, wire.CreateEndpointBody)
        endpoint = wire.endpoint_request(body, self.clock.now())
        if not endpoint.mac and self.endpoints.gives_mac(endpoint.network_id):
            endpoint = replace(endpoint, mac=mac_for(endpoint.addresses, endpoint.id))
        created = await self.endpoints.create(endpoint)
        return AndThen(
            wire.endpoint_reply(body, created),
            partial(self.endpoints.build_ahead, created.network_id, created.id),
        )

    async def delete_endpoint(self, raw: bytes) -> object:
        """Delete an endpoint; an unknown one succeeds."""
        body = wire.decode(raw, wire.EndpointBody)
        await self.ports.delete(EndpointId(body.endpoint_id))
        return {}

    async def join(self, raw: bytes) -> object:
        """Build the link and say how the sandbox gets it."""
        body = wire.decode(raw, wire.JoinBody)
        attachment = await self.endpoints.join(
            NetworkId(body.network_id),
            EndpointId(body.endpoint_id),
            body.sandbox_key,
            is_lent=True,
        )
        return wire.join_reply(attachment)

    async def leave(self, raw: bytes) -> object:
        """Note that the sandbox goes; an endpoint that never joined succeeds.

        Its ports are free at once: dockerd does not always revoke them.
        """
        body = wire.decode(raw, wire.EndpointBody)
        await self.ports.withdraw(EndpointId(body.endpoint_id))
        await self.endpoints.leave(EndpointId(body.endpoint_id))
        return {}

    async def program_external_connectivity(self, raw: bytes) -> object:
        """Publish the sandbox's ports on this endpoint; a repeated call changes nothing."""
        body = wire.decode(raw, wire.ProgramBody)
        options = body.options or {}
        await self.ports.publish(
            NetworkId(body.network_id),
            EndpointId(body.endpoint_id),
            wire.port_requests(options),
            crosses_families=wire.crosses_families(options),
        )
        return {}

    async def revoke_external_connectivity(self, raw: bytes) -> object:
        """Publish nothing on this endpoint any more; an unknown one succeeds."""
        body = wire.decode(raw, wire.EndpointBody)
        await self.ports.withdraw(EndpointId(body.endpoint_id), only_docker=True)
        return {}

    async def nothing(self, raw: bytes) -> object:
        """Succeed: there is nothing to do."""
        return {}

    def _with_pools(self, request: wire.NetworkRequest) -> Network:
        """Tie the network to the pools of ours that its subnets come from."""
        pools = self.networks.state.view.pools.values()
        ids: tuple[PoolId, ...] = tuple(
            pool.id
            for subnet, space in zip(request.network.subnets, request.spaces, strict=True)
            for pool in pools
            if (pool.space, pool.network) == (space, subnet.pool)
        )
        return replace(request.network, pool_ids=ids)
