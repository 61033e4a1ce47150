"""Both applications, each on a unix socket, over a daemon in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector, web

from netplug.api.admin import Services, admin_app
from netplug.api.app import Methods, Readiness, plugin_server
from netplug.api.follow import FollowUps
from netplug.api.ipam_driver import IpamDriverApi
from netplug.api.network_driver import NetworkDriverApi
from netplug.settings import Settings
from tests.service.world import World, start

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    content_type: str = ""


@dataclass(frozen=True)
class Client:
    """Speaks to one application over its socket."""

    session: ClientSession

    async def call(self, method: str, body: object = None) -> Reply:
        """Make a call as dockerd does; a body that is text or bytes is sent as it is."""
        raw = body if isinstance(body, str | bytes) else json.dumps(body)
        return await self.send("POST", f"/{method}", b"" if body is None else raw)

    async def send(self, verb: str, path: str, raw: str | bytes = b"") -> Reply:
        data = BytesIO(raw.encode() if isinstance(raw, str) else raw)
        url = f"http://plugin.moby.localhost{path}"
        async with self.session.request(verb, url, data=data) as r:
            return Reply(r.status, json.loads(await r.read()), r.headers["Content-Type"])

    async def get(self, path: str) -> Any:
        reply = await self.send("GET", path)
        assert reply.status == 200, reply
        return reply.body

    async def post(self, path: str, body: object = None) -> Any:
        reply = await self.send("POST", path, json.dumps(body))
        assert reply.status == 200, reply
        return reply.body


@asynccontextmanager
async def served(app: web.Application | web.Server, path: Path) -> AsyncIterator[Client]:
    """Serve `app`; a client that goes away cancels its handler, which is the harsher case."""
    runner: web.BaseRunner
    if isinstance(app, web.Server):
        app.handler_cancellation = True
        runner = web.ServerRunner(app, shutdown_timeout=0)
    else:
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    async with ClientSession(connector=UnixConnector(str(path))) as session:
        yield Client(session)
    await runner.cleanup()


@pytest.fixture
async def world() -> World:
    return await start()


@pytest.fixture
def readiness() -> Readiness:
    readiness = Readiness()
    readiness.open()
    return readiness


@pytest.fixture
def methods(world: World) -> Mapping[str, Methods]:
    network_driver = NetworkDriverApi(
        networks=world.networks,
        endpoints=world.endpoints,
        ports=world.ports,
        clock=world.clock,
    )
    return {
        "NetworkDriver": network_driver.methods(),
        "IpamDriver": IpamDriverApi(addresses=world.addresses).methods(),
    }


@pytest.fixture
def follow_ups() -> FollowUps:
    return FollowUps()


@pytest.fixture
async def plugin(
    methods: Mapping[str, Methods], readiness: Readiness, follow_ups: FollowUps, tmp_path: Path
) -> AsyncIterator[Client]:
    server = plugin_server(lambda: methods, readiness, DEADLINE_S, follow_ups)
    async with served(server, tmp_path / "pynet.sock") as client:
        yield client


@pytest.fixture
async def admin(world: World, readiness: Readiness, tmp_path: Path) -> AsyncIterator[Client]:
    services = Services(
        settings=Settings(state_dir=Path("/var/lib/pynet")),
        networks=world.networks,
        endpoints=world.endpoints,
        ports=world.ports,
        standalone=world.standalone,
        names=world.names,
        records=world.records,
        reconciler=world.reconciler,
        collisions=world.collisions,
        identities=world.identities,
        auditor=world.auditor,
        reservations=world.reservations,
        journal=world.journal,
        clock=world.clock,
        started_s=world.clock.monotonic_s(),
        engine_endpoint="unix:///run/docker.sock",
    )
    app = admin_app(lambda: services, readiness, services.settings)
    async with served(app, tmp_path / "admin.sock") as client:
        yield client
