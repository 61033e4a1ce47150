"""What turns out later about kept addresses: who got them, and what nobody came back for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from netplug.model import Endpoint, Lease, LeaseKind, Pool, Record, Stickiness, Sticky
from netplug.service.who import replica_of
from netplug.view import View

# Of the time that an address is kept: how late `held_at` may be while it is leased.
_REFRESHED_EVERY = 0.125


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Records to put and to drop."""

    puts: tuple[Record, ...] = ()
    drops: tuple[Record, ...] = ()

    @property
    def is_any(self) -> bool:
        """Return whether there is something to change."""
        return bool(self.puts or self.drops)


def learned(view: View, before: Endpoint, after: Endpoint, now: datetime) -> Change:
    """Return what follows for leases from how an endpoint is called from now on."""
    network = view.networks.get(after.network_id)
    puts: list[Record] = []
    drops: list[Record] = []
    for pool_id in network.pool_ids if network else ():
        for address in after.addresses:
            lease = view.leases_of(pool_id).get(address.ip)
            if lease is not None and lease.kind.is_for_endpoint and after.name:
                change = _learned(view, lease, before, after, now)
                puts += change.puts
                drops += change.drops
    return Change(puts=tuple(puts), drops=tuple(drops))


def _learned(view: View, lease: Lease, before: Endpoint, after: Endpoint, now: datetime) -> Change:
    pool, said = view.pools.get(lease.pool_id), replace(lease, owner=after.name)
    if pool is None or not pool.is_sticky:
        return Change(puts=(said,) if said != lease else ())
    who = _Holder(after.name, replica_of(after), view, pool)
    holder = view.sticky_of(pool.id).get(lease.address)
    if not before.name and lease.kind is LeaseKind.DYNAMIC:
        said = replace(said, sticky=who.outcome(lease, holder))
    puts: tuple[Record, ...] = (said,) if said != lease else ()
    if holder is not None and not _gives_way(holder, lease, before, who):
        return Change(puts=puts)
    kept = who.kept(lease, holder, now)
    return Change(puts=(*puts, kept) if kept != holder else puts, drops=who.elsewhere(lease))


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who turned out to have an address of a pool."""

    name: str
    service: str
    view: View
    pool: Pool

    def has(self, kept: Sticky | None) -> bool:
        return kept is not None and kept.is_of(self.name, self.service)

    def elsewhere(self, lease: Lease) -> tuple[Sticky, ...]:
        """Return what else is kept for them."""
        mine = self.view.sticky_of(self.pool.id).of(self.name, self.service)
        return tuple(kept for kept in mine if kept.address != lease.address)

    def outcome(self, lease: Lease, holder: Sticky | None) -> Stickiness:
        if self.has(holder):
            return lease.sticky or Stickiness.KEPT
        return Stickiness.AMBIGUOUS if self.elsewhere(lease) else Stickiness.NEW

    def kept(self, lease: Lease, holder: Sticky | None, now: datetime) -> Sticky:
        if holder is not None and self.has(holder):
            return replace(holder, name=self.name, service=self.service or holder.service)
        return Sticky(
            pool_id=self.pool.id,
            name=self.name,
            service=self.service,
            address=lease.address,
            held_at=now,
        )


def _gives_way(holder: Sticky, lease: Lease, before: Endpoint, who: _Holder) -> bool:
    """Say whether an address is kept for whoever has it now, and no more for `holder`.

    Not if it was given to them by mistake: a wrong guess must not cost `holder` the address. What
    was kept on the word of the guess itself is no older than the lease.
    """
    return (
        who.has(holder)
        or lease.kind is LeaseKind.STATIC
        or holder.held_at >= lease.created_at
        or (bool(before.name) and holder.name == before.name)
    )


def stale(view: View, keep: timedelta, now: datetime) -> list[Sticky]:
    """Return what is kept on word that is old, and what belongs to no pool."""
    stale_at = now - keep * _REFRESHED_EVERY
    return [
        kept
        for pool_id, book in view.sticky.items()
        for kept in book
        if kept.held_at < stale_at or pool_id not in view.pools
    ]


def refreshed(view: View, seen: Iterable[Sticky], keep: timedelta, now: datetime) -> Change:
    """Return what of it is kept for those who still have it, and what is kept no longer.

    Nothing is dropped before `keep` has passed since the release, and nothing stays for long after.
    """
    puts, drops = list[Record](), list[Record]()
    stale_at = now - keep * _REFRESHED_EVERY
    for place in seen:
        kept = view.sticky_of(place.pool_id).get(place.address)
        if kept is None:
            continue
        lease = view.leases_of(kept.pool_id).get(kept.address)
        is_held = lease is not None and lease.owner == kept.name
        is_over = kept.held_at < stale_at - keep and not is_held
        if is_over or kept.pool_id not in view.pools:
            drops.append(kept)
        elif is_held and kept.held_at < stale_at:
            puts.append(replace(kept, held_at=now))
    return Change(puts=tuple(puts), drops=tuple(drops))
