"""Kill the daemon between any two writes: the next start ends in the state of before or of after.

A write is a step in the kernel or a commit to the store. From the chosen one on nothing is written
any more, whatever the dying daemon still tries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from netplug.kernel.memory import Stopped, stop_at
from netplug.model import Endpoint
from netplug.plan.objects import HostPort
from netplug.service.port_mappings import mapping_text
from netplug.service.standalone import AttachWish, NetworkWish, SubnetWish
from netplug.view import View
from tests.service.ports import host_tcp, tcp
from tests.service.world import NETNS, World, endpoint, joined, known_to_engine, network, start

WEB = network(1, "10.9.0.1/24", "fd09::1/64")
DB = network(2, "10.10.0.1/24", "fd10::1/64")
WISH = NetworkWish(name="web", subnets=(SubnetWish(pool=ip_network("10.9.0.0/24")),))
MOST_WRITES = 40

Act = Callable[[World], Awaitable[object]]


@dataclass(frozen=True)
class Case:
    """What is there before, and what the daemon does when it dies."""

    before: Act
    act: Act


async def nothing(world: World) -> None:
    pass


async def docker_network(world: World) -> None:
    await world.networks.create(WEB)


async def docker_endpoint(world: World) -> None:
    await docker_network(world)
    await world.endpoints.create(endpoint(WEB))


async def docker_container(world: World) -> None:
    await docker_network(world)
    await joined(world, WEB)


async def two_networks(world: World) -> None:
    await docker_network(world)
    await world.networks.create(DB)


async def beside_another_network(world: World) -> None:
    await docker_container(world)
    await world.networks.create(DB)


async def join_another(world: World) -> None:
    await joined(world, DB, 3)


async def container_on_two_networks(world: World) -> None:
    await beside_another_network(world)
    await join_another(world)


async def peer(world: World) -> None:
    await world.networks.peer(WEB, DB)


async def two_peers(world: World) -> None:
    await two_networks(world)
    await peer(world)


async def own_network(world: World) -> None:
    await world.standalone.create(WISH)


async def attach(world: World) -> None:
    wish = AttachWish(network="web", netns=NETNS, name="a", addresses=(ip_address("10.9.0.7"),))
    await world.standalone.attach(wish)


async def own_attachment(world: World) -> None:
    await own_network(world)
    await attach(world)


async def publish(world: World) -> None:
    wished = (tcp(80, 8080), tcp(81), tcp(90, 9000, count=3))
    await world.ports.publish(WEB.id, endpoint(WEB).id, wished)


async def docker_container_with_ports(world: World) -> None:
    await docker_container(world)
    await publish(world)


async def publish_others(world: World) -> None:
    await world.ports.publish(WEB.id, endpoint(WEB).id, (tcp(80, 8080), tcp(82, 8082)))


async def add_port(world: World) -> None:
    await world.ports.add(the_container(world), [tcp(7, 7)])


async def remove_port(world: World) -> None:
    await world.ports.remove(the_container(world), host_tcp(8080))


async def cut_run(world: World) -> None:
    await world.ports.remove(the_container(world), host_tcp(9001))


def the_container(world: World) -> Endpoint:
    return world.state.view.endpoints[endpoint(WEB).id]


CASES = {
    "create-network": Case(nothing, docker_network),
    "create-network-beside-another": Case(
        docker_container, lambda world: world.networks.create(network(2))
    ),
    "delete-network": Case(docker_network, lambda world: world.networks.delete(WEB.id)),
    "delete-network-in-use": Case(docker_container, lambda world: world.networks.delete(WEB.id)),
    "peer": Case(two_networks, peer),
    "unpeer": Case(two_peers, lambda world: world.networks.unpeer(WEB, DB)),
    "delete-network-with-a-peer": Case(two_peers, lambda world: world.networks.delete(WEB.id)),
    "join": Case(docker_endpoint, lambda world: joined(world, WEB)),
    "delete-endpoint": Case(
        docker_container, lambda world: world.endpoints.delete(endpoint(WEB).id)
    ),
    "join-another-network": Case(beside_another_network, join_another),
    "delete-one-of-two-endpoints": Case(
        container_on_two_networks, lambda world: world.endpoints.delete(endpoint(WEB).id)
    ),
    "delete-one-of-two-networks": Case(
        container_on_two_networks, lambda world: world.networks.delete(WEB.id)
    ),
    "publish": Case(docker_container, publish),
    "publish-others": Case(docker_container_with_ports, publish_others),
    "withdraw-ports": Case(
        docker_container_with_ports, lambda world: world.ports.withdraw(endpoint(WEB).id)
    ),
    "add-port": Case(docker_container_with_ports, add_port),
    "remove-port": Case(docker_container_with_ports, remove_port),
    "cut-a-run-of-ports": Case(docker_container_with_ports, cut_run),
    "delete-endpoint-with-ports": Case(
        docker_container_with_ports, lambda world: world.endpoints.delete(endpoint(WEB).id)
    ),
    "delete-network-with-ports": Case(
        docker_container_with_ports, lambda world: world.networks.delete(WEB.id)
    ),
    "create-own-network": Case(nothing, own_network),
    "delete-own-network": Case(own_network, lambda world: world.standalone.delete("web")),
    "attach": Case(own_network, attach),
    "detach": Case(own_attachment, lambda world: world.standalone.detach("a")),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_crash_before_any_write_ends_in_the_state_of_before_or_after(case: Case) -> None:
    deaths = 0
    for writes in range(MOST_WRITES):
        world = await start()
        await case.before(world)
        before = shape(world.state.view)
        world.let(stop_at(writes))
        if not await dies(case.act(world)):
            break
        deaths += 1

        after = await world.restarted()

        verdict = await after.reconciler.verify()
        assert (verdict.differences, verdict.foreign) == ((), ()), writes
        assert held(after) == published(after), writes
        assert (shape(after.state.view) == before) or deaths > 1, writes
    assert 1 < deaths < MOST_WRITES


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_crash_during_recovery_too_ends_in_a_consistent_state(case: Case) -> None:
    for writes in range(MOST_WRITES):
        world = await start()
        await case.before(world)
        world.let(stop_at(writes))
        if not await dies(case.act(world)):
            break
        for again in range(3):
            await world.store.close()
            world = await start(kernel=world.kernel, disk=world.disk, clock=world.clock)
            world.let(stop_at(again))
            with suppress(Stopped):
                await world.reconciler.recover()
        after = await world.restarted()

        verdict = await after.reconciler.verify()
        assert (verdict.differences, verdict.foreign) == ((), ())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_crash_and_the_same_request_again_ends_as_without_a_crash(case: Case) -> None:
    undisturbed = await start()
    await case.before(undisturbed)
    await case.act(undisturbed)
    wanted = shape(undisturbed.state.view)

    for writes in range(MOST_WRITES):
        world = await start()
        await case.before(world)
        world.let(stop_at(writes))
        if not await dies(case.act(world)):
            break
        after = await world.restarted()
        await sweep_twice(after)

        if shape(after.state.view) != wanted:
            await case.act(after)

        assert shape(after.state.view) == wanted, writes


async def dies(act: Awaitable[object]) -> bool:
    try:
        await act
    except Stopped:
        return True
    return False


async def sweep_twice(world: World) -> None:
    """Let time pass under an engine that knows all that is here."""
    await world.identities.learn(known_to_engine(world))
    for _ in range(2):
        world.clock.advance(60)
        await world.auditor.sweep()


def held(world: World) -> set[tuple[int, int]]:
    """Return the host ports that the kernel holds, and how many follow each."""
    return {(o.first, o.count) for o in world.built if isinstance(o, HostPort)}


def published(world: World) -> set[tuple[int, int]]:
    """Return the host ports that are recorded."""
    endpoints = world.state.view.endpoints.values()
    return {(m.host_port, m.asked.count) for e in endpoints for m in e.ports}


def shape(view: View) -> object:
    """Return what a user sees of `view`: ids that are drawn at random left out."""
    return (
        sorted(
            (n.label if n.name else n.id, n.state, n.peers, n.subnets)
            for n in view.networks.values()
        ),
        sorted(
            (e.name, e.addresses, e.sandbox, e.is_lent, sorted(map(mapping_text, e.ports)))
            for e in view.endpoints.values()
        ),
        sorted(view.pools),
        sorted(str(lease.address) for held in view.leases.values() for lease in held.values()),
    )
