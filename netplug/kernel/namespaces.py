"""When a network namespace appears under its path, and when mounts have changed.

Somebody makes an empty file and then mounts the namespace over it. No inotify event tells of the
mount, but /proc/self/mountinfo does: poll(2) on it returns whenever a mount of ours changes.
Source: proc_pid_mountinfo(5); Linux fs/proc_namespace.c, mounts_poll.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable

_MOUNTS = "/proc/self/mountinfo"
_OF_NAMESPACES = "/proc/self/ns/net"


class Namespaces:
    """Waits for namespaces; one descriptor for all, and only while somebody waits or listens."""

    def __init__(self, is_there: Callable[[str], bool] | None = None) -> None:
        self._is_there = is_there or is_namespace
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._listener: Callable[[], None] | None = None
        self._mounts: int | None = None
        self._poll: select.epoll | None = None

    async def appears(self, path: str) -> None:
        """Return when there is a namespace at `path`; at once if there is."""
        if self._is_there(path):
            return
        appeared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[appeared] = path
        try:
            self._watch()
            self._look()
            await appeared
        finally:
            del self._waiting[appeared]
            if not self._waiting and self._listener is None:
                self._unwatch()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever mounts have changed, until `close`: a namespace may be gone."""
        self._listener = listener
        self._watch()

    def close(self) -> None:
        """Listen no more."""
        self._listener = None
        if not self._waiting:
            self._unwatch()

    def _look(self) -> None:
        for appeared, path in self._waiting.items():
            if not appeared.done() and self._is_there(path):
                appeared.set_result(None)

    def _watch(self) -> None:
        if self._poll is not None:
            return
        self._mounts = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        # It can always be read; only the exception tells of a change. The event loop does not wait
        # for those alone, so that there is an epoll within its own.
        self._poll = select.epoll()
        self._poll.register(self._mounts, select.EPOLLPRI)
        self._poll.poll(0)
        asyncio.get_running_loop().add_reader(self._poll.fileno(), self._changed)

    def _unwatch(self) -> None:
        if self._poll is None or self._mounts is None:
            return
        asyncio.get_running_loop().remove_reader(self._poll.fileno())
        self._poll.close()
        os.close(self._mounts)
        self._poll = self._mounts = None

    def _changed(self) -> None:
        if self._poll is not None:
            self._poll.poll(0)
        self._look()
        if self._listener is not None:
            self._listener()


def is_namespace(path: str) -> bool:
    """Return whether there is a namespace at `path`, and not a file that waits for one.

    All namespaces are files of one file system, which has nothing else.
    """
    try:
        return os.stat(path).st_dev == os.stat(_OF_NAMESPACES).st_dev
    except OSError:
        return False
