"""What people read: every table, letter by letter."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from tests.cli import replies
from tests.cli.conftest import CannedDaemon, Pynet

_CALLS = {
    "GET /v1/status": replies.STATUS,
    "GET /v1/networks": {"networks": [replies.NETWORK]},
    "GET /v1/networks/web": replies.NETWORK_DETAIL,
    "GET /v1/endpoints": {"endpoints": [replies.ENDPOINT]},
    "GET /v1/endpoints/a": replies.ENDPOINT_DETAIL,
    "GET /v1/ports": {"ports": replies.PORTS},
    "GET /v1/dns": replies.NAMES,
    "GET /v1/dns?network=web": replies.NAMES,
    "GET /v1/dns/counters": replies.DNS_CLIENTS,
    "GET /v1/dns/lookup?name=a&type=A&network=web": replies.LOOKUP,
    "GET /v1/ipam": {"pools": [replies.POOL, replies.LARGE_POOL]},
    "GET /v1/ipam/pools/web": replies.POOL_DETAIL,
    "GET /v1/ipam/leases": {"leases": replies.LEASES},
    "GET /v1/ipam/leases?pool=web": {"leases": replies.LEASES},
    "GET /v1/ipam/audit": replies.AUDIT,
    "GET /v1/plan": replies.PLAN,
    "POST /v1/heal": replies.PLAN,
    "GET /v1/verify": replies.VERIFICATION,
}
_STATUS = """\
    daemon           ready, up 3 h 12 min, pid 7
    version          0.1.0
    engine           20.10.24 at unix:///run/docker.sock
    plugin socket    /run/docker/plugins/pynet.sock
    admin socket     /run/pynet/pynet.sock
    state            /var/lib/pynet (sqlite)
    networks         1
    endpoints        2
    pools            1, 3 leases
    names            *.pynet for 2 clients, and for the host at 169.254.53.53
    last reconcile   2026-01-31T12:00:00Z, 0 steps
"""
_NETWORKS = """\
    NETWORK ID     NAME   DRIVER   PARENT   SUBNETS                                 ENDPOINTS   MADE BY   STATE
    4f0caaaaaaaa   web    bridge            10.9.0.0/24, fd12:3456:789a:bcde::/64   1           pynet     ready
"""  # noqa: E501
_NETWORK = """\
    id         4f0caaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    name       web
    driver     bridge
    made by    pynet
    state      ready
    families   IPv4, IPv6
    internal   no
    options    mtu=1450
    link       py-4f0caaaaaaaa
    peers      db, lab
    created    2026-01-31T12:00:00Z

    SUBNET                     GATEWAY    RESERVED
    10.9.0.0/24                10.9.0.1   printer=10.9.0.9
    fd12:3456:789a:bcde::/64

    ENDPOINT ID    NAME   NETWORK   ADDRESSES                                MAC                 LINK              MADE BY   JOINED
    9d1ebbbbbbbb   a      web       10.9.0.2/24, fd12:3456:789a:bcde::2/64   02:42:0a:09:00:02   pyv9d1ebbbbbbbb   pynet     yes

    KERNEL OBJECTS
    bridge py-4f0caaaaaaaa mtu 1450
    address 10.9.0.1/24 on py-4f0caaaaaaaa
"""  # noqa: E501
_ENDPOINTS = """\
    ENDPOINT ID    NAME   NETWORK   ADDRESSES                                MAC                 LINK              MADE BY   JOINED
    9d1ebbbbbbbb   a      web       10.9.0.2/24, fd12:3456:789a:bcde::2/64   02:42:0a:09:00:02   pyv9d1ebbbbbbbb   pynet     yes
"""  # noqa: E501
_ENDPOINT = """\
    id          9d1ebbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    name        a
    names       a, www
    network     web (4f0caaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)
    made by     pynet
    addresses   10.9.0.2/24, fd12:3456:789a:bcde::2/64
    mac         02:42:0a:09:00:02
    link        pyv9d1ebbbbbbbb
    sandbox     /run/netns/a
    joined      yes
    created     2026-01-31T12:00:00Z

    KERNEL OBJECTS
    veth pyv9d1ebbbbbbbb on py-4f0caaaaaaaa
"""
_PORTS = """\
    CONTAINER   NETWORK   PUBLISHED                                 PACKETS   BYTES
    a           web       0.0.0.0:8080->80/tcp, [::]:8080->80/tcp   12        720
    a           web       127.0.0.1:8000-8009->8000-8009/udp        0         0
"""
_RULES = f"""\
{_PORTS}
    RULES
    ip pynet any_ports {{ tcp . 8080 : 10.9.0.2 . 80 }}
    ip6 pynet any_ports {{ tcp . 8080 : fd12:3456:789a:bcde::2 . 80 }}
    ip pynet ranges {{ 127.0.0.1 . udp . 8000-8009 : 10.9.0.2 }}
"""
_NAMES = """\
    NAME          NETWORK   TYPE   VALUES               ORIGIN    OF
    a             web       A      10.9.0.2, 10.9.0.3   service   a
    _pg._tcp.db   web       SRV    0 0 5432 db          manual
"""
_CLIENTS = """\
    CLIENT   KIND   NETWORKS   QUERIES   HITS   MISSES   FORWARDED   FAILED   REFUSED   DROPPED
    a        own    web, db    10        7      1        2           3        4         5
"""
_LOOKUP = """\
    question   a A
    answer     NOERROR
    from       names
    network    web
    of         a
    because    it is a name of the network web

    RECORDS
    a. 5 IN A 10.9.0.2
