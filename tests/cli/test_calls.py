"""What the commands ask of the daemon, and how they end."""

from __future__ import annotations

import json

import pytest

from tests.cli import replies
from tests.cli.conftest import CannedDaemon, Pynet

_NETWORK_REQUEST = {
    "name": "web",
    "driver": "bridge",
    "subnets": [],
    "ipv4": True,
    "ipv6": False,
    "internal": False,
    "options": {},
    "ipam_options": {},
    "dry_run": False,
}


def test_create_with_a_name_alone_leaves_the_rest_to_the_daemon(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("POST /v1/networks", replies.NETWORK)

    result = pynet("network", "create", "web")

    assert daemon.asked == [("POST /v1/networks", _NETWORK_REQUEST)]
    assert result.stdout == "web\n"


def test_create_puts_ranges_and_gateways_into_their_subnets(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("POST /v1/networks", replies.NETWORK)

    pynet(
        *("network", "create", "web", "--internal", "-o", "mtu=1450", "-o", "encrypted"),
        *("--subnet", "10.9.0.0/24", "--subnet", "fd00:9::/64"),
        *("--gateway", "fd00:9::1", "--ip-range", "10.9.0.128/25", "--gateway", "10.9.0.254"),
        *("--aux-address", "host=fd00:9::9", "--aux-address", "printer=10.9.0.9"),
    )

    assert daemon.asked[0][1] == {
        **_NETWORK_REQUEST,
        "ipv6": True,
        "internal": True,
        "options": {"mtu": "1450", "encrypted": ""},
        "subnets": [
            {
                "pool": "10.9.0.0/24",
                "range": "10.9.0.128/25",
                "gateway": "10.9.0.254",
                "aux": {"printer": "10.9.0.9"},
            },
            {
                "pool": "fd00:9::/64",
                "range": None,
                "gateway": "fd00:9::1",
                "aux": {"host": "fd00:9::9"},
            },
        ],
    }


def test_create_dry_run_prints_the_steps(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("POST /v1/networks", replies.PLAN)

    result = pynet("network", "create", "web", "--dry-run")

    assert daemon.asked == [("POST /v1/networks", {**_NETWORK_REQUEST, "dry_run": True})]
    assert result.stdout.splitlines()[1].split()[:2] == ["create", "bridge"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--subnet", "10.9.0.1/24"], "10.9.0.1/24 has host bits set."),
        (["--gateway", "gw"], "'gw' does not appear to be an IPv4 or IPv6 address."),
        (["--gateway", "10.9.0.1"], "--gateway 10.9.0.1 lies in no --subnet."),
        (["--aux-address", "a=10.9.0.1"], "--aux-address 10.9.0.1 lies in no --subnet."),
        (["--aux-address", "10.9.0.1"], "'10.9.0.1' is not NAME=IP."),
        (
            ["--subnet", "fd00:9::/64", "--ip-range", "10.9.0.0/25"],
            "--ip-range 10.9.0.0/25 lies in no --subnet.",
        ),
        (
            ["--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1", "--gateway", "10.9.0.2"],
            "10.9.0.1 and 10.9.0.2: one --gateway a --subnet, 10.9.0.0/24 has both.",
        ),
    ],
)
def test_create_with_addresses_that_make_no_sense_asks_nothing(
    pynet: Pynet, daemon: CannedDaemon, arguments: list[str], sentence: str
) -> None:
    result = pynet("network", "create", "web", *arguments)

    assert (result.exit_code, daemon.asked) == (2, [])
    assert sentence in result.stderr


def test_rm_removes_each_network_and_stops_at_the_first_refusal(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("DELETE /v1/networks/web", {})
    daemon.refuse(
        "DELETE /v1/networks/lab",
        409,
        kind="Conflict",
        message="network lab is in use",
        exit_code=5,
    )

    result = pynet("network", "rm", "web", "lab", "third")

    assert (result.stdout, result.exit_code) == ("web\n", 5)
    assert [call for call, _ in daemon.asked] == [
        "DELETE /v1/networks/web",
        "DELETE /v1/networks/lab",
    ]


@pytest.mark.parametrize(
    ("command", "call", "body"),
    [
        ("peer", "POST /v1/networks/a%2Fb/peers", {"network": "db"}),
        ("unpeer", "DELETE /v1/networks/a%2Fb/peers/db", None),
    ],
)
def test_peer_and_unpeer_print_both_names(
    pynet: Pynet, daemon: CannedDaemon, command: str, call: str, body: object
) -> None:
    daemon.reply(call, {})

    result = pynet("network", command, "a/b", "db")

    assert daemon.asked == [(call, body)]
    assert result.stdout == "a/b db\n"


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["--netns", "a"], {"netns": "/run/netns/a"}),
        (["--netns", "/proc/7/ns/net"], {"netns": "/proc/7/ns/net"}),
        (["--pid", "7"], {"pid": 7}),
        (
            ["--pid", "7", "--ip", "10.9.0.5", "--ip", "fd00:9::5", "--name", "a"],
            {"pid": 7, "addresses": ["10.9.0.5", "fd00:9::5"], "name": "a"},
        ),
        (
            ["--pid", "7", "--interface", "eth1", "--mac", "02:42:0A:09:00:02"],
            {"pid": 7, "interface": "eth1", "mac": "02:42:0a:09:00:02"},
        ),
    ],
)
def test_attach_sends_what_was_given_and_prints_the_name(
    pynet: Pynet, daemon: CannedDaemon, arguments: list[str], request_: dict[str, object]
) -> None:
    daemon.reply("POST /v1/endpoints", replies.ENDPOINT)

    result = pynet("attach", "web", *arguments)

    assert daemon.asked == [("POST /v1/endpoints", {"network": "web", **request_})]
    assert result.stdout == "a\n"


