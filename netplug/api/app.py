"""The plugin socket: routes, activation, and what a method may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiohttp import web

from netplug.api import wire
from netplug.api.middleware import BODY_LIMIT_BYTES, body_of, guarded, within
from netplug.errors import DeadlineExceeded, NotFound, PynetError

Method = Callable[[bytes], Coroutine[Any, Any, object]]
Methods = Mapping[str, Method]

# Answered before the daemon is ready and without looking at anything. If the first three fail,
# the driver stays unregistered until dockerd restarts; there are two space names, since dockerd
# skips its overlap check where they are equal. EndpointOperInfo comes four times for each connect,
# and JSON cannot carry anything that dockerd would use.
_AT_ONCE: Mapping[str, Mapping[str, object]] = {
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
        try:
            async with asyncio.timeout(deadline_s):
                await self._opened.wait()
        except TimeoutError as error:
            raise DeadlineExceeded("starting the daemon", deadline_s) from error


def plugin_app(
    methods: Callable[[], Mapping[str, Methods]], readiness: Readiness, deadline_s: float
) -> web.Application:
    """Return the application of the plugin socket; `methods` are asked for once it is ready."""

    async def activate(_: web.Request) -> web.Response:
        return _reply({"Implements": ["NetworkDriver", "IpamDriver"]})

    async def call(request: web.Request) -> web.Response:
        kind, method = request.match_info["kind"], request.match_info["method"]
        if (constant := _AT_ONCE.get(f"{kind}.{method}")) is not None:
            return _reply(constant)
        raw = await body_of(request)

        await readiness.wait(deadline_s)
        handler = methods().get(kind, {}).get(method)
        if handler is None:
            raise UnknownMethod("method", f"{kind}.{method}")
        return _reply(await within(deadline_s, f"{kind}.{method}", handler(raw)))

    app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[guarded(_error_reply)])
    app.router.add_post("/Plugin.Activate", activate)
    app.router.add_post(r"/{kind:\w+}.{method:\w+}", call)
    app.router.add_route("*", "/{tail:.*}", _unknown)
    return app


class UnknownMethod(NotFound):
    """The one failure that dockerd is told as 404: "not implemented, fine"."""


async def _unknown(request: web.Request) -> web.Response:
    raise UnknownMethod("method", f"{request.method} {request.path}")


def _reply(value: object, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(value), status=status, content_type=wire.CONTENT_TYPE)


def _error_reply(error: PynetError) -> web.Response:
    """Answer so that both of dockerd's decoders find the sentence."""
    is_missing_thing = isinstance(error, NotFound) and not isinstance(error, UnknownMethod)
    status = 400 if is_missing_thing else error.http_status
    return _reply({"Err": str(error), "Error": str(error)}, status)
