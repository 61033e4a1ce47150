"""UDP and TCP on loopback: what is asked of a client's sockets, and what comes back."""

from __future__ import annotations

import socket
import struct
from functools import partial

import dns.flags
import dns.message
import pytest

from netplug.dns import forward
from netplug.dns.forward import HOST_FLIGHTS
from netplug.dns.server import UdpPort
from netplug.dns.stream import CONNECTIONS, HOST_CONNECTIONS, IDLE_S
from tests.dns.conftest import WEB, Rig


def addresses(reply: dns.message.Message) -> list[str]:
    return [data.to_text() for rrset in reply.answer for data in rrset]


def many(count: int) -> dict[str, object]:
    return {**WEB, "addresses": [f"10.0.{i // 250}.{i % 250 + 1}" for i in range(count)]}


def framed(*messages: bytes) -> bytes:
    return b"".join(len(m).to_bytes(2) + m for m in messages)


def read_messages(rig: Rig, sock: socket.socket, count: int) -> list[bytes]:
    data, messages = b"", []
    while len(messages) < count:
        data += rig.until(lambda: sock.recv(65536))
        while len(data) >= 2 and len(data) >= 2 + int.from_bytes(data[:2]):
            end = 2 + int.from_bytes(data[:2])
            messages.append(data[2:end])
            data = data[end:]
    return messages


def test_same_question_is_answered_from_what_is_kept(rig: Rig) -> None:
    client, _ = rig.client()

    answers = [addresses(rig.ask(client, "web")) for _ in range(3)]

    assert answers == [["10.0.0.2"]] * 3
    counters = rig.control.clients["c1"].counters
    assert (counters.queries, counters.hits, counters.misses) == (3, 2, 1)


def test_spelling_of_the_question_is_kept_and_answered_from_the_same(rig: Rig) -> None:
    client, _ = rig.client()

    for name in ("web", "WeB", "wEb"):
        reply = rig.ask(client, name)
        assert str(reply.question[0].name) == name + "."
        assert str(reply.answer[0].name) == name + "."

    assert len(rig.control.clients["c1"].scope) == 1


def test_flags_of_an_answer_of_ours(rig: Rig) -> None:
    client, _ = rig.client()

    reply = rig.ask(client, "web", flags=dns.flags.RD | dns.flags.CD | dns.flags.AD)

    assert reply.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.RA | dns.flags.CD


def test_several_addresses_take_turns_at_the_front(rig: Rig) -> None:
    client, _ = rig.client()
    rig.put({"endpoint": many(3)})

    fronts = [addresses(rig.ask(client, "web")) for _ in range(4)]

    first = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert fronts == [first, first[1:] + first[:1], first[2:] + first[:2], first]


def test_change_of_a_name_is_seen_at_once_and_others_stay_kept(rig: Rig) -> None:
    client, _ = rig.client()
    rig.put({"endpoint": {**WEB, "id": "other", "names": ["other"], "addresses": ["10.0.0.9"]}})
    rig.ask(client, "web"), rig.ask(client, "other")

    rig.put({"endpoint": {**WEB, "addresses": ["10.0.0.99"]}})

    assert len(rig.control.clients["c1"].scope) == 1
    assert addresses(rig.ask(client, "web")) == ["10.0.0.99"]
    rig.drop({"endpoint": {"id": "e1"}})
    client.send(dns.message.make_query("web.front.pynet", "A").to_wire())
    assert rig.answer(client).rcode() == 3


def test_name_above_others_is_there_as_long_as_these(rig: Rig) -> None:
    client, _ = rig.client()
    deep = {**WEB, "id": "deep", "names": ["a.deep"]}
    rcodes = [rig.ask(client, "deep.front.pynet").rcode()]
    rig.put({"endpoint": deep})
    rcodes += [rig.ask(client, "deep.front.pynet").rcode() for _ in range(2)]
    rig.drop({"endpoint": {"id": "deep"}})

    assert [*rcodes, rig.ask(client, "deep.front.pynet").rcode()] == [3, 0, 0, 3]


def test_change_of_a_network_is_seen_at_once(rig: Rig) -> None:
    client, _ = rig.client()
    rig.ask(client, "web")

    rig.put({"network": {"id": "n1", "name": "new", "ttl_s": 77}})

    assert rig.ask(client, "web.new").answer[0].ttl == 77
    assert rig.ask(client, "web").answer[0].ttl == 77


