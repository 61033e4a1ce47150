"""What a question is answered, decided by nothing but the question, the names and who asks.

A name is looked for as it is on each network of the asker, in their order, then as
`name.network` and `name.network.DOMAIN`; the first network that has it answers alone. Only when no
network has it exactly are wildcards looked for in the same way.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dns.name
import dns.rdata
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.IN.SRV import SRV

from netplug.contract.names import DEFAULT_TTL_S, NamedNetwork
from netplug.dns import rdatas
from netplug.dns.rdatas import Data, canonical_of, fqdn, name_of, parsed
from netplug.dns.services import port_of
from netplug.dns.wire import Rcode
from netplug.dns.zone import Found, Zone, canonical, record_of
from netplug.model import IPAddress, NetworkId, RecordKind

# RFC 6895: types that are questions about the server or a transfer, not about a name.
_REFUSED_KINDS = frozenset({41, 249, 250, 251, 252, 253, 254})
_TRANSPORTS = frozenset({"_tcp", "_udp", "_sctp"})
_CHAIN = 8  # CNAMEs that are followed
_ADDRESS_KINDS = (RdataType.A, RdataType.AAAA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A name, canonical, and a type; the class is IN."""

    name: str
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Whose names may be known: networks in the order they are asked. The host has all.

    `left_to_docker` are names that are others' to answer, whatever the networks have.
    """

    network_ids: tuple[NetworkId, ...]
    is_host: bool = False
    left_to_docker: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Records of one name and type."""

    owner: dns.name.Name
    ttl_s: int
    datas: tuple[Data, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer of our own. `owners` are the labels of what it was made of.

    `outside` is where the last CNAME of it leads, if that is no name of ours: what others answer
    for it belongs to the answer.
    """

    rcode: Rcode = Rcode.NOERROR
    answer: tuple[Records, ...] = ()
    authority: tuple[Records, ...] = ()
    additional: tuple[Records, ...] = ()
    network_id: NetworkId | None = None
    owners: tuple[str, ...] = ()
    reason: str = ""
    outside: dns.name.Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Not ours: others are to be asked."""

    reason: str = "no network of the asker has the name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Not to be answered, and nobody else is to be asked."""

    reason: str


@dataclass(slots=True)
class _Search:
    """One question's way through the names; `touched` are those that were looked for."""

    zone: Zone
    asker: Asker
    touched: set[str] = field(default_factory=set)


def answer(
    question: Question, zone: Zone, asker: Asker, touched: set[str] | None = None
) -> Reply | Forward | Refuse:
    """Return what becomes of a question.

    `touched` gets the names and addresses that were looked for: while no network of the asker
    changes as such, and none of these in them, the answer stays what it is.
    """
    if question.kind in _REFUSED_KINDS:
        return Refuse(reason="zones are not transferred, and nothing is said of the server")
    if question.name in asker.left_to_docker:
        return Forward(reason="it is a link of this container's, which Docker answers first")
    search = _Search(zone, asker, set() if touched is None else touched)
    address = _reversed_address(question.name)
    if address is not None:
        reply = _pointer(search, question, address)
    elif found := _find(search, question.name):
        reply = _known(search, question, found)
    else:
        reply = _service(search, question) or _below_domain(search, question)
    if reply is not None:
        return reply
    if asker.is_host:
        return Refuse(reason="it is no name of a network, and the host has resolvers of its own")
    return Forward()


def order(zone: Zone, network_ids: Sequence[NetworkId]) -> tuple[NetworkId, ...]:
    """Return the known networks in the order they are asked: internal ones last, then by name."""
    networks = [n for i in dict.fromkeys(network_ids) if (n := zone.network(i)) is not None]
    networks.sort(key=lambda n: (n.is_internal, n.name, n.id))
    return tuple(network.id for network in networks)


def _find(search: _Search, name: str) -> Found | None:
    candidates = list(_candidates(search, name))
    for network_id, local in candidates:
        search.touched.add(local)
        if found := search.zone.find(network_id, local):
            return found
    for network_id, local in candidates:
        for wildcard in _wildcards(local):
            search.touched.add(wildcard)
            if found := search.zone.find(network_id, wildcard):
                return found
    return None


def _candidates(search: _Search, name: str) -> Iterator[tuple[NetworkId, str]]:
    """Return the networks a name may be of, and what it is called there."""
    zone, asker = search.zone, search.asker
    stem = _stem(name, zone.domain)
    if not name or stem == "":
        return
    if asker.is_host:
        yield from _unambiguous(search, name if stem is None else stem)
    else:
        yield from ((network_id, name) for network_id in asker.network_ids)
    for qualified in (name, stem):
        if qualified:
            yield from _qualified(search, qualified)


def _unambiguous(search: _Search, name: str) -> Iterator[tuple[NetworkId, str]]:
    search.touched.add(name)
    holders = search.zone.holders(name)
    if len(holders) == 1:
        yield holders[0], name


def _qualified(search: _Search, name: str) -> Iterator[tuple[NetworkId, str]]:
    at = name.find(".")
    while at > 0:
        named = search.zone.networks_named(name[at + 1 :])
        if named:
            yield from ((i, name[:at]) for i in search.asker.network_ids if i in named)
        at = name.find(".", at + 1)


def _wildcards(name: str) -> Iterator[str]:
    at = name.find(".")
    while at >= 0:
        yield "*" + name[at:]
        at = name.find(".", at + 1)


def _stem(name: str, domain: str) -> str | None:
    """Return what is before the domain: nothing for itself, None for what is not below it."""
    if name == domain:
        return ""
    return name[: -len(domain) - 1] if name.endswith("." + domain) else None


def _known(search: _Search, question: Question, found: Found) -> Reply:
    """Answer a name that a network has."""
    network = found.network
    owner = name_of(question.name)
    owners = _owners(found)
    if question.kind == RdataType.ANY:  # RFC 8482
        records = Records(owner=owner, ttl_s=network.ttl_s, datas=(rdatas.hinfo(),))
        return Reply(answer=(records,), network_id=network.id, owners=owners)
    chain = _follow(search, question, found, owner)
    additional: tuple[Records, ...] = ()
    if question.kind == RdataType.SRV:
        additional = _targets(search, chain)
    return Reply(
        outside=_outside(search, question, chain),
        answer=tuple(chain),
        authority=() if chain else _soa(search, question.name, network),
        additional=additional,
        network_id=network.id,
        owners=owners,
        reason="" if chain else "the name has no record of this type",
    )


def _follow(
    search: _Search, question: Question, found: Found, owner: dns.name.Name
) -> list[Records]:
    """Return the records of a name, and those of the names that its CNAME leads to."""
    chain: list[Records] = []
    for _ in range(_CHAIN):
        ttl_s = found.network.ttl_s
        if datas := _datas(search, found, question.kind):
            chain.append(Records(owner=owner, ttl_s=ttl_s, datas=datas))
            return chain
        alias = None if found.endpoints else record_of(found, RecordKind.CNAME)
        if alias is None:
            return chain
        data = _relative(search, found.network, parsed(alias)[:1])
        if not data:
            return chain
        chain.append(Records(owner=owner, ttl_s=ttl_s, datas=data))
        cname = data[0]
        assert isinstance(cname, CNAME)  # noqa: S101 - for types: `parsed` of a CNAME
        owner = cname.target
        further = _find(search, canonical_of(owner))
        if further is None:
            return chain
        found = further
    return chain


def _outside(search: _Search, question: Question, chain: Sequence[Records]) -> dns.name.Name | None:
    """Return where a chain leads, if that is not among our names."""
    last = chain[-1].datas[0] if chain else None
    if not isinstance(last, CNAME) or question.kind == RdataType.CNAME:
        return None
    target = canonical_of(last.target)
    is_ours = _stem(target, search.zone.domain) is not None or _find(search, target) is not None
    return None if is_ours else last.target


def _datas(search: _Search, found: Found, kind: int) -> tuple[Data, ...]:
    """Return what a network has of one type under one name; relative targets are made absolute."""
    if kind in _ADDRESS_KINDS and found.endpoints:  # a record by hand of theirs came before them
        version = 4 if kind == RdataType.A else 6
        every = (a for e in found.endpoints for a in e.addresses if a.version == version)
        return tuple(dict.fromkeys(every))
    datas: list[Data] = []
    for record in found.records:
        if RdataType[record.kind] == kind:
            datas += parsed(record)
    return _relative(search, found.network, datas)


def _relative(search: _Search, network: NamedNetwork, datas: Sequence[Data]) -> tuple[Data, ...]:
    """Make targets that are names of the network absolute; others are so already."""
    result: list[Data] = []
    for data in datas:
        if not isinstance(data, CNAME | SRV) or data.target.is_absolute():
            result.append(data)
            continue
        local = canonical_of(data.target)
        search.touched.add(local)
        is_ours = search.zone.find(network.id, local) is not None
        target = fqdn(local, network, search.zone.domain) if is_ours else name_of(local)
        if target is not None:
            result.append(data.replace(target=target))
    return tuple(result)


def _targets(search: _Search, chain: Sequence[Records]) -> tuple[Records, ...]:
    """Return the addresses of what SRV records name."""
    additional: list[Records] = []
    targets = [d.target for records in chain for d in records.datas if isinstance(d, SRV)]
    for target in dict.fromkeys(targets):
        found = _find(search, canonical_of(target))
        if found is None:
            continue
        for kind in _ADDRESS_KINDS:
            if datas := _datas(search, found, kind):
                ttl_s = found.network.ttl_s
                additional.append(Records(owner=target, ttl_s=ttl_s, datas=datas))
    return tuple(additional)


def _service(search: _Search, question: Question) -> Reply | None:
    """Answer `_port._proto.name` of endpoints that expose the port."""
    labels = question.name.split(".", 2)
    if len(labels) < 3 or not labels[0].startswith("_") or labels[1] not in _TRANSPORTS:
        return None
    port = port_of(labels[0])
    found = None if port is None else _find(search, labels[2])
    if port is None or found is None:
        return None
    network, domain = found.network, search.zone.domain
    wanted = (labels[1][1:], port)
    endpoints = [e for e in found.endpoints if wanted in e.ports]
    if not endpoints:
        return None
    if question.kind not in (RdataType.SRV, RdataType.ANY):
        authority = _soa(search, question.name, network)
        return Reply(authority=authority, network_id=network.id, owners=_owners(found))
    targets = [
        target
        for endpoint in endpoints
        if endpoint.names and (target := fqdn(canonical(endpoint.names[0]), network, domain))
    ]
    datas = tuple(rdatas.srv(port, target) for target in dict.fromkeys(targets))
    records = Records(owner=name_of(question.name), ttl_s=network.ttl_s, datas=datas)
    return Reply(
        answer=(records,) if datas else (),
        additional=_targets(search, (records,)),
        network_id=network.id,
        owners=tuple(endpoint.label for endpoint in endpoints),
    )


def _pointer(search: _Search, question: Question, address: IPAddress) -> Reply | None:
    """Answer for an address in a subnet of the asker's networks."""
    zone = search.zone
    search.touched.add(str(address))
    networks = [
        network
        for network_id in search.asker.network_ids
        if (network := zone.network(network_id)) and any(address in s for s in network.subnets)
    ]
    if not networks:
        return None
    if any(not e.names for n in networks for e in zone.at(n.id, address)):
        return None  # it is there, and nobody said yet whose it is: Docker may know
    for network in networks:
        endpoints = zone.at(network.id, address)
        targets = [fqdn(canonical(e.names[0]), network, zone.domain) for e in endpoints]
        datas = tuple(rdatas.ptr(target) for target in targets if target)
        if not datas:
            continue
        owners = tuple(endpoint.label for endpoint in endpoints)
        if question.kind not in (RdataType.PTR, RdataType.ANY):
            authority = _soa(search, question.name, network)
            return Reply(authority=authority, network_id=network.id, owners=owners)
        records = Records(owner=name_of(question.name), ttl_s=network.ttl_s, datas=datas)
        return Reply(answer=(records,), network_id=network.id, owners=owners)
    return Reply(
        rcode=Rcode.NXDOMAIN,
        authority=_soa(search, question.name.partition(".")[2], networks[0]),
        network_id=networks[0].id,
        reason="no endpoint has the address",
    )


def _below_domain(search: _Search, question: Question) -> Reply | None:
    """Answer for names below the domain that no network has; they never go upstream."""
    stem = _stem(question.name, search.zone.domain)
    if stem is None:
        return None
    named = search.zone.networks_named(stem)
    is_there = not stem or any(network_id in named for network_id in search.asker.network_ids)
    is_there = is_there or _is_above(search, question.name)
    return Reply(
        rcode=Rcode.NOERROR if is_there else Rcode.NXDOMAIN,
        authority=_soa(search, search.zone.domain, _network_of(search, stem)),
        reason=f"names below {search.zone.domain} are ours, and no network of the asker has it",
    )


def _is_above(search: _Search, name: str) -> bool:
    """Return whether a name is there since one below it is. Source: RFC 8020, RFC 2308."""
    if any(search.zone.is_above(i, local) for i, local in _candidates(search, name)):
        return True
    transport, _, rest = name.partition(".")
    found = _find(search, rest) if transport in _TRANSPORTS else None
    return found is not None and any(
        protocol == transport[1:] for endpoint in found.endpoints for protocol, _ in endpoint.ports
    )


def _network_of(search: _Search, stem: str) -> NamedNetwork | None:
    """Return the network of the asker's that a name below the domain would be on."""
    labels = stem.split(".")
    for first in range(len(labels)):
        for network_id in search.zone.networks_named(".".join(labels[first:])):
            if network_id in search.asker.network_ids:
                return search.zone.network(network_id)
    return None


def _soa(search: _Search, name: str, network: NamedNetwork | None) -> tuple[Records, ...]:
    """Return what tells how long an answer without records holds."""
    domain = search.zone.domain
    ttl_s = DEFAULT_TTL_S if network is None else network.ttl_s
    owner = name_of(name if _stem(name, domain) is None else domain)
    server, person = name_of(f"ns.{domain}"), name_of(f"hostmaster.{domain}")
    datas = (rdatas.soa(server, person, ttl_s),)
    return (Records(owner=owner, ttl_s=ttl_s, datas=datas),)


def _owners(found: Found) -> tuple[str, ...]:
    labels = tuple(dict.fromkeys(endpoint.label for endpoint in found.endpoints))
    return (*labels, "record") if found.records else labels


def _reversed_address(name: str) -> IPAddress | None:
    """Return the address that a name in in-addr.arpa or ip6.arpa stands for."""
    if name.endswith(".in-addr.arpa"):
        labels = name.removesuffix(".in-addr.arpa").split(".")
        text = ".".join(reversed(labels))
    elif name.endswith(".ip6.arpa"):
        labels = name.removesuffix(".ip6.arpa").split(".")
        if len(labels) != 32 or any(len(label) != 1 for label in labels):
            return None
        digits = "".join(reversed(labels))
        text = ":".join(digits[i : i + 4] for i in range(0, 32, 4))
    else:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
