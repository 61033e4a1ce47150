"""What the real kernel says that the host reaches: routes of every table, addresses, no default."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from integration.kernel.test_kernel_contract import another
from integration.lab import probes
from integration.lab.process import run
from netplug.kernel.linkops import index_of
from netplug.kernel.linux import LinuxKernel
from netplug.model import Reached, Way
from tests.contract.test_kernel import BRIDGE, GATEWAY, make

MANY = 4000
# The kernel takes 1.5 ms for that many routes; this leaves room for a machine that is busy.
MANY_AT_MOST_S = 0.1

pytestmark = pytest.mark.needs(*probes.OF_A_LAB)


@pytest.fixture
async def kernel(network: None) -> AsyncIterator[LinuxKernel]:
    batch("link add tun0 type veth peer name tun1", "link set tun0 up", "link set tun1 up")
    batch("address add 10.8.0.2/24 dev tun0", "address add fd08::2/64 dev tun0 nodad")
    async with another() as kernel:
        yield kernel


def batch(*lines: str) -> None:
    run(["ip", "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))


def seen(text: str, way: Way, where: str = "tun0") -> Reached:
    return Reached(network=ip_network(text), way=way, where=where)


async def listed(kernel: LinuxKernel, *versions: int) -> set[Reached]:
    """What is reached, less the resolvers, which are those of the machine."""
    reached = await kernel.reached(versions or (4, 6))
    return {r for r in reached if r.way is not Way.RESOLVER}


OWN = {
    seen("10.8.0.0/24", Way.DIRECT),
    seen("10.8.0.2/32", Way.ADDRESS),
    seen("fd08::/64", Way.DIRECT),
    seen("fd08::2/128", Way.ADDRESS),
}


async def test_reached_are_the_networks_and_addresses_of_links(kernel: LinuxKernel) -> None:
    assert await listed(kernel) == OWN
    assert await listed(kernel, 6) == {r for r in OWN if r.network.version == 6}


async def test_reached_are_routes_of_every_table_and_behind_routers(kernel: LinuxKernel) -> None:
    batch(
        "route add 10.9.0.0/16 dev tun0",
        "route add 10.10.0.0/16 via 10.8.0.1 dev tun0",
        "route add 10.11.0.0/16 dev tun0 table 52",
        "route add 10.12.0.0/16 nexthop via 10.8.0.1 nexthop via 10.8.0.3",
        "route add fd09::/48 via fd08::1 dev tun0",
        "route add fd11::/48 dev tun0 table 52",
    )

    assert await listed(kernel) - OWN == {
        seen("10.9.0.0/16", Way.DIRECT),
        seen("10.10.0.0/16", Way.GATEWAY),
        seen("10.11.0.0/16", Way.DIRECT),
        seen("10.12.0.0/16", Way.GATEWAY, ""),
        seen("fd09::/48", Way.GATEWAY),
        seen("fd11::/48", Way.DIRECT),
        seen("10.8.0.1/32", Way.ROUTER),
        seen("fd08::1/128", Way.ROUTER),
    }


async def test_reached_is_no_default_route_nor_the_parts_that_a_vpn_makes_of_it(
    kernel: LinuxKernel,
) -> None:
    batch(
        "route add default via 10.8.0.1",
        "route add 0.0.0.0/1 via 10.8.0.1",
        "route add 128.0.0.0/1 dev tun0",
        "route add default via fd08::1",
        "route add 2000::/3 dev tun0",
        "route add unreachable 10.13.0.0/16",
    )

    assert await listed(kernel) - OWN == {
        seen("10.8.0.1/32", Way.ROUTER),
        seen("fd08::1/128", Way.ROUTER),
    }


async def test_reached_is_an_address_that_has_no_route(kernel: LinuxKernel) -> None:
    batch("address add 10.14.0.1/32 dev lo", "address add fd14::1/128 dev lo nodad")

    found = await listed(kernel) - OWN

    assert {r for r in found if r.way is Way.ADDRESS} == {
        seen("10.14.0.1/32", Way.ADDRESS, "lo"),
        seen("fd14::1/128", Way.ADDRESS, "lo"),
    }


async def test_reached_follows_what_comes_and_goes(kernel: LinuxKernel) -> None:
    await listed(kernel)
    batch("route add 10.9.0.0/16 dev tun0")
    came = await listed(kernel) - OWN
    batch("link set tun0 down")

    assert came == {seen("10.9.0.0/16", Way.DIRECT)}
    assert seen("10.9.0.0/16", Way.DIRECT) not in await listed(kernel)


async def test_reached_is_no_link_of_ours_but_one_that_has_taken_its_number(
    kernel: LinuxKernel,
) -> None:
    await make(kernel, BRIDGE, GATEWAY)
    beside_ours, number = await listed(kernel), index_of(BRIDGE.name)
    run(["ip", "link", "del", BRIDGE.name])
    await listed(kernel)
    batch(
        f"link add br-other index {number} type bridge",
        "link set br-other up",
        "address add 10.9.0.1/24 dev br-other",
    )

    assert beside_ours == OWN
    assert seen("10.9.0.0/24", Way.DIRECT, "br-other") in await listed(kernel)


async def test_reached_beside_thousands_of_networks_of_ours_takes_milliseconds(
    kernel: LinuxKernel,
) -> None:
    await make(kernel, BRIDGE)
    subnets = [f"10.{208 + n // 256}.{n % 256}.1/24" for n in range(MANY)]
    batch(*(f"address add {subnet} dev {BRIDGE.name}" for subnet in subnets))
    await listed(kernel, 4)
    batch(f"address add 10.240.0.1/24 dev {BRIDGE.name}")

    began_s = time.perf_counter()
    found = await listed(kernel, 4)
    took_s = time.perf_counter() - began_s

    assert found == {r for r in OWN if r.network.version == 4}
    assert took_s < MANY_AT_MOST_S
    print(f"reached beside {MANY} subnets: {1000 * took_s:.1f} ms")