def test_networks_of_a_client_change_while_its_sockets_stay(rig: Rig) -> None:
    client, _ = rig.client(forwards=False)
    assert rig.ask(client, "db").rcode() == 5

    spec = {"id": "c1", "kind": "overlay", "label": "c1", "forwards": False}
    rig.tell({"client": {**spec, "network_ids": ["n1", "n2"]}})

    assert addresses(rig.ask(client, "db")) == ["10.0.1.2"]


@pytest.mark.parametrize(("size", "count"), [(None, 30), (1232, 75), (4096, 254), (65535, 254)])
def test_answer_is_cut_to_what_fits_and_says_so(rig: Rig, size: int | None, count: int) -> None:
    client, _ = rig.client()
    rig.put({"endpoint": many(300)})
    edns = {} if size is None else {"use_edns": 0, "payload": size}

    reply = rig.ask(client, "web", **edns)

    assert reply.flags & dns.flags.TC
    assert len(addresses(reply)) == count
    assert reply.edns == (-1 if size is None else 0)


def test_edns_of_a_later_version_is_told_so(rig: Rig) -> None:
    client, _ = rig.client()

    reply = rig.ask(client, "web", use_edns=1)

    assert (reply.rcode(), reply.edns) == (16, 0)


@pytest.mark.parametrize(("name", "kind", "klass"), [("web", "A", "CH"), ("web", "AXFR", "IN")])
def test_what_is_not_to_be_answered_is_refused(rig: Rig, name: str, kind: str, klass: str) -> None:
    client, _ = rig.client()

    assert rig.ask(client, name, kind, rdclass=klass).rcode() == 5


def test_responses_and_scraps_are_met_with_silence(rig: Rig) -> None:
    client, _ = rig.client()

    for data in (
        b"",
        b"a",
        dns.message.make_response(dns.message.make_query("web", "A")).to_wire(),
    ):
        client.send(data)

    assert rig.is_silent(client)


def test_who_has_spent_its_share_waits_and_others_do_not(rig: Rig) -> None:
    client, _ = rig.client()
    other, _ = rig.client("c2")
    rig.control.clients["c1"].tokens = 0

    client.send(dns.message.make_query("web", "A").to_wire())

    assert rig.is_silent(client)
    assert addresses(rig.ask(other, "web")) == ["10.0.0.2"]
    rig.later(0.1)
    assert addresses(rig.answer(client)) == ["10.0.0.2"]


def test_flood_has_a_turn_of_a_few_datagrams_only(rig: Rig) -> None:
    client, _ = rig.client()
    rig.ask(client, "web")
    query = dns.message.make_query("web", "A").to_wire()
    for _ in range(40):
        client.send(query)

    rig.turns(1)

    assert rig.control.clients["c1"].counters.queries == 5


def test_host_is_answered_for_names_and_refused_what_is_none(rig: Rig) -> None:
    client, _ = rig.client(kind="host", listen=["127.0.0.1"])

    assert rig.ask(client, "example.com").rcode() == 5
    assert addresses(rig.ask(client, "web.front")) == ["10.0.0.2"]


def test_host_address_answers_nobody_but_the_host(rig: Rig) -> None:
    client, _ = rig.client(kind="host", listen=["169.254.53.53"])

    assert rig.ask(client, "web.front").rcode() == 5


def test_gateway_answers_endpoints_of_its_network_only(rig: Rig) -> None:
    client, _ = rig.client(kind="gateway", forwards=False)
    assert rig.ask(client, "web").rcode() == 5

    local = {**WEB, "id": "me", "names": ["me"], "addresses": ["127.0.0.1"]}
    rig.put({"endpoint": local})

    assert addresses(rig.ask(client, "web")) == ["10.0.0.2"]


def test_closed_port_has_let_go_of_its_descriptor(rig: Rig) -> None:
    client, _ = rig.client()
    ports = list(rig.control.clients["c1"].ports)
    assert isinstance(ports[0], UdpPort)

    rig.tell({"forget": "c1"})

    assert rig.heard() == {"forgotten": "c1"}
    assert [port.sock.fileno() for port in ports] == [-1, -1]
    assert client.fileno() >= 0