def test_attach_when_the_endpoint_has_no_name_prints_the_short_id(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("POST /v1/endpoints", {**replies.ENDPOINT, "name": ""})

    assert pynet("attach", "web", "--pid", "7").stdout == "9d1ebbbbbbbb\n"


def test_attach_sends_each_alias(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("POST /v1/endpoints", replies.ENDPOINT)

    pynet("attach", "web", "--pid", "7", "--alias", "www", "--alias", "*.www")

    assert daemon.asked[0][1] == {"network": "web", "pid": 7, "aliases": ["www", "*.www"]}


@pytest.mark.parametrize("arguments", [[], ["--netns", "a", "--pid", "7"]])
def test_attach_without_exactly_one_namespace_is_a_usage_error(
    pynet: Pynet, arguments: list[str]
) -> None:
    result = pynet("attach", "web", *arguments)

    assert (result.exit_code, "Give either --netns or --pid." in result.stderr) == (2, True)


def test_detach_prints_what_it_was_given(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("DELETE /v1/endpoints/a%2Fb", {})

    assert pynet("detach", "a/b").stdout == "a/b\n"


def test_ports_add_sends_the_text_and_prints_what_came_of_it(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("POST /v1/ports", {"ports": replies.PORTS})

    result = pynet("ports", "add", "a", "80", "8000-8009:8000-8009/udp")

    asked = {"container": "a", "ports": ["80", "8000-8009:8000-8009/udp"]}
    assert daemon.asked == [("POST /v1/ports", asked)]
    assert result.stdout == (
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\n127.0.0.1:8000-8009->8000-8009/udp\n"
    )


def test_ports_add_where_a_network_is_routed_prints_the_containers_own_port(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    row = {**replies.PORT, "host_ip": "", "host_port": 0, "host_port_end": 0}
    daemon.reply("POST /v1/ports", {"ports": [row, {**row, "container_ip": "fd09::2"}]})

    assert pynet("ports", "add", "a", "8080:80").stdout == "80/tcp\n"


def test_ports_add_on_a_network_names_it(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("POST /v1/ports", {"ports": []})

    pynet("ports", "add", "a", "80", "--network", "web")

    assert daemon.asked[0][1] == {"container": "a", "ports": ["80"], "network": "web"}


def test_ports_add_prints_what_is_refused_a_line_each(pynet: Pynet, daemon: CannedDaemon) -> None:
    problems = ["port mapping 'x': no", "port mapping 'y': no"]
    daemon.refuse(
        "POST /v1/ports", 400, kind="InvalidRequest", message="", problems=problems, exit_code=3
    )

    result = pynet("ports", "add", "a", "x", "y")

    assert (result.stderr.splitlines(), result.exit_code) == ([f"pynet: {p}" for p in problems], 3)


def test_ports_rm_takes_each_and_stops_at_the_first_refusal(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("DELETE /v1/ports/a/%5B%3A%3A1%5D%3A53%2Fudp?network=web%2Fb", {})
    daemon.refuse(
        "DELETE /v1/ports/a/8080?network=web%2Fb",
        404,
        kind="NotFound",
        message="no published port '8080/tcp'",
        exit_code=4,
    )

    result = pynet("ports", "rm", "a", "[::1]:53/udp", "8080", "81", "--network", "web/b")

    assert (result.stdout, result.exit_code) == ("[::1]:53/udp\n", 4)
    assert len(daemon.asked) == 2


def test_ports_rm_leaves_the_network_to_the_daemon(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("DELETE /v1/ports/a/8080", {})

    assert pynet("ports", "rm", "a", "8080").stdout == "8080\n"


@pytest.mark.parametrize(
    ("command", "exit_code"), [("plan", 0), ("plan --check", 20), ("verify", 11), ("heal", 0)]
)
def test_exit_code_when_the_kernel_differs(
    pynet: Pynet, daemon: CannedDaemon, command: str, exit_code: int
) -> None:
    daemon.reply("GET /v1/plan", replies.PLAN)
    daemon.reply("POST /v1/heal", replies.PLAN)
    daemon.reply("GET /v1/verify", replies.VERIFICATION)

    assert pynet(*command.split()).exit_code == exit_code


@pytest.mark.parametrize("command", ["plan --check", "verify"])
def test_exit_code_when_all_is_well_is_0(pynet: Pynet, daemon: CannedDaemon, command: str) -> None:
    daemon.reply("GET /v1/plan", {"steps": []})
    clean = {"checked": 42, "differences": [], "foreign": [], "collisions": []}
    daemon.reply("GET /v1/verify", clean)

    assert pynet(*command.split()).exit_code == 0


def test_exit_code_of_verify_when_only_a_subnet_collides_is_11(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("GET /v1/verify", {**replies.VERIFICATION, "differences": []})

    assert pynet("verify").exit_code == 11


def test_events_are_a_line_each(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply_lines("GET /v1/events?follow=0", replies.EVENTS)

    assert pynet("events").stdout == (
        "2026-01-31T12:00:00Z   network.create     "
        "network web created: bridge py-4f0caaaaaaaa, 10.9.0.0/24\n"
        "2026-01-31T12:00:00Z   endpoint.join      endpoint a joined web\n"
    )


def test_events_for_programs_are_an_object_a_line(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply_lines("GET /v1/events?follow=0", replies.EVENTS)

    lines = pynet("events", "--output", "json").stdout.splitlines()

    assert [json.loads(line) for line in lines] == replies.EVENTS


def test_events_followed_when_the_daemon_stops_is_a_failure(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply_lines("GET /v1/events?follow=1", replies.EVENTS)

    result = pynet("events", "--follow")

    assert (len(result.stdout.splitlines()), result.exit_code) == (2, 9)
    assert "it stopped while its events were followed" in result.stderr
