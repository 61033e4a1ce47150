"""dockerd's remote IPAM driver: the shapes of its calls (moby: libnetwork/ipams/remote)."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address

from integration.conformance.client import PluginClient
from integration.conformance.records import Allocation, Held, Network
from integration.conformance.releases import Release
from integration.conformance.replies import (
    AddressGranted,
    BadReply,
    IPInterface,
    PoolGranted,
    Reply,
    Spaces,
    prefix,
)
from integration.conformance.specs import EndpointSpec, Subnet

GATEWAY_REQUEST = {"RequestAddressType": "com.docker.network.gateway"}
_NULL_POOLS = {4: "0.0.0.0/0", 6: "::/0"}
_OVERLAPS_BORNE = 16  # dockerd bears any number, holding a lock


class RemoteIpam:
    """`space` is the local address space, once it was asked for."""

    def __init__(self, release: Release, client: PluginClient) -> None:
        self.space = ""
        self._release = release
        self._client = client

    def learn_spaces(self) -> None:
        """Ask for the address spaces, which must have names."""
        spaces = self._client.call("IpamDriver.GetDefaultAddressSpaces", None, Spaces)
        if not spaces.local or not spaces.global_:
            raise BadReply(f"an address space without a name: {spaces}")
        self.space = spaces.local

    def request_pool(
        self, subnet: Subnet, version: int, taken: Collection[IPInterface]
    ) -> Allocation:
        """Get a pool. An automatic one that overlaps is kept until there is a better one, or none.

        Source: moby libnetwork/network.go requestPoolHelper; from 27 on libnetwork/ipams/remote.
        """
        rejected: list[Allocation] = []
        try:
            while True:
                granted = self._request_pool(subnet, version)
                if subnet.pool or not _overlaps(granted.pool, taken):
                    return granted
                rejected.append(granted)
                if len(rejected) > _OVERLAPS_BORNE:
                    raise BadReply(f"automatic pools overlap for ever: {granted.pool}")
        finally:
            for allocation in rejected:
                self.release_pool(allocation.pool_id)

    def _request_pool(self, subnet: Subnet, version: int) -> Allocation:
        if self._release.asks_spaces_at_each_pool:
            self.learn_spaces()
        body: dict[str, object] = {
            "AddressSpace": self.space,
            "Pool": subnet.pool,
            "SubPool": subnet.sub_pool,
            "Options": {} if self._release.number >= 27 else None,
            "V6": version == 6,
        }
        granted = self._client.call("IpamDriver.RequestPool", body, PoolGranted)
        pool = prefix(granted.pool)
        if pool.version != version:
            raise BadReply(f"asked for IPv{version}, got {pool}")
        return Allocation(space=self.space, pool_id=granted.pool_id or "", pool=pool)

    def request_address(
        self, pool_id: str, address: str, options: dict[str, str] | None
    ) -> IPInterface:
        body = {"PoolID": pool_id, "Address": address, "Options": options}
        granted = self._client.call("IpamDriver.RequestAddress", body, AddressGranted)
        return prefix(granted.address)

    def request_for_endpoint(
        self, spec: EndpointSpec, version: int, endpoint_name: str
    ) -> Held | None:
        """Get an endpoint's address of one family, as `--ip` says or from the first pool."""
        wanted = spec.ip if version == 4 else spec.ip6
        allocation = _pool_for(spec.network, version, wanted)
        if allocation is None:
            return None
        named = {"com.docker.network.endpoint.name": endpoint_name}
        options = named if self._release.names_endpoints_to_ipam else None
        address = self.request_address(allocation.pool_id, wanted, options)
        return Held(pool_id=allocation.pool_id, address=address)

    def release_address(self, pool_id: str, address: IPInterface) -> None:
        body = {"PoolID": pool_id, "Address": str(address.ip)}
        self._client.call("IpamDriver.ReleaseAddress", body, Reply)

    def release_pool(self, pool_id: str) -> None:
        self._client.call("IpamDriver.ReleasePool", {"PoolID": pool_id}, Reply)


def null_allocation(version: int) -> Allocation:
    """Return what dockerd's built-in null IPAM gives: everything and nothing."""
    return Allocation(space="null", pool_id="", pool=prefix(_NULL_POOLS[version]))


def _pool_for(network: Network, version: int, wanted: str) -> Allocation | None:
    managed = [a for a in network.of_version(version) if a.pool_id]
    if not wanted:
        return next(iter(managed), None)
    return next(a for a in managed if ip_address(wanted) in a.pool.network)


def _overlaps(pool: IPInterface, taken: Collection[IPInterface]) -> bool:
    def clash(a: IPv4Network | IPv6Network, b: IPv4Network | IPv6Network) -> bool:
        return a.version == b.version and bool(a.network_address in b or b.network_address in a)

    return any(clash(pool.network, other.network) for other in taken)
