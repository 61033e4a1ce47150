"""The view, and the one way to change it: through the store first."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv6Network

from netplug.contract.store import Batch, Store
from netplug.model import (
    HostFacts,
    HostState,
    IPAddress,
    IPNetwork,
    Lease,
    PoolId,
    Reached,
    Record,
    Sticky,
)
from netplug.view import View

Listener = Callable[[View, View, Sequence[Record]], None]
"""Is told the view before and after a commit, and the records that it put or dropped."""


class State:
    """Holds the present view. Reading it is free; it changes only after the store said yes."""

    def __init__(self, store: Store, view: View) -> None:
        self._store = store
        self.view = view
        self._listeners: list[Listener] = []
        self._sync: asyncio.Task[None] | None = None

    @classmethod
    async def loaded(cls, store: Store) -> State:
        """Return the state of `store`; a new one gets an identity of its own, durably.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        new_host = _new_host()
        view = View(host=new_host)
        async for records in store.load():
            view = view.with_records(records)
        if view.host is new_host:
            await store.commit(Batch(puts=(new_host,), is_durable=True))
        return cls(store, view)

    async def commit(
        self,
        *,
        puts: Sequence[Record] = (),
        drops: Sequence[Record] = (),
        withheld: Sequence[Lease] = (),
        is_durable: bool = False,
    ) -> None:
        """Write the changes and publish the new view.

        In it the addresses of the leases `withheld` are withheld; that is not written.

        Raises:
            StoreUnavailable: nothing was written and the view is as before.
        """
        await self._store.commit(Batch(puts=tuple(puts), drops=tuple(drops), is_durable=is_durable))
        before = self.view
        self.view = before.changed(drops=drops, puts=puts, withheld=withheld)
        for listener in self._listeners:
            listener(before, self.view, (*drops, *puts))

    def sync_soon(self) -> None:
        """Begin to have what is committed survive a power failure; `synced` waits for that."""
        self._sync = asyncio.create_task(self._store.sync())
        self._sync.add_done_callback(_look_at)

    async def synced(self) -> None:
        """Return when what was committed before the last `sync_soon` survives a power failure.

        Raises:
            StoreUnavailable: it may not; the next call tries again.
        """
        if self._sync is None:
            return
        if self._sync.done() and (self._sync.cancelled() or self._sync.exception()):
            self.sync_soon()
        await asyncio.shield(self._sync)

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every commit from now on, before whoever committed goes on."""
        self._listeners.append(listener)

    def ignore(self, listener: Listener) -> None:
        """Call `listener` no more; repeating it is harmless."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def learn(self, facts: HostFacts) -> None:
        """Publish a view with new facts about the host; they are not stored."""
        if facts != self.view.facts:
            self.view = self.view.with_facts(facts)

    def withhold(self, records: Iterable[Lease | Sticky]) -> None:
        """Publish a view in which the addresses of records are withheld; that is not stored."""
        self.view = self.view.changed(withheld=records)

    def release_withheld(self, addresses: Mapping[PoolId, Iterable[IPAddress]]) -> None:
        """Publish a view in which addresses of pools are withheld no more."""
        self.view = self.view.without_withheld(addresses)

    def learn_engine_subnets(
        self, subnets: frozenset[IPNetwork], beside_us: frozenset[Reached] = frozenset()
    ) -> None:
        """Publish a view with the subnets of the engine's own bridges, and of all that is not ours.

        They are not stored.
        """
        if (subnets, beside_us) != (self.view.engine_subnets, self.view.beside_us):
            self.view = self.view.with_engine_subnets(subnets, beside_us)


def _look_at(sync: asyncio.Task[None]) -> None:
    """Look at the outcome, lest asyncio complains that nobody does: who needs it calls `synced`."""
    if not sync.cancelled():
        sync.exception()


def _new_host() -> HostState:
    """Make an identity: a random mark, and a random ULA /48 (RFC 4193 section 3.2.2)."""
    prefix = (0xFD << 120) | (secrets.randbits(40) << 80)
    return HostState(instance=secrets.token_hex(4), ula=IPv6Network((prefix, 48)))
