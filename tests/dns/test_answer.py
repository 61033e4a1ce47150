"""What a question is answered: pure, by the names and by who asks."""

from __future__ import annotations

import ipaddress

import dns.rdatatype
import pytest
from dns.rdatatype import RdataType

from netplug.contract.names import Change, NamedEndpoint, NamedNetwork, NamedRecord
from netplug.dns.answer import Asker, Forward, Question, Refuse, Reply, answer, order
from netplug.dns.encode import texts
from netplug.dns.rdatas import text_of
from netplug.dns.wire import Rcode
from netplug.dns.zone import Zone
from netplug.model import EndpointId, NetworkId, Protocol, RecordKind

A, B, INNER = NetworkId("a"), NetworkId("b"), NetworkId("inner")


def network(id_: NetworkId, name: str, number: int, **more: object) -> NamedNetwork:
    subnets = (
        ipaddress.ip_network(f"10.0.{number}.0/24"),
        ipaddress.ip_network(f"fd0{number}::/64"),
    )
    return NamedNetwork(id=id_, name=name, subnets=subnets, **more)  # type: ignore[arg-type]


def endpoint(id_: str, network_id: NetworkId, names: str, *addresses: str) -> NamedEndpoint:
    return NamedEndpoint(
        id=EndpointId(id_),
        network_id=network_id,
        label=f"the {id_}",
        names=tuple(names.split()),
        addresses=tuple(ipaddress.ip_address(address) for address in addresses),
        ports=((Protocol.TCP, 80), (Protocol.UDP, 9999)),
    )


def record(network_id: NetworkId, name: str, kind: RecordKind, *values: str) -> NamedRecord:
    return NamedRecord(network_id=network_id, name=name, kind=kind, values=values)


@pytest.fixture
def zone() -> Zone:
    zone = Zone()
    puts = (
        network(A, "front", 1),
        network(B, "Back", 2, ttl_s=9),
        network(INNER, "aaa", 3, is_internal=True),
        endpoint("web1", A, "web www *.apps *.deep.apps exact.apps", "10.0.1.2", "fd01::2"),
        endpoint("web2", A, "web2 web", "10.0.1.3"),
        endpoint("db", B, "db Shared", "10.0.2.2"),
        endpoint("shared", A, "shared", "10.0.1.9"),
        endpoint("inner", INNER, "shared only-inner", "10.0.3.9"),
        record(A, "alias", RecordKind.CNAME, "web"),
        record(A, "away", RecordKind.CNAME, "example.com."),
        record(A, "loop", RecordKind.CNAME, "loop"),
        record(A, "text", RecordKind.TXT, '"a b" "c"', "plain"),
        record(A, "_sip._tcp", RecordKind.SRV, "1 2 5060 web"),
        record(A, "fixed", RecordKind.A, "192.0.2.1", "not an address"),
    )
    zone.apply(Change(puts=puts))
    return zone


def asked(
    zone: Zone, name: str, kind: str = "A", *ids: NetworkId, is_host: bool = False
) -> Reply | Forward | Refuse:
    known = [n.id for n in zone.networks()] if is_host else (ids or (A, B, INNER))
    asker = Asker(network_ids=order(zone, known), is_host=is_host)
    return answer(Question(name=name, kind=dns.rdatatype.from_text(kind)), zone, asker)


def short(outcome: Reply | Forward | Refuse) -> list[str]:
    assert isinstance(outcome, Reply), outcome
    return [text_of(data) for records in outcome.answer for data in records.datas]


@pytest.mark.parametrize("name", ["web", "web.front", "web.front.pynet"])
def test_name_with_several_endpoints_has_the_addresses_of_all(zone: Zone, name: str) -> None:
    assert short(asked(zone, name)) == ["10.0.1.2", "10.0.1.3"]
    assert short(asked(zone, name, "AAAA")) == ["fd01::2"]


def test_name_on_several_networks_is_answered_from_the_first_not_internal_one(zone: Zone) -> None:
    assert short(asked(zone, "shared")) == ["10.0.2.2"]  # Back sorts before front
    assert short(asked(zone, "shared", "A", A, INNER)) == ["10.0.1.9"]
    assert short(asked(zone, "shared", "A", INNER)) == ["10.0.3.9"]
    assert short(asked(zone, "shared.aaa")) == ["10.0.3.9"]


