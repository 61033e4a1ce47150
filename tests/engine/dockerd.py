"""A socket that answers like an engine, or as badly as it is told to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from ssl import SSLContext
from urllib.parse import unquote, urlsplit

from tests.engine.captured import INFO_20_10, NETWORK_20_10, WEB_NETWORK, encoded, listed


def reply(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole HTTP reply."""
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **given}
    lines = [f"HTTP/1.1 {status}", *(f"{key}: {value}" for key, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Dockerd:
    """Replays `replies` by path, without its /vN.NN; an empty reply is never given.

    GET /events stays open, and sends what `send` is given.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.requests: list[str] = []
        self.replies = {
            "/_ping": reply(b"OK", Api_Version="1.41"),
            "/info": reply(encoded(INFO_20_10)),
            "/networks": reply(encoded(listed(NETWORK_20_10))),
            f"/networks/{WEB_NETWORK}": reply(encoded(NETWORK_20_10)),
        }
        self.is_streaming = asyncio.Event()
        self._streams: list[asyncio.StreamWriter] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listen, also again after `stop`."""
        self.socket.unlink(missing_ok=True)
        self._servers.append(await asyncio.start_unix_server(self._serve, self.socket))

    async def listen_tcp(self, tls: SSLContext | None = None) -> str:
        """Listen on a free port of loopback too, and return its URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self._servers.append(server)
        return f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Cut every connection, and listen no more."""
        for server in self._servers:
            server.close()
        self.cut()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def cut(self) -> None:
        """Cut every connection."""
        for writer in tuple(self._open):
            writer.transport.abort()
        self._streams.clear()
        self.is_streaming.clear()

    def send(self, raw: bytes) -> None:
        """Send a piece of the stream of events, which need not be a whole one."""
        for writer in self._streams:
            writer.write(b"%x\r\n%s\r\n" % (len(raw), raw))

    def asked(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(urlsplit(request).path.endswith(path) for request in self.requests)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                self.requests.append(unquote(target))
                self._answer(writer, urlsplit(target).path)
                await writer.drain()
        self._open.discard(writer)
        writer.close()

    def _answer(self, writer: asyncio.StreamWriter, path: str) -> None:
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        if path == "/events" and path not in self.replies:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            self._streams.append(writer)
            self.is_streaming.set()
            return
        missing = reply(b'{"message":"no such thing"}\n', "404 Not Found")
        raw = self.replies.get(path, missing)
        writer.write(raw)
        if b"Connection: close" in raw:
            writer.close()
