"""Enter network namespaces without ever moving the daemon: on a thread that then ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from netplug.errors import KernelRefused

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # linux/sched.h


async def inside(path: str, work: Callable[[], T]) -> T:
    """Run `work` on a new thread inside the network namespace at `path` and return its result.

    Raises:
        KernelRefused: there is no such namespace, or it may not be entered.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[], None]) -> None:
        if not result.done():
            setter()

    def body() -> None:
        try:
            _enter(path)
            value = work()
        except BaseException as error:
            failure = error
            loop.call_soon_threadsafe(settle, lambda: result.set_exception(failure))
        else:
            loop.call_soon_threadsafe(settle, lambda: result.set_result(value))

    threading.Thread(target=body, name="netns", daemon=True).start()
    return await result


def _enter(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelRefused(
            f"enter the namespace {path}", error.strerror or "unknown", error.errno or 0
        ) from error
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise KernelRefused(f"enter the namespace {path}", os.strerror(code), code)
    finally:
        os.close(fd)
