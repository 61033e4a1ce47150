"""The engine's API over one connection that stays open, as a long-lived client has it."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


class Refused(Exception):
    """The engine answered with an error."""


class Api(http.client.HTTPConnection):
    """Asks the engine at a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(str(self._path))

    def ask(self, method: str, target: str, body: object = None) -> Any:
        """Return the answer, parsed; None if it is empty.

        Raises:
            Refused: the engine did not do it.
        """
        content = b"" if body is None else json.dumps(body).encode()
        self.request(method, target, content, {"Content-Type": "application/json"})
        response = self.getresponse()
        answer = response.read()
        if response.status >= http.client.BAD_REQUEST:
            raise Refused(f"{method} {target}: {response.status} {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None
