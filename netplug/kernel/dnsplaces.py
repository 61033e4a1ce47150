"""Where clients of the DNS are: wait for the namespace, enter it, open sockets, leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import assert_never

from netplug.contract.names import ClientKind, NameClient
from netplug.errors import KernelRefused, PynetError
from netplug.kernel import dnssockets, netns
from netplug.kernel.dnssockets import Sockets
from netplug.kernel.namespaces import Namespaces, is_namespace

# Namespaces entered at a time. More is no faster: the kernel changes one nftables at a time.
_AT_A_TIME = 8


class Places:
    """The real places; sockets for one question do not wait behind a thousand sandboxes."""

    def __init__(self) -> None:
        self._namespaces = Namespaces()
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._forwarder_slots = asyncio.Semaphore(_AT_A_TIME)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when a namespace may be gone, until `stop`."""
        self._namespaces.listen(listener)

    def stop(self) -> None:
        """Listen no more."""
        self._namespaces.close()

    def is_there(self, client: NameClient) -> bool:
        """Return whether the client's namespace exists."""
        return not client.netns or is_namespace(client.netns)

    async def open(self, client: NameClient) -> Sockets:
        """Open a client's sockets, as soon as its namespace is there.

        Raises:
            PynetError: they cannot be opened, and why.
        """
        work = _opening(client)
        if not client.netns:
            return work()
        while True:
            async with self._slots:
                if is_namespace(client.netns):
                    return await _enter(client.netns, work)
            await self._namespaces.appears(client.netns)

    async def close(self, client: NameClient) -> None:
        """Undo what was done to a client's namespace besides opening sockets, if it is there."""
        if client.kind is ClientKind.OVERLAY and is_namespace(client.netns):
            with suppress(PynetError, OSError):  # it vanished, and all that was in it
                async with self._slots:
                    work = partial(dnssockets.close_overlay, client.netns)
                    await netns.inside(client.netns, work)

    async def forwarder(self, client: NameClient, transport: str) -> Sockets:
        """Open a socket to the resolver that a client has besides ours.

        Raises:
            PynetError: it cannot be had, and why.
        """
        if client.kind is not ClientKind.OVERLAY:
            raise KernelRefused("open a forwarder", f"{client.label} has no resolver but ours")
        async with self._forwarder_slots:
            return await _enter(client.netns, partial(dnssockets.open_forwarder, transport))


def _opening(client: NameClient) -> Callable[[], Sockets]:
    match client.kind:
        case ClientKind.OVERLAY:
            return partial(dnssockets.open_overlay, client.netns)
        case ClientKind.OWN:
            return partial(dnssockets.open_own, client.netns)
        case ClientKind.GATEWAY:
            return partial(dnssockets.open_at, client.listen)
        case ClientKind.HOST:
            return partial(dnssockets.open_for_host, client.listen)
        case _:
            assert_never(client.kind)


async def _enter(path: str, work: Callable[[], Sockets]) -> Sockets:
    """Open sockets inside; who is cancelled meanwhile leaves none behind."""
    entering = asyncio.ensure_future(netns.inside(path, work))
    try:
        return await asyncio.shield(entering)
    except asyncio.CancelledError:
        with suppress(Exception):
            dnssockets.close(await entering)
        raise
    except OSError as error:
        raise KernelRefused(f"open sockets in {path}", error.strerror or str(error)) from error
