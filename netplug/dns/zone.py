"""All names: networks, and in each the names, wildcards, addresses and records it has.

What is stored are frozen values; a change replaces those of its keys and touches no others, so it
costs the same with ten names and with 100 000. It returns which names it touched, and nothing more
than the answers made of those has to be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from netplug.contract.names import (
    DEFAULT_DOMAIN,
    Change,
    Named,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
)
from netplug.model import EndpointId, IPAddress, NetworkId, RecordKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a network has under one name."""

    network: NamedNetwork
    name: str
    endpoints: tuple[NamedEndpoint, ...] = ()
    records: tuple[NamedRecord, ...] = ()


@dataclass(slots=True, kw_only=True)
class Touched:
    """What a change touched: networks as such, and names and addresses of networks."""

    networks: set[NetworkId] = field(default_factory=set)
    names: dict[NetworkId, set[str]] = field(default_factory=dict)

    def add(self, network_id: NetworkId, names: Iterable[str]) -> None:
        """Note names of a network."""
        self.names.setdefault(network_id, set()).update(names)


class _Part:
    """What is in one network, which itself may not be known yet."""

    __slots__ = ("above", "addresses", "names", "network", "records")

    def __init__(self) -> None:
        self.network: NamedNetwork | None = None
        self.names: dict[str, tuple[NamedEndpoint, ...]] = {}
        self.addresses: dict[str, tuple[NamedEndpoint, ...]] = {}
        self.records: dict[str, tuple[NamedRecord, ...]] = {}
        self.above: dict[str, int] = {}  # how often a name is above one of an endpoint or record

    def is_empty(self) -> bool:
        return self.network is None and not (self.names or self.addresses or self.records)

    def count(self, names: Iterable[str], change: int) -> None:
        """Count the names above these."""
        for name in names:
            for above in _above(name):
                count = self.above.get(above, 0) + change
                if count:
                    self.above[above] = count
                else:
                    del self.above[above]


