"""What the resolver makes of what the daemon says, and of its end."""

from __future__ import annotations

import gc
import json
import socket
import struct
from pathlib import Path
from typing import Any

import dns.message
import pytest

from netplug.contract.names import ClientCounters, Source
from netplug.dns import heartbeat
from netplug.dns.querylog import described
from netplug.dns.resolvconf import HostResolvers, parse
from netplug.loop import READ
from tests.dns.conftest import FRONT, WEB, Rig


@pytest.mark.parametrize(
    "message",
    [
        7,
        [],
        {},
        "client",
        {"client": {}},
        {"client": {"id": "c", "kind": "none"}},
        {"client": {"id": "c", "kind": "own", "listen": ["nowhere"]}},
        {"change": {"puts": [{"endpoint": {"id": "x", "addresses": ["10.0.0.256"]}}]}},
        {"change": {"puts": [{"network": {"id": "x", "subnets": ["10.0.0.1/8"]}}]}},
        {"change": {"puts": [{"record": {"network_id": "n", "name": "x", "kind": "MX"}}]}},
        {"change": {"puts": [7]}},
        {"change": 7},
        {"settings": {"rate": "fast"}},
        {"forwarder": None},
        {"lookup": 1},
    ],
    ids=repr,
)
def test_message_that_makes_no_sense_is_answered_and_its_sockets_are_closed(
    rig: Rig, message: object
) -> None:
    port = rig.bound()
    address = port.getsockname()

    rig.tell(message, (port,))
    port.close()

    assert "not understood" in rig.heard()["warning"]
    again = rig.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    again.bind(address)


def test_bytes_that_are_no_json_are_answered(rig: Rig) -> None:
    rig.daemon.send(b"\xff\0{")

    assert "not understood" in rig.heard()["warning"]


def test_sync_is_answered_after_what_was_said_before(rig: Rig) -> None:
    rig.tell({"sync": 5})

    assert rig.heard() == {"synced": 5}


def test_end_of_the_daemon_is_the_end(rig: Rig) -> None:
    rig.daemon.close()

    rig.control.run()

    assert rig.control.is_over


def test_bug_is_told_and_survived_unless_there_is_no_end_of_them(rig: Rig) -> None:
    pipe, other = socket.socketpair()
    rig.keep(other).send(b"it stays readable")
    rig.control.resolver.loop.watch(rig.keep(pipe).fileno(), READ, fail)

    with pytest.raises(ZeroDivisionError):
        rig.control.run()

    assert "a bug" in rig.heard()["warning"]


def fail(_: int) -> None:
    raise ZeroDivisionError


def test_forget_of_what_is_not_there_is_answered_all_the_same(rig: Rig) -> None:
    rig.tell({"forget": "nobody"})

    assert rig.heard() == {"forgotten": "nobody"}


def test_domain_can_be_another(rig: Rig) -> None:
    client, _ = rig.client()
    rig.tell({"settings": {"domain": "Lan.Home."}})

    assert rig.ask(client, "web.front.lan.home").answer
    assert rig.ask(client, "x.lan.home").rcode() == 3


def test_statistics_have_the_counters_of_every_client(rig: Rig) -> None:
    client, _ = rig.client()
    rig.client("c2")
    for name in ("web", "web", "x.pynet"):
        rig.ask(client, name)
    rig.ask(client, "web", "AXFR")

    rig.tell({"statistics": 3})

    said = rig.heard()
    expected = {"queries": 4, "hits": 1, "misses": 3, "forwarded": 0, "failed": 0, "refused": 1}
    rcodes = {"NOERROR": 2, "NXDOMAIN": 1, "REFUSED": 1}
    assert said["clients"]["c1"] == {**expected, "dropped": 0, "rcodes": rcodes}
    assert (said["statistics"], said["is_last"], list(said["clients"])) == (3, True, ["c1", "c2"])
    assert set(said["clients"]["c2"]) == set(ClientCounters.__slots__)


def test_statistics_of_many_clients_are_told_in_parts(rig: Rig) -> None:
    for number in range(150):
        spec = {"id": f"c{number}", "kind": "own", "network_ids": ["n1"]}
        rig.tell({"client": spec})

    rig.tell({"statistics": 1})

    parts = [rig.heard(), rig.heard()]
    assert [part["is_last"] for part in parts] == [False, True]
    assert sum(len(part["clients"]) for part in parts) == 150


def test_lookup_tells_the_answer_and_where_it_is_from(rig: Rig) -> None:
    rig.client()

    rig.tell({"lookup": 9, "client": "c1", "name": "WEB.front", "kind": "A"})

    assert rig.heard() == {
        "lookup": 9,
        "answer": {
            "rcode": "NOERROR",
            "records": ["web.front. 5 IN A 10.0.0.2"],
            "source": "names",
            "network_id": "n1",
            "owners": ["web"],
            "reason": "",
        },
    }


