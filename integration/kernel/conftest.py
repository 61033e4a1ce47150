"""A network namespace for one test, entered by this process."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from integration.lab.process import run

_CLONE_NEWNET = 0x40000000  # linux/sched.h


@pytest.fixture
def network() -> Iterator[None]:
    """A network namespace for the main thread of this process, with loopback up."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", "rb") as before:
        if libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            run(["ip", "link", "set", "lo", "up"])
            yield
        finally:
            if libc.setns(before.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
