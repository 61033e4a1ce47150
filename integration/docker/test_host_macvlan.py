"""Macvlan containers on the LAN: who reaches whom, what the wire shows, and the host's own way."""

from __future__ import annotations

import json

import pytest

from integration.docker.conftest import NARROW_BYTES, World
from integration.docker.lan import (
    HEALED_S,
    ROUTER,
    addresses,
    assert_only_port_80_is_open,
    clients_seen,
    host_state,
    lan_server,
    on_lan,
    reached,
    reached_from_host,
    reached_from_lan,
    unused,
)
from integration.lab import Underlay, eventually, frames
from integration.lab.frames import Hop
from integration.lab.sandboxes import IN_VAIN_S
from integration.lab.talk import tcp, udp
from integration.lab.underlay import BRIDGE
from integration.lab.wire import global_addresses, tapped

Words = tuple[str, ...]

MACVLAN = ("-o", "mode=macvlan")
# The docker CLI takes a name once; for IPv4 the host has the address of its uplink.
OWN_IPV6 = unused(254)[1]
HOST_ACCESS = (*MACVLAN, "-o", "host_access=on", "--aux-address", f"host={OWN_IPV6}")

pytestmark = pytest.mark.needs("macvlan")


def mac(world: World, box: str) -> str:
    return world.exec(box, "cat", "/sys/class/net/eth0/address").stdout.strip()


def test_lan_and_containers_reach_each_other_at_their_own_addresses(
    world: World, underlay: Underlay, ipam: Words
) -> None:
    on_lan(world, "blue", *MACVLAN, ipam=ipam)
    for box in ("one", "two"):
        world.box(box, "blue")
    world.serve("one", "tcp/80", "udp/80")
    one, two = (addresses(world, box, "blue") for box in ("one", "two"))
    outside = [str(underlay.internet_v4), str(underlay.internet_v6)]

    assert reached(world, "one", [*two, *ROUTER, *outside]) == {*two, *ROUTER, *outside}
    assert reached_from_lan(underlay, [*one, *two]) == {*one, *two}
    assert world.pings("two", "one")
    asked = [tcp(one[0], 80), udp(one[0], 80), tcp(one[1], 80), udp(one[1], 80)]
    assert clients_seen(underlay.run, *asked) == [ROUTER[0]] * 2 + [ROUTER[1]] * 2
    with lan_server(underlay):
        asked = [tcp(ROUTER[0], 80), tcp(ROUTER[1], 80)]
        assert clients_seen(world.run_in("one"), *asked) == one
    assert reached_from_host(world, one, wait_s=IN_VAIN_S) == set()
    world.verify()


