"""Networks of the driver `host` that cannot be: the reason, the alternative, and nothing left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.docker.conftest import PYNET_IPAM, World
from integration.docker.lan import host_state
from integration.lab import probes
from integration.lab.underlay import UPLINK

SUBNET, OTHER = "10.95.1.0/24", "10.95.2.0/24"
MACVLAN = ("-o", "mode=macvlan")
PASSTHRU = (*MACVLAN, "-o", "macvlan_mode=passthru", "-o", f"parent={UPLINK}")


@pytest.fixture(autouse=True)
def settled(world: World) -> None:
    """Nothing of the test before goes away meanwhile."""
    world.wait_until_empty()


@pytest.fixture
def port(world: World) -> Iterator[None]:
    """A link `port0` of the host's that is a port of the bridge `lan-br`."""
    lines = (
        "link add lan-br type bridge",
        "link add port0 type veth peer name port1",
        "link set port0 master lan-br",
    )
    world.host.run(["ip", "-batch", "-"], stdin="\n".join(lines))
    yield
    for link in ("port0", "lan-br"):
        world.host.run(["ip", "link", "delete", link])


def assert_refused(world: World, *words: str, subnet: str = SUBNET, says: tuple[str, ...]) -> None:
    """Assert that docker makes no such network, says all that, and nothing is left."""
    before = host_state(world)
    known = len(world.networks()), len(world.pools())
    create = ("network", "create", "-d", "pynet", "-o", "driver=host", *PYNET_IPAM)
    refused = world.docker(*create, "--subnet", subnet, *words, "refused", check=False)
    assert refused.returncode != 0, "it was made"
    assert [text for text in says if text not in refused.stderr] == [], refused.stderr
    assert (len(world.networks()), len(world.pools())) == known
    assert host_state(world) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("-o", "parent=nosuch0"), ("nosuch0", "ip link"), id="no-such-parent"),
        pytest.param(("-o", "parent=nosuch0.7"), ("nosuch0",), id="no-such-parent-of-a-vlan"),
        pytest.param(("-o", "parent=lo"), ("lo", "loopback"), id="loopback"),
        pytest.param((*MACVLAN, "-o", "parent=lo"), ("lo", "loopback"), id="macvlan-on-loopback"),
        pytest.param(("-o", "mtu=9000"), ("mtu=9000", "1500"), id="mtu-above-the-parents"),
        pytest.param(("-o", "mode=bridge"), ("mode", "macvlan"), id="no-such-mode"),
        pytest.param(("-o", "host_access=on"), ("host_access", "macvlan"), id="other-modes-option"),
        pytest.param((*MACVLAN, "--internal"), ("--internal", "mode=routed"), id="internal"),
        pytest.param(
            (*MACVLAN, "-o", "masquerade=true"), ("masquerade", "routed"), id="macvlan-masquerade"
        ),
        pytest.param(
            (*PASSTHRU, "-o", "host_access=on"), ("host_access", "bridge"), id="passthru-shim"
        ),
    ],
)
def test_network_that_cannot_be_is_refused(
    world: World, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    assert_refused(world, *words, says=says)


def test_port_of_a_bridge_is_no_parent(world: World, port: None) -> None:
    assert_refused(world, "-o", "parent=port0", says=("port0", "parent=lan-br"))


@pytest.mark.parametrize(("kind", "parent"), [("ipvlan", ""), ("vlan", "uplink0.10")])
def test_kernel_without_the_type_of_link_is_told(world: World, kind: str, parent: str) -> None:
    if probes.missing(kind) is None:
        pytest.skip(f"this kernel has {kind}")
    words = ("-o", f"parent={parent}") if parent else ("-o", f"mode={kind}")
    says = ("kernel", "VLAN") if parent else ("kernel", "ipvlan", "mode=routed")

    assert_refused(world, *words, says=says)


def test_subnet_of_another_network_or_of_the_engine_is_refused(world: World) -> None:
    world.network("blue", *PYNET_IPAM, "-o", "driver=host", "--subnet", SUBNET)
    world.network("red", "--subnet", OTHER)

    assert_refused(world, says=("overlap", SUBNET))
    assert_refused(world, subnet="10.95.2.128/25", says=("overlap", OTHER))
    assert_refused(world, subnet="172.17.0.0/16", says=("172.17.0.0/16",))


@pytest.mark.needs("macvlan")
def test_passthru_shares_its_parent_with_nobody(world: World) -> None:
    unnamed = (*MACVLAN, "-o", "macvlan_mode=passthru")
    assert_refused(world, *unnamed, says=("passthru", "cut off", "parent="))
    world.network("blue", *PYNET_IPAM, "-o", "driver=host", *PASSTHRU, "--subnet", OTHER)

    assert_refused(world, *PASSTHRU, says=("uplink0", "passthru", "another parent"))
    assert_refused(world, *MACVLAN, says=("uplink0", "passthru", "another parent"))
    world.docker("network", "rm", "blue")
    world.network("blue", *PYNET_IPAM, "-o", "driver=host", *MACVLAN, "--subnet", OTHER)
    assert_refused(world, *PASSTHRU, says=("uplink0", "passthru"))
