"""The only way to the kernel: whole, or taken back; and never past a stranger."""

from __future__ import annotations

import logging
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from netplug.errors import Conflict, KernelRefused
from netplug.kernel.memory import Hook, MemoryKernel, fail_at
from netplug.plan.diff import Create
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    Foreign,
    KernelObject,
    LocalSubnet,
    Sysctl,
    Veth,
)
from netplug.service.converge import NOTHING, converge, dismantle, preview

BRIDGE = Bridge(name="py-web", mtu_bytes=1500)
FIREWALL = Firewall(has_ipv6=True, filters_bridged=False)
WANTED: frozenset[KernelObject] = frozenset(
    {
        FIREWALL,
        BRIDGE,
        Address(link="py-web", address=ip_interface("10.9.0.1/24")),
        LocalSubnet(subnet=ip_network("10.9.0.0/24"), link="py-web"),
        Veth(name="pyv1", peer="pyp1", bridge="py-web"),
    }
)


def own(kernel: MemoryKernel) -> set[str]:
    return {str(o.key) for o in kernel.objects if not isinstance(o, Sysctl)}


def refuse_from(number: int) -> Hook:
    """Refuse that step and every later one."""
    hooks = [fail_at(n) for n in range(number, 100)]

    def hook(step: object) -> None:
        for one in hooks:
            one(step)

    return hook


async def test_converge_makes_what_is_wanted_hold_and_says_how() -> None:
    kernel = MemoryKernel()

    plan = await converge(WANTED, NOTHING, kernel)

    assert {step.object for step in plan.steps} == WANTED
    assert (await preview(WANTED, NOTHING, kernel)).steps == ()


async def test_converge_from_one_set_to_another_keeps_what_both_have() -> None:
    kernel = MemoryKernel()
    await converge(WANTED, NOTHING, kernel)
    wider = {replace(BRIDGE, mtu_bytes=9000)} | {o for o in WANTED if isinstance(o, Firewall)}

    plan = await converge(frozenset(wider), WANTED, kernel)

    assert own(kernel) == {"link py-web", "firewall PYNET"}
    assert [type(step).__name__ for step in plan.steps] == ["Change", "Delete", "Delete", "Delete"]


@pytest.mark.parametrize("number", range(1, 5))
async def test_converge_refused_takes_back_what_it_did(number: int) -> None:
    kernel = MemoryKernel(before_step=fail_at(number))

    with pytest.raises(KernelRefused, match=f"take step {number}"):
        await converge(WANTED, NOTHING, kernel)

    assert own(kernel) == {"firewall PYNET"}


async def test_converge_that_cannot_be_taken_back_raises_the_first_error_and_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel = MemoryKernel(before_step=refuse_from(3))
    caplog.set_level(logging.WARNING)

    with pytest.raises(KernelRefused, match="take step 3"):
        await converge(WANTED, NOTHING, kernel)

    assert "a failed change was not taken back whole" in caplog.text
    assert "link py-web" in own(kernel)


async def test_converge_where_a_stranger_has_a_name_changes_nothing() -> None:
    stranger = Foreign(key=BRIDGE.key, description="a bridge link")
    kernel = MemoryKernel(foreign=[stranger])

    with pytest.raises(Conflict, match="is not pynet's"):
        await converge(WANTED, NOTHING, kernel)

    assert own(kernel) == set()


async def test_dismantle_removes_all_but_what_is_shared() -> None:
    kernel = MemoryKernel()
    await converge(WANTED, NOTHING, kernel)

    await dismantle(WANTED, kernel)

    assert own(kernel) == {"firewall PYNET"}


@pytest.mark.parametrize("number", range(4))
async def test_dismantle_goes_on_past_a_refusal_and_tells(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = MemoryKernel()
    await converge(WANTED, NOTHING, kernel)
    kernel.before_step = fail_at(number)

    await dismantle(WANTED, kernel)

    assert len(own(kernel)) <= 2
    assert "not removed yet" in caplog.text


async def test_dismantle_leaves_a_stranger_of_the_same_name_alone() -> None:
    stranger = Foreign(key=BRIDGE.key, description="a bridge link")
    kernel = MemoryKernel(foreign=[stranger])
    await kernel.apply(Create(FIREWALL))

    await dismantle(WANTED, kernel)

    assert kernel.foreign == {stranger.key: stranger}
    assert own(kernel) == {"firewall PYNET"}