def test_lan_hears_of_each_address_from_the_mac_of_its_container(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue", *MACVLAN)
    with tapped(underlay, world.host.number) as wire:
        for box in ("one", "two"):
            world.box(box, "blue")
        expected = {
            address: {mac(world, box)}
            for box in ("one", "two")
            for address in addresses(world, box, "blue")
        }
        underlay.forget_neighbours()
        everybody = [*expected, *unused(200)]
        assert reached_from_lan(underlay, everybody, wait_s=2) == {*expected}
        claimed = wire.seen().claimed

    own = {str(world.host.v4.ip), str(world.host.v6.ip)}
    assert {ip: claimed[ip] for ip in global_addresses(claimed) - own} == expected


def test_host_reaches_its_containers_and_they_it_with_host_access(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue", *HOST_ACCESS)
    world.box("one", "blue")
    world.serve("one", "tcp/80")
    one = addresses(world, "one", "blue")

    assert reached_from_host(world, one) == {*one}
    own = [str(world.host.v4.ip), OWN_IPV6]
    assert reached(world, "one", own) == {*own}
    assert clients_seen(world.host.run, tcp(one[0], 80), tcp(one[1], 80)) == own
    assert reached_from_lan(underlay, one) == {*one}
    (shim,) = (name for name in world.links() if name.startswith("pyh"))
    world.host.run(["ip", "link", "delete", shim])
    eventually(
        lambda: reached_from_host(world, one, wait_s=1) == {*one},
        "the host reaches its container again",
        deadline_s=HEALED_S,
    )
    world.verify()


def test_containers_without_icc_reach_the_lan_only(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue", *MACVLAN, "-o", "icc=false")
    for box in ("one", "two"):
        world.box(box, "blue")
    one, two = (addresses(world, box, "blue") for box in ("one", "two"))

    assert reached(world, "one", ROUTER) == {*ROUTER}
    assert reached_from_lan(underlay, [*one, *two]) == {*one, *two}
    assert reached(world, "one", two, wait_s=IN_VAIN_S) == set()


def test_published_ports_are_open_to_the_lan_and_no_others(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue", *MACVLAN, "-o", "ports=published")
    world.box("one", "blue", "-p", "80:80", "-p", "80:80/udp")
    assert_only_port_80_is_open(world, underlay, "one")


def test_spoofed_frames_do_not_leave_the_container(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue", *MACVLAN)
    for box in ("liar", "victim"):
        world.box(box, "blue")
    own, of_victim = (addresses(world, box, "blue") for box in ("liar", "victim"))
    (link,) = json.loads(underlay.run(["ip", "-json", "link", "show", BRIDGE]).stdout)
    bridge = link["address"]
    hop = Hop(mac(world, "liar"), bridge)
    lies = [
        frames.ipv4(hop, of_victim[0], ROUTER[0], b"lie"),
        frames.ipv6(hop, of_victim[1], ROUTER[1], b"lie"),
        frames.arp_reply(hop, of_victim[0], ROUTER[0]),
        frames.nd_advertisement(hop, own[1], ROUTER[1], of_victim[1]),
        frames.ipv4(Hop("02:42:de:ad:be:ef", bridge), own[0], ROUTER[0], b"lie"),
    ]
    truths = [
        frames.ipv4(hop, own[0], ROUTER[0], b"truth"),
        frames.ipv6(hop, own[1], ROUTER[1], b"truth"),
    ]

    with underlay.popen(frames.listener(underlay.port(world.host.number)), log="lies") as heard:
        eventually(lambda: frames.LISTENING in heard.output(), "the listener listens")
        frames.send(world.run_in("liar"), "eth0", [*lies, *truths])
        eventually(lambda: heard.output().count(b"truth".hex()) == 2, "the truth arrives")
        arrived = heard.output()

    assert [frame for frame in lies if frame.hex() in arrived] == []


def test_passthru_has_one_container(world: World, underlay: Underlay) -> None:
    parent = f"parent={world.host.uplink}"
    on_lan(world, "blue", *MACVLAN, "-o", "macvlan_mode=passthru", "-o", parent)
    world.box("one", "blue")
    one = addresses(world, "one", "blue")
    assert reached_from_lan(underlay, one) == {*one}

    second = world.docker("run", "-d", "--network", "blue", "pynet-box", "true", check=False)

    assert second.returncode != 0
    assert "macvlan_mode=bridge" in second.stderr
    assert reached_from_lan(underlay, one) == {*one}


def test_mtu_is_that_of_the_parent(world: World, underlay: Underlay, narrow_uplink: None) -> None:
    on_lan(world, "blue", *MACVLAN)
    world.box("one", "blue")

    def passes(size: int, to: str) -> bool:
        ping = ["ping", "-c", "1", "-w", "5", "-M", "do", "-s", str(size), to]
        return world.inside("one", *ping, check=False).returncode == 0

    largest = list(zip((NARROW_BYTES - 28, NARROW_BYTES - 48), ROUTER, strict=True))
    assert all(passes(size, router) for size, router in largest)
    assert not any(passes(size + 1, router) for size, router in largest)


def test_container_on_a_bridge_too_is_reached_on_both(world: World, underlay: Underlay) -> None:
    on_lan(world, "blue", *MACVLAN)
    world.dual_stack("red", 1)
    world.box("one", "blue", "--ip", unused(77)[0])
    world.box("near", "red")

    world.docker("network", "connect", "red", "one")

    near, one = addresses(world, "near", "red"), addresses(world, "one", "blue")
    assert one[0] == unused(77)[0]
    assert reached(world, "one", near) == {*near}
    assert reached_from_lan(underlay, one) == {*one}
    world.verify()


def test_containers_are_whole_after_restarts_of_everything(
    world: World, underlay: Underlay
) -> None:
    on_lan(world, "blue", *HOST_ACCESS)
    world.box("one", "blue", "--restart", "always")

    world.docker("restart", "one")
    wanted = addresses(world, "one", "blue")
    assert reached_from_lan(underlay, wanted) == {*wanted}
    world.pynet.kill()
    assert reached_from_lan(underlay, wanted) == {*wanted}
    world.pynet.start()
    world.wait_until_ready()
    world.engine.kill()
    world.engine.start()
    eventually(lambda: len(world.endpoints()) == 1, "the container comes back")
    now = addresses(world, "one", "blue")
    assert reached_from_lan(underlay, now) == {*now}
    assert reached_from_host(world, now) == {*now}
    world.verify()


def test_last_network_leaves_the_host_as_it_was(world: World) -> None:
    world.wait_until_empty()
    before = host_state(world)
    on_lan(world, "blue", *HOST_ACCESS)
    world.box("one", "blue")
    assert host_state(world) != before

    world.docker("rm", "--force", "one")
    world.docker("network", "rm", "blue")

    world.wait_until_empty()
    eventually(
        lambda: host_state(world) == before,
        "the host is as before",
        detail=lambda: "\n".join(sorted({*before} ^ {*host_state(world)})),
    )
