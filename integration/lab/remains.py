"""What labs leave on the machine while they run, and its removal after one that was killed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from integration.lab import cgroups
from integration.lab.waiting import eventually

_LAB = re.compile(r"\bpylab(?P<pid>\d+)")


def lab_name(pid: int) -> str:
    """Return the name of the lab that a process owns."""
    return f"pylab{pid}"


def is_of_a_lab(text: str) -> bool:
    """Tell whether a name, path or command line names a lab or a thing of one."""
    return _LAB.search(text) is not None


def is_of_a_running_lab(text: str) -> bool:
    """Tell whether it names a lab of another process that is alive."""
    pid = _owner(text)
    return pid is not None and pid != os.getpid() and _is_alive(pid)


def is_orphan(text: str) -> bool:
    """Tell whether it names a lab whose process is no more."""
    pid = _owner(text)
    return pid is not None and not _is_alive(pid)


def _owner(text: str) -> int | None:
    match = _LAB.search(text)
    return int(match["pid"]) if match else None


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def folder_of(lab: str) -> Path:
    return Path(tempfile.gettempdir()) / lab


def remove_folder(folder: Path) -> None:
    """Remove a folder that processes which are just ending may still write to."""

    def gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    eventually(gone, f"folder {folder} goes away")


def remove_orphans() -> None:
    """Remove what labs left that were killed.

    Their namespaces and processes are gone already: they end with the lab's process.
    """
    for group in list(cgroups.find("pylab*")):
        if is_orphan(group.name):
            cgroups.remove(group.name)
    for folder in Path(tempfile.gettempdir()).glob("pylab*"):
        if is_orphan(folder.name):
            remove_folder(folder)
