"""Links of the host's that networks stand on: chosen, shared, followed and missed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netplug.errors import Conflict, NotFound
from netplug.kernel.memory import fail_at
from netplug.model import LinkFacts, Parent
from netplug.plan.diff import Create, Delete
from netplug.plan.objects import (
    ProxyNeighbour,
    Route,
    RoutedVeth,
    SandboxLink,
    SandboxMtu,
    Sysctl,
    Vlan,
)
from netplug.service.uplink_watch import LOOK_S, UplinkWatch
from tests.service.uplinks import ETH0, FORWARDING, borrowed, lan, on_uplinks, value
from tests.service.world import (
    NETNS,
    World,
    endpoint,
    joined,
    messages,
    network,
    nothing_happens,
)

ETH1 = LinkFacts(name="eth1", index=3, mac="02:00:00:00:00:bb", mtu_bytes=9000)


@pytest.fixture
async def world() -> World:
    made = await on_uplinks(ETH0, ETH1)
    made.state.learn_engine_subnets(frozenset())
    return made


async def test_create_records_the_parent_and_its_mtu(world: World) -> None:
    made = await world.networks.create(lan(parent="eth1"))

    assert made.parent == Parent(name="eth1", index=3, mac="02:00:00:00:00:bb")
    assert made.uplink_mtu_bytes == 9000
    assert await world.networks.create(lan(parent="eth1")) == made


async def test_create_records_below_a_vlan_of_ours_the_link_that_it_is_on(world: World) -> None:
    first, second = [
        (await world.networks.create(lan(number, parent="eth1.7"))).parent for number in (1, 2)
    ]

    assert first == second
    assert first == Parent(
        name="eth1.7", index=3, mac="02:00:00:00:00:bb", vlan_of="eth1", vlan_id=7
    )


async def test_create_on_a_link_that_is_not_there_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        await world.networks.create(lan(parent="eth7"))

    assert world.state.view.networks == {}


async def test_create_takes_a_part_of_the_parents_own_subnet(world: World) -> None:
    world.kernel.routes[ip_network("10.1.0.0/16")] = "eth0"

    await world.networks.create(lan(1))
    with pytest.raises(Conflict, match="in use on link eth0"):
        await world.networks.create(lan(2, "10.1.2.1/24", parent="eth1"))


async def test_preview_says_what_is_missing_besides_what_others_have(world: World) -> None:
    first = await world.networks.preview(lan(1, parent="eth1.7"))
    await world.networks.create(lan(1, parent="eth1.7"))
    second = await world.networks.preview(lan(2, parent="eth1.7"))

    assert [type(step.object).__name__ for step in first.steps] == [
        "Vlan",
        "Firewall",
        "RoutedFilter",
    ]
    assert second.steps == ()


async def test_create_that_fails_leaves_what_another_network_has(world: World) -> None:
    await world.networks.create(lan(1, parent="eth1.7"))
    before = world.kernel.objects
    world.store.before_commit = nothing_happens
    commits = iter(range(10))

    def refuse_the_second(batch: object) -> None:
        if next(commits) == 1:
            raise Conflict("the store", "says no")

    world.store.before_commit = refuse_the_second
    with pytest.raises(Conflict):
        await world.networks.create(lan(2, parent="eth1.7"))

    assert world.kernel.objects == before


async def test_networks_on_one_parent_come_and_go_at_once(world: World) -> None:
    async def come_and_go(number: int) -> None:
        made = await world.networks.create(lan(number, parent="eth1.7" if number % 2 else "eth0"))
        await joined(world, made, number + 1)
        await world.networks.delete(made.id)

    before = world.kernel.objects
    await asyncio.gather(
        *(come_and_go(number) for number in range(1, 17)),
        *(world.reconciler.mend_uplinks() for _ in range(8)),
        *(world.reconciler.run() for _ in range(8)),
    )
    await world.reconciler.run()

    assert world.kernel.objects == before
    assert borrowed(world) == {}


async def test_delete_of_an_endpoint_removes_its_routes_and_proxies(world: World) -> None:
    made = await world.networks.create(lan())
    before = world.built
    await joined(world, made, 2)
    assert {type(o) for o in world.built - before} == {RoutedVeth, Route, ProxyNeighbour}

    await world.endpoints.delete(endpoint(made, 2).id)

    assert world.built == before


# What becomes of parents


async def test_renamed_parent_is_followed_with_what_is_borrowed_of_it(world: World) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)
    told = messages(world)
    built = len(world.built)
    world.kernel.rename("eth0", "lan0")

    await world.reconciler.mend_uplinks()

    assert world.state.view.networks[made.id].parent == Parent(name="lan0", index=2, mac=ETH0.mac)
    assert value(world, "net/ipv4/conf/lan0/forwarding") == "1"
    assert borrowed(world) == {"net/ipv4/conf/lan0/forwarding": "0"}
    assert ProxyNeighbour(address=ip_address("10.1.0.2"), link="lan0") in world.built
    assert len(world.built) == built
    assert messages(world)[len(told) :] == ["parent eth0 is called lan0 now"]
    assert [e.kind for e in world.journal.past()][-1] == "uplink"
    assert (await world.reconciler.mend_uplinks()).steps == ()  # type: ignore[union-attr]
    assert not (await world.reconciler.verify()).differences


async def test_renamed_link_below_a_vlan_of_ours_is_followed(world: World) -> None:
    made = await world.networks.create(lan(parent="eth1.7"))
    world.kernel.rename("eth1", "lan1")

    await world.reconciler.mend_uplinks()

    parent = world.state.view.networks[made.id].parent
    assert parent is not None
    assert (parent.name, parent.vlan_of) == ("eth1.7", "lan1")
    assert Vlan(name="eth1.7", parent="lan1", vlan_id=7, is_up=True) in world.built


async def test_parent_that_was_given_another_mac_is_still_the_parent(world: World) -> None:
    made = await world.networks.create(lan())
    world.kernel.plug(replace(ETH0, mac="02:00:00:00:00:cc"))

    report = await world.reconciler.run()

    parent = world.state.view.networks[made.id].parent
    assert parent == Parent(name="eth0", index=2, mac="02:00:00:00:00:cc")
    assert (report.problems, report.news) == (
        (),
        ("parent eth0 has another MAC, 02:00:00:00:00:cc",),
    )


async def test_parents_that_changed_names_are_told_by_their_macs(world: World) -> None:
    made = await world.networks.create(lan())
    world.kernel.plug(replace(ETH0, mac=ETH1.mac, index=2))
    world.kernel.plug(replace(ETH1, mac=ETH0.mac, index=3))

    await world.reconciler.mend_uplinks()

    parent = world.state.view.networks[made.id].parent
    assert parent == Parent(name="eth1", index=3, mac=ETH0.mac)
    assert borrowed(world) == {"net/ipv4/conf/eth1/forwarding": "0"}


async def test_mtu_of_the_parent_is_followed(world: World) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)
    told = messages(world)
    world.kernel.plug(replace(ETH0, mtu_bytes=1400))

    await world.reconciler.mend_uplinks()

    assert world.state.view.networks[made.id].uplink_mtu_bytes == 1400
    (veth,) = (o for o in world.built if isinstance(o, RoutedVeth))
    assert veth.mtu_bytes == 1400
    (event,) = messages(world)[len(told) :]
    assert event.startswith("the MTU of parent eth0 is 1400 now; put back: links: 1")


async def test_parent_that_is_gone_is_one_problem_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)
    (built,) = (o for o in world.built if isinstance(o, RoutedVeth))
    told = messages(world)
    world.kernel.unplug("eth0")

    with caplog.at_level(logging.WARNING):
        reports = [
            await world.reconciler.mend_uplinks(),
            await world.reconciler.mend_uplinks(),
            await world.reconciler.run(),
        ]

    sentence = "link eth0 is gone, on which network 100000000000 stood"
    assert [report.problems for report in reports if report] == [(sentence,)] * 3
    assert [report.steps for report in reports if report] == [()] * 3
    assert messages(world)[len(told) :] == [sentence]
    assert len(caplog.records) == 1
    assert built in world.built
    verdict = await world.reconciler.verify()
    assert (verdict.differences, verdict.foreign) == ((sentence,), ())


async def test_parent_that_is_back_gets_back_what_was_on_it(world: World) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)
    before = world.kernel.objects
    world.kernel.unplug("eth0")
    await world.reconciler.mend_uplinks()
    world.kernel.plug(replace(ETH0, index=9))

    await world.reconciler.mend_uplinks()

    assert world.kernel.objects == before
    assert messages(world)[-1].startswith("link eth0 is back; put back: ")
    parent = world.state.view.networks[made.id].parent
    assert parent is not None
    assert parent.index == 9


async def test_vlan_on_a_parent_that_is_gone_is_no_second_problem(world: World) -> None:
    await joined(world, await world.networks.create(lan(parent="eth1.7")))
    world.kernel.unplug("eth1")

    report = await world.reconciler.run()

    assert report.problems == ("link eth1 is gone, on which network 100000000000 stood",)
    assert report.steps == ()


async def test_delete_of_a_network_whose_parent_is_gone(world: World) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)
    world.kernel.unplug("eth0")

    await world.networks.delete(made.id)

    assert world.built == frozenset()
    assert borrowed(world) == {}
    assert await world.reconciler.mend_uplinks() is None


# What others change on uplinks


async def test_what_others_removed_is_put_back_as_one_event(world: World) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)
    before, told = world.kernel.objects, messages(world)
    for obj in before:
        if isinstance(obj, Route | ProxyNeighbour):
            await world.kernel.apply(Delete(obj))
    await world.kernel.apply(_set(FORWARDING, "0"))

    await world.reconciler.mend_uplinks()

    assert world.kernel.objects == before
    assert messages(world)[len(told) :] == [
        f"somebody else changed the uplink; put back: {FORWARDING}, routes: 1, proxied addresses: 1"
    ]


async def test_link_that_others_removed_is_put_back_with_its_inside(world: World) -> None:
    made = await world.networks.create(lan())
    filled = await world.endpoints.create(replace(endpoint(made), interface="eth0"))
    await world.endpoints.join(made.id, filled.id, NETNS, is_lent=False)
    before = world.kernel.objects
    (veth,) = (o for o in before if isinstance(o, RoutedVeth))
    await world.kernel.apply(Delete(veth))

    await world.reconciler.mend_uplinks()

    assert world.kernel.objects == before
    assert any(isinstance(o, SandboxLink) for o in before)


async def test_lent_link_that_is_gone_takes_its_routes_out_of_the_plan(world: World) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)
    (veth,) = (o for o in world.built if isinstance(o, RoutedVeth))
    await world.kernel.apply(Delete(veth))

    report = await world.reconciler.run()

    assert (report.steps, report.problems) == ((), ())
    assert (await world.reconciler.verify()).differences == (
        "routed-veth pyv200000000000 is gone; its container must be restarted",
    )


async def test_without_a_parent_nothing_is_read(world: World) -> None:
    await world.networks.create(network(1))
    asked: list[object] = []
    world.kernel.on_uplinks = asked.append  # type: ignore[assignment]

    assert await world.reconciler.mend_uplinks() is None
    assert asked == []


async def test_watch_rests_while_something_cannot_be_mended(world: World) -> None:
    watch = UplinkWatch(world.reconciler, world.clock)
    made = await world.networks.create(lan())
    await joined(world, made)
    calm = await watch.look()
    (route,) = (o for o in world.built if isinstance(o, Route))
    await world.kernel.apply(Delete(route))
    world.kernel.before_step = fail_at(0)

    assert (calm, await watch.look() > LOOK_S, await watch.look()) == (LOOK_S, True, LOOK_S)


async def test_watch_slows_down_while_somebody_fights_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    watch = UplinkWatch(world.reconciler, world.clock)
    made = await world.networks.create(lan())
    await joined(world, made)
    (route,) = (o for o in world.built if isinstance(o, Route))
    pauses: list[float] = []
    for _ in range(6):
        await world.kernel.apply(Delete(route))
        pauses.append(await watch.look())
        world.clock.advance(1)

    assert pauses[0] == LOOK_S
    assert pauses[-1] > LOOK_S
    assert len([r for r in caplog.records if "again and again" in r.message]) == 1


async def test_mtu_inside_a_sandbox_that_is_not_to_be_seen_is_no_difference(world: World) -> None:
    made = await world.networks.create(lan())
    await joined(world, made)

    desired = world.networks.objects_of(made, world.state.view)
    assert any(isinstance(o, SandboxMtu) for o in desired)
    assert not (await world.reconciler.verify()).differences
    assert (await world.reconciler.run()).steps == ()


def _set(name: str, text: str) -> Create:
    return Create(Sysctl(name=name, value=text))
