"""How addresses are chosen: pure functions over the view; the service commits what they return."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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
from netplug.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """What a caller wants of a pool: a given one, or any of a family."""

    space: str
    network: IPNetwork | None = None
    sub_range: IPNetwork | None = None
    is_ipv6: bool = False
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolGrant:
    """A new pool, and the host state whose cursor has moved, if it has."""

    pool: Pool
    host: HostState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRequest:
    """What a caller wants of an address: a given one, or any.

    `name` and `service` tell for whom: a container's name, and PROJECT/SERVICE/NUMBER of Compose.
    """

    pool_id: PoolId
    address: IPAddress | None = None
    kind: LeaseKind = LeaseKind.DYNAMIC
    owner: str = ""
    name: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGrant:
    """A new lease, and the pool with its cursor moved, if it has.

    `kept` is for whom the address is kept from now on, if that has changed, and `lapsed` what was
    kept for the same until now.
    """

    lease: Lease
    pool: Pool | None = None
    kept: Sticky | None = None
    lapsed: tuple[Sticky, ...] = ()

    @property
    def puts(self) -> tuple[Record, ...]:
        """Return the records to put."""
        changed = (self.lease, self.pool, self.kept)
        return tuple(record for record in changed if record is not None)


class Ipam(Protocol):
    """Chooses pools and addresses; never waits, never stores."""

    def request_pool(
        self, request: PoolRequest, view: View, taken: Collection[IPNetwork], now: datetime
    ) -> PoolGrant:
        """Choose a pool.

        `taken` are networks that are in use beside ours, less default routes; automatic pools
        avoid them and advance: the one granted last comes last, also after its release.

        Raises:
            InvalidRequest: a sub-range outside its pool, families mixed, host bits set.
            Conflict: the pool overlaps one that exists in this space.
            PoolExhausted: no automatic pool is free.
        """
        ...

    def request_address(self, request: AddressRequest, view: View, now: datetime) -> AddressGrant:
        """Choose an address.

        A given address may lie anywhere in the pool; a chosen one lies in the sub-range, is never
        the network, broadcast or subnet-router anycast address, and follows the pool's cursor.
        What is kept for whoever asks is theirs if it is free, and a sticky pool keeps what they
        get, in the place of what it kept for them before.
        One that is withheld is chosen when no other is left. A lease of a given address is static
        where it would be dynamic.
        A gateway that is not given is the first free address of the pool.

        Raises:
            NotFound: there is no such pool.
            InvalidRequest: the address is outside the pool, or cannot be a host's.
            Conflict: the address is leased; the message names the holder.
            PoolExhausted: every address is leased.
        """
        ...

    def size(self, pool: Pool) -> int:
        """Return how many addresses of `pool` can be leased."""
        ...
