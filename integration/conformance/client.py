"""The bytes that dockerd's plugin client puts on the wire (moby: pkg/plugins/client.go)."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from integration.conformance.releases import Release
from integration.conformance.replies import BadReply, Reply
from integration.lab import eventually

R = TypeVar("R", bound=Reply)

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
SOCKET_INSIDE = "/run/docker/plugins/pynet.sock"
RETRY_S = 15.0  # dockerd gives up after attempts at 0, 1, 3, 7 and 15 s
ANSWER_S = 30.0  # dockerd itself waits for ever

GRANTS = frozenset({"IpamDriver.RequestPool", "IpamDriver.RequestAddress"})
"""What gives something each time; nothing in a repetition tells it from a second wish."""


class Refused(Exception):
    """The plugin said no, in the words that dockerd shows to its user."""

    def __init__(self, method: str, status: int, message: str) -> None:
        super().__init__(f"{method}: {message}")
        self.method = method
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, not read yet."""

    status: int
    content: bytes


class PluginClient:
    """dockerd's connections to one plugin; each thread has its own. `calls` is what was asked.

    `before` and `after_sending` are told the method of each call, for tests that strike then.
    `repeats` sends what may be repeated twice, and wants the same answer.
    """

    def __init__(self, release: Release, path: Path) -> None:
        self.calls: list[str] = []
        self.before: Callable[[str], None] = ignore
        self.after_sending: Callable[[str], None] = ignore
        self.repeats = False
        self._path = path
        self._host = SOCKET_INSIDE if release.names_the_socket_as_host else "plugin.moby.localhost"
        self._connections = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def call(self, method: str, body: Mapping[str, object] | None, reply: type[R]) -> R:
        """Make one call; a `body` of None is sent as no body at all.

        Raises:
            Refused: by status or in the answer.
            BadReply: Go cannot read the answer.
        """
        self.calls.append(method)
        self.before(method)
        raw = b"" if body is None else go_json(body)
        answer = self.send(method, raw)
        if self.repeats and method not in GRANTS and self.send(method, raw) != answer:
            raise BadReply(f"{method} answers otherwise when repeated")
        if answer.status != http.client.OK:
            raise Refused(method, answer.status, _error_text(answer.content))
        try:
            decoded = msgspec.json.decode(answer.content, type=reply)
        except msgspec.MsgspecError as error:
            raise BadReply(f"{method} answered {answer.content!r}: {error}") from error
        if problem := decoded.err or decoded.error:
            raise Refused(method, answer.status, f"remote: {problem}")
        return decoded

    def send(self, method: str, raw: bytes) -> Answer:
        """Send until there is an answer; what broke after it was sent is sent again empty.

        Raises:
            NeverHappened: nobody answered for as long as dockerd tries.
        """

        def attempt() -> Answer | None:
            nonlocal raw
            try:
                connection = self._connected()
            except OSError:
                return None
            try:
                return self._exchange(connection, method, raw)
            except (OSError, http.client.HTTPException):
                connection.close()
                raw = b""
                return None

        return eventually(attempt, f"{method} is answered", deadline_s=RETRY_S)

    def _connected(self) -> http.client.HTTPConnection:
        """Return the connection of this thread, a new one if the other side closed the last."""
        connection = getattr(self._connections, "open", None)
        if connection is None:
            connection = http.client.HTTPConnection("localhost")
            self._connections.open = connection
            self._all.append(connection)
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        if connection.sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(ANSWER_S)
            try:
                sock.connect(str(self._path))
            except OSError:
                sock.close()
                raise
            connection.sock = sock
        return connection

    def _exchange(self, connection: http.client.HTTPConnection, method: str, raw: bytes) -> Answer:
        connection.putrequest("POST", f"/{method}", skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", self._host)
        connection.putheader("User-Agent", "Go-http-client/1.1")
        connection.putheader("Content-Length", str(len(raw)))
        connection.putheader("Accept", CONTENT_TYPE)
        connection.putheader("Accept-Encoding", "gzip")
        connection.endheaders(raw or None)
        self.after_sending(method)
        response = connection.getresponse()
        return Answer(status=response.status, content=response.read())

    def close(self) -> None:
        """Close all connections; the next call opens a new one."""
        for connection in self._all:
            connection.close()


def go_json(value: object) -> bytes:
    """Encode as Go's `json.Encoder`: no spaces, `<>&` escaped, a newline at the end."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode() + b"\n"


def _error_text(content: bytes) -> str:
    """Return `Err` of a failure, whichever the kind of plugin, else all of it."""
    try:
        return msgspec.json.decode(content, type=Reply).err or content.decode()
    except msgspec.MsgspecError:
        return content.decode(errors="replace")


def ignore(method: str) -> None:
    """Do nothing: the hook of most tests."""
