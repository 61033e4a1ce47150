"""The host's resolvers, as /etc/resolv.conf names them; read again when it changes."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

PATH = "/etc/resolv.conf"

_SERVERS = 3  # glibc: resolv.h, MAXNS
_FALLBACK = ("127.0.0.1",)  # as glibc does without the file, or with none in it
_MANY = 16  # that are read
_CHECK_S = 1.0
_BYTES = 65536


class HostResolvers:
    """Knows whom the host asks.

    `ours` are addresses where we ourselves answer the host, for the names of all networks: nobody
    else's question may come there by a detour.
    """

    def __init__(self, monotonic_s: Callable[[], float], path: str = PATH) -> None:
        self._monotonic_s = monotonic_s
        self._path = path
        self._next_check_s = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._servers: tuple[str, ...] = _FALLBACK
        self.ours: frozenset[str] = frozenset()

    def servers(self) -> tuple[str, ...]:
        """Return their addresses, in order, without our own."""
        now_s = self._monotonic_s()
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + _CHECK_S
            self._check()
        return tuple(server for server in self._servers if server not in self.ours)[:_SERVERS]

    def _check(self) -> None:
        """Read the file if it is another than last time; keep what is known if it is gone."""
        try:
            found = os.stat(self._path)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            with open(self._path, encoding="utf-8", errors="replace") as file:
                self._servers = parse(file.read(_BYTES))
            self._seen = seen
        except OSError:
            return


def parse(text: str) -> tuple[str, ...]:
    """Return the addresses of the `nameserver` lines; what is no address is none of them."""
    return tuple(_addresses(text))[:_MANY] or _FALLBACK


def _addresses(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            with suppress(ValueError):
                yield str(ipaddress.ip_address(words[1]))