@pytest.mark.parametrize(
    ("message", "source"),
    [
        ({"networks": ["n2"], "name": "db"}, "names"),
        ({"networks": ["n1"], "name": "db"}, "upstream"),
        ({"client": "c1", "name": "db"}, "nobody"),
    ],
)
def test_lookup_tells_who_would_answer(rig: Rig, message: dict[str, object], source: str) -> None:
    rig.client(forwards=False)

    rig.tell({"lookup": 1, "kind": "A", **message})

    assert rig.heard()["answer"]["source"] == source


@pytest.mark.parametrize(
    ("message", "is_unknown_client"),
    [
        ({"client": "c9", "name": "db"}, True),
        ({"networks": [], "name": "a" * 64}, False),
        ({"networks": [], "name": "a..b"}, False),
        ({"networks": [], "name": "web", "kind": "NOSUCHTYPE"}, False),
    ],
)
def test_lookup_that_cannot_be_is_an_error(
    rig: Rig, message: dict[str, object], is_unknown_client: bool
) -> None:
    rig.tell({"lookup": 1, **message})

    assert rig.heard()["is_unknown_client"] is is_unknown_client


def test_log_is_told_while_it_is_followed_what_was_before_comes_first(rig: Rig) -> None:
    client, _ = rig.client()
    rig.ask(client, "web")
    rig.ask(client, "web")

    rig.tell({"follow": True})
    before = rig.heard()["log"]
    rig.ask(client, "Nope.pynet", "AAAA")
    rig.later(0.2)
    after = rig.heard()["log"]

    assert [entry["name"] for entry in before] == ["web", "web"]
    assert after == [
        {
            "at": after[0]["at"],
            "client_id": "c1",
            "label": "c1",
            "name": "Nope.pynet",
            "kind": "AAAA",
            "rcode": "NXDOMAIN",
            "source": "names",
            "records": [],
            "took_s": 0.0,
        }
    ]
    assert before[0]["records"] == ["10.0.0.2"]
    rig.tell({"follow": False})
    rig.ask(client, "web")
    rig.later(1)
    assert rig.is_silent(rig.daemon)


def test_log_in_a_flood_tells_the_latest_and_how_many_are_lost(rig: Rig) -> None:
    client, _ = rig.client()
    rig.tell({"follow": True})
    for _ in range(80):
        rig.ask(client, "web")

    rig.later(0.2)

    said = rig.heard()
    assert (len(said["log"]), said["lost"]) == (50, 30)


def test_log_of_long_answers_is_short_messages(rig: Rig) -> None:
    addresses = [f"10.0.{i // 250}.{i % 250 + 1}" for i in range(120)]
    rig.put({"endpoint": {**WEB, "names": ["web", "x" * 63], "addresses": addresses}})
    backslashes = "\\" * 380
    texts = [f'"{i}{backslashes}"' for i in range(9)]
    rig.put({"record": {"network_id": "n1", "name": "t", "kind": "TXT", "values": texts}})
    client, _ = rig.client(label="c" * 300)
    for name in ("web", "t") * 100:
        rig.ask(client, name, "TXT" if name == "t" else "A", use_edns=0, payload=4096)

    rig.tell({"follow": True})

    told: list[dict[str, Any]] = []
    while len(told) < 200:
        text = rig.until(lambda: rig.daemon.recv(1 << 20))
        assert len(text) < 50_000
        told += json.loads(text)["log"]
    assert {len(entry["records"]) for entry in told} == {9, 11}
    assert told[0]["records"][-1] == "110 more"


def test_log_of_an_answer_above_2_kb_has_no_records(rig: Rig) -> None:
    rig.put({"endpoint": {**WEB, "addresses": [f"10.0.0.{i}" for i in range(1, 200)]}})
    client, _ = rig.client()
    rig.ask(client, "web", use_edns=0, payload=4096)

    rig.tell({"follow": True})

    assert rig.heard()["log"][0]["records"] == ["199 records, not shown"]


@pytest.mark.parametrize("rdata", [b"abc", bytes(4)], ids=["broken", "whole"])
def test_describing_an_answer_leaves_no_garbage(rig: Rig, rdata: bytes) -> None:
    rig.client()
    query = dns.message.make_query("example.com", "A").to_wire()
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, len(rdata)) + rdata
    answer = b"\x81\x80" + struct.pack("!HHHH", 1, 1, 0, 0) + query[12:] + record
    entry = (0.0, rig.control.clients["c1"], query, answer, Source.UPSTREAM, 0.0)
    described(entry)
    gc.collect()

    for _ in range(10):
        described(entry)

    assert gc.collect() == 0


