"""Waiting for a namespace; that a mount is noticed is shown in integration/."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from netplug.kernel.namespaces import Namespaces, is_namespace

OURS = "/proc/self/ns/net"


def test_is_namespace_of_a_file_that_waits_for_one_is_false(tmp_path: Path) -> None:
    waiting = tmp_path / "1a2b3c"
    waiting.touch()

    assert [is_namespace(path) for path in (OURS, str(waiting), str(tmp_path / "none"))] == [
        True,
        False,
        False,
    ]


async def test_namespace_that_is_there_is_not_waited_for() -> None:
    await asyncio.wait_for(Namespaces(lambda _: True).appears(OURS), 1)


async def test_descriptors_are_kept_only_while_somebody_waits() -> None:
    namespaces = Namespaces(lambda _: False)
    before = len(os.listdir("/proc/self/fd"))

    waiting = [asyncio.create_task(namespaces.appears(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    meanwhile = len(os.listdir("/proc/self/fd"))
    for task in waiting:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert (meanwhile, len(os.listdir("/proc/self/fd"))) == (before + 2, before)
