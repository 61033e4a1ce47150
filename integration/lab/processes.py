"""The processes of the machine that look as if a test had left them behind."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from integration.lab.remains import is_of_a_lab, is_of_a_running_lab

OUR_PROGRAMS = re.compile(r"(dockerd|docker-proxy|containerd.*|runc|busybox|pynet)")
OUR_ARGUMENTS = re.compile(r"-m\0netplug|/pynet\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    pid: int
    parent: int
    start_tick: str
    argv: str
    where: str

    @property
    def is_in_a_lab(self) -> bool:
        return is_of_a_lab(self.argv + self.where)

    @property
    def looks_like_ours(self) -> bool:
        program = os.path.basename(self.argv.split("\0", 1)[0])
        return bool(OUR_PROGRAMS.fullmatch(program) or OUR_ARGUMENTS.search(self.argv))


def left_behind() -> Iterator[str]:
    """Yield, for each process that a test could have left, a phrase that names it for good."""
    table = {process.pid: process for process in _all_processes()}
    callers = set(_ancestry(os.getpid(), table))
    for process in table.values():
        if process.pid in callers or is_of_a_running_lab(process.argv + process.where):
            continue
        if process.is_in_a_lab or _is_left_behind(process, table, callers):
            command = " ".join(process.argv.replace("\0", " ").split())
            yield f"{process.pid}, started at tick {process.start_tick}, `{command}`"


def _all_processes() -> Iterator[_Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in brackets, may hold spaces; the fields counted here are behind it.
            stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            yield _Process(
                pid=int(folder.name),
                parent=int(stat[1]),
                start_tick=stat[19],
                argv=(folder / "cmdline").read_text(errors="replace"),
                where=(folder / "cgroup").read_text() + (folder / "mountinfo").read_text(),
            )
        except OSError:
            continue  # it ended meanwhile


def _ancestry(pid: int, table: Mapping[int, _Process]) -> Iterator[int]:
    while pid in table:
        yield pid
        pid = table[pid].parent


def _is_left_behind(
    process: _Process, table: Mapping[int, _Process], callers: Collection[int]
) -> bool:
    """Tell whether a process looks like ours and is an orphan, or a child of the caller.

    What a living stranger has started, a shell for example, is the stranger's affair.
    """
    if not process.looks_like_ours:
        return False
    for pid in _ancestry(process.parent, table):
        if pid in callers:
            return True
        if not table[pid].looks_like_ours:
            return False
    return True
