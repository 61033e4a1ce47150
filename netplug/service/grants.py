"""Addresses that are chosen and not recorded yet: nobody else may be given them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from netplug.contract.ipam import AddressGrant
from netplug.model import IPAddress, PoolId
from netplug.view import View

_UnderWay = dict[IPAddress, tuple[AddressGrant, asyncio.Event]]


@dataclass(slots=True)
class Grants:
    """What is on its way to the store, so that many requests of one pool are written together."""

    _under_way: dict[PoolId, _UnderWay] = field(default_factory=dict)

    def chosen(
        self, pool_id: PoolId, view: View, choose: Callable[[View], AddressGrant]
    ) -> AddressGrant:
        """Return what `choose` grants of a pool beside all that is under way.

        With the pool's cursor behind them, it hardly ever chooses one of those; only then are
        they put in the view, each of them.
        """
        under_way = self._under_way.get(pool_id, {})
        latest_first = reversed(under_way.values())
        if moved := next((grant.pool for grant, _ in latest_first if grant.pool), None):
            view = view.with_records((moved,))
        grant = choose(view)
        if grant.lease.address in under_way:
            lapsed = [record for grant, _ in under_way.values() for record in grant.lapsed]
            puts = [record for grant, _ in under_way.values() for record in grant.puts]
            grant = choose(view.without(lapsed).with_records(puts))
        return grant

    def addresses(self, pool_id: PoolId) -> Collection[IPAddress]:
        """Return the addresses of a pool that are under way."""
        return self._under_way.get(pool_id, {}).keys()

    def begin(self, grant: AddressGrant) -> None:
        """Hold the address of a grant until `end`."""
        under_way = self._under_way.setdefault(grant.lease.pool_id, {})
        under_way[grant.lease.address] = (grant, asyncio.Event())

    def end(self, grant: AddressGrant) -> None:
        """Hold the address no more: it is recorded, or is not."""
        under_way = self._under_way[grant.lease.pool_id]
        _, done = under_way.pop(grant.lease.address)
        done.set()
        if not under_way:
            del self._under_way[grant.lease.pool_id]

    async def settled(self, pool_id: PoolId) -> None:
        """Return once nothing of a pool is under way; whoever waits must let nothing new begin."""
        for _, done in list(self._under_way.get(pool_id, {}).values()):
            await done.wait()
