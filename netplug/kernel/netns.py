"""Enter network namespaces without ever moving the daemon: on a thread that then ends."""

from __future__ import annotations

import _thread
import asyncio
import ctypes
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import TypeVar

from netplug.errors import KernelRefused

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # linux/sched.h


def inside(
    path: str, work: Callable[[], T], *, then: Callable[[T], None] | None = None
) -> asyncio.Future[T]:
    """Run `work` on a new thread inside the network namespace at `path`; its result is to come.

    What the thread does with it `then` is not waited for.

    Raises:
        KernelRefused: there is no such namespace, or it may not be entered.
    """
    return _on_thread(partial(_enter, path), work, then)


def apart(work: Callable[[], T]) -> asyncio.Future[T]:
    """Do the same inside a new network namespace, which ends with the thread.

    Raises:
        KernelRefused: none can be made.
    """
    return _on_thread(_leave, work)


def here() -> int:
    """Return a descriptor of the thread's namespace, which lives as long as it is open."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _on_thread(
    go: Callable[[], None], work: Callable[[], T], then: Callable[[T], None] | None = None
) -> asyncio.Future[T]:
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
            if then is not None:
                then(value)

    # not threading.Thread, whose start waits until it has begun: a third of what all this takes
    try:
        _thread.start_new_thread(body, ())
    except RuntimeError as error:
        raise KernelRefused("start a thread", str(error), errno.EAGAIN) from error
    return result


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
