"""The composition root: the one place that names adapters, and the table of drivers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from drivers.bridge import BridgeDriver
from drivers.host import HostDriver
from ipam.plugin import PoolIpam
from netplug.api.admin_wire import Services
from netplug.api.app import Methods
from netplug.api.ipam_driver import IpamDriverApi
from netplug.api.network_driver import NetworkDriverApi
from netplug.clock import SystemClock
from netplug.contract.engine import Engine
from netplug.contract.names import Names
from netplug.engine.client import EngineClient
from netplug.engine.discover import find_engine
from netplug.engine.watch import Watcher
from netplug.kernel.linux import LinuxKernel
from netplug.kernel.resolver import Resolver
from netplug.plan.resolverlink import plan_resolver_link
from netplug.service.addresses import Addresses
from netplug.service.auditor import Auditor
from netplug.service.candidates import Candidates
from netplug.service.collision_watch import CollisionWatch
from netplug.service.cooldown import Cooldown
from netplug.service.endpoints import Endpoints
from netplug.service.identities import DRIVER, Identities
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
from netplug.settings import Settings
from netplug.store.sqlite import SqliteStore

DRIVERS = {driver.name: driver for driver in (BridgeDriver(), HostDriver())}
STATE_FILE = "pynet.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Everything the daemon runs, connected; `close` ends it in the order that loses nothing."""

    services: Services
    methods: dict[str, Methods]
    kernel: LinuxKernel
    names: Names
    store: SqliteStore
    engine: EngineClient | None
    watcher: Watcher | None

    async def close(self) -> None:
        """Finish pending removals, then close what is open."""
        await self.kernel.close()
        if self.engine is not None:
            await self.engine.close()


async def open_store(settings: Settings) -> SqliteStore:
    """Open the state, which also keeps a second daemon off it.

    Raises:
        StoreUnavailable: it is in use, cannot be read, or cannot be written.
    """
    return await SqliteStore.opened(settings.state_dir / STATE_FILE)


async def wire(settings: Settings, store: SqliteStore) -> Wiring:
    """Connect services and adapters, and open the kernel.

    Raises:
        StoreUnavailable: the state cannot be read.
        InvalidSettings, Unsupported: the engine cannot be addressed.
    """
    clock = SystemClock()
    address = find_engine(settings.docker_host, os.environ)
    engine = EngineClient(address) if address else None
    state = await State.loaded(store)
    if engine is None:
        state.learn_engine_subnets(frozenset())
    kernel = LinuxKernel(state.view.host.instance)
    await kernel.open()
    names = Resolver(domain=settings.dns_domain, rate=int(settings.dns_rate_per_s))
    services = _services(
        settings, state, kernel, names, clock, engine, address.url if address else ""
    )
    candidates = services.standalone.addresses.candidates
    network_driver = NetworkDriverApi(
        networks=services.networks,
        endpoints=services.endpoints,
        ports=services.ports,
        clock=clock,
    )
    ipam_driver = IpamDriverApi(addresses=services.standalone.addresses)
    return Wiring(
        services=services,
        methods={
            "NetworkDriver": network_driver.methods(),
            "IpamDriver": ipam_driver.methods(),
        },
        kernel=kernel,
        names=names,
        store=store,
        engine=engine,
        watcher=Watcher(engine, DRIVER, clock, follower=candidates) if engine else None,
    )


def _services(
    settings: Settings,
    state: State,
    kernel: LinuxKernel,
    names: Names,
    clock: SystemClock,
    engine: Engine | None,
    engine_endpoint: str,
) -> Services:
    locks = Locks()
    journal = Journal(clock)
    networks = Networks(
        state=state,
        drivers=DRIVERS,
        kernel=kernel,
        journal=journal,
        locks=locks,
        gate=Gate(),
        shared=plan_resolver_link([settings.dns_address] if settings.dns_address else []),
    )
    endpoints = Endpoints(networks=networks)
    ports = Ports(endpoints=endpoints, default_addresses=settings.publish_addresses)
    ipam = PoolIpam(ranges_ipv4=settings.ipam_ranges_ipv4, ranges_ipv6=settings.ipam_ranges_ipv6)
    addresses = Addresses(
        state=state,
        ipam=ipam,
        kernel=kernel,
        clock=clock,
        locks=locks,
        cooldown=Cooldown(settings.ipam_cooldown_s),
        candidates=Candidates(clock, has_engine=engine is not None),
        keep=timedelta(seconds=settings.ipam_sticky_s),
    )
    identities = Identities(endpoints=endpoints, addresses=addresses, clock=clock, engine=engine)
    return Services(
        settings=settings,
        networks=networks,
        endpoints=endpoints,
        ports=ports,
        standalone=Standalone(networks=networks, endpoints=endpoints, addresses=addresses),
        names=NameDirectory(networks=networks, names=names, host_address=settings.dns_address),
        records=NameRecords(networks=networks, clock=clock, domain=settings.dns_domain),
        reconciler=Reconciler(networks=networks, journal=journal, clock=clock),
        collisions=CollisionWatch(networks=networks, journal=journal, clock=clock),
        identities=identities,
        auditor=Auditor(
            endpoints=endpoints,
            addresses=addresses,
            identities=identities,
            grace=timedelta(seconds=settings.audit_grace_s),
        ),
        reservations=Reservations(networks=networks, addresses=addresses),
        journal=journal,
        clock=clock,
        started_s=clock.monotonic_s(),
        engine_endpoint=engine_endpoint,
    )
