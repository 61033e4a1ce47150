from __future__ import annotations

import ssl
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from netplug.contract.engine import (
    Engine,
    EngineContainer,
    EngineEndpoint,
    EngineInfo,
    EngineNetwork,
    ListedContainer,
    ListedPlace,
)
from netplug.engine.client import EngineClient
from netplug.engine.discover import EngineAddress, Tls
from netplug.errors import EngineUnreachable
from netplug.model import EndpointId, Protocol, Way
from tests.engine.captured import (
    CONNECTED,
    CONTAINER_20_10,
    CONTAINER_29,
    CONTAINER_BARE,
    ENGINE_ID,
    INFO_20_10,
    INFO_29,
    LISTED_20_10,
    LISTED_BARE,
    NETWORK_20_10,
    NETWORK_28,
    NETWORK_29,
    RENAMED_20_10,
    RENAMED_29,
    STRAY_ENDPOINT,
    WEB_CONTAINER,
    WEB_ENDPOINT,
    WEB_NETWORK,
    encoded,
)
from tests.engine.dockerd import Dockerd, reply

TOO_MUCH = 17 * 2**20
# Self-signed for 127.0.0.1, made with openssl req -x509; it proves nothing to anyone else.
CERTIFICATE = Path(__file__).with_name("tls") / "cert.pem"
KEY = CERTIFICATE.with_name("key.pem")


async def test_info_of_20_10_names_the_engine(client: Engine) -> None:
    info = await client.info()

    assert info == EngineInfo(id=ENGINE_ID, version="20.10.24+dfsg1", api_version="1.41")


@pytest.mark.parametrize(
    ("version", "is_flagged"),
    [
        ("28.5.2", False),
        ("29.0.0", True),
        ("29.0.2-1", True),
        ("29.0.3", False),
        ("29.0.10", False),
    ],
)
async def test_info_of_an_engine_that_crashes_says_so(
    dockerd: Dockerd, client: EngineClient, version: str, is_flagged: bool
) -> None:
    dockerd.replies["/info"] = reply(encoded({**INFO_29, "ServerVersion": version}))

    info = await client.info()

    assert ("upgrade to 29.0.3" in info.problem) == is_flagged
    assert info.is_live_restore


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [("1.24", "1.24"), ("1.41", "1.41"), ("1.55", "1.55"), ("1.99", "1.55"), ("2.1", "1.55")],
)
async def test_api_version_is_the_latest_that_both_speak(
    dockerd: Dockerd, client: EngineClient, offered: str, spoken: str
) -> None:
    dockerd.replies["/_ping"] = reply(b"OK", Api_Version=offered)

    await client.info()

    assert dockerd.requests == ["/_ping", f"/v{spoken}/info"]


@pytest.mark.parametrize("offered", ["1.23", "", "nonsense", "1.4.1", "9" * 5000])
async def test_api_version_that_is_none_or_too_old_is_refused(
    dockerd: Dockerd, client: EngineClient, offered: str
) -> None:
    dockerd.replies["/_ping"] = reply(b"OK", Api_Version=offered)

    with pytest.raises(EngineUnreachable, match="API"):
        await client.info()


@pytest.mark.parametrize("network", [NETWORK_20_10, NETWORK_28, NETWORK_29])
async def test_networks_are_those_of_the_driver_with_their_endpoints(
    dockerd: Dockerd, client: EngineClient, network: dict[str, object]
) -> None:
    dockerd.replies[f"/networks/{WEB_NETWORK}"] = reply(encoded(network))

    networks = await client.networks("pynet")

    at = [(ip_address(f"172.18.0.{host}"),) for host in (2, 3)]
    web = EngineEndpoint(id=WEB_ENDPOINT, name="web", container_id=WEB_CONTAINER, addresses=at[0])
    stray = EngineEndpoint(id=STRAY_ENDPOINT, name="stray", addresses=at[1])
    assert networks == (
        EngineNetwork(
            id=WEB_NETWORK,
            name="front",
            driver="pynet",
            endpoints={WEB_ENDPOINT: web, STRAY_ENDPOINT: stray},
        ),
    )
    assert '/v1.41/networks?filters={"driver":+["pynet"]}' in dockerd.requests


async def test_networks_passes_over_one_that_goes_meanwhile(
    dockerd: Dockerd, client: EngineClient
) -> None:
    del dockerd.replies[f"/networks/{WEB_NETWORK}"]

    assert await client.networks("pynet") == ()


