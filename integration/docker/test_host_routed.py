"""Routed containers on the host's own network: who reaches whom, and what the wire shows."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from integration.docker.conftest import IMAGE, NARROW_BYTES, World
from integration.docker.lan import (
    ROUTER,
    addresses,
    assert_only_port_80_is_open,
    behind,
    clients_seen,
    host_state,
    lan_server,
    on_lan,
    reached,
    reached_from_host,
    reached_from_lan,
    routed_to,
    unused,
)
from integration.lab import Underlay, eventually, frames
from integration.lab.frames import Hop
from integration.lab.sandboxes import IN_VAIN_S
from integration.lab.talk import tcp, udp
from integration.lab.underlay import BRIDGE
from integration.lab.wire import global_addresses, tapped

Words = tuple[str, ...]

IPV4_HEADERS, IPV6_HEADERS = 28, 48  # of an echo request


# Who reaches whom


def test_lan_host_and_containers_reach_each_other_at_their_own_addresses(
    world: World, underlay: Underlay, ipam: Words
) -> None:
    on_lan(world, "blue", ipam=ipam)
    world.box("one", "blue")
    world.box("two", "blue")
    one, two = (addresses(world, box, "blue") for box in ("one", "two"))
    own = [str(world.host.v4.ip), str(world.host.v6.ip)]
    outside = [str(underlay.internet_v4), str(underlay.internet_v6)]

    assert reached(world, "one", [*two, *own, *ROUTER]) == {*two, *own, *ROUTER}
    assert reached_from_lan(underlay, [*one, *two]) == {*one, *two}
    assert reached_from_host(world, [*one, *two]) == {*one, *two}
    assert reached(world, "two", outside) == {*outside}
    assert world.pings("two", "one")
    world.verify()


def test_everybody_is_seen_with_the_address_of_his_own(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue")
    world.box("one", "blue")
    world.box("two", "blue")
    world.serve("one", "tcp/80", "udp/80")
    one, two = (addresses(world, box, "blue") for box in ("one", "two"))
    of_one = [ask(address, 80) for address in one for ask in (tcp, udp)]

    assert clients_seen(underlay.run, *of_one) == _twice(ROUTER)
    assert clients_seen(world.run_in("two"), *of_one) == _twice(two)
    with lan_server(underlay):
        of_lan = [ask(address, 80) for address in ROUTER for ask in (tcp, udp)]
        assert clients_seen(world.run_in("one"), *of_lan) == _twice(one)


def test_masqueraded_container_leaves_with_the_address_of_the_host(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue", "-o", "masquerade=true")
    world.box("one", "blue")
    own = (str(world.host.v4.ip), str(world.host.v6.ip))

    with lan_server(underlay):
        of_lan = [ask(address, 80) for address in ROUTER for ask in (tcp, udp)]
        assert clients_seen(world.run_in("one"), *of_lan) == _twice(own)


def test_subnet_that_the_router_sends_here_is_reached(world: World, underlay: Underlay) -> None:
    behind(world, "blue", 1)
    world.box("one", "blue")
    one = addresses(world, "one", "blue")

    with routed_to(world, underlay, 1), tapped(underlay, world.host.number) as wire:
        assert reached_from_lan(underlay, one) == {*one}
        assert reached(world, "one", ROUTER) == {*ROUTER}
        assert {*one} & {*wire.seen().sources} == {*one}


def test_containers_without_icc_reach_the_lan_and_the_host_only(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue", "-o", "icc=false")
    world.box("one", "blue")
    world.box("two", "blue")
    one, two = (addresses(world, box, "blue") for box in ("one", "two"))
    own = [str(world.host.v4.ip), str(world.host.v6.ip)]

    assert reached(world, "one", [*ROUTER, *own]) == {*ROUTER, *own}
    assert reached_from_lan(underlay, [*one, *two]) == {*one, *two}
    assert reached(world, "one", two, wait_s=IN_VAIN_S) == set()


def test_published_ports_are_open_to_the_lan_and_no_others(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue", "-o", "ports=published")
    world.box("one", "blue", "-p", "80:80", "-p", "80:80/udp")
    world.box("two", "blue", "-p", "80:80")  # no port of the host is taken
    assert_only_port_80_is_open(world, underlay, "one")
    world.verify()


def test_rules_of_routed_endpoints_are_there_while_a_network_has_some(
    world: World, underlay: Underlay
) -> None:
    world.dual_stack("red", 1)
    world.pynet.pynet("heal")  # as the next sweep would after the networks of other tests
    without = nft_rules(world)
    assert "chain routed {" not in without
    on_lan(world, "blue", "-o", "ports=published")
    behind(world, "green", 1)
    world.remove_networks("blue")
    world.box("one", "green", "-p", "80:80")
    one = addresses(world, "one", "green")

    world.pynet.kill()
    world.pynet.start()
    with routed_to(world, underlay, 1):
        assert reached_from_lan(underlay, one) == {*one}
    world.verify()
    assert "chain routed {" in nft_rules(world)

    world.docker("rm", "-f", "one")
    world.remove_networks("green")
    world.verify()
    world.pynet.pynet("heal")

    assert nft_rules(world) == without


def nft_rules(world: World) -> str:
    """Return our tables without what their sets and maps hold."""
    tables = [("list", "table", family, "pynet") for family in ("ip", "ip6", "bridge")]
    return "".join(world.host.run(["nft", "--terse", *table]).stdout for table in tables)


@pytest.mark.parametrize("other", ["bridge", "pynet"])
def test_bridge_networks_are_as_far_away_as_from_each_other(world: World, other: str) -> None:
    on_lan(world, "blue")
    world.box("one", "blue")
    if other == "pynet":
        world.dual_stack("red", 1)
    world.box("far", "bridge" if other == "bridge" else "red")
    far = [world.address("far", "bridge" if other == "bridge" else "red")]
    one = addresses(world, "one", "blue")

    assert reached(world, "one", [*far, *ROUTER], wait_s=IN_VAIN_S) == {*ROUTER}
    assert reached(world, "far", one, wait_s=IN_VAIN_S) == set()


def test_internal_containers_reach_each_other_and_nobody_else(
    world: World, underlay: Underlay
) -> None:
    behind(world, "blue", 1, "--internal")
    world.box("one", "blue")
    world.box("two", "blue")
    one, two = (addresses(world, box, "blue") for box in ("one", "two"))

    assert reached(world, "one", [*two]) == {*two}
    assert world.pings("one", "two")
    with routed_to(world, underlay, 1):
        assert reached_from_lan(underlay, one, wait_s=IN_VAIN_S) == set()
    assert reached(world, "one", ROUTER, wait_s=IN_VAIN_S) == set()
    assert world.host.run(["ip", "neighbour", "show", "proxy"]).stdout == ""


def test_address_is_the_users(world: World, underlay: Underlay, ipam: Words) -> None:
    on_lan(world, "blue", ipam=ipam)
    wanted = unused(77)

    world.box("one", "blue", "--ip", wanted[0], "--ip6", wanted[1])

    assert addresses(world, "one", "blue") == [*wanted]
    assert reached_from_lan(underlay, wanted) == {*wanted}


def test_container_on_two_routed_networks_reaches_both(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue")
    behind(world, "green", 1)
    world.box("one", "blue")
    world.box("near", "green")

    world.docker("network", "connect", "green", "one")

    blue, green, near = (
        addresses(world, box, on)
        for box, on in (("one", "blue"), ("one", "green"), ("near", "green"))
    )
    assert reached(world, "one", [*near, *ROUTER]) == {*near, *ROUTER}
    assert reached(world, "near", green) == {*green}
    assert reached_from_lan(underlay, blue) == {*blue}
    world.docker("network", "disconnect", "green", "one")
    assert reached(world, "one", ROUTER) == {*ROUTER}
    world.verify()


def test_container_on_a_bridge_too_is_reached_on_both(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue")
    world.dual_stack("red", 1)
    world.box("one", "blue")
    world.box("near", "red")

    world.docker("network", "connect", "red", "one")

    near, one = addresses(world, "near", "red"), addresses(world, "one", "blue")
    assert reached(world, "one", near) == {*near}
    assert reached_from_host(world, one) == {*one}
    assert world.pings("near", "one")
    world.verify()


# What goes over the wire


def test_lan_hears_of_the_leased_addresses_only(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue")
    nobody = unused(200)
    with tapped(underlay, world.host.number) as wire:
        for box in ("one", "two"):
            world.box(box, "blue")
        leased = {*addresses(world, "one", "blue"), *addresses(world, "two", "blue")}
        underlay.forget_neighbours()

        assert reached_from_lan(underlay, [*leased, *nobody], wait_s=2) == leased
        for box in ("one", "two"):
            assert reached(world, box, ROUTER) == {*ROUTER}
        seen = wire.seen()

    own = {str(world.host.v4.ip), str(world.host.v6.ip)}
    assert global_addresses(seen.claimed) - own == leased
    assert {mac for macs in seen.claimed.values() for mac in macs} == {_mac(world)}
    assert global_addresses(seen.sources) - own == leased


def test_neighbours_that_knew_an_address_elsewhere_are_told(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue")
    one = unused(44)
    for address in one:
        elsewhere = ["lladdr", "02:00:00:00:00:99", "dev", BRIDGE, "nud", "stale"]
        underlay.run(["ip", "neighbour", "replace", address, *elsewhere])

    world.box("one", "blue", "--ip", one[0], "--ip6", one[1])

    assert {_neighbour(underlay, address) for address in one} == {_mac(world)}
    assert reached_from_lan(underlay, one) == {*one}


def _neighbour(underlay: Underlay, address: str) -> str:
    """Return the MAC at which the LAN knows an address."""
    shown = underlay.run(["ip", "-json", "neighbour", "show", address]).stdout
    return next((str(known["lladdr"]) for known in json.loads(shown)), "")


def test_container_with_the_hosts_own_address_does_not_start(
    world: World, underlay: Underlay, ipam: Words
) -> None:
    on_lan(world, "blue", ipam=ipam)
    own = str(world.host.v4.ip)
    start = ("run", "-d", "--network", "blue", "--ip", own, IMAGE, "sleep", "60")

    refused = world.docker(*start, check=False)

    assert f"the host's own address on link {world.host.uplink}" in refused.stderr
    assert reached_from_lan(underlay, [own]) == {own}
    world.verify()


def test_address_of_a_removed_container_is_nobodys(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue")
    world.box("one", "blue")
    one = addresses(world, "one", "blue")
    assert reached_from_lan(underlay, one) == {*one}
    world.docker("rm", "--force", "one")
    underlay.forget_neighbours()

    with tapped(underlay, world.host.number) as wire:
        assert reached_from_lan(underlay, one, wait_s=IN_VAIN_S) == set()
        assert not {*one} & {*wire.seen().claimed}


def test_spoofed_packets_do_not_leave_the_host(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue")
    world.box("liar", "blue")
    world.box("victim", "blue")
    own, of_victim = (addresses(world, box, "blue") for box in ("liar", "victim"))
    inside = world.exec("liar", "cat", "/sys/class/net/eth0/address").stdout.strip()
    hop = Hop(inside, _gateway_mac(world, "liar"))
    lies = [
        *(frames.ipv4(hop, ip, ROUTER[0], b"lie") for ip in (of_victim[0], "198.51.100.7")),
        *(frames.ipv6(hop, ip, ROUTER[1], b"lie") for ip in (of_victim[1], "2001:db8:7::7")),
    ]
    truths = [
        frames.ipv4(hop, own[0], ROUTER[0], b"truth"),
        frames.ipv6(hop, own[1], ROUTER[1], b"truth"),
    ]
    assert reached(world, "liar", ROUTER) == {*ROUTER}  # the way is known

    with underlay.popen(frames.listener(underlay.port(world.host.number)), log="lies") as heard:
        eventually(lambda: frames.LISTENING in heard.output(), "the listener listens")
        frames.send(world.run_in("liar"), "eth0", [*lies, *truths])
        eventually(lambda: heard.output().count(b"truth".hex()) == 2, "the truth arrives")
        assert b"lie".hex() not in heard.output()


@pytest.mark.parametrize("version", [4, 6])
def test_mtu_is_that_of_the_parent(
    world: World, underlay: Underlay, narrow_uplink: None, version: int
) -> None:
    on_lan(world, "blue")
    world.box("one", "blue")
    largest = NARROW_BYTES - (IPV4_HEADERS if version == 4 else IPV6_HEADERS)
    to = ROUTER[0 if version == 4 else 1]

    def passes(size: int) -> bool:
        ping = ["ping", "-c", "1", "-w", "5", "-M", "do", "-s", str(size), to]
        return world.inside("one", *ping, check=False).returncode == 0

    assert world.exec("one", "cat", "/sys/class/net/eth0/mtu").stdout.strip() == str(NARROW_BYTES)
    assert passes(largest)
    assert not passes(largest + 1)


# What is left behind


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(on_lan, id="slice"),
        pytest.param(lambda w, n: behind(w, n, 1, "-o", "masquerade=true"), id="behind"),
    ],
)
def test_last_network_leaves_the_host_as_it_was(
    world: World, make: Callable[[World, str], None]
) -> None:
    world.wait_until_empty()
    before = host_state(world)
    make(world, "blue")
    world.box("one", "blue")
    assert host_state(world) != before

    world.docker("rm", "--force", "one")
    world.docker("network", "rm", "blue")

    world.wait_until_empty()
    eventually(
        lambda: host_state(world) == before,
        "the host is as before",
        deadline_s=20,
        detail=lambda: "\n".join(sorted({*before} ^ {*host_state(world)})),
    )


def _twice(pair: tuple[str, str] | list[str]) -> list[str]:
    """Expect each address of TCP and of UDP."""
    return [address for address in pair for _ in range(2)]


def _mac(world: World) -> str:
    return world.host.run(["cat", f"/sys/class/net/{world.host.uplink}/address"]).stdout.strip()


def _gateway_mac(world: World, box: str) -> str:
    """Return the MAC of the host's end of a container's link."""
    (endpoint,) = (e for e in world.endpoints() if e["name"] == box)
    return world.host.run(["cat", f"/sys/class/net/{endpoint['link']}/address"]).stdout.strip()
