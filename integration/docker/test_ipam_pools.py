"""Subnets that pynet chooses beside all that a host reaches, and what comes after them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_network
from itertools import combinations

import pytest

from integration.docker.conftest import PYNET_IPAM, World
from integration.lab import eventually

NETWORKS = 300
AT_ONCE = 8
MANY_DEADLINE_S = 240
# A look every second, of which two must see it; more beside thousands of networks.
SEEN_WITHIN_S = 10.0


def subnets(world: World, network: str) -> list[str]:
    return [config["Subnet"] for config in world.inspect_network(network)["IPAM"]["Config"]]


def refusal(world: World, *words: str) -> str:
    """What docker says to a network that it cannot make."""
    refused = world.docker("network", "create", "-d", "pynet", *words, "red", check=False)
    assert refused.returncode != 0, refused.stdout
    return refused.stderr


def collisions(world: World) -> list[str]:
    """The collisions that `verify` tells of, beside no difference."""
    verdict = world.pynet.admin("GET", "/v1/verify").body
    assert verdict["differences"] == []
    told: list[str] = verdict["collisions"]
    return told


def events(world: World) -> list[str]:
    lines = world.pynet.pynet("events", "--output", "json").stdout.splitlines()
    return [e["message"] for e in map(json.loads, lines) if e["kind"] == "collision"]


@contextmanager
def vpn(world: World, *routes: str) -> Iterator[None]:
    """A tunnel that goes up with routes, in a table of its own if they say so."""
    world.host.run(["ip", "link", "add", "tun9", "type", "veth", "peer", "name", "tun9far"])
    try:
        for link in ("tun9", "tun9far"):
            world.host.run(["ip", "link", "set", link, "up"])
        world.host.run(["ip", "address", "add", "10.99.0.2/30", "dev", "tun9"])
        for route in routes:
            world.host.run(["ip", "route", "add", *route.split()])
        yield
    finally:
        world.host.run(["ip", "link", "del", "tun9"])


def on_each(world: World, method: str, targets: Sequence[tuple[str, object]], status: int) -> float:
    """Make a call for each target, several at once; return how long it took, in seconds."""

    def call(target: tuple[str, object]) -> None:
        answer = world.engine.api(method, *target)
        assert answer.status == status, answer

    began_s = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(call, targets))
    return time.monotonic() - began_s


@pytest.mark.timeout(MANY_DEADLINE_S)
def test_three_hundred_networks_have_subnets_of_their_own_and_go_without_a_trace(
    world: World,
) -> None:
    names = [f"net-{number}" for number in range(NETWORKS)]
    wishes = [
        {"Name": name, "Driver": "pynet", "CheckDuplicate": True, "IPAM": {"Driver": "pynet"}}
        for name in names
    ]

    made_s = on_each(world, "POST", [("/networks/create", wish) for wish in wishes], 201)

    pools = world.pools()
    assert len(pools) == NETWORKS
    chosen = [ip_network(pool["network"]) for pool in pools]
    assert not any(one.overlaps(other) for one, other in combinations(chosen, 2))
    assert {p.prefixlen for p in chosen} == {24}
    assert all(len(pool["networks"]) == 1 for pool in pools)
    assert collisions(world) == []
    removed_s = on_each(world, "DELETE", [(f"/networks/{name}", None) for name in names], 204)
    world.wait_until_empty(deadline_s=60.0)
    print(f"{NETWORKS} networks made in {made_s:.1f} s, removed in {removed_s:.1f} s")


def test_route_that_comes_later_is_told_of_until_it_goes(world: World) -> None:
    world.network("blue", *PYNET_IPAM)
    world.network("green", *PYNET_IPAM, "--subnet", "10.61.0.0/24")
    (subnet,) = subnets(world, "blue")
    world.verify()

    with vpn(world, "10.208.0.0/12 via 10.99.0.1", "10.61.0.0/25 dev tun9 table 52"):
        told = [
            f"subnet {subnet} of network blue overlaps 10.208.0.0/12, "
            "which is in use behind a router on link tun9",
            "subnet 10.61.0.0/24 of network green overlaps 10.61.0.0/25, "
            "which is in use on link tun9",
        ]
        eventually(
            lambda: sorted(events(world)) == sorted(told),
            "what came later is told once",
            deadline_s=SEEN_WITHIN_S,
            detail=lambda: str(events(world)),
        )
        assert collisions(world) == told
        assert world.pynet.pynet("verify", check=False).returncode == 11
        assert {t for pool in world.pools() for t in pool["collisions"]} == set(told)
        assert "nothing free in the automatic ranges 10.208.0.0/12" in refusal(world, *PYNET_IPAM)

    eventually(
        lambda: (
            [m for m in events(world) if m.startswith("over: ")] != [] and collisions(world) == []
        ),
        "it is told that it is over",
        deadline_s=SEEN_WITHIN_S,
    )
    world.verify()


def test_automatic_subnets_are_clear_of_routes_addresses_resolvers_and_dockers_networks(
    world: World,
) -> None:
    (last,) = subnets(world, world.network("blue", *PYNET_IPAM))
    first = int(ip_network(last).network_address) + 256
    slices = [str(ip_network((first + 256 * n, 24))) for n in range(6)]
    hosts = [str(ip_network(s)[9]) for s in slices]
    world.set_resolver(hosts[2])
    world.docker("network", "create", "-d", "bridge", "--subnet", slices[3], "own")
    parent = ("-o", f"parent={world.host.uplink}")
    world.docker("network", "create", "-d", "macvlan", *parent, "--subnet", slices[4], "lan")
    eventually(
        lambda: "of Docker's network lan (macvlan)" in refused_or_removed(world, slices[4]),
        "Docker's network is known",
        deadline_s=SEEN_WITHIN_S,
    )

    with vpn(world, f"{hosts[0]}/32 dev tun9 table 52"):
        world.host.run(["ip", "address", "add", f"{hosts[1]}/32", "dev", "lo"])
        try:
            world.network("green", *PYNET_IPAM)
        finally:
            world.host.run(["ip", "address", "del", f"{hosts[1]}/32", "dev", "lo"])

    assert subnets(world, "green") == [slices[5]]
    world.set_resolver()


def refused_or_removed(world: World, subnet: str) -> str:
    """What docker says to a network with that subnet, which is removed if it could be made."""
    words = ("network", "create", "-d", "pynet", *PYNET_IPAM, "--subnet", subnet, "red")
    made = world.docker(*words, check=False)
    if made.returncode == 0:
        world.docker("network", "rm", "red")
    return made.stderr


def test_given_subnet_that_is_in_use_is_refused_unless_the_user_knows_better(
    world: World,
) -> None:
    given = ("--subnet", "10.61.0.0/24")
    routes = ("10.61.0.128/25", "10.62.0.0/16", "10.64.0.0/16")
    with vpn(world, *(f"{route} via 10.99.0.1" for route in routes)):
        told = refusal(world, *PYNET_IPAM, *given)
        assert "overlaps 10.61.0.128/25, which is in use behind a router on link" in told
        assert "or give -o overlap=allow if you know better" in told

        world.network("blue", *PYNET_IPAM, *given, "--ipam-opt", "overlap=allow")
        world.network("green", "--subnet", "10.62.0.0/16", "-o", "overlap=allow")
        world.network("grey", *PYNET_IPAM, "--subnet", "10.64.7.0/24")
        world.verify()

    world.set_resolver("10.63.0.53")
    assert "contains 10.63.0.53, a resolver of the host's" in refusal(
        world, "--subnet", "10.63.0.0/24"
    )
    world.set_resolver()
    world.network("red", "--subnet", "10.63.0.0/24")


def test_subnets_of_a_size_only_and_several_of_them(world: World) -> None:
    """The command line takes two subnets of a size for one, the API does not."""
    world.network("blue", *PYNET_IPAM, "--ipv6", "--subnet", "0.0.0.0/26", "--subnet", "::/80")
    sizes = ("0.0.0.0/28", "0.0.0.0/30", "::/127")
    ipam = {"Driver": "pynet", "Config": [{"Subnet": size} for size in sizes]}
    wish = {"Name": "green", "Driver": "pynet", "EnableIPv6": True, "IPAM": ipam}
    on_each(world, "POST", [("/networks/create", wish)], 201)

    assert [int(s.partition("/")[2]) for s in subnets(world, "blue")] == [26, 80]
    assert [int(s.partition("/")[2]) for s in subnets(world, "green")] == [28, 30, 127]
    world.box("one", "blue")
    world.box("two", "blue")
    for version in (4, 6):
        assert world.pings("one", world.address("two", "blue", version=version))
    world.box("three", "green")
    shown = world.pynet.pynet_json("network", "inspect", world.inspect_network("green")["Id"])
    assert world.pings("three", shown["subnets"][0]["gateway"])
