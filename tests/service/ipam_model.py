"""What the IPAM should do, with plain sets: slow, short, and nothing shared with `ipam`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PoolExhausted,
    StoreUnavailable,
)
from netplug.kernel.memory import Stopped
from netplug.model import (
    IPAddress,
    IPNetwork,
    Lease,
    LeaseKind,
    Pool,
    PoolId,
    PoolRange,
    Stickiness,
    Sticky,
)

KNOWN_OPTIONS = {"overlap": ("allow", "refuse"), "sticky": ("on", "off")}

MOST_CANDIDATES = 1024
"""More than any example leases: of a /64, the rest is never looked at."""


def is_host(address: IPAddress, network: IPNetwork) -> bool:
    """Whether a host may have an address: not network, broadcast, or subnet-router anycast."""
    if network.num_addresses <= 2:
        return True
    return address != network[0] and (network.version == 6 or address != network[-1])


@lru_cache(maxsize=256)
def candidates(network: IPNetwork, within: IPNetwork | None = None) -> tuple[IPAddress, ...]:
    """The addresses to choose from, in order."""
    return tuple(a for a in islice(within or network, MOST_CANDIDATES) if is_host(a, network))


@lru_cache(maxsize=256)
def slices(ranges: tuple[PoolRange, ...], size: int) -> tuple[IPNetwork, ...]:
    """The pools of one size that ranges can be cut in, in order."""
    cut = [n for r in ranges if r.base.prefixlen <= size for n in r.base.subnets(new_prefix=size)]
    return tuple(sorted(cut))


@dataclass
class PoolModel:
    """A pool, who has its addresses, for whom it keeps some, and until when others rest."""

    pool: Pool
    leases: dict[IPAddress, Lease] = field(default_factory=dict)
    kept: dict[IPAddress, Sticky] = field(default_factory=dict)
    resting: dict[IPAddress, float] = field(default_factory=dict)

    def copy(self) -> PoolModel:
        return PoolModel(self.pool, dict(self.leases), dict(self.kept), dict(self.resting))

    @property
    def dynamic(self) -> tuple[IPAddress, ...]:
        """What an endpoint may get that names no address."""
        return candidates(self.pool.network, self.pool.sub_range)

    def withheld(self, now_s: float) -> set[IPAddress]:
        """What is given out only when no other is left."""
        return {*self.kept, *(a for a, until_s in self.resting.items() if until_s > now_s)}

    def choose(
        self, wanted: Sequence[IPAddress], cursor: IPAddress | None, now_s: float
    ) -> IPAddress:
        free = [a for a in wanted if a not in self.leases]
        if not free:
            raise PoolExhausted(f"pool {self.pool.id}", "the model is full")
        withheld = self.withheld(now_s)
        rested = [a for a in free if a not in withheld] or free
        return next((a for a in rested if cursor is not None and a > cursor), rested[0])

    def keeps(self, wish: AddressRequest) -> bool:
        """Whether it keeps what whoever asks gets."""
        return self.pool.is_sticky and wish.name != "" and wish.kind is LeaseKind.DYNAMIC

    def kept_for(self, wish: AddressRequest) -> list[IPAddress]:
        """What it keeps for whoever asks: for the replica first, then for the name."""
        if not self.keeps(wish):
            return []
        kept = self.kept.items()
        of_replica = [a for a, s in kept if wish.service and s.service == wish.service]
        return of_replica + [a for a, s in kept if s.name == wish.name and a not in of_replica]

    def keep(self, wish: AddressRequest, address: IPAddress, now: datetime) -> None:
        """Keep an address for whoever asked, and nothing else."""
        before = {a: self.kept.pop(a) for a in self.kept_for(wish)}.get(address)
        self.kept[address] = Sticky(
            pool_id=self.pool.id,
            name=wish.name,
            service=wish.service or (before.service if before else ""),
            address=address,
            held_at=before.held_at if before else now,
        )

    def check(self, address: IPAddress) -> None:
        if address not in self.pool.network or not is_host(address, self.pool.network):
            raise InvalidRequest([f"{address} is no host of {self.pool.network}"])
        if address in self.leases:
            raise Conflict(f"address {address}", "is leased", "take another")


@dataclass
class Model:
    """All pools; what is in use beside them; the automatic pools that were last of each family."""

    ranges: dict[int, tuple[PoolRange, ...]]
    pools: dict[PoolId, PoolModel] = field(default_factory=dict)
    last: dict[int, IPNetwork] = field(default_factory=dict)

    def copy(self) -> Model:
        return Model(self.ranges, {i: p.copy() for i, p in self.pools.items()}, dict(self.last))

    def rested(self) -> Model:
        """The model of a daemon that has begun anew: who rests is known to nobody."""
        pools = {i: PoolModel(p.pool, dict(p.leases), dict(p.kept)) for i, p in self.pools.items()}
        return replace(self.copy(), pools=pools)

    def request_pool(self, wish: PoolRequest, taken: Iterable[IPNetwork], now: datetime) -> Pool:
        _check(wish)
        network = wish.network
        is_auto = network is None or network.network_address.is_unspecified
        if is_auto:
            network = self._slice(wish, taken)
        elif any(
            network.overlaps(p.pool.network)
            for p in self.pools.values()
            if p.pool.space == wish.space and p.pool.network.version == network.version
        ):
            raise Conflict(f"pool {network}", "overlaps another", "choose another")
        pool = Pool(
            id=PoolId("/".join(map(str, filter(None, (wish.space, network, wish.sub_range))))),
            space=wish.space,
            network=network,
            sub_range=wish.sub_range,
            is_auto=is_auto,
            may_overlap=("overlap", "allow") in wish.options,
            is_sticky=("sticky", "off") not in wish.options,
            created_at=now,
        )
        self.pools[pool.id] = PoolModel(pool)
        return pool

    def _slice(self, wish: PoolRequest, taken: Iterable[IPNetwork]) -> IPNetwork:
        version = 6 if wish.is_ipv6 else 4
        ranges = self.ranges[version]
        if wish.network is None:
            whole = tuple(sorted(n for r in ranges for n in slices((r,), r.size)))
        else:
            whole = slices(ranges, wish.network.prefixlen)
        if not whole:
            raise InvalidRequest(["no range is so large"])
        used = [*(p.pool.network for p in self.pools.values()), *taken]
        used = [n for n in used if n.version == version]
        free = [n for n in whole if not any(n.overlaps(u) for u in used)]
        if not free:
            raise PoolExhausted("the automatic ranges", "the model is full")
        last = self.last.get(version)
        behind = [n for n in free if last is not None and n[0] > last[-1]]
        self.last[version] = (behind or free)[0]
        return self.last[version]

    def release_pool(self, pool_id: PoolId) -> None:
        self.pools.pop(pool_id, None)

    def request_address(
        self, wish: AddressRequest, now: datetime, now_s: float
    ) -> tuple[Lease, Pool]:
        """Grant an address; the pool is returned as it was before."""
        known = self.pools.get(wish.pool_id)
        if known is None:
            raise NotFound("pool", wish.pool_id)
        pool, address, kind = known.pool, wish.address, wish.kind
        sticky = Stickiness.NONE
        mine = known.kept_for(wish)
        if address is not None:
            known.check(address)
            kind = LeaseKind.STATIC if kind is LeaseKind.DYNAMIC else kind
        elif kind is LeaseKind.GATEWAY:
            address = known.choose(candidates(pool.network), None, now_s)
        elif back := [a for a in mine if a not in known.leases]:
            address, sticky = back[0], Stickiness.KEPT
        else:
            address = known.choose(known.dynamic, pool.cursor, now_s)
            sticky = Stickiness.KEPT if address in mine else Stickiness.NEW
            known.pool = replace(pool, cursor=address)
        if not known.keeps(wish):
            sticky = Stickiness.NONE
        else:
            known.keep(wish, address, now)
        lease = Lease(
            pool_id=pool.id,
            address=address,
            kind=kind,
            owner=wish.owner,
            sticky=sticky,
            created_at=now,
        )
        known.leases[address] = lease
        return lease, pool

    def release_address(self, pool_id: PoolId, address: IPAddress, until_s: float) -> None:
        """Let an address rest until then; a reservation stays."""
        known = self.pools.get(pool_id)
        lease = known.leases.get(address) if known else None
        if known and lease and lease.kind is not LeaseKind.RESERVED:
            del known.leases[address]
            known.resting[address] = until_s

    def refresh_kept(self, keep: timedelta, now: datetime) -> None:
        """Note who still has what is kept for them, and keep nothing for whoever is long gone."""
        for known in self.pools.values():
            for address, sticky in list(known.kept.items()):
                lease = known.leases.get(address)
                is_held = lease is not None and lease.owner == sticky.name
                if sticky.held_at < now - keep / 8 and is_held:
                    known.kept[address] = replace(sticky, held_at=now)
                elif sticky.held_at < now - keep / 8 - keep:
                    del known.kept[address]

    def reserve(
        self, pool_id: PoolId, run: Sequence[IPAddress], note: str, now: datetime
    ) -> set[IPAddress]:
        """Reserve an address, or of a run of several what an endpoint could have."""
        known = self.pools[pool_id]
        wanted: dict[IPAddress, Lease] = {}
        for address in run:
            lease = known.leases.get(address)
            if lease and lease.kind is LeaseKind.RESERVED:
                wanted[address] = replace(lease, owner=note or lease.owner)
                continue
            is_skipped = not is_host(address, known.pool.network) or (
                lease and lease.kind is LeaseKind.GATEWAY
            )
            if len(run) > 1 and is_skipped:
                continue
            known.check(address)
            wanted[address] = Lease(
                pool_id=pool_id,
                address=address,
                kind=LeaseKind.RESERVED,
                owner=note,
                created_at=now,
            )
        known.leases |= wanted
        return set(wanted)

    def unreserve(self, pool_id: PoolId, run: Sequence[IPAddress]) -> set[IPAddress]:
        leases = self.pools[pool_id].leases
        gone = {a for a in run if a in leases and leases[a].kind is LeaseKind.RESERVED}
        if not gone:
            raise NotFound("reservation of", str(run[0]))
        for address in gone:
            del leases[address]
        return gone


def _check(wish: PoolRequest) -> None:
    network, within = wish.network, wish.sub_range
    is_bad = network is not None and network.version != (6 if wish.is_ipv6 else 4)
    if within is not None and not is_bad:
        is_bad = (
            network is None
            or network.network_address.is_unspecified
            or within.version != network.version
            or not within.subnet_of(network)
            or not candidates(network, within)
        )
    if is_bad or any(word not in KNOWN_OPTIONS.get(key, ()) for key, word in wish.options):
        raise InvalidRequest([f"{wish}"])


def is_in_turn(lease: Lease) -> bool:
    """Whether an address was chosen behind the cursor, as what somebody had before is not."""
    return lease.kind is LeaseKind.DYNAMIC and lease.sticky is not Stickiness.KEPT


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Calls for one pool that overlapped: what each wanted, and what it was told."""

    before: PoolModel
    requests: Sequence[tuple[AddressRequest, object]]
    releases: Sequence[tuple[IPAddress, object]]

    @property
    def granted(self) -> list[Lease]:
        return [told[0] for _, told in self.requests if isinstance(told, tuple)]

    @property
    def released(self) -> set[IPAddress]:
        return {address for address, told in self.releases if told is None}

    def check(self, now: PoolModel) -> None:
        """See that it may have come to this, in whatever order, with whatever unanswered."""
        before, granted, pool, found = self.before.leases, self.granted, now.pool, now.leases
        gone = {address for address, _ in self.releases}
        assert len({lease.address for lease in granted}) == len(granted)
        for lease in granted:
            assert found[lease.address] == lease
            assert lease.address not in before or lease.address in self.released
        for address, lease in before.items():
            assert address in gone or found[address] == lease
        for address in self.released:
            assert found.get(address) != before[address]

        new = [lease for address, lease in found.items() if before.get(address) != lease]
        assert len(granted) <= len(new) <= len(granted) + self.count(Stopped)
        in_turn = {e.address for e in new if is_in_turn(e)}
        assert pool.cursor in in_turn if in_turn else pool.cursor == self.before.pool.cursor
        for wish, told in self.requests:
            if isinstance(told, PoolExhausted) and not self.count(Stopped, StoreUnavailable):
                is_any = wish.kind is LeaseKind.GATEWAY
                choice = candidates(pool.network) if is_any else self.before.dynamic
                assert {*choice} <= {*before, *found}
            if isinstance(told, tuple) and now.keeps(wish):
                assert now.kept_for(wish) == [told[0].address]
        assert all(found.get(a) or a in self.before.kept for a in now.kept)

    def count(self, *outcomes: type[BaseException]) -> int:
        """How many calls came to this."""
        return sum(isinstance(told, outcomes) for _, told in (*self.requests, *self.releases))
