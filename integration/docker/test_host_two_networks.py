"""Containers on a routed network and on others: each address answers, whatever way out there is.

The way out is that of the network whose name comes first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from integration.docker.conftest import PYNET_IPAM, World
from integration.docker.lan import (
    ROUTER,
    addresses,
    behind,
    on_lan,
    reached,
    reached_from_host,
    reached_from_lan,
    routed_to,
)
from integration.lab import Underlay, eventually, frames
from integration.lab.frames import Hop
from integration.lab.process import run
from integration.lab.sandboxes import IN_VAIN_S
from integration.lab.talk import NOBODY, Expected, misheard, tcp, udp

SECOND = "second"
SECOND_LAN = (("198.51.100.1", "198.51.100.2", 24), ("2001:db8:2::1", "2001:db8:2::2", 64))


@pytest.fixture(params=["0", "1"], ids=["usual", "strict"])
def reverse_paths(world: World, request: pytest.FixtureRequest) -> Iterator[None]:
    """The host checks reverse paths of new links, or of none."""
    switch = "net.ipv4.conf.default.rp_filter"
    world.host.run(["sysctl", "-qw", f"{switch}={request.param}"])
    yield
    world.host.run(["sysctl", "-qw", f"{switch}=0"])


@pytest.fixture
def second_lan(world: World, underlay: Underlay) -> Iterator[None]:
    """The host has another link, to a LAN of its own with the same router."""
    peer = ["peer", "name", SECOND, "netns", str(world.host.namespace.pid)]
    made = ["ip", "link", "add", SECOND, "type", "veth", *peer]
    run(made, prefix=underlay.namespace.network_entry)  # where the host's process has its number
    for router, own, length in SECOND_LAN:
        nodad = ["nodad"] if ":" in router else []
        underlay.run(["ip", "address", "add", f"{router}/{length}", "dev", SECOND, *nodad])
        world.host.run(["ip", "address", "add", f"{own}/{length}", "dev", SECOND, *nodad])
    underlay.run(["ip", "link", "set", SECOND, "up"])
    world.host.run(["ip", "link", "set", SECOND, "up"])
    yield
    world.clear()
    underlay.run(["ip", "link", "delete", SECOND])


def on_second_lan(world: World, name: str) -> None:
    words = ["-o", "driver=host", "-o", f"parent={SECOND}", "--ipv6"]
    for subnet, part in (
        ("198.51.100.0/24", "198.51.100.64/26"),
        ("2001:db8:2::/64", "2001:db8:2::64:0/112"),
    ):
        words += ["--subnet", subnet, "--ip-range", part]
    world.network(name, *PYNET_IPAM, *words)


def box_on(world: World, name: str, *networks: str) -> list[str]:
    """Start a container on networks, in that order, and return all its addresses."""
    world.box(name, networks[0])
    for network in networks[1:]:
        world.docker("network", "connect", network, name)
    return [address for network in networks for address in addresses(world, name, network)]


def answers(world: World, box: str, asked: Sequence[str]) -> Expected:
    """Have a container serve at each of its addresses, as an answer must come from that."""
    world.serve(box, "tcp/80", *(f"udp/80@{address}" for address in asked))
    return {ask(address, 80): f"{box}:80" for address in asked for ask in (tcp, udp)}


def reached_from_internet(underlay: Underlay, asked: Sequence[str]) -> set[str]:
    """Return which addresses answer somebody who is on no network of the container."""
    sources = {4: str(underlay.internet_v4), 6: str(underlay.internet_v6)}

    def answer(address: str) -> bool:
        source = sources[6 if ":" in address else 4]
        ping = ["ping", "-n", "-c", "1", "-i", "0.2", "-w", "8", "-I", source, address]
        return underlay.run(ping, check=False).returncode == 0

    return {address for address in asked if answer(address)}


# Each address answers


@pytest.mark.parametrize("names", [("blue", "green"), ("green", "blue")], ids="-".join)
def test_each_address_of_two_routed_networks_answers(
    world: World, underlay: Underlay, names: tuple[str, str], reverse_paths: None
) -> None:
    lan, routed = names
    on_lan(world, lan)
    behind(world, routed, 1)
    one = box_on(world, "one", lan, routed)
    beside = {network: box_on(world, f"on-{network}", network) for network in names}
    served = answers(world, "one", one)

    with routed_to(world, underlay, 1):
        assert reached_from_lan(underlay, one) == {*one}
        assert reached_from_internet(underlay, one) == {*one}
        assert reached_from_host(world, one) == {*one}
        assert misheard(underlay.run, served) == ""
        assert misheard(world.host.run, served) == ""
    for network in names:
        own = addresses(world, "one", network)
        assert reached(world, f"on-{network}", own) == {*own}
        assert reached(world, "one", beside[network]) == {*beside[network]}
    assert reached(world, "one", ROUTER) == {*ROUTER}
    world.verify()


def test_each_address_answers_by_a_link_that_does_not_know_its_gateway_yet(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue")
    behind(world, "green", 1)
    one = box_on(world, "one", "green", "blue")
    of_green = addresses(world, "one", "green")

    with routed_to(world, underlay, 1):
        for address in of_green:
            world.inside("one", "ip", "neighbour", "flush", "all")
            assert reached_from_lan(underlay, [address]) == {address}
    assert reached_from_lan(underlay, one[2:]) == {*one[2:]}


@pytest.mark.parametrize("names", [("alpha", "blue"), ("zulu", "blue")], ids="-".join)
def test_each_address_of_a_bridge_and_of_a_routed_network_answers(
    world: World, underlay: Underlay, names: tuple[str, str], reverse_paths: None
) -> None:
    bridge, routed = names
    world.dual_stack(bridge, 1)
    behind(world, routed, 1)
    one = box_on(world, "one", bridge, routed)
    on_routed, on_bridge = addresses(world, "one", routed), addresses(world, "one", bridge)
    beside = {network: box_on(world, f"on-{network}", network) for network in names}
    served = answers(world, "one", on_routed)

    with routed_to(world, underlay, 1):
        assert reached_from_lan(underlay, one) == {*on_routed}
        assert reached_from_internet(underlay, on_routed) == {*on_routed}
        assert reached_from_host(world, one) == {*one}
        assert misheard(underlay.run, served) == ""
        assert misheard(world.host.run, served) == ""
    for network in names:
        own = addresses(world, "one", network)
        assert reached(world, f"on-{network}", own) == {*own}
        assert reached(world, "one", beside[network]) == {*beside[network]}
    assert reached(world, "on-blue", on_bridge, wait_s=IN_VAIN_S) == set()
    assert reached(world, f"on-{bridge}", on_routed, wait_s=IN_VAIN_S) == set()
    world.verify()


def test_each_address_of_two_parents_answers(
    world: World, underlay: Underlay, second_lan: None, reverse_paths: None
) -> None:
    on_lan(world, "blue")
    on_second_lan(world, "green")
    one = box_on(world, "one", "blue", "green")
    served = answers(world, "one", one)

    assert reached_from_lan(underlay, one) == {*one}
    assert reached_from_internet(underlay, one) == {*one}
    assert reached_from_host(world, one) == {*one}
    assert misheard(underlay.run, served) == ""
    world.verify()


def test_published_port_of_a_bridge_is_answered_by_a_routed_way_out(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue")
    world.dual_stack("zulu", 1)
    box_on(world, "one", "blue", "zulu")
    world.serve("one", "tcp/80")
    world.wait_until_named("blue", "zulu")

    world.pynet.pynet("ports", "add", "--network", "zulu", "one", "8080:80")

    own = (world.host.v4.ip, world.host.v6.ip)
    assert misheard(underlay.run, {tcp(ip, 8080): "one:80" for ip in own}) == ""


# What comes, goes and starts again


def test_disconnected_network_leaves_the_other_as_if_it_had_been_alone(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue")
    behind(world, "green", 1)
    box_on(world, "one", "blue")
    of_blue = addresses(world, "one", "blue")
    alone = what_is_let_in(world)
    with routed_to(world, underlay, 1):
        for _ in range(2):
            world.docker("network", "connect", "green", "one")
            of_green = addresses(world, "one", "green")
            assert reached_from_lan(underlay, [*of_blue, *of_green]) == {*of_blue, *of_green}
            assert what_is_let_in(world) != alone

            world.docker("network", "disconnect", "green", "one")
            assert reached_from_lan(underlay, of_green, wait_s=IN_VAIN_S) == set()
            assert reached_from_lan(underlay, of_blue) == {*of_blue}
            assert what_is_let_in(world) == alone
        world.docker("network", "connect", "green", "one")
        world.docker("network", "disconnect", "blue", "one")
        of_green = addresses(world, "one", "green")
        assert reached_from_lan(underlay, of_green) == {*of_green}
    world.verify()


def test_each_address_answers_after_restarts(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue")
    behind(world, "green", 1)
    one = box_on(world, "one", "blue", "green")

    with routed_to(world, underlay, 1):
        world.pynet.restart()
        world.wait_until_ready()
        assert reached_from_lan(underlay, one) == {*one}
        world.pynet.kill()
        world.host.run(["nft", "delete", "table", "ip", "pynet"])
        world.host.run(["nft", "delete", "table", "ip6", "pynet"])
        world.pynet.start()
        world.wait_until_ready()
        assert reached_from_lan(underlay, one) == {*one}
        world.docker("restart", "one")
        now = [address for on in ("blue", "green") for address in addresses(world, "one", on)]
        assert reached_from_lan(underlay, now) == {*now}
    world.verify()


# Nobody else's address


@pytest.mark.parametrize("names", [("blue", "green"), ("blue", "zulu")], ids=["routed", "bridge"])
def test_addresses_of_others_are_dropped_on_each_link(
    world: World, underlay: Underlay, names: tuple[str, str]
) -> None:
    on_lan(world, "blue")
    if "green" in names:
        behind(world, "green", 1)
    else:
        world.dual_stack("zulu", 1)
    own = box_on(world, "liar", *names)
    of_others = [*box_on(world, "victim", "blue"), "198.51.100.7", "2001:db8:7::7"]
    of_others += box_on(world, "other", names[1])
    assert reached(world, "liar", ROUTER) == {*ROUTER}  # the way is known
    own = [a for a in own if a in addresses(world, "liar", "blue") or "green" in names]
    links = hops(world, "liar")
    assert len(links) == 2

    with underlay.popen(frames.listener(underlay.port(world.host.number)), log="lies") as heard:
        eventually(lambda: frames.LISTENING in heard.output(), "the listener listens")
        for link, hop in links.items():
            lies = [frame(hop, source, b"lie") for source in of_others]
            truths = [frame(hop, source, b"truth") for source in own]
            frames.send(world.run_in("liar"), link, [*lies, *truths])
        expected = len(own) * len(links)
        eventually(
            lambda: heard.output().count(b"truth".hex()) == expected,
            "each own address is sent from by each link",
        )
        assert b"lie".hex() not in heard.output()


def test_addresses_of_an_internal_network_are_dropped_on_the_link_of_another(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue")
    behind(world, "green", 1, "--internal")
    box_on(world, "one", "blue", "green")
    of_blue, of_green = (addresses(world, "one", on) for on in ("blue", "green"))
    assert reached(world, "one", ROUTER) == {*ROUTER}
    link, hop = next((k, v) for k, v in hops(world, "one").items() if k == link_of(world, of_blue))

    with underlay.popen(frames.listener(underlay.port(world.host.number)), log="lies") as heard:
        eventually(lambda: frames.LISTENING in heard.output(), "the listener listens")
        lies = [frame(hop, source, b"lie") for source in of_green]
        truths = [frame(hop, source, b"truth") for source in of_blue]
        frames.send(world.run_in("one"), link, [*lies, *truths])
        eventually(lambda: heard.output().count(b"truth".hex()) == 2, "the truth arrives")
        assert b"lie".hex() not in heard.output()
    with routed_to(world, underlay, 1):
        assert reached_from_lan(underlay, of_green, wait_s=IN_VAIN_S) == set()


# Networks stay apart


def test_second_network_is_no_way_around_what_keeps_apart(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue", "-o", "icc=false")
    behind(world, "green", 1)
    behind(world, "inner", 2, "--internal")
    one = box_on(world, "one", "blue", "green")
    for network in ("blue", "inner"):
        box_on(world, f"on-{network}", network)
        world.serve(f"on-{network}", "tcp/80", "udp/80")
    asked = [a for on in ("blue", "inner") for a in addresses(world, f"on-{on}", on)]
    world.box("far", "blue")

    for link in hops(world, "one"):
        with way_out(world, "one", link), routed_to(world, underlay, 1):
            for source in one:
                assert answered(world, source, of_family(ROUTER, source)) != set()
                assert answered(world, source, of_family(asked, source), "0.3") == set(), link
    closed = {ask(address, 80): NOBODY for address in asked for ask in (tcp, udp)}
    assert misheard(world.run_in("one"), closed) == ""
    of_green = addresses(world, "one", "green")
    assert reached(world, "far", of_green, wait_s=IN_VAIN_S) == set()


def of_family(asked: Sequence[str], source: str) -> list[str]:
    return [address for address in asked if (":" in address) == (":" in source)]


def answered(world: World, source: str, asked: Sequence[str], wait_s: str = "5") -> set[str]:
    """Return which addresses answer container "one" when it asks from one of its own."""
    ping = ("ping", "-n", "-c", "1", "-W", wait_s, "-I", source)
    return {a for a in asked if world.inside("one", *ping, a, check=False).returncode == 0}


@contextmanager
def way_out(world: World, box: str, link: str) -> Iterator[None]:
    """Have a container, as its root may, send everything by one of its links."""
    routes = {f: default_via(world, box, link, f) for f in ("-4", "-6")}
    for family, via in routes.items():
        for half in {"-4": ("0.0.0.0/1", "128.0.0.0/1"), "-6": ("::/1", "8000::/1")}[family]:
            world.inside(box, "ip", family, "rule", "add", "pref", "10", "to", half, "lookup", "9")
        route = ("route", "replace", "default", "via", via, "dev", link, "table", "9")
        world.inside(box, "ip", family, *route)
    yield
    for family in routes:
        world.inside(box, "ip", family, "rule", "delete", "pref", "10")
        world.inside(box, "ip", family, "rule", "delete", "pref", "10")
        world.inside(box, "ip", family, "route", "flush", "table", "9")


def default_via(world: World, box: str, link: str, family: str) -> str:
    """Return the gateway at the other end of a routed link of a container."""
    shown = world.inside(box, "ip", "-json", family, "route", "show", "dev", link).stdout
    return next(str(r["gateway"]) for r in json.loads(shown) if "gateway" in r)


def hops(world: World, box: str) -> dict[str, Hop]:
    """Return the links of a container, and the two MAC addresses that each is between."""
    shown = json.loads(world.inside(box, "ip", "-json", "link", "show").stdout)
    outside = json.loads(world.host.run(["ip", "-json", "link", "show"]).stdout)
    by_index = {link["ifindex"]: link for link in outside}
    by_name = {link["ifname"]: link for link in outside}
    found = {}
    for link in shown:
        if "link_index" in link:
            end = by_index[link["link_index"]]
            to = by_name[end["master"]] if "master" in end else end
            found[str(link["ifname"])] = Hop(link["address"], to["address"])
    return found


def link_of(world: World, own: Sequence[str]) -> str:
    """Return the link of container "one" that has an address."""
    shown = json.loads(world.inside("one", "ip", "-json", "-4", "address", "show").stdout)
    return next(
        str(link["ifname"])
        for link in shown
        if any(a["local"] == own[0] for a in link["addr_info"])
    )


def frame(hop: Hop, source: str, data: bytes) -> bytes:
    """Return a datagram to the LAN's router."""
    make, to = (frames.ipv6, ROUTER[1]) if ":" in source else (frames.ipv4, ROUTER[0])
    return make(hop, source, to, data)


def what_is_let_in(world: World) -> list[str]:
    """Return what the host lets in by routed links that is routed back by another."""
    told = [
        world.host.run(["nft", "list", "set", family, "pynet", "routed_sources"]).stdout
        for family in ("ip", "ip6")
    ]
    checks = world.host.run(["sh", "-c", "cat /proc/sys/net/ipv4/conf/pyv*/rp_filter"])
    return [*told, checks.stdout]
