"""Threads in namespaces that cannot be started; integration/kernel enters real ones."""

from __future__ import annotations

import _thread
import errno

import pytest

from netplug.errors import KernelRefused
from netplug.kernel import netns


async def test_thread_that_cannot_be_started_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)

    with pytest.raises(KernelRefused, match="can't start new thread") as refusal:
        await netns.inside("/run/netns/a", int)
    assert refusal.value.code == errno.EAGAIN
