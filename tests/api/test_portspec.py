"""Docker's `-p` syntax: what it asks for, and what is said of text that asks for nothing."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplug.api.portspec import host_ports, port_requests
from netplug.model import IPAddress, Origin, PortRequest, Protocol


def _request(**fields: object) -> PortRequest:
    plain = {"protocol": Protocol.TCP, "container_port": 80, "origin": Origin.PYNET}
    return PortRequest(**{**plain, **fields})


@st.composite
def _requests(draw: st.DrawFn) -> PortRequest:
    """Return any request that `-p` has a word for."""
    count = draw(st.integers(1, 100))
    first = draw(st.integers(1, 65536 - count))
    last = first if count > 1 else draw(st.integers(first, 65535))
    is_chosen = count > 1 or draw(st.booleans())
    return _request(
        protocol=draw(st.sampled_from(Protocol)),
        container_port=draw(st.integers(1, 65536 - count)),
        host_ip=draw(st.none() | st.ip_addresses()),
        host_port=first if is_chosen else 0,
        host_port_end=last if is_chosen else 0,
        count=count,
    )


@given(_requests())
def test_text_of_a_request_is_that_request(request_: PortRequest) -> None:
    assert port_requests(request_.text) == (request_,)


@given(st.text() | st.text(alphabet="0123456789:-/.[]tcpud"))
def test_any_text_is_requests_or_a_sentence_that_names_it(text: str) -> None:
    sentence = ""
    try:
        requests = port_requests(text)
    except ValueError as error:
        requests, sentence = (), str(error)

    assert requests or sentence.startswith(f"port mapping {text!r}: ")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("80", _request()),
        ("80/udp", _request(protocol=Protocol.UDP)),
        ("80/SCTP", _request(protocol=Protocol.SCTP)),
        (":80", _request()),
        ("0:80", _request()),
        ("8080:80", _request(host_port=8080, host_port_end=8080)),
        (
            "127.0.0.1:8080:80",
            _request(host_ip=ip_address("127.0.0.1"), host_port=8080, host_port_end=8080),
        ),
        ("127.0.0.1::80", _request(host_ip=ip_address("127.0.0.1"))),
        (
            "[::1]:8080:80/tcp",
            _request(host_ip=ip_address("::1"), host_port=8080, host_port_end=8080),
        ),
        ("::1:8080:80", _request(host_ip=ip_address("::1"), host_port=8080, host_port_end=8080)),
        ("[::]::80", _request(host_ip=ip_address("::"))),
        ("8000-8010:80", _request(host_port=8000, host_port_end=8010)),
        ("8000-8010:80-80", _request(host_port=8000, host_port_end=8010)),
        (
            "8000-8009:9000-9009",
            _request(container_port=9000, host_port=8000, host_port_end=8000, count=10),
        ),
    ],
)
def test_text_is_read_as_docker_reads_it(text: str, request_: PortRequest) -> None:
    assert port_requests(text) == (request_,)


@pytest.mark.parametrize("text", ["9000-9009", "0:9000-9009", "::9000-9009"])
def test_a_run_without_host_ports_is_a_request_a_port(text: str) -> None:
    assert port_requests(text) == tuple(_request(container_port=9000 + i) for i in range(10))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is not a port from 1 to 65535, nor a range of them"),
        ("http", "'http' is not a port from 1 to 65535, nor a range of them"),
        ("8080:", "'' is not a port from 1 to 65535, nor a range of them"),
        ("127.0.0.1:80", "'127.0.0.1' is not a port from 1 to 65535, nor a range of them"),
        ("8080:٨٠", "'٨٠' is not a port from 1 to 65535, nor a range of them"),
        ("0", "a container has no port 0"),
        ("0-5", "a container has no port 0"),
        ("65536", "65536 is beyond the last port, 65535"),
        ("80-79", "80-79 ends before it begins"),
        ("80/icmp", "'icmp' is not tcp or udp or sctp"),
        ("0-5:80", "0-5 begins with 0, which is the host's choice"),
        ("8080:80-82", "8080 and 80-82 are not equally many ports"),
        ("8080-8081:80-82", "8080-8081 and 80-82 are not equally many ports"),
        ("localhost:8080:80", "'localhost' is not an address of the host"),
        ("[127.0.0.1]:8080:80", "'[127.0.0.1]' is not an address of the host"),
        ("fe80::1%eth0:80:80", "'fe80::1%eth0' has a zone, which a published port cannot have"),
    ],
)
def test_text_that_asks_for_nothing_is_refused_in_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^port mapping") as caught:
        port_requests(text)

    assert str(caught.value) == f"port mapping {text!r}: {problem}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8080", (Protocol.TCP, 8080, 8080, None)),
        ("8080/udp", (Protocol.UDP, 8080, 8080, None)),
        ("127.0.0.1:8080", (Protocol.TCP, 8080, 8080, ip_address("127.0.0.1"))),
        ("[::1]:8080-8089/sctp", (Protocol.SCTP, 8080, 8089, ip_address("::1"))),
    ],
)
def test_host_ports_are_found_by_their_text(
    text: str, found: tuple[Protocol, int, int, IPAddress | None]
) -> None:
    named = host_ports(text)

    assert (named.protocol, named.first, named.last, named.host_ip) == found
    assert host_ports(named.text) == named


@pytest.mark.parametrize("text", ["", "0", "0-9", "8001-8000", "x", "here:80", "80/x"])
def test_host_ports_that_are_none_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=f"^host port {text!r}: "):
        host_ports(text)
