"""What a pool keeps for whoever asks for an address, and what it keeps for them from now on."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from datetime import datetime

from netplug.contract.ipam import AddressRequest
from netplug.model import IPAddress, Pool, Stickiness, Sticky
from netplug.view import View


def is_kept(request: AddressRequest, pool: Pool) -> bool:
    """Return whether a pool keeps the address for whoever asks for it."""
    return pool.is_sticky and bool(request.name) and request.kind.is_for_endpoint


class Keeping:
    """A request for an address that is kept, beside what the pool keeps already."""

    def __init__(self, request: AddressRequest, view: View) -> None:
        """Look up what there is for the caller."""
        self._request = request
        self._kept = view.sticky_of(request.pool_id).of(request.name, request.service)

    def free(self, leases: Container[IPAddress]) -> IPAddress | None:
        """Return what is kept for the caller, if they leave the choice to us and it is free."""
        if self._request.address is not None:
            return None
        return next((s.address for s in self._kept if s.address not in leases), None)

    def outcome(self, address: IPAddress) -> Stickiness:
        """Return whether the caller had an address before."""
        if self._request.address is not None:
            return Stickiness.NONE
        return Stickiness.KEPT if self._mine(address) else Stickiness.NEW

    def change(self, address: IPAddress, now: datetime) -> Sticky | None:
        """Return for whom an address is kept from now on, if that has changed."""
        name, service = self._request.name, self._request.service
        mine = self._mine(address)
        if mine is None:
            return Sticky(
                pool_id=self._request.pool_id,
                name=name,
                service=service,
                address=address,
                held_at=now,
            )
        told = replace(mine, name=name, service=service or mine.service)
        return told if told != mine else None

    def lapsed(self, address: IPAddress) -> tuple[Sticky, ...]:
        """Return what else was kept for the caller."""
        return tuple(s for s in self._kept if s.address != address)

    def _mine(self, address: IPAddress) -> Sticky | None:
        return next((s for s in self._kept if s.address == address), None)
