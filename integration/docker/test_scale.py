"""Many containers at once, and what calls leave that were cut off, removed beside them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.docker.conftest import FORGOTTEN_DEADLINE_S, PYNET_IPAM, World
from integration.lab import eventually

BOXES = 100
AT_ONCE = 20
START_DEADLINE_S = 150

NETWORK_ID, ENDPOINT_ID = "e" * 64, "f" * 64
SPACE = "pynet-local"


@pytest.fixture(scope="module", autouse=True)
def cut_off(clean_world: World) -> None:
    """Records of which dockerd knows nothing, made by the calls that it makes before it does.

    A pool without a network, a lease without an endpoint, a network and an endpoint.
    """
    data = {"Pool": "10.91.0.0/24", "Gateway": "10.91.0.1/24", "AddressSpace": SPACE}
    network = {"NetworkID": NETWORK_ID, "Options": {}, "IPv4Data": [data], "IPv6Data": []}
    interface = {"Address": "10.91.0.2/24"}
    call(clean_world, "IpamDriver.RequestPool", AddressSpace=SPACE, V6=False)
    pool = call(clean_world, "IpamDriver.RequestPool", AddressSpace=SPACE, Pool="10.91.0.0/24")
    call(clean_world, "NetworkDriver.CreateNetwork", **network)
    call(clean_world, "IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address="10.91.0.2")
    ids = {"NetworkID": NETWORK_ID, "EndpointID": ENDPOINT_ID}
    call(clean_world, "NetworkDriver.CreateEndpoint", **ids, Interface=interface)


@pytest.mark.timeout(2 * START_DEADLINE_S)
def test_hundred_containers_start_twenty_at_a_time(world: World) -> None:
    world.network("blue", *PYNET_IPAM)
    lease = leaked_lease(world)
    names = [f"box-{number}" for number in range(BOXES)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: world.box(name, "blue"), names))

    boxes = world.inspect_network("blue")["Containers"].values()
    counted = Counter(box["IPv4Address"] for box in boxes)
    assert len(counted) == BOXES
    assert max(counted.values()) == 1
    assert f"{lease}/24" not in counted
    gateway = world.gateway("blue")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(pool.map(lambda name: world.pings(name, gateway), names))
    world.verify()

    eventually(
        lambda: len(leases(world)) == BOXES + 1 and len(world.pools()) == 1,
        "all goes that calls left which were cut off",
        deadline_s=FORGOTTEN_DEADLINE_S,
        detail=lambda: f"{world.networks()}\n{world.pools()}",
    )
    assert lease not in leases(world)
    assert NETWORK_ID not in {n["id"] for n in world.networks()}
    assert ENDPOINT_ID not in {e["id"] for e in world.endpoints()}
    assert len(world.endpoints()) == BOXES


def leaked_lease(world: World) -> str:
    """Lease an address of network `blue` that no endpoint will have."""
    granted = call(world, "IpamDriver.RequestAddress", PoolID=pool_of(world), Address="")
    return granted["Address"].partition("/")[0]


def leases(world: World) -> set[str]:
    shown = world.pynet.admin("GET", f"/v1/ipam/pools/{pool_of(world)}").body
    return {lease["address"] for lease in shown["leases"]}


def pool_of(world: World) -> str:
    return f"{SPACE}/{world.inspect_network('blue')['IPAM']['Config'][0]['Subnet']}"


def call(world: World, method: str, **body: object) -> dict[str, str]:
    answer = world.pynet.call(method, body)
    assert answer.status == 200, answer
    reply: dict[str, str] = answer.body
    return reply
