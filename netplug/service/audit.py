"""Compare leases, pools, endpoints and networks with each other, the engine and the kernel.

    for finding in examine(Facts(view=view, before=now - GRACE, networks=listed, subnets=subnets)):
        print(finding.what, finding.evidence)

Pure: what the engine and the kernel say is among the facts. Not here: asking them, and repairs
(`netplug.service.auditor`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from netplug.contract.engine import EngineNetwork
from netplug.contract.kernel import SandboxFacts
from netplug.model import (
    Endpoint,
    IPAddress,
    IPNetwork,
    Lease,
    LeaseKind,
    Network,
    NetworkId,
    Origin,
    Pool,
    PoolId,
)
from netplug.service.held import is_leasable, leasable, of_network, pool_of
from netplug.view import View


class Fault(StrEnum):
    """What is wrong."""

    LEAKED = "leaked"  # a lease of an address that nobody has
    UNKNOWN = "unknown"  # an address that somebody has who is no endpoint
    MISSING = "missing"  # an address in use without a lease
    DUPLICATE = "duplicate"  # an address that two have
    MISPLACED = "misplaced"  # a lease of an address that the pool does not have to give
    FORGOTTEN = "forgotten"  # an endpoint or network that the engine does not know
    UNUSED = "unused"  # a pool without a network


class Remedy(StrEnum):
    """What can be done about it without harm to whoever is alive."""

    NONE = "none"
    REMOVE = "remove"
    RECORD = "record"


Dated = Lease | Pool | Endpoint | Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault; `record` is what is removed, or recorded; `evidence` is a sentence."""

    fault: Fault
    record: Dated
    evidence: str
    remedy: Remedy = Remedy.NONE

    @property
    def what(self) -> str:
        """Return what it is about: "address 10.9.0.7 of pool pynet-local/10.9.0.0/24"."""
        match self.record:
            case Lease(pool_id=pool_id, address=address):
                return f"address {address} of pool {pool_id}"
            case Pool(id=pool_id):
                return f"pool {pool_id}"
            case Endpoint() as endpoint:
                return f"endpoint {endpoint.label}"
            case Network() as network:
                return f"network {network.label}"

    @property
    def record_id(self) -> str:
        """Return what the record is known by among those of its kind."""
        return self.what if isinstance(self.record, Lease) else self.record.id

    @property
    def id(self) -> str:
        """Return what the same fault of the same thing is known by at the next audit."""
        return f"{self.fault} {self.record_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the records, the engine and the kernel say.

    What is younger than `before` is not judged: it may be on its way. `networks` are those that
    the engine lists of ours, and `subnets` those of all its networks; None where nobody can say.
    Without an engine `networks` is None and `subnets` empty.
    """

    view: View
    before: datetime
    networks: Mapping[NetworkId, EngineNetwork] | None = None
    subnets: frozenset[IPNetwork] | None = None
    sandboxes: Mapping[str, SandboxFacts] = field(default_factory=lambda: MappingProxyType({}))
    answering: Mapping[IPAddress, str] = field(default_factory=lambda: MappingProxyType({}))


def examine(facts: Facts) -> tuple[Finding, ...]:
    """Return every fault, in the order of their ids."""
    case = _Case(facts)
    found = list(case.nobodys())
    lost = {f.record_id for f in found if f.remedy is Remedy.REMOVE}
    for network in facts.view.networks.values():
        if network.id not in lost:
            endpoints = [e for e in case.endpoints[network.id] if e.id not in lost]
            found += case.missing(network, endpoints)
            found += case.duplicates(network, endpoints)
    return tuple(sorted({f.id: f for f in found}.values(), key=lambda f: f.id))


def removable(facts: Facts) -> frozenset[str]:
    """Return the ids of those faults whose remedy is to remove something.

    A third of the cost of all of them: it is asked every few seconds.
    """
    return frozenset(f.id for f in _Case(facts).nobodys() if f.remedy is Remedy.REMOVE)


class _Case:
    """The facts, arranged so that each fault is found without a search."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.endpoints: dict[NetworkId, list[Endpoint]] = defaultdict(list)
        self._sandboxes: dict[IPAddress, list[str]] = defaultdict(list)
        for endpoint in facts.view.endpoints.values():
            self.endpoints[endpoint.network_id].append(endpoint)
        for path, sandbox in facts.sandboxes.items():
            for ip in sandbox.addresses:
                self._sandboxes[ip].append(path)

    def nobodys(self) -> Iterator[Finding]:
        """Yield what is there without anybody who has it, as far as can be told."""
        lost = set()
        for finding in self.forgotten():
            if finding.remedy is Remedy.REMOVE:
                lost.add(finding.record_id)
            yield finding
        yield from self.unused()
        for network in self.facts.view.networks.values():
            if network.id not in lost:
                yield from self.of_leases(network)

    def forgotten(self) -> Iterator[Finding]:
        """Yield what Docker made and does not list any more."""
        listed, view = self.facts.networks, self.facts.view
        if listed is None:
            return
        kept: set[NetworkId] = set()
        for endpoint in view.endpoints.values():
            network = listed.get(endpoint.network_id)
            is_known = network is not None and endpoint.id in network.endpoints
            if is_known or not self._is_dockers(endpoint):
                kept.add(endpoint.network_id)
                continue
            finding = self._forgotten_endpoint(endpoint)
            if finding.remedy is Remedy.NONE:
                kept.add(endpoint.network_id)
            yield finding
        for record in view.networks.values():
            if record.id not in listed and self._is_dockers(record):
                yield _forgotten_network(record, is_kept=record.id in kept)

    def unused(self) -> Iterator[Finding]:
        """Yield the pools that no network has; the engine knows those of other drivers."""
        subnets, view = self.facts.subnets, self.facts.view
        if subnets is None:
            return
        used = {pool_id for n in view.networks.values() for pool_id in n.pool_ids}
        for pool in view.pools.values():
            if pool.id in used or pool.network in subnets or not self._is_old(pool):
                continue
            inside = next((ip for ip in self._sandboxes if ip in pool.network), None)
            rest = f", but {inside} is in sandbox {self._sandboxes[inside][0]}" if inside else ""
            yield Finding(
                fault=Fault.UNUSED,
                record=pool,
                evidence=f"granted {_at(pool)}; no network has it{rest}",
                remedy=Remedy.NONE if inside else Remedy.REMOVE,
            )

    def of_leases(self, network: Network) -> Iterator[Finding]:
        """Yield the leases that no endpoint has, and those of addresses that there are not."""
        if self.facts.subnets is None and network.origin is Origin.DOCKER:
            return
        held = {a.ip for e in self.endpoints[network.id] for a in e.addresses}
        held.update(of_network(network))
        for pool_id in network.pool_ids:
            leases = self.facts.view.leases_of(pool_id)
            pool = self.facts.view.pools.get(pool_id)
            if pool is None or _holds_all(held, pool, leases):
                continue
            for lease in filter(self._is_old, leases.values()):
                if not is_leasable(lease.address, pool):
                    yield self._nobodys(Fault.MISPLACED, lease, network)
                elif lease.kind.is_for_endpoint and lease.address not in held:
                    yield self._nobodys(Fault.LEAKED, lease, network)

    def missing(self, network: Network, endpoints: Sequence[Endpoint]) -> Iterator[Finding]:
        """Yield the addresses of a network and its endpoints that a pool has, but no lease."""
        for lease, what in (*_of_network(network), *_of_endpoints(endpoints)):
            pool = pool_of(lease.address, network, self.facts.view)
            if pool is None or not self._is_old(lease) or not is_leasable(lease.address, pool):
                continue
            if lease.address not in self.facts.view.leases_of(pool.id):
                yield Finding(
                    fault=Fault.MISSING,
                    record=replace(lease, pool_id=pool.id),
                    evidence=f"it is {what}, and not leased: another may get it",
                    remedy=Remedy.RECORD,
                )

    def duplicates(self, network: Network, endpoints: Sequence[Endpoint]) -> Iterator[Finding]:
        """Yield the endpoints whose address somebody else has, too."""
        holders = {a: f"it is {what} of {network.label}" for a, what in of_network(network).items()}
        for endpoint in sorted(endpoints, key=lambda e: (e.created_at, e.id)):
            for ip in (a.ip for a in endpoint.addresses):
                other = holders.get(ip) or self._elsewhere(endpoint, ip)
                if other:
                    yield Finding(
                        fault=Fault.DUPLICATE,
                        record=endpoint,
                        evidence=f"it has {ip} since {_at(endpoint)}, but {other}, too",
                    )
                else:
                    holders[ip] = f"endpoint {endpoint.label} has it since {_at(endpoint)}"

    def _is_old(self, record: Dated) -> bool:
        return record.created_at < self.facts.before

    def _is_dockers(self, record: Endpoint | Network) -> bool:
        return record.origin is Origin.DOCKER and self._is_old(record)

    def _forgotten_endpoint(self, endpoint: Endpoint) -> Finding:
        sandbox = self.facts.sandboxes.get(endpoint.sandbox, SandboxFacts())
        own = {a.ip for a in endpoint.addresses}
        is_alive = sandbox.is_inhabited and bool(own & sandbox.addresses)
        where = f"a process in its sandbox {endpoint.sandbox} has its address"
        return Finding(
            fault=Fault.FORGOTTEN,
            record=endpoint,
            evidence=(
                f"{', '.join(map(str, sorted(own, key=int))) or 'no address'}, made "
                f"{_at(endpoint)}; the engine does not list it, "
                + (f"but {where}" if is_alive else "and no process has its address")
            ),
            remedy=Remedy.NONE if is_alive else Remedy.REMOVE,
        )

    def _nobodys(self, fault: Fault, lease: Lease, network: Network) -> Finding:
        """Return what is to be said of a lease that no endpoint has."""
        since = f"leased since {_at(lease)}"
        if fault is Fault.MISPLACED:
            since += ", which the pool does not have to give"
        if holder := self._holder(lease, network):
            fault = Fault.UNKNOWN if fault is Fault.LEAKED else fault
            return Finding(fault=fault, record=lease, evidence=f"{since}; {holder}")
        asked = "no endpoint" if self.facts.networks is None else "no endpoint and no container"
        evidence = f"{since}; {asked} has it, it is in no sandbox, and nobody answers for it"
        return Finding(fault=fault, record=lease, evidence=evidence, remedy=Remedy.REMOVE)

    def _holder(self, lease: Lease, network: Network) -> str:
        """Return who has an address though no endpoint has it, empty if nobody has."""
        listed = (self.facts.networks or {}).get(network.id)
        for endpoint in listed.endpoints.values() if listed else ():
            if lease.address in endpoint.addresses:
                return f"the engine lists container {endpoint.name} with it"
        if paths := self._sandboxes.get(lease.address):
            return f"no endpoint has it, but it is in sandbox {paths[0]}"
        if link := self.facts.answering.get(lease.address):
            return f"no endpoint has it, but somebody answers for it on {link}"
        return ""

    def _elsewhere(self, endpoint: Endpoint, ip: IPAddress) -> str:
        """Return where else an address is that an endpoint has in its sandbox, empty if nowhere."""
        if endpoint.sandbox not in self.facts.sandboxes:
            return ""
        for path in self._sandboxes.get(ip, ()):
            is_alive = path != endpoint.sandbox and self.facts.sandboxes[path].is_inhabited
            if is_alive and not self._is_of_another(ip, path):
                return f"it is in sandbox {path}"
        return ""

    def _is_of_another(self, ip: IPAddress, path: str) -> bool:
        """Return whether an endpoint in a sandbox has the address there by right."""
        view = self.facts.view
        there = (view.endpoints[i] for i in view.sandboxes.get(path, ()))
        return any(a.ip == ip for endpoint in there for a in endpoint.addresses)


