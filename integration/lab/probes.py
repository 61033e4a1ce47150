"""What a machine must have for a test, asked of the machine itself, in a namespace thrown away."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from integration.lab import vm
from integration.lab.image import BUSYBOX
from integration.lab.process import run

COMMANDS = frozenset(
    {
        *("busybox", "conntrack", "curl", "dnsmasq", "dnsperf", "docker", "docker-compose"),
        *("dockerd", "etcd", "ip", "ip6tables", "iperf3", "ipset", "iptables", "modprobe", "nft"),
        *("nsenter", "ping", "qemu-system-x86_64", "setpriv", "tc", "tcpdump", "unshare", "wg"),
    }
)
HOST_LOCAL = Path("/usr/lib/cni/host-local")
LINK = "ip link add probe0 "
KERNEL = {
    "bridge": LINK + "type bridge",
    "dummy": LINK + "type dummy",
    "ifb": LINK + "type ifb",
    "ipvlan": LINK + "type veth && ip link add link probe0 type ipvlan",
    "macvlan": LINK + "type veth && ip link add link probe0 type macvlan",
    "tun": "ip tuntap add probe0 mode tun",
    "veth": LINK + "type veth",
    "vlan": LINK + "type veth && ip link add link probe0 type vlan id 7",
    "vlan_filtering": LINK + "type bridge vlan_filtering 1",
    "vrf": LINK + "type vrf table 7",
    "vxlan": LINK + "type vxlan id 7 dstport 4789",
    "wireguard": LINK + "type wireguard",
    "br_netfilter": "test -e /proc/sys/net/bridge/bridge-nf-call-iptables",
    "htb": "tc qdisc add dev lo root handle 1: htb",
    "ingress": "tc qdisc add dev lo clsact",
    "netem": "tc qdisc add dev lo root netem delay 1ms",
    "tbf": "tc qdisc add dev lo root tbf rate 1mbit burst 10kb latency 50ms",
    "nftables": "nft add table inet probe",
}
OF_A_LAB = ("root", "ip", "nsenter", "setpriv", "unshare", "bridge", "veth")
OF_AN_ENGINE = (*OF_A_LAB, "dockerd", "docker", "busybox", "br_netfilter")


@functools.cache
def missing(thing: str) -> str | None:
    """Return why `thing` is not to be had here, or None when it is.

    Raises:
        LookupError: no probe of that name; a typing error would otherwise skip a test for ever.
    """
    if thing == "root":
        return None if os.geteuid() == 0 else "not root"
    if thing == "full_kernel":
        return None if vm.full_kernel() else "neither installed nor unpacked"
    if thing == "busybox":
        return None if BUSYBOX.exists() else "not installed"
    if thing == "host-local":
        return None if HOST_LOCAL.exists() else "not installed (containernetworking-plugins)"
    if thing in COMMANDS:
        return None if shutil.which(thing) else "not installed"
    if thing in KERNEL:
        return missing("root") or _refusal(KERNEL[thing])
    raise LookupError(f"no probe named {thing!r}; add it to {Path(__file__).name}")


def first_missing(*things: str) -> str | None:
    """Return the words to skip a test with, or None when everything is there."""
    for thing in things:
        reason = missing(thing)
        if reason is not None:
            return f"needs {thing}: {reason}"
    return None


def _refusal(script: str) -> str | None:
    done = run(["unshare", "--net", "sh", "-ec", script], check=False)
    if done.returncode == 0:
        return None
    return " ".join(done.stderr.split()) or "not in this kernel"
