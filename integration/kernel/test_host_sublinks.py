"""Endpoints on the host's own network without Docker: macvlan, ipvlan and VLANs, on a LAN.

Cases of a type of link that the running kernel lacks are skipped and say so; `test_full_kernel`
runs them on a full kernel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

import pytest

from integration.lab import Daemon, Host, Lab, eventually, probes
from integration.lab.sandboxes import IN_VAIN_S, Sandboxes, ping_all
from integration.lab.underlay import BRIDGE, UPLINK
from integration.lab.wire import global_addresses, tapped

# An emulated machine takes half a minute to start Python with all of pynet.
DEADLINE_S = 240
VLAN = 10
TAGGED = f"{UPLINK}.{VLAN}"
BOXES = ("a", "b")

pytestmark = [
    pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset", "nft", "ping"),
    pytest.mark.timeout(DEADLINE_S),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    """A network on the wire: whose pools, which slice of them is ours, and who is at `router`."""

    pools: tuple[str, str]
    slices: tuple[str | None, str | None] = (None, None)
    router: tuple[str, str]

    @property
    def subnets(self) -> list[dict[str, str]]:
        """The subnets as the admin API takes them."""
        wishes = []
        for pool, part, router in zip(self.pools, self.slices, self.router, strict=True):
            wishes.append({"pool": pool, **({"range": part, "gateway": router} if part else {})})
        return wishes


UNTAGGED = Lan(
    pools=("198.18.0.0/16", "2001:2::/64"),
    slices=("198.18.9.0/28", "2001:2::9:0/124"),
    router=("198.18.0.1", "2001:2::1"),
)
TEN = Lan(
    pools=("198.19.0.0/16", "2001:2:0:a::/64"),
    slices=("198.19.9.0/28", "2001:2:0:a::9:0/124"),
    router=("198.19.0.1", "2001:2:0:a::1"),
)
# Nobody's on the wire: the router sends it to our host.
BEHIND = Lan(pools=("198.51.100.0/24", "2001:db8:100::/64"), router=UNTAGGED.router)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A way onto a LAN. `is_on_wire`: whether endpoints answer for their addresses there."""

    name: str
    lan: Lan
    options: dict[str, str]
    needs: tuple[str, ...]
    is_on_wire: bool = True


CASES = (
    Case(name="macvlan", lan=UNTAGGED, options={"mode": "macvlan"}, needs=("macvlan",)),
    Case(name="ipvlan-l2", lan=UNTAGGED, options={"mode": "ipvlan"}, needs=("ipvlan",)),
    *(
        Case(
            name=f"ipvlan-{mode}",
            lan=BEHIND,
            options={"mode": "ipvlan", "ipvlan_mode": mode},
            needs=("ipvlan",),
            is_on_wire=False,
        )
        for mode in ("l3", "l3s")
    ),
    *(
        Case(
            name=f"tagged-{mode}",
            lan=TEN,
            options={"mode": mode, "parent": TAGGED},
            needs=("vlan", *({"macvlan", "ipvlan"} & {mode})),
        )
        for mode in ("routed", "macvlan", "ipvlan")
    ),
)


class World:
    """A host with pynet and without an engine, and the other machine on its LAN."""

    def __init__(self, lab: Lab, host: Host, pynet: Daemon) -> None:
        self.underlay = lab.underlay
        self.host = host
        self.pynet = pynet
        self.sandboxes = Sandboxes(host)

    def create(self, name: str, lan: Lan, **options: str) -> None:
        self._ask("POST", "/v1/networks", self.wish(name, lan, **options))

    def remove(self, name: str) -> None:
        self._ask("DELETE", f"/v1/networks/{name}")

    def refusal(self, name: str, lan: Lan, **options: str) -> str:
        """Return the sentence with which a network is refused."""
        answer = self.pynet.admin("POST", "/v1/networks", self.wish(name, lan, **options))
        assert answer.status >= 400, answer.body
        return json.dumps(answer.body)

    @staticmethod
    def wish(name: str, lan: Lan, **options: str) -> dict[str, object]:
        return {"name": name, "driver": "host", "subnets": lan.subnets, "options": options}

    def attach(self, network: str, *boxes: str) -> dict[str, list[str]]:
        """Make sandboxes on a network, and return the addresses that they got."""
        leased = {}
        for box in boxes:
            wish = {"network": network, "netns": self.sandboxes.add(box), "name": box}
            endpoint = self._ask("POST", "/v1/endpoints", wish)
            leased[box] = [str(ip_interface(a).ip) for a in endpoint["addresses"]]
        return leased

    def clear(self) -> None:
        """Remove all endpoints and networks, and the sandboxes."""
        for endpoint in self._ask("GET", "/v1/endpoints")["endpoints"]:
            self._ask("DELETE", f"/v1/endpoints/{endpoint['id']}")
        for network in self._ask("GET", "/v1/networks")["networks"]:
            self.remove(network["id"])
        self.sandboxes.remove_all()

    def reached(self, box: str, *addresses: object, wait_s: int | None = None) -> set[str]:
        """Return which addresses answer a sandbox."""
        ping = ping_all(addresses, **({} if wait_s is None else {"wait_s": wait_s}))
        return set(self.sandboxes.run(box, ping).stdout.split())

    def reached_from_lan(self, *addresses: object) -> set[str]:
        return set(self.underlay.run(ping_all(addresses)).stdout.split())

    def links(self) -> list[str]:
        shown = json.loads(self.host.run(["ip", "-json", "link", "show"]).stdout)
        return sorted(link["ifname"] for link in shown)

    def _ask(self, method: str, target: str, body: object = None) -> Any:
        answer = self.pynet.admin(method, target, body)
        assert answer.status < 300, answer.body
        return answer.body


