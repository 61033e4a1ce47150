"""JSON over HTTP over a unix socket: how engines, plugins and the daemon talk."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

REQUEST_DEADLINE_S = 60.0
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status and a body: parsed if it is JSON, text if not, None if empty."""

    status: int
    body: Any


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
    path: Path,
    method: str,
    target: str,
    body: object = None,
    *,
    timeout: float = REQUEST_DEADLINE_S,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Answer:
    """Send one request to the socket at `path`; a `body` of None is sent as no body at all.

    Raises:
        OSError: nothing listens there, or it did not answer within `timeout` seconds.
        http.client.HTTPException: it does not speak HTTP.
    """
    connection = _UnixConnection(path, timeout)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        length = {"Content-Length": str(len(content))}
        connection.request(method, target, content, {**length, **headers})
        response = connection.getresponse()
        return Answer(status=response.status, body=_parsed(response.read()))
    finally:
        connection.close()


def answers(path: Path, target: str) -> bool:
    """Tell whether a GET of `target` succeeds at once."""
    try:
        return request(path, "GET", target, timeout=2.0).status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _parsed(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
