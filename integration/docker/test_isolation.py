"""Who reaches whom, what strangers see, and what the options of a network do to its containers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from integration.docker.conftest import IDLE, IMAGE, PYNET_IPAM, World
from integration.lab import Lab, Underlay, eventually

Words = tuple[str, ...]

ALWAYS = ("--restart", "always")
PORT = 8080
# Tells every client, over either family, the address that it came from.
WHO_AM_I = f"""
import socket
server = socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    client, address = server.accept()
    client.sendall(address[0].removeprefix("::ffff:").encode())
    client.close()
"""
IPV4, IPV6 = "10.92.1.0/24", "fd92:1::/64"


@pytest.fixture(scope="module")
def underlay(lab: Lab) -> Iterator[Underlay]:
    """The internet, with a server that tells where its clients come from."""
    with lab.underlay.popen([sys.executable, "-c", WHO_AM_I], log="who-am-i") as server:
        eventually(lambda: "listening" in server.output(), "the server on the internet listens")
        yield lab.underlay


@contextmanager
def route(world: World, underlay: Underlay, subnet: str) -> Iterator[None]:
    """Have the underlay send packets for a container subnet to our host."""
    via = world.host.v6.ip if ":" in subnet else world.host.v4.ip
    underlay.run(["ip", "route", "add", subnet, "via", str(via)])
    try:
        yield
    finally:
        underlay.run(["ip", "route", "del", subnet])


def seen_from_outside(world: World, box: str, server: object) -> str:
    """The address that a server beyond the underlay sees of a container, empty without answer."""
    return world.exec(box, "nc", "-w", "2", str(server), str(PORT), check=False).stdout


def serve(world: World, box: str) -> None:
    """Have a container listen on a port, and wait until it does."""
    listen = ("nc", "-ll", "-p", "80", "-e", "echo", "hello")
    world.docker("exec", "-d", box, *listen)
    greet = ("nc", "-w", "1", "127.0.0.1", "80")
    eventually(lambda: "hello" in world.exec(box, *greet, check=False).stdout, f"{box} listens")


def underlay_pings(underlay: Underlay, to: str) -> bool:
    return underlay.run(["ping", "-c", "1", "-W", "1", to], check=False).returncode == 0


def underlay_connects(underlay: Underlay, to: str) -> bool:
    greeted = underlay.run(["busybox", "nc", "-w", "1", to, "80"], check=False)
    return "hello" in greeted.stdout


def inside_links(world: World, box: str) -> dict[str, dict[str, object]]:
    shown = json.loads(world.inside(box, "ip", "-json", "address").stdout)
    return {link["ifname"]: link for link in shown}


def refusal(world: World, *words: str) -> str:
    """What docker says when it does not make a network."""
    refused = world.docker("network", "create", "-d", "pynet", *words, check=False)
    assert refused.returncode != 0
    return refused.stderr


# Who reaches whom


def test_networks_do_not_reach_each_other(world: World) -> None:
    subnets = {"blue": ("10.92.1.0/24", "fd92:1::/64"), "red": ("10.92.2.0/24", "fd92:2::/64")}
    for name, (ipv4, ipv6) in subnets.items():
        world.network(name, *PYNET_IPAM, "--ipv6", "--subnet", ipv4, "--subnet", ipv6)
        world.box(f"{name}-one", name)
    world.box("blue-two", "blue")

    for version in (4, 6):
        assert world.pings("blue-one", world.address("blue-two", "blue", version=version))
        for one, other in (("blue", "red"), ("red", "blue")):
            address = world.address(f"{other}-one", other, version=version)
            assert not world.pings(f"{one}-one", address, wait_s=1)
    world.verify()


def test_container_leaves_with_the_address_of_the_host(world: World, underlay: Underlay) -> None:
    policy = world.host.run(["iptables", "-S", "FORWARD"]).stdout
    world.network("blue", *PYNET_IPAM, "--ipv6")
    world.box("one", "blue")

    assert "-P FORWARD DROP" in policy
    assert seen_from_outside(world, "one", underlay.internet_v4) == str(world.host.v4.ip)
    assert seen_from_outside(world, "one", underlay.internet_v6) == str(world.host.v6.ip)


def test_unpublished_container_is_not_reached_by_a_static_route(
    world: World, underlay: Underlay
) -> None:
    world.network("blue", *PYNET_IPAM, "--ipv6", "--subnet", IPV4, "--subnet", IPV6)
    world.box("one", "blue")
    serve(world, "one")

    for version, subnet in ((4, IPV4), (6, IPV6)):
        address = world.address("one", "blue", version=version)
        with route(world, underlay, subnet):
            assert not underlay_pings(underlay, address)
            assert not underlay_connects(underlay, address)


def test_routed_container_keeps_its_address_and_answers_pings_only(
    world: World, underlay: Underlay
) -> None:
    modes = ("-o", "gateway_mode_ipv4=routed", "-o", "gateway_mode_ipv6=routed")
    world.network("blue", *PYNET_IPAM, *modes, "--ipv6", "--subnet", IPV4, "--subnet", IPV6)
    world.box("one", "blue")
    serve(world, "one")

    for version, subnet, server in (
        (4, IPV4, underlay.internet_v4),
        (6, IPV6, underlay.internet_v6),
    ):
        address = world.address("one", "blue", version=version)
        with route(world, underlay, subnet):
            assert seen_from_outside(world, "one", server) == address
            assert underlay_pings(underlay, address)
            assert not underlay_connects(underlay, address)


def test_network_without_masquerade_is_not_translated(world: World, underlay: Underlay) -> None:
    world.network(
        "blue", "--subnet", IPV4, "-o", "com.docker.network.bridge.enable_ip_masquerade=false"
    )
    world.box("one", "blue")

    with route(world, underlay, IPV4):
        assert seen_from_outside(world, "one", underlay.internet_v4) == world.address("one", "blue")


def test_internal_network_has_no_way_out(world: World, underlay: Underlay) -> None:
    world.network("blue", *PYNET_IPAM, "--internal")
    world.box("one", "blue")
    world.box("two", "blue")

    assert world.pings("one", "two")
    assert "default" not in world.exec("one", "ip", "route").stdout
    world.inside("one", "ip", "route", "add", "default", "via", world.gateway("blue"))
    assert not world.pings("one", str(underlay.internet_v4), wait_s=1)


def test_containers_without_icc_reach_the_gateway_only(world: World, underlay: Underlay) -> None:
    world.network("blue", *PYNET_IPAM, "-o", "com.docker.network.bridge.enable_icc=false")
    world.box("one", "blue")
    world.box("two", "blue")

    assert not world.pings("one", world.address("two", "blue"), wait_s=1)
    assert world.pings("one", world.gateway("blue"))
    assert seen_from_outside(world, "one", underlay.internet_v4) == str(world.host.v4.ip)


def test_dockers_own_bridge_does_not_reach_us_not_even_after_a_restart(world: World) -> None:
    world.network("blue", *PYNET_IPAM)
    world.box("one", "blue", *ALWAYS)
    world.box("plain", "bridge", *ALWAYS)

    assert_apart(world)

    world.engine.restart()  # puts Docker's rules above ours
    eventually(
        lambda: all(world.inspect(box)["State"]["Running"] for box in ("one", "plain")),
        "the containers come back",
    )

    assert_apart(world)
    world.verify()


def assert_apart(world: World) -> None:
    assert world.pings("plain", str(world.host.v4.ip))
    assert not world.pings("plain", world.address("one", "blue"), wait_s=1)


# What options do


def test_containers_of_both_families_get_both_addresses(world: World) -> None:
    world.network("blue", "--ipv6", "--subnet", IPV4, "--subnet", IPV6)
    world.box("one", "blue", "--ip", "10.92.1.77", "--ip6", "fd92:1::77")
    world.box("two", "blue")

    assert world.pings("two", "10.92.1.77")
    assert world.pings("two", "fd92:1::77")
    assert world.pings("two", "fd92:1::1")


@pytest.mark.parametrize("key", ["mtu", "com.docker.network.driver.mtu"])
def test_mtu_is_that_of_the_container(world: World, key: str) -> None:
    world.network("blue", "-o", f"{key}=1400")
    world.box("one", "blue")

    assert inside_links(world, "one")["eth0"]["mtu"] == 1400


def test_names_of_links_are_the_users(world: World) -> None:
    prefix = "com.docker.network.container_iface_prefix=lan"
    world.network("blue", "-o", prefix, "-o", "com.docker.network.bridge.name=br-shop")
    world.box("one", "blue")

    assert "br-shop" in world.links()
    assert "lan0" in inside_links(world, "one")
    assert world.pings("one", world.gateway("blue"))


@pytest.mark.needs("curl")
def test_mac_is_the_users(world: World) -> None:
    world.network("blue")
    wanted = "02:12:34:56:78:9a"
    # The docker CLI asks for a newer engine, and gives the address in another place.
    box: dict[str, object] = {"Image": IMAGE, "Cmd": IDLE, "MacAddress": wanted}
    box["HostConfig"] = {"NetworkMode": "blue"}
    request = ["curl", "--silent", "--fail", "--unix-socket", "/run/docker.sock"]
    request += ["--json", json.dumps(box), "http://docker/containers/create?name=one"]
    world.host.run(request)

    world.docker("start", "one")

    assert inside_links(world, "one")["eth0"]["address"] == wanted
    assert world.pings("one", world.gateway("blue"))


def test_host_without_address_still_switches(world: World) -> None:
    world.network("blue", "-o", "com.docker.network.bridge.inhibit_ipv4=true")
    world.box("one", "blue")
    world.box("two", "blue")

    (bridge,) = json.loads(
        world.host.run(["ip", "-json", "address", "show", world.bridge("blue")]).stdout
    )
    assert [a for a in bridge["addr_info"] if a["family"] == "inet"] == []
    assert world.pings("one", "two")


# What errors say


def test_every_problem_of_the_options_is_told_at_once(world: World) -> None:
    said = refusal(world, "-o", "mut=1400", "-o", "icc=maybe", "blue")

    assert "unknown option 'mut', did you mean 'mtu'?" in said
    assert "icc='maybe': true or false is wanted" in said
    assert world.networks() + world.pools() == []


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param(lambda world: str(world.host.v4.network), id="uplink"),
        pytest.param(lambda world: world.network("red", "--subnet", IPV4) and IPV4, id="network"),
    ],
)
def test_subnet_in_use_is_refused(world: World, taken: Callable[[World], str]) -> None:
    subnet = taken(world)

    said = refusal(world, *PYNET_IPAM, "--subnet", subnet, "blue")

    assert subnet in said
    assert "in use" in said or "overlaps" in said
    assert "blue" not in world.docker("network", "ls", "--format", "{{.Name}}").stdout
    assert [pool["network"] for pool in world.pools()] == []


def test_bridge_name_of_another_is_refused(world: World) -> None:
    named = ("-o", "com.docker.network.bridge.name=br-shop")
    world.host.run(["ip", "link", "add", "br-shop", "type", "bridge"])
    strangers = refusal(world, *named, "blue")
    world.host.run(["ip", "link", "del", "br-shop"])
    world.network("red", *named)

    said = refusal(world, *named, "blue")

    assert "br-shop" in strangers
    assert "not pynet's" in strangers
    assert "bridge name br-shop is used by network" in said
