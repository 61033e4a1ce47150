"""Endpoints of one sandbox: what those that stay need changes when another joins or leaves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from netplug.errors import KernelRefused, StoreUnavailable
from netplug.kernel.memory import fail_at
from netplug.model import Endpoint, Network
from netplug.plan.objects import DirectAnswer
from tests.service.ports import OTHER, WEB, other, web
from tests.service.world import (
    DOCKERS_SANDBOX,
    World,
    endpoint,
    nothing_happens,
    refuse_commits,
)

FRONT, BACK = "py-100000000000", "py-200000000000"
ANSWERS = {f"10.9.0.2 to {BACK}", f"fd09::2 to {BACK}", f"10.8.0.3 to {FRONT}"}


def direct(world: World) -> set[str]:
    return {o.key.name for o in world.built if isinstance(o, DirectAnswer)}


async def both(world: World) -> tuple[Endpoint, Endpoint]:
    return await web(world), await other(world, sandbox=DOCKERS_SANDBOX)


@pytest.mark.parametrize("first", [web, lambda w: other(w, sandbox=DOCKERS_SANDBOX)])
async def test_join_changes_what_is_in_the_sandbox_already(
    world: World, first: Callable[[World], Awaitable[Endpoint]]
) -> None:
    await first(world)
    assert direct(world) == set()

    await both(world)

    assert direct(world) == ANSWERS
    assert (await world.reconciler.run()).steps == ()


@pytest.mark.parametrize("gone", [0, 1])
async def test_delete_leaves_the_other_as_if_it_had_been_alone(world: World, gone: int) -> None:
    pair = await both(world)

    await world.endpoints.delete(pair[gone].id)

    assert direct(world) == set()
    assert (await world.reconciler.run()).steps == ()


@pytest.mark.parametrize("gone", [WEB, OTHER])
async def test_delete_of_a_network_leaves_the_other_as_if_it_had_been_alone(
    world: World, gone: Network
) -> None:
    await both(world)

    await world.networks.delete(gone.id)

    assert direct(world) == set()
    assert (await world.reconciler.run()).steps == ()


async def ready(world: World) -> Endpoint:
    """An endpoint that has yet to join, beside one that has."""
    await web(world)
    await world.networks.create(OTHER)
    made = await world.endpoints.create(endpoint(OTHER, 3))
    await world.endpoints.build_ahead(OTHER.id, made.id)
    return made


async def test_join_that_fails_anywhere_leaves_the_other_as_it_was(world: World) -> None:
    two = await ready(world)
    before = world.built
    world.kernel.before_step = fail_at(0)

    with pytest.raises(KernelRefused):
        await world.endpoints.join(OTHER.id, two.id, DOCKERS_SANDBOX, is_lent=True)

    assert world.built == before


async def test_join_succeeds_though_the_other_cannot_be_changed(world: World) -> None:
    two = await ready(world)
    world.kernel.before_step = refuse_answers_of_the_first

    await world.endpoints.join(OTHER.id, two.id, DOCKERS_SANDBOX, is_lent=True)

    assert direct(world) == {f"10.8.0.3 to {FRONT}"}
    world.kernel.before_step = nothing_happens
    await world.reconciler.run()
    assert direct(world) == ANSWERS


async def test_join_that_is_not_recorded_leaves_the_other_as_it_was(world: World) -> None:
    two = await ready(world)
    before = world.built
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await world.endpoints.join(OTHER.id, two.id, DOCKERS_SANDBOX, is_lent=True)

    assert world.built == before


async def test_delete_succeeds_though_the_other_cannot_be_changed(world: World) -> None:
    one, two = await both(world)
    world.kernel.before_step = refuse_answers

    await world.endpoints.delete(two.id)

    assert set(world.state.view.endpoints) == {one.id}
    world.kernel.before_step = nothing_happens
    await world.reconciler.run()
    assert direct(world) == set()


async def test_delete_succeeds_beside_one_of_a_driver_that_is_gone(world: World) -> None:
    one, two = await both(world)
    of_two = world.state.view.networks[OTHER.id]
    await world.state.commit(puts=(replace(of_two, driver="gone"),))

    await world.endpoints.delete(one.id)

    assert set(world.state.view.endpoints) == {two.id}


def refuse_answers(step: object) -> None:
    if isinstance(getattr(step, "object", None), DirectAnswer):
        raise KernelRefused("change a set", "the test says so")


def refuse_answers_of_the_first(step: object) -> None:
    found = getattr(step, "object", None)
    if isinstance(found, DirectAnswer) and not found.key.name.startswith("10.8.0.3"):
        raise KernelRefused("change a set", "the test says so")
