"""What the admin socket takes and answers, as docs/admin-api.md has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict


class Engine(TypedDict):
    """The Docker Engine that the daemon found; `problem` says why it did not."""

    endpoint: str
    version: str
    problem: str


class Reconcile(TypedDict):
    """The last time the daemon looked over everything."""

    at: str
    steps: int
    problem: str


class Dns(TypedDict):
    """How names are answered; `problems` say for whom they are not, and why."""

    domain: str
    address: str
    clients: int
    problems: Sequence[str]


class Status(TypedDict):
    """How the daemon is."""

    version: str
    pid: int
    state: str
    uptime_s: float
    state_dir: str
    store: str
    plugin_socket: str
    admin_socket: str
    engine: Engine | None
    networks: int
    endpoints: int
    pools: int
    leases: int
    last_reconcile: Reconcile | None
    dns: Dns


class Subnet(TypedDict):
    """One address range of a network."""

    pool: str
    gateway: str | None
    aux: Mapping[str, str]


class Endpoint(TypedDict):
    """A container's, or a namespace's, place on a network."""

    id: str
    name: str
    network_id: str
    network: str
    origin: str
    mac: str
    addresses: Sequence[str]
    link: str
    sandbox: str
    joined: bool
    names: Sequence[str]
    options: Mapping[str, str]
    created_at: str


class EndpointDetail(Endpoint):
    """An endpoint with its kernel objects."""

    objects: Sequence[str]


class Network(TypedDict):
    """A network of this host."""

    id: str
    name: str
    driver: str
    origin: str
    internal: bool
    ipv4: bool
    ipv6: bool
    state: str
    options: Mapping[str, str]
    subnets: Sequence[Subnet]
    link: str
    parent: str
    peers: Sequence[str]
    endpoint_count: int
    created_at: str


class NetworkDetail(Network):
    """A network with what is on it, and its kernel objects."""

    endpoints: Sequence[Endpoint]
    objects: Sequence[str]


class Port(TypedDict):
    """A published port, or run of ports, on one address; the counters are of all its addresses."""

    container: str
    endpoint_id: str
    network: str
    network_id: str
    protocol: str
    host_ip: str
    host_port: int
    host_port_end: int
    container_ip: str
    container_port: int
    container_port_end: int
    origin: str
    packets: int
    bytes: int
    rules: Sequence[str]


class Name(TypedDict):
    """A name on a network, and what it means."""

    name: str
    network: str
    network_id: str
    type: str
    values: Sequence[str]
    origin: str
    owner: str
    ttl_s: int


class Lookup(TypedDict):
    """The answer to a question, and what it was made of."""

    name: str
    type: str
    rcode: str
    records: Sequence[str]
    source: str
    network: str
    network_id: str
    owners: Sequence[str]
    reason: str


class DnsClient(TypedDict):
    """Who asks for names, and what became of the questions."""

    id: str
    kind: str
    label: str
    networks: Sequence[str]
    queries: int
    hits: int
    misses: int
    forwarded: int
    failed: int
    refused: int
    dropped: int
    rcodes: Mapping[str, int]


class Query(TypedDict):
    """A question and its answer."""

    at: str
    client: str
    label: str
    name: str
    type: str
    rcode: str
    source: str
    records: Sequence[str]
    took_ms: float


class Pool(TypedDict):
    """A range that addresses are leased from; `size` is how many it has to give.

    `collisions` are sentences about what else is where its network is; `sticky` tells that
    addresses are kept for whoever had them.
    """

    id: str
    space: str
    network: str
    range: str | None
    auto: bool
    sticky: bool
    size: int
    leased: int
    networks: Sequence[str]
    collisions: Sequence[str]
    created_at: str


class Lease(TypedDict):
    """One address, taken; `sticky` is "kept", "new" or "ambiguous", or empty."""

    pool: str
    address: str
    kind: str
    owner: str
    sticky: str
    created_at: str


class Leases(TypedDict):
    """Leases, those of a pool in the order of their addresses."""

    leases: Sequence[Lease]


class Finding(TypedDict):
    """Something that an audit found; `remedy` is "remove", "record", or "none"."""

    id: str
    fault: str
    what: str
    networks: Sequence[str]
    evidence: str
    remedy: str


class Audit(TypedDict):
    """All that an audit found; `problem` says what could not be judged."""

    findings: Sequence[Finding]
    problem: str


class Repairs(Audit):
    """What was repaired, and what an audit found after that."""

    repaired: Sequence[Finding]


class PoolDetail(Pool):
    """A pool with its leases."""

    leases: Sequence[Lease]


class Step(TypedDict):
    """One change of the kernel."""

    action: str
    object: str
    reason: str


class Plan(TypedDict):
    """Changes of the kernel, in order."""

    steps: Sequence[Step]


class Verification(TypedDict):
    """How the kernel compares with what it should be."""

    checked: int
    differences: Sequence[str]
    foreign: Sequence[str]
    collisions: Sequence[str]


class Event(TypedDict):
    """Something that happened."""

    at: str
    kind: str
    network: str
    endpoint: str
    message: str


class Networks(TypedDict):
    """All networks."""

    networks: Sequence[Network]


class Endpoints(TypedDict):
    """All endpoints."""

    endpoints: Sequence[Endpoint]


class Pools(TypedDict):
    """All pools."""

    pools: Sequence[Pool]


class Ports(TypedDict):
    """Published ports."""

    ports: Sequence[Port]


class Names(TypedDict):
    """Names of one network, or of all."""

    names: Sequence[Name]


class DnsClients(TypedDict):
    """All who ask for names."""

    clients: Sequence[DnsClient]


class Nothing(TypedDict):
    """It is done, and there is no more to say."""


class SubnetRequest(TypedDict):
    """A subnet to be; None leaves the choice to the daemon."""

    pool: str
    range: str | None
    gateway: str | None
    aux: Mapping[str, str]


class NetworkCreate(TypedDict):
    """A network to be."""

    name: str
    driver: str
    subnets: Sequence[SubnetRequest]
    ipv4: bool
    ipv6: bool
    internal: bool
    options: Mapping[str, str]
    ipam_options: Mapping[str, str]


class Attach(TypedDict, total=False):
    """A namespace to attach; what is absent is the daemon's choice."""

    network: str
    netns: str
    pid: int
    addresses: Sequence[str]
    name: str
    interface: str
    mac: str
    aliases: Sequence[str]


class NameAdd(TypedDict, total=False):
    """What a name is to mean; without a type, the values are addresses."""

    network: str
    name: str
    values: Sequence[str]
    type: str


class Publish(TypedDict, total=False):
    """Ports to publish, each as in `docker run -p`; `network` chooses where there are several."""

    container: str
    network: str
    ports: Sequence[str]


class Reserve(TypedDict):
    """Addresses to be kept from everybody: single ones, runs "A-B", networks."""

    pool: str
    addresses: Sequence[str]
    note: str
