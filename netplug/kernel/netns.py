"""Enter network namespaces without ever moving the daemon: on a thread that then ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import TypeVar

from netplug.errors import KernelRefused

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # linux/sched.h


async def inside(path: str, work: Callable[[], T]) -> T:
    """Run `work` on a new thread inside the network namespace at `path` and return its result.

    Raises:
        KernelRefused: there is no such namespace, or it may not be entered.
    """
    return await _on_thread(partial(_enter, path), work)


async def apart(work: Callable[[], T]) -> T:
    """Run `work` on a new thread inside a new network namespace, which ends with it.

    Raises:
        KernelRefused: none can be made.
    """
    return await _on_thread(_leave, work)


async def _on_thread(go: Callable[[], None], work: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[], None]) -> None:
        if not result.done():
            setter()

    def tell(setter: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(settle, setter)

    def body() -> None:
        try:
            go()
            value = work()
        except BaseException as error:
            failure = error
            tell(lambda: result.set_exception(failure))
        else:
            tell(lambda: result.set_result(value))

    threading.Thread(target=body, name="netns", daemon=True).start()
    return await result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _leave() -> None:
    if _libc().unshare(_CLONE_NEWNET):
        code = ctypes.get_errno()
        raise KernelRefused("make a namespace", os.strerror(code), code)


def _enter(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelRefused(
            f"enter the namespace {path}", error.strerror or "unknown", error.errno or 0
        ) from error
    try:
        if _libc().setns(fd, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise KernelRefused(f"enter the namespace {path}", os.strerror(code), code)
    finally:
        os.close(fd)
