"""Asks a port for connections, by its path and with nothing but the standard library.

`client.py rate ADDRESS PORT SECONDS` prints a line of JSON: connections per second with `WIDTH`
under way, and the us that each took one at a time. `client.py syn ADDRESS PORT` sends one SYN to
where no answer comes from.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import struct
import sys
import time

WIDTH = 16
DEADLINE_S = 5.0
SYN_S = 0.1  # less than the second after which the SYN is sent again

# Closing resets the connection: neither end keeps its port in TIME_WAIT.
_RESET = struct.pack("ii", 1, 0)
_DEADLINE = struct.pack("ll", int(DEADLINE_S), 0)

Target = tuple[str, int]


def per_second(target: Target, seconds: float) -> float:
    """Return how many connections were made, with `WIDTH` under way."""
    poller = select.epoll()
    waiting: dict[int, socket.socket] = {}

    def begin() -> None:
        link = _socket()
        link.setblocking(False)
        if (code := link.connect_ex(target)) not in (0, errno.EINPROGRESS):
            raise OSError(code, f"connect: {errno.errorcode[code]}")
        waiting[link.fileno()] = link
        poller.register(link, select.EPOLLOUT)

    start = time.perf_counter()
    for _ in range(WIDTH):
        begin()
    made = 0
    while time.perf_counter() - start < seconds:
        ready = poller.poll(DEADLINE_S)
        if not ready:
            raise TimeoutError("no connection was made any more")
        for number, _ in ready:
            link = waiting.pop(number)
            if code := link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, f"connect: {errno.errorcode[code]}")
            link.close()
            made += 1
            begin()
    rate = made / (time.perf_counter() - start)
    for link in waiting.values():
        link.close()
    return rate


def one_by_one(target: Target, seconds: float) -> list[float]:
    """Return the us that each connection took, the next begun when one was closed."""
    took_us = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        link = _socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _DEADLINE)
        begin = time.perf_counter()
        link.connect(target)
        took_us.append((time.perf_counter() - begin) * 1e6)
        link.close()
    return took_us


def one_syn(target: Target) -> None:
    """Send the first packet of a connection, and no other."""
    with _socket() as link:
        link.settimeout(SYN_S)
        try:
            link.connect(target)
        except TimeoutError:
            return
    raise ConnectionError("an answer came")


def _socket() -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return link


def main() -> None:
    verb, address, port, *more = sys.argv[1:]
    target = (address, int(port))
    if verb == "syn":
        one_syn(target)
        return
    seconds = float(more[0])
    rate = per_second(target, seconds)
    print(json.dumps({"per_second": rate, "took_us": one_by_one(target, seconds)}))


if __name__ == "__main__":
    main()
