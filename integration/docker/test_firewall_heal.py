"""Somebody clears the rules while containers are in use: service is back within five seconds."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import pytest

from integration.conftest import EngineHost, skip_without
from integration.docker.conftest import World
from integration.lab import Daemon, Engine, Host, Lab, Process, Underlay, eventually, probes, talk
from integration.lab.talk import NOBODY, misheard, tcp

BACK_WITHIN_S = 5.0
LAN_EVERY_S, OUTWARD_EVERY_S = 0.02, 0.05
IN_A_ROW = 5
HEALS_OF_A_FIGHT = 6
LAN_PORT = 9000

FAMILIES = ("iptables", "ip6tables")
SAVE = "iptables-save; ip6tables-save; ipset save; nft --stateless list table inet strangers 2>&-"
SOMEBODYS_FILE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:SOMEBODY - [0:0]
-A FORWARD -j SOMEBODY
-A SOMEBODY -s 192.0.2.0/24 -j DROP
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 192.0.2.0/24 -j RETURN
COMMIT
"""
EMPTY = "for t in filter nat mangle; do for f in iptables ip6tables; do $f -t $t -F; done; done"

AT_ONCE = {
    "flush-filter": "iptables -F",
    "flush-filter-ipv6": "ip6tables -F",
    "flush-nat": "iptables -t nat -F",
    "flush-mangle": "iptables -t mangle -F",
    "flush-sets": "ipset flush",
    "restore": "iptables-restore /run/somebodys.rules",
    "delete-table": "nft delete table ip pynet",
    "flush-ruleset": "nft flush ruleset",
}
# What takes several commands happens while pynet does not look, so that it is one event.
IN_STEPS = {
    "delete-chains": "iptables -F; iptables -X",
    "destroy-sets": f"{EMPTY}; ipset destroy",
}
ON_LEGACY = ("flush-filter", "flush-nat", "restore", "delete-chains")