def test_ttl_is_that_of_the_network(zone: Zone) -> None:
    reply = asked(zone, "db")

    assert isinstance(reply, Reply)
    assert texts([reply.answer]) == ("db. 9 IN A 10.0.2.2",)
    assert (reply.network_id, reply.owners) == (B, ("the db",))


@pytest.mark.parametrize("name", ["db", "db.back", "x", "x.front", "example.com", "front"])
def test_name_of_no_network_of_the_asker_is_forwarded(zone: Zone, name: str) -> None:
    assert isinstance(asked(zone, name, "A", A), Forward)


def test_name_that_is_left_to_docker_is_forwarded(zone: Zone) -> None:
    asker = Asker(network_ids=order(zone, [A]), left_to_docker=frozenset({"web", "web.front"}))

    def answered(name: str) -> object:
        return answer(Question(name=name, kind=RdataType.A), zone, asker)

    assert isinstance(answered("web"), Forward)
    assert isinstance(answered("web.front"), Forward)
    assert isinstance(answered("web.front.pynet"), Reply)


@pytest.mark.parametrize("name", ["db.back.pynet", "x.front.pynet", "x.pynet", "web.pynet"])
def test_unknown_name_below_the_domain_does_not_exist(zone: Zone, name: str) -> None:
    reply = asked(zone, name, "A", A)

    assert isinstance(reply, Reply)
    assert reply.rcode is Rcode.NXDOMAIN
    assert [str(records.owner) for records in reply.authority] == ["pynet."]


def test_unknown_name_of_a_network_tells_how_long_that_holds_there(zone: Zone) -> None:
    replies = [
        asked(zone, name, "A", A, B) for name in ("x.back.pynet", "x.y.back.pynet", "x.pynet")
    ]

    assert [r.authority[0].ttl_s for r in replies if isinstance(r, Reply)] == [9, 9, 5]


@pytest.mark.parametrize(
    "name",
    ["pynet", "front.pynet", "apps.front.pynet", "_tcp.front.pynet", "_udp.web.front.pynet"],
)
def test_what_is_above_names_is_there_and_empty(zone: Zone, name: str) -> None:
    reply = asked(zone, name)

    assert isinstance(reply, Reply)
    assert (reply.rcode, reply.answer, len(reply.authority)) == (Rcode.NOERROR, (), 1)


def test_known_name_without_the_type_is_empty_with_a_soa_of_its_ttl(zone: Zone) -> None:
    reply = asked(zone, "db", "AAAA")

    assert isinstance(reply, Reply)
    assert (reply.rcode, reply.answer) == (Rcode.NOERROR, ())
    soa = "db. 9 IN SOA ns.pynet. hostmaster.pynet. 1 3600 600 86400 9"
    assert texts([reply.authority]) == (soa,)


@pytest.mark.parametrize("name", ["x.apps", "y.x.apps.front", "z.apps.front.pynet", "q.deep.apps"])
def test_wildcard_answers_deeper_names(zone: Zone, name: str) -> None:
    assert short(asked(zone, name)) == ["10.0.1.2"]


def test_exact_name_wins_over_a_wildcard_and_a_longer_wildcard_over_a_shorter(zone: Zone) -> None:
    puts = (
        endpoint("exact", A, "exact.apps", "10.0.1.77"),
        endpoint("deep", B, "*.deep.apps", "10.0.2.78"),
    )
    zone.apply(Change(puts=puts, drops=(endpoint("web1", A, ""),)))
    zone.apply(Change(puts=(endpoint("wide", B, "*.apps", "10.0.2.79"),)))

    assert short(asked(zone, "exact.apps")) == ["10.0.1.77"]
    assert short(asked(zone, "a.deep.apps")) == ["10.0.2.78"]
    assert short(asked(zone, "deep.apps")) == ["10.0.2.79"]
    assert isinstance(asked(zone, "apps"), Forward)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("2.1.0.10.in-addr.arpa", "web.front.pynet."),
        ("2.2.0.10.in-addr.arpa", "db.back.pynet."),
        ("2." + "0." * 15 + "0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa", "web.front.pynet."),
    ],
)
def test_pointer_names_the_canonical_name(zone: Zone, name: str, target: str) -> None:
    assert short(asked(zone, name, "PTR")) == [target]


