"""Threads that enter namespaces."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from integration.lab import eventually, probes
from integration.lab.namespace import Namespace
from netplug.kernel import netns

PATIENCE_S = 10.0

pytestmark = pytest.mark.needs(*probes.OF_A_LAB)


async def test_what_a_thread_does_behind_its_result_is_not_waited_for(tmp_path: Path) -> None:
    may_end, done = threading.Event(), threading.Event()

    def then(result: int) -> None:
        may_end.wait(PATIENCE_S)
        done.set()

    space = Namespace("box", log=tmp_path / "box")
    try:
        assert await netns.inside(f"/proc/{space.pid}/ns/net", lambda: 7, then=then) == 7
    finally:
        space.close()
    assert not done.is_set()

    may_end.set()
    await asyncio.to_thread(eventually, done.is_set, "it is done")


async def test_namespace_of_its_own_can_be_entered_as_long_as_it_is_open() -> None:
    inode = Path("/proc/thread-self/ns/net").stat().st_ino
    made = await netns.apart(netns.here)
    with open(made, "rb") as namespace:
        path = f"/proc/self/fd/{namespace.fileno()}"
        entered = await netns.inside(path, Path("/proc/thread-self/ns/net").stat)
        assert entered.st_ino == Path(path).stat().st_ino != inode
