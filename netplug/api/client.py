"""The CLI's end of the admin socket (docs/admin-api.md), on the standard library alone.

    for network in AdminClient("/run/pynet/pynet.sock").networks()["networks"]:
        ...

A reply is the daemon's JSON as it came; the types name what this version reads of it. Not here:
the daemon's end of it, whose web framework takes longer to import than a command to run.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TypeVar, cast
from urllib.parse import quote

from netplug.api.admin_types import (
    Attach,
    Audit,
    DnsClients,
    Endpoint,
    EndpointDetail,
    Endpoints,
    Event,
    Leases,
    Lookup,
    Name,
    NameAdd,
    Names,
    Network,
    NetworkCreate,
    NetworkDetail,
    Networks,
    Nothing,
    Plan,
    PoolDetail,
    Pools,
    Ports,
    Publish,
    Query,
    Repairs,
    Reserve,
    Status,
    Verification,
)
from netplug.errors import DaemonUnreachable, DeadlineExceeded, PynetError

# Longer than any deadline of the daemon (`Settings.request_deadline_s`), so that it speaks first.
_PATIENCE_S = 35.0

Reply = TypeVar("Reply")


class AdminError(PynetError):
    """The daemon refused; `kind` is the name of its error, the rest is what that carried."""

    def __init__(
        self, kind: str, message: str, problems: Sequence[str] = (), exit_code: int = 70
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.problems = tuple(problems)
        # The error's class is the daemon's; here its exit code is known when it arrives.
        self.exit_code = exit_code  # type: ignore[misc]


class AdminClient:
    """Asks one daemon; every call is a connection of its own.

    Every method raises AdminError when the daemon refuses, DaemonUnreachable when none answers, and
    DeadlineExceeded when it is silent for longer than it ever should be.
    """

    def __init__(self, socket_path: str, patience_s: float = _PATIENCE_S) -> None:
        self.socket_path = socket_path
        self._patience_s = patience_s

    def status(self) -> Status:
        """Return how the daemon is."""
        return self._call(Status, "GET", "/status")

    def networks(self) -> Networks:
        """Return all networks."""
        return self._call(Networks, "GET", "/networks")

    def network(self, ref: str) -> NetworkDetail:
        """Return one network and what is on it."""
        return self._call(NetworkDetail, "GET", f"/networks/{_quoted(ref)}")

    def create_network(self, request: NetworkCreate) -> Network:
        """Create a network without Docker."""
        return self._call(Network, "POST", "/networks", {**request, "dry_run": False})

    def plan_network(self, request: NetworkCreate) -> Plan:
        """Return what creating the network would change; change nothing."""
        return self._call(Plan, "POST", "/networks", {**request, "dry_run": True})

    def remove_network(self, ref: str) -> Nothing:
        """Remove a network that has no endpoints and that Docker did not make."""
        return self._call(Nothing, "DELETE", f"/networks/{_quoted(ref)}")

    def peer(self, ref: str, other: str) -> Network:
        """Let two networks reach each other; return the first."""
        return self._call(Network, "POST", f"/networks/{_quoted(ref)}/peers", {"network": other})

    def unpeer(self, ref: str, other: str) -> Nothing:
        """Keep two networks apart again."""
        return self._call(Nothing, "DELETE", f"/networks/{_quoted(ref)}/peers/{_quoted(other)}")

    def endpoints(self) -> Endpoints:
        """Return all endpoints."""
        return self._call(Endpoints, "GET", "/endpoints")

    def endpoint(self, ref: str) -> EndpointDetail:
        """Return one endpoint."""
        return self._call(EndpointDetail, "GET", f"/endpoints/{_quoted(ref)}")

    def attach(self, request: Attach) -> Endpoint:
        """Attach a namespace to a network."""
        return self._call(Endpoint, "POST", "/endpoints", request)

    def detach(self, ref: str) -> Nothing:
        """Remove an endpoint that Docker did not make."""
        return self._call(Nothing, "DELETE", f"/endpoints/{_quoted(ref)}")

    def ports(self) -> Ports:
        """Return all published ports."""
        return self._call(Ports, "GET", "/ports")

    def publish(self, request: Publish) -> Ports:
        """Publish ports of a container that runs, or of a namespace; return what came of it."""
        return self._call(Ports, "POST", "/ports", request)

    def unpublish(self, container: str, port: str, network: str | None = None) -> Nothing:
        """Take back a published port: "8080", "8080/udp", "127.0.0.1:8080"."""
        path = f"/ports/{_quoted(container)}/{_quoted(port)}"
        return self._call(Nothing, "DELETE", path + _query(network=network))

    def names(self, network: str | None = None) -> Names:
        """Return every name, of one network or of all."""
        return self._call(Names, "GET", "/dns" + _query(network=network))

    def add_name(self, request: NameAdd) -> Name:
        """Record what a name means; return all that it means now."""
        return self._call(Name, "POST", "/dns", request)

    def remove_name(self, network: str, name: str, kind: str | None = None) -> Nothing:
        """Take back what was recorded of a name."""
        path = f"/dns/{_quoted(network)}/{_quoted(name)}"
        return self._call(Nothing, "DELETE", path + _query(type=kind))

    def lookup(
        self, name: str, kind: str, network: str | None = None, container: str | None = None
    ) -> Lookup:
        """Return what a question is answered on a network, to a container, or to the host."""
        asked = _query(name=name, type=kind, network=network, container=container)
        return self._call(Lookup, "GET", "/dns/lookup" + asked)

    def dns_clients(self) -> DnsClients:
        """Return what was asked by whom."""
        return self._call(DnsClients, "GET", "/dns/counters")

    def queries(self, *, container: str | None = None, follow: bool = False) -> Iterator[Query]:
        """Yield the latest questions, oldest first; with `follow`, wait for more."""
        path = "/dns/log" + _query(follow=f"{follow:d}", container=container)
        return self._stream(Query, path, follow=follow, what="its questions")

    def pools(self) -> Pools:
        """Return all pools."""
        return self._call(Pools, "GET", "/ipam")

    def pool(self, ref: str) -> PoolDetail:
        """Return one pool and its leases."""
        return self._call(PoolDetail, "GET", f"/ipam/pools/{_quoted(ref)}")

    def leases(self, pool: str | None = None) -> Leases:
        """Return the leases of a pool, of a network, or all."""
        return self._call(Leases, "GET", "/ipam/leases" + _query(pool=pool))

    def release(self, pool: str, address: str) -> Nothing:
        """Release a lease that nobody has."""
        return self._call(Nothing, "DELETE", "/ipam/leases" + _query(pool=pool, address=address))

    def reserve(self, request: Reserve) -> Leases:
        """Keep addresses from everybody; return them."""
        return self._call(Leases, "POST", "/ipam/reservations", request)

    def unreserve(self, pool: str, addresses: Sequence[str]) -> Leases:
        """Give reserved addresses, or runs of them, back; return what was reserved."""
        asked = _query(pool=pool) + "".join(f"&address={_quoted(one)}" for one in addresses)
        return self._call(Leases, "DELETE", "/ipam/reservations" + asked)

    def audit(self) -> Audit:
        """Compare leases with the engine and the kernel; change nothing."""
        return self._call(Audit, "GET", "/ipam/audit")

    def repair(self, findings: Sequence[str]) -> Repairs:
        """Repair findings that are still so; return those that were, and what is left."""
        return self._call(Repairs, "POST", "/ipam/audit", {"findings": list(findings)})

    def plan(self) -> Plan:
        """Return what the daemon would change now to make the kernel what it should be."""
        return self._call(Plan, "GET", "/plan")

    def heal(self) -> Plan:
        """Make the kernel what it should be; return the steps taken."""
        return self._call(Plan, "POST", "/heal")

    def verify(self) -> Verification:
        """Compare every object with the kernel; change nothing."""
        return self._call(Verification, "GET", "/verify")

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Yield what happened, oldest first; with `follow`, wait for more, which has no end."""
        path = f"/events?follow={follow:d}"
        return self._stream(Event, path, follow=follow, what="its events")

    def _stream(self, kind: type[Reply], path: str, *, follow: bool, what: str) -> Iterator[Reply]:
        """Yield the lines of a reply.

        Empty ones are passed over: the daemon may send them to learn whether we are still here.
        """
        patience_s = None if follow else self._patience_s
        with self._exchange("GET", path, None, patience_s) as response:
            for line in response:
                if line.strip():
                    yield self._decoded(kind, line)
        if follow:
            raise DaemonUnreachable(self.socket_path, f"it stopped while {what} were followed")

    def _call(self, reply: type[Reply], method: str, path: str, body: object = None) -> Reply:
        with self._exchange(method, path, body, self._patience_s) as response:
            return self._decoded(reply, response.read())

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: object, patience_s: float | None
    ) -> Iterator[HTTPResponse]:
        """Send one request; yield a reply that is a success, and translate what goes wrong."""
        connection = _UnixConnection(self.socket_path, patience_s)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, "/v1" + path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status >= 400:
                raise self._refusal(f"{method} {path}", response)
            yield response
        except TimeoutError as error:
            raise DeadlineExceeded(f"{method} {path}", self._patience_s) from error
        except (OSError, HTTPException) as error:
            raise DaemonUnreachable(self.socket_path, _reason(error)) from error
        finally:
            connection.close()

    def _refusal(self, call: str, response: HTTPResponse) -> AdminError:
        try:
            error = json.loads(response.read())["error"]
            return AdminError(
                error["kind"], error["message"], error.get("problems") or (), error["exit_code"]
            )
        except (ValueError, LookupError, TypeError):
            return AdminError(
                "Unknown",
                f"the daemon answered {response.status} {response.reason} to {call}; "
                "is it of another version than this command?",
            )

    def _decoded(self, reply: type[Reply], content: bytes) -> Reply:
        try:
            return cast(Reply, json.loads(content))
        except ValueError as error:
            raise DaemonUnreachable(self.socket_path, "what answers there is not pynet") from error


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("pynet", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket; called by `request`."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


_quoted = partial(quote, safe="")


def _query(**given: str | None) -> str:
    """Return "?key=value&..." of what is given; nothing if that is nothing."""
    pairs = [f"{key}={_quoted(value)}" for key, value in given.items() if value is not None]
    return "?" + "&".join(pairs) if pairs else ""


def _reason(error: OSError | HTTPException) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such socket"
        case PermissionError():
            return "permission denied (run as root, or join the group pynet)"
        case ConnectionRefusedError():
            return "nothing listens there any more"
        case ConnectionResetError() | BrokenPipeError():
            return "it hung up before it had answered"
        case HTTPException():
            return f"what answers there is not pynet, or broke off ({type(error).__name__})"
        case _:
            return error.strerror or str(error)
