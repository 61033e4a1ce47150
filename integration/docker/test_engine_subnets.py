"""Docker's own networks are closed to pynet's containers, but for what is published there."""

from __future__ import annotations

from integration.docker.conftest import World
from integration.lab import eventually, talk
from integration.lab.talk import NOBODY, Expected, misheard, tcp

# A burst of events, a listing, and the next look at the rules.
CLOSED_WITHIN_S = 5.0

PLAIN = ("--ipv6", "--subnet", "10.95.1.0/24", "--subnet", "fd95:1::/64")
INNER = ("--internal", "--subnet", "10.95.2.0/24")


def own_network(world: World, name: str, *words: str) -> None:
    """Make a network of Docker's own driver, with a container on it that answers on port 80."""
    world.docker("network", "create", *words, name)
    world.box(f"on-{name}", name, *(("-p", "8095:80") if name == "plain" else ()))
    world.serve(f"on-{name}", "tcp/80")


def subnets_kept_apart(world: World) -> set[str]:
    saved = world.host.run(["ipset", "save"]).stdout.splitlines()
    return {line.split()[2] for line in saved if line.startswith("add pynet-engine")}


def wait_until_apart(world: World, *subnets: str) -> None:
    eventually(
        lambda: subnets_kept_apart(world) >= set(subnets),
        f"{', '.join(subnets)} are kept apart",
        deadline_s=CLOSED_WITHIN_S,
        detail=lambda: str(subnets_kept_apart(world)),
    )


def test_containers_reach_dockers_own_networks_through_published_ports_only(world: World) -> None:
    world.network("blue", "--ipv6", "--subnet", "10.95.9.0/24", "--subnet", "fd95:9::/64")
    world.box("one", "blue", "-p", "8096:80")
    world.serve("one", "tcp/80")
    own_network(world, "plain", *PLAIN)
    own_network(world, "inner", *INNER)
    wait_until_apart(world, "10.95.1.0/24", "10.95.2.0/24", "fd95:1::/64", "172.17.0.0/16")

    addresses = [world.address("on-plain", "plain", version=version) for version in (4, 6)]
    addresses.append(world.address("on-inner", "inner"))
    closed: Expected = {tcp(address, 80): NOBODY for address in addresses}
    published: Expected = {tcp(world.host.v4.ip, 8095): "on-plain:80"}
    assert misheard(world.run_in("one"), {**closed, **published}) == ""
    assert misheard(world.run_in("on-plain"), {tcp(world.host.v4.ip, 8096): "one:80"}) == ""
    assert misheard(talk_on_host(world), {tcp(addresses[0], 80): "on-plain:80"}) == ""
    world.verify()


def test_networks_that_docker_has_no_longer_are_open_to_others(world: World) -> None:
    world.network("blue")
    own_network(world, "plain", *PLAIN)
    wait_until_apart(world, "10.95.1.0/24")

    world.docker("rm", "-f", "on-plain")
    world.docker("network", "rm", "plain")

    eventually(
        lambda: subnets_kept_apart(world) == {"172.17.0.0/16"},
        "only Docker's first bridge is kept apart",
        deadline_s=CLOSED_WITHIN_S,
    )


def test_dockers_networks_stay_apart_while_it_is_away_and_over_a_restart(world: World) -> None:
    own_network(world, "plain", *PLAIN)
    world.network("blue")
    wait_until_apart(world, "10.95.1.0/24")

    world.engine.stop()
    world.pynet.restart()
    world.pynet.pynet("heal")

    assert "10.95.1.0/24" in subnets_kept_apart(world)


def talk_on_host(world: World) -> talk.Runner:
    return lambda argv, *, stdin: world.host.run(argv, stdin=stdin)
