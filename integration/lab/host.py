"""A machine to test on: its own links, rules, processes, /run and /var, and an uplink."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from integration.lab import cgroups
from integration.lab.namespace import Namespace
from integration.lab.process import COMMAND_DEADLINE_S, Completed, Process, run, tail
from integration.lab.remains import remove_folder
from integration.lab.underlay import UPLINK, Underlay
from integration.lab.waiting import eventually

# `mount -n` writes no /run/mount/utab, which until /run is covered would be that of the machine.
# What an engine writes outside /run and its data folders (/etc/docker/key.json, /opt/containerd)
# stays in an overlay. The data folders are plain binds: overlayfs refuses to lie on overlayfs.
# /sys is mounted anew to show the links of this network namespace, with the same control groups.
_FURNISH = """
folder={folder}
mount -n --bind "$folder/run" /run
mount -n --rbind /sys/fs/cgroup "$folder/cgroup"
mount -n -t sysfs sysfs /sys
mount -n --move "$folder/cgroup" /sys/fs/cgroup
for top in etc opt var; do
    layers="lowerdir=/$top,upperdir=$folder/$top/upper,workdir=$folder/$top/work"
    mount -n -t overlay -o "$layers" "$1" "/$top"
done
for data in docker containerd pynet; do
    mkdir -p "/var/lib/$data"
    mount -n --bind "$folder/$data" "/var/lib/$data"
done
"""
_FOLDERS = (
    *("cgroup", "run/lock", "docker", "containerd", "pynet", "log"),
    *(f"{top}/{layer}" for top in ("etc", "opt", "var") for layer in ("upper", "work")),
)


class Host:
    """One host of a lab. `v4` and `v6` are its addresses on the underlay, `cgroup` its own."""

    uplink = UPLINK

    def __init__(self, name: str, number: int, *, underlay: Underlay, folder: Path) -> None:
        self.name = name
        self.number = number
        self.underlay = underlay
        self.folder = folder
        self.cgroup = f"/{name}"
        for inner in _FOLDERS:
            (folder / inner).mkdir(parents=True)
        self.namespace = Namespace(
            name,
            log=folder / "log/namespace.log",
            furnish=_FURNISH.format(folder=shlex.quote(str(folder))),
        )
        try:
            plugged = underlay.plug(number, self.namespace)
        except BaseException:
            self.close()
            raise
        self.v4, self.v6 = plugged.v4, plugged.v6

    @property
    def is_open(self) -> bool:
        return self.namespace.is_open

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = COMMAND_DEADLINE_S,
        check: bool = True,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command inside, to its end.

        Raises:
            CommandFailed: its status was not 0 and `check` is set.
            subprocess.TimeoutExpired: it took longer than `timeout` seconds.
        """
        # A command outlives a killed nsenter, so it is told to die with it.
        prefix = (*self.namespace.entry, "setpriv", "--pdeathsig", "KILL")
        return run(argv, prefix=prefix, timeout=timeout, check=check, stdin=stdin, env=env)

    def saved_rules(self, command: str) -> str:
        """Return what iptables-save or ip6tables-save prints.

        Asked again when it gave up because a set went while it read the rule that names it.
        """

        def whole() -> Completed | None:
            done = self.run([command], check=False)
            return done if done.returncode == 0 else None

        return eventually(whole, f"{command} reads all rules").stdout

    def popen(
        self, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a process inside; its output is appended to the log of that name."""
        return self.namespace.popen(argv, log=self.log(log), env=env)

    def path(self, inside: str) -> Path:
        """Return where a path of the host's own file system is found from outside.

        Works for sockets too. Symbolic links with absolute targets lead out of the host.
        """
        return self.namespace.root / inside.lstrip("/")

    def write_file(self, inside: str, text: str, *, mode: int = 0o644) -> Path:
        """Write a file inside, making its folder if need be."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def logs(self) -> str:
        """The tails of all logs of this host, to be shown with a failure."""
        logs = (self.folder / "log").glob("*.log")
        return "\n".join(tail(log) for log in sorted(logs) if log.stat().st_size)

    def cut_off(self) -> None:
        """Pull the plug: the uplink loses its carrier, as if the cable were out."""
        self.underlay.run(["ip", "link", "set", self.underlay.port(self.number), "down"])

    def reconnect(self) -> None:
        """Undo `cut_off`."""
        self.underlay.run(["ip", "link", "set", self.underlay.port(self.number), "up"])

    def close(self) -> None:
        """End all that runs inside and remove every trace; fine to call again."""
        self.underlay.unplug(self.number)
        self.namespace.close()
        cgroups.remove(self.name)
        remove_folder(self.folder)
