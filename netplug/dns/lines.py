"""Sockets to those who are asked: one for many questions, or one for one question."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Protocol

from netplug.dns.wire import HEADER_BYTES, Query
from netplug.loop import READ, WRITE, Loop

_BUFFER = bytearray(65536)
_DATAGRAMS, _TURN_S = 16, 0.002  # a turn: so many, or so long
_IDS = 65536

Done = Callable[[bytes | None], None]  # the answer; None: there is none to be had


class Line(Protocol):
    """A way to one answer that may be given up."""

    def again(self) -> None:
        """Send the question once more, if it may have been lost."""
        ...

    def close(self) -> None:
        """Wait no more."""
        ...


class SharedLine:
    """A connected UDP socket for all questions of a client; answers are told apart by random ids.

    Who could forge an answer here is root in the client's own namespace.
    """

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self._asked: dict[bytes, tuple[Query, Done]] = {}
        self.used_s = loop.now_s
        self.heard_s = 0.0  # when an answer came last
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._receive)

    @property
    def is_idle(self) -> bool:
        """Return whether no answer is awaited."""
        return not self._asked

    def ask(self, query: Query, done: Done) -> bytes:
        """Send a question, and return the id that it got."""
        number = random_id()
        while number in self._asked:
            number = random_id()
        self._asked[number] = (query, done)
        self._send(number)
        return number

    def again(self, number: bytes) -> None:
        """Send a question once more."""
        if number in self._asked:
            self._send(number)

    def forget(self, number: bytes) -> None:
        """Wait for an answer no more."""
        self._asked.pop(number, None)

    def close(self) -> None:
        """Close the socket; whoever waits is told by the caller."""
        self._asked.clear()
        self._loop.discard(self._sock)

    def _send(self, number: bytes) -> None:
        """Send a question; wait no longer for its answer if it cannot be, now or later."""
        query, _ = self._asked[number]
        self.used_s = self._loop.now_s
        try:
            self._sock.send(number + query.data[2:])
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                self._loop.at(self._loop.now_s, lambda: self._give_up([number]))

    def _receive(self, _: int) -> None:
        end_s = self._loop.monotonic_s() + _TURN_S
        for _datagram in range(_DATAGRAMS):
            try:
                wire = self._sock.recv(len(_BUFFER))
            except BlockingIOError:
                return
            except OSError:  # ECONNREFUSED: nobody is there
                self._give_up(list(self._asked))
                return
            query, done = self._asked.get(wire[:2], (None, None))
            if query is not None and done is not None and is_answer(wire, query):
                del self._asked[wire[:2]]
                self.heard_s = self._loop.now_s
                done(wire)
                if not self._asked:  # what else may come is not awaited
                    return
            if self._loop.monotonic_s() >= end_s:
                return

    def _give_up(self, numbers: list[bytes]) -> None:
        for number in numbers:
            asked = self._asked.pop(number, None)
            if asked is not None:
                asked[1](None)


class DatagramLine:
    """A connected UDP socket for one question: its port is as hard to guess as its id."""

    def __init__(self, loop: Loop, sock: socket.socket, query: Query, done: Done) -> None:
        self._loop = loop
        self._sock = sock
        self._query = query
        self._done = done
        self._number = random_id()
        loop.watch(sock.fileno(), READ, self._receive)
        self.again()

    def again(self) -> None:
        """Send the question."""
        try:
            self._sock.send(self._number + self._query.data[2:])
        except OSError:
            self._loop.at(self._loop.now_s, self._nobody)

    def close(self) -> None:
        """Wait no more."""
        if self._sock.fileno() >= 0:
            self._loop.discard(self._sock)
        self._done = _nothing

    def _receive(self, _: int) -> None:
        try:
            wire = self._sock.recv(len(_BUFFER))
        except BlockingIOError:
            return
        except OSError:
            self._nobody()
            return
        if wire[:2] == self._number and is_answer(wire, self._query):
            self._done(wire)

    def _nobody(self) -> None:
        self._done(None)


class StreamLine:
    """A TCP connection for one question."""

    def __init__(self, loop: Loop, sock: socket.socket, query: Query, done: Done) -> None:
        self._loop = loop
        self._sock = sock
        self._query = query
        self._done = done
        self._number = random_id()
        message = self._number + query.data[2:]
        self._unsent = len(message).to_bytes(2) + message
        self._received = bytearray()
        sock.setblocking(False)
        loop.watch(sock.fileno(), WRITE, self._send)

    def again(self) -> None:
        """Do nothing: TCP loses nothing."""

    def close(self) -> None:
        """Wait no more."""
        if self._sock.fileno() >= 0:
            self._loop.discard(self._sock)
        self._done = _nothing

    def _send(self, _: int) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # it could not be connected, for one
            self._done(None)
            return
        if not self._unsent:
            self._loop.watch(self._sock.fileno(), READ, self._receive)

    def _receive(self, _: int) -> None:
        try:
            size = self._sock.recv_into(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._done(None)
            return
        self._received += memoryview(_BUFFER)[:size]
        end = 2 + int.from_bytes(self._received[:2])
        if len(self._received) >= max(end, 2):
            wire = bytes(self._received[2:end])
            is_good = wire[:2] == self._number and is_answer(wire, self._query)
            self._done(wire if is_good else None)


def random_id() -> bytes:
    """Return an id that cannot be guessed."""
    return os.urandom(2)


def is_answer(wire: bytes, query: Query) -> bool:
    """Return whether a message answers a question, which it has to repeat."""
    if len(wire) < HEADER_BYTES or not wire[2] & 0x80:
        return False
    question = query.lower + query.question[len(query.lower) :]
    end = HEADER_BYTES + len(question)
    asked = wire[HEADER_BYTES:end]
    return wire[4:6] == b"\0\1" and asked[:-4].lower() + asked[-4:] == question


def _nothing(_: bytes | None) -> None:
    return
