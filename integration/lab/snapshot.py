"""A picture of the machine, and what changed between two: `python -m integration.lab.snapshot`.

A picture is facts by kind, each fact a phrase that reads well in a sentence. It shows the network
of the calling process, and of the processes only those that a test could have left behind. What
belongs to a lab whose process still runs is that process's affair and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from integration.lab import cgroups
from integration.lab.process import run
from integration.lab.remains import owner

Snapshot = Mapping[str, list[str]]

OUR_PROGRAMS = re.compile(r"(dockerd|docker-proxy|containerd.*|runc|busybox|pynet)")
OUR_ARGUMENTS = re.compile(r"\bpylab\d+|-m\0netplug|/pynet\0")
LAB = re.compile(r"pylab\d+")
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
PASSING = re.compile(r"^#.*|\[\d+:\d+\]|counter packets \d+ bytes \d+|expires \d+sec")


def take() -> Snapshot:
    """Take a picture of the machine."""
    return {
        "link": sorted(_links()),
        **{kind: sorted(_lines(command)) for kind, command in RULES.items()},
        "named network namespace": sorted(_names(Path("/run/netns"))),
        "mount": sorted(_mounts()),
        "process": sorted(_processes()),
        "control group": sorted(_cgroups()),
        "listening socket": sorted(_sockets()),
        "path": sorted(_paths()),
        "setting": sorted(_settings()),
    }


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """Tell what changed, a sentence a fact; empty when nothing did."""
    sentences = []
    for kind in sorted({*before, *after}):
        old, new = Counter(before.get(kind, [])), Counter(after.get(kind, []))
        sentences += [
            f"This {kind} was not there before: {fact}." for fact in (new - old).elements()
        ]
        sentences += [f"This {kind} is gone: {fact}." for fact in (old - new).elements()]
    return sentences


def _links() -> Iterator[str]:
    for link in json.loads(run(["ip", "-json", "-details", "address", "show"]).stdout):
        kind = link.get("linkinfo", {}).get("info_kind", "device")
        addresses = sorted(f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", []))
        master = f" in {link['master']}" if "master" in link else ""
        yield f"{link['ifname']}, a {kind}{master} with {', '.join(addresses) or 'no address'}"


def _lines(command: tuple[str, ...]) -> Iterator[str]:
    if shutil.which(command[0]) is None:
        return
    for line in run(command, check=False).stdout.splitlines():
        text = " ".join(PASSING.sub("", line).split())
        if text:
            yield text


def _names(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from (path.name for path in folder.iterdir())


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, origin = line.partition(" - ")
        if not _is_of_a_running_lab(line):
            yield f"{origin.split()[0]} on {fields.split()[4]}"


def _processes() -> Iterator[str]:
    callers = _callers()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_text(errors="replace")
            start = _stat(folder)[19]
            where = (folder / "cgroup").read_text() + (folder / "mountinfo").read_text()
        except OSError:
            continue  # it ended meanwhile
        program = os.path.basename(argv.split("\0", 1)[0])
        ours = OUR_PROGRAMS.fullmatch(program) or OUR_ARGUMENTS.search(argv) or LAB.search(where)
        if ours and int(folder.name) not in callers and not _is_of_a_running_lab(argv + where):
            command = " ".join(argv.replace("\0", " ").split())
            yield f"{folder.name}, started at tick {start}, `{command}`"


def _stat(folder: Path) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on: a name may hold spaces."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()


def _callers() -> set[int]:
    """Return this process and its ancestors, whose arguments may name what they test."""
    found, pid = set(), os.getpid()
    while pid > 0:
        found.add(pid)
        pid = int(_stat(Path(f"/proc/{pid}"))[1])
    return found


def _is_of_a_running_lab(text: str) -> bool:
    """Tell whether a text names a lab of another process that is alive."""
    match = LAB.search(text)
    pid = owner(match[0]) if match else None
    return pid is not None and pid != os.getpid() and Path(f"/proc/{pid}").exists()


def _cgroups() -> Iterator[str]:
    for pattern in ("docker*", "docker/*", "pylab*", "system.slice/docker*"):
        yield from (
            str(path) for path in cgroups.find(pattern) if not _is_of_a_running_lab(str(path))
        )


def _sockets() -> Iterator[str]:
    for line in Path("/proc/net/unix").read_text().splitlines():
        path = line.split()[-1]
        if re.match(r"(/var)?/run/(docker|pynet)", path):
            yield path


def _paths() -> Iterator[str]:
    for folder in WATCHED_FOLDERS:
        if folder.exists():
            yield str(folder)
            yield from (f"{folder}/{name}" for name in _names(folder))
    for path in Path(tempfile.gettempdir()).glob("pylab*"):
        if not _is_of_a_running_lab(path.name):
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
        arguments.file.write_text(json.dumps(take(), indent=1))
        return 0
    sentences = difference(json.loads(arguments.file.read_text()), take())
    print(*sentences, sep="\n", end="\n" if sentences else "")
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
