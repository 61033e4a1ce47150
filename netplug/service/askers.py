"""For whom an address is asked, where the call does not say it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from netplug.contract.ipam import AddressRequest
from netplug.model import IPAddress, LeaseKind, Origin, Pool, Sticky
from netplug.service.candidates import Candidate, Candidates
from netplug.view import View

_One = TypeVar("_One")


@dataclass(frozen=True, slots=True)
class Asker:
    """A request with everything that could be told of who asks; the guess that it rests on."""

    request: AddressRequest
    guess: Candidate | None = None


async def settle(request: AddressRequest, view: View, candidates: Candidates) -> bool:
    """Wait a moment for the engine's word, where it matters; return whether that is to be had."""
    pool = view.pools.get(request.pool_id)
    if pool is None or not _is_open(request, pool):
        return False
    return await candidates.settle(may_wait=bool(view.sticky_of(pool.id)))


def tell(
    request: AddressRequest,
    view: View,
    candidates: Candidates,
    *,
    is_followed: bool,
    under_way: Collection[IPAddress] = (),
) -> Asker:
    """Return the request with a name, if it has or can be given one.

    While the engine is not followed it is starting containers by itself: then those that had an
    address stand for them. `under_way` are addresses of the pool without a lease in the view yet.
    """
    pool = view.pools.get(request.pool_id)
    if pool is None or not pool.is_sticky:
        return Asker(request)
    if request.name:
        service = request.service or candidates.replica_named(request.name)
        return Asker(replace(request, service=service))
    network = view.network_of(pool.id) if _is_open(request, pool) else None
    if network is None or network.origin is not Origin.DOCKER:
        return Asker(request)
    if is_followed:
        guess = _only(candidates.of(network, pool))
        return Asker(_named(request, guess), guess) if guess else Asker(request)
    if not candidates.has_engine:
        return Asker(request)
    leases = view.leases_of(pool.id)
    missing = (s for s in view.sticky_of(pool.id) if s.address not in leases)
    kept = _only(s for s in missing if s.address not in under_way)
    return Asker(_named(request, kept)) if kept else Asker(request)


def _is_open(request: AddressRequest, pool: Pool) -> bool:
    """Say whether it matters who asks, and is not said."""
    is_choice = request.kind is LeaseKind.DYNAMIC and request.address is None
    return is_choice and pool.is_sticky and not request.name


def _named(request: AddressRequest, who: Candidate | Sticky) -> AddressRequest:
    return replace(request, name=who.name, service=who.service, owner=who.name)


def _only(found: Iterable[_One]) -> _One | None:
    """Return the only one of them."""
    some = list(islice(found, 2))
    return some[0] if len(some) == 1 else None
