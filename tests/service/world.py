"""A whole daemon in memory, less its sockets: it can fail, die and be started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_interface
from itertools import count

from drivers.bridge import BridgeDriver
from ipam.plugin import PoolIpam
from netplug.contract.driver import NetworkDriver
from netplug.contract.engine import (
    EngineContainer,
    EngineEndpoint,
    EngineEvent,
    EngineInfo,
    EngineNetwork,
    EngineSnapshot,
    ListedContainer,
)
from netplug.contract.store import Batch
from netplug.errors import EngineUnreachable, StoreUnavailable
from netplug.kernel.memory import Hook, MemoryKernel
from netplug.model import (
    Endpoint,
    EndpointId,
    IPNetwork,
    Network,
    NetworkId,
    Origin,
    Reached,
    Subnet,
)
from netplug.plan.objects import KernelObject, Sysctl
from netplug.plan.order import is_shared
from netplug.service.addresses import Addresses
from netplug.service.auditor import Auditor
from netplug.service.candidates import Candidates
from netplug.service.collision_watch import CollisionWatch
from netplug.service.cooldown import Cooldown
from netplug.service.endpoints import Endpoints, mac_for
from netplug.service.identities import Identities
from netplug.service.journal import Journal
from netplug.service.locks import Gate, Locks
from netplug.service.name_records import NameRecords
from netplug.service.names import NameDirectory
from netplug.service.networks import Networks
from netplug.service.ports import Ports
from netplug.service.reconcile import Reconciler
from netplug.service.reservations import Reservations
from netplug.service.standalone import Standalone
from netplug.service.state import State
from netplug.store.memory import Disk, MemoryStore
from tests.service.names import MemoryNames

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BRIDGES: Mapping[str, NetworkDriver] = {"bridge": BridgeDriver()}
NETNS = "/run/netns/a"
COOLDOWN_S = 60.0
GRACE = timedelta(seconds=30)
DOCKERS_SANDBOX = "/var/run/docker/netns/4e1c0f2a9b77"


def nothing_happens(step: object) -> None:
    """The hook of a good day."""


@dataclass
class SetClock:
    """Shows the time that it was set to."""

    moment: datetime = NOON

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return (self.moment - NOON).total_seconds()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class HookedStore(MemoryStore):
    """A store in which something can happen before a commit; others run meanwhile, as on disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.before_commit: Hook = nothing_happens
        self.before_sync: Callable[[], None] = lambda: None
        self._arrived: asyncio.Queue[Batch] = asyncio.Queue()
        self._is_open = asyncio.Event()
        self._is_open.set()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[asyncio.Queue[Batch]]:
        """Let commits wait until the end of the context; yield those that do."""
        self._is_open.clear()
        try:
            yield self._arrived
        finally:
            self._is_open.set()

    async def commit(self, batch: Batch) -> None:
        await asyncio.sleep(0)
        if not self._is_open.is_set():
            self._arrived.put_nowait(batch)
            await self._is_open.wait()
        self.before_commit(batch)
        await super().commit(batch)

    async def sync(self) -> None:
        await asyncio.sleep(0)
        self.before_sync()
        await super().sync()


@dataclass
class CannedEngine:
    """An engine that lists what it is given, or does not answer."""

    listed: Mapping[NetworkId, EngineNetwork] = field(default_factory=dict)
    others: frozenset[IPNetwork] = frozenset()
    beside_us: frozenset[Reached] = frozenset()
    inspectable: dict[str, EngineContainer] = field(default_factory=dict)
    is_away: bool = False
    asked: int = 0

    async def info(self) -> EngineInfo:
        return self.snapshot(NOON).info

    def snapshot(self, now: datetime, engine_id: str = "engine-1") -> EngineSnapshot:
        """What the watcher would tell now."""
        info = EngineInfo(id=engine_id, version="29.0.3", api_version="1.52")
        return EngineSnapshot(
            info=info,
            networks=dict(self.listed),
            listed_at=now,
            closed_subnets=self.others,
            beside_us=self.beside_us,
            containers=dict(self.inspectable),
        )

    async def networks(self, driver: str) -> tuple[EngineNetwork, ...]:
        self.asked += 1
        if self.is_away:
            raise EngineUnreachable("unix:///run/docker.sock", "it is away")
        return tuple(self.listed.values())

    async def subnets(self) -> frozenset[IPNetwork]:
        if self.is_away:
            raise EngineUnreachable("unix:///run/docker.sock", "it is away")
        return self.others

    async def beside(self, driver: str) -> frozenset[Reached]:
        return self.beside_us

    async def closed_subnets(self) -> frozenset[IPNetwork]:
        return self.others

    async def network(self, network_id: str) -> EngineNetwork | None:
        return self.listed.get(NetworkId(network_id))

    async def containers(self, ids: Collection[str] = ()) -> tuple[ListedContainer, ...]:
        return ()

    async def container(self, container_id: str) -> EngineContainer | None:
        return self.inspectable.get(container_id)

    @asynccontextmanager
    async def events(self, since_ns: int = 0) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        raise EngineUnreachable("unix:///run/docker.sock", "it tells nothing")
        yield


