"""Request and release pools and addresses: the IPAM chooses, the store remembers."""

from __future__ import annotations

from dataclasses import dataclass

from netplug.clock import Clock
from netplug.contract.ipam import AddressRequest, Ipam, PoolRequest
from netplug.contract.kernel import Kernel
from netplug.model import HostState, IPAddress, Lease, Pool, PoolId
from netplug.service.locks import POOLS, Locks
from netplug.service.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Pools and leases. Releasing what is not there succeeds: dockerd repeats itself."""

    state: State
    ipam: Ipam
    kernel: Kernel
    clock: Clock
    locks: Locks

    async def request_pool(self, request: PoolRequest) -> Pool:
        """Grant a pool, durably; automatic ones avoid what the host routes already.

        Raises:
            InvalidRequest, Conflict, PoolExhausted: see `contract.ipam`.
        """
        is_auto = request.network is None or request.network.network_address.is_unspecified
        taken = await self.kernel.taken_networks() if is_auto else frozenset()
        async with self.locks.hold(POOLS):
            grant = self.ipam.request_pool(request, self.state.view, taken, self.clock.now())
            moved = () if grant.host is None else (grant.host,)
            await self.state.commit(puts=(grant.pool, *moved), is_durable=True)
            return grant.pool

    async def release_pool(self, pool_id: PoolId) -> None:
        """Forget a pool and its leases; the network's own end, next, makes it durable."""
        async with self.locks.hold(POOLS), self.locks.hold(f"pool {pool_id}"):
            if pool := self.state.view.pools.get(pool_id):
                leases = tuple(self.state.view.leases_of(pool_id).values())
                await self.state.commit(drops=(*leases, pool))

    async def request_address(self, request: AddressRequest) -> tuple[Lease, Pool]:
        """Grant an address; return the lease and its pool.

        Raises:
            NotFound, InvalidRequest, Conflict, PoolExhausted: see `contract.ipam`.
        """
        async with self.locks.hold(f"pool {request.pool_id}"):
            view = self.state.view
            grant = self.ipam.request_address(request, view, self.clock.now())
            moved = () if grant.pool is None else (grant.pool,)
            await self.state.commit(puts=(grant.lease, *moved))
            return grant.lease, view.pools[request.pool_id]

    async def release_address(self, pool_id: PoolId, address: IPAddress) -> None:
        """Forget a lease."""
        async with self.locks.hold(f"pool {pool_id}"):
            if lease := self.state.view.leases_of(pool_id).get(address):
                await self.state.commit(drops=(lease,))

    async def remember_engine(self, engine_id: str) -> None:
        """Note which Docker Engine this state serves."""
        async with self.locks.hold(POOLS):
            host: HostState = self.state.view.host
            await self.state.commit(puts=(host.with_engine(engine_id),))