class Zone:
    """Names by network. Belongs to one thread."""

    def __init__(self, domain: str = DEFAULT_DOMAIN) -> None:
        self.domain = canonical(domain)
        self._parts: dict[NetworkId, _Part] = {}
        self._by_name: dict[str, tuple[NetworkId, ...]] = {}
        self._endpoints: dict[EndpointId, NamedEndpoint] = {}

    def apply(self, change: Change) -> Touched:
        """Make a change: drops, then puts."""
        touched = Touched()
        for item in change.drops:
            self._drop(item, touched)
        for item in change.puts:
            self._put(item, touched)
        return touched

    def network(self, network_id: NetworkId) -> NamedNetwork | None:
        """Return a network by its id."""
        part = self._parts.get(network_id)
        return None if part is None else part.network

    def networks(self) -> tuple[NamedNetwork, ...]:
        """Return every network."""
        return tuple(part.network for part in self._parts.values() if part.network)

    def networks_named(self, name: str) -> tuple[NetworkId, ...]:
        """Return the networks of that canonical name."""
        return self._by_name.get(name, ())

    def find(self, network_id: NetworkId, name: str) -> Found | None:
        """Return what a network has under exactly that canonical name."""
        part = self._parts.get(network_id)
        if part is None or part.network is None:
            return None
        endpoints, records = part.names.get(name, ()), part.records.get(name, ())
        if not endpoints and not records:
            return None
        return Found(network=part.network, name=name, endpoints=endpoints, records=records)

    def is_above(self, network_id: NetworkId, name: str) -> bool:
        """Return whether a network has a name below that canonical one."""
        part = self._parts.get(network_id)
        return part is not None and part.network is not None and name in part.above

    def holders(self, name: str) -> list[NetworkId]:
        """Return the networks that have exactly that canonical name."""
        return [
            network_id
            for network_id, part in self._parts.items()
            if part.network and (name in part.names or name in part.records)
        ]

    def at(self, network_id: NetworkId, address: IPAddress) -> tuple[NamedEndpoint, ...]:
        """Return the endpoints that have an address of a network."""
        part = self._parts.get(network_id)
        return () if part is None else part.addresses.get(str(address), ())

    def addresses(self, network_id: NetworkId) -> Iterable[str]:
        """Return the addresses of a network's endpoints, as text."""
        part = self._parts.get(network_id)
        return () if part is None else part.addresses.keys()

    def _put(self, item: Named, touched: Touched) -> None:
        match item:
            case NamedNetwork():
                self._put_network(item, touched)
            case NamedEndpoint():
                self._put_endpoint(item, touched)
            case NamedRecord():
                self._put_record(item, touched)

    def _drop(self, item: Named, touched: Touched) -> None:
        match item:
            case NamedNetwork():
                self._drop_network(item.id, touched)
            case NamedEndpoint():
                self._drop_endpoint(item.id, touched)
            case NamedRecord():
                self._drop_record(item, touched)

    def _put_network(self, network: NamedNetwork, touched: Touched) -> None:
        part = self._part(network.id)
        self._unname(part)
        part.network = network
        name = canonical(network.name)
        self._by_name[name] = (*self._by_name.get(name, ()), network.id)
        touched.networks.add(network.id)

    def _drop_network(self, network_id: NetworkId, touched: Touched) -> None:
        part = self._parts.pop(network_id, None)
        if part is None:
            return
        self._unname(part)
        for endpoints in (*part.names.values(), *part.addresses.values()):
            for endpoint in endpoints:
                self._endpoints.pop(endpoint.id, None)
        touched.networks.add(network_id)

    def _unname(self, part: _Part) -> None:
        if part.network is None:
            return
        name = canonical(part.network.name)
        left = tuple(i for i in self._by_name.get(name, ()) if i != part.network.id)
        if left:
            self._by_name[name] = left
        else:
            self._by_name.pop(name, None)

    def _put_endpoint(self, endpoint: NamedEndpoint, touched: Touched) -> None:
        self._drop_endpoint(endpoint.id, touched)
        part = self._part(endpoint.network_id)
        names, addresses = _keys(endpoint)
        for index, keys in ((part.names, names), (part.addresses, addresses)):
            for key in keys:
                index[key] = (*index.get(key, ()), endpoint)
        part.count(names, 1)
        self._endpoints[endpoint.id] = endpoint
        touched.add(endpoint.network_id, (*_with_above(names), *addresses))

    def _drop_endpoint(self, endpoint_id: EndpointId, touched: Touched) -> None:
        endpoint = self._endpoints.pop(endpoint_id, None)
        if endpoint is None:
            return
        part = self._part(endpoint.network_id)
        names, addresses = _keys(endpoint)
        for index, keys in ((part.names, names), (part.addresses, addresses)):
            for key in keys:
                _replace(index, key, tuple(e for e in index.get(key, ()) if e is not endpoint))
        part.count(names, -1)
        self._forget_if_empty(endpoint.network_id)
        touched.add(endpoint.network_id, (*_with_above(names), *addresses))

    def _put_record(self, record: NamedRecord, touched: Touched) -> None:
        key = canonical(record.name)
        part = self._part(record.network_id)
        records = part.records
        if key not in records:
            part.count((key,), 1)
        others = tuple(r for r in records.get(key, ()) if r.kind is not record.kind)
        records[key] = (*others, record)
        touched.add(record.network_id, _with_above((key,)))

    def _drop_record(self, record: NamedRecord, touched: Touched) -> None:
        part = self._parts.get(record.network_id)
        if part is None:
            return
        key = canonical(record.name)
        known = part.records.get(key, ())
        left = tuple(r for r in known if r.kind is not record.kind)
        if known and not left:
            part.count((key,), -1)
        _replace(part.records, key, left)
        self._forget_if_empty(record.network_id)
        touched.add(record.network_id, _with_above((key,)))

    def _part(self, network_id: NetworkId) -> _Part:
        return self._parts.setdefault(network_id, _Part())

    def _forget_if_empty(self, network_id: NetworkId) -> None:
        if self._part(network_id).is_empty():
            del self._parts[network_id]


def canonical(name: str) -> str:
    """Return a name as names are compared: ASCII in lower case, no dot at the end.

    What is not ASCII stands as the bytes of its UTF-8, a character each, as questions have it.
    """
    return name.rstrip(".").encode("utf-8", "surrogateescape").lower().decode("latin-1")


def record_of(found: Found, kind: RecordKind) -> NamedRecord | None:
    """Return the record of that kind."""
    return next((record for record in found.records if record.kind is kind), None)


def _keys(endpoint: NamedEndpoint) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = dict.fromkeys(canonical(name) for name in endpoint.names)
    return tuple(names), tuple(dict.fromkeys(str(address) for address in endpoint.addresses))


def _above(name: str) -> Iterator[str]:
    at = name.find(".")
    while at >= 0:
        yield name[at + 1 :]
        at = name.find(".", at + 1)


def _with_above(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield name
        yield from _above(name)


def _replace(index: dict[str, tuple[T, ...]], key: str, left: tuple[T, ...]) -> None:
    if left:
        index[key] = left
    else:
        index.pop(key, None)
