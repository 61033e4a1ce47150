"""The plugin socket as dockerd sees it: what is answered, when, and with which status."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from netplug.api.app import Methods, Readiness, plugin_server
from netplug.api.follow import FollowUps
from netplug.api.middleware import BODY_LIMIT_BYTES
from netplug.kernel.memory import fail_at
from netplug.model import Protocol
from netplug.plan.objects import HostPort, Veth
from tests.api.conftest import Client, Reply, served
from tests.service.world import World

NETWORK, ENDPOINT = "4e1c0f2a9b77" + "0" * 52, "77b9a2f0c1e4" + "0" * 52
SANDBOX = "/var/run/docker/netns/4e1c0f2a9b77"
CREATE = {
    "NetworkID": NETWORK,
    "Options": {"com.docker.network.generic": {}},
    "IPv4Data": [
        {"AddressSpace": "pynet-local", "Pool": "10.44.0.0/24", "Gateway": "10.44.0.1/24"}
    ],
    "IPv6Data": [],
}
IDS = {"NetworkID": NETWORK, "EndpointID": ENDPOINT}
TINY_S = 0.01


async def run_container(plugin: Client) -> Reply:
    """Make the calls of one `docker run` on a new network; return the answer to Join."""
    await plugin.call("NetworkDriver.CreateNetwork", CREATE)
    interface = {"Address": "10.44.0.5/24", "AddressIPv6": "", "MacAddress": ""}
    await plugin.call(
        "NetworkDriver.CreateEndpoint", {**IDS, "Interface": interface, "Options": None}
    )
    return await plugin.call("NetworkDriver.Join", {**IDS, "SandboxKey": SANDBOX, "Options": {}})


async def test_create_endpoint_has_the_link_made_before_join(
    plugin: Client, world: World, follow_ups: FollowUps
) -> None:
    await plugin.call("NetworkDriver.CreateNetwork", CREATE)
    free = {"Address": "10.44.0.5/24", "AddressIPv6": "", "MacAddress": ""}

    await plugin.call("NetworkDriver.CreateEndpoint", {**IDS, "Interface": free})
    await follow_ups.settled()

    assert [o.name for o in world.built if isinstance(o, Veth)] == ["pyv77b9a2f0c1e4"]


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("Plugin.Activate", {"Implements": ["NetworkDriver", "IpamDriver"]}),
        (
            "NetworkDriver.GetCapabilities",
            {"Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": True},
        ),
        (
            "IpamDriver.GetCapabilities",
            {"RequiresMACAddress": False, "RequiresRequestReplay": False},
        ),
        (
            "IpamDriver.GetDefaultAddressSpaces",
            {
                "LocalDefaultAddressSpace": "pynet-local",
                "GlobalDefaultAddressSpace": "pynet-global",
            },
        ),
    ],
)
async def test_call_of_registration_is_answered_before_the_daemon_is_ready(
    method: str, reply: object, tmp_path: Path
) -> None:
    server = plugin_server(dict, Readiness(), TINY_S, FollowUps())
    async with served(server, tmp_path / "test.sock") as client:
        got = await client.call(method)

    assert got == Reply(200, reply, "application/vnd.docker.plugins.v1.2+json")


async def test_call_before_the_daemon_is_ready_waits_for_it(
    world: World, methods: dict[str, Methods], tmp_path: Path
) -> None:
    readiness = Readiness()
    server = plugin_server(lambda: methods, readiness, 20.0, FollowUps())
    async with served(server, tmp_path / "test.sock") as client:
        waiting = asyncio.ensure_future(client.call("NetworkDriver.CreateNetwork", CREATE))
        await client.call("Plugin.Activate")
        assert not waiting.done()

        readiness.open()

        assert (await waiting).status == 200
    assert NETWORK in world.state.view.networks


async def test_call_when_the_daemon_is_not_ready_in_time_was_never_begun(
    world: World, methods: dict[str, Methods], tmp_path: Path
) -> None:
    readiness = Readiness()
    server = plugin_server(lambda: methods, readiness, TINY_S, FollowUps())
    async with served(server, tmp_path / "test.sock") as client:
        reply = await client.call("NetworkDriver.CreateNetwork", CREATE)
        readiness.open()
        await client.call("Plugin.Activate")

    assert reply.status == 504
    assert "starting the daemon" in reply.body["Err"]
    assert world.state.view.networks == {}


async def test_gw_alloc_check_skips_isolated_families_and_keeps_no_state(
    plugin: Client, world: World
) -> None:
    options = {
        "com.docker.network.internal": True,
        "com.docker.network.generic": {"gateway_mode_ipv4": "isolated"},
    }

    reply = await plugin.call("NetworkDriver.GwAllocCheck", {"Options": options})

    assert reply.body == {"SkipIPv4": True, "SkipIPv6": False}
    assert world.state.view.networks == {}


@pytest.mark.parametrize("options", [None, {}, {"com.docker.network.generic": None}])
async def test_gw_alloc_check_without_options_skips_nothing(
    plugin: Client, options: object
) -> None:
    reply = await plugin.call("NetworkDriver.GwAllocCheck", {"Options": options})

    assert reply.body == {"SkipIPv4": False, "SkipIPv6": False}


async def test_gw_alloc_check_of_bad_options_is_refused(plugin: Client) -> None:
    for generic in ({"mtu": 1}, {"driver": "vxlan"}, {"mtu": "much"}):
        options = {"com.docker.network.generic": generic}

        reply = await plugin.call("NetworkDriver.GwAllocCheck", {"Options": options})

        assert reply.status == 400


async def test_calls_of_a_containers_life_answer_as_dockerd_wants(
    plugin: Client, world: World
) -> None:
    joined = await run_container(plugin)
    assert joined.body == {
        "InterfaceName": {"SrcName": "pyp77b9a2f0c1e4", "DstPrefix": "eth"},
        "Gateway": "10.44.0.1",
        "GatewayIPv6": "",
        "StaticRoutes": [],
        "DisableGatewayService": True,
    }
    for method, body, answered in (
        ("ProgramExternalConnectivity", {**IDS, "Options": {}}, {}),
        ("EndpointOperInfo", IDS, {"Value": {}}),
        ("RevokeExternalConnectivity", IDS, {}),
        ("Leave", IDS, {}),
        ("DeleteEndpoint", IDS, {}),
        ("DeleteNetwork", {"NetworkID": NETWORK}, {}),
    ):
        assert await plugin.call(f"NetworkDriver.{method}", body) == Reply(
            200, answered, "application/vnd.docker.plugins.v1.2+json"
        )

    assert world.built == frozenset()


PORTS = {"com.docker.network.portmap": [{"Proto": 6, "Port": 80, "HostPort": 8080}]}


def host_ports(world: World) -> set[str]:
    return {o.key.name for o in world.built if isinstance(o, HostPort)}


@pytest.mark.parametrize("ending", ["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"])
async def test_ports_are_published_until_the_first_call_that_ends_them(
    plugin: Client, world: World, ending: str
) -> None:
    await run_container(plugin)
    for _ in range(2):  # Engine 29 repeats it when the endpoint's role changes
        reply = await plugin.call(
            "NetworkDriver.ProgramExternalConnectivity", {**IDS, "Options": PORTS}
        )
        assert (reply.status, reply.body) == (200, {})
    assert host_ports(world) == {"0.0.0.0:8080/tcp", "[::]:8080/tcp"}

    assert (await plugin.call(f"NetworkDriver.{ending}", IDS)).status == 200

    assert host_ports(world) == set()


async def test_ports_of_an_unknown_endpoint_are_an_error_and_no_404(plugin: Client) -> None:
    await run_container(plugin)
    body = {**IDS, "EndpointID": "f" * 64, "Options": PORTS}

    reply = await plugin.call("NetworkDriver.ProgramExternalConnectivity", body)

    assert (reply.status, "no endpoint" in str(reply.body)) == (400, True)


async def test_ports_that_are_taken_fail_the_call_with_their_holder(
    plugin: Client, world: World
) -> None:
    world.kernel.port_holders[Protocol.TCP, 8080] = "nginx (pid 7)"
    await run_container(plugin)

    reply = await plugin.call(
        "NetworkDriver.ProgramExternalConnectivity", {**IDS, "Options": PORTS}
    )

    assert reply.status == 409
    assert "8080:80/tcp" in str(reply.body)
    assert "nginx (pid 7)" in str(reply.body)


async def test_create_endpoint_echoes_no_mac_that_was_asked_for(plugin: Client) -> None:
    await plugin.call("NetworkDriver.CreateNetwork", CREATE)
    asked = {"Address": "10.44.0.5/24", "MacAddress": "02:42:0a:2c:00:99"}
    free = {"Address": "10.44.0.6/24", "MacAddress": ""}

    echoed = await plugin.call("NetworkDriver.CreateEndpoint", {**IDS, "Interface": asked})
    made = await plugin.call(
        "NetworkDriver.CreateEndpoint", {**IDS, "EndpointID": "f" * 64, "Interface": free}
    )

    assert echoed.body == {}
    assert made.body == {"Interface": {"MacAddress": "02:42:0a:2c:00:06"}}


async def test_create_network_ties_the_network_to_its_pools(plugin: Client, world: World) -> None:
    wish = {"AddressSpace": "pynet-local", "Pool": "10.44.0.0/24", "V6": False}
    granted = await plugin.call("IpamDriver.RequestPool", wish)

    await plugin.call("NetworkDriver.CreateNetwork", CREATE)

    (made,) = world.state.view.networks.values()
    assert made.pool_ids == (granted.body["PoolID"],)


async def test_calls_of_the_ipam_answer_as_dockerd_wants(plugin: Client, world: World) -> None:
    pool = await plugin.call(
        "IpamDriver.RequestPool", {"AddressSpace": "", "Pool": "", "V6": False}
    )
    pool_id = pool.body["PoolID"]
    gateway = await plugin.call(
        "IpamDriver.RequestAddress",
        {"PoolID": pool_id, "Options": {"RequestAddressType": "com.docker.network.gateway"}},
    )
    address = await plugin.call("IpamDriver.RequestAddress", {"PoolID": pool_id, "Address": ""})

    assert pool.body == {"PoolID": "pynet-local/10.208.0.0/24", "Pool": "10.208.0.0/24", "Data": {}}
    assert gateway.body == {"Address": "10.208.0.1/24", "Data": {}}
    assert address.body == {"Address": "10.208.0.2/24", "Data": {}}
    for text in ("10.208.0.2", "10.208.0.1", "10.208.0.1"):
        body = {"PoolID": pool_id, "Address": text}
        assert (await plugin.call("IpamDriver.ReleaseAddress", body)).body == {}
    for _ in range(2):
        assert (await plugin.call("IpamDriver.ReleasePool", {"PoolID": pool_id})).body == {}
    assert world.state.view.pools == {}


@pytest.mark.parametrize(
    ("wish", "status", "problem"),
    [
        (
            {"Pool": "10.9.0.5/24"},
            400,
            "pool 10.9.0.5/24 has host bits set; did you mean 10.9.0.0/24?",
        ),
        (
            {"Pool": "10.9.0.0/24", "SubPool": "10.9.0.5/25"},
            400,
            "range 10.9.0.5/25 has host bits set; did you mean 10.9.0.0/25?",
        ),
        ({"Pool": "ten"}, 400, "pool 'ten' is not a network such as 10.9.0.0/24 or fd00::/64"),
        (
            {"Pool": "fd00::%eth0/64", "V6": True},
            400,
            "pool 'fd00::%eth0/64' is not a network such as 10.9.0.0/24 or fd00::/64",
        ),
        (
            {"Pool": "10.9.0.0/24", "SubPool": "10.8.0.0/25"},
            400,
            "range 10.8.0.0/25 lies outside pool 10.9.0.0/24",
        ),
        (
            {"Pool": "", "SubPool": "10.8.0.0/25"},
            400,
            "range 10.8.0.0/25 needs a pool that it lies in",
        ),
        (
            {"Pool": "10.9.0.0/24", "V6": True},
            400,
            "pool 10.9.0.0/24 is IPv4, but IPv6 was asked for",
        ),
        ({"Pool": "0.0.0.0/0"}, 400, "pool 0.0.0.0/0 is every address there is"),
        (
            {"Pool": "0.0.0.0/8"},
            400,
            "no automatic pool can be as large as /8: 10.208.0.0/12",
        ),
        ({"Options": {"overlp": "allow"}}, 400, "unknown IPAM option 'overlp', did you mean"),
        ({"Options": {"overlap": "yes"}}, 400, "IPAM option overlap='yes': allow or refuse is"),
        (
            {"Pool": "10.44.0.0/16"},
            409,
            "pool 10.44.0.0/16 overlaps 10.44.0.0/24, used by no network yet; choose another",
        ),
    ],
)
async def test_pool_that_cannot_be_is_refused_in_a_sentence_that_dockerd_shows(
    plugin: Client, world: World, wish: dict[str, object], status: int, problem: str
) -> None:
    await plugin.call("IpamDriver.RequestPool", {"Pool": "10.44.0.0/24"})
    kept = world.kept

    reply = await plugin.call("IpamDriver.RequestPool", {"V6": False, **wish})

    assert reply.status == status
    assert problem in reply.body["Err"]
    assert reply.body["Error"] == reply.body["Err"]
    assert world.kept == kept


async def test_swarm_calls_are_answered(plugin: Client) -> None:
    allocated = await plugin.call("NetworkDriver.AllocateNetwork", {"NetworkID": NETWORK})

    assert allocated.body == {"Options": {}}
    for method in ("FreeNetwork", "DiscoverNew", "DiscoverDelete"):
        assert (await plugin.call(f"NetworkDriver.{method}", {})).body == {}


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("DeleteNetwork", {"NetworkID": NETWORK}),
        ("DeleteEndpoint", IDS),
        ("Leave", IDS),
        ("EndpointOperInfo", IDS),
        ("RevokeExternalConnectivity", IDS),
    ],
)
async def test_call_that_ends_something_unknown_succeeds(
    plugin: Client, method: str, body: object
) -> None:
    assert (await plugin.call(f"NetworkDriver.{method}", body)).status == 200


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("NetworkDriver.CreateEndpoint", IDS),
        ("NetworkDriver.Join", {**IDS, "SandboxKey": SANDBOX}),
        ("IpamDriver.RequestAddress", {"PoolID": "none", "Address": ""}),
    ],
)
async def test_call_on_something_unknown_is_400_and_not_404(
    plugin: Client, method: str, body: object
) -> None:
    reply = await plugin.call(method, body)

    assert reply.status == 400
    assert reply.body["Err"].startswith("no ")


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/NetworkDriver.Unheard"),
        ("POST", "/VolumeDriver.Create"),
        ("POST", "/"),
        ("POST", "/NetworkDriver"),
        ("GET", "/NetworkDriver.Join"),
        ("GET", "/metrics"),
    ],
)
async def test_call_of_an_unknown_method_is_404(plugin: Client, verb: str, path: str) -> None:
    reply = await plugin.send(verb, path)

    assert reply.status == 404
    assert reply.body["Err"].startswith("no method")


@pytest.mark.parametrize(
    "method",
    [
        *("NetworkDriver." + m for m in ("CreateNetwork", "DeleteNetwork", "CreateEndpoint")),
        *("NetworkDriver." + m for m in ("Join", "Leave", "DeleteEndpoint")),
        *("IpamDriver." + m for m in ("RequestPool", "ReleasePool")),
        *("IpamDriver." + m for m in ("RequestAddress", "ReleaseAddress")),
    ],
)
@pytest.mark.parametrize("raw", [b"", b"{", b"[1]"])
async def test_call_with_an_empty_or_broken_body_is_400(
    plugin: Client, method: str, raw: bytes
) -> None:
    reply = await plugin.call(method, raw)

    assert reply.status == 400
    assert reply.body["Err"].startswith("invalid request: ")


async def test_call_without_a_content_type_or_with_another_is_taken(plugin: Client) -> None:
    async with plugin.session.post(
        "http://x/NetworkDriver.CreateNetwork",
        data=json.dumps(CREATE),
        headers={"Content-Type": "text/plain"},
    ) as response:
        assert response.status == 200


async def test_call_with_a_body_beyond_the_limit_is_400(plugin: Client) -> None:
    reply = await plugin.call("NetworkDriver.CreateNetwork", b" " * (BODY_LIMIT_BYTES + 1))

    assert reply.status == 400
    assert reply.body["Err"] == "invalid request: the body is larger than 16777216 bytes"


async def test_call_with_a_body_at_the_limit_is_read(plugin: Client) -> None:
    padded = json.dumps(CREATE).encode().ljust(BODY_LIMIT_BYTES)

    assert (await plugin.call("NetworkDriver.CreateNetwork", padded)).status == 200


async def test_create_network_refused_by_the_kernel_says_so_and_leaves_nothing(
    plugin: Client, world: World
) -> None:
    world.kernel.before_step = fail_at(1)

    reply = await plugin.call("NetworkDriver.CreateNetwork", CREATE)

    assert reply.status == 500
    assert reply.body["Err"].startswith("the kernel refused to ")
    assert (world.state.view.networks, world.built) == ({}, frozenset())


async def test_calls_repeated_change_nothing(plugin: Client, world: World) -> None:
    first = await run_container(plugin)
    kept, built = world.kept, world.built

    again = await run_container(plugin)

    assert again == first
    assert (world.kept, world.built) == (kept, built)


async def test_calls_of_many_containers_at_once_are_all_answered(
    plugin: Client, world: World
) -> None:
    await plugin.call("NetworkDriver.CreateNetwork", CREATE)

    async def run(number: int) -> int:
        ids = {**IDS, "EndpointID": f"{number:03d}" + "0" * 61}
        interface = {"Address": f"10.44.0.{number}/24"}
        await plugin.call("NetworkDriver.CreateEndpoint", {**ids, "Interface": interface})
        reply = await plugin.call("NetworkDriver.Join", {**ids, "SandboxKey": SANDBOX})
        return reply.status

    statuses = await asyncio.gather(*(run(number) for number in range(2, 34)))

    assert set(statuses) == {200}
    assert not (await world.reconciler.verify()).differences
