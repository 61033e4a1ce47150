"""Addresses after crashes, leaks made on purpose, and reservations, with a real dockerd."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from integration.conftest import EngineHost, skip_without
from integration.docker.conftest import IDLE, IMAGE, PYNET_IPAM, World
from integration.lab import Daemon, Engine, Lab, eventually, probes
from integration.lab.process import Completed

# Long enough for a call of dockerd's on a busy machine, and the audit by itself takes two more.
GRACE_S = 10
COLLECTED_DEADLINE_S = 60.0
BOXES, AT_ONCE = 50, 10
FOUND = 11
GATEWAY, POOL = "10.92.1.1", "pynet-local/10.92.1.0/24"
ON_POOL = (*PYNET_IPAM, "--subnet", "10.92.1.0/24", "--gateway", GATEWAY)


@pytest.fixture(scope="module")
def engine_host(lab: Lab) -> Iterator[EngineHost]:
    """A host whose daemon waits less for dockerd than by default."""
    skip_without(*probes.OF_AN_ENGINE)
    host = lab.host()
    pynet = Daemon(host, env={"PYNET_AUDIT_GRACE_S": str(GRACE_S)})
    try:
        running = EngineHost(host=host, engine=Engine(host), pynet=pynet)
        pynet.start()
        running.engine.start()
        running.engine.image(IMAGE)
        yield running
    finally:
        host.close()


@pytest.mark.timeout(300)
def test_nothing_is_lost_when_either_is_killed_amid_fifty_starts(world: World) -> None:
    world.network("blue", *ON_POOL)

    with starting(world, "one") as started:
        for _ in range(3):
            time.sleep(1.0)  # a moment to kill at, not a wait for something
            world.pynet.kill()
            world.pynet.start()
    assert any(end.result().returncode == 0 for end in started)
    with starting(world, "two"):
        time.sleep(2.0)  # a moment to kill at, not a wait for something
        world.engine.kill()
        world.engine.start()

    eventually(
        lambda: leases(world) == in_use(world),
        "what was cut off is collected",
        deadline_s=COLLECTED_DEADLINE_S,
        detail=lambda: f"{leases(world) ^ in_use(world)}\n{json.dumps(audit(world), indent=1)}",
    )
    world.pynet.pynet("ipam", "audit")
    assert audit(world) == {"findings": [], "problem": ""}
    assert len(world.endpoints()) == len(in_use(world)) - 1
    world.box("three", "blue")
    assert world.pings("three", GATEWAY)
    world.verify()


def test_leaked_lease_is_shown_with_its_evidence_and_repaired(world: World) -> None:
    world.network("blue", *ON_POOL)
    world.box("one", "blue")
    leak(world, "10.92.1.77")

    (finding,) = eventually(
        lambda: audit(world)["findings"], "the leak is found", deadline_s=COLLECTED_DEADLINE_S
    )
    shown = world.pynet.pynet("ipam", "audit", check=False)
    fixed = world.pynet.pynet("ipam", "audit", "--fix", "--yes")

    assert (finding["fault"], finding["networks"]) == ("leaked", ["blue"])
    assert finding["what"] == f"address 10.92.1.77 of pool {POOL}"
    assert "no endpoint and no container has it, it is in no sandbox" in finding["evidence"]
    assert (shown.returncode, finding["evidence"] in shown.stdout) == (FOUND, True)
    assert fixed.stdout.endswith("1 finding repaired\n")
    assert leases(world) == {GATEWAY, world.address("one", "blue")}


@pytest.mark.timeout(180)
def test_address_that_a_container_has_by_itself_is_never_released(world: World) -> None:
    world.network("blue", *ON_POOL)
    world.box("one", "blue")
    world.inside("one", "ip", "address", "add", "10.92.1.78/24", "dev", "eth0")
    leak(world, "10.92.1.78")
    leak(world, "10.92.1.79")

    eventually(
        lambda: "10.92.1.79" not in leases(world),
        "the other one is collected",
        deadline_s=COLLECTED_DEADLINE_S,
    )
    fixed = world.pynet.pynet("ipam", "audit", "--fix", "--yes", check=False)
    released = world.pynet.pynet("ipam", "release", "blue", "10.92.1.78", check=False)

    assert "10.92.1.78" in leases(world)
    (finding,) = audit(world)["findings"]
    assert (finding["fault"], finding["remedy"]) == ("unknown", "none")
    assert "it is in sandbox /" in finding["evidence"]
    assert fixed.returncode == FOUND
    assert (released.returncode, "is in use" in released.stderr) == (5, True)
    own = world.address("one", "blue")
    refused = world.pynet.pynet("ipam", "release", "blue", own, check=False)
    assert "is in use: endpoint one has it" in refused.stderr
    assert own in leases(world)


def test_reserved_addresses_are_given_to_no_container(world: World) -> None:
    world.network("blue", *PYNET_IPAM, "--subnet", "10.92.1.0/29", "--gateway", "10.92.1.1")
    world.wait_until_named("blue")
    world.pynet.pynet("ipam", "reserve", "blue", "10.92.1.2-10.92.1.4", "--note", "printers")

    for name in ("one", "two"):
        world.box(name, "blue")
    third = ("run", "--rm", "--network", "blue")
    full = world.docker(*third, IMAGE, "true", check=False)
    asked = world.docker(*third, "--ip", "10.92.1.2", IMAGE, "true", check=False)
    world.pynet.pynet("ipam", "unreserve", "blue", "10.92.1.3")
    world.box("three", "blue")

    got = {name: world.address(name, "blue") for name in ("one", "two", "three")}
    assert {got["one"], got["two"]} == {"10.92.1.5", "10.92.1.6"}
    assert got["three"] == "10.92.1.3"
    assert full.returncode != 0
    assert "10.92.1.0/29" in full.stderr
    assert "printers" in asked.stderr
    kinds = {
        lease["address"]: (lease["kind"], lease["owner"])
        for lease in world.pynet.pynet_json("ipam", "leases", "blue")["leases"]
    }
    assert kinds["10.92.1.2"] == ("reserved", "printers")
    assert kinds["10.92.1.1"] == ("gateway", "blue")


@contextmanager
def starting(world: World, name: str) -> Iterator[list[Future[Completed]]]:
    """Start fifty containers, some at once, beside the body; those that are cut off fail."""

    def start(number: int) -> Completed:
        words = ("run", "-d", "--name", f"{name}-{number}", "--network", "blue", IMAGE, *IDLE)
        return world.docker(*words, check=False)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield [pool.submit(start, number) for number in range(BOXES)]


def audit(world: World) -> Any:
    return world.pynet.admin("GET", "/v1/ipam/audit").body


def leases(world: World) -> set[str]:
    return {e["address"] for e in world.pynet.pynet_json("ipam", "leases", "blue")["leases"]}


def in_use(world: World) -> set[str]:
    """The addresses of the containers that run, as Docker tells them, and the gateway."""
    boxes = world.inspect_network("blue")["Containers"].values()
    return {GATEWAY, *(b["IPv4Address"].partition("/")[0] for b in boxes)}


def leak(world: World, address: str) -> None:
    """Lease an address as dockerd does, and never come back to it."""
    answer = world.pynet.call("IpamDriver.RequestAddress", {"PoolID": POOL, "Address": address})
    assert answer.status == 200, answer
