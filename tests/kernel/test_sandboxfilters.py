"""Who waits for whom at the filters of a sandbox; integration/kernel has them filter."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from netplug.kernel import sandboxfilters
from netplug.kernel.sandboxfilters import SandboxFilters
from netplug.plan.objects import SandboxFilter

WISH = SandboxFilter(link="pyp1", netns="/run/docker/netns/1a2b")


class Host(SandboxFilters):
    """Filters whose visits to the sandbox last until `way_out` lets one leave, as a thread's do."""

    def __init__(self) -> None:
        super().__init__("0f3a")
        self.inside = 0
        self.most = 0
        self.way_out = asyncio.Semaphore(0)

    async def _inside(self, *_: Any, **__: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.way_out.acquire()
        except asyncio.CancelledError:  # who is cancelled waits for its thread
            await self.way_out.acquire()
        self.inside -= 1

    async def _follow(self, wish: SandboxFilter) -> None:
        async with self._lock(wish.key):
            await self._inside()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_filter_put_while_it_is_withdrawn_keeps_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandboxfilters, "is_namespace", lambda path: True)
    monkeypatch.setattr(sandboxfilters, "is_own_namespace", lambda path: False)
    host = Host()
    first = asyncio.create_task(host.withdraw(WISH))
    await turns()
    host.put(WISH)
    await turns()
    host.way_out.release()
    await first
    await turns()
    assert host.inside == 1  # the put, which waited

    second = asyncio.create_task(host.withdraw(WISH))
    await turns()
    assert host.inside == 1
    host.way_out.release()
    host.way_out.release()
    await second

    assert host.most == 1
    await host.close()
