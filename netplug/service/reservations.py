"""Addresses that an operator keeps from everybody, and the pools that they are of, by any name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

from netplug.addresses import parse_address
from netplug.contract.ipam import AddressRequest
from netplug.errors import Conflict, InvalidRequest, NotFound
from netplug.model import IPAddress, Lease, LeaseKind, Pool
from netplug.service.addresses import Addresses
from netplug.service.held import is_leasable
from netplug.service.networks import Networks

MOST = 4096
"""How many addresses are reserved at once: a /20. A larger part of a pool is left out of it by
`--ip-range` when the network is made."""

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Addresses from `first` to `last`; one that is no run is meant by itself."""

    first: IPAddress
    last: IPAddress
    is_run: bool = False

    def __iter__(self) -> Iterator[IPAddress]:
        return (type(self.first)(number) for number in range(int(self.first), int(self.last) + 1))

    @property
    def size(self) -> int:
        """Return how many there are, which for IPv6 is more than `len` can tell."""
        return int(self.last) - int(self.first) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservations:
    """Reserves addresses of pools, all of a request or none."""

    networks: Networks
    addresses: Addresses

    def pools_of(self, reference: str) -> tuple[Pool, ...]:
        """Return the pool with this id or network, or those of the network called so.

        Raises:
            NotFound: there is none.
            Conflict: several pools or networks are called so, or the network's addresses are
                not pynet's.
        """
        view = self.networks.state.view
        found = tuple(p for p in view.pools.values() if reference in (p.id, str(p.network)))
        if len(found) > 1:
            ids = " and ".join(sorted(p.id for p in found))
            raise Conflict(f"pool {reference}", f"is ambiguous: {ids}", "give the id")
        if found:
            return found
        try:
            network = self.networks.find(reference)
        except NotFound as error:
            hint = "'pynet ipam pools' shows what there is"
            raise NotFound("pool or network", reference, hint) from error
        pools = tuple(view.pools[pool_id] for pool_id in network.pool_ids if pool_id in view.pools)
        if not pools:
            raise Conflict(
                f"network {network.label}",
                "has its addresses from Docker",
                "make it with '--ipam-driver pynet'",
            )
        return pools

    async def reserve(self, reference: str, texts: Sequence[str], note: str) -> tuple[Lease, ...]:
        """Reserve addresses, durably; return their leases.

        A text is an address, a run "A-B", or a network. Of runs and networks, what no endpoint
        could have is passed over. What is reserved already stays so, with the new note if there is
        one.

        Raises:
            NotFound: there is no such pool.
            InvalidRequest: a text is none of these or lies outside; there are too many.
            Conflict: an address is leased; nothing is reserved.
        """
        pools = self.pools_of(reference)
        wanted = _each(_spans(texts, pools))
        async with self.addresses.locks.hold_all(f"pool {pool.id}" for pool in pools):
            for pool in pools:
                await self.addresses.grants.settled(pool.id)
            leases: list[Lease] = []
            taken: list[Lease] = []
            for (pool, address), is_of_run in wanted.items():
                lease = self._wanted(pool, address, is_of_run, note, taken)
                leases += [lease] if lease else []
            _refuse_taken(taken)
            await self.addresses.state.commit(puts=leases, is_durable=True)
        self._tell(reference, leases, "reserved" + (f" for {note}" if note else ""))
        return tuple(leases)

    async def unreserve(self, reference: str, texts: Sequence[str]) -> tuple[Lease, ...]:
        """Give reserved addresses back, and return what was reserved.

        Raises:
            NotFound: there is no such pool, or nothing of a text is reserved.
            InvalidRequest: a text is no address, run or network, or lies outside.
        """
        gone: dict[Lease, None] = {}
        for pool, span in _spans(texts, self.pools_of(reference)):
            known = self.addresses.state.view.leases_of(pool.id)
            found = [lease for a in span if (lease := known.get(a)) and _is_reserved(lease)]
            if not found:
                what = str(span.first) if not span.is_run else f"{span.first} to {span.last}"
                raise NotFound("reservation of", f"{what} in pool {pool.id}")
            gone |= dict.fromkeys(found)
        leases = tuple(gone)
        await self.addresses.state.commit(drops=leases, is_durable=True)
        self._tell(reference, leases, "no longer reserved")
        return leases

    def _wanted(
        self, pool: Pool, address: IPAddress, is_of_run: bool, note: str, taken: list[Lease]
    ) -> Lease | None:
        """Return the lease to record, None where there is none to make; note what is in the way."""
        known = self.addresses.state.view.leases_of(pool.id).get(address)
        if known and _is_reserved(known):
            return replace(known, owner=note or known.owner)
        if is_of_run and (not is_leasable(address, pool) or (known and not _is_endpoints(known))):
            return None
        if known:
            taken.append(known)
            return None
        request = AddressRequest(
            pool_id=pool.id, address=address, kind=LeaseKind.RESERVED, owner=note
        )
        a = self.addresses
        return a.ipam.request_address(request, a.state.view, a.clock.now()).lease

    def _tell(self, reference: str, leases: Sequence[Lease], what: str) -> None:
        shown = ", ".join(str(lease.address) for lease in leases[:_SHOWN])
        rest = f" and {len(leases) - _SHOWN} more" if len(leases) > _SHOWN else ""
        if leases:
            self.networks.journal.note("ipam.reserve", f"{shown}{rest} of {reference} {what}")


