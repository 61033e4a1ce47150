"""Servers that say who they are and who asked, and clients that ask many of them at once.

The file is also the program that does both in a namespace, where it needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from integration.lab.process import Completed

LISTENING = "listening"
NOBODY = "nobody"
FREE = "free"
# An answer takes a millisecond; so long may a busy machine take to give one that must come.
PATIENCE_S = 5.0
IN_VAIN_S = 0.5
RESEND_S = 0.25
# Neither the site's packages nor what the environment names: the program starts in 30 ms.
PROGRAM = (sys.executable, "-I", "-S", __file__)


class Question(NamedTuple):
    """Whom to ask."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.address} {self.port}"


class Answer(NamedTuple):
    """What a server said: its name, the port that it serves and the address it saw."""

    name: str
    port: int
    client: str

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


Answers = Mapping[Question, Answer | None]
Expected = Mapping[Question, str]
"""Who should answer, as "web:80" or `NOBODY`."""


def tcp(address: object, port: int) -> Question:
    return Question("tcp", str(address), port)


def udp(address: object, port: int) -> Question:
    return Question("udp", str(address), port)


class Runner(Protocol):
    """Runs a command somewhere, like `Host.run` and `Underlay.run`."""

    def __call__(self, argv: Sequence[str], *, stdin: str) -> Completed: ...


def server(name: str, ports: Sequence[str]) -> list[str]:
    """Return the command of a server on "tcp/80" or "udp/9000-9009", over both families.

    With "udp/80@ADDRESS" it answers as that address; otherwise as that by which the client is
    reached, whichever it asked.
    It prints a line when it listens, and a line for whatever reaches it. In lists of processes it
    goes by its name.
    """
    return [*PROGRAM, "serve", name, *ports]


def ask(run: Runner, expected: Expected) -> Answers:
    """Ask all at once, and return what was answered; None where nothing was."""
    asked = [(*question, _patience_s(answer)) for question, answer in expected.items()]
    printed = run([*PROGRAM, "ask"], stdin=json.dumps(asked)).stdout
    answers = [Answer(*answer) if answer else None for answer in json.loads(printed)]
    return dict(zip(expected, answers, strict=True))


def mistakes(expected: Expected, answers: Answers) -> str:
    """Return a line for each question that somebody else answered than expected."""
    return "\n".join(
        f"{question} is answered by {answers[question] or NOBODY} instead of {answer}"
        for question, answer in expected.items()
        if str(answers[question] or NOBODY) != answer
    )


def misheard(run: Runner, expected: Expected) -> str:
    """Ask all at once, and return a line for each that was not answered as expected."""
    return mistakes(expected, ask(run, expected))


def flow(question: Question, every_s: float) -> list[str]:
    """Return the command of a client that asks again and again; `heard` reads what it prints.

    Over TCP it opens a connection each time, over UDP it keeps to one socket.
    """
    return [*PROGRAM, "flow", *map(str, question), str(every_s)]


def heard(printed: str) -> Iterator[tuple[float, Answer | None]]:
    """Yield when each question of a flow was asked, on the monotonic clock, and its answer."""
    for line in printed.splitlines():
        asked_at, answer = json.loads(line)
        yield asked_at, Answer(*answer) if answer else None


def is_free(run: Runner, protocol: str, port: int, address: str = "::") -> bool:
    """Tell whether a process could listen on a port; "::" means both families."""
    return run([*PROGRAM, "bind", protocol, address, str(port)], stdin="").stdout.strip() == FREE


def _patience_s(answer: str) -> float:
    return IN_VAIN_S if answer == NOBODY else PATIENCE_S


def _serve(name: str, ports: Sequence[str]) -> None:
    Path("/proc/self/comm").write_text(name)
    selector = selectors.DefaultSelector()
    for protocol, address, port in _each(ports):
        listener = _bound(protocol, address, port)
        answer = _answer_stream if protocol == "tcp" else _answer_datagram
        selector.register(listener, selectors.EVENT_READ, partial(answer, listener, name, port))
    print(LISTENING, flush=True)
    while True:
        for key, _ in selector.select():
            with suppress(OSError):  # the client is gone
                key.data()


