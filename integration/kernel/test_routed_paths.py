"""Who reaches an endpoint with a link of its own, and whom it reaches.

The host is the namespace of the test; each endpoint and the LAN's other host have one of theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from integration.lab import eventually, probes, talk
from integration.lab.frames import LISTENING, Hop, ipv4, ipv6, listener, send
from integration.lab.namespace import Namespace
from integration.lab.process import Completed, Process, run
from integration.lab.talk import NOBODY, Expected, Question, tcp, udp
from netplug.errors import KernelRefused
from netplug.kernel.firewall.iptables import Iptables
from netplug.kernel.firewall.routed import Reachable
from netplug.model import IPNetwork, Protocol
from netplug.plan.objects import (
    GROUP_BASE,
    EngineSubnet,
    Firewall,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    RoutedFilter,
    RoutedPair,
    RoutedPort,
    RoutedSource,
)

FIREWALL = Firewall(has_ipv6=True, filters_bridged=Path("/proc/sys/net/bridge").exists())
LAN = "lan"
GATEWAYS = ("169.254.64.1", "fe80::1")
NODAD: dict[int, tuple[str, ...]] = {4: (), 6: ("nodad",)}
PORTS = ("tcp/80", "udp/80", "tcp/81")

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset", "nft", "ping")


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A sandbox with the number `host` in the subnets of that network."""

    space: Namespace
    network: int
    host: int

    @property
    def addresses(self) -> tuple[str, str]:
        return f"10.9{self.network}.0.{self.host}", f"fd9{self.network}::{self.host}"

    def run(
        self, argv: Sequence[str], *, check: bool = True, stdin: str | None = None
    ) -> Completed:
        return run([*argv], prefix=self.space.entry, check=check, stdin=stdin)


