"""All records at one moment: a view, which is replaced whole and never changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from netplug.model import (
    Endpoint,
    EndpointId,
    HostFacts,
    HostState,
    IPAddress,
    IPNetwork,
    Lease,
    LeaseBook,
    NameKey,
    NameRecord,
    Network,
    NetworkId,
    Pool,
    PoolId,
    Reached,
    Record,
    Sticky,
    StickyBook,
)

_NO_FACTS = HostFacts()
_NOTHING_KEPT = StickyBook()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything known at one moment. Never changed: `with_records` and `without` make a new one.

    Cost of changes made at once: one shallow copy of each mapping concerned, of two for endpoints;
    for leases see `netplug.leases`. Pools with no lease and nothing withheld have no book.
    `engine_subnets` are those of the bridges that the engine makes itself; None until it told.
    `beside_us` are those of all its networks that are not ours.
    `sandboxes` are the endpoints in each, `pool_users` the networks that have the pools.
    """

    host: HostState
    facts: HostFacts = _NO_FACTS
    engine_subnets: frozenset[IPNetwork] | None = None
    beside_us: frozenset[Reached] = frozenset()
    networks: Mapping[NetworkId, Network] = field(default_factory=lambda: MappingProxyType({}))
    endpoints: Mapping[EndpointId, Endpoint] = field(default_factory=lambda: MappingProxyType({}))
    sandboxes: Mapping[str, frozenset[EndpointId]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    pools: Mapping[PoolId, Pool] = field(default_factory=lambda: MappingProxyType({}))
    pool_users: Mapping[PoolId, NetworkId] = field(default_factory=lambda: MappingProxyType({}))
    leases: Mapping[PoolId, LeaseBook] = field(default_factory=lambda: MappingProxyType({}))
    sticky: Mapping[PoolId, StickyBook] = field(default_factory=lambda: MappingProxyType({}))
    records: Mapping[NameKey, NameRecord] = field(default_factory=lambda: MappingProxyType({}))

    def with_records(self, records: Iterable[Record]) -> View:
        """Return a view in which each of `records` is put in the place of its namesake."""
        return self.changed(puts=records)

    def without(self, records: Iterable[Record]) -> View:
        """Return a view without `records`; those that are not there are passed over."""
        return self.changed(drops=records)

    def changed(
        self,
        *,
        drops: Iterable[Record] = (),
        puts: Iterable[Record] = (),
        withheld: Iterable[Lease | Sticky] = (),
    ) -> View:
        """Return a view with all these changes, in this order.

        The addresses of the records `withheld` are withheld, whether those are there or not.
        """
        draft = _Draft(self)
        for record in drops:
            draft.drop(record)
        for record in puts:
            draft.put(record)
        for record in withheld:
            draft.withhold(record.pool_id, record.address)
        return draft.view()

    def with_facts(self, facts: HostFacts) -> View:
        """Return this view of a host that has changed."""
        return replace(self, facts=facts)

    def with_engine_subnets(
        self, subnets: frozenset[IPNetwork], beside_us: frozenset[Reached]
    ) -> View:
        """Return this view beside an engine that has changed."""
        return replace(self, engine_subnets=subnets, beside_us=beside_us)

    def without_withheld(self, addresses: Mapping[PoolId, Iterable[IPAddress]]) -> View:
        """Return a view in which these are withheld no more, but for those that are kept."""
        draft = _Draft(self)
        for pool_id, of_pool in addresses.items():
            draft.release_withheld(pool_id, of_pool)
        return draft.view()

    def leases_of(self, pool_id: PoolId) -> LeaseBook:
        """Return the leases of a pool by address; empty for an unknown pool."""
        book = self.leases.get(pool_id)
        return LeaseBook(pool_id) if book is None else book

    def sticky_of(self, pool_id: PoolId) -> StickyBook:
        """Return who keeps which address of a pool; such addresses are withheld."""
        return self.sticky.get(pool_id, _NOTHING_KEPT)

    def network_of(self, pool_id: PoolId) -> Network | None:
        """Return the network that has a pool; None for an unknown pool, and one of another's."""
        user = self.pool_users.get(pool_id)
        return None if user is None else self.networks[user]

    def endpoints_of(self, network_id: NetworkId) -> tuple[Endpoint, ...]:
        """Return the endpoints on a network."""
        return tuple(e for e in self.endpoints.values() if e.network_id == network_id)

    def beside(self, endpoint: Endpoint) -> tuple[Endpoint, ...]:
        """Return the other endpoints of an endpoint's sandbox; none while it is in no sandbox."""
        known = self.sandboxes.get(endpoint.sandbox, frozenset())
        return tuple(self.endpoints[other] for other in sorted(known - {endpoint.id}))

    def records_of(self, network_id: NetworkId) -> tuple[NameRecord, ...]:
        """Return what users say of the names of a network."""
        return tuple(r for r in self.records.values() if r.network_id == network_id)


_VIEW_FIELDS = tuple(f.name for f in fields(View))
_values = attrgetter(*_VIEW_FIELDS)


class _Draft:
    """A view in the making: each of its mappings is copied once, when it is first changed."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._host = view.host
        self._tables: dict[str, dict[Any, Any]] = {}
        self._books: dict[PoolId, LeaseBook] = {}
        self._leases: dict[PoolId, list[tuple[IPAddress, Lease | None]]] = {}
        self._withheld: dict[PoolId, list[IPAddress]] = {}
        self._sticky: dict[PoolId, dict[IPAddress, Sticky | None]] = {}

    def put(self, record: Record) -> None:
        """Put `record` in the place of its namesake."""
        match record:
            case Network():
                self._have(record.id, record.pool_ids)
                self._table("networks")[record.id] = record
            case Endpoint():
                self._move(record.id, record.sandbox)
                self._table("endpoints")[record.id] = record
            case Pool():
                self._table("pools")[record.id] = record
            case Lease():
                self._leases.setdefault(record.pool_id, []).append((record.address, record))
            case Sticky():
                self._sticky.setdefault(record.pool_id, {})[record.address] = record
                self._leases.setdefault(record.pool_id, [])
                self._withheld.setdefault(record.pool_id, []).append(record.address)
            case NameRecord():
                self._table("records")[record.key] = record
            case HostState():
                self._host = record

    def drop(self, record: Record) -> None:
        """Leave `record` out; a pool's leases and what is kept of it go with it."""
        match record:
            case Network():
                self._have(record.id, ())
                self._table("networks").pop(record.id, None)
            case Endpoint():
                self._move(record.id, "")
                self._table("endpoints").pop(record.id, None)
            case Pool():
                self._table("pools").pop(record.id, None)
                self._books[record.id] = LeaseBook(record.id)
                self._leases.pop(record.id, None)
                self._table("sticky").pop(record.id, None)
                self._sticky.pop(record.id, None)
                self._withheld.pop(record.id, None)
            case Lease():
                self._leases.setdefault(record.pool_id, []).append((record.address, None))
            case Sticky():
                self._sticky.setdefault(record.pool_id, {})[record.address] = None
            case NameRecord():
                self._table("records").pop(record.key, None)
            case HostState():
                pass

    def withhold(self, pool_id: PoolId, address: IPAddress) -> None:
        """Withhold one more address of a pool that is there."""
        if pool_id in self._view.pools:
            self._leases.setdefault(pool_id, [])
            self._withheld.setdefault(pool_id, []).append(address)

    def release_withheld(self, pool_id: PoolId, addresses: Iterable[IPAddress]) -> None:
        """Withhold addresses of a pool no more, but those that are kept."""
        if kept := self._view.sticky_of(pool_id):
            addresses = [address for address in addresses if address not in kept]
        self._books[pool_id] = self._book(pool_id).release_withheld(addresses)

    def view(self) -> View:
        """Return what came of it."""
        for pool_id, changes in self._leases.items():
            withheld = self._withheld.get(pool_id, ())
            self._books[pool_id] = self._book(pool_id).changed(changes, withheld)
        for pool_id, kept in self._sticky.items():
            self._keep(pool_id, kept)
        for pool_id, book in self._books.items():
            if book.is_blank:
                self._table("leases").pop(pool_id, None)
            else:
                self._table("leases")[pool_id] = book
        values: dict[str, Any] = dict(zip(_VIEW_FIELDS, _values(self._view), strict=True))
        values["host"] = self._host
        for name, table in self._tables.items():
            values[name] = MappingProxyType(table)
        return View(**values)  # half the cost of replace()

    def _keep(self, pool_id: PoolId, changes: Mapping[IPAddress, Sticky | None]) -> None:
        """Change what is kept of a pool; what is not kept any more is not withheld for it."""
        if gone := [address for address, sticky in changes.items() if sticky is None]:
            self._books[pool_id] = self._book(pool_id).release_withheld(gone)
        if kept := self._view.sticky_of(pool_id).changed(changes):
            self._table("sticky")[pool_id] = kept
        else:
            self._table("sticky").pop(pool_id, None)

    def _have(self, network_id: NetworkId, pool_ids: tuple[PoolId, ...]) -> None:
        """Note which pools a network has from now on."""
        before = self._table("networks").get(network_id)
        known = before.pool_ids if before else ()
        if known == pool_ids:
            return
        users = self._table("pool_users")
        for pool_id in known:
            if users.get(pool_id) == network_id:
                del users[pool_id]
        users |= dict.fromkeys(pool_ids, network_id)

    def _move(self, endpoint_id: EndpointId, sandbox: str) -> None:
        """Note in which sandbox an endpoint is from now on, if in any."""
        before = self._table("endpoints").get(endpoint_id)
        if (before.sandbox if before else "") == sandbox:
            return
        sandboxes = self._table("sandboxes")
        if before and before.sandbox:
            sandboxes[before.sandbox] -= {endpoint_id}
            if not sandboxes[before.sandbox]:
                del sandboxes[before.sandbox]
        if sandbox:
            sandboxes[sandbox] = sandboxes.get(sandbox, frozenset()) | {endpoint_id}

    def _table(self, name: str) -> dict[Any, Any]:
        if name not in self._tables:
            self._tables[name] = getattr(
                self._view, name
            ).copy()  # dict() of a proxy is 10 x slower
        return self._tables[name]

    def _book(self, pool_id: PoolId) -> LeaseBook:
        book = self._books.get(pool_id)
        return self._view.leases_of(pool_id) if book is None else book