class Troubled:
    """A world that is in use, with rules, sets and tables of strangers."""

    def __init__(self, world: World, underlay: Underlay) -> None:
        self.world = world
        self.underlay = underlay

    def add_strangers(self) -> None:
        """Add rules, a set and a table of nobody's, where they are not there."""
        for command in FAMILIES:
            for table, chain in (("filter", "FORWARD"), ("nat", "POSTROUTING")):
                rule = f"{chain} -m comment --comment stranger -j RETURN"
                self._sh(f"{command} -t {table} -C {rule} 2>&- || {command} -t {table} -A {rule}")
        self._sh("ipset create -exist strangers hash:net; ipset add -exist strangers 192.0.2.0/24")
        self._sh("nft add table inet strangers; nft add chain inet strangers any")

    def clear(self, script: str) -> list[str]:
        """Do what clears rules, and return what is left of others' right behind."""
        return self._others(self._sh(f"{script}; {SAVE}"))

    def others(self) -> list[str]:
        """The rules, chains, policies, sets and tables that are not pynet's."""
        return self._others(self._sh(SAVE))

    def differences(self) -> list[str]:
        found: list[str] = self.world.pynet.admin("GET", "/v1/verify").body["differences"]
        return found

    def events(self) -> list[dict[str, Any]]:
        lines = self.world.pynet.pynet("events", "--output", "json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def flows(self) -> Iterator[Process]:
        """Start clients of the published port, and clients in the container, over each family."""
        host, entry = self.world.host, self.world.popen_in
        for address in (host.v4.ip, host.v6.ip):
            argv = talk.flow(tcp(address, 8080), LAN_EVERY_S)
            yield self.underlay.popen(argv, log=f"to-{address}")
        for address in (self.underlay.internet_v4, self.underlay.internet_v6):
            argv = talk.flow(tcp(address, LAN_PORT), OUTWARD_EVERY_S)
            yield entry("one", argv, log=f"to-{address}")

    def _sh(self, script: str) -> str:
        return self.world.host.run(["sh", "-c", script], check=False).stdout

    @staticmethod
    def _others(saved: str) -> list[str]:
        """Built-in chains come and go with the first rule; only a policy of DROP says something."""
        lines = (line.partition(" [")[0] for line in saved.splitlines() if line[:1] not in "#*")
        return [
            line
            for line in lines
            if not line.endswith(("COMMIT", " ACCEPT"))
            and "PYNET" not in line
            and "pynet-" not in line
        ]


@contextmanager
def in_use(lab: Lab, tables: str) -> Iterator[Troubled]:
    """A host with these tables, with a container in use."""
    skip_without(*probes.OF_AN_ENGINE, "ipset", "nft")
    host = lab.host()
    try:
        choose_tables(host, tables)
        world = World(EngineHost(host=host, engine=Engine(host), pynet=Daemon(host)))
        world.pynet.start()
        world.engine.start()
        world.engine.image("pynet-box")
        world.dual_stack("blue", 1)
        world.box("one", "blue", "-p", "8080:80")
        world.serve("one", "tcp/80")
        host.write_file("/run/somebodys.rules", SOMEBODYS_FILE)
        with lab.underlay.popen(talk.server("lan", [f"tcp/{LAN_PORT}"]), log="server-lan"):
            yield Troubled(world, lab.underlay)
    finally:
        host.close()


@pytest.fixture(scope="module")
def over_nft(lab: Lab) -> Iterator[Troubled]:
    with in_use(lab, "nft") as troubled:
        yield troubled


@pytest.fixture(scope="module")
def over_legacy(lab: Lab) -> Iterator[Troubled]:
    with in_use(lab, "legacy") as troubled:
        yield troubled


def choose_tables(host: Host, kind: str) -> None:
    """Have the host's iptables be the one over nftables, or the legacy one."""
    for command in FAMILIES:
        program = f"/usr/sbin/{command}-{kind}"
        if host.run(["test", "-x", program], check=False).returncode != 0:
            pytest.skip(f"needs {command}-{kind}")
        host.run(["update-alternatives", "--set", command, program])


@pytest.mark.parametrize("name", [*AT_ONCE, *IN_STEPS])
def test_service_is_back_after_rules_were_cleared(over_nft: Troubled, name: str) -> None:
    assert_back(over_nft, name)


@pytest.mark.parametrize("name", ON_LEGACY)
def test_service_is_back_after_legacy_rules_were_cleared(over_legacy: Troubled, name: str) -> None:
    assert_back(over_legacy, name)


def test_service_is_back_although_somebody_clears_rules_again_and_again(
    over_nft: Troubled,
) -> None:
    assert_back(over_nft, "flush-filter", heals_before=HEALS_OF_A_FIGHT)


def assert_back(troubled: Troubled, name: str, *, heals_before: int = 0) -> None:
    """Clear the rules, and prove that all is as before but for what others lost."""
    # Who has mended often lately mends more slowly: that begins anew, and is measured if wanted.
    troubled.world.pynet.restart()
    troubled.world.wait_until_ready()
    for _ in range(heals_before):
        troubled.clear(AT_ONCE[name])
        wait_until_healed(troubled)
    troubled.add_strangers()
    with ExitStack() as ends:
        flows = [ends.enter_context(flow) for flow in troubled.flows()]
        wait_until_answered(flows, since=0.0)
        before = len(troubled.events())

        cleared_at = time.monotonic()
        if script := AT_ONCE.get(name):
            others = troubled.clear(script)
        else:
            troubled.world.pynet.process.signal(signal.SIGSTOP)
            others = troubled.clear(IN_STEPS[name])
            troubled.world.pynet.process.signal(signal.SIGCONT)

        wait_until_healed(troubled)
        healed_at = time.monotonic()
        wait_until_answered(flows, since=healed_at)
        gaps_s = [longest_gap_s(flow, since=cleared_at) for flow in flows]

    healed_s, outage_s = healed_at - cleared_at, max(gaps_s)
    print(f"{name}: healed after {healed_s:.1f} s, no answers for {outage_s:.1f} s")
    assert outage_s < BACK_WITHIN_S
    assert troubled.others() == others
    assert [event["kind"] for event in troubled.events()[before:]] == ["firewall"]


def test_looking_does_not_hide_what_was_cleared(over_nft: Troubled) -> None:
    over_nft.world.pynet.restart()
    for _ in range(3):  # the first time pynet looks at everything, as it has just started
        over_nft.world.host.run(["ipset", "flush"])
        over_nft.differences()
        wait_until_healed(over_nft)


def test_what_was_closed_is_closed_again(over_nft: Troubled) -> None:
    troubled, world, underlay = over_nft, over_nft.world, over_nft.underlay
    world.pynet.restart()

    troubled.clear("iptables -t mangle -F; ip6tables -t mangle -F")
    wait_until_healed(troubled)

    underlay.run(["ip", "route", "add", "10.93.1.0/24", "via", str(world.host.v4.ip)])
    try:
        assert misheard(underlay.run, {tcp(world.address("one", "blue"), 80): NOBODY}) == ""
    finally:
        underlay.run(["ip", "route", "del", "10.93.1.0/24"])


def wait_until_healed(troubled: Troubled) -> None:
    eventually(
        lambda: not troubled.differences(),
        "the rules are back",
        deadline_s=BACK_WITHIN_S,
        detail=lambda: "\n".join(troubled.differences()),
    )


def wait_until_answered(flows: list[Process], *, since: float) -> None:
    """Wait until the last questions of each flow, of those asked since then, were answered."""

    def is_answered(flow: Process) -> bool:
        asked = sorted(turn[:2] for turn in talk.heard(flow.output()) if turn[0] > since)
        return len(asked) >= IN_A_ROW and all(answer for _, answer in asked[-IN_A_ROW:])

    eventually(
        lambda: all(is_answered(flow) for flow in flows),
        "all flows are answered",
        deadline_s=BACK_WITHIN_S,
        detail=lambda: "\n".join(f"{flow.argv[-4:]} {flow.output()[-200:]}" for flow in flows),
    )


def longest_gap_s(flow: Process, *, since: float) -> float:
    """The longest time between two questions of a flow that were answered."""
    answered = sorted(at for at, answer in talk.heard(flow.output()) if answer and at >= since)
    return max(later - earlier for earlier, later in pairwise([since, *answered]))
