"""Request and release pools and addresses: the IPAM chooses, the store remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from netplug.clock import Clock
from netplug.contract.ipam import AddressRequest, Ipam, PoolRequest
from netplug.contract.kernel import Kernel
from netplug.model import (
    HostState,
    IPAddress,
    IPNetwork,
    Lease,
    LeaseKind,
    Pool,
    PoolId,
    Record,
    Sticky,
)
from netplug.service.askers import settle, tell
from netplug.service.candidates import Candidates
from netplug.service.cooldown import Cooldown
from netplug.service.grants import Grants
from netplug.service.held import is_same_lease
from netplug.service.kept import Change, refreshed, stale
from netplug.service.locks import POOLS, Locks
from netplug.service.state import State

_KEPT_AT_ONCE = 500  # records written before others have a turn: 20 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Pools and leases. Releasing what is not there succeeds: dockerd repeats itself."""

    state: State
    ipam: Ipam
    kernel: Kernel
    clock: Clock
    locks: Locks
    cooldown: Cooldown
    candidates: Candidates
    keep: timedelta = timedelta(days=7)
    grants: Grants = field(default_factory=Grants)

    async def request_pool(self, request: PoolRequest) -> Pool:
        """Grant a pool, durably; automatic ones avoid what is in use beside our networks.

        Raises:
            InvalidRequest, Conflict, PoolExhausted: see `contract.ipam`.
        """
        is_auto = request.network is None or request.network.network_address.is_unspecified
        taken = await self._taken(6 if request.is_ipv6 else 4) if is_auto else frozenset()
        async with self.locks.hold(POOLS):
            grant = self.ipam.request_pool(request, self.state.view, taken, self.clock.now())
            moved = () if grant.host is None else (grant.host,)
            await self.state.commit(puts=(grant.pool, *moved), is_durable=True)
            return grant.pool

    async def _taken(self, version: int) -> frozenset[IPNetwork]:
        reached = await self.kernel.reached([version]) | self.state.view.beside_us
        return frozenset(r.network for r in reached)

    async def release_pool(self, pool_id: PoolId) -> None:
        """Forget a pool and its leases; the network's own end, next, makes it durable."""
        async with self.locks.hold(POOLS), self.locks.hold(f"pool {pool_id}"):
            await self.grants.settled(pool_id)
            if pool := self.state.view.pools.get(pool_id):
                view = self.state.view
                gone = (*view.leases_of(pool_id).values(), *view.sticky_of(pool_id))
                await self.state.commit(drops=(*gone, pool))
                self.cooldown.forget(pool_id)

    async def request_address(self, request: AddressRequest) -> tuple[Lease, Pool]:
        """Grant an address; return the lease and its pool.

        The lease is durable, or will be before the address is in use: that of a network's pool is
        synced while its endpoint is created, and to join waits for that. Many at once are written
        together, also those of one pool.

        Raises:
            NotFound, InvalidRequest, Conflict, PoolExhausted: see `contract.ipam`.
        """
        is_followed = await settle(request, self.state.view, self.candidates)
        async with self.locks.hold(f"pool {request.pool_id}"):  # it is not being released
            self._end_rests()
            view, now = self.state.view, self.clock.now()
            asker = tell(
                request,
                view,
                self.candidates,
                is_followed=is_followed,
                under_way=self.grants.addresses(request.pool_id),
            )
            grant = self.grants.chosen(
                request.pool_id,
                view,
                lambda view: self.ipam.request_address(asker.request, view, now),
            )
            self.grants.begin(grant)
            lease = grant.lease
            if asker.guess is not None:
                self.candidates.granted(asker.guess, lease.pool_id, lease.address)
        joins_later = view.network_of(request.pool_id) is not None
        try:
            await self.state.commit(puts=grant.puts, drops=grant.lapsed, is_durable=not joins_later)
            if joins_later:
                self.state.sync_soon()
            self._go_on_resting(grant.lapsed)
        except BaseException:
            self.candidates.released(lease.pool_id, lease.address)
            raise
        finally:
            self.grants.end(grant)
        return lease, view.pools[request.pool_id]

    async def release_address(self, pool_id: PoolId, address: IPAddress) -> None:
        """Forget a lease; a reservation stays, because nobody holds it who could release it."""
        lease = self.state.view.leases_of(pool_id).get(address)
        if lease is not None and lease.kind is not LeaseKind.RESERVED:
            await self._release(lease)

    async def _release(self, lease: Lease) -> None:
        self._end_rests()
        withheld = (lease,) if self.cooldown.duration_s else ()
        await self.state.commit(drops=(lease,), withheld=withheld)
        self.candidates.released(lease.pool_id, lease.address)
        self._begin_rests(withheld)

    async def forget(self, lease: Lease) -> bool:
        """Release a lease if it is still that one; return whether it was."""
        if not is_same_lease(lease, self.state.view.leases_of(lease.pool_id).get(lease.address)):
            return False
        await self._release(lease)
        return True

    async def record(self, lease: Lease) -> bool:
        """Record a lease of an address that is in use already, durably, unless it is leased."""
        async with self.locks.hold(f"pool {lease.pool_id}"):
            await self.grants.settled(lease.pool_id)
            view = self.state.view
            if lease.pool_id not in view.pools or lease.address in view.leases_of(lease.pool_id):
                return False
            await self.state.commit(puts=(lease,), is_durable=True)
            return True

    def rest(self, leases: Sequence[Lease]) -> None:
        """Let the addresses of released leases rest: until then others are given out first."""
        if self.cooldown.duration_s:
            self.state.withhold(leases)
            self._begin_rests(leases)

    def _begin_rests(self, leases: Sequence[Lease]) -> None:
        now_s = self.clock.monotonic_s()
        for lease in leases:
            self.cooldown.begin(lease.pool_id, lease.address, now_s)

    def _end_rests(self) -> None:
        if rested := self.cooldown.over(self.clock.monotonic_s()):
            self.state.release_withheld(rested)

    async def refresh_kept(self) -> None:
        """Forget for whom addresses were kept who did not come back in time.

        There may be 100 000: others have their turn meanwhile.
        """
        now = self.clock.now()
        found = await asyncio.to_thread(stale, self.state.view, self.keep, now)
        for start in range(0, len(found), _KEPT_AT_ONCE):
            part = found[start : start + _KEPT_AT_ONCE]
            settled = (k for k in part if k.address not in self.grants.addresses(k.pool_id))
            change = refreshed(self.state.view, settled, self.keep, now)
            if change.is_any:
                await self.change_kept(change)

    async def change_kept(self, change: Change) -> None:
        """Record what turned out about who keeps which address."""
        await self.state.commit(puts=change.puts, drops=change.drops)
        self._go_on_resting(change.drops)

    def _go_on_resting(self, dropped: Iterable[Record]) -> None:
        """Withhold what is not kept any more, and was withheld for that, but rests besides."""
        kept = (record for record in dropped if isinstance(record, Sticky))
        if resting := [s for s in kept if self.cooldown.rests(s.pool_id, s.address)]:
            self.state.withhold(resting)

    async def remember_engine(self, engine_id: str) -> None:
        """Note which Docker Engine this state serves."""
        async with self.locks.hold(POOLS):
            host: HostState = self.state.view.host
            await self.state.commit(puts=(host.with_engine(engine_id),))
