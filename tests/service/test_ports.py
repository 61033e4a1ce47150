"""Published ports: what is chosen, what is refused, and what is left when something fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netplug.errors import NotFound, PortRefused, PynetError, StoreUnavailable
from netplug.kernel.memory import MemoryKernel, fail_at
from netplug.model import Endpoint, HostFacts, HostPorts, IPAddress, Origin, PortRequest, Protocol
from netplug.plan.diff import Delete
from netplug.plan.objects import HostPort, OpenPort, PortForward, Veth
from netplug.service.port_mappings import mapping_text
from netplug.service.ports import Ports
from tests.service.world import (
    DOCKERS_SANDBOX,
    World,
    endpoint,
    joined,
    messages,
    network,
    nothing_happens,
    refuse_commits,
    start,
)

V4, V6 = ip_address("0.0.0.0"), ip_address("::")
LOOPBACK = ip_address("127.0.0.1")
WEB = network(1, "10.9.0.1/24", "fd09::1/64")
OTHER = network(2, "10.8.0.1/24")


def tcp(
    port: int,
    host_port: int = 0,
    end: int = 0,
    *,
    host_ip: IPAddress | None = None,
    count: int = 1,
) -> PortRequest:
    return PortRequest(
        protocol=Protocol.TCP,
        container_port=port,
        host_ip=host_ip,
        host_port=host_port,
        host_port_end=end or host_port,
        count=count,
    )


def host_tcp(first: int, last: int = 0, *, host_ip: IPAddress | None = None) -> HostPorts:
    return HostPorts(protocol=Protocol.TCP, first=first, last=last or first, host_ip=host_ip)


async def web(world: World) -> Endpoint:
    """A joined endpoint of two families."""
    await world.networks.create(WEB)
    both = (*endpoint(WEB).addresses, ip_interface("fd09::2/64"))
    made = await world.endpoints.create(replace(endpoint(WEB), addresses=both))
    await world.endpoints.join(WEB.id, made.id, DOCKERS_SANDBOX, is_lent=True)
    return current(world, made)


async def other(world: World, number: int = 3, *, sandbox: str = "") -> Endpoint:
    """A joined endpoint with IPv4 only, on another network, in a sandbox of its own."""
    if OTHER.id not in world.state.view.networks:
        await world.networks.create(OTHER)
    made = await world.endpoints.create(endpoint(OTHER, number))
    sandbox = sandbox or f"{DOCKERS_SANDBOX}{number}"
    await world.endpoints.join(OTHER.id, made.id, sandbox, is_lent=True)
    return current(world, made)


async def publish(world: World, on: Endpoint, *requests: PortRequest) -> list[str]:
    await world.ports.publish(on.network_id, on.id, requests)
    return texts(world, on)


def current(world: World, made: Endpoint) -> Endpoint:
    return world.state.view.endpoints[made.id]


def texts(world: World, made: Endpoint) -> list[str]:
    return [mapping_text(m) for m in current(world, made).ports]


def forwards(world: World) -> set[str]:
    return {
        f"{o.key.name} {o.to_address} {o.to_port}"
        for o in world.built
        if isinstance(o, PortForward)
    }


def host_ports(world: World) -> dict[str, str]:
    """Host ports, and where what reaches them is relayed to."""
    return {
        o.key.name: f"{o.relay_to} {o.relay_port}" if o.relay_to else ""
        for o in world.built
        if isinstance(o, HostPort)
    }


async def test_publish_serves_both_families_on_every_address(world: World) -> None:
    one = await web(world)

    assert await publish(world, one, tcp(80, 8080)) == ["0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"]

    assert forwards(world) == {"0.0.0.0:8080/tcp 10.9.0.2 80", "[::]:8080/tcp fd09::2 80"}
    assert host_ports(world) == {"0.0.0.0:8080/tcp": "", "[::]:8080/tcp": "fd09::2 80"}
    assert "no longer" not in messages(world)[-1]
    assert "published: 0.0.0.0:8080->80/tcp" in messages(world)[-1]


async def test_publish_on_ipv6_of_an_endpoint_with_ipv4_only_is_relayed(world: World) -> None:
    one = await other(world)

    await publish(world, one, tcp(80, 8080))

    assert forwards(world) == {"0.0.0.0:8080/tcp 10.8.0.3 80"}
    assert host_ports(world) == {"0.0.0.0:8080/tcp": "", "[::]:8080/tcp": "10.8.0.3 80"}


async def test_publish_that_must_not_cross_families_stays_in_its_own(world: World) -> None:
    one = await other(world)

    await world.ports.publish(one.network_id, one.id, [tcp(80, 80)], crosses_families=False)

    assert set(host_ports(world)) == {"0.0.0.0:80/tcp"}


async def test_publish_that_must_not_cross_families_passes_the_other_over(world: World) -> None:
    one = await other(world)

    await world.ports.publish(
        one.network_id, one.id, [tcp(80, 80, host_ip=V6)], crosses_families=False
    )

    assert (host_ports(world), current(world, one).ports) == ({}, ())


async def test_publish_on_both_ways_out_of_a_sandbox_is_served_once(world: World) -> None:
    four, both = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)

    await world.ports.publish(four.network_id, four.id, [tcp(80, 8080)], crosses_families=False)
    await world.ports.publish(both.network_id, both.id, [tcp(80, 8080)])

    assert texts(world, four) == ["0.0.0.0:8080->80/tcp"]
    assert texts(world, both) == ["[::]:8080->80/tcp"]


async def test_publish_on_the_way_out_of_ipv4_takes_it_over(world: World) -> None:
    four, both = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, both, tcp(80))
    ((port,),) = [[m.host_port for m in current(world, both).ports]]

    await world.ports.publish(four.network_id, four.id, [tcp(80)], crosses_families=False)
    await publish(world, both, tcp(80))
    assert texts(world, both) == [f"[::]:{port}->80/tcp"]
    assert [text.split(":")[0] for text in texts(world, four)] == ["0.0.0.0"]

    await world.ports.withdraw(both.id)
    await world.endpoints.delete(both.id)

    assert [text.split(" ")[1] for text in forwards(world)] == ["10.8.0.3"]


@pytest.mark.parametrize("end", ["revoke", "leave", "delete"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["", "restarted"])
async def test_publish_before_the_other_way_out_ends_gets_its_ports_then(
    world: World, end: str, is_restarted: bool
) -> None:
    old, new = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, old, tcp(80, 8080), tcp(81, 8081))
    await publish(world, new, tcp(80, 8080), tcp(82, 8082))
    assert texts(world, new) == ["0.0.0.0:8082->82/tcp, [::]:8082->82/tcp"]
    if is_restarted:
        world = await world.restarted()
    ends = {
        "revoke": lambda: world.ports.withdraw(old.id, only_docker=True),
        "leave": lambda: world.ports.withdraw(old.id),
        "delete": lambda: world.ports.delete(old.id),
    }

    await ends[end]()

    assert set(texts(world, new)) == {
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        "0.0.0.0:8082->82/tcp, [::]:8082->82/tcp",
    }
    assert "0.0.0.0:8080/tcp 10.9.0.2 80" in forwards(world)
    assert current(world, new).awaited == ()


async def test_publish_before_the_other_way_out_gives_ipv6_up_gets_that_then(world: World) -> None:
    old, new = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, old, tcp(80, 8080))
    assert await publish(world, new, tcp(80, 8080)) == []

    await world.ports.publish(old.network_id, old.id, [tcp(80, 8080)], crosses_families=False)

    assert texts(world, old) == ["0.0.0.0:8080->80/tcp"]
    assert texts(world, new) == ["[::]:8080->80/tcp"]


async def test_publish_that_was_revoked_gets_nothing_of_the_other_way_out(world: World) -> None:
    one, two = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, one, tcp(80, 8080))
    await publish(world, two, tcp(80, 8080))

    await world.ports.withdraw(two.id, only_docker=True)
    await world.ports.withdraw(one.id, only_docker=True)

    assert (texts(world, one), texts(world, two), host_ports(world)) == ([], [], {})


async def test_publish_of_less_gets_no_more_of_the_other_way_out(world: World) -> None:
    one, two = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, one, tcp(80, 8080))
    await publish(world, two, tcp(80, 8080))

    await publish(world, two)
    await world.ports.withdraw(one.id)

    assert (texts(world, two), host_ports(world)) == ([], {})


async def test_withdraw_succeeds_where_the_other_way_out_cannot_have_the_ports(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, old, tcp(80, 8080))
    await publish(world, new, tcp(80, 8080))
    world.kernel.port_holders[Protocol.TCP, 8080] = "nginx (pid 9)"

    await world.ports.withdraw(old.id, only_docker=True)

    assert (texts(world, old), texts(world, new), forwards(world)) == ([], [], set())
    assert "ports were not handed on" in caplog.text


async def test_publish_repeated_in_another_role_serves_what_the_role_does(world: World) -> None:
    one = await other(world)
    await world.ports.publish(one.network_id, one.id, [tcp(80)], crosses_families=False)
    ((port,),) = [[m.host_port for m in current(world, one).ports]]

    await publish(world, one, tcp(80))
    assert texts(world, one) == [f"0.0.0.0:{port}->80/tcp, [::]:{port}->80/tcp"]

    await world.ports.publish(one.network_id, one.id, [tcp(80)], crosses_families=False)
    assert texts(world, one) == [f"0.0.0.0:{port}->80/tcp"]


async def test_withdraw_waits_for_a_publish_that_is_under_way(world: World) -> None:
    one = await other(world)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish(world, one, tcp(80, 8080), tcp(81, 8081)))
        await asyncio.sleep(0)
        tasks.create_task(world.ports.withdraw(one.id))

    assert (current(world, one).ports, host_ports(world)) == ((), {})


async def test_restart_sends_nothing_on_from_a_port_that_somebody_took(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080), tcp(81, 8081))
    await world.store.close()
    rebooted = MemoryKernel(port_holders={(Protocol.TCP, 8080): "nginx (pid 9)"})
    again = await start(kernel=rebooted, disk=world.disk, clock=world.clock)

    report = await again.reconciler.recover()

    assert set(host_ports(again)) == {"0.0.0.0:8081/tcp", "[::]:8081/tcp"}
    assert forwards(again) == {"0.0.0.0:8081/tcp 10.8.0.3 81"}
    assert any("nginx" in problem for problem in report.problems)
    assert not (await again.reconciler.run()).steps
    rebooted.port_holders.clear()
    await again.reconciler.run()
    assert forwards(again) == {"0.0.0.0:8080/tcp 10.8.0.3 80", "0.0.0.0:8081/tcp 10.8.0.3 81"}


async def test_publish_of_sctp_is_translated_and_never_relayed(world: World) -> None:
    one = await web(world)

    await publish(world, one, replace(tcp(80, 80), protocol=Protocol.SCTP))

    assert host_ports(world) == {"0.0.0.0:80/sctp": "", "[::]:80/sctp": ""}


@pytest.mark.parametrize(
    ("host_ip", "ports", "forwarded"),
    [
        ("127.0.0.1", {"127.0.0.1:80/tcp": ""}, {"127.0.0.1:80/tcp 10.9.0.2 80"}),
        ("::1", {"[::1]:80/tcp": "fd09::2 80"}, set()),
        ("0.0.0.0", {"0.0.0.0:80/tcp": ""}, {"0.0.0.0:80/tcp 10.9.0.2 80"}),
        ("fd00::7", {"[fd00::7]:80/tcp": ""}, {"[fd00::7]:80/tcp fd09::2 80"}),
    ],
)
async def test_publish_on_one_address_serves_no_other(
    world: World, host_ip: str, ports: dict[str, str], forwarded: set[str]
) -> None:
    one = await web(world)

    await publish(world, one, tcp(80, 80, host_ip=ip_address(host_ip)))

    assert (host_ports(world), forwards(world)) == (ports, forwarded)


async def test_publish_without_ipv6_on_the_host_is_ipv4_alone() -> None:
    world = await start(kernel=MemoryKernel(facts=HostFacts(has_ipv6=False)))
    one = await other(world)

    assert await publish(world, one, tcp(80, 80)) == ["0.0.0.0:80->80/tcp"]


async def test_publish_takes_the_addresses_of_the_network_before_those_of_pynet(
    world: World,
) -> None:
    options = [("com.docker.network.bridge.host_binding_ipv4", "192.0.2.7")]
    bound = await world.networks.create(network(4, options=options))
    free = await other(world)
    one = await joined(world, bound)
    ports = Ports(endpoints=world.endpoints, default_addresses=(LOOPBACK,))

    for made in (one, free):
        await ports.publish(made.network_id, made.id, [tcp(80, 80)])

    assert texts(world, one) == ["192.0.2.7:80->80/tcp"]
    assert texts(world, free) == ["127.0.0.1:80->80/tcp"]


@pytest.mark.parametrize(
    ("binding", "published"),
    [("0.0.0.0", "0.0.0.0:80->80/tcp, [::]:80->80/tcp"), ("::", "[::]:80->80/tcp")],
)
async def test_publish_on_every_address_of_a_network_overrides_those_of_pynet(
    world: World, binding: str, published: str
) -> None:
    bound = await world.networks.create(network(4, options=[("host_binding_ipv4", binding)]))
    one = await joined(world, bound)
    ports = Ports(endpoints=world.endpoints, default_addresses=(LOOPBACK,))

    await ports.publish(one.network_id, one.id, [tcp(80, 80)])

    assert texts(world, one) == [published]


async def test_publish_of_a_run_is_one_of_each(world: World) -> None:
    one = await other(world)

    assert await publish(world, one, tcp(9000, 8000, count=10)) == [
        "0.0.0.0:8000-8009->9000-9009/tcp, [::]:8000-8009->9000-9009/tcp"
    ]
    assert forwards(world) == {"0.0.0.0:8000-8009/tcp 10.8.0.3 9000"}


async def test_publish_from_a_range_takes_the_first_free_port() -> None:
    taken = {(Protocol.TCP, 8001): "nginx (pid 7)"}
    world = await start(kernel=MemoryKernel(port_holders=taken))
    one, two = await other(world), await other(world, 4)

    await publish(world, one, tcp(80, 8000, 8003))
    await publish(world, two, tcp(80, 8000, 8003), tcp(81, 8000, 8003))

    assert [m.host_port for m in current(world, one).ports] == [8000]
    assert [m.host_port for m in current(world, two).ports] == [8002, 8003]
    with pytest.raises(PortRefused, match=r"8000-8003:82/tcp .* no host port .* range is free"):
        await world.ports.add(one, [tcp(82, 8000, 8003)])


async def test_publish_of_an_ephemeral_port_goes_on_behind_the_last_and_around() -> None:
    facts = HostFacts(ephemeral_ports=(40_000, 40_002))
    taken = {(Protocol.TCP, 40_000): "sshd"}
    world = await start(kernel=MemoryKernel(facts=facts, port_holders=taken))
    one = await other(world)

    await publish(world, one, tcp(80))
    await publish(world, one)
    await publish(world, one, tcp(80), tcp(81))

    assert [m.host_port for m in current(world, one).ports] == [40_002, 40_001]


async def test_publish_repeated_changes_nothing_and_keeps_the_ephemeral_port(world: World) -> None:
    one = await web(world)
    await publish(world, one, tcp(80), tcp(81, 8081))
    before = (current(world, one), world.built, messages(world))

    await publish(world, one, tcp(80), tcp(81, 8081))

    assert (current(world, one), world.built, messages(world)) == before


async def test_publish_of_another_set_withdraws_what_is_not_in_it(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080), tcp(81, 8081))

    await publish(world, one, tcp(81, 8081), tcp(82, 8082))

    assert {m.host_port for m in current(world, one).ports} == {8081, 8082}
    assert {text.split("/")[0] for text in forwards(world)} == {"0.0.0.0:8081", "0.0.0.0:8082"}


async def test_publish_of_a_port_that_another_endpoint_has_names_it(world: World) -> None:
    one, two = await web(world), await other(world)
    await publish(world, one, tcp(80, 8080))

    with pytest.raises(
        PortRefused,
        match=r"mapping 127.0.0.1:8080:81/tcp .* port 8080/tcp is in use by endpoint 2000",
    ):
        await publish(world, two, tcp(81, 8080, host_ip=LOOPBACK))


async def test_publish_of_a_port_inside_anothers_run_is_refused(world: World) -> None:
    one, two = await web(world), await other(world)
    await publish(world, one, tcp(80, 8080, count=10))

    with pytest.raises(PortRefused, match="in use by endpoint"):
        await publish(world, two, tcp(81, 8085))
    with pytest.raises(PortRefused, match="in use by endpoint"):
        await publish(world, two, tcp(81, 8071, count=10))


async def test_publish_of_one_port_on_two_addresses_is_for_two_endpoints(world: World) -> None:
    one, two = await web(world), await other(world)

    await publish(world, one, tcp(80, 80, host_ip=ip_address("192.0.2.1")))
    await publish(world, two, tcp(80, 80, host_ip=ip_address("192.0.2.2")))

    assert len(forwards(world)) == 2


async def test_publish_where_the_second_mapping_fails_leaves_nothing_of_the_first() -> None:
    world = await start(kernel=MemoryKernel(port_holders={(Protocol.TCP, 81): "nginx (pid 7)"}))
    one = await other(world)
    before = (world.built, world.kept)

    with pytest.raises(PortRefused, match=r"81:81/tcp .* port 81/tcp is in use by nginx \(pid 7\)"):
        await publish(world, one, tcp(80, 80), tcp(81, 81))

    assert (world.built, world.kept) == before


async def test_publish_of_mappings_that_overlap_each_other_is_refused(world: World) -> None:
    one = await other(world)
    before = world.built

    with pytest.raises(PortRefused, match="80:81/tcp"):
        await publish(world, one, tcp(80, 80), tcp(81, 80))

    assert world.built == before


@pytest.mark.parametrize("step", range(4))
async def test_publish_refused_by_the_kernel_leaves_nothing(world: World, step: int) -> None:
    one = await other(world)
    before = (world.built, world.kept)
    world.let(fail_at(step))

    with pytest.raises(PynetError):
        await publish(world, one, tcp(80, 80))

    world.let(nothing_happens)
    assert (world.built, world.kept) == before


async def test_publish_that_is_not_recorded_leaves_nothing(world: World) -> None:
    one = await other(world)
    before = (world.built, world.kept)
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await publish(world, one, tcp(80, 80))

    world.let(nothing_happens)
    assert {o for o in world.built if not isinstance(o, Veth)} == {
        o for o in before[0] if not isinstance(o, Veth)
    }
    assert world.kept == before[1]


async def test_publish_lets_the_endpoint_reach_its_own_port(world: World) -> None:
    world.kernel.host = replace(world.kernel.host, filters_bridged=True)
    world.state.learn(world.kernel.host)
    one = await other(world)

    def hairpins() -> list[bool | None]:
        return [o.is_hairpin for o in world.built if isinstance(o, Veth)]

    assert hairpins() == [False]
    await publish(world, one, tcp(80, 80))
    assert hairpins() == [True]
    await publish(world, one)
    assert hairpins() == [False]


async def test_publish_in_routed_mode_opens_the_port_itself(world: World) -> None:
    options = [("gateway_mode_ipv4", "routed")]
    routed = await world.networks.create(network(4, options=options))
    one = await joined(world, routed)

    await publish(world, one, tcp(80, 8080, count=2))

    opened = {o.key.name for o in world.built if isinstance(o, OpenPort)}
    assert opened == {"10.4.0.2:80/tcp", "10.4.0.2:81/tcp"}
    assert not forwards(world)


async def routed(world: World, number: int = 2) -> Endpoint:
    """A joined endpoint on a network that is routed to, in a sandbox of its own."""
    on = await world.networks.create(network(4, options=[("gateway_mode_ipv4", "routed")]))
    made = await world.endpoints.create(endpoint(on, number))
    await world.endpoints.join(on.id, made.id, f"{DOCKERS_SANDBOX}{number}", is_lent=True)
    return current(world, made)


async def test_publish_in_routed_mode_takes_no_host_port_and_minds_nobody_elses() -> None:
    world = await start(kernel=MemoryKernel(port_holders={(Protocol.TCP, 8081): "nginx (pid 9)"}))
    one, two, three = await routed(world), await routed(world, 3), await other(world, 4)

    for made in (one, two, three):
        await publish(world, made, tcp(80, 8080))
    await world.ports.add(one, [tcp(81, 8081), tcp(82)])

    assert {o.key.name for o in world.built if isinstance(o, OpenPort)} == {
        *("10.4.0.2:80/tcp", "10.4.0.2:81/tcp", "10.4.0.2:82/tcp", "10.4.0.3:80/tcp")
    }
    assert set(host_ports(world)) == {"0.0.0.0:8080/tcp", "[::]:8080/tcp"}
    assert "published: 81/tcp, 82/tcp" in messages(world)[-1]
    await world.ports.remove(one, host_tcp(82))


async def test_listing_in_routed_mode_claims_no_host_port(world: World) -> None:
    one = await routed(world)
    await publish(world, one, tcp(80, 8080))

    (row,) = await world.ports.listing()

    assert (row.host_ips, row.open_at) == ((), (ip_address("10.4.0.2"),))


async def test_add_that_fails_leaves_open_what_another_mapping_opened(world: World) -> None:
    one = await routed(world)
    await publish(world, one, tcp(80, 8080))
    before = world.built
    world.let(fail_at(0))

    with pytest.raises(PortRefused, match="8082:81/tcp"):
        await world.ports.add(one, [tcp(80, 8081), tcp(81, 8082)])

    assert world.built == before


async def test_publish_on_an_internal_network_publishes_nothing(world: World) -> None:
    inside = await world.networks.create(replace(network(4), is_internal=True))
    one = await joined(world, inside)

    assert await publish(world, one, tcp(80, 80)) == []
    with pytest.raises(PortRefused, match="is internal"):
        await world.ports.add(one, [tcp(80, 80)])


async def test_publish_on_an_unknown_endpoint_is_not_found(world: World) -> None:
    await world.networks.create(WEB)

    with pytest.raises(NotFound):
        await publish(world, endpoint(WEB), tcp(80, 80))


async def test_add_lasts_over_what_docker_programs_and_revokes(world: World) -> None:
    one = await other(world)
    await world.ports.add(one, [tcp(90, 9090)])

    await publish(world, one, tcp(80, 8080))
    await world.ports.withdraw(one.id, only_docker=True)

    (mapping,) = current(world, one).ports
    assert (mapping.host_port, mapping.asked.origin) == (9090, Origin.PYNET)
    await world.ports.withdraw(one.id)
    assert (current(world, one).ports, forwards(world), host_ports(world)) == ((), set(), {})


async def test_remove_takes_one_port_back_and_says_which(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080), tcp(81, 8081))

    (gone,) = await world.ports.remove(one, host_tcp(8080))

    assert gone.asked.container_port == 80
    assert [m.host_port for m in current(world, one).ports] == [8081]
    with pytest.raises(NotFound, match="8080/tcp"):
        await world.ports.remove(one, host_tcp(8080))
    with pytest.raises(NotFound):
        await world.ports.remove(one, host_tcp(8081, host_ip=LOOPBACK))


async def test_remove_on_one_address_leaves_the_others(world: World) -> None:
    one = await web(world)
    await publish(world, one, tcp(80, 8080))

    await world.ports.remove(one, host_tcp(8080, host_ip=V6))

    assert texts(world, one) == ["0.0.0.0:8080->80/tcp"]
    assert (set(host_ports(world)), forwards(world)) == (
        {"0.0.0.0:8080/tcp"},
        {"0.0.0.0:8080/tcp 10.9.0.2 80"},
    )
    assert messages(world)[-1].endswith("no longer published: [::]:8080->80/tcp")


async def test_remove_of_ports_of_a_run_leaves_the_rest(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(9000, 8000, count=10))

    await world.ports.remove(one, host_tcp(8001))
    await world.ports.remove(one, host_tcp(8005, 8020))

    assert texts(world, one) == [
        "0.0.0.0:8000->9000/tcp, [::]:8000->9000/tcp",
        "0.0.0.0:8002-8004->9002-9004/tcp, [::]:8002-8004->9002-9004/tcp",
    ]
    assert forwards(world) == {
        "0.0.0.0:8000/tcp 10.8.0.3 9000",
        "0.0.0.0:8002-8004/tcp 10.8.0.3 9002",
    }
    assert not (await world.reconciler.verify()).differences


async def test_remove_of_a_port_of_a_run_on_one_address_leaves_it_on_the_others(
    world: World,
) -> None:
    one = await web(world)
    await publish(world, one, tcp(9000, 8000, count=2))

    (gone,) = await world.ports.remove(one, host_tcp(8001, host_ip=V4))

    assert mapping_text(gone) == "0.0.0.0:8001->9001/tcp"
    assert texts(world, one) == ["[::]:8000-8001->9000-9001/tcp", "0.0.0.0:8000->9000/tcp"]
    assert forwards(world) == {"[::]:8000-8001/tcp fd09::2 9000", "0.0.0.0:8000/tcp 10.9.0.2 9000"}


async def test_remove_of_a_port_of_a_run_lasts_until_docker_asks_again(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(9000, 8000, count=3))
    built = world.built
    await world.ports.remove(one, host_tcp(8001))

    await publish(world, one, tcp(9000, 8000, count=3))

    assert world.built == built


async def test_remove_that_cannot_make_the_rest_of_a_run_is_mended_later(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(9000, 8000, count=3))
    world.kernel.port_holders[Protocol.TCP, 8002] = "nginx (pid 9)"

    await world.ports.remove(one, host_tcp(8001))
    world.kernel.port_holders.clear()
    await world.reconciler.run()

    assert {text.split("/")[0] for text in forwards(world)} == {"0.0.0.0:8000", "0.0.0.0:8002"}


async def test_withdraw_of_what_is_not_there_succeeds(world: World) -> None:
    one = await other(world)

    await world.ports.withdraw(one.id)
    await world.ports.withdraw(endpoint(WEB).id)


async def test_delete_of_an_endpoint_frees_its_ports(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80, 8080))

    await world.endpoints.delete(one.id)

    assert (forwards(world), host_ports(world)) == (set(), {})


async def test_restart_publishes_again(world: World) -> None:
    one = await other(world)
    await publish(world, one, tcp(80))
    built = world.built

    again = await world.restarted()

    assert again.built == built
    assert texts(again, one) == texts(world, one)


async def test_listing_is_by_network_endpoint_and_port(world: World) -> None:
    one, two = await web(world), await other(world)
    await publish(world, two, tcp(80, 8080))
    await publish(world, one, tcp(81, 8082), tcp(80, 8081))

    rows = await world.ports.listing()

    assert [(r.network.label, r.mapping.host_port) for r in rows] == [
        (WEB.label, 8081),
        (WEB.label, 8082),
        (OTHER.label, 8080),
    ]


@pytest.mark.parametrize("end", ["withdraw", "delete", "delete-network"])
async def test_port_that_is_given_back_is_another_endpoints_once_it_is_free(
    world: World, end: str
) -> None:
    one, two = await web(world), await other(world)
    await publish(world, one, tcp(80, 8000, 8010))
    ends = {
        "withdraw": lambda: world.ports.withdraw(one.id),
        "delete": lambda: world.endpoints.delete(one.id),
        "delete-network": lambda: world.networks.delete(WEB.id),
    }
    begun: list[asyncio.Task[list[str]]] = []

    def begin(step: object) -> None:
        """Have the other endpoint ask for a port once the records no longer have it."""
        if isinstance(step, Delete) and not begun:
            begun.append(asyncio.create_task(publish(world, two, tcp(80, 8000, 8010))))

    world.kernel.before_step = begin
    await ends[end]()

    assert await begun[0] == ["0.0.0.0:8000->80/tcp, [::]:8000->80/tcp"]
    assert forwards(world) == {"0.0.0.0:8000/tcp 10.8.0.3 80"}
    assert set(host_ports(world)) == {"0.0.0.0:8000/tcp", "[::]:8000/tcp"}


@pytest.mark.parametrize("is_ours", [False, True], ids=["docker", "pynet"])
async def test_publish_gives_exact_ports_away_before_those_of_a_choice(is_ours: bool) -> None:
    world = await start(kernel=MemoryKernel(facts=HostFacts(ephemeral_ports=(8000, 8010))))
    one = await other(world)
    requests = [tcp(82), tcp(80, 8001, 8003), tcp(81, 8001), tcp(83, 8000)]

    if is_ours:
        await world.ports.add(one, requests)
    else:
        await publish(world, one, *requests)

    inside = {m.asked.container_port: m.host_port for m in current(world, one).ports}
    assert inside == {83: 8000, 81: 8001, 80: 8002, 82: 8003}


@pytest.mark.parametrize("end", [0, 8010], ids=["ephemeral", "range"])
async def test_publish_on_two_addresses_takes_one_number_that_is_free_on_both(end: int) -> None:
    world = await start(kernel=MemoryKernel(facts=HostFacts(ephemeral_ports=(8000, 8010))))
    one, two = await web(world), await other(world)
    await publish(world, two, tcp(80, 8000, host_ip=LOOPBACK), tcp(81, 8001, host_ip=V6))
    first = 8000 if end else 0
    loopbacks = [tcp(80, first, end, host_ip=ip) for ip in (LOOPBACK, ip_address("::1"))]

    assert await publish(world, one, *loopbacks) == [
        "127.0.0.1:8002->80/tcp",
        "[::1]:8002->80/tcp",
    ]
    assert await publish(world, one, loopbacks[1]) == ["[::1]:8002->80/tcp"]
    assert texts(world, one) == ["[::1]:8002->80/tcp"]
    assert await publish(world, one, *loopbacks) == [
        "[::1]:8002->80/tcp",
        "127.0.0.1:8002->80/tcp",
    ]


async def test_publish_on_addresses_that_overlap_takes_a_number_each(world: World) -> None:
    one = await web(world)

    await publish(world, one, tcp(80), tcp(80), tcp(80, host_ip=LOOPBACK))

    assert len({m.host_port for m in current(world, one).ports}) == 3


async def test_publish_on_two_addresses_of_which_one_fails_names_both() -> None:
    world = await start(kernel=MemoryKernel(port_holders={(Protocol.TCP, 8000): "nginx (pid 9)"}))
    one = await web(world)
    before = world.built
    pair = [tcp(80, 7999, 8000, host_ip=ip) for ip in (LOOPBACK, ip_address("::1"))]
    await publish(world, await other(world), tcp(80, 7999))

    with pytest.raises(PortRefused, match=r"127.0.0.1:7999-8000:80/tcp, \[::1\]:7999-8000:80/tcp"):
        await publish(world, one, *pair)

    assert before <= world.built
    assert current(world, one).ports == ()


async def test_add_of_what_another_endpoint_of_the_sandbox_has_is_refused(world: World) -> None:
    one, two = await web(world), await other(world, sandbox=DOCKERS_SANDBOX)
    await world.ports.add(one, [tcp(80, 8080)])

    with pytest.raises(PortRefused, match="8080/tcp is in use by endpoint 2000"):
        await world.ports.add(two, [tcp(80, 8080)])


async def test_publish_of_another_set_that_fails_leaves_what_was_before(world: World) -> None:
    one, two = await other(world), await web(world)
    await publish(world, one, tcp(80, 8080), tcp(81))
    await publish(world, two, tcp(80, 9000))
    before = (current(world, one), world.built)

    with pytest.raises(PortRefused):
        await publish(world, one, tcp(80, 8081), tcp(82, 9000))

    assert (current(world, one), world.built) == before
    assert messages(world)[-1].count("published again: 0.0.0.0:8080->80/tcp") == 1


async def test_publish_that_fails_gives_ipv4_back_to_the_other_way_out(world: World) -> None:
    four, both = await other(world, sandbox=DOCKERS_SANDBOX), await web(world)
    await publish(world, both, tcp(80, 8080))
    before = (current(world, both), world.built)
    world.kernel.port_holders[Protocol.TCP, 9000] = "nginx (pid 9)"
    wished = [tcp(80, 8080), tcp(81, 9000)]

    with pytest.raises(PortRefused, match="nginx"):
        await world.ports.publish(four.network_id, four.id, wished, crosses_families=False)

    assert (current(world, both), world.built) == before


async def test_publish_that_fails_loses_what_somebody_took_meanwhile(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await other(world), await web(world)
    await publish(world, one, tcp(80, 8080))
    await publish(world, two, tcp(80, 9000))
    world.kernel.port_holders[Protocol.TCP, 8080] = "nginx (pid 9)"

    with pytest.raises(PortRefused, match="9000"):
        await publish(world, one, tcp(82, 9000))

    assert current(world, one).ports == ()
    assert set(host_ports(world)) == {"0.0.0.0:9000/tcp", "[::]:9000/tcp"}
    assert "ports were not published again" in caplog.text


async def after_power_loss(world: World) -> World:
    """Start over the same disk on a host that has nothing of it any more."""
    await world.store.close()
    again = await start(kernel=MemoryKernel(), disk=world.disk, clock=world.clock)
    await again.reconciler.recover()
    return again


async def test_publish_of_what_a_dead_container_had_takes_it_from_there(world: World) -> None:
    dead, also_dead = await other(world), await other(world, 4)
    await publish(world, dead, tcp(80, 8080))
    await world.ports.add(also_dead, [tcp(81, 8081)])

    again = await after_power_loss(world)
    new = await other(again, 5)

    assert await publish(again, new, tcp(80, 8080), tcp(81, 8081)) == [
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        "0.0.0.0:8081->81/tcp, [::]:8081->81/tcp",
    ]
    assert (current(again, dead).ports, current(again, also_dead).ports) == ((), ())
    assert forwards(again) == {"0.0.0.0:8080/tcp 10.8.0.5 80", "0.0.0.0:8081/tcp 10.8.0.5 81"}


async def test_publish_of_what_a_dead_container_and_another_have_is_refused(world: World) -> None:
    dead = await other(world)
    await publish(world, dead, tcp(80, 8080))
    again = await after_power_loss(world)
    alive, new = await other(again, 4), await other(again, 5)
    await publish(again, alive, tcp(80, 9000))

    with pytest.raises(PortRefused, match="9000/tcp is in use by endpoint 4000"):
        await publish(again, new, tcp(80, 8080), tcp(81, 9000))

    assert texts(again, alive) == ["0.0.0.0:9000->80/tcp, [::]:9000->80/tcp"]


async def test_publish_that_is_refused_takes_nothing_from_one_that_joins_meanwhile(
    world: World,
) -> None:
    """Be refused all the while that another container comes, gets a port, and goes."""
    refused = await other(world)
    world.kernel.port_holders[Protocol.TCP, 9000] = "nginx (pid 9)"

    async def come_and_go() -> None:
        for number in range(4, 8):
            made = await other(world, number)
            await publish(world, made, tcp(80, 8080))
            for _ in range(20):
                await asyncio.sleep(0)
                assert current(world, made).ports
            await world.endpoints.delete(made.id)

    async with asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(come_and_go())
        while not coming.done():
            with pytest.raises(PortRefused):
                await publish(world, refused, tcp(80, 8080), tcp(81, 9000))
