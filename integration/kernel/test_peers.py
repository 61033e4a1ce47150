"""Peers reach each other by routing, both ways and in both families; nobody else does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from drivers.bridge import BridgeDriver
from integration.lab import eventually, probes
from integration.lab.namespace import Namespace
from integration.lab.process import run
from netplug.kernel.linux import LinuxKernel
from netplug.model import Endpoint, EndpointId, Network
from netplug.plan.diff import diff
from netplug.plan.objects import KernelObject
from netplug.service.endpoints import mac_for
from netplug.view import View
from tests.drivers.networks import NOON, network, view

DRIVER = BridgeDriver()
NAMES = ("web", "db", "other")

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset", "nft", "ping")


class World:
    """Three networks with an endpoint each, by name."""

    def __init__(self, kernel: LinuxKernel, spaces: dict[str, Namespace]) -> None:
        self.kernel = kernel
        self.spaces = spaces
        self.networks = {
            name: replace(network(f"10.9{n}.0.1/24", f"fd9{n}::1/64", number=n), name=name)
            for n, name in enumerate(NAMES, 1)
        }

    def addresses(self, name: str) -> tuple[str, str]:
        n = NAMES.index(name) + 1
        return f"10.9{n}.0.2", f"fd9{n}::2"

    def reaches(self, source: str, to: str) -> list[bool]:
        """Return whether `source` reaches `to`, by IPv4 and by IPv6."""
        return [self._pings(source, address) for address in self.addresses(to)]

    def is_up(self, name: str) -> bool:
        """Return whether an endpoint reaches the host: no address is tentative any more."""
        gateways = [s.gateway for s in self.networks[name].subnets if s.gateway]
        return all(self._pings(name, str(gateway.ip)) for gateway in gateways)

    def _pings(self, source: str, address: str) -> bool:
        ping = ["ping", "-c", "1", "-W", "1", address]
        return run(ping, prefix=self.spaces[source].entry, check=False).returncode == 0

    async def converge(self, *pairs: tuple[str, str]) -> None:
        """Make the kernel hold the networks with these peers, and nothing else."""
        peers = {
            name: {b if a == name else a for a, b in pairs if name in (a, b)} for name in NAMES
        }
        for name, of_it in peers.items():
            ids = tuple(self.networks[peer].id for peer in sorted(of_it))
            self.networks[name] = replace(self.networks[name], peers=ids)
        facts = await self.kernel.facts()
        known = view(*self.networks.values(), filters_bridged=facts.filters_bridged)
        wanted = frozenset().union(*(self._objects(n, known) for n in self.networks.values()))
        for step in diff(wanted, await self.kernel.inventory(wanted)).steps:
            await self.kernel.apply(step)

    def _objects(self, on: Network, known: View) -> frozenset[KernelObject]:
        own = self.addresses(on.name)
        addresses = (ip_interface(f"{own[0]}/24"), ip_interface(f"{own[1]}/64"))
        endpoint_id = EndpointId(on.id)
        endpoint = Endpoint(
            id=endpoint_id,
            network_id=on.id,
            mac=mac_for(addresses, endpoint_id),
            addresses=addresses,
            sandbox=f"/proc/{self.spaces[on.name].pid}/ns/net",
            interface="eth0",
            created_at=NOON,
        )
        return DRIVER.plan_network(on, known) | DRIVER.plan_endpoint(endpoint, on, known)


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[dict[str, Namespace]]:
    opened: dict[str, Namespace] = {}
    with ExitStack() as stack:
        for name in NAMES:
            opened[name] = Namespace(name, log=tmp_path / name)
            stack.callback(opened[name].close)
        yield opened


@pytest.fixture
async def world(network: None, spaces: dict[str, Namespace]) -> AsyncIterator[World]:
    run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
    kernel = LinuxKernel("0f3a")
    await kernel.open()
    try:
        world = World(kernel, spaces)
        await world.converge()
        eventually(lambda: all(map(world.is_up, NAMES)), "every endpoint reaches the host")
        yield world
    finally:
        await kernel.close()


async def test_networks_are_apart_until_they_are_peers_and_again_after(world: World) -> None:
    apart, together = [False, False], [True, True]
    assert (world.reaches("web", "db"), world.reaches("db", "web")) == (apart, apart)

    await world.converge(("web", "db"))
    assert (world.reaches("web", "db"), world.reaches("db", "web")) == (together, together)

    await world.converge()
    assert (world.reaches("web", "db"), world.reaches("db", "web")) == (apart, apart)


async def test_third_network_stays_apart_from_both_peers(world: World) -> None:
    await world.converge(("web", "db"))

    for peer in ("web", "db"):
        assert world.reaches("other", peer) == [False, False]
        assert world.reaches(peer, "other") == [False, False]


async def test_peers_of_one_network_are_not_each_others(world: World) -> None:
    await world.converge(("web", "db"), ("web", "other"))

    assert world.reaches("web", "db") == world.reaches("other", "web") == [True, True]
    assert world.reaches("db", "other") == world.reaches("other", "db") == [False, False]


async def test_peer_sees_the_address_of_the_endpoint_not_of_the_host(world: World) -> None:
    await world.converge(("web", "db"))
    log = ["iptables", "-I", "INPUT", "-s", world.addresses("web")[0], "-p", "icmp"]
    run(log, prefix=world.spaces["db"].entry)

    world.reaches("web", "db")

    listed = run(["iptables", "-nvxL", "INPUT"], prefix=world.spaces["db"].entry).stdout
    assert listed.splitlines()[2].split()[0] == "1"
