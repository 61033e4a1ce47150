"""Who has an address: read in namespaces of all kinds, and asked for on a bridge."""

from __future__ import annotations

import subprocess  # noqa: TID251 - a namespace is held by a process; no plan of ours is involved
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from integration.lab import eventually, probes
from integration.lab.process import run
from netplug.kernel.links import Links
from netplug.kernel.whereabouts import Neighbours, sandboxes

pytestmark = pytest.mark.needs(*probes.OF_A_LAB)

BRIDGE, ADDRESS, IPV6, FREE = "br0", "10.9.0.2", "fd09::2", "10.9.0.77"


@pytest.fixture
def holder(network: None) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a namespace that is plugged into a bridge."""
    holding = ["unshare", "--net", "sh", "-c", "echo; cat"]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pid = str(process.pid)
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
        run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "p0", "netns", pid])
        for words in (["v0", "master", BRIDGE], ["v0", "up"], [BRIDGE, "up"]):
            run(["ip", "link", "set", *words])
        for address in ("10.9.0.1/24", "fd09::1/64"):
            run(["ip", "address", "add", address, "dev", BRIDGE, "nodad"])
        for words in (["link", "set", "p0", "up"], ["link", "set", "lo", "up"]):
            inside(process, *words)
        for address in (f"{ADDRESS}/24", f"{IPV6}/64"):
            inside(process, "address", "add", address, "dev", "p0", "nodad")
        eventually(is_settled, "the bridge's link-local address is settled")
        yield process


def is_settled() -> bool:
    """Tell whether the host asks for IPv6 neighbours, which it does from that address."""
    return "tentative" not in run(["ip", "-6", "address", "show", "dev", BRIDGE]).stdout


@pytest.fixture
def mounted(holder: subprocess.Popen[bytes], tmp_path: Path) -> Iterator[Path]:
    """The namespace as dockerd has it: a mount in a folder, beside a file that is none."""
    (tmp_path / "waiting").touch()
    path = tmp_path / "4e1c0f2a9b77"
    path.touch()
    with ExitStack() as mounts:
        run(["mount", "--bind", f"/proc/{holder.pid}/ns/net", str(path)])
        mounts.callback(run, ["umount", str(path)])
        yield path


@pytest.fixture
async def neighbours(holder: subprocess.Popen[bytes]) -> AsyncIterator[Neighbours]:
    links = Links("0f3a")
    await links.open()
    yield Neighbours(links)
    await links.close()


def inside(process: subprocess.Popen[bytes], *words: str) -> None:
    run(["nsenter", "--target", str(process.pid), "--net", "ip", *words])


async def test_sandboxes_are_found_beside_a_known_one_without_loopback(mounted: Path) -> None:
    found = await sandboxes([str(mounted.parent / "gone")])

    facts = found[str(mounted)]
    assert facts.addresses == {ip_address(ADDRESS), ip_address(IPV6)}
    assert facts.is_inhabited
    assert str(mounted.parent / "waiting") not in found


async def test_sandbox_whose_process_ended_is_there_and_empty(
    mounted: Path, holder: subprocess.Popen[bytes]
) -> None:
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait()

    facts = (await sandboxes([str(mounted)]))[str(mounted)]

    assert facts.addresses == {ip_address(ADDRESS), ip_address(IPV6)}
    assert not facts.is_inhabited


async def test_answering_is_who_is_there_and_not_who_was(
    neighbours: Neighbours, holder: subprocess.Popen[bytes]
) -> None:
    asked = [ip_address(text) for text in (ADDRESS, IPV6, FREE, "10.9.0.1", "203.0.113.7")]

    there = await neighbours.answering(asked)
    inside(holder, "address", "del", f"{ADDRESS}/24", "dev", "p0")
    run(["ip", "neigh", "replace", ADDRESS, "dev", BRIDGE, "lladdr", "02:00:00:00:00:02"])
    run(["ip", "neigh", "change", ADDRESS, "dev", BRIDGE, "nud", "stale"])
    later = await neighbours.answering(asked)

    gone, *rest = asked[:2] + asked[3:4]
    assert there == dict.fromkeys([gone, *rest], BRIDGE)
    assert later == dict.fromkeys(rest, BRIDGE)