def _is_reserved(lease: Lease) -> bool:
    return lease.kind is LeaseKind.RESERVED


def _is_endpoints(lease: Lease) -> bool:
    return lease.kind.is_for_endpoint


def _refuse_taken(taken: Sequence[Lease]) -> None:
    """Refuse addresses that are leased.

    Raises:
        Conflict: there are some; the message names the first.
    """
    if not taken:
        return
    shown = ", ".join(
        f"{lease.address} ({lease.kind}{', ' + lease.owner if lease.owner else ''})"
        for lease in taken[:_SHOWN]
    )
    rest = f" and {len(taken) - _SHOWN} more" if len(taken) > _SHOWN else ""
    are = "is" if len(taken) == 1 else "are"
    raise Conflict(f"{shown}{rest}", f"{are} leased", "nothing was reserved")


def _spans(texts: Sequence[str], pools: Sequence[Pool]) -> list[tuple[Pool, Span]]:
    """Return what texts mean, each with its pool.

    Raises:
        InvalidRequest: with everything that does not parse, lies outside, or is too much.
    """
    problems: list[str] = []
    found: list[tuple[Pool, Span]] = []
    for text in texts:
        try:
            span = _span(text)
        except ValueError as error:
            problems.append(str(error))
            continue
        pool = next((p for p in pools if span.first in p.network and span.last in p.network), None)
        if pool is None:
            known = " and ".join(str(p.network) for p in pools)
            problems.append(f"{text} lies outside {known}")
        else:
            found.append((pool, span))
    if not texts:
        problems.append("an address is wanted")
    if (count := sum(span.size for _, span in found)) > MOST:
        problems.append(f"{count} addresses are too many: at most {MOST} at once")
    if problems:
        raise InvalidRequest(problems)
    return found


def _each(spans: Iterable[tuple[Pool, Span]]) -> dict[tuple[Pool, IPAddress], bool]:
    """Return each address once, and whether it is meant as a part of runs only."""
    each: dict[tuple[Pool, IPAddress], bool] = {}
    for pool, span in spans:
        for address in span:
            each[pool, address] = span.is_run and each.get((pool, address), True)
    return each


def _span(text: str) -> Span:
    """Return the addresses that a text means.

    Raises:
        ValueError: it means none.
    """
    first, dash, last = text.partition("-")
    if dash:
        one, two = parse_address(first.strip()), parse_address(last.strip())
        if one.version != two.version or int(one) > int(two):
            raise ValueError(f"{text} is no run of addresses: it ends before it begins")
        return Span(first=one, last=two, is_run=True)
    if "/" in text:
        network = ip_network(text)
        return Span(first=network[0], last=network[-1], is_run=True)
    address = parse_address(text)
    return Span(first=address, last=address)