def test_log_is_told_for_20_ms_at_a_time(rig: Rig) -> None:
    client, _ = rig.client()
    for _ in range(40):
        rig.ask(client, "web")
    rig.look_s = 0.003

    rig.tell({"follow": True})
    rig.look_s = 0.0

    assert len(rig.heard()["log"]) < 10
    rig.later(0.2)
    assert len(rig.heard()["log"]) > 30


def test_log_that_is_followed_anew_at_once_is_told_once(rig: Rig) -> None:
    rig.client()
    for is_on in (True, False, True):
        rig.tell({"follow": is_on})
    client, _ = rig.client()
    rig.ask(client, "web")

    rig.later(0.2)

    assert len(rig.control._loop._alarms) == 1
    assert len(rig.heard()["log"]) == 1


def test_message_that_is_too_long_is_told_of_and_no_end(rig: Rig) -> None:
    rig.control._daemon.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    rig.put({"endpoint": {**WEB, "addresses": [f"10.0.{i // 250}.{i % 250}" for i in range(3000)]}})

    rig.tell({"lookup": 1, "networks": ["n1"], "name": "web"})
    rig.tell({"sync": 5})

    assert "too long" in rig.heard()["warning"]
    assert rig.heard() == {"synced": 5}


def test_lookup_with_many_records_is_cut(rig: Rig) -> None:
    rig.put({"endpoint": {**WEB, "addresses": [f"10.0.{i // 250}.{i % 250}" for i in range(3000)]}})

    rig.tell({"lookup": 1, "networks": ["n1"], "name": "web"})

    records = rig.heard()["answer"]["records"]
    assert records[-1] == f"; {3000 - len(records) + 1} more"


def test_overlay_client_beats_at_once_and_every_ten_seconds(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = rig.bound()
    monkeypatch.setattr(heartbeat, "TARGET", nobody.getsockname())

    def beats() -> int:
        rig.turns()
        count = 0
        while not rig.is_silent(nobody):
            count += 1
        return count

    rig.client()
    rig.client("host", kind="host")
    seen = [beats()]
    for _ in range(3):
        rig.later(10)
        seen.append(beats())
    rig.tell({"forget": "c1"})
    rig.later(10)

    assert [*seen, beats()] == [1, 1, 1, 1, 0]


def test_new_sockets_of_a_client_replace_the_old(rig: Rig) -> None:
    old, _ = rig.client()
    new, _ = rig.client()

    assert rig.ask(new, "web").answer
    old.send(dns.message.make_query("web", "A").to_wire())
    assert rig.is_silent(old)


def test_names_may_come_after_the_client(rig: Rig) -> None:
    client, _ = rig.client(network_ids=["later"], forwards=False)
    assert rig.ask(client, "web").rcode() == 5

    rig.put({"endpoint": {**WEB, "id": "l", "network_id": "later"}})
    rig.put({"network": {**FRONT, "id": "later"}})

    assert rig.ask(client, "web").answer


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", ("127.0.0.1",)),
        ("# nameserver 1.1.1.1\nnameserver\noptions ndots:2", ("127.0.0.1",)),
        ("nameserver 192.0.2.1\nnameserver\tfd00::1%eth0 x\n", ("192.0.2.1", "fd00::1%eth0")),
        ("nameserver dns.example\nnameserver FD00::0:1\nnameserver 1.1.1.999", ("fd00::1",)),
    ],
)
def test_resolvers_of_the_host_are_as_glibc_reads_them(text: str, servers: tuple[str, ...]) -> None:
    assert parse(text) == servers


def test_three_resolvers_of_the_host_are_asked_beside_ours(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("".join(f"nameserver 192.0.2.{i}\n" for i in range(1, 6)))
    host = HostResolvers(lambda: 0.0, str(file))
    host.ours = frozenset({"192.0.2.1"})

    assert host.servers() == ("192.0.2.2", "192.0.2.3", "192.0.2.4")


def test_resolv_conf_that_is_gone_leaves_what_was_known(tmp_path: Path) -> None:
    now_s = 0.0
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.1")
    host = HostResolvers(lambda: now_s, str(file))
    assert host.servers() == ("192.0.2.1",)
    file.unlink()

    now_s = 9.0

    assert host.servers() == ("192.0.2.1",)


def test_names_that_a_client_leaves_to_docker_are_its_own_matter(rig: Rig) -> None:
    linked, _ = rig.client("c1", left_to_docker=["WEB"])
    other, _ = rig.client("c2")

    assert rig.ask(other, "web").answer
    linked.send(dns.message.make_query("web", "A").to_wire())
    assert rig.heard() == {
        "need": "forwarder",
        "client": "c1",
        "transport": "udp",
        "number": 1,
    }
