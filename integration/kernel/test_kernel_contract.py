"""The real kernel keeps the promises that tests/contract asks of the fake.

Each test runs in a network namespace of its own, which this process enters with its main thread:
a LinuxKernel works in the namespace of the thread that opens it, and the threads and programs that
it starts inherit that one.
"""

from __future__ import annotations

import subprocess  # noqa: TID251 - a namespace is held by a process; no plan of ours is involved
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from integration.lab import probes
from integration.lab.process import run
from netplug.kernel.linkops import index_of
from netplug.kernel.linux import LinuxKernel
from netplug.plan.diff import Delete, diff
from netplug.plan.objects import GROUP_BASE, Firewall, Foreign, LinkPolicy, Masquerade
from tests.contract.test_kernel import (
    BRIDGE,
    FIREWALL,
    GATEWAY,
    LOCAL,
    MASQUERADE,
    VETH,
    KernelContract,
    Stranger,
    Vandal,
    make,
    seen,
)

_INSTANCE = "0f3a"

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset")


@pytest.fixture
async def kernel(network: None) -> AsyncIterator[LinuxKernel]:
    async with another() as kernel:
        yield kernel


@pytest.fixture
def netns() -> Iterator[str]:
    """The path of a second namespace, held by a process that ends with standard input."""
    holding = ["unshare", "--net", "sh", "-c", "echo; cat"]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield f"/proc/{holder.pid}/ns/net"


@pytest.fixture
def stranger() -> Stranger:
    def make_link(name: str) -> None:
        run(["ip", "link", "add", name, "type", "bridge"])

    return make_link


@pytest.fixture
def vandal() -> Vandal:
    def clear(obj: Firewall | Masquerade) -> None:
        if isinstance(obj, Firewall):
            run(["iptables", "-t", "mangle", "-F"])
        else:
            run(["ipset", "flush", "pynet-masq4"])

    return clear


@asynccontextmanager
async def another(instance: str = _INSTANCE) -> AsyncIterator[LinuxKernel]:
    """A second daemon's view of the same namespace, or the first one's after a restart."""
    kernel = LinuxKernel(instance)
    await kernel.open()
    try:
        yield kernel
    finally:
        await kernel.close()


class TestLinuxKernel(KernelContract):
    async def test_inventory_after_a_restart_shows_what_was_made(self, kernel: LinuxKernel) -> None:
        ours = (FIREWALL, BRIDGE, GATEWAY, MASQUERADE, LOCAL, VETH)
        await make(kernel, *ours)

        async with another() as restarted:
            found = await restarted.inventory([])

        assert {o.key for o in found} == {o.key for o in ours}

    async def test_diff_after_a_restart_renews_the_firewall_and_nothing_else(
        self, kernel: LinuxKernel
    ) -> None:
        firewall = Firewall(has_ipv6=True, filters_bridged=False)
        ours = (firewall, BRIDGE, GATEWAY, MASQUERADE, LOCAL, VETH)
        await make(kernel, *ours)

        async with another() as restarted:
            steps = diff(ours, await restarted.inventory(ours)).steps
            for step in steps:
                await restarted.apply(step)
            rest = diff(ours, await restarted.inventory(ours)).steps

        assert [step.object for step in steps] == [firewall]
        assert rest == ()

    async def test_tables_of_an_earlier_run_are_found_though_its_chains_are_gone(
        self, kernel: LinuxKernel
    ) -> None:
        await make(kernel, FIREWALL)
        for command in ("iptables", "ip6tables"):
            for table in ("filter", "nat", "mangle"):
                run([command, "-t", table, "-F"])
                run([command, "-t", table, "-X"])

        async with another() as restarted:
            for step in diff([], await restarted.inventory([])).steps:
                await restarted.apply(step)

        assert "pynet" not in run(["nft", "list", "tables"]).stdout

    async def test_look_at_a_link_of_another_installation_says_foreign(
        self, kernel: LinuxKernel
    ) -> None:
        async with another("9b1c") as neighbour:
            await make(neighbour, BRIDGE)

        assert isinstance(await seen(kernel, BRIDGE), Foreign)
        assert await kernel.inventory([]) == frozenset()

    async def test_look_at_a_link_in_our_group_without_an_alias_finds_it_ours(
        self, kernel: LinuxKernel
    ) -> None:
        run(["ip", "link", "add", BRIDGE.name, "group", str(GROUP_BASE), "type", "bridge"])

        assert await seen(kernel, BRIDGE) in await kernel.inventory([])

    async def test_open_removes_what_was_marked_before_a_crash(self, kernel: LinuxKernel) -> None:
        doomed = str(GROUP_BASE | LinkPolicy.DOOMED)
        await make(kernel, BRIDGE)
        run(["ip", "link", "set", BRIDGE.name, "group", doomed])

        async with another() as restarted:
            await restarted.settle()

            assert index_of(BRIDGE.name) == 0

    async def test_inventory_without_our_jump_misses_the_firewall(
        self, kernel: LinuxKernel
    ) -> None:
        await make(kernel, FIREWALL)
        run(["iptables", "-t", "mangle", "-F", "FORWARD"])

        assert FIREWALL not in await kernel.inventory([FIREWALL])

        await make(kernel, FIREWALL)
        assert await kernel.inventory([FIREWALL]) == {FIREWALL}

    async def test_install_puts_our_jump_behind_that_to_docker_user(
        self, kernel: LinuxKernel
    ) -> None:
        run(["iptables", "-N", "DOCKER-USER"])
        run(["iptables", "-A", "FORWARD", "-j", "DOCKER-USER"])
        run(["iptables", "-A", "FORWARD", "-j", "ACCEPT"])

        await make(kernel, FIREWALL)

        listed = run(["iptables", "-S", "FORWARD"]).stdout.splitlines()
        assert [line.split()[-1] for line in listed[1:]] == [
            "DOCKER-USER",
            "PYNET-FORWARD",
            "ACCEPT",
        ]

    async def test_delete_firewall_leaves_the_tables_as_they_were(
        self, kernel: LinuxKernel
    ) -> None:
        run(["iptables", "-A", "FORWARD", "-i", "lo", "-j", "ACCEPT"])
        before = run(["iptables-save"]).stdout.count("-A ")
        await make(kernel, FIREWALL, MASQUERADE)

        await kernel.apply(Delete(FIREWALL))

        assert run(["iptables-save"]).stdout.count("-A ") == before
        assert run(["ipset", "list", "-name"]).stdout == ""