@pytest.mark.parametrize(
    ("inspected", "aliases", "links"),
    [
        (CONTAINER_20_10, ("shop", "*.shop", "67a6cfd5974f"), {}),
        (
            CONTAINER_29,
            ("shop", "*.shop", "web", "67a6cfd5974f"),
            {WEB_ENDPOINT: ("db", "cache")},
        ),
    ],
)
async def test_container_is_what_the_engine_calls_it(
    dockerd: Dockerd,
    client: EngineClient,
    inspected: dict[str, object],
    aliases: tuple[str, ...],
    links: dict[EndpointId, tuple[str, ...]],
) -> None:
    dockerd.replies[f"/containers/{WEB_CONTAINER}/json"] = reply(encoded(inspected))

    assert await client.container(WEB_CONTAINER) == EngineContainer(
        id=WEB_CONTAINER,
        name="web",
        hostname="67a6cfd5974f",
        labels={
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "www",
            "com.docker.compose.container-number": "1",
            "com.docker.compose.oneoff": "False",
        },
        aliases={WEB_ENDPOINT: aliases},
        links=links,
        ports=((Protocol.TCP, 80), (Protocol.TCP, 443), (Protocol.UDP, 53)),
    )


async def test_container_without_anything_is_its_name(
    dockerd: Dockerd, client: EngineClient
) -> None:
    dockerd.replies[f"/containers/{WEB_CONTAINER}/json"] = reply(encoded(CONTAINER_BARE))

    assert await client.container(WEB_CONTAINER) == EngineContainer(
        id=WEB_CONTAINER, name="web", hostname="h", labels={}, aliases={}
    )


async def test_container_that_is_gone_is_none(client: EngineClient) -> None:
    assert await client.container(WEB_CONTAINER) is None


async def test_containers_are_listed_with_where_they_belong(
    dockerd: Dockerd, client: EngineClient
) -> None:
    created = {**LISTED_BARE, "Id": "c", "Names": ["/db"], "State": "created"}
    dockerd.replies["/containers/json"] = reply(encoded([LISTED_20_10, created, LISTED_BARE]))

    web, db, bare = await client.containers()

    assert web == ListedContainer(
        id=WEB_CONTAINER,
        name="web",
        labels={"com.docker.compose.service": "www"},
        is_running=True,
        has_started=True,
        places=(
            ListedPlace(network="front", network_id=WEB_NETWORK, fixed=frozenset({4})),
            ListedPlace(network="back"),
            ListedPlace(network="lan"),
        ),
    )
    assert (db.name, db.is_running, db.has_started) == ("db", False, False)
    assert (bare.name, bare.is_running, bare.has_started) == ("", False, True)
    assert bare.places == (ListedPlace(network="front"),)


async def test_containers_can_be_asked_for_by_id(dockerd: Dockerd, client: EngineClient) -> None:
    dockerd.replies["/containers/json"] = reply(b"[]")

    assert await client.containers(["b", "a"]) == ()

    (asked,) = [r for r in dockerd.requests if "/containers/json" in r]
    assert asked.endswith('?all=true&filters={"id":+["a",+"b"]}')


