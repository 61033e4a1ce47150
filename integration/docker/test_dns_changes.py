"""Names as containers come, go and change, and as users add their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from integration.docker.conftest import IMAGE, PYNET_IPAM, World
from integration.docker.names import (
    DOCKER_TTL_S,
    is_ours,
    replies,
    reply,
    reverse,
    told,
    unknown,
)
from integration.lab import dns_client
from integration.lab.dns_client import Question
from integration.lab.upstream import Upstream

WEB, SPARE = "10.93.1.10", "10.93.1.11"
GATEWAY = "10.93.1.1"
FIRST_LOOKUPS = 5
REPLICAS = 3

COMPOSE = """
version: "3"
services:
  app: {image: pynet-box, command: sleep 900, stop_signal: KILL, networks: [front]}
  client: {image: pynet-box, command: sleep 900, stop_signal: KILL, networks: [front]}
networks:
  front: {driver: pynet, ipam: {driver: pynet}}
"""

pytestmark = pytest.mark.usefixtures("upstream")


def blue(world: World, *words: str) -> None:
    world.network("blue", *PYNET_IPAM, "--subnet", "10.93.1.0/24", *words)
    world.wait_until_named("blue")


def red(world: World, *words: str) -> None:
    world.network("red", *PYNET_IPAM, "--subnet", "10.93.2.0/24", *words)


# Containers


def test_containers_reach_each_other_by_every_form_of_their_names(world: World) -> None:
    blue(world)
    world.box("one", "blue", "--hostname", "uno")
    world.box("two", "blue", "--network-alias", "dos")
    told(world.run_in("one"), "two.blue.pynet", world.address("two", "blue"))

    for box, other in (("one", "two"), ("one", "dos.blue.pynet"), ("two", "uno.blue")):
        assert world.pings(box, other), f"{box} does not reach {other}"


def test_first_process_of_a_container_finds_names_at_once(world: World) -> None:
    blue(world)
    world.box("one", "blue")
    world.box("two", "blue")
    told(world.run_in("one"), "two.blue.pynet", world.address("two", "blue"))

    for _ in range(FIRST_LOOKUPS):
        first = ("run", "--rm", "--network", "blue", IMAGE, "nslookup", "two.blue.pynet")
        found = world.docker(*first, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
        assert world.address("two", "blue") in found.stdout


def test_renamed_container_has_its_new_name_only(world: World) -> None:
    blue(world)
    world.box("client", "blue")
    world.box("web", "blue", "--ip", WEB, "--network-alias", "shop")
    told(world.run_in("client"), "web.blue.pynet", WEB)

    world.docker("rename", "web", "site")

    told(world.run_in("client"), "site.blue.pynet", WEB)
    told(world.run_in("client"), "site", WEB)
    told(world.run_in("client"), reverse(WEB), "site.blue.pynet.", kind="PTR")
    told(world.run_in("client"), "shop", WEB)
    unknown(world.run_in("client"), "web.blue.pynet")


def test_names_go_with_a_container_and_come_back_with_it(world: World) -> None:
    blue(world)
    world.box("client", "blue")
    world.box("web", "blue")
    world.box("spare", "blue")
    address = world.address("web", "blue")
    told(world.run_in("client"), "web.blue.pynet", address)

    world.docker("stop", "web")
    assert reply(world.run_in("client"), "web.blue.pynet").rcode == "NXDOMAIN"
    assert reply(world.run_in("client"), reverse(address), "PTR").rcode == "NXDOMAIN"

    world.docker("start", "web")
    told(world.run_in("client"), "web.blue.pynet", world.address("web", "blue"))
    told(world.run_in("web"), "spare.blue.pynet", world.address("spare", "blue"))

    world.docker("restart", "web")
    told(world.run_in("client"), "web.blue.pynet", world.address("web", "blue"))
    told(world.run_in("web"), "spare.blue.pynet", world.address("spare", "blue"))


def test_container_knows_the_names_of_a_network_while_it_is_on_it(world: World) -> None:
    blue(world)
    red(world)
    world.box("client", "blue")
    world.box("far", "red", "--ip", "10.93.2.10")
    world.box("near", "red")
    told(world.run_in("near"), "far.red.pynet", "10.93.2.10")
    assert reply(world.run_in("client"), "far.red.pynet").rcode == "NXDOMAIN"

    world.docker("network", "connect", "red", "client")
    told(world.run_in("client"), "far.red.pynet", "10.93.2.10")
    told(world.run_in("near"), "client.red.pynet", world.address("client", "red"))

    world.docker("network", "disconnect", "red", "client")
    unknown(world.run_in("client"), "far.red.pynet")
    unknown(world.run_in("near"), "client.red.pynet")
    told(world.run_in("client"), "client.blue.pynet", world.address("client", "blue"))


def test_name_of_several_containers_has_all_their_addresses_in_turn(world: World) -> None:
    blue(world)
    world.box("client", "blue")
    addresses = [f"10.93.1.{10 + number}" for number in range(REPLICAS)]
    for number, address in enumerate(addresses):
        world.box(f"web-{number}", "blue", "--ip", address, "--network-alias", "web")
    told(world.run_in("client"), "web", *addresses)

    heard = replies(world.run_in("client"), *([Question("web")] * 4 * REPLICAS))

    assert all(sorted(r.values) == addresses for r in heard)
    assert {r.values[0] for r in heard} == set(addresses)


@pytest.mark.needs("docker-compose")
def test_service_of_compose_has_the_addresses_of_all_replicas(world: World, project: Path) -> None:
    world.host.write_file(str(project / "docker-compose.yml"), COMPOSE)

    world.engine.compose(project, "up", "--detach", "--scale", f"app={REPLICAS}")

    client = "project_client_1"
    boxes = [f"project_app_{number}" for number in range(1, REPLICAS + 1)]
    addresses = [world.address(box, "project_front") for box in boxes]
    told(world.run_in(client), "app", *addresses)
    told(world.run_in(client), "app.project_front.pynet", *addresses)
    told(world.run_in(client), f"{boxes[0]}.project_front", addresses[0])
    firsts = replies(world.run_in(client), *([Question("app")] * 4 * REPLICAS))
    assert {r.values[0] for r in firsts} == set(addresses)
    world.engine.compose(project, "up", "--detach", "--scale", f"app={REPLICAS - 1}")
    told(world.run_in(client), "app", *addresses[:-1])


# Records that users make


def test_records_are_answered_until_they_are_removed(world: World) -> None:
    blue(world)
    world.box("client", "blue")
    world.box("web", "blue", "--ip", WEB)
    told(world.run_in("client"), "web.blue.pynet", WEB)

    for name, kind, value, answer in (
        ("db", "A", "10.0.0.9", "10.0.0.9"),
        ("db", "AAAA", "2001:db8::9", "2001:db8::9"),
        ("store", "CNAME", f"www.{Upstream.zone}.", f"www.{Upstream.zone}."),
        ("note", "TXT", 'say "hello"', r'"say \"hello\""'),
        ("_sql._tcp", "SRV", "0 0 5432 web", "0 0 5432 web.blue.pynet."),
    ):
        dns(world, "add", name, value, "--type", kind, "--network", "blue")
        for form in (name, f"{name}.blue", f"{name}.blue.pynet"):
            told(world.run_in("client"), form, answer, kind=kind)
    dns(world, "add", "alias", "web", "--type", "CNAME", "--network", "blue")
    followed = reply(world.run_in("client"), "alias")
    assert [(r.kind, r.value) for r in followed.answer][-1] == ("A", WEB)

    listed = world.pynet.pynet("dns", "ls").stdout
    assert all(name in listed for name in ("db", "10.0.0.9", "2001:db8::9", "store", "_sql._tcp"))

    dns(world, "rm", "db", "--network", "blue")
    unknown(world.run_in("client"), "db.blue.pynet")
    assert "10.0.0.9" not in world.pynet.pynet("dns", "ls").stdout


def test_records_outlive_pynet_and_go_with_their_network(world: World) -> None:
    blue(world)
    world.box("client", "blue")
    dns(world, "add", "db", "10.0.0.9", "--network", "blue")

    world.pynet.kill()
    world.pynet.start()
    told(world.run_in("client"), "db", "10.0.0.9")

    world.docker("rm", "--force", "client")
    world.docker("network", "rm", "blue")
    blue(world)
    world.box("client", "blue")
    told(world.run_in("client"), "client.blue.pynet", world.address("client", "blue"))
    unknown(world.run_in("client"), "db.blue.pynet")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("db", "10.0.0.256", "--type", "A"), "IPv4 address"),
        (("db", "5432 web", "--type", "SRV"), "0 0 5432 db"),
        (("d b", "10.0.0.9"), "letters, digits"),
        (("web", "10.0.0.9"), "web"),
    ],
    ids=["address", "service", "name", "shadow"],
)
def test_record_that_cannot_be_is_refused_with_the_reason(
    world: World, words: tuple[str, ...], reason: str
) -> None:
    blue(world)
    world.box("web", "blue", "--ip", WEB)
    told(world.run_in("web"), "web.blue.pynet", WEB)

    refused = world.pynet.pynet("dns", "add", *words, "--network", "blue", check=False)

    assert refused.returncode != 0
    assert reason in refused.stderr
    assert reply(world.run_in("web"), "web").values == [WEB]


def dns(world: World, *words: str) -> Any:
    return world.pynet.pynet("dns", *words)


# How a network has it


def test_ttl_is_an_option_of_the_network(world: World) -> None:
    blue(world, "-o", "dns_ttl=77")
    world.box("web", "blue", "--ip", WEB)

    assert told(world.run_in("web"), "web.blue.pynet", WEB).ttls == {77}
    assert reply(world.run_in("web"), "nobody.blue.pynet").negative_ttl == 77


def test_network_without_dns_has_dockers_alone(world: World) -> None:
    blue(world, "-o", "dns=off")
    red(world)
    world.box("web", "blue", "--ip", WEB)
    world.box("beside", "red")
    told(world.run_in("beside"), "beside.red.pynet", world.address("beside", "red"))

    plain, ours = replies(world.run_in("web"), Question("web"), Question("web.blue.pynet"))

    assert (plain.values, plain.ttls) == ([WEB], {DOCKER_TTL_S})
    assert ours.values == []


def test_gateway_answers_its_own_network_and_nobody_else(world: World) -> None:
    blue(world, "-o", "dns=gateway")
    red(world)
    world.box("web", "blue", "--ip", WEB)
    world.box("client", "blue")
    world.box("far", "red")

    for protocol in ("udp", "tcp"):
        told(world.run_in("client"), "web.blue.pynet", WEB, server=GATEWAY, protocol=protocol)
    forwarded = reply(world.run_in("client"), f"www.{Upstream.zone}", server=GATEWAY)
    assert forwarded.values == [Upstream.answer]
    assert not is_ours(reply(world.run_in("client"), "web"))
    for asker in (world.run_in("far"), world.host.run):
        (heard,) = dns_client.ask(asker, Question("web.blue.pynet", server=GATEWAY))
        assert heard is None or (heard.rcode, heard.values) == ("REFUSED", [])
