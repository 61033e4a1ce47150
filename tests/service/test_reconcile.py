"""Reconciliation: what differs is mended, what cannot be is told, strangers are left alone."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from ipaddress import ip_network

import pytest

from netplug.kernel.memory import MemoryKernel, fail_at
from netplug.model import HostFacts, IPNetwork, Network, NetworkState
from netplug.plan.diff import Change, Create, Delete
from netplug.plan.objects import (
    Address,
    Bridge,
    EngineSubnet,
    Firewall,
    Foreign,
    KernelObject,
    Key,
    LocalSubnet,
    Masquerade,
    RoutedFilter,
    SetMember,
    Sysctl,
    Veth,
)
from netplug.plan.order import is_of_firewall
from netplug.plan.resolverlink import plan_resolver_link
from netplug.plan.text import step_text
from netplug.settings import HOST_RESOLVER
from tests.service.uplinks import lan, on_uplinks
from tests.service.world import (
    World,
    endpoint,
    joined,
    messages,
    network,
    nothing_happens,
    start,
)

WEB = network(1, "10.1.0.1/24", "fd01::1/64")
BRIDGE = Bridge(name="py-100000000000")
ENGINES, ENGINES6 = ip_network("172.17.0.0/16"), ip_network("fd17::/64")


@pytest.fixture
async def web(world: World) -> Network:
    return await world.networks.create(WEB)


async def test_run_where_nothing_differs_takes_no_step(world: World, web: Network) -> None:
    report = await world.reconciler.run()

    assert (report.steps, report.problems) == ((), ())
    assert world.reconciler.last == report
    assert report.at == world.clock.now()


@pytest.mark.parametrize("kind", [Bridge, Firewall])
async def test_run_mends_what_somebody_removed(
    world: World, web: Network, kind: type[KernelObject]
) -> None:
    before = world.kernel.objects
    (victim,) = (o for o in before if isinstance(o, kind))
    await world.kernel.apply(Delete(victim))

    report = await world.reconciler.run()

    assert report.steps
    assert world.kernel.objects == before
    assert messages(world)[-1].startswith(f"{len(report.steps)} differences mended: create")


async def test_run_mends_what_somebody_changed(world: World, web: Network) -> None:
    before = world.kernel.objects
    (bridge,) = (o for o in before if isinstance(o, Bridge))
    await world.kernel.apply(
        Change(replace(bridge, mtu_bytes=1300), bridge, frozenset({"mtu_bytes"}))
    )
    await world.kernel.apply(Create(Sysctl(name="net/ipv6/conf/all/forwarding", value="0")))

    report = await world.reconciler.run()

    assert [step_text(step) for step in report.steps] == [
        "change sysctl net/ipv6/conf/all/forwarding: value 0 -> 1",
        "change sysctl net/ipv6/conf/default/forwarding: value 0 -> 1",
        "change bridge py-100000000000: mtu_bytes 1300 -> 1500",
    ]
    assert world.kernel.objects == before


async def test_run_removes_what_carries_our_mark_and_nobody_wants(
    world: World, web: Network
) -> None:
    before = world.kernel.objects
    subnet = network(9).subnets[0]
    orphans = (
        Bridge(name="py-orphan"),
        Address(link="py-orphan", address=subnet.gateway),  # type: ignore[arg-type]
        LocalSubnet(subnet=subnet.pool, link="py-orphan"),
        Veth(name="pyvorphan", peer="pyporphan", bridge="py-orphan"),
    )
    for orphan in orphans:
        await world.kernel.apply(Create(orphan))

    report = await world.reconciler.run()

    assert len(report.steps) == len(orphans)
    assert world.kernel.objects == before


async def test_run_of_many_differences_tells_the_first_few(world: World, web: Network) -> None:
    for number in range(7):
        await world.kernel.apply(Create(Bridge(name=f"py-{number}")))

    await world.reconciler.run()

    assert messages(world)[-1].startswith("7 differences mended: delete bridge py-6; ")
    assert messages(world)[-1].endswith("; …")


async def test_run_goes_on_past_a_refusal_and_names_it(world: World, web: Network) -> None:
    for number in range(3):
        await world.kernel.apply(Create(Bridge(name=f"py-{number}")))
    world.kernel.before_step = fail_at(1)

    report = await world.reconciler.run()

    assert len(report.steps) == 2
    assert len(report.problems) == 1
    world.kernel.before_step = nothing_happens
    assert len((await world.reconciler.run()).steps) == 1


async def test_run_leaves_a_stranger_of_a_wanted_name_and_mends_the_rest(
    world: World, web: Network
) -> None:
    other = await world.networks.create(network(2))
    await world.kernel.apply(Delete(BRIDGE))
    await world.kernel.apply(Delete(Bridge(name=f"py-{other.short_id}")))
    stranger = Foreign(key=BRIDGE.key, description="a macvlan link")
    world.kernel.foreign[stranger.key] = stranger

    report = await world.reconciler.run()

    assert "link py-100000000000 exists and is not pynet's (a macvlan link)" in report.problems
    assert Bridge(name=f"py-{other.short_id}").key in {o.key for o in world.built}
    assert BRIDGE.key not in {o.key for o in world.built}


async def test_run_puts_nothing_on_a_strangers_link_and_keeps_what_was_on_ours(
    world: World, web: Network
) -> None:
    await joined(world, web)
    await world.kernel.apply(Delete(BRIDGE))
    world.kernel.foreign[BRIDGE.key] = Foreign(key=BRIDGE.key, description="a bridge link")
    built = world.built

    report = await world.reconciler.run()

    assert report.steps == ()
    assert report.problems == ("link py-100000000000 exists and is not pynet's (a bridge link)",)
    assert world.built == built


async def test_run_tells_a_problem_once_for_as_long_as_it_lasts(
    world: World, web: Network, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Foreign(key=BRIDGE.key, description="a macvlan link")
    await world.kernel.apply(Delete(BRIDGE))
    world.kernel.foreign[stranger.key] = stranger
    caplog.set_level(logging.WARNING)

    await world.reconciler.run()
    told = len(caplog.records)
    await world.reconciler.run()

    assert told
    assert len(caplog.records) == told


async def test_run_with_other_facts_asks_for_another_firewall(world: World, web: Network) -> None:
    world.kernel.host = HostFacts(filters_bridged=True)

    await world.reconciler.run()

    assert Firewall(has_ipv6=True, filters_bridged=True) in world.kernel.objects


async def test_run_after_the_last_network_takes_the_firewall_away(
    world: World, web: Network
) -> None:
    await world.networks.delete(web.id)
    assert not (await world.reconciler.verify()).differences

    await world.reconciler.run()

    assert not [o for o in world.kernel.objects if not isinstance(o, Sysctl)]


async def test_tidy_with_networks_left_does_nothing(world: World, web: Network) -> None:
    before = world.kernel.objects

    await world.reconciler.tidy()

    assert world.kernel.objects == before


async def test_tidy_without_networks_takes_everything_away(world: World, web: Network) -> None:
    await world.networks.delete(web.id)

    await world.reconciler.tidy()

    assert not [o for o in world.kernel.objects if not isinstance(o, Sysctl)]


async def test_run_while_networks_come_and_go_disturbs_nobody(world: World) -> None:
    async def come_and_go(number: int) -> None:
        made = await world.networks.create(network(number))
        await joined(world, made, number + 1)
        if number % 2:
            await world.networks.delete(made.id)

    await asyncio.gather(
        *(come_and_go(number) for number in range(1, 17)),
        *(world.reconciler.run() for _ in range(16)),
    )

    assert len(world.state.view.networks) == 8
    assert not (await world.reconciler.verify()).differences


async def test_recover_drops_a_network_that_was_never_acknowledged(world: World) -> None:
    await world.state.commit(puts=(replace(WEB, state=NetworkState.PENDING),))
    await world.kernel.apply(Create(BRIDGE))

    after = await world.restarted()

    assert after.state.view.networks == {}
    assert after.built == frozenset()


async def test_recover_builds_everything_after_a_reboot(world: World, web: Network) -> None:
    filled = await world.endpoints.create(replace(endpoint(web), interface="eth0"))
    await world.endpoints.join(web.id, filled.id, "/run/netns/a", is_lent=False)
    built = world.built
    for obj in built:
        if isinstance(obj, Veth | Bridge):
            await world.kernel.apply(Delete(obj))

    after = await world.restarted()

    assert after.built == built


async def test_lent_link_that_is_gone_is_reported_and_not_made_again(
    world: World, web: Network
) -> None:
    lent = await joined(world, web)
    await world.kernel.apply(Delete(Veth(name="pyv200000000000")))

    report = await world.reconciler.run()

    verdict = await world.reconciler.verify()
    assert report.steps == ()
    assert verdict.differences == ("veth pyv200000000000 is gone; its container must be restarted",)
    assert lent.is_lent


async def test_verify_names_differences_and_strangers_and_changes_nothing(
    world: World, web: Network
) -> None:
    await world.kernel.apply(Delete(BRIDGE))
    await world.kernel.apply(Delete(Masquerade(subnet=web.subnets[0].pool)))
    await world.kernel.apply(Create(Bridge(name="py-orphan")))
    stranger = Foreign(key=BRIDGE.key, description="a macvlan link")
    world.kernel.foreign[stranger.key] = stranger
    objects = world.kernel.objects

    verdict = await world.reconciler.verify()

    assert verdict.foreign == ("link py-100000000000 exists and is not pynet's (a macvlan link)",)
    assert "bridge py-orphan is ours and not wanted" in verdict.differences
    assert "masquerade 10.1.0.0/24 is missing" in verdict.differences
    assert world.kernel.objects == objects


async def test_verify_counts_what_it_compared(world: World, web: Network) -> None:
    assert (await world.reconciler.verify()).checked == len(
        world.networks.objects_of(web, world.state.view)
    )


async def test_plan_is_what_run_then_does(world: World, web: Network) -> None:
    await world.kernel.apply(Delete(BRIDGE))

    plan = await world.reconciler.plan()
    report = await world.reconciler.run()

    assert plan.steps == report.steps != ()


async def test_run_with_a_network_that_cannot_be_planned_mends_the_others_and_deletes_nothing(
    world: World, web: Network
) -> None:
    lost = replace(network(2), driver="vxlan", state=NetworkState.READY)
    await world.state.commit(puts=(lost,))
    await world.kernel.apply(Create(Bridge(name="py-whose")))
    await world.kernel.apply(Delete(BRIDGE))

    report = await world.reconciler.run()

    assert BRIDGE.key in {o.key for o in world.built}
    assert Bridge(name="py-whose").key in {o.key for o in world.built}
    assert report.problems == (
        "network 200000000000 cannot be planned: "
        "invalid options: driver='vxlan': one of bridge is wanted",
    )


# The packet filter alone


async def test_mend_firewall_where_nobody_touched_anything_reads_nothing(
    world: World, web: Network
) -> None:
    await world.reconciler.run()
    await world.kernel.apply(Delete(masquerade(world)))  # unseen: nobody but us did it

    assert await world.reconciler.mend_firewall() is None


async def test_mend_firewall_puts_rules_and_members_back_as_one_event(
    world: World, web: Network
) -> None:
    before, told = world.kernel.objects, len(messages(world))
    firewall = next(o for o in before if isinstance(o, Firewall))
    world.kernel.lose(firewall, *(o for o in before if isinstance(o, SetMember)))

    report = await world.reconciler.mend_firewall()

    assert report is not None
    assert report.problems == ()
    assert world.kernel.objects == before
    assert messages(world)[told:] == [
        "somebody else changed rules; put back: the rules, entries of sets: 4"
    ]
    again = await world.reconciler.mend_firewall()  # what was put back is looked at once more
    assert again is not None
    assert again.steps == ()
    assert await world.reconciler.mend_firewall() is None


async def test_mend_firewall_when_others_changed_their_rules_tells_nothing(
    world: World, web: Network
) -> None:
    told = messages(world)
    world.kernel.touch()

    report = await world.reconciler.mend_firewall()

    assert report is not None
    assert report.steps == ()
    assert messages(world) == told


async def test_mend_firewall_leaves_links_to_the_whole_run(world: World, web: Network) -> None:
    await world.kernel.apply(Delete(BRIDGE))
    world.kernel.touch()

    report = await world.reconciler.mend_firewall()

    assert report is not None
    assert report.steps == ()
    assert (await world.reconciler.run()).steps


async def test_mend_firewall_goes_on_past_a_refusal_and_warns_once(
    world: World, web: Network, caplog: pytest.LogCaptureFixture
) -> None:
    world.kernel.lose(*(o for o in world.kernel.objects if isinstance(o, SetMember)))
    world.kernel.before_step = fail_at(0)

    with caplog.at_level(logging.WARNING):
        report = await world.reconciler.mend_firewall()
        world.kernel.before_step = fail_at(0)
        world.kernel.touch()
        await world.reconciler.mend_firewall()

    assert report is not None
    assert len(report.steps) == 3
    assert len([r for r in caplog.records if r.message == "cannot be mended"]) == 1


async def test_mend_firewall_after_the_last_network_takes_the_rules_away_without_an_event(
    world: World, web: Network
) -> None:
    await world.networks.delete(web.id)
    told = messages(world)
    world.kernel.touch()

    report = await world.reconciler.mend_firewall()

    assert report is not None
    assert report.steps == ()
    assert messages(world) == told
    assert not any(isinstance(o, Firewall) for o in world.kernel.objects)


@pytest.mark.parametrize("is_sweep", [True, False])
async def test_rules_of_routed_endpoints_go_after_their_last_network_without_an_event(
    is_sweep: bool,
) -> None:
    world = await on_uplinks()
    await world.networks.create(WEB)
    first, second = [await world.networks.create(lan(number)) for number in (2, 3)]
    await world.networks.delete(first.id)
    await world.reconciler.run()
    assert RoutedFilter() in world.kernel.objects

    await world.networks.delete(second.id)
    assert (await world.reconciler.verify()).differences == ()
    told = messages(world)
    world.kernel.touch()
    await (world.reconciler.run() if is_sweep else world.reconciler.mend_firewall())

    assert RoutedFilter() not in world.kernel.objects
    assert any(isinstance(o, Firewall) for o in world.kernel.objects)
    assert messages(world) == told


async def test_rules_of_routed_endpoints_come_back_when_somebody_removes_them() -> None:
    world = await on_uplinks()
    await world.networks.create(lan(1))
    world.kernel.lose(RoutedFilter())

    report = await world.reconciler.mend_firewall()

    assert report is not None
    assert [s.object for s in report.steps] == [RoutedFilter()]
    assert RoutedFilter() in world.kernel.objects


@pytest.mark.parametrize("is_looked_at", [True, False])
async def test_what_an_earlier_run_kept_apart_goes_with_the_last_network(
    world: World, web: Network, is_looked_at: bool
) -> None:
    await world.kernel.apply(Create(EngineSubnet(subnet=ENGINES)))
    if is_looked_at:
        assert await world.reconciler.mend_firewall() is None  # the engine has told nothing yet
    else:
        await world.reconciler.recover()

    world.state.learn_engine_subnets(frozenset({ENGINES}))
    await world.networks.delete(web.id)
    await world.reconciler.mend_firewall()

    assert engine_subnets(world) == set()


async def test_subnets_of_the_engine_are_kept_apart_without_an_event(
    world: World, web: Network
) -> None:
    told = messages(world)
    world.state.learn_engine_subnets(frozenset({ENGINES, ENGINES6}))

    await world.reconciler.mend_firewall()

    assert engine_subnets(world) == {ENGINES, ENGINES6}
    assert messages(world) == told
    assert await world.reconciler.mend_firewall() is None


async def test_subnets_that_the_engine_gave_up_are_no_longer_kept_apart(
    world: World, web: Network
) -> None:
    world.state.learn_engine_subnets(frozenset({ENGINES, ENGINES6}))
    await world.reconciler.mend_firewall()

    world.state.learn_engine_subnets(frozenset({ENGINES6}))
    await world.reconciler.mend_firewall()

    assert engine_subnets(world) == {ENGINES6}


async def test_subnets_of_the_engine_wait_for_the_first_network(world: World) -> None:
    world.state.learn_engine_subnets(frozenset({ENGINES}))
    await world.reconciler.run()
    before = engine_subnets(world)

    await world.networks.create(WEB)
    await world.reconciler.mend_firewall()
    during = engine_subnets(world)
    await world.networks.delete(WEB.id)
    await world.reconciler.run()

    assert (before, during, engine_subnets(world)) == (set(), {ENGINES}, set())


async def test_subnets_of_the_engine_on_a_host_without_ipv6_are_those_of_ipv4() -> None:
    kernel = MemoryKernel(facts=HostFacts(has_ipv6=False))
    world = await start(kernel=kernel)
    await world.networks.create(network(1))
    world.state.learn_engine_subnets(frozenset({ENGINES, ENGINES6}))

    report = await world.reconciler.run()

    assert report.problems == ()
    assert engine_subnets(world) == {ENGINES}


async def test_subnets_of_the_engine_stay_while_a_new_daemon_does_not_know_them_yet(
    world: World, web: Network
) -> None:
    world.state.learn_engine_subnets(frozenset({ENGINES}))
    await world.reconciler.run()

    restarted = await world.restarted()
    before = engine_subnets(restarted)
    restarted.state.learn_engine_subnets(frozenset())
    await restarted.reconciler.run()

    assert (before, engine_subnets(restarted)) == ({ENGINES}, set())


async def test_verify_after_somebody_cleared_rules_names_them(world: World, web: Network) -> None:
    world.kernel.lose(next(o for o in world.kernel.objects if isinstance(o, Firewall)))

    verdict = await world.reconciler.verify()

    assert verdict.differences == ("firewall PYNET is off: the rules",)


def masquerade(world: World) -> Masquerade:
    return next(o for o in world.kernel.objects if isinstance(o, Masquerade))


def engine_subnets(world: World) -> set[IPNetwork]:
    return {o.subnet for o in world.kernel.objects if isinstance(o, EngineSubnet)}


async def test_link_for_the_host_is_there_from_start_to_end_without_a_network(
    world: World,
) -> None:
    networks = replace(world.networks, shared=plan_resolver_link([HOST_RESOLVER]))
    reconciler = replace(world.reconciler, networks=networks)
    link = {o.key for o in networks.shared if not is_of_firewall(o)}

    def built() -> set[Key]:
        return {o.key for o in world.built}

    await reconciler.recover()
    assert built() == link
    assert (await reconciler.verify()).differences == ()

    (bridge,) = (o for o in networks.shared if isinstance(o, Bridge))
    await world.kernel.apply(Delete(bridge))
    await reconciler.run()
    assert built() == link

    await networks.delete((await networks.create(WEB)).id)
    await reconciler.run()
    assert built() == link

    await reconciler.tidy()
    assert not built()


async def test_link_for_the_host_outlives_the_daemon_while_there_is_a_network(
    world: World,
) -> None:
    networks = replace(world.networks, shared=plan_resolver_link([HOST_RESOLVER]))
    reconciler = replace(world.reconciler, networks=networks)
    await networks.create(WEB)

    await reconciler.tidy()

    assert {o.key for o in networks.shared} <= {o.key for o in world.built}
