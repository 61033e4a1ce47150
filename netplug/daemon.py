"""The daemon: what starts in which order, what ends it, and in which order it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

from aiohttp import web

from netplug import __version__
from netplug import log as logs
from netplug.api.admin import admin_app
from netplug.api.admin_wire import Services
from netplug.api.app import Methods, Readiness, plugin_server
from netplug.api.follow import FollowUps
from netplug.api.sockets import claim_namespace, listen
from netplug.engine.watch import Watcher
from netplug.errors import Conflict, EngineUnreachable, PynetError
from netplug.service.collision_watch import CollisionWatch
from netplug.service.rule_watch import LOOK_S, RuleWatch
from netplug.service.uplink_watch import UplinkWatch
from netplug.settings import Settings
from netplug.wiring import Wiring, open_store, wire

log = logging.getLogger(__name__)

_PLUGIN_MODE, _ADMIN_MODE, _ADMIN_GROUP = 0o600, 0o660, "pynet"
_DRAIN_S = 5.0
_SWEEP_S = 15.0


def run(settings: Settings) -> int:
    """Run the daemon until SIGTERM or SIGINT; return the exit code.

    Raises:
        PynetError: it cannot start.
    """
    logs.set_up(settings, sys.stderr)
    if os.geteuid() != 0:
        raise Conflict("the daemon", "must run as root: it changes the host's network", "use sudo")
    asyncio.run(Daemon(settings).serve())
    return 0


class Daemon:
    """One daemon, from its sockets to its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readiness = Readiness()
        self._wiring: Wiring | None = None
        self._stopping = asyncio.Event()
        self._follow_ups = FollowUps()

    async def serve(self) -> None:
        """Listen, then initialise, then serve until told to stop.

        At the end names are taken back first, so that sandboxes have Docker's DNS at once; then the
        sockets are closed, then requests under way and what follows them are awaited, then the
        kernel and the store are closed.

        Raises:
            PynetError: it cannot start; nothing was changed.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        async with AsyncExitStack() as stack:
            store = await open_store(self._settings)
            stack.push_async_callback(store.close)
            stack.callback(claim_namespace().close)
            stack.push_async_callback(self._close_wiring)
            stack.push_async_callback(self._follow_ups.settled)
            await self._listen(stack)
            self._wiring = await wire(self._settings, store)
            await self._work(self._wiring)

    async def _listen(self, stack: AsyncExitStack) -> None:
        s = self._settings
        plugin = plugin_server(
            self._methods, self._readiness, s.request_deadline_s, self._follow_ups
        )
        admin = admin_app(self._services, self._readiness, s)
        runners: list[tuple[web.BaseRunner, socket.socket]] = [
            (
                web.ServerRunner(plugin, shutdown_timeout=_DRAIN_S),
                listen(s.plugin_socket, _PLUGIN_MODE),
            ),
            (
                web.AppRunner(admin, access_log=None, shutdown_timeout=_DRAIN_S),
                listen(s.admin_socket, _ADMIN_MODE, _ADMIN_GROUP),
            ),
        ]
        for runner, listener in runners:
            await stack.enter_async_context(_served(runner, listener))
        log.info("listening", extra={"plugin": str(s.plugin_socket), "admin": str(s.admin_socket)})

    async def _work(self, wiring: Wiring) -> None:
        await self._open_names(wiring)
        try:
            await self._recover_and_run(wiring)
        finally:
            wiring.services.names.stop()
            await wiring.names.close(is_stop=True)
        wiring.services.journal.close()

    async def _recover_and_run(self, wiring: Wiring) -> None:
        try:
            await wiring.services.reconciler.recover()
        except PynetError as error:
            log.error("the kernel is not as it should be yet", extra={"reason": str(error)})
        # What there is by now stays; to look through it for garbage would hold up calls for 20 ms.
        gc.freeze()
        self._readiness.open()
        log.info("ready", extra={"version": __version__})
        reconciler, clock = wiring.services.reconciler, wiring.services.clock
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_reconcile_for_ever(wiring, self._settings.reconcile_interval_s)),
                tasks.create_task(_sweep_for_ever(wiring, self._settings.audit_grace_s)),
                tasks.create_task(_watch_for_ever(RuleWatch(reconciler, clock))),
                tasks.create_task(_watch_for_ever(UplinkWatch(reconciler, clock))),
                tasks.create_task(_watch_for_ever(wiring.services.collisions)),
            ]
            if wiring.watcher is not None:
                running.append(tasks.create_task(_follow_engine(wiring, wiring.watcher)))
            await self._stopping.wait()
            log.info("stopping")
            for task in running:
                task.cancel()

    async def _open_names(self, wiring: Wiring) -> None:
        """Start the DNS, before anything else: containers may be asking.

        Without it they have Docker's, which is no reason to stop.
        """
        try:
            await wiring.names.open()
        except PynetError as error:
            log.error("names are not answered", extra={"reason": str(error)})
        wiring.services.names.start()

    async def _close_wiring(self) -> None:
        if self._wiring is None:
            return
        try:
            await self._wiring.services.reconciler.tidy()
        except PynetError as error:
            log.warning("rules are left behind", extra={"reason": str(error)})
        finally:
            await self._wiring.close()

    def _methods(self) -> dict[str, Methods]:
        return self._wiring.methods if self._wiring else {}

    def _services(self) -> Services:
        if self._wiring is None:
            raise PynetError("the daemon is still starting")
        return self._wiring.services


@asynccontextmanager
async def _served(runner: web.BaseRunner, listener: socket.socket) -> AsyncIterator[None]:
    """Serve; at the end close the socket, then wait for requests under way."""
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield
    finally:
        path: Any = listener.getsockname()
        await runner.cleanup()
        if path and os.path.exists(path):  # noqa: ASYNC240 - a socket on a tmpfs
            os.unlink(path)


async def _reconcile_for_ever(wiring: Wiring, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await wiring.services.reconciler.run()
        except PynetError as error:
            log.warning("reconciliation failed", extra={"reason": str(error)})


async def _watch_for_ever(watch: RuleWatch | UplinkWatch | CollisionWatch) -> None:
    pause_s = LOOK_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = await watch.look()


async def _follow_engine(wiring: Wiring, watcher: Watcher) -> None:
    async with aclosing(watcher.updates()) as updates:
        async for update in updates:
            try:
                await wiring.services.identities.learn(update)
            except PynetError as error:
                log.warning("the engine's names were not kept", extra={"reason": str(error)})


async def _sweep_for_ever(wiring: Wiring, grace_s: float) -> None:
    while True:
        await asyncio.sleep(min(_SWEEP_S, grace_s))
        try:
            await wiring.services.auditor.sweep()
            await wiring.services.standalone.addresses.refresh_kept()
        except EngineUnreachable:
            continue  # the watcher tells
        except PynetError as error:
            log.warning("what dockerd forgot was not removed", extra={"reason": str(error)})
