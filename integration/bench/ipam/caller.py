"""Asks for addresses over the plugin socket as dockerd does, with nothing but the standard library.

`caller.py SOCKET POOL CALLERS CALLS` prints a line of JSON: the seconds that so many answers to so
many callers took, each with a connection of its own and one call under way; the us that each
answer took; and the seconds of processor time that this process needed for them. What it was given
it gives back afterwards.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable

_DEADLINE_S = 20.0
_HEAD = (
    "POST /IpamDriver.{method} HTTP/1.1\r\nHost: plugin.moby.localhost\r\n"
    "User-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n"
    "Accept: application/vnd.docker.plugins.v1.2+json\r\nAccept-Encoding: gzip\r\n\r\n"
)
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_AT_ONCE_BYTES = 1 << 16

NextCall = Callable[[], bytes | None]
"""Returns the next call to be made, or nothing when all are."""


class Connections:
    """So many callers at one socket, served by one thread."""

    def __init__(self, path: str, count: int) -> None:
        self._poller = select.epoll()
        self._links: dict[int, socket.socket] = {}
        for _ in range(count):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.connect(path)
            link.setblocking(False)
            self._links[link.fileno()] = link
            self._poller.register(link, select.EPOLLIN)

    def make(self, next_call: NextCall) -> tuple[list[float], list[bytes]]:
        """Make all calls; return the us that each took, and the bodies of the answers.

        Raises:
            ConnectionError: an answer is not 200.
            TimeoutError: no answer comes any more.
        """
        took_us: list[float] = []
        bodies: list[bytes] = []
        begun: dict[int, float] = {}
        parts: dict[int, bytes] = {}

        def begin(number: int) -> None:
            if (call := next_call()) is not None:
                begun[number] = time.perf_counter()
                self._links[number].send(call)

        for number in self._links:
            begin(number)
        while begun:
            ready = self._poller.poll(_DEADLINE_S)
            if not ready:
                raise TimeoutError(f"{len(begun)} calls are not answered")
            for number, _ in ready:
                got = parts.pop(number, b"") + self._links[number].recv(_AT_ONCE_BYTES)
                if (body := _body(got)) is None:
                    parts[number] = got
                    continue
                took_us.append((time.perf_counter() - begun.pop(number)) * 1e6)
                bodies.append(body)
                begin(number)
        return took_us, bodies


def _body(answer: bytes) -> bytes | None:
    """Return the body of an answer, or nothing as long as it is not whole."""
    if not answer.startswith(b"HTTP/1.1 200 "[: len(answer)]) or not answer:
        raise ConnectionError(f"not the answer that was wanted: {answer!r}")
    head, end, body = answer.partition(_END)
    head = head.lower()
    if not end:
        return None
    length = int(head[head.index(_LENGTH) + len(_LENGTH) :].split(b"\r\n", 1)[0])
    return body if len(body) >= length else None


def _call(method: str, pool: str, address: str) -> bytes:
    body = json.dumps({"PoolID": pool, "Address": address, "Options": {}})
    return (_HEAD.format(method=method, length=len(body)) + body).encode()


def main() -> None:
    path, pool, callers, calls = sys.argv[1:]
    connections = Connections(path, int(callers))
    request = _call("RequestAddress", pool, "")
    warm, left = iter([request] * int(callers)), iter([request] * int(calls))
    _, first = connections.make(lambda: next(warm, None))
    begun_s, worked_s = time.perf_counter(), time.process_time()
    took_us, bodies = connections.make(lambda: next(left, None))
    ended_s, rested_s = time.perf_counter(), time.process_time()

    given = deque(json.loads(body)["Address"].split("/")[0] for body in (*first, *bodies))
    back = (_call("ReleaseAddress", pool, address) for address in given)
    connections.make(lambda: next(back, None))
    if len(set(given)) != len(given):
        raise AssertionError("an address was given out twice")
    seconds, work = ended_s - begun_s, rested_s - worked_s
    print(json.dumps({"seconds": seconds, "work_s": work, "took_us": took_us}))


if __name__ == "__main__":
    main()