@dataclass(frozen=True, kw_only=True)
class World:
    """The services over one kernel and one disk."""

    kernel: MemoryKernel
    disk: Disk
    store: HookedStore
    clock: SetClock
    engine: CannedEngine
    journal: Journal
    state: State
    networks: Networks
    endpoints: Endpoints
    ports: Ports
    addresses: Addresses
    standalone: Standalone
    dns: MemoryNames
    names: NameDirectory
    records: NameRecords
    reconciler: Reconciler
    collisions: CollisionWatch
    identities: Identities
    auditor: Auditor
    reservations: Reservations

    def let(self, hook: Hook) -> None:
        """Call `hook` before every step in the kernel and every commit from now on."""
        self.kernel.before_step = self.store.before_commit = hook

    @property
    def built(self) -> frozenset[KernelObject]:
        """What is in the kernel, less what all networks share and what is never taken back."""
        return frozenset(
            o for o in self.kernel.objects if not (isinstance(o, Sysctl) or is_shared(o))
        )

    @property
    def kept(self) -> dict[tuple[str, str], bytes]:
        """What is on the disk."""
        return dict(self.disk.values)

    async def restarted(self) -> World:
        """Start again over the same kernel and disk, as after a crash, and recover."""
        self.let(nothing_happens)
        await self.store.close()
        drivers = self.networks.drivers
        world = await start(kernel=self.kernel, disk=self.disk, clock=self.clock, drivers=drivers)
        await world.reconciler.recover()
        return world


async def start(
    *,
    kernel: MemoryKernel | None = None,
    disk: Disk | None = None,
    clock: SetClock | None = None,
    drivers: Mapping[str, NetworkDriver] = BRIDGES,
) -> World:
    kernel = kernel or MemoryKernel(namespaces=[NETNS])
    disk = disk or Disk()
    clock = clock or SetClock()
    store = HookedStore(disk)
    state = await State.loaded(store)
    journal, locks, engine = Journal(clock), Locks(), CannedEngine()
    networks = Networks(
        state=state,
        drivers=drivers,
        kernel=kernel,
        journal=journal,
        locks=locks,
        gate=Gate(),
    )
    endpoints, dns = Endpoints(networks=networks), MemoryNames()
    addresses = Addresses(
        state=state,
        ipam=PoolIpam(),
        kernel=kernel,
        clock=clock,
        locks=locks,
        cooldown=Cooldown(COOLDOWN_S),
        candidates=Candidates(clock),
    )
    identities = Identities(endpoints=endpoints, addresses=addresses, clock=clock, engine=engine)
    return World(
        kernel=kernel,
        disk=disk,
        store=store,
        clock=clock,
        engine=engine,
        journal=journal,
        state=state,
        networks=networks,
        endpoints=endpoints,
        ports=Ports(endpoints=endpoints),
        addresses=addresses,
        standalone=Standalone(networks=networks, endpoints=endpoints, addresses=addresses),
        dns=dns,
        names=NameDirectory(networks=networks, names=dns),
        records=NameRecords(networks=networks, clock=clock, domain="pynet"),
        reconciler=Reconciler(networks=networks, journal=journal, clock=clock),
        collisions=CollisionWatch(networks=networks, journal=journal, clock=clock),
        identities=identities,
        auditor=Auditor(
            endpoints=endpoints, addresses=addresses, identities=identities, grace=GRACE
        ),
        reservations=Reservations(networks=networks, addresses=addresses),
    )


def network(number: int = 1, *gateways: str, options: Iterable[tuple[str, str]] = ()) -> Network:
    """A network as Docker asks for it; without gateways it has one IPv4 subnet."""
    interfaces = [ip_interface(g) for g in gateways or (f"10.{number}.0.1/24",)]
    return Network(
        id=NetworkId(f"{number:064x}"[::-1]),
        options=tuple(options),
        has_ipv6=any(i.version == 6 for i in interfaces),
        subnets=tuple(Subnet(pool=i.network, gateway=i) for i in interfaces),
        created_at=NOON,
    )


def endpoint(on: Network, number: int = 2) -> Endpoint:
    """An endpoint as Docker asks for it, on the first subnet."""
    pool = on.subnets[0].pool
    address = ip_interface(f"{pool[number]}/{pool.prefixlen}")
    endpoint_id = EndpointId(f"{number:064x}"[::-1])
    return Endpoint(
        id=endpoint_id,
        network_id=on.id,
        mac=mac_for((address,), endpoint_id),
        addresses=(address,),
        created_at=NOON,
    )


async def joined(world: World, on: Network, number: int = 2) -> Endpoint:
    """Do what dockerd does for one container."""
    made = await world.endpoints.create(endpoint(on, number))
    await world.endpoints.join(on.id, made.id, DOCKERS_SANDBOX, is_lent=True)
    return world.state.view.endpoints[made.id]


def refuse_commits(*numbers: int) -> Hook:
    """Return a hook that refuses the commits of these numbers, counted from 0."""
    counter = count()

    def hook(batch: object) -> None:
        if next(counter) in numbers:
            raise StoreUnavailable("in memory", "the test says so")

    return hook


def known_to_engine(world: World, *, engine_id: str = "engine-1") -> EngineSnapshot:
    """Let the engine list all of Docker's that is here, and return what the watcher would tell."""
    view = world.state.view
    world.engine.listed = {
        n.id: EngineNetwork(
            id=n.id,
            name=n.name,
            driver="pynet",
            endpoints={e.id: EngineEndpoint(id=e.id, name=e.name) for e in view.endpoints_of(n.id)},
        )
        for n in view.networks.values()
        if n.origin is Origin.DOCKER
    }
    return world.engine.snapshot(world.clock.now(), engine_id)


def messages(world: World) -> list[str]:
    return [event.message for event in world.journal.past()]
