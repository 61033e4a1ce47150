"""The plugin socket: routes, activation, and what a method may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from netplug.api import wire
from netplug.api.follow import AndThen, FollowUps
from netplug.api.middleware import BODY_LIMIT_BYTES, body_of, guarded, within
from netplug.errors import DeadlineExceeded, NotFound, PynetError

Method = Callable[[bytes], Coroutine[Any, Any, object]]
Methods = Mapping[str, Method]

# Answered before the daemon is ready and without looking at anything. If the first three fail,
# the driver stays unregistered until dockerd restarts; there are two space names, since dockerd
# skips its overlap check where they are equal. EndpointOperInfo comes four times for each connect,
# and JSON cannot carry anything that dockerd would use.
_AT_ONCE: Mapping[str, Mapping[str, object]] = {
    "Plugin.Activate": {"Implements": ["NetworkDriver", "IpamDriver"]},
    "NetworkDriver.GetCapabilities": {
        "Scope": "local",
        "ConnectivityScope": "local",
        "GwAllocChecker": True,
    },
    "IpamDriver.GetCapabilities": {"RequiresMACAddress": False, "RequiresRequestReplay": False},
    "IpamDriver.GetDefaultAddressSpaces": {
        "LocalDefaultAddressSpace": wire.LOCAL_SPACE,
        "GlobalDefaultAddressSpace": wire.GLOBAL_SPACE,
    },
    "NetworkDriver.EndpointOperInfo": {"Value": {}},
}


class Readiness:
    """Opens once, when the state is loaded and the kernel is as it should be."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Return whether the daemon is ready."""
        return self._opened.is_set()

    def open(self) -> None:
        """Let waiting requests go on."""
        self._opened.set()

    async def wait(self, deadline_s: float) -> None:
        """Return when the daemon is ready; what waits has not begun and may be given up.

        Raises:
            DeadlineExceeded: it is not ready in time.
        """
        if self._opened.is_set():
            return
        try:
            async with asyncio.timeout(deadline_s):
                await self._opened.wait()
        except TimeoutError as error:
            raise DeadlineExceeded("starting the daemon", deadline_s) from error


def plugin_server(
    methods: Callable[[], Mapping[str, Methods]],
    readiness: Readiness,
    deadline_s: float,
    follow_ups: FollowUps,
) -> web.Server:
    """Return the server of the plugin socket; `methods` are asked for once it is ready.

    `follow_ups` take what a method does behind its answer.

    Not a `web.Application`: the name of a method is all there is to route by, and a router with
    its middleware takes a tenth of what granting an address costs.
    """
    guard = guarded(_error_reply)

    async def call(request: web.BaseRequest) -> web.Response:
        method = request.path.removeprefix("/")
        if request.method != "POST" or "." not in method:
            raise UnknownMethod("method", f"{request.method} {request.path}")
        if (constant := _AT_ONCE.get(method)) is not None:
            return _reply(constant)
        raw = await body_of(request)

        await readiness.wait(deadline_s)
        kind, _, name = method.partition(".")
        handler = methods().get(kind, {}).get(name)
        if handler is None:
            raise UnknownMethod("method", method)
        answer = await within(deadline_s, method, handler(raw))
        if isinstance(answer, AndThen):
            follow_ups.start(method, answer.then())
            answer = answer.answer
        return _reply(answer)

    async def guarded_call(request: web.BaseRequest) -> web.StreamResponse:
        return await guard(request, call)

    return web.Server(guarded_call, request_factory=_request, access_log=None)


class UnknownMethod(NotFound):
    """The one failure that dockerd is told as 404: "not implemented, fine"."""


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT_BYTES
    )


def _reply(value: object, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(value), status=status, content_type=wire.CONTENT_TYPE)


def _error_reply(error: PynetError) -> web.Response:
    """Answer so that both of dockerd's decoders find the sentence."""
    is_missing_thing = isinstance(error, NotFound) and not isinstance(error, UnknownMethod)
    status = 400 if is_missing_thing else error.http_status
    return _reply({"Err": str(error), "Error": str(error)}, status)
