"""/IpamDriver.*: decode, call the service, encode."""

from __future__ import annotations

from dataclasses import dataclass

from netplug.api import wire
from netplug.api.app import Methods
from netplug.model import PoolId
from netplug.service.addresses import Addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class IpamDriverApi:
    """Docker's IPAM protocol over our pools and leases."""

    addresses: Addresses

    def methods(self) -> Methods:
        """Return the handlers by method name."""
        return {
            "RequestPool": self.request_pool,
            "ReleasePool": self.release_pool,
            "RequestAddress": self.request_address,
            "ReleaseAddress": self.release_address,
        }

    async def request_pool(self, raw: bytes) -> object:
        """Grant a pool."""
        body = wire.decode(raw, wire.RequestPoolBody)
        pool = await self.addresses.request_pool(wire.pool_request(body))
        return {"PoolID": pool.id, "Pool": str(pool.network), "Data": {}}

    async def release_pool(self, raw: bytes) -> object:
        """Forget a pool; an unknown one succeeds."""
        body = wire.decode(raw, wire.PoolBody)
        await self.addresses.release_pool(PoolId(body.pool_id))
        return {}

    async def request_address(self, raw: bytes) -> object:
        """Grant an address, with the prefix length of its pool."""
        body = wire.decode(raw, wire.AddressBody)
        lease, pool = await self.addresses.request_address(wire.address_request(body))
        return {"Address": f"{lease.address}/{pool.network.prefixlen}", "Data": {}}

    async def release_address(self, raw: bytes) -> object:
        """Forget a lease; an unknown one succeeds."""
        body = wire.decode(raw, wire.AddressBody)
        await self.addresses.release_address(PoolId(body.pool_id), wire.address_of(body))
        return {}
