"""The part of a daemon that has to do with addresses, over a store of whatever kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from ipam.plugin import PoolIpam
from netplug.contract.store import Store
from netplug.kernel.memory import MemoryKernel
from netplug.model import PoolRange
from netplug.service.addresses import Addresses
from netplug.service.candidates import Candidates
from netplug.service.cooldown import Cooldown
from netplug.service.journal import Journal
from netplug.service.locks import Gate, Locks
from netplug.service.networks import Networks
from netplug.service.reservations import Reservations
from netplug.service.state import State
from tests.service.world import COOLDOWN_S, SetClock

RANGES_IPV4 = (
    PoolRange(IPv4Network("10.64.0.0/28"), 30),
    PoolRange(IPv4Network("10.65.0.0/28"), 29),
)
KEEP = timedelta(days=7)
RANGES_IPV6 = (PoolRange(IPv6Network("fd64::/120"), 123),)


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """The services that have to do with addresses, over a store."""

    state: State
    addresses: Addresses
    reservations: Reservations


async def started(store: Store, kernel: MemoryKernel, clock: SetClock) -> Daemon:
    state, locks, journal = await State.loaded(store), Locks(), Journal(clock)
    addresses = Addresses(
        state=state,
        ipam=PoolIpam(ranges_ipv4=RANGES_IPV4, ranges_ipv6=RANGES_IPV6),
        kernel=kernel,
        clock=clock,
        locks=locks,
        cooldown=Cooldown(COOLDOWN_S),
        candidates=Candidates(clock, has_engine=False),
        keep=KEEP,
    )
    networks = Networks(
        state=state, drivers={}, kernel=kernel, journal=journal, locks=locks, gate=Gate()
    )
    reservations = Reservations(networks=networks, addresses=addresses)
    return Daemon(state=state, addresses=addresses, reservations=reservations)
