"""Talks to one engine over HTTP. Nothing that it answers is trusted to be short, whole or sane."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from netplug.contract.engine import (
    EngineContainer,
    EngineEvent,
    EngineInfo,
    EngineNetwork,
    ListedContainer,
)
from netplug.engine import wire
from netplug.engine.discover import EngineAddress, Tls
from netplug.errors import EngineUnreachable
from netplug.model import IPNetwork, Reached

# The oldest API that 29 can still be told to accept, and the latest that was read.
_OLDEST_API, _LATEST_API = (1, 24), (1, 55)
_DEADLINE_S = 20.0
# 60 000 endpoints; the events that are asked for carry a container's labels at most.
_MAX_BODY_BYTES = 16 * 2**20
_MAX_EVENT_BYTES = 2**20
_EVENTS = {
    "type": ["network", "container"],
    "event": [
        *("create", "connect", "disconnect", "destroy", "remove"),
        *("start", "die", "rename", "update"),
    ],
}

_Reply = TypeVar("_Reply")
_Found = TypeVar("_Found", IPNetwork, Reached)


class EngineClient:
    """Fulfils `netplug.contract.engine.Engine`; opens nothing before it is asked."""

    def __init__(self, address: EngineAddress, *, deadline_s: float = _DEADLINE_S) -> None:
        self._address = address
        self._deadline_s = deadline_s
        self._session: aiohttp.ClientSession | None = None
        self._api_version = ""

    async def info(self) -> EngineInfo:
        """Return who answers."""
        info = self._decode(await self._get("/info"), wire.Info)
        return EngineInfo(
            id=info.id,
            version=info.version,
            api_version=self._api_version,
            is_live_restore=info.is_live_restore,
            problem=_known_problem(info.version),
        )

    async def networks(self, driver: str) -> tuple[EngineNetwork, ...]:
        """Return every network of `driver`; one after the other, which is gentle on dockerd."""
        body = await self._get("/networks", {"driver": [driver]})
        listed = self._decode(body, list[wire.Network])
        found = [await self.network(network.id) for network in listed]
        return tuple(network for network in found if network is not None)

    async def subnets(self) -> frozenset[IPNetwork]:
        """Return the subnets of all networks, whatever their drivers."""
        listed = self._decode(await self._get("/networks"), list[wire.Addressed])
        return self._sensible(subnet for network in listed for subnet in network.subnets())

    async def beside(self, driver: str) -> frozenset[Reached]:
        """Return the subnets of the networks of other drivers than `driver`, with their names."""
        listed = self._decode(await self._get("/networks"), list[wire.Addressed])
        others = (network for network in listed if network.driver != driver)
        return self._sensible(found for network in others for found in network.reached())

    async def closed_subnets(self) -> frozenset[IPNetwork]:
        """Return the subnets of the engine's own bridges, which only published ports lead into."""
        body = await self._get("/networks", {"driver": ["bridge"]})
        listed = self._decode(body, list[wire.Addressed])
        return self._sensible(subnet for network in listed for subnet in network.closed_subnets())

    async def network(self, network_id: str) -> EngineNetwork | None:
        """Return one network with its endpoints; None where the engine has none of that id."""
        body = await self._get(f"/networks/{quote(network_id, safe='')}", may_be_missing=True)
        if not body:
            return None
        try:
            return self._decode(body, wire.Network).value()
        except ValueError as error:
            raise self._unreachable(f"its reply makes no sense: {error}") from error

    async def container(self, container_id: str) -> EngineContainer | None:
        """Return what one container is called; None where the engine has none of that id."""
        path = f"/containers/{quote(container_id, safe='')}/json"
        body = await self._get(path, may_be_missing=True)
        return self._decode(body, wire.Container).value() if body else None

    async def containers(self, ids: Collection[str] = ()) -> tuple[ListedContainer, ...]:
        """Return these containers, or all of them, whether they run or not."""
        filters = {"id": sorted(ids)} if ids else None
        body = await self._get("/containers/json?all=true", filters)
        return tuple(c.value() for c in self._decode(body, list[wire.Listed]))

    @asynccontextmanager
    async def events(self, since_ns: int = 0) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        """Open a stream of what happens to networks, and of the lives of containers.

        Negotiates anew: since the last stream the engine may have been replaced.
        """
        with self._translated("/events"):
            async with asyncio.timeout(self._deadline_s):
                self._api_version = await self._negotiate()
                response = await self._open("/events", _EVENTS, since_ns=since_ns)
        try:
            yield self._read_events(response)
        finally:
            response.close()

    async def close(self) -> None:
        """Close every connection. Repeating it is harmless."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _get(
        self,
        path: str,
        filters: Mapping[str, list[str]] | None = None,
        *,
        may_be_missing: bool = False,
    ) -> bytes:
        with self._translated(path):
            async with asyncio.timeout(self._deadline_s):
                async with await self._open(path, filters, may_be_missing) as response:
                    return b"" if response.status == 404 else await self._body(response)

    async def _open(
        self,
        path: str,
        filters: Mapping[str, list[str]] | None = None,
        may_be_missing: bool = False,
        since_ns: int = 0,
    ) -> aiohttp.ClientResponse:
        """Return a reply that is 200, or 404 where that is allowed; its body is still to come."""
        if not self._api_version:
            self._api_version = await self._negotiate()
        response = await self._request(f"/v{self._api_version}{path}", filters, since_ns)
        if response.status == 200 or (response.status == 404 and may_be_missing):
            return response
        async with response:
            raise self._unreachable(
                f"GET {path} was answered with {response.status}: "
                + _message(await self._body(response))
            )

    async def _negotiate(self) -> str:
        async with await self._request("/_ping", None) as response:
            offered = response.headers.get("Api-Version", "")
        version = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", offered)
        if version is None:
            raise self._unreachable(f"what answers there is no engine: its API is {offered!r}")
        latest = min(_LATEST_API, (int(version[1]), int(version[2])))
        if latest < _OLDEST_API:
            raise self._unreachable(f"it speaks API {offered}, and pynet needs 1.24 or later")
        return "{}.{}".format(*latest)

    async def _request(
        self, path: str, filters: Mapping[str, list[str]] | None, since_ns: int = 0
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = _new_session(self._address)
        params = {"filters": json.dumps(filters)} if filters else {}
        if since_ns:
            params["since"] = "{}.{:09}".format(*divmod(since_ns, 10**9))
        return await self._session.get(path, params=params, allow_redirects=False)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise self._unreachable(f"a reply is larger than {_MAX_BODY_BYTES} bytes")
        return bytes(body)

    async def _read_events(self, response: aiohttp.ClientResponse) -> AsyncIterator[EngineEvent]:
        rest = b""
        with self._translated("/events"):
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_EVENT_BYTES:
                    raise self._unreachable(f"an event is larger than {_MAX_EVENT_BYTES} bytes")
                for line in lines:
                    yield self._decode(line, wire.Event).value()
        raise self._unreachable("it ended the stream of events")

    def _decode(self, body: bytes, kind: type[_Reply]) -> _Reply:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._unreachable(f"its reply makes no sense: {error}") from error

    def _sensible(self, found: Iterable[_Found]) -> frozenset[_Found]:
        try:
            return frozenset(found)
        except ValueError as error:
            raise self._unreachable(f"its reply makes no sense: {error}") from error

    def _unreachable(self, reason: str) -> EngineUnreachable:
        return EngineUnreachable(self._address.url, reason)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            late = f"GET {path} was not answered within {self._deadline_s:g} s"
            is_ours = isinstance(error, TimeoutError) and not error.strerror
            raise self._unreachable(late if is_ours else error.strerror or str(error)) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error


def _new_session(address: EngineAddress) -> aiohttp.ClientSession:
    """Deadlines are ours: aiohttp's own would end the stream of events after five minutes."""
    url = urlsplit(address.url)
    connector: aiohttp.BaseConnector
    if url.scheme == "unix":
        base, connector = "http://docker", aiohttp.UnixConnector(path=url.path)
    elif address.tls is None:
        base, connector = f"http://{url.netloc}", aiohttp.TCPConnector()
    else:
        trust = _tls_context(address.tls)
        base, connector = f"https://{url.netloc}", aiohttp.TCPConnector(ssl=trust)
    return aiohttp.ClientSession(base, connector=connector, timeout=aiohttp.ClientTimeout())


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.authority)
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    if not tls.is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=wire.Failure).message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "no reason given"


def _known_problem(version: str) -> str:
    if re.match(r"29\.0\.[0-2](?!\d)", version) is None:
        return ""
    return (
        f"Docker Engine {version} crashes when a container leaves a plugin's network; "
        "upgrade to 29.0.3 or later (moby#51554)"
    )
