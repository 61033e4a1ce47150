"""Which names there are for whom: all asked once, from two containers on different networks.

`client` is on `blue`, whose TTL is the default, and on `green`, which has no IPv6. `far` is on
`red`, whose TTL is 42 s. `both` is on `blue` and `red`, where alias `db` is a container on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from integration.docker.conftest import PYNET_IPAM, World
from integration.docker.names import TTL_S, is_ours, replies, reverse, short_id, told
from integration.lab.dns_client import Question, Reply
from integration.lab.upstream import Upstream

RED_TTL_S = 42
WEB, WEB6 = "10.93.1.10", "fd93:1::10"
BLUE_DB, RED_DB = "10.93.1.20", "10.93.2.20"
NOBODY, NOBODY6 = "10.93.1.200", "fd93:1::200"
LONG_TEXT = "x" * 900

KNOWN = {
    "container": ("web", "A", WEB),
    "upper case": ("WEB", "A", WEB),
    "alias": ("www", "A", WEB),
    "second alias": ("shop.front", "A", WEB),
    "hostname": ("webhost", "A", WEB),
    "short id": ("{id}", "A", WEB),
    "container on the network": ("web.blue", "A", WEB),
    "alias on the network": ("www.blue", "A", WEB),
    "hostname on the network": ("webhost.blue", "A", WEB),
    "short id on the network": ("{id}.blue", "A", WEB),
    "container below the domain": ("web.blue.pynet", "A", WEB),
    "alias below the domain": ("shop.front.blue.pynet", "A", WEB),
    "short id below the domain": ("{id}.blue.pynet", "A", WEB),
    "ipv6": ("web", "AAAA", WEB6),
    "ipv6 below the domain": ("www.blue.pynet", "AAAA", WEB6),
    "wildcard": ("anything.apps", "A", WEB),
    "wildcard, deeper": ("a.b.c.apps", "A", WEB),
    "wildcard below the domain": ("anything.apps.blue.pynet", "A", WEB),
    "wildcard, ipv6": ("anything.apps", "AAAA", WEB6),
    "longest wildcard": ("a.inner.apps", "A", BLUE_DB),
    "exact name beats a wildcard": ("exact.apps", "A", BLUE_DB),
    "pointer": (reverse(WEB), "PTR", "web.blue.pynet."),
    "pointer of ipv6": (reverse(WEB6), "PTR", "web.blue.pynet."),
    "exposed port": ("_80._tcp.web", "SRV", "0 0 80 web.blue.pynet."),
    "exposed port by its service": ("_http._tcp.web", "SRV", "0 0 80 web.blue.pynet."),
    "exposed port of udp": ("_53._udp.web.blue.pynet", "SRV", "0 0 53 web.blue.pynet."),
    "published port": ("_9000._tcp.web.blue", "SRV", "0 0 9000 web.blue.pynet."),
    "on the second network": ("four", "A", "10.93.3.10"),
}

# Names that are there, without what was asked for.
EMPTY = {
    "no ipv6 address": ("four", "AAAA"),
    "no ipv6 address, below the domain": ("four.green.pynet", "AAAA"),
    "another type": ("web.blue.pynet", "MX"),
    "another type of a short name": ("web", "TXT"),
}

ABSENT = {
    "on the network": ("nobody.blue.pynet", "A"),
    "in the domain": ("nobody.pynet", "A"),
    "of a network that is not there": ("web.nowhere.pynet", "A"),
    "on a network of others": ("far.red.pynet", "A"),
    "pointer": (reverse(NOBODY), "PTR"),
    "pointer of ipv6": (reverse(NOBODY6), "PTR"),
    "port": ("_81._tcp.web.blue.pynet", "SRV"),
}

# What others may know. Nobody does.
FORWARDED = {
    "short name": ("nobody", "A"),
    "container on a network of others": ("far", "A"),
    "alias on a network of others": ("backend", "A"),
    "pointer on a network of others": (reverse("10.93.2.10"), "PTR"),
}

OF_BOTH = {
    "equal names: the first network's": ("db", "A", BLUE_DB),
    "equal names, by network": ("db.red", "A", RED_DB),
    "equal names, below the domain": ("db.red.pynet", "A", RED_DB),
    "the other network's": ("far", "A", "10.93.2.10"),
}

Asked = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All answers, by who asked what, and what the host's resolver was asked in the meantime."""

    id: str
    answers: Mapping[Asked, Reply]
    upstream: list[str]

    def heard(self, asker: str, name: str, kind: str) -> Reply:
        return self.answers[asker, name.format(id=self.id), kind]

    def leaked(self, name: str) -> bool:
        return name.lower() in self.upstream


