"""Names asked from the host, and by namespaces without Docker; what pynet shows of questions."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from integration.docker.conftest import PYNET_IPAM, World
from integration.docker.names import replies, reply, reverse, told, unknown
from integration.lab import dns_client, eventually
from integration.lab.dns_client import Question
from integration.lab.talk import Runner
from integration.lab.upstream import Upstream

HOST = "169.254.53.53"
WEB, WEB6, FAR = "10.93.1.10", "fd93:1::10", "10.93.2.10"
RESOLV_CONF = "/etc/resolv.conf"


@pytest.fixture(scope="module")
def scene(clean_world: World, upstream: Upstream) -> World:
    """For all tests: `web` on `blue` and `far` on `red`, both of which have a `db`."""
    assert upstream.address
    world = clean_world
    world.dual_stack("blue", 1)
    world.network("red", *PYNET_IPAM, "--subnet", "10.93.2.0/24")
    world.box("web", "blue", "--ip", WEB, "--ip6", WEB6, "--network-alias", "db")
    world.box("far", "red", "--ip", FAR, "--network-alias", "db")
    told(world.run_in("web"), "web.blue.pynet", WEB)
    told(world.run_in("far"), "far.red.pynet", FAR)
    return world


# From the host


def test_address_is_the_hosts_own_before_there_is_a_network(clean_world: World) -> None:
    host = clean_world.host

    assert host.run(["ip", "route", "get", HOST]).stdout.startswith(f"local {HOST} ")
    refused = clean_world.pynet.pynet("dns", "install", check=False)
    assert f"pynet at {HOST} does not answer" in refused.stderr


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_host_knows_the_names_of_all_networks(scene: World, protocol: str) -> None:
    for name, kind, value in (
        ("web.blue.pynet", "A", WEB),
        ("web.blue.pynet", "AAAA", WEB6),
        ("web.blue", "A", WEB),
        ("far.red.pynet", "A", FAR),
        ("db.red.pynet", "A", FAR),
        ("web.pynet", "A", WEB),
        ("far", "A", FAR),
        (reverse(WEB), "PTR", "web.blue.pynet."),
        (reverse(FAR), "PTR", "far.red.pynet."),
    ):
        heard = reply(scene.host.run, name, kind, server=HOST, protocol=protocol)
        assert heard.values == [value], f"{name} {kind}: {heard}"


def test_host_is_told_that_a_name_of_ours_does_not_exist(scene: World) -> None:
    for name in ("nobody.blue.pynet", "nobody.pynet"):
        assert reply(scene.host.run, name, server=HOST).rcode == "NXDOMAIN"


def test_host_is_refused_what_others_know(scene: World, upstream: Upstream) -> None:
    for name in (f"host.{Upstream.zone}", "nobody"):
        assert reply(scene.host.run, name, server=HOST).rcode == "REFUSED"
        assert name not in upstream.asked()


def test_address_of_the_host_answers_nobody_else(scene: World) -> None:
    for asker in (scene.run_in("web"), scene.run_in("far")):
        (heard,) = dns_client.ask(asker, Question("web.blue.pynet", server=HOST))
        assert heard is None or heard.values == []


def test_host_finds_containers_by_name_once_it_is_installed(scene: World) -> None:
    before = scene.host.path(RESOLV_CONF).read_text()

    scene.pynet.pynet("dns", "install")
    try:
        for name, address in (("web.blue.pynet", WEB), (f"a.{Upstream.zone}", Upstream.answer)):
            assert address in scene.host.run(["getent", "ahostsv4", name]).stdout
        scene.pynet.pynet("dns", "install")
    finally:
        scene.pynet.pynet("dns", "uninstall")

    assert scene.host.path(RESOLV_CONF).read_text() == before
    assert scene.host.run(["getent", "ahostsv4", "web.blue.pynet"], check=False).returncode != 0


def test_containers_started_once_it_is_installed_have_both(
    scene: World, upstream: Upstream
) -> None:
    scene.pynet.pynet("dns", "install")
    try:
        scene.box("late", "blue")
        run = scene.run_in("late")
        told(run, "web", WEB)
        assert reply(run, f"late.{Upstream.zone}").values == [Upstream.answer]
        assert reply(run, "far.red.pynet").rcode == "NXDOMAIN"
    finally:
        scene.docker("rm", "--force", "late")
        scene.pynet.pynet("dns", "uninstall", check=False)
        scene.set_resolver(upstream.address)


# What pynet shows


def test_lookup_shows_the_answer_and_where_it_is_from(scene: World) -> None:
    shown = scene.pynet.pynet_json("dns", "lookup", "db", "--network", "red")

    assert (shown["rcode"], shown["source"], shown["network"]) == ("NOERROR", "names", "red")
    assert shown["owners"] == ["far"]
    assert FAR in shown["records"][0]
    printed = scene.pynet.pynet("dns", "lookup", "db", "--network", "blue").stdout
    assert WEB in printed
    assert FAR not in printed


def test_names_are_listed(scene: World) -> None:
    listed = scene.pynet.pynet_json("dns", "ls", "--network", "blue")["names"]

    found = {(row["name"], row["type"]): row for row in listed}
    assert found["web", "A"]["values"] == [WEB]
    assert found["web", "AAAA"]["values"] == [WEB6]
    assert found["db", "A"]["origin"] == "alias"
    assert all(row["network"] == "blue" for row in listed)


def test_questions_are_logged_and_counted_by_container(scene: World) -> None:
    asked = ("web.blue.pynet", "nobody.blue.pynet", f"logged.{Upstream.zone}")
    replies(scene.run_in("web"), *(Question(name) for name in asked))

    printed = scene.pynet.pynet("dns", "log", "--container", "web", "--output", "json").stdout
    logged = {row["name"]: row for row in map(json.loads, printed.splitlines())}
    assert logged["web.blue.pynet"]["records"] == [WEB]
    assert logged["web.blue.pynet"]["label"] == "web"
    assert logged["nobody.blue.pynet"]["rcode"] == "NXDOMAIN"
    assert logged[f"logged.{Upstream.zone}"]["source"] == "upstream"
    counted = scene.pynet.admin("GET", "/v1/dns/counters").body["clients"]
    (web,) = [client for client in counted if client["label"] == "web"]
    assert web["queries"] >= len(asked)
    assert web["forwarded"] >= 1
    assert web["rcodes"]["NXDOMAIN"] >= 1


# Without Docker


@pytest.fixture
def spaces(clean_world: World, upstream: Upstream) -> Iterator[World]:
    """Namespaces `a` and `b` on a network that Docker does not know."""
    assert upstream.address
    world = clean_world
    world.pynet.pynet("network", "create", "solo", "--subnet", "10.93.5.0/24")
    for name, number in (("a", 10), ("b", 11)):
        world.host.run(["ip", "netns", "add", name])
        world.host.run(["ip", "-n", name, "link", "set", "lo", "up"])
        words = ("--netns", name, "--name", name, "--ip", f"10.93.5.{number}")
        world.pynet.pynet("attach", "solo", *words, "--alias", f"alias-{name}")
    yield world
    for name in ("a", "b"):
        world.pynet.pynet("detach", name)
        world.host.run(["ip", "netns", "del", name])
    world.pynet.pynet("network", "rm", "solo")


def in_space(world: World, name: str) -> Runner:
    entry = ("nsenter", f"--net=/run/netns/{name}")
    return lambda argv, *, stdin: world.host.run([*entry, *argv], stdin=stdin)


def test_namespaces_without_docker_have_names(spaces: World) -> None:
    run = in_space(spaces, "a")
    told(run, "b", "10.93.5.11")
    for name in ("b.solo", "b.solo.pynet", "alias-b", "alias-b.solo.pynet"):
        assert reply(run, name).values == ["10.93.5.11"]
        assert reply(run, name, protocol="tcp").values == ["10.93.5.11"]
    assert reply(run, reverse("10.93.5.11"), "PTR").values == ["b.solo.pynet."]
    assert reply(run, "nobody.solo.pynet").rcode == "NXDOMAIN"
    assert reply(run, f"solo.{Upstream.zone}").values == [Upstream.answer]
    assert reply(spaces.host.run, "a.solo.pynet", server=HOST).values == ["10.93.5.10"]


def test_namespaces_without_docker_have_names_again_when_pynet_comes_back(spaces: World) -> None:
    spaces.pynet.kill()
    spaces.pynet.start()

    eventually(
        lambda: dns_client.ask(in_space(spaces, "a"), Question("b"))[0] is not None,
        "pynet answers in the namespace",
    )
    told(in_space(spaces, "a"), "b", "10.93.5.11")
    spaces.pynet.pynet("detach", "b")
    unknown(in_space(spaces, "a"), "b.solo.pynet")
    spaces.pynet.pynet("attach", "solo", "--netns", "b", "--name", "b", "--ip", "10.93.5.11")