def test_pointer_of_nobody_in_a_subnet_does_not_exist_and_of_others_is_forwarded(
    zone: Zone,
) -> None:
    reply = asked(zone, "200.1.0.10.in-addr.arpa", "PTR", A)

    assert isinstance(reply, Reply)
    assert reply.rcode is Rcode.NXDOMAIN
    assert str(reply.authority[0].owner) == "1.0.10.in-addr.arpa."
    for other in ("2.2.0.10.in-addr.arpa", "8.8.8.8.in-addr.arpa", "0.10.in-addr.arpa"):
        assert isinstance(asked(zone, other, "PTR", A), Forward)


def test_pointer_of_who_has_no_names_yet_is_forwarded(zone: Zone) -> None:
    zone.apply(Change(puts=(endpoint("new", A, "", "10.0.1.7"),)))

    assert isinstance(asked(zone, "7.1.0.10.in-addr.arpa", "PTR", A), Forward)


@pytest.mark.parametrize("name", ["_80._tcp.web2", "_http._tcp.web2.front", "_9999._udp.web2"])
def test_service_names_the_port_and_has_the_addresses_beside(zone: Zone, name: str) -> None:
    reply = asked(zone, name, "SRV")

    port = 9999 if "_udp" in name else 80
    assert short(reply) == [f"0 0 {port} web2.front.pynet."]
    assert isinstance(reply, Reply)
    assert texts([reply.additional]) == ("web2.front.pynet. 5 IN A 10.0.1.3",)


@pytest.mark.parametrize(
    "name", ["_81._tcp.web", "_http._udp.web", "_nothing._tcp.web", "_._tcp.web"]
)
def test_service_that_is_not_exposed_is_unknown(zone: Zone, name: str) -> None:
    assert isinstance(asked(zone, name, "SRV"), Forward)


def test_records_by_hand_are_answered_and_targets_of_the_network_made_absolute(zone: Zone) -> None:
    assert short(asked(zone, "fixed")) == ["192.0.2.1"]
    assert short(asked(zone, "text.front.pynet", "TXT")) == ['"a b" "c"', '"plain"']
    assert short(asked(zone, "_sip._tcp", "SRV")) == ["1 2 5060 web.front.pynet."]
    assert short(asked(zone, "alias")) == ["web.front.pynet.", "10.0.1.2", "10.0.1.3"]
    assert short(asked(zone, "alias", "CNAME")) == ["web.front.pynet."]
    assert short(asked(zone, "away")) == ["example.com."]
    assert len(short(asked(zone, "loop"))) == 8


def test_addresses_by_hand_give_way_to_those_of_endpoints(zone: Zone) -> None:
    put = record(A, "web", RecordKind.A, "192.0.2.9"), record(A, "web", RecordKind.TXT, "text")
    zone.apply(Change(puts=put))

    assert "192.0.2.9" not in short(asked(zone, "web"))
    assert short(asked(zone, "web", "TXT")) == ['"text"']


def test_any_is_answered_as_rfc_8482_says(zone: Zone) -> None:
    assert short(asked(zone, "web", "ANY")) == ['"RFC8482" ""']


@pytest.mark.parametrize("kind", ["AXFR", "IXFR", "TKEY", "OPT"])
def test_transfer_is_refused(zone: Zone, kind: str) -> None:
    assert isinstance(asked(zone, "web", kind), Refuse)


def test_host_sees_all_networks_but_a_bare_name_only_if_it_is_one(zone: Zone) -> None:
    for name in ("db.back", "db.back.pynet", "db", "db.pynet"):
        assert short(asked(zone, name, is_host=True)) == ["10.0.2.2"]
    for name in ("shared", "example.com", "x.front"):
        assert isinstance(asked(zone, name, is_host=True), Refuse)
    for name in ("shared.pynet", "x.pynet"):
        reply = asked(zone, name, is_host=True)
        assert isinstance(reply, Reply)
        assert reply.rcode is Rcode.NXDOMAIN
    assert short(asked(zone, "9.3.0.10.in-addr.arpa", "PTR", is_host=True)) == ["shared.aaa.pynet."]


@pytest.mark.parametrize("name", ["", ".", "a\\.b", "ü", "\udcff", "." * 20, "*", "*.apps", "a..b"])
def test_odd_name_is_no_trouble(zone: Zone, name: str) -> None:
    assert asked(zone, name, "PTR") is not None
