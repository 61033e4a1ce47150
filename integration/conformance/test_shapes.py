"""Networks that are not one IPv4 subnet with a gateway."""

from __future__ import annotations

from integration.conformance.dockerd import Dockerd
from integration.conformance.kernel import bridge_of, look
from integration.conformance.methods import IPAM, PROGRAM, RELEASE, REQUEST, REVOKE
from integration.conformance.plugin import Plugin
from integration.conformance.specs import BLUE, BLUE6, GREEN, EndpointSpec, NetworkSpec, Subnet
from integration.lab import Lab


def test_internal_network_leads_nowhere(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), v6=(BLUE6,), is_internal=True))

    web = dockerd.run("web", EndpointSpec(network=blue))
    db = dockerd.run("db", EndpointSpec(network=blue))

    joined = web.on(blue).joined
    assert joined is not None
    assert (joined.gateway, joined.gateway_ipv6, joined.static_routes) == ("", "", [])
    assert joined.disables_gateway_service
    assert not {PROGRAM, REVOKE} & set(dockerd.calls)
    assert web.sandbox.reaches(db.on(blue).ip())
    assert web.sandbox.reaches(db.on(blue).ip(6))


def test_internal_network_lets_nobody_out_who_makes_a_route(
    plugin: Plugin, lab: Lab, newest: Dockerd
) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,), is_internal=True))
    web = newest.run("web", EndpointSpec(network=blue))

    web.sandbox.route([("10.61.0.1", "eth0")])

    assert not web.sandbox.reaches(str(lab.underlay.internet_v4))


def test_container_on_an_internal_and_another_network_leaves_by_the_other(
    plugin: Plugin, lab: Lab, either_dockerd: Dockerd
) -> None:
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), is_internal=True))
    green = either_dockerd.create(NetworkSpec(name="green", v4=(GREEN,)))

    web = either_dockerd.run("web", EndpointSpec(network=blue), EndpointSpec(network=green))

    assert web.sandbox.reaches(str(lab.underlay.internet_v4))
    assert either_dockerd.calls.count(PROGRAM) == 1


def test_network_without_ipv4(plugin: Plugin, lab: Lab, recent_dockerd: Dockerd) -> None:
    blue = recent_dockerd.create(NetworkSpec(name="blue", v4=(), v6=(BLUE6,)))
    assert look(plugin.host).links[bridge_of(blue.id)].addresses == {"fd61::1/64"}

    web = recent_dockerd.run("web", EndpointSpec(network=blue))
    db = recent_dockerd.run("db", EndpointSpec(network=blue))

    assert [h.address.version for h in web.on(blue).held] == [6]
    assert web.on(blue).mac != db.on(blue).mac
    for address in (db.on(blue).ip(6), "fd61::1", str(lab.underlay.internet_v6)):
        assert web.sandbox.reaches(address)


def test_families_on_two_networks_each_have_their_way_out(
    plugin: Plugin, lab: Lab, recent_dockerd: Dockerd
) -> None:
    blue = recent_dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    green = recent_dockerd.create(NetworkSpec(name="green", v4=(), v6=(BLUE6,)))

    web = recent_dockerd.run("web", EndpointSpec(network=blue), EndpointSpec(network=green))

    assert web.roles == {web.on(blue).id: {4}, web.on(green).id: {6}}
    assert web.sandbox.reaches(str(lab.underlay.internet_v4))
    assert web.sandbox.reaches(str(lab.underlay.internet_v6))


def test_isolated_network_needs_no_gateway(plugin: Plugin, dockerd: Dockerd) -> None:
    options = {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), options=options, is_internal=True))

    (allocation,) = blue.allocations
    assert (allocation.gateway is None) == dockerd.release.checks_gateway_allocation
    assert (REQUEST in dockerd.calls) != dockerd.release.checks_gateway_allocation
    assert look(plugin.host).links[bridge_of(blue.id)].addresses == set()

    web = dockerd.run("web", EndpointSpec(network=blue))
    db = dockerd.run("db", EndpointSpec(network=blue))
    assert web.sandbox.reaches(db.on(blue).ip())


def test_null_ipam_joins_without_addresses(plugin: Plugin, dockerd: Dockerd) -> None:
    has_ipv6 = dockerd.release.number >= 27  # before, the null IPAM had no IPv6
    spec = NetworkSpec(name="blue", v6=(Subnet(),) if has_ipv6 else (), has_null_ipam=True)
    blue = dockerd.create(spec)
    assert look(plugin.host).links[bridge_of(blue.id)].addresses == set()

    web = dockerd.run("web", EndpointSpec(network=blue))
    db = dockerd.run("db", EndpointSpec(network=blue))

    assert web.on(blue).mac != db.on(blue).mac
    assert not any(call.startswith(IPAM + "Re") for call in dockerd.calls)
    for container, address in ((web, "10.9.9.1/24"), (db, "10.9.9.2/24")):
        container.sandbox.run(["ip", "address", "add", address, "dev", "eth0"])
    assert web.sandbox.reaches("10.9.9.2")


def test_network_of_several_subnets(plugin: Plugin, either_dockerd: Dockerd) -> None:
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(BLUE, GREEN)))
    bridge = look(plugin.host).links[bridge_of(blue.id)]
    assert bridge.addresses == {"10.61.0.1/24", "10.62.0.1/24"}

    web = either_dockerd.run("web", EndpointSpec(network=blue))
    db = either_dockerd.run("db", EndpointSpec(network=blue, ip="10.62.0.50"))

    assert web.on(blue).gateway(4) == "10.61.0.1"
    assert db.on(blue).gateway(4) == "10.62.0.1"
    assert web.sandbox.reaches("10.62.0.50")


def test_mac_of_the_users_choice_is_kept(plugin: Plugin, either_dockerd: Dockerd) -> None:
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))

    web = either_dockerd.run("web", EndpointSpec(network=blue, mac="02:42:ac:11:00:99"))

    assert web.on(blue).mac == "02:42:ac:11:00:99"
    link = web.sandbox.run(["ip", "-oneline", "link", "show", "eth0"]).stdout
    assert "link/ether 02:42:ac:11:00:99" in link
    assert web.sandbox.reaches("10.61.0.1")


def test_gateway_range_and_reserved_addresses_of_the_users_choice(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    subnet = Subnet(
        pool="10.61.0.0/24",
        sub_pool="10.61.0.128/30",
        gateway="10.61.0.254",
        aux={"router": "10.61.0.2", "printer": "10.61.0.129"},
    )
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(subnet,)))
    assert look(plugin.host).links[bridge_of(blue.id)].addresses == {"10.61.0.254/24"}

    held = [
        either_dockerd.run(n, EndpointSpec(network=blue)).on(blue) for n in ("one", "two", "three")
    ]

    assert {e.ip() for e in held} == {f"10.61.0.{n}" for n in (128, 130, 131)}
    assert either_dockerd.containers[0].sandbox.reaches("10.61.0.254")
    del either_dockerd.calls[:]
    for container in list(either_dockerd.containers):
        either_dockerd.stop(container)
    del either_dockerd.calls[:]
    either_dockerd.remove(blue)
    assert either_dockerd.calls.count(RELEASE) == 3


def test_options_of_docker_endpoints_are_taken_and_interfaces_named(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    prefix = {"com.docker.network.container_iface_prefix": "lan"}
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), options=prefix))
    options = {
        "com.docker.network.endpoint.ifname": "web0",
        "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1",
    }

    web = either_dockerd.run("web", EndpointSpec(network=blue, options=options))

    assert web.on(blue).interface == "lan0"
    assert web.sandbox.reaches("10.61.0.1")