BRIDGES = [
    {"IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}, "Options": {}},
    {"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}, {"Subnet": "fd18::/64"}]}, "Options": None},
    {
        "IPAM": {"Config": [{"Subnet": "172.19.0.0/16"}, {"Subnet": "fd19::/64"}]},
        "Options": {"com.docker.network.bridge.gateway_mode_ipv6": "routed"},
    },
    {
        "IPAM": {"Config": [{"Subnet": "172.20.0.0/16"}]},
        "Options": {"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"},
    },
    {"IPAM": {"Config": None}},
]


async def test_closed_subnets_are_those_of_bridges_that_nobody_routes_to(
    dockerd: Dockerd, client: EngineClient
) -> None:
    dockerd.replies["/networks"] = reply(encoded(BRIDGES))

    subnets = await client.closed_subnets()

    wanted = ("172.17.0.0/16", "172.18.0.0/16", "fd18::/64", "172.19.0.0/16")
    assert subnets == {ip_network(text) for text in wanted}
    assert dockerd.requests[-1] == '/v1.41/networks?filters={"driver":+["bridge"]}'


async def test_closed_subnets_that_are_none_make_no_sense(
    dockerd: Dockerd, client: EngineClient
) -> None:
    dockerd.replies["/networks"] = reply(
        encoded([{"IPAM": {"Config": [{"Subnet": "everywhere"}]}}])
    )

    with pytest.raises(EngineUnreachable, match="makes no sense"):
        await client.closed_subnets()


async def test_network_with_an_address_that_is_none_makes_no_sense(
    dockerd: Dockerd, client: EngineClient
) -> None:
    there = {"Name": "web", "EndpointID": WEB_ENDPOINT, "IPv4Address": "somewhere"}
    network = {**NETWORK_20_10, "Containers": {WEB_CONTAINER: there}}
    dockerd.replies[f"/networks/{WEB_NETWORK}"] = reply(encoded(network))

    with pytest.raises(EngineUnreachable, match="makes no sense"):
        await client.network(WEB_NETWORK)


async def test_beside_are_the_subnets_of_other_drivers_with_the_names_of_their_networks(
    dockerd: Dockerd, client: EngineClient
) -> None:
    def listed(name: str, driver: str, subnet: str, **rest: object) -> dict[str, object]:
        return {"Name": name, "Driver": driver, "IPAM": {"Config": [{"Subnet": subnet}]}, **rest}

    networks = [
        listed("bridge", "bridge", "172.17.0.0/16"),
        listed("lan", "macvlan", "192.0.2.0/24"),
        listed("web", "pynet", "10.208.0.0/24"),
        listed("template", "macvlan", "198.51.100.0/24", ConfigOnly=True),
        {"Name": "host", "Driver": "host", "IPAM": {"Config": None}},
    ]
    dockerd.replies["/networks"] = reply(encoded(networks))

    beside = await client.beside("pynet")

    assert {(str(r.network), r.way, r.where) for r in beside} == {
        ("172.17.0.0/16", Way.DOCKER_BRIDGE, "bridge (bridge)"),
        ("192.0.2.0/24", Way.DOCKER, "lan (macvlan)"),
    }


async def test_network_that_is_not_there_is_none(client: EngineClient) -> None:
    assert await client.network("../info") is None


async def test_network_without_containers_is_empty(dockerd: Dockerd, client: EngineClient) -> None:
    without = {k: v for k, v in NETWORK_29.items() if k != "Containers"}
    dockerd.replies[f"/networks/{WEB_NETWORK}"] = reply(encoded(without))

    network = await client.network(WEB_NETWORK)

    assert network is not None
    assert network.endpoints == {}


@pytest.mark.parametrize("renamed", [RENAMED_20_10, RENAMED_29])
async def test_events_come_whole_however_they_are_cut(
    dockerd: Dockerd, client: EngineClient, renamed: dict[str, object]
) -> None:
    raw = encoded(renamed) + encoded(CONNECTED)

    async with client.events() as events:
        await dockerd.is_streaming.wait()
        dockerd.send(raw[:7])
        dockerd.send(raw[7:])
        first, second = await anext(events), await anext(events)

    assert (first.kind, first.action, first.id) == ("container", "rename", WEB_CONTAINER)
    assert first.attributes["name"] == "web2"
    assert (second.kind, second.action, second.id) == ("network", "connect", WEB_NETWORK)
    assert second.attributes["type"] == "pynet"


async def test_events_resume_by_the_engines_clock(dockerd: Dockerd, client: EngineClient) -> None:
    async with client.events(since_ns=1_795_462_334_036_243_292):
        pass

    assert "&since=1795462334.036243292" in dockerd.requests[-1]


async def test_events_negotiate_anew_with_every_stream(
    dockerd: Dockerd, client: EngineClient
) -> None:
    async with client.events():
        pass
    dockerd.replies["/_ping"] = reply(b"OK", Api_Version="1.30")
    async with client.events():
        info = await client.info()

    assert info.api_version == "1.30"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"<html>\n", "makes no sense"),
        (b'{"Type":\n', "makes no sense"),
        (b'{"Type":1,"Action":"x","Actor":{}}\n', "makes no sense"),
        (b'{"Type":"\xff\xfe"}\n', "makes no sense"),
        (b"x" * (2**20 + 1), "larger than"),
    ],
)
async def test_events_that_are_garbage_break_the_stream(
    dockerd: Dockerd, client: EngineClient, raw: bytes, reason: str
) -> None:
    async with client.events() as events:
        await dockerd.is_streaming.wait()
        dockerd.send(raw)

        with pytest.raises(EngineUnreachable, match=reason):
            await anext(events)


async def test_events_that_end_say_so(dockerd: Dockerd, client: EngineClient) -> None:
    async with client.events() as events:
        await dockerd.is_streaming.wait()
        dockerd.send(b"")

        with pytest.raises(EngineUnreachable, match="ended the stream"):
            await anext(events)


