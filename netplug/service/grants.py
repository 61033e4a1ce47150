"""Addresses that are chosen and not recorded yet: nobody else may be given them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from netplug.contract.ipam import AddressGrant
from netplug.model import IPAddress, PoolId, Record, View


@dataclass(slots=True)
class Grants:
    """What is on its way to the store, so that many requests of one pool are written together."""

    _under_way: dict[PoolId, dict[IPAddress, tuple[AddressGrant, asyncio.Event]]] = field(
        default_factory=dict
    )

    def foreseen(self, view: View, pool_id: PoolId) -> View:
        """Return the view as it will be when everything of a pool is recorded."""
        under_way = self._under_way.get(pool_id)
        if not under_way:
            return view
        puts: list[Record] = []
        for grant, _ in under_way.values():
            puts += [grant.lease] if grant.pool is None else [grant.lease, grant.pool]
        return view.with_records(puts)

    def begin(self, grant: AddressGrant) -> None:
        """Hold the address of a grant until `end`."""
        of_pool = self._under_way.setdefault(grant.lease.pool_id, {})
        of_pool[grant.lease.address] = (grant, asyncio.Event())

    def end(self, grant: AddressGrant) -> None:
        """Hold the address no more: it is recorded, or is not."""
        of_pool = self._under_way[grant.lease.pool_id]
        _, done = of_pool.pop(grant.lease.address)
        done.set()
        if not of_pool:
            del self._under_way[grant.lease.pool_id]

    async def settled(self, pool_id: PoolId) -> None:
        """Return once nothing of a pool is under way; whoever waits must let nothing new begin."""
        for _, done in list(self._under_way.get(pool_id, {}).values()):
            await done.wait()
