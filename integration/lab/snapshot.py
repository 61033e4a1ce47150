"""A picture of the machine, and what changed between two: `python -m integration.lab.snapshot`.

A picture is facts by kind, each fact a phrase that reads well in a sentence. It shows the network
of the calling process, and of the processes only those that a test could have left behind. What
belongs to a lab whose process still runs is that process's affair and left out.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from integration.lab import cgroups, processes
from integration.lab.process import run
from integration.lab.remains import is_of_a_running_lab, remove_orphans
from integration.lab.waiting import eventually

Snapshot = Mapping[str, list[str]]

PROCESS = "process"
WATCHED_FOLDERS = tuple(
    Path(path)
    for path in (
        *("/etc/docker", "/opt/containerd", "/run/containerd", "/run/docker", "/run/pynet"),
        *("/var/lib/containerd", "/var/lib/docker", "/var/lib/pynet"),
    )
)
WATCHED_SYSCTLS = (
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
)
# Reading the legacy tables by name would make them, so the tools are asked for what there is.
RULES = {
    "iptables rule": ("iptables-save",),
    "ip6tables rule": ("ip6tables-save",),
    "legacy iptables rule": ("iptables-legacy-save",),
    "legacy ip6tables rule": ("ip6tables-legacy-save",),
    "nftables line": ("nft", "--stateless", "list", "ruleset"),
    "IP set": ("ipset", "list", "-name"),
    "IPv4 route": ("ip", "-4", "route", "show", "table", "all"),
    "IPv6 route": ("ip", "-6", "route", "show", "table", "all"),
    "IPv4 policy rule": ("ip", "-4", "rule"),
    "IPv6 policy rule": ("ip", "-6", "rule"),
}
LISTENING = "00010000"  # Linux net/unix/af_unix.c, unix_seq_show: __SO_ACCEPTCON
PASSING = re.compile(r"^#.*|\[\d+:\d+\]|counter packets \d+ bytes \d+|expires \d+sec")


def take_first() -> Snapshot:
    """Take the picture to compare with later, without what killed labs left.

    The next lab removes that: it must not count as something that the machine had.
    """
    remove_orphans()
    return take()


def take() -> Snapshot:
    """Take a picture of the machine."""
    return {
        "link": sorted(_links()),
        **{kind: sorted(_lines(command)) for kind, command in RULES.items()},
        "named network namespace": sorted(_names(Path("/run/netns"))),
        "mount": sorted(_mounts()),
        PROCESS: sorted(processes.left_behind()),
        "control group": sorted(_cgroups()),
        "listening socket": sorted(_sockets()),
        "path": sorted(_paths()),
        "setting": sorted(_settings()),
    }


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """Tell what changed, a sentence a fact; empty when nothing did, or processes only ended."""
    sentences = []
    for kind in sorted({*before, *after}):
        old, new = Counter(before.get(kind, [])), Counter(after.get(kind, []))
        sentences += [
            f"This {kind} was not there before: {fact}." for fact in (new - old).elements()
        ]
        if kind != PROCESS:
            sentences += [f"This {kind} is gone: {fact}." for fact in (old - new).elements()]
    return sentences


def wait_until_restored(before: Snapshot) -> None:
    """Wait until the machine looks as before; what has just been ended may take a moment to go.

    Raises:
        NeverHappened: something stays changed, with the sentences that tell what.
    """
    eventually(
        lambda: not difference(before, take()),
        "the machine looks as it did before",
        detail=lambda: "\n".join(difference(before, take())),
    )


def _links() -> Iterator[str]:
    for link in json.loads(run(["ip", "-json", "-details", "address", "show"]).stdout):
        kind = link.get("linkinfo", {}).get("info_kind", "device")
        addresses = sorted(f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", []))
        master = f" in {link['master']}" if "master" in link else ""
        yield f"{link['ifname']}, a {kind}{master} with {', '.join(addresses) or 'no address'}"


def _lines(command: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a listing, each with the table and chain that it stands in."""
    if shutil.which(command[0]) is None:
        return
    within: list[str] = []
    for line in run(command, check=False).stdout.splitlines():
        match " ".join(PASSING.sub("", line).split()):
            case "" | "COMMIT":
                continue
            case "}" if within:
                within.pop()
            case text if text.startswith("*"):  # iptables: a table until the next
                within = [f"table {text[1:]}"]
            case text:
                yield f"{text.removesuffix(' {')} in {' '.join(within)}" if within else text
                if text.endswith("{"):
                    within.append(text.removesuffix(" {"))


def _names(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from (path.name for path in folder.iterdir())


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, origin = line.partition(" - ")
        if not is_of_a_running_lab(line):
            yield f"{origin.split()[0]} on {fields.split()[4]}"


def _cgroups() -> Iterator[str]:
    for pattern in ("docker*", "docker/*", "pylab*", "system.slice/docker*"):
        yield from (
            str(path) for path in cgroups.find(pattern) if not is_of_a_running_lab(str(path))
        )


def _sockets() -> Iterator[str]:
    for line in Path("/proc/net/unix").read_text().splitlines():
        _, _, _, flags, *_, path = line.split()
        # An accepted connection bears the path too, and shows in the network of the client.
        if flags == LISTENING and re.match(r"(/var)?/run/(docker|pynet)", path):
            yield path


def _paths() -> Iterator[str]:
    for folder in WATCHED_FOLDERS:
        if folder.exists():
            yield str(folder)
            yield from (f"{folder}/{name}" for name in _names(folder))
    for path in Path(tempfile.gettempdir()).glob("pylab*"):
        if not is_of_a_running_lab(path.name):
            yield str(path)


def _settings() -> Iterator[str]:
    for name in WATCHED_SYSCTLS:
        path = Path("/proc/sys") / name
        if path.exists():
            yield f"{name.replace('/', '.')} = {path.read_text().strip()}"


def main() -> int:
    """Take a picture into a file, or compare the machine with one."""
    parser = argparse.ArgumentParser(prog="python -m integration.lab.snapshot")
    parser.add_argument("verb", choices=["take", "compare"])
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "take":
        arguments.file.write_text(json.dumps(take_first(), indent=1))
        return 0
    sentences = difference(json.loads(arguments.file.read_text()), take())
    print(*sentences, sep="\n", end="\n" if sentences else "")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