"""
_POOLS = """\
    POOL                                   RANGE           LEASED   SIZE         NETWORKS
    pynet-local/10.9.0.0/24                10.9.0.128/25   2        254          web
    pynet-local/fd12:3456:789a:bcde::/64                   2        about 2^64   web
"""
_POOL = """\
    id              pynet-local/10.9.0.0/24
    network         10.9.0.0/24
    range           10.9.0.128/25
    chosen by       user
    addresses are   kept by name
    leased          2 of 254
    networks        web
    created         2026-01-31T12:00:00Z

    ADDRESS    KIND       OWNER     STICKY   SINCE
    10.9.0.1   gateway    web                2026-01-31T12:00:00Z
    10.9.0.2   dynamic    a         kept     2026-01-31T12:00:00Z
    10.9.0.5   reserved   printer            2026-01-31T12:00:00Z
"""
_LEASES = """\
    ADDRESS    KIND       OWNER     STICKY   SINCE                  POOL
    10.9.0.1   gateway    web                2026-01-31T12:00:00Z   pynet-local/10.9.0.0/24
    10.9.0.2   dynamic    a         kept     2026-01-31T12:00:00Z   pynet-local/10.9.0.0/24
    10.9.0.5   reserved   printer            2026-01-31T12:00:00Z   pynet-local/10.9.0.0/24
"""
_AUDIT = """\
    FAULT       WHAT                                               NETWORK   REMEDY   EVIDENCE
    leaked      address 10.9.0.7 of pool pynet-local/10.9.0.0/24   web       remove   leased since 2026-01-31, nobody has it
    duplicate   endpoint b                                         web       none     it has 10.9.0.2, but endpoint a has it, too
"""  # noqa: E501
_PLAN = """\
    ACTION   OBJECT                            REASON
    create   bridge py-4f0caaaaaaaa mtu 1450   missing
    delete   veth pyv0 on py-4f0caaaaaaaa      unwanted
"""
_VERIFICATION = """\
    42 objects checked, 1 differs

    DIFFERENCES
    bridge py-4f0caaaaaaaa is missing

    COLLISIONS
    subnet 10.9.0.0/24 of network web overlaps 10.8.0.0/13, which is in use on link tun0

    FOREIGN
    py-stray carries our group, but not our mark
"""
_TABLES = {
    "status": _STATUS,
    "network ls": _NETWORKS,
    "network inspect web": _NETWORK,
    "endpoint ls": _ENDPOINTS,
    "endpoint inspect a": _ENDPOINT,
    "ports": _PORTS,
    "ports ls": _PORTS,
    "ports ls --rules": _RULES,
    "dns": _NAMES,
    "dns ls --network web": _NAMES,
    "dns ls --counters": _CLIENTS,
    "dns lookup a --network web": _LOOKUP,
    "ipam pools": _POOLS,
    "ipam show web": _POOL,
    "ipam leases": _LEASES,
    "ipam leases web": _LEASES,
    "ipam audit": _AUDIT,
    "plan": _PLAN,
    "heal": _PLAN,
    "verify": _VERIFICATION,
}


@pytest.fixture(autouse=True)
def _answers(daemon: CannedDaemon) -> None:
    for call, body in _CALLS.items():
        daemon.reply(call, body)


@pytest.mark.parametrize(("command", "table"), _TABLES.items(), ids=_TABLES)
def test_command_prints_its_table_with_nothing_cut_off(
    pynet: Pynet, command: str, table: str
) -> None:
    result = pynet(*command.split())

    assert result.stdout == dedent(table)


@pytest.mark.parametrize("command", _TABLES)
def test_command_prints_the_reply_as_it_came_for_programs(
    pynet: Pynet, daemon: CannedDaemon, command: str
) -> None:
    result = pynet(*command.split(), "--output", "json")

    assert json.loads(result.stdout) == _CALLS[daemon.asked[0][0]]
    assert result.stdout.startswith("{\n  ")


def test_json_keeps_fields_that_this_version_does_not_know(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("GET /v1/verify", {**replies.VERIFICATION, "new": "☂"})

    assert '"new": "☂"' in pynet("verify", "--output", "json").stdout


def test_status_without_engine_and_before_the_first_reconcile_says_so(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    engine = {"endpoint": "unix:///run/docker.sock", "version": "", "problem": "nobody listens"}
    fresh = {**replies.STATUS, "uptime_s": 0.4, "engine": engine, "last_reconcile": None}
    daemon.reply("GET /v1/status", fresh)

    lines = pynet("status").stdout.splitlines()

    assert "daemon           ready, up 0 s, pid 7" in lines
    assert "engine           unix:///run/docker.sock nobody listens" in lines
    assert "last reconcile   not yet" in lines


def test_status_says_for_whom_names_are_not_answered(pynet: Pynet, daemon: CannedDaemon) -> None:
    dns = {"domain": "lab", "address": "", "clients": 1, "problems": ["a: no nf_tables", "b: gone"]}
    daemon.reply("GET /v1/status", {**replies.STATUS, "dns": dns})

    assert "names            *.lab for 1 client; a: no nf_tables; b: gone\n" in (
        pynet("status").stdout
    )


@pytest.mark.parametrize("command", ["plan", "heal"])
def test_steps_when_there_are_none_is_a_sentence(
    pynet: Pynet, daemon: CannedDaemon, command: str
) -> None:
    daemon.reply("GET /v1/plan", {"steps": []})
    daemon.reply("POST /v1/heal", {"steps": []})

    assert pynet(command).stdout == "nothing to change\n"


def test_markup_in_a_name_is_text(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("GET /v1/networks", {"networks": [{**replies.NETWORK, "name": "[red]:bomb:"}]})

    assert "[red]:bomb:" in pynet("network", "ls").stdout