def test_stream_carries_many_questions_and_long_answers(rig: Rig) -> None:
    _, port = rig.client()
    rig.put({"endpoint": many(3000)})
    stream = rig.connected(port)
    queries = [
        dns.message.make_query(n, "A", id=i) for i, n in enumerate(["web", "www", "x.pynet"])
    ]

    stream.send(framed(*(query.to_wire() for query in queries)))

    replies = [dns.message.from_wire(m) for m in read_messages(rig, stream, 3)]
    assert [len(addresses(reply)) for reply in replies] == [3000, 3000, 0]
    assert not replies[0].flags & dns.flags.TC


def test_stream_may_come_byte_by_byte(rig: Rig) -> None:
    _, port = rig.client()
    stream = rig.connected(port)

    for byte in framed(dns.message.make_query("web", "A").to_wire()):
        stream.send(bytes([byte]))
        rig.turns(2)

    assert len(read_messages(rig, stream, 1)) == 1


@pytest.mark.parametrize("sent", [b"", b"\0", b"\xff\xff" + b"a" * 500])
def test_stream_without_a_whole_message_is_closed_however_slowly_it_comes(
    rig: Rig, sent: bytes
) -> None:
    _, port = rig.client()
    stream = rig.connected(port)
    stream.send(sent)
    rig.turns()

    for _ in range(int(IDLE_S) + 2):
        rig.later(1)
        try:
            stream.send(b"a")
        except OSError:
            break

    with pytest.raises((ConnectionError, AssertionError)):
        assert rig.until(lambda: stream.recv(99)) != b""


def test_message_of_64_kib_is_formerr_and_the_stream_goes_on(rig: Rig) -> None:
    _, port = rig.client()
    stream = rig.connected(port)
    query = dns.message.make_query("web", "A").to_wire()
    sent = framed(query + bytes(65535 - len(query)), query)

    for start in range(0, len(sent), 8192):
        part = sent[start : start + 8192]
        assert rig.until(partial(stream.send, part)) == len(part)
        rig.turns(10)

    first, second = read_messages(rig, stream, 2)
    assert (first[3] & 15, second[3] & 15) == (1, 0)


def test_reader_that_never_reads_is_not_read_from_either(rig: Rig) -> None:
    _, port = rig.client()
    rig.put({"endpoint": many(3000)})
    stream = rig.connected(port)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    query = framed(dns.message.make_query("web", "A").to_wire())

    for _ in range(400):
        try:
            stream.send(query * 20)
        except BlockingIOError:
            break
        rig.turns(1)

    answered = rig.control.clients["c1"].counters.queries
    rig.turns(50)
    assert rig.control.clients["c1"].counters.queries == answered < 1000


def test_reader_that_is_slow_gets_all_of_it_in_the_end(rig: Rig) -> None:
    _, port = rig.client()
    rig.put({"endpoint": many(3000)})
    stream = rig.connected(port)

    stream.send(framed(dns.message.make_query("web", "A").to_wire()) * 200)
    rig.turns(50)

    (connection,) = rig.control.clients["c1"].ports[1]._connections  # type: ignore[attr-defined]
    assert 128 * 1024 <= len(connection._unsent) < 128 * 1024 + 50_000
    assert len(read_messages(rig, stream, 200)) == 200


def test_stream_waits_where_the_share_is_spent_and_goes_on_later(rig: Rig) -> None:
    _, port = rig.client()
    client = rig.control.clients["c1"]
    stream = rig.connected(port)
    rig.turns()
    client.tokens = 50

    stream.send(framed(dns.message.make_query("web", "A").to_wire()) * 30)
    rig.turns(10)
    asked = client.counters.queries
    rig.later(0.1)

    assert asked < 30
    assert len(read_messages(rig, stream, 30)) == 30


def test_streams_of_a_client_have_2_ms_of_a_turn(rig: Rig) -> None:
    _, port = rig.client()
    streams = [rig.connected(port) for _ in range(3)]
    rig.turns()
    for stream in streams:
        stream.send(framed(dns.message.make_query("web", "A").to_wire()) * 30)
    rig.look_s = 0.0004

    rig.turns(1)

    assert 0 < rig.control.clients["c1"].counters.queries < 10
    for stream in streams:
        assert len(read_messages(rig, stream, 30)) == 30