def _holds_all(held: Collection[IPAddress], pool: Pool, leases: Mapping[IPAddress, Lease]) -> bool:
    """Return whether every lease is accounted for, without a look at each: there may be many."""
    version, usable = pool.network.version, leasable(pool)
    known = (a for a in held if a.version == version and int(a) in usable)
    return len(leases) == sum(1 for a in known if a in leases)


def _forgotten_network(network: Network, *, is_kept: bool) -> Finding:
    rest = "; there are endpoints on it that stay" if is_kept else ""
    return Finding(
        fault=Fault.FORGOTTEN,
        record=network,
        evidence=f"made {_at(network)}; the engine does not list it{rest}",
        remedy=Remedy.NONE if is_kept else Remedy.REMOVE,
    )


def _of_network(network: Network) -> Iterator[tuple[Lease, str]]:
    """Yield the leases that a network should have for itself; their pool is to be found."""
    for address, what in of_network(network).items():
        is_gateway = any(s.gateway and s.gateway.ip == address for s in network.subnets)
        kind = LeaseKind.GATEWAY if is_gateway else LeaseKind.AUX
        yield _lease(address, kind, network), f"{what} of {network.label}"


def _of_endpoints(endpoints: Sequence[Endpoint]) -> Iterator[tuple[Lease, str]]:
    for endpoint in endpoints:
        for address in endpoint.addresses:
            yield _lease(address.ip, LeaseKind.DYNAMIC, endpoint), f"{endpoint.label}'s"


def _lease(address: IPAddress, kind: LeaseKind, of: Network | Endpoint) -> Lease:
    return Lease(
        pool_id=PoolId(""), address=address, kind=kind, owner=of.label, created_at=of.created_at
    )


def _at(record: Dated) -> str:
    return record.created_at.isoformat(" ", "seconds")
