"""The watch over the rules: how soon it looks again, and what it warns of."""

from __future__ import annotations

import logging

import pytest

from netplug.errors import KernelRefused
from netplug.plan.objects import Firewall, KernelObject, SetMember
from netplug.service.rule_watch import LOOK_S, RuleWatch
from tests.service.world import World, network


@pytest.fixture
async def watch(world: World) -> RuleWatch:
    await world.networks.create(network(1))
    await world.reconciler.run()
    return RuleWatch(world.reconciler, world.clock)


async def looks(world: World, watch: RuleWatch, number: int, *, fights: bool) -> list[float]:
    """Look that many times while others change rules of their own, or ours; return the pauses."""
    pauses: list[float] = []
    for _ in range(number):
        if fights:
            world.kernel.lose(*(o for o in world.kernel.objects if isinstance(o, Firewall)))
        world.kernel.touch()
        pauses.append(await watch.look())
        world.clock.advance(pauses[-1])
    return pauses


async def test_look_where_nothing_happens_is_every_second(watch: RuleWatch) -> None:
    assert await watch.look() == LOOK_S


async def test_look_after_a_heal_is_a_second_later(world: World, watch: RuleWatch) -> None:
    assert await looks(world, watch, 1, fights=True) == [LOOK_S]


async def test_look_while_others_change_their_rules_all_the_time_is_rarer(
    world: World, watch: RuleWatch
) -> None:
    pauses = await looks(world, watch, 10, fights=False)

    assert pauses == [LOOK_S] * 4 + [3.0] * 6
    assert await watch.look() == LOOK_S


async def test_look_while_somebody_fights_us_is_rarer_and_warns_once(
    world: World, watch: RuleWatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        pauses = await looks(world, watch, 10, fights=True)

    assert pauses == [LOOK_S] * 4 + [3.0] * 6
    assert len([r for r in caplog.records if "again and again" in r.message]) == 1


async def test_look_after_a_fight_is_every_second_again(world: World, watch: RuleWatch) -> None:
    await looks(world, watch, 6, fights=True)

    world.clock.advance(31)

    assert await watch.look() == LOOK_S


async def test_look_that_cannot_read_the_rules_warns_once_and_waits(
    world: World,
    watch: RuleWatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse(wanted: object) -> frozenset[KernelObject]:
        raise KernelRefused("run iptables-save", "it is locked")

    world.kernel.lose(*(o for o in world.kernel.objects if isinstance(o, SetMember)))
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(world.kernel, "firewall", refuse)
        pauses = [await watch.look(), await watch.look()]

    assert pauses == [3.0, 3.0]
    assert len(caplog.records) == 1
    assert await watch.look() == LOOK_S