async def test_events_of_an_engine_that_dies_say_so(dockerd: Dockerd, client: EngineClient) -> None:
    async with client.events() as events:
        await dockerd.is_streaming.wait()
        dockerd.cut()

        with pytest.raises(EngineUnreachable):
            await anext(events)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (reply(b"<html>hello</html>"), "makes no sense"),
        (reply(b""), "makes no sense"),
        (reply(b"null"), "makes no sense"),
        (reply(b'{"ID":"x","ServerVersion":7}'), "makes no sense"),
        (reply(b'{"ID":"\xff","ServerVersion":"1"}'), "makes no sense"),
        (reply(encoded(INFO_20_10)[:40]), "makes no sense"),
        (reply(b'{"message":"no room"}', "500 Internal Server Error"), "500: no room"),
        (reply(b"<html>", "502 Bad Gateway"), "502: no reason given"),
        (reply(b'{"message":"no"}', "404 Not Found"), "404: no"),
        (reply(b"", "302 Found", Location="http://127.0.0.1:1/"), "302"),
        (reply(b"x" * TOO_MUCH), "larger than"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "transfer encoding|chunk"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "Content-Length"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "Expected HTTP"),
    ],
)
async def test_info_that_is_garbage_is_no_engine(
    dockerd: Dockerd, client: EngineClient, raw: bytes, reason: str
) -> None:
    dockerd.replies["/info"] = raw

    with pytest.raises(EngineUnreachable, match=reason) as caught:
        await client.info()

    assert f"unix://{dockerd.socket}" in str(caught.value)


async def test_info_that_is_cut_short_is_no_engine(dockerd: Dockerd, client: EngineClient) -> None:
    dockerd.replies["/info"] = reply(b"{", Content_Length="1000", Connection="close")

    with pytest.raises(EngineUnreachable, match="not completed"):
        await client.info()


async def test_info_of_a_silent_engine_ends_with_its_deadline(dockerd: Dockerd) -> None:
    dockerd.replies["/info"] = b""
    client = EngineClient(
        EngineAddress(url=f"unix://{dockerd.socket}", origin="test"), deadline_s=0.05
    )

    with pytest.raises(EngineUnreachable, match=r"GET /info was not answered within 0\.05 s"):
        await client.info()
    await client.close()


async def test_info_without_an_engine_names_the_socket(dockerd: Dockerd) -> None:
    client = EngineClient(EngineAddress(url=f"unix://{dockerd.socket}.not", origin="test"))

    with pytest.raises(EngineUnreachable, match=r"docker\.sock\.not: No such file or directory"):
        await client.info()
    await client.close()


def served_tls() -> ssl.SSLContext:
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
    trust.verify_mode = ssl.CERT_REQUIRED
    trust.load_cert_chain(CERTIFICATE, KEY)
    return trust


async def test_info_over_tcp(dockerd: Dockerd) -> None:
    client = EngineClient(EngineAddress(url=await dockerd.listen_tcp(), origin="test"))

    assert (await client.info()).id == ENGINE_ID
    await client.close()


@pytest.mark.parametrize(
    "tls",
    [
        Tls(authority=CERTIFICATE, certificate=CERTIFICATE, key=KEY),
        Tls(certificate=CERTIFICATE, key=KEY, is_verified=False),
    ],
)
async def test_info_over_tls_shows_our_certificate(dockerd: Dockerd, tls: Tls) -> None:
    url = await dockerd.listen_tcp(served_tls())
    client = EngineClient(EngineAddress(url=url, origin="test", tls=tls))

    assert (await client.info()).id == ENGINE_ID
    await client.close()


async def test_info_over_tls_refuses_a_stranger(dockerd: Dockerd) -> None:
    url = await dockerd.listen_tcp(served_tls())
    client = EngineClient(EngineAddress(url=url, origin="test", tls=Tls()))

    with pytest.raises(EngineUnreachable, match="certificate verify failed"):
        await client.info()
    await client.close()


async def test_info_with_a_certificate_that_is_gone_is_no_engine() -> None:
    tls = Tls(authority=CERTIFICATE.with_name("gone.pem"))
    client = EngineClient(EngineAddress(url="tcp://127.0.0.1:1", origin="test", tls=tls))

    with pytest.raises(EngineUnreachable, match="No such file"):
        await client.info()


@pytest.mark.parametrize("url", ["tcp://a b:1", "tcp://a..b:1", f"unix:///{'x' * 200}"])
async def test_info_at_an_address_that_cannot_be_is_no_engine(url: str) -> None:
    client = EngineClient(EngineAddress(url=url, origin="test"))

    with pytest.raises(EngineUnreachable):
        await client.info()
    await client.close()


async def test_close_can_be_repeated(client: EngineClient) -> None:
    await client.info()

    await client.close()
    await client.close()