@pytest.fixture(scope="module")
def scene(clean_world: World, upstream: Upstream) -> Iterator[Scene]:
    try:
        raise_boxes(clean_world)
        web_id = short_id(clean_world, "web")
        answers = {
            (asker, question.name, question.kind): reply
            for asker in ("client", "far", "both")
            for questions in [list(questions_of(asker, web_id))]
            for question, reply in zip(
                questions, replies(clean_world.run_in(asker), *questions), strict=True
            )
        }
        yield Scene(id=web_id, answers=answers, upstream=upstream.asked())
    finally:
        clean_world.clear()


def raise_boxes(world: World) -> None:
    world.dual_stack("blue", 1)
    world.dual_stack("red", 2, "-o", f"dns_ttl={RED_TTL_S}")
    world.network("green", *PYNET_IPAM, "--subnet", "10.93.3.0/24")
    web = ("--ip", WEB, "--ip6", WEB6, "--hostname", "webhost")
    aliases = ("--network-alias", "www", "--network-alias", "shop.front")
    ports = ("--expose", "80", "--expose", "53/udp", "-p", "8080:9000")
    world.box("web", "blue", *web, *aliases, "--network-alias", "*.apps", *ports)
    more = ("--network-alias", "*.inner.apps", "--network-alias", "exact.apps")
    world.box("blue-db", "blue", "--ip", BLUE_DB, "--network-alias", "db", *more)
    world.box("red-db", "red", "--ip", RED_DB, "--network-alias", "db")
    world.box("far", "red", "--ip", "10.93.2.10", "--network-alias", "backend")
    world.box("four", "green", "--ip", "10.93.3.10")
    world.box("client", "blue")
    world.docker("network", "connect", "green", "client")
    world.box("both", "blue")
    world.docker("network", "connect", "red", "both")
    told(world.run_in("both"), "far.red.pynet", "10.93.2.10")
    told(world.run_in("client"), "four.green.pynet", "10.93.3.10")
    told(world.run_in("client"), "client.blue.pynet", world.address("client", "blue"))


def questions_of(asker: str, web_id: str) -> Iterator[Question]:
    match asker:
        case "client":
            named = [(name.format(id=web_id), kind) for name, kind, _ in KNOWN.values()]
            named += [*EMPTY.values(), *ABSENT.values(), *FORWARDED.values()]
            named += [("WeB.bLuE.PyNeT", "A"), (f"WWW.{Upstream.zone}", "A")]
        case "both":
            named = [(name, kind) for name, kind, _ in OF_BOTH.values()]
        case _:
            named = [("far", "A"), ("nobody.red.pynet", "A"), ("web.blue.pynet", "A")]
    yield from (Question(name, kind) for name, kind in named)


