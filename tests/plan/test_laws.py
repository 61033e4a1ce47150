"""What holds of every plan, whatever is wanted and whatever is there."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplug.errors import Conflict
from netplug.plan.diff import Change, Create, Delete, Plan, diff
from netplug.plan.objects import Bridge, Foreign, KernelObject, Sysctl, Veth
from netplug.plan.order import rank
from tests.plan.worlds import STRANGERS, kernel_with, objects, take, unlent

Wanted = frozenset[KernelObject]

lent = {Veth(name="pyv2").key, Veth(name="pyv3").key}


@given(objects())
def test_diff_of_a_set_with_itself_is_empty(wanted: Wanted) -> None:
    assert diff(wanted, wanted) == Plan()


@given(objects(), objects())
async def test_diff_after_its_steps_were_taken_is_empty(wanted: Wanted, present: Wanted) -> None:
    kernel = await kernel_with(present)
    plan = diff(wanted, await kernel.inventory(wanted))

    await take(kernel, plan.steps)

    assert diff(wanted, await kernel.inventory(wanted)) == Plan(lost=plan.lost)


@given(objects(), objects())
async def test_diff_leaves_strangers_and_switches_alone(wanted: Wanted, present: Wanted) -> None:
    kernel = await kernel_with(present)
    strangers = {o for o in await kernel.inventory(_named(STRANGERS)) if isinstance(o, Foreign)}

    plan = diff(wanted, [*await kernel.inventory(wanted), *strangers])
    await take(kernel, plan.steps)

    assert not {step.object.key for step in plan.steps} & {s.key for s in strangers}
    assert not [s for s in plan.steps if isinstance(s, Delete) and isinstance(s.object, Sysctl)]
    assert set(kernel.foreign.values()) == strangers == STRANGERS


@given(objects(), objects())
async def test_diff_steps_respect_ranks(wanted: Wanted, present: Wanted) -> None:
    kernel = await kernel_with(present)

    steps = diff(wanted, await kernel.inventory(wanted)).steps

    deletes = [rank(s.object) for s in steps if isinstance(s, Delete)]
    additions = [rank(s.object) for s in steps if not isinstance(s, Delete)]
    assert [isinstance(s, Delete) for s in steps] == sorted(isinstance(s, Delete) for s in steps)
    assert additions == sorted(additions)
    assert deletes == sorted(deletes, reverse=True)


@given(objects(), objects())
async def test_stop_after_any_step_and_again_ends_as_without_a_stop(
    wanted: Wanted, present: Wanted
) -> None:
    undisturbed = await kernel_with(present)
    plan = diff(wanted, await undisturbed.inventory(wanted))
    await take(undisturbed, plan.steps)

    for taken in range(len(plan.steps)):
        kernel = await kernel_with(present)
        await take(kernel, plan.steps[:taken])
        await take(kernel, diff(wanted, await kernel.inventory(wanted)).steps)

        assert kernel.objects == undisturbed.objects


@given(objects(), objects())
async def test_back_to_the_previous_set_leaves_what_was_there(
    wanted: Wanted, present: Wanted
) -> None:
    kernel = await kernel_with(present)
    before = _without_switches(kernel.objects)

    for target in (wanted, present):
        unlent_target = [unlent(o) for o in target]
        await take(kernel, diff(unlent_target, await kernel.inventory(target)).steps)

    assert _without_switches(kernel.objects) == before


@given(objects(), objects())
async def test_lent_links_are_kept_or_reported_lost_never_made(
    wanted: Wanted, present: Wanted
) -> None:
    kernel = await kernel_with(present)
    there = {o.key for o in kernel.objects}

    plan = diff(wanted, await kernel.inventory(wanted))

    wanted_lent = {o.key for o in wanted} & lent
    assert {o.key for o in plan.lost} == wanted_lent - there
    assert not [s for s in plan.steps if isinstance(s, Create) and s.object.key in lent]
    assert not [s for s in plan.steps if isinstance(s, Delete) and s.object.key in wanted_lent]


@given(objects(), objects())
async def test_change_names_only_fields_that_differ(wanted: Wanted, present: Wanted) -> None:
    kernel = await kernel_with(present)

    for step in diff(wanted, await kernel.inventory(wanted)).steps:
        if isinstance(step, Change):
            assert step.differing
            for name in step.differing:
                assert getattr(step.object, name) != getattr(step.observed, name)


@given(objects().filter(bool), st.data())
def test_diff_where_a_stranger_has_a_wanted_name_is_a_conflict(
    wanted: Wanted, data: st.DataObject
) -> None:
    taken = data.draw(st.sampled_from(sorted(wanted, key=lambda o: str(o.key))))
    stranger = Foreign(key=taken.key, description="a macvlan link")

    with pytest.raises(Conflict, match="a macvlan link"):
        diff(wanted, [stranger])


def _named(strangers: Collection[Foreign]) -> list[Bridge]:
    return [Bridge(name=stranger.key.name) for stranger in strangers]


def _without_switches(found: Wanted) -> Wanted:
    return frozenset(o for o in found if not isinstance(o, Sysctl))