def test_longest_idle_stream_makes_room_for_another(rig: Rig) -> None:
    _, port = rig.client()
    streams = [rig.connected(port) for _ in range(CONNECTIONS + 1)]
    query = framed(dns.message.make_query("web", "A").to_wire())

    rig.turns(10)
    streams[-1].send(query)
    streams[1].send(query)

    assert len(read_messages(rig, streams[-1], 1)) == len(read_messages(rig, streams[1], 1)) == 1
    assert rig.until(lambda: streams[0].recv(9)) == b""


def test_stream_that_breaks_is_forgotten(rig: Rig) -> None:
    _, port = rig.client()
    stream = rig.connected(port)
    rig.turns()
    tcp = rig.control.clients["c1"].ports[1]
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    stream.close()
    rig.turns()

    assert len(tcp) == 0  # type: ignore[arg-type]


@pytest.fixture
def gateway(rig: Rig) -> tuple[socket.socket, socket.socket]:
    """The UDP and the TCP port of a client that endpoints share."""
    ports = (rig.bound(), rig.bound(socket.SOCK_STREAM))
    for address in ("127.0.0.1", "127.0.0.2"):
        rig.put({"endpoint": {**WEB, "id": address, "names": [], "addresses": [address]}})
    rig.resolv_conf.write_text("nameserver 127.0.0.9\n")
    spec = {"id": "gw", "kind": "gateway", "label": "gw", "network_ids": ["n1"]}
    rig.tell({"client": spec}, ports)
    return ports


def at(rig: Rig, address: str, port: socket.socket) -> socket.socket:
    sock = rig.keep(socket.socket(socket.AF_INET, port.type))
    sock.bind((address, 0))
    sock.connect_ex(port.getsockname())
    return sock


def test_one_at_a_gateway_that_spends_its_part_leaves_others_theirs(
    rig: Rig, gateway: tuple[socket.socket, socket.socket]
) -> None:
    greedy, other = (at(rig, address, gateway[0]) for address in ("127.0.0.1", "127.0.0.2"))
    rig.control.clients["gw"]._rate = rig.control.clients["gw"].tokens = 2000
    rcodes = [rig.ask(greedy, "web", f"TYPE{300 + i}").rcode() for i in range(80)]

    assert (rcodes[0], rcodes[-1]) == (0, 5)
    assert rcodes.count(0) < 50
    assert addresses(rig.ask(other, "web")) == ["10.0.0.2"]


def test_one_at_a_gateway_that_waits_for_much_leaves_others_room(
    rig: Rig, gateway: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = rig.bound()
    monkeypatch.setattr(forward, "_PORT", silent.getsockname()[1])
    rig.resolv_conf.write_text("nameserver 127.0.0.1\n")
    greedy, other = (at(rig, address, gateway[0]) for address in ("127.0.0.1", "127.0.0.2"))
    for number in range(HOST_FLIGHTS):
        greedy.send(dns.message.make_query(f"x{number}.example", "A").to_wire())
        rig.turns(1)

    assert rig.ask(greedy, "x.example").rcode() == 2
    other.send(dns.message.make_query("x.example", "A").to_wire())
    assert rig.is_silent(other)
    rig.later(6)
    assert rig.answer(other).rcode() == 2
    assert not rig.control.clients["gw"].forwarder._hosts  # type: ignore[union-attr]


def test_one_at_a_gateway_has_few_streams(
    rig: Rig, gateway: tuple[socket.socket, socket.socket]
) -> None:
    other = at(rig, "127.0.0.2", gateway[1])
    rig.turns()
    streams = []
    for _ in range(CONNECTIONS):
        streams.append(at(rig, "127.0.0.1", gateway[1]))
        rig.turns(1)
    rig.turns()

    assert len(rig.control.clients["gw"].ports[1]) == 1 + HOST_CONNECTIONS  # type: ignore[arg-type]
    for stream in (other, streams[-1]):
        stream.send(framed(dns.message.make_query("web", "A").to_wire()))
        assert len(read_messages(rig, stream, 1)) == 1