def _answer_stream(listener: socket.socket, name: str, port: int) -> None:
    connection, client = listener.accept()
    with connection:
        connection.sendall(_said(Answer(name, port, client[0])))


def _answer_datagram(listener: socket.socket, name: str, port: int) -> None:
    _, client = listener.recvfrom(2048)
    listener.sendto(_said(Answer(name, port, client[0])), client)


def _said(answer: Answer) -> bytes:
    """Print an answer and return it as it is sent."""
    answer = answer._replace(client=answer.client.removeprefix("::ffff:"))
    print(*answer, flush=True)
    return json.dumps(answer).encode()


def _each(ports: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    for word in ports:
        where, _, address = word.partition("@")
        protocol, _, run = where.partition("/")
        first, _, last = run.partition("-")
        for port in range(int(first), int(last or first) + 1):
            yield protocol, address or "::", port


def _bound(protocol: str, address: str, port: int) -> socket.socket:
    bound = _socket(protocol, address)
    if protocol == "tcp":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
    bound.bind((address, port))
    if protocol == "tcp":
        bound.listen(64)
    return bound


def _socket(protocol: str, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)


def _ask(protocol: str, address: str, port: int, patience_s: float) -> object:
    """Return the answer, or nothing when it was refused or did not come in time."""
    try:
        with _socket(protocol, address) as client:
            client.settimeout(patience_s)
            client.connect(_name(address, port))
            said = _stream(client) if protocol == "tcp" else _datagram(client, patience_s)
    except OSError:
        return None
    return json.loads(said) if said else None


def _name(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return what `connect` takes, which has no ear for the link in "fe80::1%eth0"."""
    host, _, link = address.partition("%")
    return (host, port, 0, socket.if_nametoindex(link)) if link else (host, port)


def _stream(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(2048), b""))


def _datagram(client: socket.socket, patience_s: float) -> bytes:
    end = time.monotonic() + patience_s
    client.settimeout(RESEND_S)
    while time.monotonic() < end:
        client.send(b"?")
        try:
            return client.recv(2048)
        except TimeoutError:
            continue
    return b""


def _ask_all() -> None:
    asked = json.load(sys.stdin)
    with ThreadPoolExecutor(len(asked)) as pool:
        json.dump(list(pool.map(_ask, *zip(*asked, strict=True))), sys.stdout)


def _flow(question: Question, every_s: float) -> None:
    if question.protocol == "udp":
        _flow_of_datagrams(question, every_s)
    with ThreadPoolExecutor(int(IN_VAIN_S / every_s) + 1) as pool:
        for asked_at in _ticks(every_s):
            pool.submit(lambda at: _tell(at, _ask(*question, IN_VAIN_S)), asked_at)


def _flow_of_datagrams(question: Question, every_s: float) -> None:
    with _socket(question.protocol, question.address) as client:
        client.settimeout(every_s)
        client.connect((question.address, question.port))
        for asked_at in _ticks(every_s):
            answer = None
            with suppress(OSError):  # refused, or no answer
                client.send(b"?")
                answer = json.loads(client.recv(2048))
            _tell(asked_at, answer)


def _tell(asked_at: float, answer: object) -> None:
    os.write(1, json.dumps([asked_at, answer]).encode() + b"\n")


def _ticks(every_s: float) -> Iterator[float]:
    start = time.monotonic()
    for number in count():
        time.sleep(max(0.0, start + number * every_s - time.monotonic()))
        yield time.monotonic()


def _bind(protocol: str, address: str, port: int) -> None:
    try:
        _bound(protocol, address, port).close()
        print(FREE)
    except OSError as error:
        print(error)


def main() -> None:
    match sys.argv[1:]:
        case ["serve", name, *ports]:
            _serve(name, ports)
        case ["ask"]:
            _ask_all()
        case ["flow", protocol, address, port, every_s]:
            _flow(Question(protocol, address, int(port)), float(every_s))
        case ["bind", protocol, address, port]:
            _bind(protocol, address, int(port))
        case _:
            sys.exit("There is no such verb.")


if __name__ == "__main__":
    main()
