"""The links of a host as its kernel has them, and when it is done with removing some."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
import time

from integration.lab import Host, NeverHappened

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914  # linux/sockios.h
_POLL_S = 0.001
_DEADLINE_S = 30.0


class Links:
    """Watches the links of a host without forking, and without asking pynet or dockerd."""

    def __init__(self, host: Host) -> None:
        self._folder = host.path("/sys/class/net")
        self._socket = _socket_in(host.namespace.pid)

    def names(self) -> frozenset[str]:
        return frozenset(os.listdir(self._folder))

    def wait_until_gone(self, names: frozenset[str]) -> None:
        """Return when none of these is left and the kernel is done with removing them.

        Raises:
            NeverHappened: some were still there at the deadline.
        """
        end = time.monotonic() + _DEADLINE_S
        while left := self.names() & names:
            if time.monotonic() > end:
                raise NeverHappened(f"{', '.join(sorted(left))} goes away", _DEADLINE_S)
            time.sleep(_POLL_S)
        self._pass_lock()

    def close(self) -> None:
        self._socket.close()

    def _pass_lock(self) -> None:
        """Wait for the lock that a removal still holds, for some 10 ms, when the name is gone.

        Setting flags takes it (Linux net/core/dev_ioctl.c, dev_ioctl); they stay as they are.
        """
        request = struct.pack("16sh22x", b"lo", 0)
        flags = fcntl.ioctl(self._socket, _SIOCGIFFLAGS, request)
        fcntl.ioctl(self._socket, _SIOCSIFFLAGS, flags)


def _socket_in(pid: int) -> socket.socket:
    """Return a socket of the network namespace of a process: a thread enters it, and ends."""
    made: list[socket.socket] = []

    def make() -> None:
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "the namespace cannot be entered")
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]
