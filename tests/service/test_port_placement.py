"""Which port of the host is published: what is chosen, what is refused, and what is left then."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netplug.errors import PortRefused, PynetError, StoreUnavailable
from netplug.kernel.memory import MemoryKernel, fail_at
from netplug.model import HostFacts, Protocol
from netplug.plan.objects import Veth
from tests.service.ports import (
    LOOPBACK,
    V6,
    current,
    forwards,
    other,
    publish,
    tcp,
    texts,
    web,
)
from tests.service.world import (
    DOCKERS_SANDBOX,
    World,
    messages,
    nothing_happens,
    refuse_commits,
    start,
)


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
