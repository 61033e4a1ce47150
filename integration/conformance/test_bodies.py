"""Bodies that dockerd sends in odd cases, and bodies that it never sends."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from integration.conformance.client import go_json
from integration.conformance.dockerd import Dockerd, new_id
from integration.conformance.kernel import bridge_of, look
from integration.conformance.plugin import Plugin
from integration.conformance.records import Endpoint
from integration.conformance.specs import BLUE, EndpointSpec, NetworkSpec
from integration.lab import unix_http

ID, ENDPOINT_ID = new_id(), new_id()
BOTH: dict[str, Any] = {"NetworkID": ID, "EndpointID": ENDPOINT_ID}
PORT_MAP = "com.docker.network.portmap"
ADDRESS: dict[str, Any] = {"PoolID": "pynet-local/10.61.0.0/24", "Address": "10.61.0.9"}
# A whole body for each method that reads one, then values that make it wrong.
WHOLE: dict[str, dict[str, Any]] = {
    "NetworkDriver.GwAllocCheck": {"Options": {}},
    "NetworkDriver.CreateNetwork": {"NetworkID": ID, "Options": {}, "IPv4Data": []},
    "NetworkDriver.DeleteNetwork": {"NetworkID": ID},
    "NetworkDriver.CreateEndpoint": {**BOTH, "Interface": {}, "Options": {}},
    "NetworkDriver.DeleteEndpoint": BOTH,
    "NetworkDriver.Join": {**BOTH, "SandboxKey": "/var/run/docker/netns/x", "Options": {}},
    "NetworkDriver.Leave": BOTH,
    "NetworkDriver.ProgramExternalConnectivity": {**BOTH, "Options": {}},
    "IpamDriver.RequestPool": {"AddressSpace": "pynet-local", "Pool": "10.61.0.0/24"},
    "IpamDriver.ReleasePool": {"PoolID": "pynet-local/10.61.0.0/24"},
    "IpamDriver.RequestAddress": ADDRESS,
    "IpamDriver.ReleaseAddress": ADDRESS,
}
WRONG: list[tuple[str, str, object]] = [
    ("NetworkDriver.GwAllocCheck", "Options", []),
    ("NetworkDriver.CreateNetwork", "NetworkID", 7),
    ("NetworkDriver.CreateNetwork", "NetworkID", None),
    ("NetworkDriver.CreateNetwork", "NetworkID", ""),
    ("NetworkDriver.CreateNetwork", "NetworkID", "../../etc"),
    ("NetworkDriver.CreateNetwork", "NetworkID", "é" * 64),
    ("NetworkDriver.CreateNetwork", "Options", "x"),
    ("NetworkDriver.CreateNetwork", "Options", {"com.docker.network.generic": "x"}),
    ("NetworkDriver.CreateNetwork", "Options", {"com.docker.network.generic": {"mtu": 1400}}),
    ("NetworkDriver.CreateNetwork", "Options", {"com.docker.network.enable_ipv6": "yes"}),
    ("NetworkDriver.CreateNetwork", "Options", {"com.docker.network.internal": 1}),
    ("NetworkDriver.CreateNetwork", "IPv4Data", {}),
    ("NetworkDriver.CreateNetwork", "IPv4Data", [7]),
    ("NetworkDriver.CreateNetwork", "IPv4Data", [{"Pool": 7}]),
    ("NetworkDriver.CreateNetwork", "IPv4Data", [{"Pool": "10.61.0.0/99"}]),
    ("NetworkDriver.CreateNetwork", "IPv4Data", [{"Pool": "10.61.0.0/24", "Gateway": "fd61::1"}]),
    ("NetworkDriver.CreateNetwork", "IPv4Data", [{"Pool": "10.61.0.0/24", "AuxAddresses": []}]),
    ("NetworkDriver.CreateEndpoint", "EndpointID", ["x"]),
    ("NetworkDriver.CreateEndpoint", "EndpointID", ""),
    ("NetworkDriver.CreateEndpoint", "Interface", "x"),
    ("NetworkDriver.CreateEndpoint", "Interface", {"Address": "10.61.0.300/24"}),
    ("NetworkDriver.CreateEndpoint", "Interface", {"MacAddress": "01:00:5e:00:00:01"}),
    ("NetworkDriver.CreateEndpoint", "Options", []),
    ("NetworkDriver.DeleteEndpoint", "EndpointID", 7),
    ("NetworkDriver.Leave", "EndpointID", {}),
    ("NetworkDriver.Join", "SandboxKey", 7),
    ("NetworkDriver.ProgramExternalConnectivity", "Options", {PORT_MAP: 7}),
    ("NetworkDriver.ProgramExternalConnectivity", "Options", {PORT_MAP: [{"Proto": [6]}]}),
    ("NetworkDriver.Join", "SandboxKey", None),
    ("IpamDriver.RequestPool", "Pool", "10.61.0.1/24"),
    ("IpamDriver.RequestPool", "Pool", "10.61.0.0/024x"),
    ("IpamDriver.RequestPool", "Pool", {}),
    ("IpamDriver.RequestPool", "SubPool", "10.99.0.0/25"),
    ("IpamDriver.RequestPool", "V6", "true"),
    ("IpamDriver.RequestPool", "V6", True),
    ("IpamDriver.RequestPool", "Options", {"x": 1}),
    ("IpamDriver.ReleasePool", "PoolID", None),
    ("IpamDriver.RequestAddress", "PoolID", 7),
    ("IpamDriver.RequestAddress", "Address", "10.61.0.9/24"),
    ("IpamDriver.ReleaseAddress", "Address", "ten"),
]
DEEP = 200_000
BODY_OF_20_MB = b'{"NetworkID":"' + b"x" * 20_000_000 + b'"}'


@pytest.fixture(autouse=True)
def _still_works(plugin: Plugin, newest: Dockerd) -> Iterator[None]:
    """Whatever was sent, pynet serves the next, has no bug on record, and nothing came of it."""
    before = plugin.pynet.process.output().count("failed on a bug")
    yield
    newest.activate()
    assert plugin.pynet.process.output().count("failed on a bug") == before


@pytest.mark.parametrize("method", WHOLE)
def test_broken_body_is_refused_for_both_decoders(newest: Dockerd, method: str) -> None:
    whole = go_json(WHOLE[method])
    nested = b"[" * DEEP + b"]" * DEEP

    for raw in (
        *(b"", b"\n", b"null", b"[]", b"7", b'"x"', b"{}}", b"\xff\xfe", b"\x00"),
        *(whole[:-3], whole + b"{}", b'{"Options":{"x":' + nested + b"}}"),
        b'{"x":' + nested + b"}",
    ):
        answer = newest.client.send(method, raw)
        assert answer.status == http.client.BAD_REQUEST, raw[:40]
        reply = json.loads(answer.content)
        assert reply["Err"]
        assert reply["Err"] == reply["Error"]


@pytest.mark.parametrize(("method", "key", "value"), WRONG)
def test_wrong_value_is_refused(
    plugin: Plugin, newest: Dockerd, method: str, key: str, value: object
) -> None:
    before = look(plugin.host)

    answer = newest.client.send(method, go_json({**WHOLE[method], key: value}))

    assert answer.status == http.client.BAD_REQUEST, answer.content
    assert json.loads(answer.content)["Err"]
    assert look(plugin.host) == before


def test_text_that_is_not_utf8_is_refused(newest: Dockerd) -> None:
    answer = newest.client.send("NetworkDriver.DeleteNetwork", b'{"NetworkID":"\xff"}')

    assert answer.status == http.client.BAD_REQUEST


def test_body_of_20_mb_is_refused(newest: Dockerd) -> None:
    for method in WHOLE:
        answer = newest.client.send(method, BODY_OF_20_MB)

        assert answer.status == http.client.BAD_REQUEST
        assert "larger than" in json.loads(answer.content)["Err"]


@pytest.mark.parametrize(
    "method",
    ["NetworkDriver.Vanish", "IpamDriver.Vanish", "VolumeDriver.Create", "Plugin.Vanish", "x", ""],
)
def test_unknown_method_is_not_found(newest: Dockerd, method: str) -> None:
    for raw in (b"", b"{}"):
        answer = newest.client.send(method, raw)
        assert answer.status == http.client.NOT_FOUND
        assert json.loads(answer.content)["Err"]


def test_other_verb_is_not_found(plugin: Plugin) -> None:
    for verb in ("GET", "PUT"):
        answer = unix_http.request(plugin.pynet.plugin_socket, verb, "/NetworkDriver.Join")
        assert answer.status == http.client.NOT_FOUND


def test_null_is_as_good_as_absent(plugin: Plugin, newest: Dockerd) -> None:
    def call(method: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = newest.client.send(method, go_json(body))
        assert answer.status == http.client.OK, answer.content
        reply: dict[str, Any] = json.loads(answer.content)
        return reply

    nulls = dict.fromkeys(("AddressSpace", "Pool", "SubPool", "Options", "V6"))
    granted = call("IpamDriver.RequestPool", nulls)
    pool, wish = granted["PoolID"], {"Address": None, "Options": None}
    held = call("IpamDriver.RequestAddress", {"PoolID": pool, **wish})
    call("NetworkDriver.GwAllocCheck", {"Options": None})
    call("NetworkDriver.GwAllocCheck", {"Options": {"com.docker.network.generic": None}})
    data = {"AddressSpace": None, "Pool": granted["Pool"], "Gateway": None, "AuxAddresses": None}
    network = {"NetworkID": ID, "Options": None, "IPv4Data": [data], "IPv6Data": None}
    call("NetworkDriver.CreateNetwork", network)
    assert look(plugin.host).links[bridge_of(ID)].addresses == set()
    interface = {"Address": held["Address"], "AddressIPv6": None, "MacAddress": None}
    call("NetworkDriver.CreateEndpoint", {**BOTH, "Interface": interface, "Options": None})
    joined = call("NetworkDriver.Join", {**BOTH, "SandboxKey": "/run/x", "Options": None})
    assert joined["InterfaceName"]["SrcName"] in look(plugin.host).links
    call("NetworkDriver.ProgramExternalConnectivity", {**BOTH, "Options": None})
    other = {"NetworkID": ID, "EndpointID": new_id(), "Interface": None}
    assert call("NetworkDriver.CreateEndpoint", other)["Interface"]["MacAddress"]

    call("NetworkDriver.DeleteNetwork", {"NetworkID": ID})
    call("IpamDriver.ReleasePool", {"PoolID": pool})


def test_unknown_keys_are_ignored(newest: Dockerd) -> None:
    for method in ("NetworkDriver.DeleteEndpoint", "IpamDriver.ReleaseAddress"):
        body = {**WHOLE[method], "Sooner": {"or": ["later", None]}}
        assert newest.client.send(method, go_json(body)).status == http.client.OK


def test_largest_call_of_dockerd_is_taken(plugin: Plugin, newest: Dockerd) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    ports = [
        {"Proto": 6, "IP": "", "Port": n, "HostIP": "", "HostPort": n, "HostPortEnd": n}
        for n in range(1, 5000)
    ]
    endpoint = Endpoint(id=ENDPOINT_ID, spec=EndpointSpec(network=blue))
    body = {
        "NetworkID": blue.id,
        "EndpointID": endpoint.id,
        "Interface": {},
        "Options": {PORT_MAP: ports},
    }

    assert newest.client.send("NetworkDriver.CreateEndpoint", go_json(body)).status == 200

    newest.driver.delete_endpoint(endpoint)


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "nonsense"])
def test_content_type_and_transfer_encoding_do_not_matter(plugin: Plugin, kind: str) -> None:
    body = go_json(BOTH)
    head = (
        "POST /NetworkDriver.Leave HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(10.0)
        caller.connect(str(plugin.pynet.plugin_socket))

        caller.sendall(head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

        assert caller.recv(64).startswith(b"HTTP/1.1 200 ")