@pytest.fixture(scope="module")
def clean_world(lab: Lab) -> Iterator[World]:
    host = lab.host()
    pynet = Daemon(host, flags=("--docker-host", "none", "--dns-address", "none"))
    try:
        pynet.start(wait=False)
        pynet.wait_until_up(deadline_s=DEADLINE_S / 2)
        eventually(
            lambda: pynet.admin("GET", "/v1/status").body["state"] == "ready",
            "pynet is ready",
            deadline_s=DEADLINE_S / 4,
        )
        yield World(lab, host, pynet)
    finally:
        host.close()


@pytest.fixture
def world(clean_world: World) -> Iterator[World]:
    """The module's world, without networks and with its own links only after each test."""
    before = clean_world.links()
    yield clean_world
    clean_world.clear()
    eventually(lambda: clean_world.links() == before, "the links are as before")


@pytest.fixture(scope="module")
def router(lab: Lab, clean_world: World) -> Iterator[None]:
    """The other machine knows that `BEHIND` is behind our host."""
    host, underlay = clean_world.host, lab.underlay
    ways = list(zip(BEHIND.pools, (host.v4.ip, host.v6.ip), strict=True))
    for pool, via in ways:
        underlay.run(["ip", "route", "add", pool, "via", str(via)])
    yield
    for pool, _ in ways:
        underlay.run(["ip", "route", "delete", pool])


@pytest.fixture
def ten(lab: Lab, request: pytest.FixtureRequest) -> Iterator[None]:
    """The other machine is on VLAN 10 too."""
    underlay = lab.underlay
    link = f"{BRIDGE}.{VLAN}"
    made = ["link", "add", "link", BRIDGE, "name", link, "type", "vlan", "id", str(VLAN)]
    underlay.run(["ip", *made])
    underlay.run(["ip", "address", "add", f"{TEN.router[0]}/16", "dev", link])
    underlay.run(["ip", "address", "add", f"{TEN.router[1]}/64", "dev", link, "nodad"])
    underlay.run(["ip", "link", "set", link, "up"])
    yield
    underlay.run(["ip", "link", "delete", link])


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=pytest.mark.needs(*case.needs)) for case in CASES],
)
def test_endpoints_reach_each_other_and_the_lan_and_are_reached(
    world: World, router: None, case: Case, request: pytest.FixtureRequest
) -> None:
    if case.lan is TEN:
        request.getfixturevalue("ten")
    world.create("blue", case.lan, **case.options)
    with tapped(world.underlay, world.host.number) as wire:
        leased = world.attach("blue", *BOXES)
        everybody = {*leased["a"], *leased["b"]}

        assert world.reached("a", *leased["b"], *case.lan.router) == {
            *leased["b"],
            *case.lan.router,
        }
        assert world.reached("b", *case.lan.router) == {*case.lan.router}
        assert world.reached_from_lan(*everybody) == everybody
        assert_spoofed_packets_stay(world, "a", case.lan)
        claimed = global_addresses(wire.seen().claimed)

    own = {str(world.host.v4.ip), str(world.host.v6.ip)}
    if case.lan is not TEN:  # what is tagged, the tap does not read
        assert claimed - own == (everybody if case.is_on_wire else set())


def assert_spoofed_packets_stay(world: World, box: str, lan: Lan) -> None:
    """Take addresses that nobody leased: nobody answers them."""
    strange: list[IPv4Address | IPv6Address] = [
        ip_interface(pool).network[0x0BAD] if ":" in pool else ip_interface(pool).network[251]
        for pool in lan.pools
    ]
    pings = []
    for address, to in zip(strange, lan.router, strict=True):
        nodad = ["nodad"] if address.version == 6 else []
        world.sandboxes.run(box, ["ip", "address", "add", str(address), "dev", "lo", *nodad])
        pings.append(f"(ping -c 1 -w {IN_VAIN_S} -I {address} {to} >&2 && echo {address}) &")
    escaped = world.sandboxes.run(box, ["sh", "-c", " ".join([*pings, "wait"])]).stdout.split()
    assert escaped == [], f"{escaped} get out"


@pytest.mark.needs("vlan", "ipvlan")
def test_tagged_parent_is_there_from_the_first_network_to_the_last(world: World) -> None:
    before = world.links()
    other = Lan(pools=("198.51.100.0/24", "2001:db8:100::/64"), router=TEN.router)

    world.create("blue", TEN, mode="ipvlan", parent=TAGGED)
    assert TAGGED in world.links()
    world.create("red", other, mode="ipvlan", parent=TAGGED)
    world.remove("blue")
    assert TAGGED in world.links()
    world.remove("red")

    eventually(lambda: world.links() == before, "the VLAN goes with its last network")


@pytest.mark.needs("ipvlan", "macvlan")
def test_ipvlan_beside_macvlan_on_one_parent_is_refused(world: World) -> None:
    world.create("blue", UNTAGGED, mode="macvlan")

    said = world.refusal("red", BEHIND, mode="ipvlan")

    assert "macvlan" in said
    assert UPLINK in said
