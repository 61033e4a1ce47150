"""A daemon in miniature: a real HTTP server on a real unix socket that replays canned replies."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from netplug.cli import main


@dataclass
class CannedDaemon:
    """What to reply to which call, and what was asked."""

    path: str
    replies: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, object]] = field(default_factory=list)

    def reply(self, call: str, body: object, status: int = 200) -> None:
        self.replies[call] = (status, json.dumps(body))

    def reply_lines(self, call: str, bodies: list[dict[str, str]]) -> None:
        self.replies[call] = (200, "".join(json.dumps(body) + "\n" for body in bodies))

    def refuse(self, call: str, status: int, **error: object) -> None:
        self.reply(call, {"error": {"problems": [], **error}}, status)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        daemon: CannedDaemon = self.server.daemon
        call = f"{self.command} {self.path}"
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        daemon.asked.append((call, json.loads(sent) if sent else None))
        status, body = daemon.replies.get(call, (404, "404: Not Found"))
        self.send_response(status)
        if body.endswith("\n"):
            self._send_chunks(body.splitlines(keepends=True))
        else:
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

    def _send_chunks(self, chunks: list[str]) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in [*chunks, ""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk.encode()), chunk.encode()))

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CannedDaemon]:
    path = str(tmp_path / "admin.sock")
    with _Server(path, _Handler) as server:
        server.daemon = CannedDaemon(path)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.daemon
        server.shutdown()
        thread.join()


Pynet = Callable[..., Result]


@pytest.fixture
def pynet(daemon: CannedDaemon, monkeypatch: pytest.MonkeyPatch) -> Pynet:
    """Run one command line against the canned daemon."""
    monkeypatch.setenv("PYNET_ADMIN_SOCKET", daemon.path)
    return lambda *args: CliRunner().invoke(main, args, prog_name="pynet")