def cases(table: Mapping[str, object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("what", table)


@cases(KNOWN)
def test_name_is_known(scene: Scene, what: str) -> None:
    name, kind, value = KNOWN[what]

    heard = scene.heard("client", name, kind)

    assert (heard.rcode, heard.values) == ("NOERROR", [value])
    assert heard.ttls == {TTL_S}
    assert {"QR", "AA", "RD", "RA"} <= heard.flags
    assert not scene.leaked(name.format(id=scene.id))


@pytest.mark.parametrize("name", ["_80._tcp.web", "_9000._tcp.web.blue"])
def test_port_comes_with_the_addresses_of_its_container(scene: Scene, name: str) -> None:
    heard = scene.heard("client", name, "SRV")

    assert {record.value for record in heard.additional} == {WEB, WEB6}
    assert {record.name for record in heard.additional} == {"web.blue.pynet"}


@cases(EMPTY)
def test_known_name_without_the_type_is_empty(scene: Scene, what: str) -> None:
    name, kind = EMPTY[what]

    heard = scene.heard("client", name, kind)

    assert heard.is_empty
    assert heard.negative_ttl == TTL_S
    assert not scene.leaked(name)


@cases(ABSENT)
def test_unknown_name_of_ours_does_not_exist(scene: Scene, what: str) -> None:
    name, kind = ABSENT[what]

    heard = scene.heard("client", name, kind)

    assert (heard.rcode, heard.values) == ("NXDOMAIN", [])
    assert heard.negative_ttl == TTL_S
    assert not scene.leaked(name)


@cases(FORWARDED)
def test_name_of_others_is_asked_upstream_and_not_told(scene: Scene, what: str) -> None:
    name, kind = FORWARDED[what]

    assert scene.heard("client", name, kind).rcode == "NXDOMAIN"
    assert scene.leaked(name)


@cases(OF_BOTH)
def test_container_on_two_networks_knows_the_names_of_both(scene: Scene, what: str) -> None:
    name, kind, value = OF_BOTH[what]

    assert scene.heard("both", name, kind).values == [value]
    assert is_ours(scene.heard("both", name, kind))


def test_ttl_is_that_of_the_network(scene: Scene) -> None:
    assert scene.heard("far", "far", "A").ttls == {RED_TTL_S}
    assert scene.heard("far", "nobody.red.pynet", "A").negative_ttl == RED_TTL_S
    assert scene.heard("both", "far", "A").ttls == {RED_TTL_S}
    assert scene.heard("both", "db", "A").ttls == {TTL_S}


def test_container_knows_no_name_of_a_network_that_it_is_not_on(scene: Scene) -> None:
    assert scene.heard("far", "web.blue.pynet", "A").rcode == "NXDOMAIN"
    assert not scene.leaked("web.blue.pynet")


def test_letters_of_the_question_are_kept(scene: Scene) -> None:
    heard = scene.heard("client", "WeB.bLuE.PyNeT", "A")

    assert heard.question == "WeB.bLuE.PyNeT"
    assert heard.values == [WEB]


def test_name_of_the_internet_is_asked_upstream(scene: Scene) -> None:
    heard = scene.heard("client", f"WWW.{Upstream.zone}", "A")

    assert heard.values == [Upstream.answer]
    assert scene.leaked(f"www.{Upstream.zone}")


# The protocol


@pytest.mark.usefixtures("scene")
def test_answers_over_tcp_are_those_over_udp(clean_world: World) -> None:
    asked = ["web", "nobody.blue.pynet", f"www.{Upstream.zone}"]

    over_udp = replies(clean_world.run_in("client"), *(Question(name) for name in asked))
    over_tcp = replies(
        clean_world.run_in("client"), *(Question(name, protocol="tcp") for name in asked)
    )

    assert [r.rcode for r in over_tcp] == ["NOERROR", "NXDOMAIN", "NOERROR"]
    assert [(r.rcode, r.values) for r in over_tcp] == [(r.rcode, r.values) for r in over_udp]


@pytest.mark.usefixtures("scene")
def test_answer_that_is_too_large_is_whole_over_tcp_or_by_edns(clean_world: World) -> None:
    clean_world.pynet.pynet("dns", "add", "long", LONG_TEXT, "--type", "TXT", "--network", "blue")
    run = clean_world.run_in("client")
    told(run, "long", *text_values(LONG_TEXT), kind="TXT", protocol="tcp")

    plain, large, tcp = replies(
        run,
        Question("long", "TXT"),
        Question("long", "TXT", edns=4096),
        Question("long", "TXT", protocol="tcp"),
    )

    assert "TC" in plain.flags
    assert plain.values == []
    assert "TC" not in large.flags | tcp.flags
    assert large.values == tcp.values == text_values(LONG_TEXT)


def text_values(text: str) -> list[str]:
    """A text as a zone file has it: in pieces of 255 bytes (RFC 1035 section 3.3)."""
    pieces = [text[start : start + 255] for start in range(0, len(text), 255)]
    return [" ".join(f'"{piece}"' for piece in pieces)]
