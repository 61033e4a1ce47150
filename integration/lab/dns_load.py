"""A client that asks one name at a rate, and counts what it is told and what goes unanswered.

The file is also the program that does it in a namespace, where it needs nothing but Python.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field

PROGRAM = (sys.executable, "-I", "-S", __file__)
BEGUN = "begun"
RESOLVER = ("127.0.0.11", 53)
# How long a client waits before it asks again; resolvers are more patient: 5 s (resolv.conf(5)).
RETRY_S = 1.0
TRIES = 2
REST_S = 0.001
_A, _IN, _RD = 1, 1, 0x0100


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of it. An answer is its rcode, or its IPv4 addresses, ascending.

    `last_s` tells when each was heard last, on the monotonic clock.
    """

    asked: int = 0
    retried: int = 0
    unanswered: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    last_s: dict[str, float] = field(default_factory=dict)


def command(name: str, *, per_second: int, stay: int = 0) -> list[str]:
    """Return the command of a client that asks until it gets SIGTERM; `result` reads its output.

    Each query has a socket of its own, as those of most resolvers have; with `stay`, all of them
    take turns with so many sockets. A query that is refused is asked again at once, one that is not
    answered after a while; when that is in vain too, it counts as unanswered.
    """
    return [*PROGRAM, name, str(per_second), str(stay)]


def result(printed: str) -> Load:
    """Read what a client printed.

    Raises:
        ValueError: it did not come to its end.
    """
    return Load(**json.loads(printed.splitlines()[-1]))


# The program


@dataclass(slots=True)
class _Query:
    client: socket.socket
    wire: bytes
    tries_left: int = TRIES
    due_s: float = 0.0


class _Asker:
    def __init__(self, name: str, stay: int) -> None:
        labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
        self._question = labels + b"\0" + struct.pack("!HH", _A, _IN)
        self._staying = [_connected() for _ in range(stay)]
        self._waiting: dict[tuple[int, int], _Query] = {}
        self._poller = select.epoll()
        for client in self._staying:
            self._poller.register(client, select.EPOLLIN)
        self._clients = {client.fileno(): client for client in self._staying}
        self.asked = self.retried = self.unanswered = 0
        self.answers: Counter[str] = Counter()
        self.last_s: dict[str, float] = {}

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def ask(self) -> None:
        number = self.asked % 65536
        self.asked += 1
        if self._staying:
            client = self._staying[number % len(self._staying)]
        else:
            client = _connected()
            self._clients[client.fileno()] = client
            self._poller.register(client, select.EPOLLIN)
        header = struct.pack("!HHHHHH", number, _RD, 1, 0, 0, 0)
        query = _Query(client, header + self._question)
        self._waiting[client.fileno(), number] = query
        self._send((client.fileno(), number), query)

    def hear(self) -> None:
        """Take what is there, and see to what is overdue."""
        for number, _ in self._poller.poll(REST_S):
            self._read(self._clients[number])
        now = time.monotonic()
        for key, query in list(self._waiting.items()):
            if query.due_s > now:
                break  # the rest was sent later
            self._send(key, query)

    def load(self) -> Load:
        return Load(
            asked=self.asked,
            retried=self.retried,
            unanswered=self.unanswered,
            answers=dict(self.answers),
            last_s=self.last_s,
        )

    def _send(self, key: tuple[int, int], query: _Query) -> None:
        while query.tries_left:
            self.retried += query.tries_left < TRIES
            query.tries_left -= 1
            with suppress(ConnectionRefusedError):
                query.client.send(query.wire)
                query.due_s = time.monotonic() + RETRY_S
                self._waiting.pop(key, None)  # to the end of those that wait
                self._waiting[key] = query
                return
        self.unanswered += 1
        self._end(key)

    def _read(self, client: socket.socket) -> None:
        try:
            answer = client.recv(2048)
        except ConnectionRefusedError:
            # It does not tell which query it was; on a socket of its own, it is the only one.
            for key in [key for key in self._waiting if key[0] == client.fileno()]:
                self._send(key, self._waiting[key])
            return
        key = (client.fileno(), int.from_bytes(answer[:2]))
        if key in self._waiting:
            said = _said(answer, 12 + len(self._question))
            self.answers[said] += 1
            self.last_s[said] = time.monotonic()
            self._end(key)

    def _end(self, key: tuple[int, int]) -> None:
        query = self._waiting.pop(key)
        if query.client not in self._staying:
            del self._clients[query.client.fileno()]
            query.client.close()


def _connected() -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(RESOLVER)
    return client


def _said(answer: bytes, at: int) -> str:
    if code := answer[3] & 0xF:
        return f"rcode {code}"
    return " ".join(sorted(_addresses(answer, at, int.from_bytes(answer[6:8]))))


def _addresses(answer: bytes, at: int, records: int) -> Iterator[str]:
    """Yield the addresses of an answer whose records begin at `at`."""
    for _ in range(records):
        while answer[at] and answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if answer[at] else 1
        kind, _, _, size = struct.unpack_from("!HHIH", answer, at)
        at += 10
        if kind == _A:
            yield socket.inet_ntoa(answer[at : at + size])
        at += size


def main() -> None:
    name, per_second, stay = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    asker = _Asker(name, stay)
    is_over = False

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    print(BEGUN, flush=True)
    start = time.monotonic()
    while not is_over:
        while asker.asked < (time.monotonic() - start) * per_second:
            asker.ask()
        asker.hear()
    while asker.is_waiting:
        asker.hear()
    print(json.dumps(asdict(asker.load())), flush=True)


if __name__ == "__main__":
    main()
