"""A loop around epoll: one handler a descriptor, a tick a second for those who ask for it."""

from __future__ import annotations

import heapq
import itertools
import select
import socket
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
# All that can be said of a socket that is not ready to be written to: data, end, reset.
READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR

_TICK_S = 1.0
_BATCH = 256  # events taken from the kernel at once

Handler = Callable[[int], None]


class Loop:
    """Calls handlers with epoll's events; level-triggered, so a handler need not finish."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self.now_s = monotonic_s()
        self.monotonic_s = monotonic_s  # the time itself; `now_s` is when the running batch began
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[int, Handler]] = {}
        self._tickers: set[Callable[[], None]] = set()
        self._next_tick_s = 0.0
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()  # alarms of the same time keep their order
        self._closing: list[socket.socket] = []
        self._afterwards: list[Callable[[], None]] = []

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call `handler` on `events` of `fd`, instead of what was said of it before.

        With no events it is not watched at all: epoll would report an error again and again to a
        handler that cannot do anything about it yet.
        """
        known = self._handlers.get(fd)
        if not events:
            if known:
                del self._handlers[fd]
                self._epoll.unregister(fd)
            return
        if known is None:
            self._epoll.register(fd, events)
        elif known[0] != events:
            self._epoll.modify(fd, events)
        self._handlers[fd] = (events, handler)

    def discard(self, sock: socket.socket) -> None:
        """Stop watching a socket and close it, after the running batch.

        So no event of the batch can be taken for one of a new socket with the same number.
        """
        self.watch(sock.fileno(), 0, _ignore)
        self._closing.append(sock)

    def afterwards(self, action: Callable[[], None]) -> None:
        """Call `action` after the running batch, when what it discarded is closed."""
        self._afterwards.append(action)

    def tick(self, ticker: Callable[[], None], *, is_on: bool) -> None:
        """Call `ticker` every second from now on, or no more."""
        if is_on:
            self._tickers.add(ticker)
        else:
            self._tickers.discard(ticker)

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        """Call `action` once, when the loop's clock has come to `when_s`; cannot be taken back."""
        heapq.heappush(self._alarms, (when_s, next(self._numbers), action))

    def run_once(self, timeout_s: float | None = None) -> None:
        """Wait for events, not longer than `timeout_s`, the next alarm or tick; handle them."""
        if self._tickers and (timeout_s is None or timeout_s > _TICK_S):
            timeout_s = _TICK_S
        if self._alarms:
            until_s = max(0.0, self._alarms[0][0] - self.monotonic_s())
            timeout_s = until_s if timeout_s is None else min(timeout_s, until_s)
        events = self._epoll.poll(timeout_s, _BATCH)
        self.now_s = self.monotonic_s()
        for fd, event in events:
            known = self._handlers.get(fd)
            if known:
                known[1](event)
        while self._alarms and self._alarms[0][0] <= self.now_s:
            heapq.heappop(self._alarms)[2]()
        if self._tickers and self.now_s >= self._next_tick_s:
            self._next_tick_s = self.now_s + _TICK_S
            for ticker in list(self._tickers):
                ticker()
        self._end_batch()

    def close(self) -> None:
        """Close what is left."""
        self._end_batch()
        self._epoll.close()

    def _end_batch(self) -> None:
        for sock in self._closing:
            sock.close()
        self._closing.clear()
        for action in self._afterwards:
            action()
        self._afterwards.clear()


class Descriptors:
    """Counts the descriptors that clients cause, so that handed sockets always find room."""

    # Kept free for a message's worth of handed sockets and for what Python opens.
    RESERVE = 320

    def __init__(self, limit: int) -> None:
        self._free = limit - self.RESERVE
        self.share = max(self._free // 2, 2)
        """How many the clients of one port may have, so that those of others find some."""

    def has(self, count: int) -> bool:
        """Return whether clients may have `count` more."""
        return self._free >= count

    def take(self, count: int) -> None:
        """Count `count` as open."""
        self._free -= count

    def give(self, count: int) -> None:
        """Count `count` as closed."""
        self._free += count


def _ignore(_: int) -> None:
    return
