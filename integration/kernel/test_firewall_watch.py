"""Somebody clears the rules, and pynet has its own back within five seconds; others' stay cleared.

Nothing here goes through Docker: a daemon, one network, one namespace on it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from integration.lab import Daemon, Host, Lab, eventually, probes
from integration.lab.process import CommandFailed

HEALED_WITHIN_S = 5.0
QUIET_S = 3.0  # longer than the pause between two looks

LEGACY = "/run/legacy"
PROGRAMS = [
    f"{family}{end}" for family in ("iptables", "ip6tables") for end in ("", "-save", "-restore")
]
NETWORK = ("--subnet", "10.94.0.0/24", "--subnet", "fd94::/64")
FAMILIES = ("ip", "ip6", "bridge")
OTHERS_FILE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:OTHERS - [0:0]
-A FORWARD -j OTHERS
-A OTHERS -s 192.0.2.0/24 -j DROP
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
EVERY_TABLE = "for t in filter nat mangle; do {0} -t $t -F; {0} -t $t -X; done"
CLEAR_BOTH = f"{EVERY_TABLE.format('iptables')}; {EVERY_TABLE.format('ip6tables')}"

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset", "nft")


class Watched:
    """A host whose rules pynet watches, with rules, sets and tables of others beside."""

    def __init__(self, host: Host, *, is_legacy: bool) -> None:
        self.host = host
        self.is_legacy = is_legacy
        path = f"{LEGACY}:/usr/sbin:/usr/bin:/sbin:/bin"
        # nobody else mends meanwhile
        self.env = {"PYNET_RECONCILE_INTERVAL_S": "600", **({"PATH": path} if is_legacy else {})}
        if is_legacy:
            links = "; ".join(f"ln -s $(command -v xtables-legacy-multi) {p}" for p in PROGRAMS)
            host.run(["sh", "-ec", f"mkdir -p {LEGACY}; cd {LEGACY}; {links}"])
        self.pynet = Daemon(host, flags=["--docker-host", "none"], env=self.env)
        self.pynet.start()
        self.pynet.pynet("network", "create", "lab", *NETWORK)
        host.run(["ip", "netns", "add", "a"])
        self.pynet.pynet("attach", "lab", "--netns", "a", "--name", "a")
        self.pynet.pynet("ports", "add", "a", "8080:80", "9000-9009:9000-9009/udp")
        host.write_file("/run/others.rules", OTHERS_FILE)
        self.add_strangers()

    def sh(self, script: str) -> str:
        return self.host.run(["sh", "-c", script], env=self.env).stdout

    def add_strangers(self) -> None:
        """Add what is neither ours nor Docker's, where it is not there."""
        for command in ("iptables", "ip6tables"):
            self.sh(f"{command} -N OTHERS 2>&-; {command} -A OTHERS -j RETURN")
            self.sh(f"{command} -A FORWARD -m comment --comment stranger -j OTHERS")
            self.sh(f"{command} -t nat -A POSTROUTING -m comment --comment stranger -j RETURN")
        self.sh("nft add table inet others; nft add chain inet others any; true")
        self.sh("ipset create -exist others hash:net; ipset add -exist others 192.0.2.0/24")

    def ours(self) -> list[str]:
        """All that is pynet's in the packet filter, as the programs print it, less counters."""
        tables = "; ".join(f"nft -s list table {family} pynet" for family in FAMILIES)
        lines = self._saved() + self.sh("ipset save").splitlines()
        lines = [line.partition(" initval ")[0] for line in lines]  # a set made anew has another
        lines = sorted(line for line in lines if "PYNET" in line or "pynet-" in line)
        return [*lines, *self.sh(f"({tables}) 2>&1; true").splitlines()]

    def strangers(self) -> list[str]:
        """The rules, chains and sets of others, in order."""
        lines = [line for line in self._saved() if line.startswith("-A") or " - [" in line]
        lines += self.sh("ipset save; nft list table inet others 2>&1; true").splitlines()
        return [line for line in lines if "PYNET" not in line and "pynet-" not in line]

    def heals(self) -> list[str]:
        """What the journal tells of healed rules."""
        lines = self.pynet.pynet("events", "--output", "json").stdout.splitlines()
        events = [json.loads(line) for line in lines]
        return [event["message"] for event in events if event["kind"] == "firewall"]

    def _saved(self) -> list[str]:
        return self.sh("iptables-save; ip6tables-save").splitlines()


@pytest.fixture(scope="module", params=["nftables", "legacy"])
def watched(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Watched]:
    host = lab.host()
    try:
        try:
            made = Watched(host, is_legacy=request.param == "legacy")
        except CommandFailed as error:
            if request.param == "legacy" and "xtables-legacy-multi" in str(error):
                pytest.skip("no legacy iptables")
            raise
        yield made
    finally:
        host.close()


@pytest.mark.parametrize(
    "script",
    [
        "iptables -F",
        "iptables -F && iptables -X OTHERS && iptables -X PYNET-FORWARD",
        "ip6tables -F",
        "iptables -t nat -F",
        "iptables -t mangle -F",
        "iptables -t mangle -D FORWARD -j PYNET-ISOLATE",
        "iptables -t mangle -D PYNET-ISOLATE 1",
        "iptables -I FORWARD -j PYNET-FORWARD",
        "ipset flush",
        "ipset flush pynet-local4",
        f"{CLEAR_BOTH}; ipset destroy",
        "iptables-restore < /run/others.rules",
        "nft flush ruleset",
        "nft delete table ip pynet",
        "nft flush map ip pynet any_ports",
        "nft flush table ip pynet",
    ],
)
def test_rules_that_somebody_removed_are_back_within_five_seconds(
    watched: Watched, script: str
) -> None:
    watched.pynet.restart()  # else a dozen cases in a row would look like a fight
    watched.add_strangers()
    before, told = watched.ours(), len(watched.heals())

    watched.sh(script)

    strangers = watched.strangers()
    gone_at_s = time.monotonic()
    eventually(
        lambda: watched.ours() == before,
        f"pynet's rules are back after {script}",
        deadline_s=HEALED_WITHIN_S,
        detail=lambda: "\n".join([*set(before) ^ set(watched.ours()), *watched.heals()]),
    )
    took_s = time.monotonic() - gone_at_s
    assert took_s < HEALED_WITHIN_S
    print(f"healed after {took_s:.1f} s: {script}")
    assert watched.strangers() == strangers
    watched.pynet.pynet("verify")
    events = eventually(lambda: watched.heals()[told:], "pynet tells of it")
    # several commands take time: a look may fall between two of them
    assert len(events) == 1 or (len(events) == 2 and ";" in script)
    assert all(e.startswith("somebody else changed rules; put back: ") for e in events)


def test_rules_of_others_that_change_are_no_event(watched: Watched) -> None:
    told = len(watched.heals())
    before = watched.ours()

    watched.sh("iptables -A OTHERS -s 192.0.2.7 -j DROP; ipset add others 198.51.100.0/24")
    time.sleep(QUIET_S)

    assert watched.ours() == before
    assert len(watched.heals()) == told


def test_everything_cleared_at_once_is_back_and_verified(watched: Watched) -> None:
    before, told = watched.ours(), len(watched.heals())
    watched.sh(f"{CLEAR_BOTH}; nft flush ruleset; iptables -P FORWARD DROP")

    # a look may fall between two of the commands, and heal what the next one clears
    eventually(lambda: watched.ours() == before, "all is back", deadline_s=HEALED_WITHIN_S)

    watched.pynet.pynet("verify")
    assert len(watched.heals()) > told
    watched.sh("iptables -P FORWARD ACCEPT")