class World:
    """Endpoints by name; those of a network of the driver `host` share nothing but a subnet."""

    def __init__(self, firewall: Iptables, folder: Path, stack: ExitStack) -> None:
        self.firewall = firewall
        self.boxes: dict[str, Box] = {}
        self._folder = folder
        self._stack = stack
        run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
        run(["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"])
        run(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0"])
        run(["sysctl", "-qw", "net.ipv4.conf.default.rp_filter=0"])

    def routed(
        self, name: str, network: int, host: int, policy: LinkPolicy = LinkPolicy.NONE
    ) -> Box:
        """Make an endpoint with a link of its own."""
        box = self._box(name, network, host)
        link = f"pyv{name}"
        self._pair(box, link)
        group = str(GROUP_BASE | LinkPolicy.ROUTED_LINK | policy)
        run(["ip", "link", "set", link, "group", group, "up"])
        run(["ip", "address", "add", f"{GATEWAYS[0]}/32", "dev", link])
        run(["ip", "address", "add", f"{GATEWAYS[1]}/64", "dev", link, "nodad"])
        box.run(["ip", "route", "add", GATEWAYS[0], "dev", "eth0"])
        for address, gateway in zip(map(ip_address, box.addresses), GATEWAYS, strict=True):
            nodad = NODAD[address.version]
            run(["ip", "route", "add", str(address), "dev", link])
            box.run(["ip", "address", "add", str(address), "dev", "eth0", *nodad])
            family = f"-{address.version}"
            box.run(["ip", family, "route", "add", "default", "via", gateway, "dev", "eth0"])
        return box

    async def bridged(self, name: str, network: int, host: int) -> Box:
        """Make an endpoint on a bridge of ours."""
        bridge = f"py{network}"
        run(["ip", "link", "add", bridge, "type", "bridge"])
        run(["ip", "link", "set", bridge, "group", f"{GROUP_BASE}", "up"])
        for pool in pools(network):
            await self.firewall.sets.add(LocalSubnet(subnet=pool, link=bridge))
        box = self._box(name, network, host)
        self._pair(box, f"pyv{name}")
        run(["ip", "link", "set", f"pyv{name}", "master", bridge, "up"])
        self._address(box, bridge)
        return box

    def lan(self) -> Box:
        """Make another host, which sends to our networks by this one."""
        box = self._box(LAN, 0, 9)
        self._pair(box, "up0")
        run(["ip", "link", "set", "up0", "up"])
        self._address(box, "up0")
        return box

    async def let(self, *objects: Reachable) -> None:
        for obj in objects:
            await self.firewall.routed.put(obj)

    async def published(self, name: str, first: int, count: int = 1) -> None:
        """Publish TCP ports of an endpoint."""
        await self.let(*ports(self.boxes[name], first, count))

    def serve(self, *names: str) -> None:
        for name in names:
            log = self._folder / f"server-{name}"
            serving = self.boxes[name].space.popen(talk.server(name, PORTS), log=log)
            eventually(partial(is_listening, serving), f"{name} listens")

    async def misheard(self, name: str, expected: Expected) -> str:
        return await asyncio.to_thread(talk.misheard, self.boxes[name].run, expected)

    def pings(self, name: str, to: str) -> list[bool]:
        """Return whether an endpoint answers, by IPv4 and by IPv6."""
        ping = ["ping", "-c", "1", "-W", "1"]
        done = [self.boxes[name].run([*ping, a], check=False) for a in self.boxes[to].addresses]
        return [one.returncode == 0 for one in done]

    def _box(self, name: str, network: int, host: int) -> Box:
        space = Namespace(name, log=self._folder / f"namespace-{name}")
        self._stack.callback(space.close)
        self.boxes[name] = Box(space=space, network=network, host=host)
        return self.boxes[name]

    def _pair(self, box: Box, link: str) -> None:
        peer = ["peer", "name", "eth0", "netns", str(box.space.pid)]
        run(["ip", "link", "add", link, "type", "veth", *peer])
        box.run(["ip", "link", "set", "eth0", "up"])

    def _address(self, box: Box, link: str) -> None:
        """Give both ends of a subnet their addresses, the host's being the gateway."""
        for pool, own in zip(pools(box.network), box.addresses, strict=True):
            gateway, full = pool[1], pool.prefixlen
            run(["ip", "address", "add", f"{gateway}/{full}", "dev", link, *NODAD[pool.version]])
            inside = ["dev", "eth0", *NODAD[pool.version]]
            box.run(["ip", "address", "add", f"{own}/{full}", *inside])
            box.run(["ip", "route", "add", "default", "via", str(gateway)])


def is_listening(serving: Process) -> bool:
    return talk.LISTENING in serving.output()


def pools(network: int) -> tuple[IPNetwork, IPNetwork]:
    return ip_network(f"10.9{network}.0.0/24"), ip_network(f"fd9{network}::/64")


def within(*networks: int) -> list[RoutedPair]:
    """The endpoints of a network reach each other, or those of two each other's."""
    first, last = pools(networks[0]), pools(networks[-1])
    both = [*zip(first, last, strict=True), *zip(last, first, strict=True)]
    return [RoutedPair(source=source, destination=to) for source, to in dict.fromkeys(both)]


def ports(box: Box, first: int, count: int = 1) -> list[RoutedPort]:
    return [
        RoutedPort(protocol=Protocol.TCP, address=ip_address(a), first=first, count=count)
        for a in box.addresses
    ]


def closed(box: Box) -> dict[Question, str]:
    """Nobody answers at any port."""
    asked = [question for a in box.addresses for question in (tcp(a, 80), tcp(a, 81), udp(a, 80))]
    return dict.fromkeys(asked, NOBODY)


def answers(name: str, box: Box, *numbers: int) -> dict[Question, str]:
    """The box itself answers at some TCP ports and nobody at others."""
    return closed(box) | {tcp(a, n): f"{name}:{n}" for a in box.addresses for n in numbers}


def is_open(name: str, box: Box) -> dict[Question, str]:
    """The box itself answers at every port that is served."""
    return {question: f"{name}:{question.port}" for question in closed(box)}


@pytest.fixture
async def world(network: None, tmp_path: Path) -> AsyncIterator[World]:
    firewall = Iptables()
    await firewall.open()
    try:
        await firewall.install(FIREWALL)
        await firewall.filter_routed(wanted=True)
        with ExitStack() as stack:
            yield World(firewall, tmp_path, stack)
    finally:
        await firewall.close()


async def test_endpoints_reach_those_of_their_network_and_of_peers_only(world: World) -> None:
    one, two = world.routed("one", 1, 2), world.routed("two", 1, 3)
    far = world.routed("far", 2, 2)
    world.serve("one", "two", "far")

    assert await world.misheard("one", closed(two) | closed(far)) == ""
    await world.let(*within(1))
    assert await world.misheard("one", is_open("two", two) | closed(far)) == ""
    assert await world.misheard("far", closed(one)) == ""
    assert world.pings("one", "two") == [True, True]
    assert world.pings("one", "far") == [False, False]

    await world.let(*within(1, 2))
    assert await world.misheard("one", is_open("far", far)) == ""
    assert await world.misheard("far", is_open("one", one)) == ""
    for pair in within(1, 2):
        await world.firewall.routed.withdraw(pair)
    assert await world.misheard("one", closed(far) | is_open("two", two)) == ""


async def test_published_ports_are_open_to_the_lan_and_to_other_networks(world: World) -> None:
    world.lan()
    one = world.routed("one", 1, 2)
    world.routed("far", 2, 2)
    await world.bridged("near", 3, 2)
    world.serve("one")
    for name in (LAN, "far", "near"):
        assert await world.misheard(name, closed(one)) == "", name

    await world.published("one", 79, 2)

    for name in (LAN, "far", "near"):
        assert await world.misheard(name, answers("one", one, 80)) == "", name
    assert world.pings(LAN, "one") == [True, True]
    assert world.pings("near", "one") == [False, False]


async def test_open_endpoint_is_reached_by_the_lan_and_by_no_other_network(world: World) -> None:
    world.lan()
    one = world.routed("one", 1, 2, LinkPolicy.OPEN)
    world.routed("far", 2, 2, LinkPolicy.OPEN)
    await world.bridged("near", 3, 2)
    world.serve("one")

    assert await world.misheard(LAN, is_open("one", one)) == ""
    for name in ("far", "near"):
        assert await world.misheard(name, closed(one)) == "", name


async def test_endpoint_reaches_the_lan_and_no_bridge_and_nothing_of_the_engine(
    world: World,
) -> None:
    lan = world.lan()
    world.routed("one", 1, 2)
    near = await world.bridged("near", 3, 2)
    world.serve(LAN, "near")

    assert await world.misheard("one", is_open(LAN, lan) | closed(near)) == ""
    await world.firewall.sets.add(Masquerade(subnet=pools(1)[0]))
    asked = tcp(lan.addresses[0], 80)
    answer = talk.ask(world.boxes["one"].run, {asked: "somebody"})[asked]
    assert answer is not None
    assert answer.client == str(pools(0)[0][1])

    for pool in pools(0):
        await world.firewall.sets.add(EngineSubnet(subnet=pool))
    assert await world.misheard("one", closed(lan)) == ""


async def test_internal_endpoint_is_reached_by_its_own_network_only(world: World) -> None:
    lan = world.lan()
    one = world.routed("one", 1, 2, LinkPolicy.NO_EGRESS)
    world.routed("two", 1, 3, LinkPolicy.NO_EGRESS)
    far = world.routed("far", 2, 2)
    near = await world.bridged("near", 3, 2)
    world.serve("one", LAN, "far", "near")
    await world.let(*within(1))
    await world.published("one", 80)
    await world.published("far", 80)

    for name in (LAN, "far", "near"):
        assert await world.misheard(name, closed(one)) == "", name
        assert world.pings(name, "one") == [False, False]
    assert await world.misheard("two", is_open("one", one)) == ""
    assert await world.misheard("one", closed(lan) | closed(far) | closed(near)) == ""


async def test_endpoints_that_are_apart_do_not_reach_each_others_published_ports(
    world: World,
) -> None:
    world.lan()
    one = world.routed("one", 1, 2, LinkPolicy.APART)
    world.routed("two", 1, 3, LinkPolicy.APART)
    world.routed("far", 2, 2)
    world.serve("one")
    await world.published("one", 80)

    assert await world.misheard("two", closed(one)) == ""
    for name in (LAN, "far"):
        assert await world.misheard(name, answers("one", one, 80)) == "", name


@pytest.mark.parametrize(
    ("policy", "arriving"), [(LinkPolicy.STRICT, 0), (LinkPolicy.NONE, 4)], ids=["strict", "not"]
)
async def test_strict_link_takes_only_what_is_routed_back_by_it(
    world: World, tmp_path: Path, policy: LinkPolicy, arriving: int
) -> None:
    lan = world.lan()
    one = world.routed("one", 1, 2, policy)
    to = Hop(mac_of(one.run, "eth0"), mac_of(run, "pyvone"))
    forged = [
        *(ipv4(to, source, lan.addresses[0], b"forged") for source in ("10.91.0.3", "10.90.0.7")),
        *(ipv6(to, source, lan.addresses[1], b"forged") for source in ("fd91::3", "fd90::7")),
    ]
    own = [ipv4(to, one.addresses[0], lan.addresses[0], b"own")]
    own += [ipv6(to, one.addresses[1], lan.addresses[1], b"own")]

    with lan.space.popen(listener("eth0"), log=tmp_path / "frames") as listening:
        eventually(lambda: LISTENING in listening.output(), "the listener is up")
        send(one.run, "eth0", [*forged, *own])
        eventually(
            lambda: listening.output().count(b"own".hex()) == 2,
            "own packets arrive",
            detail=listening.tail,
        )
        assert listening.output().count(b"forged".hex()) == arriving
    assert one.run(["ping", "-c", "1", "-W", "1", f"{GATEWAYS[1]}%eth0"]).returncode == 0


async def test_strict_link_takes_what_its_sandbox_has_by_other_links_too(
    world: World, tmp_path: Path
) -> None:
    lan = world.lan()
    one = world.routed("one", 1, 2, LinkPolicy.STRICT)
    two = world.routed("two", 2, 2, LinkPolicy.STRICT)
    sources = [RoutedSource(link="pyvone", address=ip_address(a)) for a in two.addresses]

    def frames(sender: Box, link: str, addresses: Sequence[str], data: bytes) -> list[bytes]:
        to = Hop(mac_of(sender.run, "eth0"), mac_of(run, link))
        made = zip((ipv4, ipv6), addresses, lan.addresses, strict=True)
        return [make(to, source, target, data) for make, source, target in made]

    with lan.space.popen(listener("eth0"), log=tmp_path / "frames") as listening:
        eventually(lambda: LISTENING in listening.output(), "the listener is up")
        send(one.run, "eth0", frames(one, "pyvone", two.addresses, b"early"))
        await world.let(*sources)
        send(one.run, "eth0", frames(one, "pyvone", two.addresses, b"own"))
        send(two.run, "eth0", frames(two, "pyvtwo", one.addresses, b"other"))
        for source in sources:
            await world.firewall.routed.withdraw(source)
        send(one.run, "eth0", frames(one, "pyvone", two.addresses, b"late"))
        send(one.run, "eth0", frames(one, "pyvone", one.addresses, b"last"))
        eventually(
            lambda: listening.output().count(b"last".hex()) == 2,
            "the last packets arrive",
            detail=listening.tail,
        )
    assert listening.output().count(b"own".hex()) == 2
    for data in (b"early", b"other", b"late"):
        assert data.hex() not in listening.output(), data


def mac_of(runner: Callable[[Sequence[str]], Completed], link: str) -> str:
    words = runner(["ip", "-o", "link", "show", link]).stdout.split()
    return words[words.index("link/ether") + 1]


async def test_sets_are_listed_as_they_were_made_and_own_changes_are_no_drift(
    world: World,
) -> None:
    one = world.routed("one", 1, 2)
    wanted: set[Reachable] = {*within(1), *within(1, 2), *ports(one, 80), *ports(one, 8000, 100)}
    wanted |= {RoutedSource(link="pyvone", address=ip_address(a)) for a in ("10.92.0.2", "fd92::2")}
    await world.firewall.inventory(wanted)

    await world.let(*wanted, *wanted)

    assert set(world.firewall.routed.known.values()) == wanted
    assert wanted < await world.firewall.inventory(wanted)
    assert not world.firewall.has_changed()
    gone: list[Reachable] = [*ports(one, 80), *ports(one, 80), *within(3)]
    for obj in gone:
        await world.firewall.routed.withdraw(obj)
    assert not world.firewall.has_changed()
    left = {o for o in await world.firewall.inventory(()) if isinstance(o, Reachable)}
    assert left == wanted - set(ports(one, 80))

    run(["nft", f"delete element ip pynet routed_ports {{ {one.addresses[0]} . tcp . 8000-8099 }}"])
    assert world.firewall.has_changed()


async def test_ports_that_overlap_others_are_refused(world: World) -> None:
    one = world.routed("one", 1, 2)
    await world.published("one", 80, 10)
    overlapping = ports(one, 85, 10)[0]

    with pytest.raises(KernelRefused):
        await world.firewall.routed.put(overlapping)
    await world.firewall.routed.withdraw(overlapping)

    assert set(ports(one, 80, 10)) == await world.firewall.routed.inventory()


async def test_rules_outlive_the_daemon_and_go_when_nobody_wants_them(world: World) -> None:
    world.lan()
    one = world.routed("one", 1, 2)
    world.serve("one")
    after = Iptables()
    await after.open()
    try:
        await after.install(FIREWALL)  # before anything was looked at

        assert RoutedFilter() in await after.inventory(())
        assert await world.misheard(LAN, closed(one)) == ""
        assert all(" routed {" in rules_of(family) for family in ("ip", "ip6"))
        await after.filter_routed(wanted=False)
        assert RoutedFilter() not in await after.inventory(())
        assert after.accepted == FIREWALL
        assert not any(" routed {" in rules_of(family) for family in ("ip", "ip6"))
    finally:
        await after.close()


def rules_of(family: str) -> str:
    return run(["nft", "-t", "list", "table", family, "pynet"]).stdout


async def test_nothing_new_reaches_an_endpoint_while_nothing_decides(world: World) -> None:
    lan = world.lan()
    one = world.routed("one", 1, 2, LinkPolicy.OPEN)
    world.serve("one", LAN)
    assert await world.misheard(LAN, is_open("one", one)) == ""

    await world.firewall.filter_routed(wanted=False)

    assert await world.misheard(LAN, closed(one)) == ""
    assert world.pings(LAN, "one") == [False, False]
    assert await world.misheard("one", is_open(LAN, lan)) == ""  # what answers it is established
    found = {o for o in await world.firewall.inventory(()) if not isinstance(o, Reachable)}
    assert found == {FIREWALL}

    await world.firewall.filter_routed(wanted=True)

    assert await world.misheard(LAN, is_open("one", one)) == ""
    assert {FIREWALL, RoutedFilter()} <= await world.firewall.inventory({RoutedFilter()})


async def test_chain_that_somebody_removed_is_made_again(world: World) -> None:
    whole = rules_of("ip")
    run(["nft", "flush chain ip pynet routed; delete chain ip pynet routed"])
    assert RoutedFilter() not in await world.firewall.inventory({RoutedFilter()})
    (faulty,) = {o for o in await world.firewall.inventory(()) if isinstance(o, Firewall)}
    assert faulty.faults == ("nftables table ip pynet",)

    await world.firewall.install(FIREWALL)

    assert rules_of("ip") == whole
    assert {FIREWALL, RoutedFilter()} == await world.firewall.inventory(())


async def test_table_that_somebody_removed_is_made_again(world: World) -> None:
    await world.let(*within(1))
    run(["nft", "delete table ip pynet"])
    (faulty,) = {o for o in await world.firewall.inventory(()) if isinstance(o, Firewall)}
    assert faulty.faults == ("nftables table ip pynet",)

    await world.let(*within(1))

    assert set(within(1)) <= await world.firewall.inventory(())
    assert world.firewall.accepted == FIREWALL
    await world.firewall.remove()
    assert await world.firewall.inventory(()) == frozenset()
    await world.firewall.routed.withdraw(within(1)[0])
