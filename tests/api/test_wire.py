"""Docker's spelling: every shape of a request that an engine has been seen to send."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from netplug.api import wire
from netplug.contract.driver import Attachment
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import InvalidRequest
from netplug.model import LeaseKind, PoolId, StaticRoute, Subnet
from tests.service.world import NOON

ID = "4e1c0f2a9b77" + "0" * 52
GENERIC = "com.docker.network.generic"
IPV4_DATA = {
    "AddressSpace": "pynet-local",
    "Pool": "10.44.0.0/24",
    "Gateway": "10.44.0.1/24",
    "AuxAddresses": {"r1": "10.44.0.2/24"},
}
IPV6_DATA = {"AddressSpace": "pynet-local", "Pool": "fd44::/64", "Gateway": "fd44::1/64"}


def network(**fields: Any) -> wire.NetworkRequest:
    body = {"NetworkID": ID, "Options": {}, "IPv4Data": [IPV4_DATA], "IPv6Data": [], **fields}
    return wire.network_request(
        wire.decode(json.dumps(body).encode(), wire.CreateNetworkBody), NOON
    )


def endpoint_body(**fields: Any) -> wire.CreateEndpointBody:
    body = {"NetworkID": ID, "EndpointID": ID, **fields}
    return wire.decode(json.dumps(body).encode(), wire.CreateEndpointBody)


def address_body(**fields: Any) -> wire.AddressBody:
    return wire.decode(json.dumps({"PoolID": "p", **fields}).encode(), wire.AddressBody)


def pool(**fields: Any) -> PoolRequest:
    body = wire.decode(json.dumps(fields).encode(), wire.RequestPoolBody)
    return wire.pool_request(body)


def test_network_request_as_documented_is_taken_whole() -> None:
    request = network(
        Options={
            GENERIC: {"mtu": "1450", "com.docker.network.bridge.enable_icc": ""},
            "com.docker.network.enable_ipv4": True,
            "com.docker.network.enable_ipv6": True,
            "com.docker.network.internal": True,
        },
        IPv6Data=[IPV6_DATA],
    )

    made = request.network
    assert (made.id, made.driver, made.created_at) == (ID, "bridge", NOON)
    assert made.options == (("com.docker.network.bridge.enable_icc", ""), ("mtu", "1450"))
    assert (made.has_ipv4, made.has_ipv6, made.is_internal) == (True, True, True)
    assert made.subnets == (
        Subnet(
            pool=ip_network("10.44.0.0/24"),
            gateway=ip_interface("10.44.0.1/24"),
            aux=(("r1", ip_address("10.44.0.2")),),
        ),
        Subnet(pool=ip_network("fd44::/64"), gateway=ip_interface("fd44::1/64")),
    )
    assert request.spaces == ("pynet-local", "pynet-local")


@pytest.mark.parametrize("options", [None, {}, {GENERIC: None}, {GENERIC: {}}])
def test_network_request_without_options_has_defaults(options: object) -> None:
    made = network(Options=options).network

    assert (made.options, made.has_ipv4, made.has_ipv6, made.is_internal) == (
        (),
        True,
        False,
        False,
    )


def test_network_request_of_an_old_engine_without_keys_is_taken() -> None:
    body = wire.decode(json.dumps({"NetworkID": ID}).encode(), wire.CreateNetworkBody)

    made = wire.network_request(body, NOON).network

    assert made.subnets == ()


@pytest.mark.parametrize("empty", [None, []])
def test_network_request_with_null_or_no_data_has_no_subnets(empty: object) -> None:
    assert network(IPv4Data=empty, IPv6Data=empty).network.subnets == ()


def test_network_request_with_ipv6_data_of_an_engine_that_does_not_say_has_ipv6() -> None:
    assert network(IPv6Data=[IPV6_DATA]).network.has_ipv6


def test_network_request_of_the_null_ipam_has_no_subnets() -> None:
    null = [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]

    request = network(IPv4Data=null, IPv6Data=[{"AddressSpace": "null", "Pool": "::/0"}])

    assert (request.network.subnets, request.spaces) == ((), ())


@pytest.mark.parametrize("pool", [None, ""])
def test_network_request_with_data_without_a_pool_has_no_subnet(pool: object) -> None:
    assert network(IPv4Data=[{"AddressSpace": "null", "Pool": pool}]).network.subnets == ()


def test_network_request_without_a_gateway_has_none() -> None:
    bare = {"AddressSpace": "pynet-local", "Pool": "10.44.0.0/24"}

    assert network(IPv4Data=[bare]).network.subnets == (Subnet(pool=ip_network("10.44.0.0/24")),)


def test_network_request_names_another_driver_in_an_option() -> None:
    made = network(Options={GENERIC: {"driver": "vxlan", "vni": "7"}}).network

    assert (made.driver, made.options) == ("vxlan", (("vni", "7"),))


def test_network_request_takes_keys_of_engines_to_come() -> None:
    assert network(Later={"deep": [1]}).network.id == ID


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"NetworkID": ""}, "NetworkID '' is not an id"),
        ({"NetworkID": "../../etc"}, "NetworkID '../../etc' is not an id"),
        ({"Options": {"com.docker.network.internal": "yes"}}, "internal is not true or false"),
        ({"Options": {GENERIC: {"mtu": 1500}}}, "option 'mtu' is not a string"),
        ({"Options": {GENERIC: "mtu=1500"}}, "generic is not an object"),
        ({"IPv4Data": [{"Pool": "10.44.0.1/24"}]}, "has host bits set"),
        ({"IPv4Data": [{"Pool": "10.44.0.0/24", "Gateway": "x"}]}, "'x' does not appear"),
        ({"IPv4Data": [{"Pool": "10.44.0.0/24", "Gateway": "fd::1/64"}]}, "not of the family"),
        ({"IPv4Data": [{"Pool": "10.44.0.0/24", "AuxAddresses": {"a": "b"}}]}, "'b' does not"),
    ],
)
def test_network_request_that_makes_no_sense_is_refused(
    fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        network(**fields)


def test_network_request_lists_every_problem() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        network(
            NetworkID="",
            Options={GENERIC: {"a": 1}, "com.docker.network.enable_ipv6": 6},
            IPv4Data=[{"Pool": "x", "Gateway": "y"}],
        )

    assert len(refusal.value.problems) == 5


def test_endpoint_request_as_documented_is_taken_whole() -> None:
    body = endpoint_body(
        Interface={"Address": "10.44.0.5/24", "AddressIPv6": "fd44::5/64", "MacAddress": ""},
        Options={
            "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
            "com.docker.network.portmap": [{"Proto": 6, "Port": 80, "HostPort": 8080}],
            "com.docker.network.endpoint.dnsservers": ["10.0.0.53"],
            "com.docker.network.endpoint.ifname": "web0",
        },
    )

    made = wire.endpoint_request(body, NOON)

    assert (made.id, made.network_id, made.mac, made.created_at) == (ID, ID, "", NOON)
    assert made.addresses == (ip_interface("10.44.0.5/24"), ip_interface("fd44::5/64"))
    assert made.options == (("com.docker.network.endpoint.ifname", "web0"),)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Interface": None, "Options": None},
        {"Interface": {}, "Options": {}},
        {"Interface": {"Address": None, "AddressIPv6": None, "MacAddress": None}},
        {"Interface": {"Address": "", "AddressIPv6": "", "MacAddress": ""}},
    ],
)
def test_endpoint_request_with_nothing_set_has_nothing(fields: dict[str, Any]) -> None:
    made = wire.endpoint_request(endpoint_body(**fields), NOON)

    assert (made.mac, made.addresses, made.options) == ("", (), ())


def test_endpoint_request_takes_the_mac_as_text_and_leaves_the_base64_one() -> None:
    body = endpoint_body(
        Interface={"Address": "10.44.0.5/24", "MacAddress": "02:AC:11:04:00:02"},
        Options={"com.docker.network.endpoint.macaddress": "AqwRBAAC"},
    )

    made = wire.endpoint_request(body, NOON)

    assert (made.mac, made.options) == ("02:ac:11:04:00:02", ())


@pytest.mark.parametrize(
    ("text", "mac"),
    [("02-42-0A-2C-00-05", "02:42:0a:2c:00:05"), ("00:11:22:33:44:55", "00:11:22:33:44:55")],
)
def test_endpoint_request_spells_a_mac_in_one_way(text: str, mac: str) -> None:
    assert wire.endpoint_request(endpoint_body(Interface={"MacAddress": text}), NOON).mac == mac


@pytest.mark.parametrize(
    "text", ["01:00:5e:00:00:01", "02:42", "02:42:0a:2c:00:0g", "2:42:a:2c:0:5", "0242.0a2c.0005"]
)
def test_endpoint_request_with_what_is_no_station_refuses_it(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not the MAC of a single station"):
        wire.endpoint_request(endpoint_body(Interface={"MacAddress": text}), NOON)


def test_endpoint_request_lists_every_problem() -> None:
    body = endpoint_body(
        EndpointID="", Interface={"Address": "x", "AddressIPv6": "y", "MacAddress": "z"}
    )

    with pytest.raises(InvalidRequest) as refusal:
        wire.endpoint_request(body, NOON)

    assert len(refusal.value.problems) == 4


def test_endpoint_reply_gives_the_mac_only_where_none_was_asked() -> None:
    asked = endpoint_body(Interface={"MacAddress": "02:42:0a:2c:00:05"})
    free = endpoint_body(Interface={"Address": "10.44.0.5/24", "MacAddress": ""})
    made = wire.endpoint_request(asked, NOON)

    assert wire.endpoint_reply(asked, made) == {}
    assert wire.endpoint_reply(free, made) == {"Interface": {"MacAddress": "02:42:0a:2c:00:05"}}
    assert wire.endpoint_reply(endpoint_body(), made) == wire.endpoint_reply(free, made)


def test_join_reply_has_every_key_and_no_mask() -> None:
    attachment = Attachment(
        link="pyp4e1c0f2a9b77",
        prefix="eth",
        gateways=(ip_address("10.44.0.1"), ip_address("fd44::1")),
        routes=(
            StaticRoute(destination=ip_network("10.99.0.0/16"), next_hop=ip_address("10.44.0.254")),
            StaticRoute(destination=ip_network("169.254.1.1/32")),
        ),
    )

    assert wire.join_reply(attachment) == {
        "InterfaceName": {"SrcName": "pyp4e1c0f2a9b77", "DstPrefix": "eth"},
        "Gateway": "10.44.0.1",
        "GatewayIPv6": "fd44::1",
        "StaticRoutes": [
            {"Destination": "10.99.0.0/16", "RouteType": 0, "NextHop": "10.44.0.254"},
            {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""},
        ],
        "DisableGatewayService": True,
    }


def test_join_reply_without_gateways_leaves_them_empty() -> None:
    reply = wire.join_reply(Attachment(link="a", prefix="eth"))

    assert (reply["Gateway"], reply["GatewayIPv6"], reply["StaticRoutes"]) == ("", "", [])


def test_pool_request_as_documented_is_taken_whole() -> None:
    request = pool(
        AddressSpace="pynet-global",
        Pool="10.44.0.0/16",
        SubPool="10.44.5.0/24",
        Options={"b": "2", "a": "1"},
        V6=False,
    )

    assert request == PoolRequest(
        space="pynet-global",
        network=ip_network("10.44.0.0/16"),
        sub_range=ip_network("10.44.5.0/24"),
        options=(("a", "1"), ("b", "2")),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"AddressSpace": "", "Pool": "", "SubPool": "", "Options": None, "V6": False},
        {"AddressSpace": None, "Pool": None, "SubPool": None, "V6": None},
    ],
)
def test_pool_request_of_nothing_in_particular_is_automatic(fields: dict[str, Any]) -> None:
    assert pool(**fields) == PoolRequest(space="pynet-local")


@pytest.mark.parametrize("fields", [{"V6": True}, {"Pool": "fd44::/64"}])
def test_pool_request_is_ipv6_if_said_or_seen(fields: dict[str, Any]) -> None:
    assert pool(**fields).is_ipv6


def test_pool_request_lists_every_problem() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        pool(Pool="10.44.0.1/16", SubPool="x")

    assert len(refusal.value.problems) == 2


@pytest.mark.parametrize(
    ("fields", "kind", "owner"),
    [
        ({"Options": {"RequestAddressType": "com.docker.network.gateway"}}, "gateway", ""),
        ({"Options": {"com.docker.network.endpoint.name": "shop"}}, "dynamic", "shop"),
        ({"Options": {"com.docker.network.endpoint.name": 7}}, "dynamic", ""),
        ({"Options": {"com.docker.network.ipam.serial": "true"}}, "dynamic", ""),
        ({"Options": {}}, "dynamic", ""),
        ({"Options": None}, "dynamic", ""),
        ({}, "dynamic", ""),
    ],
)
def test_address_request_says_what_for_and_for_whom(
    fields: dict[str, Any], kind: str, owner: str
) -> None:
    request = wire.address_request(address_body(Address="", **fields))

    assert request == AddressRequest(
        pool_id=PoolId("p"), kind=LeaseKind(kind), owner=owner, name=owner
    )


def test_address_request_with_a_zone_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="has a zone"):
        wire.address_request(address_body(Address="fd00::9%eth0"))


def test_address_request_takes_a_given_address() -> None:
    assert wire.address_request(address_body(Address="10.44.0.9")).address == ip_address(
        "10.44.0.9"
    )


@pytest.mark.parametrize("text", ["", "10.44.0.9/24", "x"])
def test_address_of_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        wire.address_of(address_body(Address=text))


@pytest.mark.parametrize("raw", [b"", b" \n"])
def test_decode_of_an_empty_body_says_that_the_call_broke(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body is empty"):
        wire.decode(raw, wire.NetworkBody)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"NetworkID": 7}',
        b'{"NetworkID": null}',
        b'{"NetworkID": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_decode_of_what_is_not_the_wanted_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.decode(raw, wire.NetworkBody)


def test_decode_of_a_body_nested_too_deeply_is_refused() -> None:
    raw = b'{"Options": ' + b'{"a":' * 100_000

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        wire.decode(raw, wire.OptionsBody)


def binding(port: int, host_port: int = 0, end: int = 0, **more: object) -> dict[str, object]:
    return {"Proto": 6, "IP": "", "Port": port, "HostPort": host_port, "HostPortEnd": end} | more


def raw_ports(bindings: object) -> dict[str, Raw]:
    return {"com.docker.network.portmap": Raw(msgspec.json.encode(bindings))}


@pytest.mark.parametrize(
    ("bindings", "texts"),
    [
        (None, []),
        ([], []),
        ([binding(80, 8080, 8080, HostIP="")], ["8080:80/tcp"]),
        ([binding(80, 8080)], ["8080:80/tcp"]),
        ([binding(53, Proto=17)], ["53/udp"]),
        ([binding(80, 8080, 8080, HostIP="127.0.0.1")], ["127.0.0.1:8080:80/tcp"]),
        ([binding(80, HostIP="::1", Proto=132)], ["[::1]::80/sctp"]),
        ([binding(80, 8000, 8010)], ["8000-8010:80/tcp"]),
        (
            [binding(9001, 8001, 8001), binding(9000, 8000, 8000), binding(9002, 8002, 8002)],
            ["8000-8002:9000-9002/tcp"],
        ),
        (
            [binding(80, 80, 80), binding(81, 81, 81, Proto=17), binding(83, 82, 82)],
            ["80:80/tcp", "82:83/tcp", "81:81/udp"],
        ),
        ([binding(80), binding(81)], ["80/tcp", "81/tcp"]),
        ([binding(80, 80, 80), binding(80, 80, 80)], ["80:80/tcp", "80:80/tcp"]),
        (
            [binding(80, 80, 80), binding(81, 81, 81, HostIP="::")],
            ["80:80/tcp", "[::]:81:81/tcp"],
        ),
    ],
)
def test_port_requests_are_mappings_as_docker_writes_them(
    bindings: object, texts: list[str]
) -> None:
    requests = wire.port_requests(raw_ports(bindings))

    assert [request.text for request in requests] == texts


def test_port_requests_of_ten_thousand_spelled_out_are_one_run() -> None:
    bindings = [binding(port, port, port) for port in range(10_000, 20_000)]

    (run,) = wire.port_requests(raw_ports(bindings))

    assert (run.host_port, run.container_port, run.count) == (10_000, 10_000, 10_000)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("80", "portmap"),
        ([80], "portmap"),
        ([{"Port": "80"}], "portmap"),
        ([binding(0, 80)], "0 is no port of a container"),
        ([binding(70_000, 80)], "70000 is no port of a container"),
        ([binding(80, 70_000)], "70000 is no range"),
        ([binding(80, 8010, 8000)], "8010-8000 is no range"),
        ([binding(80, 0, 8000)], "0-8000:80/tcp: a range cannot begin with port 0"),
        ([binding(80, 80, 80, Proto=47)], "protocol 47 cannot be published"),
        ([binding(80, 80, 80, HostIP="here")], "'here'"),
    ],
)
def test_port_requests_that_make_no_sense_are_refused_by_name(bad: object, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        wire.port_requests(raw_ports(bad))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
keys = st.sampled_from(
    ["NetworkID", "EndpointID", "Options", "IPv4Data", "Interface", "Pool", "PoolID", "Address"]
)


@given(st.dictionaries(keys, json_values))
def test_decode_and_read_of_anything_gives_a_request_or_refuses(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    for kind, read in (
        (wire.CreateNetworkBody, lambda b: wire.network_request(b, NOON)),
        (wire.CreateEndpointBody, lambda b: wire.endpoint_request(b, NOON)),
        (wire.RequestPoolBody, wire.pool_request),
        (wire.AddressBody, wire.address_request),
    ):
        try:
            read(wire.decode(raw, kind))
        except InvalidRequest:
            continue
